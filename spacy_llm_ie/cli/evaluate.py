"""python -m spacy ie evaluate: scores with a baseline beside them, a reliability plot, and the model card."""

import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

import spacy
import srsly
import typer
from spacy.language import Language
from spacy.scorer import Scorer
from spacy.training import Example
from wasabi import msg

from ..data.corpus import create_corpus_v1
from ..ner.baseline import lookup_baseline
from ..ner.scorer import score_pairs
from ..view.reliability import plot_reliability

PACKAGES = ("spacy", "spacy-transformers", "spacy-llm-ie", "thinc", "torch", "transformers")


def evaluate_cli(
    # fmt: off
    model: str = typer.Argument(..., help="Trained pipeline: a folder or an installed package"),
    data: Path = typer.Argument(..., help="Test data: .spacy or .jsonl", exists=True),
    train: Optional[Path] = typer.Option(None, "--train", "-t", help="Training data, for the baseline", exists=True),
    output: Optional[Path] = typer.Option(None, "--output", "-o", help="Write the metrics to this JSON file"),
    plot: Optional[Path] = typer.Option(None, "--plot", "-p", help="Draw a reliability plot into this file (.png, .svg)"),
    card: bool = typer.Option(False, "--card", help="Write the results into the pipeline's meta.json, for its README"),
    # fmt: on
) -> None:
    """Score the entities of a pipeline, beside a baseline: a list of all entities of the training data."""
    evaluate(model, data, train=train, output=output, plot=plot, card=card)


def evaluate(
    model: str,
    data: Path,
    *,
    train: Optional[Path] = None,
    output: Optional[Path] = None,
    plot: Optional[Path] = None,
    card: bool = False,
) -> Dict[str, Any]:
    """Score a pipeline, print the table, and write what is asked for.

    The arguments are those of the command.
    RETURNS (Dict[str, Any]): What is written to `output`.
    """
    spacy.util.fix_random_seed()
    nlp = spacy.load(model)
    examples = list(create_corpus_v1(data)(nlp))
    for example, doc in zip(examples, nlp.pipe([example.predicted for example in examples])):
        example.predicted = doc
    scores = Scorer(nlp).score(examples)
    training = list(create_corpus_v1(train)(nlp)) if train is not None else []
    metrics = {
        "scores": scores,
        "baseline": _score_baseline(nlp, training, data) if training else None,
        "data": {"test": _count(examples), "train": _count(training)},
        "seed": nlp.config.interpolate()["training"].get("seed"),
        "versions": {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
    }
    header, rows = _table(metrics)
    msg.table(rows, header=header, divider=True, aligns=["l", *["r"] * (len(header) - 1)])
    ece = scores.get("ents_ece")
    if ece is not None:
        msg.text(f"Expected calibration error of the entities' probabilities: {ece:.3f} (0 is best)")
    if output is not None:
        output.parent.mkdir(parents=True, exist_ok=True)
        srsly.write_json(output, metrics)
        msg.good(f"Metrics: {output}")
    if card:
        _write_card(Path(model), metrics, data)
    if plot is not None:
        plot_reliability(score_pairs(examples), plot, f"{nlp.lang}_{nlp.meta['name']}: entities of {data.name}")
        msg.good(f"Reliability plot: {plot}")
    return metrics


def _score_baseline(nlp: Language, training: List[Example], data: Path) -> Dict[str, Any]:
    """Scores of the lookup on documents that nothing else has touched."""
    ruler = lookup_baseline(nlp, training)
    examples = list(create_corpus_v1(data)(nlp))
    for example in examples:
        ruler(example.predicted)
    scores = ruler.score(examples)
    return {key: value for key, value in scores.items() if key.startswith("ents")}


def _count(examples: List[Example]) -> Dict[str, int]:
    references = [example.reference for example in examples]
    return {
        "documents": len(references),
        "tokens": sum(len(doc) for doc in references),
        "entities": sum(len(doc.ents) for doc in references),
    }


def _table(metrics: Dict[str, Any]) -> Tuple[List[str], List[List[str]]]:
    """A row for all entities and one for each label: precision, recall, F1, and the baseline's F1."""
    scores, baseline = metrics["scores"], metrics["baseline"] or {}
    per_label, simple = scores.get("ents_per_type") or {}, baseline.get("ents_per_type") or {}
    header = ["", "P", "R", "F1", *(["baseline F1"] if baseline else [])]
    rows = [["entities", *(_percent(scores.get(f"ents_{k}")) for k in "prf")]]
    rows += [[label, *(_percent(per_label[label][k]) for k in "prf")] for label in sorted(per_label)]
    if baseline:
        rows[0].append(_percent(baseline["ents_f"]))
        for row in rows[1:]:
            row.append(_percent(simple.get(row[0], {}).get("f", 0.0)))
    return header, rows


def _percent(value: Optional[float]) -> str:
    return "-" if value is None else f"{100 * value:.1f}"


def _describe(counts: Dict[str, int]) -> str:
    return f"{counts['documents']} documents ({counts['tokens']:,} tokens, {counts['entities']:,} entities)"


def _write_card(folder: Path, metrics: Dict[str, Any], data: Path) -> None:
    """Put the results into meta.json, from where `spacy package` takes them into the README of the package."""
    path = folder / "meta.json"
    if not path.exists():
        msg.fail("A model card needs the folder of a pipeline", f"No {path}; give the folder instead of a package", exits=1)
    header, rows = _table(metrics)
    lines = ["|".join(["", *cells, ""]) for cells in (header, ["---", *["---:"] * (len(header) - 1)], *rows)]
    test, train = metrics["data"]["test"], metrics["data"]["train"]
    text = ["### How it was trained, and how it scores"]
    if train["documents"]:
        text.append(f"Trained on {_describe(train)}, seed {metrics['seed']}. The baseline tags whatever was an entity there.")
    text.append(
        f"The table is for the test set {data.name}, {_describe(test)}, used for nothing else. The accuracy above is for the "
        "development set, on which the best epoch was chosen and the probabilities were calibrated."
    )
    text.append("\n".join(lines))
    if metrics["scores"].get("ents_ece") is not None:
        ece = metrics["scores"]["ents_ece"]
        text.append(f"Expected calibration error of the probabilities (`ent._.score`) on the test set: {ece:.3f}.")
    text.append("Made with " + ", ".join(f"{name} {number}" for name, number in metrics["versions"].items()) + ".")
    meta = srsly.read_json(path)
    meta["notes"] = "\n\n".join(text)
    srsly.write_json(path, meta)
    msg.good(f"Model card: {path}")
