"""Which tokens a classifier of pairs looks at: indices and buckets, as plain arrays.

They are counted here and not in torch, where each of these many small operations takes several times as long.
"""

from typing import List, NamedTuple, Sequence, Tuple

import numpy
from numpy import ndarray

# Gaps of 0, 1, 2, 3-4, 5-8, 9-16, 17-32, 33-64, 65 and more tokens.
GAP_BORDERS = numpy.array((0, 1, 2, 4, 8, 16, 32, 64))
# Spans of 1, 2, 3, 4-6, 7 and more tokens.
WIDTH_BORDERS = numpy.array((1, 2, 3, 6))
MOST_BETWEEN = 4


class Covered(NamedTuple):
    """The tokens of S spans, one span after the other. N is the sum of their sizes.

    token, owner (ndarray): The token, and the index of its span. Shape: (N,).
    begin (ndarray): Where each span begins among them. Shape: (S,).
    """

    token: ndarray
    owner: ndarray
    begin: ndarray

    @classmethod
    def by(cls, spans: ndarray) -> "Covered":
        """spans (ndarray): Start and end (exclusive) of each. Shape: (S, 2 or more). RETURNS (Covered): Their tokens."""
        sizes = spans[:, 1] - spans[:, 0]
        begin = numpy.cumsum(sizes) - sizes
        owner = numpy.repeat(numpy.arange(len(spans)), sizes)
        return cls(numpy.arange(len(owner)) + (spans[:, 0] - begin)[owner], owner, begin)

    def labels(self, spans: ndarray, tokens: int) -> Tuple[ndarray, ndarray]:
        """The label of the span that covers a token; of several, the one that starts last.

        spans (ndarray): Start, end and label of each, sorted by start. Shape: (S, 3).
        tokens (int): How many tokens there are.
        RETURNS (Tuple[ndarray, ndarray]): The tokens that some span covers, and the labels.
        """
        cover = numpy.full(tokens, -1)
        cover[self.token] = self.owner  # where one token stands several times, the last owner stays
        named = numpy.flatnonzero(cover >= 0)
        return named, spans[cover[named], 2]


def width_buckets(spans: ndarray) -> ndarray:
    """RETURNS (ndarray): The bucket of the size of each span. Shape: (S,)."""
    return numpy.searchsorted(WIDTH_BORDERS, spans[:, 1] - spans[:, 0])


def distances(spans: ndarray, pairs: ndarray) -> Tuple[ndarray, ndarray]:
    """How far the two spans of pairs are from each other.

    RETURNS (Tuple[ndarray, ndarray]): The bucket of the gap, a third of them for each direction and for spans that overlap; and the
        number of spans between. Shape of each: (P,).
    """
    head, tail = spans[pairs[:, 0]], spans[pairs[:, 1]]
    gap = numpy.maximum(tail[:, 0] - head[:, 1], head[:, 0] - tail[:, 1])
    order = numpy.where(gap < 0, 2, head[:, 0] > tail[:, 0])  # overlapping, or which comes first
    bucket = numpy.searchsorted(GAP_BORDERS, numpy.maximum(gap, 0))
    between = numpy.clip(numpy.abs(pairs[:, 0] - pairs[:, 1]) - 1, 0, MOST_BETWEEN)
    return bucket + order * (len(GAP_BORDERS) + 1), between


def context_ranges(spans: ndarray, pairs: ndarray, bounds: ndarray, size: int) -> Tuple[ndarray, ndarray]:
    """The tokens between the two spans of pairs, before the first and behind the second.

    bounds (ndarray): First token and end of the document of each span. Shape: (S, 2).
    size (int): How many tokens before and behind.
    RETURNS (Tuple[ndarray, ndarray]): Starts, and ends (exclusive), never before their start. Shape of each: (P, 3).
    """
    head, tail = spans[pairs[:, 0]], spans[pairs[:, 1]]
    limits = bounds[pairs[:, 0]]
    first, last = numpy.minimum(head[:, 0], tail[:, 0]), numpy.maximum(head[:, 1], tail[:, 1])
    inner = numpy.minimum(head[:, 1], tail[:, 1])
    outer = numpy.maximum(head[:, 0], tail[:, 0])
    start = numpy.stack([inner, numpy.maximum(first - size, limits[:, 0]), last], axis=1)
    end = numpy.stack([numpy.maximum(outer, inner), first, numpy.minimum(last + size, limits[:, 1])], axis=1)
    return start, end


def window_counts(tokens: int, longest: int) -> List[int]:
    """How many windows of each power of two there are, up to the longest range that is asked for.

    tokens (int): How many tokens there are.
    longest (int): Length of the longest range.
    RETURNS (List[int]): Item k is about windows of 2**k tokens.
    """
    return [tokens - 2**k + 1 for k in range(max(longest.bit_length(), 1))]


def range_windows(start: ndarray, end: ndarray, counts: Sequence[int]) -> Tuple[ndarray, ndarray]:
    """The two windows, a power of two long, that cover a range.

    start, end (ndarray): End exclusive. Shape: (P, R).
    counts (Sequence[int]): As `window_counts` gives them.
    RETURNS (Tuple[ndarray, ndarray]): Their places, if all windows stand one after the other, the shortest first; behind them
        come R rows, for ranges without tokens. Shape of each: (P, R).
    """
    sizes = end - start
    level = numpy.maximum(numpy.frexp(sizes)[1] - 1, 0)
    firsts = numpy.cumsum([0, *counts])
    first, nothing = firsts[level], firsts[-1] + numpy.arange(start.shape[1])
    one, other = (numpy.where(sizes > 0, place, nothing) for place in (first + start, first + end - (1 << level)))
    return one, other


def chunks(spans: ndarray, pairs: ndarray, most_pairs: int, most_tokens: int) -> List[ndarray]:
    """Divide pairs into groups that begin in one stretch of the text.

    most_pairs (int): Pairs in a group.
    most_tokens (int): Length of a stretch.
    RETURNS (List[ndarray]): Indices of pairs, each once.
    """
    blocks = spans[pairs, 0].min(axis=1) // most_tokens
    order = numpy.argsort(blocks, kind="stable")
    parts = numpy.split(order, numpy.flatnonzero(numpy.diff(blocks[order])) + 1)
    return [part[i : i + most_pairs] for part in parts for i in range(0, len(part), most_pairs)]


def cut_out(spans: ndarray, pairs: ndarray, margin: int, tokens: int) -> Tuple[Tuple[int, int], int, ndarray]:
    """The stretch of tokens around some pairs, and the spans in it.

    margin (int): How many tokens beside the pairs are wanted.
    tokens (int): How many tokens there are.
    RETURNS (Tuple[Tuple[int, int], int, ndarray]): First token and end; the first span; and the spans from it on, counted from the
        first token. Those that stick out belong to none of the pairs; what is left of them still marks its tokens.
    """
    used = spans[pairs.ravel()]
    low, high = max(int(used[:, 0].min()) - margin, 0), min(int(used[:, 1].max()) + margin, tokens)
    inside = numpy.flatnonzero((spans[:, 0] < high) & (spans[:, 1] > low))
    near = spans[inside[0] : inside[-1] + 1].copy()
    near[:, :2] = numpy.clip(near[:, :2] - low, 0, high - low)
    near[:, 1] = numpy.minimum(numpy.maximum(near[:, 1], near[:, 0] + 1), high - low)
    near[:, 0] = numpy.minimum(near[:, 0], near[:, 1] - 1)
    return (low, high), int(inside[0]), near
