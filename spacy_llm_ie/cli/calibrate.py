"""python -m spacy ie calibrate: make the probabilities of a trained pipeline mean what they say."""

from pathlib import Path

import spacy
import srsly
import typer
from wasabi import msg

from ..data.corpus import create_corpus_v1
from ..errors import Errors
from ..ner.calibration import Calibration, fit_temperature
from ..ner.pipe import CrfEntityRecognizer


def calibrate_cli(
    # fmt: off
    model: Path = typer.Argument(..., help="Folder of a trained pipeline; its temperature is set in place", exists=True),
    data: Path = typer.Argument(..., help="Development data, not the training data: .spacy or .jsonl", exists=True),
    # fmt: on
) -> None:
    """Fit the temperature of ie_ner on held-out data. The entities stay the same; their probabilities become honest."""
    calibrate(model, data)


def calibrate(model: Path, data: Path) -> Calibration:
    """Fit the temperature and write it into the folder of the pipeline.

    The arguments are those of the command.
    RETURNS (Calibration): The temperature, and the expected calibration error before and after.
    """
    nlp = spacy.load(model)
    names = [name for name, pipe in nlp.pipeline if isinstance(pipe, CrfEntityRecognizer)]
    if not names:
        raise ValueError(Errors.E212.format(found=nlp.pipe_names))
    pipe = nlp.get_pipe(names[0])
    examples = list(create_corpus_v1(data)(nlp))
    for example, doc in zip(examples, nlp.pipe([example.predicted for example in examples])):
        example.predicted = doc
    result = fit_temperature(pipe, examples)
    path = model / names[0] / "cfg"
    srsly.write_json(path, {**srsly.read_json(path), "temperature": round(result.temperature, 4)})
    msg.good(
        f"{names[0]}: temperature {result.temperature:.2f}; expected calibration error on {data.name} "
        f"{result.ece_before:.3f} -> {result.ece_after:.3f}"
    )
    return result
