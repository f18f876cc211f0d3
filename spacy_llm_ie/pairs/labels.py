"""What a component for pairs knows of labels: those of pairs, those of spans, and which fit together."""

from collections import Counter
from typing import Any, Dict, Iterable, Iterator, List, NamedTuple, Optional, Sequence, Set, Tuple

import numpy
from numpy import ndarray

from ..errors import Errors
from ..rows import split_rows
from .candidates import SpanT

SchemaT = Dict[str, List[List[str]]]


class GoldPairs(NamedTuple):
    """The annotation of one document, on the tokens of the predicted document.

    spans (List[SpanT]): All spans of the annotation that may be paired, sorted, each once.
    labels (Dict[Tuple[SpanT, SpanT], Set[str]]): Labels of the pairs that have some, head first.
    lost (int): Facts whose spans do not fall on the predicted tokens.
    """

    spans: List[SpanT]
    labels: Dict[Tuple[SpanT, SpanT], Set[str]]
    lost: int = 0

    def facts(self, symmetric: Sequence[str] = ()) -> Iterator[Tuple[SpanT, SpanT, str]]:
        """Each labelled pair. Labels without direction, which stand in both, come once. YIELDS: Head, tail, label."""
        for (head, tail), labels in self.labels.items():
            yield from ((head, tail, label) for label in labels if label not in symmetric or head <= tail)


class Survey(NamedTuple):
    """What the training data has: labels with the types of their pairs, labels of spans, whether a pair has several labels,
    facts, and how many of them are lost or no candidates."""

    schema: SchemaT
    span_labels: List[str]
    several: bool
    facts: int
    lost: int


def survey(annotations: Iterable[Optional[GoldPairs]], symmetric: Sequence[str] = ()) -> Survey:
    """Go through the training data once.

    annotations (Iterable[Optional[GoldPairs]]): One a document.
    symmetric (Sequence[str]): Labels without direction; they count once.
    RETURNS (Survey): Everything sorted, so that it does not depend on the order.
    """
    types: Dict[str, Set[Tuple[str, str]]] = {}
    span_labels: Set[str] = set()
    counts: Counter = Counter()
    several = False
    for gold in filter(None, annotations):
        span_labels.update(span[2] for span in gold.spans)
        counts["lost"] += gold.lost
        counts["facts"] += sum(1 for _ in gold.facts(symmetric))
        for (head, tail), labels in gold.labels.items():
            several |= len(labels) > 1
            for label in labels:
                types.setdefault(label, set()).add((head[2], tail[2]))
    schema = {label: sorted(map(list, pairs)) for label, pairs in sorted(types.items())}
    return Survey(schema, sorted(span_labels), several, counts["facts"] + counts["lost"], counts["lost"])


class LabelTable:
    """Numbers for labels, and which labels a pair of types may have.

    labels (Sequence[str]): Labels of pairs; output 0 of the model stands for none, the first label for output 1.
    span_labels (Sequence[str]): Labels of spans, numbered from 1; 0 is an unknown label.
    schema (Optional[SchemaT]): Pairs of types by label. None: every label for every pair.
    """

    def __init__(self, labels: Sequence[str], span_labels: Sequence[str], schema: Optional[SchemaT]) -> None:
        self.labels = list(labels)
        self.outputs = {label: i for i, label in enumerate(labels, 1)}
        self.span_ids = {label: i for i, label in enumerate(span_labels, 1)}
        size = len(span_labels) + 1
        self.allowed = numpy.full((size, size, len(labels) + 1), schema is None)
        for label, pairs in (schema or {}).items():
            for head, tail in pairs:
                if label in self.outputs and head in self.span_ids and tail in self.span_ids:
                    self.allowed[self.span_ids[head], self.span_ids[tail], self.outputs[label]] = True
        self.joined = self.allowed[:, :, 1:].any(axis=2)
        self.allowed[:, :, 0] = True

    def rows(self, spans: Sequence[Sequence[SpanT]]) -> List[ndarray]:
        """RETURNS (List[ndarray]): Start, end and number of the label of each span, by document. Shape of each: (S, 3)."""
        numbers = self.span_ids
        flat = [number for found in spans for start, end, label in found for number in (start, end, numbers.get(label, 0))]
        return split_rows(numpy.array(flat, dtype="int64").reshape(-1, 3), map(len, spans))

    def masks(self, rows: Sequence[ndarray], pairs: Sequence[ndarray]) -> ndarray:
        """Which labels the pairs of all documents may have. RETURNS (ndarray): Output 0 always. Shape: (all pairs, K)."""
        return self.allowed[_types(rows, pairs)]

    def with_label(self, rows: Sequence[ndarray], pairs: Sequence[ndarray]) -> List[ndarray]:
        """RETURNS (List[ndarray]): Those pairs of each document whose types some label joins. Shape of each: (P, 2)."""
        fit = self.joined[_types(rows, pairs)]
        if fit.all():
            return list(pairs)
        if len(pairs) == 1:
            return [pairs[0][fit]]
        ends = numpy.concatenate([[0], numpy.cumsum(fit)])[numpy.cumsum([len(part) for part in pairs])]
        return split_rows(numpy.concatenate(pairs)[fit], numpy.diff(ends, prepend=0).tolist())

    def targets(self, spans: Sequence[SpanT], pairs: ndarray, gold: GoldPairs, name: str) -> ndarray:
        """The gold labels of pairs. RETURNS (ndarray): True where a label holds, output 0 where none does. Shape: (P, K).

        Raises ValueError (E303) for a label that the component does not have.
        """
        result = numpy.zeros((len(pairs), len(self.labels) + 1), dtype=bool)
        if gold.labels:
            for row, (head, tail) in zip(result, pairs.tolist()):
                for label in gold.labels.get((spans[head], spans[tail]), ()):
                    if label not in self.outputs:
                        raise ValueError(Errors.E303.format(name=name, label=label, labels=self.labels))
                    row[self.outputs[label]] = True
        result[:, 0] = ~result.any(axis=1)
        return result


def _types(rows: Sequence[ndarray], pairs: Sequence[ndarray]) -> Tuple[ndarray, ndarray]:
    """The numbers of the labels of heads and of tails of all pairs. Shape of each: (all pairs,)."""
    if not len(rows):
        return numpy.zeros(0, dtype="int64"), numpy.zeros(0, dtype="int64")
    if len(rows) == 1:
        return tuple(rows[0][:, 2][pairs[0].T])
    sizes = numpy.array([len(part) for part in rows])
    before = numpy.repeat(numpy.cumsum(sizes) - sizes, [len(part) for part in pairs])
    heads, tails = numpy.concatenate(rows)[:, 2][numpy.concatenate(pairs) + before[:, None]].T
    return heads, tails


def check_schema(name: str, schema: Any) -> SchemaT:
    """Refuse a given ontology that is no table of label -> [[head type, tail type], ...] with a ValueError (E304)."""
    for label, pairs in schema.items():
        if not isinstance(pairs, list) or not all(isinstance(pair, list) and len(pair) == 2 for pair in pairs):
            raise ValueError(Errors.E304.format(name=name, label=label, found=pairs))
    return schema
