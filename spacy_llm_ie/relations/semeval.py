"""The official score of SemEval-2010 Task 8 (Hendrickx et al., 2010), by the definition of its scorer, version 1.2.

It is no F1 over 18 labels: a relation is scored over both of its directions, and one in the wrong direction counts against
precision and against recall. The score is the mean of the relations' F1. `Other` is none of them; but to take an `Other` for a
relation costs that relation precision.
"""

import re
from collections import Counter
from pathlib import Path
from typing import Any, Callable, Dict, Hashable, Iterable, List, Mapping, Optional, Sequence, Tuple

from spacy.tokens import Doc, Span
from spacy.training import Example

from ..annotations import get_relations, is_annotated
from ..errors import Errors
from ..types import ScorerT
from .scorer import score_relations

NOMINAL = "NOMINAL"
OTHER = "Other"
RELATIONS = (
    "Cause-Effect",
    "Component-Whole",
    "Content-Container",
    "Entity-Destination",
    "Entity-Origin",
    "Instrument-Agency",
    "Member-Collection",
    "Message-Topic",
    "Product-Producer",
)
DIRECTIONS = ("(e1,e2)", "(e2,e1)")
LABELS = frozenset([OTHER, *(relation + direction for relation in RELATIONS for direction in DIRECTIONS)])
LINE = re.compile(r"(\d+)\t(.+)")
# Start and end in characters.
PlaceT = Tuple[int, int]


def make_semeval_scorer() -> ScorerT:
    """Make the scorer for SemEval-2010 Task 8. RETURNS (Callable): See `score_semeval`."""
    return score_semeval


def score_semeval(examples: Iterable[Example], **kwargs: Any) -> Dict[str, Any]:
    """Score the relation between the two nominals of each document, as the task does.

    examples (Iterable[Example]): Which of them count, and as what, says `example_labels`.
    **kwargs: For `score_relations`.
    RETURNS (Dict[str, Any]): From 0 to 1; None where the references have no relation.
        `semeval_macro_f`: the official score. `semeval_macro_p`, `_r` and `semeval_micro_p`, `_r`, `_f` belong to it.
        `semeval_per_type`: p, r and f by relation, both directions together: what `semeval_macro_f` is the mean of.
        `semeval_accuracy`: share of documents whose label is right, direction and Other included.
        `semeval_undirected_macro_f`: whatever the direction. `semeval_directed_macro_f`: each direction is a label of its own.
        `semeval_left_out`: number of documents annotated with relations that have no two nominals, because the tokenizer has no
        tokens for one. For a score to publish, give `official_scores` all gold labels, from `read_labels`.
        `rels_...`: as `score_relations` says.
    """
    examples = list(examples)
    gold, proposed = example_labels(examples)
    scores = official_scores(gold, proposed)
    official, known = scores["official"], any(label != OTHER for label in gold.values())
    per_type = {name: {k: found[k] for k in "prf"} for name, found in official["per_type"].items() if name != OTHER}
    result = {f"semeval_{mean}_{k}": official[f"{mean}_{k}"] for mean in ("macro", "micro") for k in "prf"}
    result["semeval_accuracy"] = official["accuracy"]
    result["semeval_undirected_macro_f"] = scores["undirected"]["macro_f"]
    result["semeval_directed_macro_f"] = scores["directed"]["macro_f"]
    result["semeval_per_type"] = per_type
    annotated = sum(is_annotated(example.reference, "relations") for example in examples)
    return {
        **score_relations(examples, **kwargs),
        **{name: value if known else None for name, value in result.items()},
        "semeval_left_out": annotated - len(gold),
    }


def example_labels(examples: Iterable[Example]) -> Tuple[Dict[Hashable, str], Dict[Hashable, str]]:
    """The labels of documents, as they stand in the files of the task.

    e1 is the nominal that stands first. Of the predicted relations between the two nominals, in either direction, the most
    probable one is proposed (of equally probable ones the first); without any, Other. Relations of other spans are no answer.

    examples (Iterable[Example]): Documents whose reference is not annotated with relations, or has not two entities NOMINAL, are
        left out.
    RETURNS (Tuple[Dict[Hashable, str], Dict[Hashable, str]]): Gold and proposed label by `doc.user_data["meta"]["id"]` of the
        reference; by position among the examples if not every document has an id of its own. Raises ValueError (E314) for a
        reference with more than one relation, or with one that does not join the two nominals.
    """
    found: List[Tuple[int, Any, str, str]] = []
    for number, example in enumerate(examples):
        reference = example.reference
        nominals = [_place(ent) for ent in reference.ents if ent.label_ == NOMINAL]
        if len(nominals) != 2 or not is_annotated(reference, "relations"):
            continue
        name = _id(reference)
        found.append((number, name, _gold_label(reference, nominals), _proposed_label(example.predicted, nominals)))
    names = [name for _, name, _, _ in found]
    own = None not in names and len(set(names)) == len(names)
    keys = names if own else [number for number, _, _, _ in found]
    gold, proposed = ({key: row[column] for key, row in zip(keys, found)} for column in (2, 3))
    return gold, proposed


