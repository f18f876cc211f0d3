"""python -m spacy ie thresholds: how probable relations and arguments must be, for the best F1 on held-out data."""

from functools import partial
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional, Set, Tuple

import spacy
import typer
from spacy.tokens import Doc
from spacy.training import Example
from wasabi import msg

from ..annotations import is_annotated
from ..errors import Errors
from ..events.arguments import MARK, ArgumentExtractor
from ..events.scorer import argument_facts
from ..pairs.candidates import SpanT
from ..pairs.pipe import FoundPair, PairPipe
from ..pairs.thresholds import (
    LEAST_GOLD,
    Counts,
    Pool,
    Thresholds,
    count_facts,
    list_options,
    make_pool,
    score_pairs,
    search_thresholds,
)
from ..relations.pipe import RelationExtractor
from ..relations.scorer import relation_facts
from .settings import examples_before, write_settings


class Found(NamedTuple):
    """The thresholds of a component before and after the search, and its facts with them, by label (None: of all labels)."""

    before: Thresholds
    after: Thresholds
    counts_before: Dict[Optional[str], Counts]
    counts_after: Dict[Optional[str], Counts]


def thresholds_cli(
    # fmt: off
    model: Path = typer.Argument(..., help="Folder of a trained pipeline; its thresholds are set in place", exists=True),
    data: Path = typer.Argument(..., help="Development data, not the training data: .spacy or .jsonl", exists=True),
    component: Optional[str] = typer.Option(None, "--component", "-c", help="Name of one component; all of them otherwise"),
    per_label: bool = typer.Option(False, "--per-label", "-l", help="Also search thresholds of single labels"),
    least_gold: int = typer.Option(LEAST_GOLD, "--least-gold", "-g", help="Gold facts that a label needs for its own", min=1),
    dry_run: bool = typer.Option(False, "--dry-run", "-d", help="Print what would be set, and write nothing"),
    # fmt: on
) -> None:
    """Search the thresholds of ie_relations and ie_arguments that give the best micro F1 on held-out data."""
    thresholds(model, data, component=component, per_label=per_label, least_gold=least_gold, dry_run=dry_run)


def thresholds(
    model: Path,
    data: Path,
    *,
    component: Optional[str] = None,
    per_label: bool = False,
    least_gold: int = LEAST_GOLD,
    dry_run: bool = False,
) -> Dict[str, Found]:
    """Search thresholds, print what they change, and write them into the folder of the pipeline: its config, and the components'
    settings. The F1 is that of `rels_micro_f` or `args_f`; see `search_thresholds` for when a threshold is kept.

    The arguments are those of the command.
    RETURNS (Dict[str, Found]): By component.
    """
    nlp = spacy.load(model)
    names = [name for name, pipe in nlp.pipeline if isinstance(pipe, (RelationExtractor, ArgumentExtractor))]
    if not names:
        raise ValueError(Errors.E320.format(found=nlp.pipe_names))
    if component is not None and component not in names:
        raise ValueError(Errors.E321.format(name=component, known=names))
    results = {}
    for name in names if component is None else [component]:
        pipe = nlp.get_pipe(name)
        examples = _annotated(pipe, examples_before(nlp, name, data), data)
        scored = score_pairs(pipe, [example.predicted for example in examples])
        pool = _pool(pipe, examples, scored)
        start = Thresholds(pipe.cfg["threshold"], dict(pipe.cfg["thresholds"]))
        best = search_thresholds(pool, start, per_label=per_label, least_gold=least_gold)
        results[name] = result = Found(start, best, count_facts(pool, start), count_facts(pool, best))
        _print(name, result, data)
        if best != start and not dry_run:
            write_settings(model, name, best._asdict(), _scores(pipe, examples, scored, best))
            msg.good(f"{name}: written to {model}")
    return results


def _annotated(pipe: PairPipe, examples: List[Example], data: Path) -> List[Example]:
    """The examples that can be scored."""
    layer = "relations" if isinstance(pipe, RelationExtractor) else "events"
    found = [example for example in examples if is_annotated(example.reference, layer)]
    if not any(_facts(pipe, example.reference) for example in found):
        raise ValueError(Errors.E322.format(name=pipe.name, path=data, count=len(examples), annotated=len(found), layer=layer))
    return found


def _pool(pipe: PairPipe, examples: List[Example], scored: List[Any]) -> Pool:
    say = _relation if isinstance(pipe, RelationExtractor) else _argument
    docs = []
    for example, parts in zip(examples, scored):
        fact = partial(say, example.predicted, pipe.cfg.get("symmetric", ()))
        docs.append((list_options(pipe, *parts, fact), _facts(pipe, example.reference)))
    return make_pool(docs, pipe.labels, pipe.cfg["several"])


def _facts(pipe: PairPipe, doc: Doc) -> Set[Tuple[Any, ...]]:
    """The facts of a document as the strict score compares them, the label last."""
    if isinstance(pipe, RelationExtractor):
        return set(relation_facts(doc, pipe.cfg["symmetric"]))
    return {fact[2:] for fact in argument_facts(doc)}  # the place of the trigger does not count


def _relation(doc: Doc, symmetric: List[str], pair: FoundPair) -> Tuple[Any, ...]:
    head, tail = ((*_chars(doc, span), span[2]) for span in (pair.head, pair.tail))
    if pair.label in symmetric and tail < head:
        head, tail = tail, head
    return (*head, *tail, pair.label)


def _argument(doc: Doc, symmetric: List[str], pair: FoundPair) -> Tuple[Any, ...]:
    return (*_chars(doc, pair.tail), pair.head[2][len(MARK) :], pair.label)


def _chars(doc: Doc, span: SpanT) -> Tuple[int, int]:
    found = doc[span[0] : span[1]]
    return found.start_char, found.end_char


def _scores(pipe: PairPipe, examples: List[Example], scored: List[Any], settings: Thresholds) -> Dict[str, Any]:
    """All scores of the component with other settings, which it keeps."""
    pipe.cfg.update(settings._asdict())
    docs = [example.predicted for example in examples]
    pipe.set_annotations(docs, [pipe.decode(*parts) for parts in scored])
    return pipe.score(examples)


def _print(name: str, result: Found, data: Path) -> None:
    """A row for all labels and one for each: gold facts, threshold, precision, recall and F1."""
    rows = []
    for label, before in result.counts_before.items():
        after = result.counts_after[label]
        if before.gold or before.found or after.found:
            limits = [s.threshold if label is None else s.thresholds.get(label) for s in (result.before, result.after)]
            pairs = [(f"{100 * x:.1f}", f"{100 * y:.1f}") for x, y in zip(before.prf(), after.prf())]
            cells = [_change(*pair) for pair in [tuple("-" if x is None else f"{x:g}" for x in limits), *pairs]]
            rows.append([name if label is None else f"  {label}", str(before.gold), *cells])
    msg.table(rows, header=["", "Gold", "Threshold", "P", "R", "F1"], divider=True, aligns=["l", *["r"] * 5])
    if result.before == result.after:
        msg.info(f"{name}: no threshold is clearly better on {data.name} than what is set; nothing changes")


def _change(before: str, after: str) -> str:
    return before if before == after else f"{before} -> {after}"
