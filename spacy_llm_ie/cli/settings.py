"""What commands share that fit a setting of a trained component on held-out data and write it into the pipeline's folder."""

import warnings
from pathlib import Path
from typing import Any, Dict, List, Optional

import srsly
from spacy.language import Language
from spacy.training import Example
from thinc.api import Config

from ..data.corpus import create_corpus_v1
from ..errors import Warnings


def examples_before(nlp: Language, name: str, data: Path) -> List[Example]:
    """The documents as they reach a component.

    nlp (Language): The pipeline.
    name (str): The name of the component; those before it are run.
    data (Path): Annotated documents: .spacy or .jsonl.
    RETURNS (List[Example]): With the gold annotation as their references.
    """
    examples = list(create_corpus_v1(data)(nlp))
    with nlp.select_pipes(enable=nlp.pipe_names[: nlp.pipe_names.index(name)]):
        for example, doc in zip(examples, nlp.pipe([example.predicted for example in examples])):
            example.predicted = doc
    return examples


def write_settings(folder: Path, name: str, settings: Dict[str, Any], scores: Optional[Dict[str, Any]] = None) -> None:
    """Change settings of a component in the folder of a pipeline: in its config.cfg, and where the component saves its own.

    folder (Path): The folder of the pipeline.
    name (str): The name of the component.
    settings (Dict[str, Any]): The new values. What config.cfg cannot hold (a label such as "a:b" or "a=b" as a key) is saved with
        the component only, where it is in force, and a warning (W320) says so.
    scores (Optional[Dict[str, Any]]): New values of scores; they replace those that stand in meta.json.
    """
    config = Config().from_disk(folder / "config.cfg", interpolate=False)
    fits = {key: value for key, value in settings.items() if _fits(value)}
    if len(fits) < len(settings):
        left_out = ", ".join(key for key in settings if key not in fits)
        warnings.warn(Warnings.W320.format(name=name, settings=left_out, path=folder / name / "cfg"), stacklevel=2)
    config["components"][name].update(fits)
    config.to_disk(folder / "config.cfg")
    path = folder / name / "cfg"
    saved = srsly.read_json(path)
    saved.update(settings)
    saved["given"].update(fits)  # what differs from the config is taken for an override when the pipeline is loaded
    srsly.write_json(path, saved)
    meta = srsly.read_json(folder / "meta.json")
    known = {key: value for key, value in (scores or {}).items() if key in meta.get("performance", {})}
    if known:
        meta["performance"].update(known)
        srsly.write_json(folder / "meta.json", meta)


def _fits(value: Any) -> bool:
    """Whether a value comes back from a config as it was: keys may not, since ":" and "=" part keys from values there."""
    config = Config({"section": {"setting": value}})
    try:
        return Config().from_str(config.to_str(), interpolate=False) == config
    except ValueError:
        return False