def read_labels(path: Path) -> Dict[int, str]:
    """Read the labels of a file: an id, a tab and a label in each line, in any order, as in keys and proposed answers; or a corpus,
    where the label stands in the line below the sentence.

    path (Path): TEST_FILE_FULL.TXT, for example. TEST_FILE_KEY.TXT of the release has no directions, so it is no key.
    RETURNS (Dict[int, str]): Label by id. Raises ValueError with file and line for what does not follow the format (E312) and for
        an id that is given twice (E313).
    """
    labels: Dict[int, str] = {}
    waiting: Optional[str] = None
    lines = path.read_text(encoding="utf-8-sig").split("\n")
    for number, line in enumerate([*lines, "end of file"], 1):
        where, line = f"{path.name}:{number}", line.strip()
        last = number > len(lines)
        if not line or line.startswith("Comment") or (last and waiting is None):
            continue
        match = LINE.fullmatch(line)
        if match and waiting is None and match[2].startswith('"'):
            waiting = match[1]
            continue
        name, label = match.groups() if match and waiting is None else (waiting, line)
        waiting = None
        if name is None or label not in LABELS:
            raise ValueError(Errors.E312.format(where=where, relations=", ".join(RELATIONS), line=line))
        if int(name) in labels:
            raise ValueError(Errors.E313.format(where=where, id=name))
        labels[int(name)] = label
    return labels


def official_scores(gold: Mapping[Any, str], proposed: Mapping[Any, str]) -> Dict[str, Dict[str, Any]]:
    """Score proposed labels as the official scorer does, in its three ways.

    gold (Mapping[Hashable, str]): Label by id: "Cause-Effect(e1,e2)", "Other".
    proposed (Mapping[Hashable, str]): The same. Ids may be left out: skipped, which costs recall as if Other were proposed. So do
        relations that no id has in `gold`.
    RETURNS (Dict[str, Dict[str, Any]]): `official` is the (9+1)-way evaluation taking directionality into account, and its
        `macro_f` the official score; `undirected` is the (9+1)-way evaluation ignoring directionality, `directed` the (2*9+1)-way
        one. In each, from 0 to 1, and 0 where there is nothing to divide by:
        `per_type`: by label of `gold`, Other last: p, r, f, and the counts `correct`, `proposed`, `gold`: p = correct / proposed,
        r = correct / gold. In `official`, `proposed` includes `wrong_direction`: the relation is right, its direction is not.
        `macro_p`, `macro_r`, `macro_f`: means over the relations that `gold` has, Other left out.
        `micro_p`, `micro_r`, `micro_f`: from the sums of their counts, which are `correct`, `proposed` and `gold`.
        `accuracy`: of the ids with a proposed label. `accuracy_skipped_wrong`, `accuracy_skipped_other`: of all, skipped ones taken
        as wrong or as Other. `coverage`: share of ids with a proposed label. `answered`, `total`: their number, and that of all.
        `confusion`: how often, by gold label and then by proposed label, without those in `wrong_direction`.
        Raises ValueError for ids that are not in `gold` (E310) and for unknown labels (E311).
    """
    unknown = [name for name in proposed if name not in gold]
    if unknown:
        raise ValueError(Errors.E310.format(id=unknown[0], count=len(unknown), total=len(gold)))
    for labels in (gold, proposed):
        _check(labels)
    answers = list(gold.values())
    pairs = [(gold[name], label) for name, label in proposed.items()]
    return {
        "official": _evaluate(answers, pairs, _undirected, direction_counts=True),
        "undirected": _evaluate(answers, pairs, _undirected),
        "directed": _evaluate(answers, pairs, str),
    }


