"""python -m spacy ie evaluate: scores with baselines beside them, a reliability plot, and the model card."""

import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

import spacy
import srsly
import typer
from spacy.language import Language
from spacy.scorer import Scorer
from spacy.tokens import Doc
from spacy.training import Example
from wasabi import msg

from ..annotations import get_events, get_relations
from ..data.corpus import create_corpus_v1
from ..events.baseline import ListedTriggers, NearestArguments
from ..events.scorer import score_arguments, score_triggers
from ..ner.baseline import lookup_baseline
from ..ner.scorer import score_ner, score_pairs
from ..relations.baseline import NearestRelations
from ..relations.scorer import score_relations
from ..tasks import TASKS
from ..view.reliability import plot_reliability

PACKAGES = ("spacy", "spacy-transformers", "spacy-llm-ie", "thinc", "torch", "transformers")


BASELINES = {
    "entities": "tags whatever was an entity in the training data",
    "relations": "links each entity that was found to the nearest one of a type that it is often linked to",
    "triggers": "tags whatever was a trigger in the training data",
    "arguments": "gives each trigger that was found the nearest entity of each label",
}


def evaluate_cli(
    # fmt: off
    model: str = typer.Argument(..., help="Trained pipeline: a folder or an installed package"),
    data: Path = typer.Argument(..., help="Test data: .spacy or .jsonl", exists=True),
    train: Optional[Path] = typer.Option(None, "--train", "-t", help="Training data, for the baselines", exists=True),
    output: Optional[Path] = typer.Option(None, "--output", "-o", help="Write the metrics to this JSON file"),
    plot: Optional[Path] = typer.Option(None, "--plot", "-p", help="Draw a reliability plot into this file (.png, .svg)"),
    card: bool = typer.Option(False, "--card", help="Write the results into the pipeline's meta.json, for its README"),
    # fmt: on
) -> None:
    """Score the entities, relations and events of a pipeline: from raw text, with gold answers before each, beside baselines."""
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
    examples = _run(nlp, data)
    training = list(create_corpus_v1(train)(nlp)) if train is not None else []
    metrics = {
        "scores": Scorer(nlp).score(examples),
        "given_gold": _score_given_gold(nlp, data),
        "baseline": _score_baselines(nlp, training, examples, data) if training else None,
        "data": {"test": _count(examples), "train": _count(training)},
        "seed": nlp.config.interpolate()["training"].get("seed"),
        "versions": {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
    }
    header, rows = _table(metrics)
    msg.table(rows, header=header, divider=True, aligns=["l", *["r"] * (len(header) - 1)])
    ece = metrics["scores"].get("ents_ece")
    if ece is not None:
        msg.text(f"Expected calibration error of the entities' probabilities: {ece:.3f} (0 is best)")
    for text in _notes(metrics["scores"]):
        msg.text(text)
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


def _run(nlp: Language, data: Path, given: Sequence[str] = ()) -> List[Example]:
    examples = list(create_corpus_v1(data, given=given)(nlp))
    for example, doc in zip(examples, nlp.pipe([example.predicted for example in examples])):
        example.predicted = doc
    return examples


def _score_given_gold(nlp: Language, data: Path) -> Dict[str, Any]:
    """Scores of each component that builds on others when it is given their gold answers."""
    scores: Dict[str, Any] = {}
    factories = {name: nlp.get_pipe_meta(name).factory for name in nlp.pipe_names}
    for task in TASKS:
        if not task.given or task.factory not in factories.values():
            continue
        before = [name for name, factory in factories.items() if factory in ("ie_ner", "ner", "ie_triggers")]
        with nlp.select_pipes(disable=before):
            found = Scorer(nlp).score(_run(nlp, data, task.given))
        scores.update({key: value for key, value in found.items() if key.startswith(task.prefix.split("_")[0] + "_")})
    return scores


def _score_baselines(nlp: Language, training: List[Example], examples: List[Example], data: Path) -> Dict[str, Any]:
    """Scores of the baselines: those for relations and arguments start from what the pipeline has found."""
    fresh = list(create_corpus_v1(data)(nlp))
    scores: Dict[str, Any] = {}

    def apply(on: List[Example], step: Callable[[Doc], Doc], score: Callable[..., Dict[str, Any]]) -> None:
        changed = [Example(step(example.predicted.copy()), example.reference) for example in on]
        scores.update(score(changed))

    apply(fresh, lookup_baseline(nlp, training), score_ner)
    if any(get_relations(example.reference) for example in training):
        apply(examples, NearestRelations(training), score_relations)
    if any(get_events(example.reference) for example in training):
        apply(fresh, ListedTriggers(nlp, training), score_triggers)
        apply(examples, NearestArguments(training), score_arguments)
    return scores


def _count(examples: List[Example]) -> Dict[str, int]:
    references = [example.reference for example in examples]
    return {
        "documents": len(references),
        "tokens": sum(len(doc) for doc in references),
        "entities": sum(len(doc.ents) for doc in references),
        "relations": sum(len(get_relations(doc)) for doc in references),
        "events": sum(len(get_events(doc)) for doc in references),
    }


def _table(metrics: Dict[str, Any]) -> Tuple[List[str], List[List[str]]]:
    """A row for each task and one for each label: precision, recall, F1; F1 with gold answers before it, and the baseline's."""
    scores, gold, simple = metrics["scores"], metrics["given_gold"], metrics["baseline"] or {}
    header = ["", "P", "R", "F1", *(["F1 given gold"] if gold else []), *(["baseline F1"] if simple else [])]
    rows: List[List[str]] = []
    for task in TASKS:
        if scores.get(f"{task.prefix}_f") is None:
            continue
        row = [task.name.upper(), *(_percent(scores.get(f"{task.prefix}_{k}")) for k in "prf")]
        others = [*([gold] if gold else []), *([simple] if simple else [])]
        rows.append(row + [_percent(other.get(f"{task.prefix}_f")) for other in others])
        for label, values in sorted((scores.get(task.per_type) or {}).items()):
            beside = [_percent((other.get(task.per_type) or {}).get(label, {}).get("f")) for other in others]
            rows.append([label, *(_percent(values[k]) for k in "prf"), *beside])
    return header, rows


def _notes(scores: Dict[str, Any]) -> List[str]:
    """What else is worth reading, a line a task."""
    lines = (
        (
            "Relations",
            (("boundary F1", "rels_boundary_f"), ("macro F1", "rels_macro_f"), ("candidate recall", "rels_candidate_recall")),
        ),
        ("Triggers", (("identification F1", "triggers_id_f"),)),
        ("Arguments", (("identification F1", "args_id_f"), ("F1 with the right trigger", "args_attached_f"))),
    )
    return [
        f"{name}: " + ", ".join(f"{title} {_percent(scores[key])}" for title, key in parts)
        for name, parts in lines
        if scores.get(parts[0][1]) is not None
    ]


def _percent(value: Optional[float]) -> str:
    return "-" if value is None else f"{100 * value:.1f}"


def _describe(counts: Dict[str, int]) -> str:
    facts = ", ".join(f"{counts[name]:,} {name}" for name in ("tokens", "entities", "relations", "events") if counts[name])
    return f"{counts['documents']} documents ({facts})"


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
        shown = "; ".join(f"for {t.name} it {BASELINES[t.name]}" for t in TASKS if any(r[0] == t.name.upper() for r in rows))
        text.append(f"Trained on {_describe(train)}, seed {metrics['seed']}. The baseline: {shown}.")
    text.append(
        f"The table is for the test set {data.name}, {_describe(test)}, used for nothing else, from raw text. The accuracy "
        "above is for the development set, on which the best epoch was chosen and the probabilities were calibrated."
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
