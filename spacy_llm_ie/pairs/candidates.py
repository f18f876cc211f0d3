"""Which pairs of spans are scored at all."""

from typing import Any, Callable, List, NamedTuple, Optional, Tuple

import numpy
from numpy import ndarray
from spacy.tokens import Doc

from ..errors import Errors

SpanT = Tuple[int, int, str]  # start, end, label
# Document; starts and ends of its spans (S, 2), sorted; which of them may be heads, and which tails -> pairs (P, 2).
# Documents with so few pairs are asked first whether all of them are near.
FEW = 10_000
PairGeneratorT = Callable[[Doc, ndarray, ndarray, ndarray], ndarray]


class Candidates(NamedTuple):
    """The spans of one document, sorted by start and end, and the pairs of them that are scored, head first. Shape: (P, 2)."""

    spans: List[SpanT]
    pairs: ndarray


def create_near_pairs_v1(max_distance: Optional[int] = 100, max_sentences: Optional[int] = None) -> PairGeneratorT:
    """Make a candidate generator: all ordered pairs of spans that lie near each other.

    Use it as `@misc = "spacy-llm-ie.near_pairs.v1"`.

    max_distance (Optional[int]): Most tokens between the two spans. None: any number.
    max_sentences (Optional[int]): Most sentence borders between the two spans: 0 wants both in one sentence. None: any number.
        Borders are those of the document; where none are set (no parser, no sentencizer) it counts as one sentence.
    RETURNS (Callable): Takes a Doc, starts and ends of its spans sorted by start (S, 2), and the indices of those that may be
        heads and tails; returns pairs of indices, sorted. Shape: (P, 2). No span is paired with itself.
    """
    for name, value in (("max_distance", max_distance), ("max_sentences", max_sentences)):
        if value is not None and value < 0:
            raise ValueError(Errors.E301.format(setting=name, found=value))

    def near_pairs(doc: Doc, spans: ndarray, heads: ndarray, tails: ndarray) -> ndarray:
        pairs = _near(spans, heads, tails, len(doc) if max_distance is None else max_distance)
        if max_sentences is not None and len(pairs) and doc.has_annotation("SENT_START"):
            number = numpy.cumsum(doc.to_array("SENT_START") == 1)
            sentence = number[spans[:, 0]]
            apart = numpy.abs(sentence[pairs[:, 0]] - sentence[pairs[:, 1]])
            pairs = pairs[apart <= max_sentences]
        return pairs

    return near_pairs


def _near(spans: ndarray, heads: ndarray, tails: ndarray, distance: int) -> ndarray:
    """All pairs with at most `distance` tokens between them, without looking at those that are far apart. Shape: (P, 2)."""
    if not len(heads) or not len(tails):
        return numpy.zeros((0, 2), dtype="int64")
    if len(heads) * len(tails) <= FEW and spans[-1, 0] - spans[0, 0] <= distance:
        return _all_pairs(heads, tails)
    start, end = spans[tails, 0], spans[tails, 1]
    last = numpy.searchsorted(start, spans[heads, 1] + distance, side="right")
    first = numpy.searchsorted(numpy.maximum.accumulate(end), spans[heads, 0] - distance, side="left")
    counts = numpy.maximum(last - first, 0)
    owner = numpy.repeat(numpy.arange(len(heads)), counts)
    offset = numpy.arange(len(owner)) - numpy.repeat(numpy.cumsum(counts) - counts, counts)
    pairs = numpy.stack([heads[owner], tails[first[owner] + offset]], axis=1)
    near = spans[pairs[:, 0], 0] - spans[pairs[:, 1], 1] <= distance
    return pairs[near & (pairs[:, 0] != pairs[:, 1])]


def _all_pairs(heads: ndarray, tails: ndarray) -> ndarray:
    """All pairs, but of no span with itself. Shape: (P, 2)."""
    pairs = numpy.empty((len(heads), len(tails), 2), dtype="int64")
    pairs[..., 0], pairs[..., 1] = heads[:, None], tails
    pairs = pairs.reshape(-1, 2)
    return pairs[pairs[:, 0] != pairs[:, 1]]


def closest(spans: ndarray, pairs: ndarray, most: int) -> ndarray:
    """The pairs with the fewest tokens between them, in their order. RETURNS (ndarray): Shape (at most `most`, 2)."""
    if len(pairs) <= most:
        return pairs
    head, tail = spans[pairs[:, 0]], spans[pairs[:, 1]]
    gap = numpy.maximum(tail[:, 0] - head[:, 1], head[:, 0] - tail[:, 1])
    return pairs[numpy.sort(numpy.argsort(gap, kind="stable")[:most])]


def check_generator(name: str, generator: Any) -> PairGeneratorT:
    """Refuse what is no function with a ValueError (E302): config does not check what registered functions return."""
    if not callable(generator):
        raise ValueError(Errors.E302.format(name=name, found=repr(generator)))
    return generator