def _check(labels: Mapping[Any, str]) -> None:
    for name, label in labels.items():
        if label not in LABELS:
            raise ValueError(Errors.E311.format(label=label, id=name, relations=", ".join(RELATIONS)))


def _undirected(label: str) -> str:
    return label.partition("(")[0]


def _evaluate(
    answers: Sequence[str], pairs: Sequence[Tuple[str, str]], name: Callable[[str], str], direction_counts: bool = False
) -> Dict[str, Any]:
    """One of the evaluations of `official_scores`.

    answers (Sequence[str]): All gold labels.
    pairs (Sequence[Tuple[str, str]]): Gold and proposed label of the ids that have both.
    name (Callable[[str], str]): What a label is called in this evaluation.
    direction_counts (bool): Whether labels of one name that are not the same are wrong.
    """
    totals = Counter(map(name, answers))
    cells: Counter = Counter()
    turned: Counter = Counter()
    for answer, label in pairs:
        if direction_counts and answer != label and name(answer) == name(label):
            turned[name(answer)] += 1
        else:
            cells[name(answer), name(label)] += 1
    labels = _in_order(totals)
    columns = [*labels, *_in_order({label for _, label in cells} - set(labels))]
    per_type = {}
    for label in labels:
        proposed = sum(cells[row, label] for row in labels) + turned[label]
        per_type[label] = {**_prf(cells[label, label], proposed, totals[label]), "wrong_direction": turned[label]}
    correct = sum(cells[label, label] for label in labels)
    skipped_other = totals[OTHER] - sum(cells[OTHER, label] for label in columns)
    return {
        **_means([scores for label, scores in per_type.items() if label != OTHER]),
        "per_type": per_type,
        "accuracy": _share(correct, len(pairs)),
        "accuracy_skipped_wrong": _share(correct, len(answers)),
        "accuracy_skipped_other": _share(correct + skipped_other, len(answers)),
        "coverage": _share(len(pairs), len(answers)),
        "answered": len(pairs),
        "total": len(answers),
        "confusion": {row: {column: cells[row, column] for column in columns} for row in labels},
    }


def _in_order(labels: Iterable[str]) -> List[str]:
    return sorted(labels, key=lambda label: (label == OTHER, label))


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


def _prf(correct: int, proposed: int, gold: int) -> Dict[str, Any]:
    p, r = _share(correct, proposed), _share(correct, gold)
    f = 2 * p * r / (p + r) if correct else 0.0
    return {"p": p, "r": r, "f": f, "correct": correct, "proposed": proposed, "gold": gold}


def _means(relations: Sequence[Dict[str, Any]]) -> Dict[str, Any]:
    """RETURNS (Dict[str, Any]): Macro and micro averages, and the sums that the micro averages are taken of."""
    sums = {name: sum(scores[name] for scores in relations) for name in ("correct", "proposed", "gold")}
    micro = _prf(**sums)
    count = max(1, len(relations))
    macro = {f"macro_{k}": sum(scores[k] for scores in relations) / count for k in "prf"}
    return {**macro, **{f"micro_{k}": micro[k] for k in "prf"}, **sums}


def _place(span: Span) -> PlaceT:
    return (span.start_char, span.end_char)


def _id(doc: Doc) -> Optional[Hashable]:
    meta = doc.user_data.get("meta")
    name = meta.get("id") if isinstance(meta, dict) else None
    return name if isinstance(name, Hashable) else None


def _gold_label(doc: Doc, nominals: Sequence[PlaceT]) -> str:
    found = _answers(doc, nominals)
    count = len(get_relations(doc))
    if count > 1 or len(found) != count:
        raise ValueError(Errors.E314.format(text=doc.text[:60], count=count, between=len(found)))
    return found[0][1] if found else OTHER


def _proposed_label(doc: Doc, nominals: Sequence[PlaceT]) -> str:
    return max(_answers(doc, nominals), key=lambda answer: answer[0], default=(0.0, OTHER))[1]


def _answers(doc: Doc, nominals: Sequence[PlaceT]) -> List[Tuple[float, str]]:
    """RETURNS (List[Tuple[float, str]]): Probability and label of the relations between the nominals."""
    directions = dict(zip((tuple(nominals), tuple(nominals[::-1])), DIRECTIONS))
    found = [(relation, directions.get((_place(relation.head), _place(relation.tail)))) for relation in get_relations(doc)]
    return [(relation.score, relation.label + direction) for relation, direction in found if direction is not None]
