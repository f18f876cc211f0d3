"""python -m spacy ie calibrate: make the probabilities of a trained pipeline mean what they say."""

from pathlib import Path
from typing import Dict

import spacy
import typer
from wasabi import msg

from ..errors import Errors
from ..ner.calibration import Calibration, fit_temperature
from ..ner.pipe import CrfEntityRecognizer
from .settings import examples_before, write_settings


def calibrate_cli(
    # fmt: off
    model: Path = typer.Argument(..., help="Folder of a trained pipeline; its temperature is set in place", exists=True),
    data: Path = typer.Argument(..., help="Development data, not the training data: .spacy or .jsonl", exists=True),
    # fmt: on
) -> None:
    """Fit the temperature of ie_ner on held-out data. The entities stay the same; their probabilities become honest."""
    calibrate(model, data)


def calibrate(model: Path, data: Path) -> Dict[str, Calibration]:
    """Fit the temperatures of all ie_ner and write them into the folder of the pipeline: its config, and the components' settings.

    The arguments are those of the command.
    RETURNS (Dict[str, Calibration]): By component, the temperature and the expected calibration error before and after.
    """
    nlp = spacy.load(model)
    names = [name for name, pipe in nlp.pipeline if isinstance(pipe, CrfEntityRecognizer)]
    if not names:
        raise ValueError(Errors.E212.format(found=nlp.pipe_names))
    results = {}
    for name in names:
        results[name] = result = fit_temperature(nlp.get_pipe(name), examples_before(nlp, name, data))
        write_settings(model, name, {"temperature": round(result.temperature, 4)}, {"ents_ece": result.ece_after})
        msg.good(
            f"{name}: temperature {result.temperature:.2f}; expected calibration error on {data.name} "
            f"{result.ece_before:.3f} -> {result.ece_after:.3f}"
        )
    return results
