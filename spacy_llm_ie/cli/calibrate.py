"""python -m spacy ie calibrate: make the probabilities of a trained pipeline mean what they say."""

from pathlib import Path
from typing import Dict, List

import spacy
import srsly
import typer
from spacy.language import Language
from spacy.training import Example
from thinc.api import Config
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
        results[name] = result = fit_temperature(nlp.get_pipe(name), _examples_before(nlp, name, data))
        _write_temperature(model, name, result)
        msg.good(
            f"{name}: temperature {result.temperature:.2f}; expected calibration error on {data.name} "
            f"{result.ece_before:.3f} -> {result.ece_after:.3f}"
        )
    return results


def _examples_before(nlp: Language, name: str, data: Path) -> List[Example]:
    """The documents as they reach a component."""
    examples = list(create_corpus_v1(data)(nlp))
    with nlp.select_pipes(enable=nlp.pipe_names[: nlp.pipe_names.index(name)]):
        for example, doc in zip(examples, nlp.pipe([example.predicted for example in examples])):
            example.predicted = doc
    return examples


def _write_temperature(model: Path, name: str, result: Calibration) -> None:
    temperature = round(result.temperature, 4)
    path = model / name / "cfg"
    settings = srsly.read_json(path)
    settings["given"]["temperature"] = settings["temperature"] = temperature
    srsly.write_json(path, settings)
    config = Config().from_disk(model / "config.cfg", interpolate=False)
    config["components"][name]["temperature"] = temperature
    config.to_disk(model / "config.cfg")
    meta = srsly.read_json(model / "meta.json")
    if "ents_ece" in meta.get("performance", {}):
        meta["performance"]["ents_ece"] = result.ece_after
        srsly.write_json(model / "meta.json", meta)
