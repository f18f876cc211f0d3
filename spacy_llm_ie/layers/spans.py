"""Exact probabilities of labelled spans under a chain, from one forward-backward pass.

The probability of a span is exp(log Z with the span's tags clamped - log Z). The tags before and after the clamp are summed by
the messages, so that any number of spans costs one gather each, not one pass each.
"""

from typing import Any, Callable, List, NamedTuple, Sequence, Tuple, Union

import numpy
from numpy import ndarray

from ..schemes import SpanTags
from . import loops
from .chain import NEG_INF, Messages, Potentials, ScaledMessages, log_sum, real_tokens

# A span in a batch: (sequence, start, end, label), end exclusive; label is an index into the labels' SpanTags.
BatchSpanT = Tuple[int, int, int, int]
MessagesT = Union[Messages, ScaledMessages]


class ScoredSpans(NamedTuple):
    """Spans of a batch, side by side: integers `sequence, start, end, label`, and their probabilities `score`."""

    sequence: ndarray
    start: ndarray
    end: ndarray
    label: ndarray
    score: ndarray


def closing_messages(p: Potentials, messages: Messages, closing: ndarray) -> ndarray:
    """Sum over all suffixes that leave a tag and end its span there.

    closing (ndarray): True where a step ends the span of the previous tag. Shape: (K, K).
    RETURNS (ndarray): As `Messages.after`, restricted to closing steps. Shape: (B, T, K).
    """
    B, T, K = p.emissions.shape
    result = numpy.full((B, T, K), NEG_INF)
    if B == 0 or T == 0:
        return result
    steps = numpy.where(closing, p.transitions, NEG_INF).astype(numpy.float64)
    following = (messages.after + p.emissions)[:, 1:]
    top = following.max(axis=2, keepdims=True)
    top = numpy.where(numpy.isfinite(top), top, 0.0)
    with numpy.errstate(divide="ignore"):
        result[:, :-1] = numpy.log(numpy.exp(following - top) @ numpy.exp(steps).T) + top
    rows = numpy.nonzero(p.lengths > 0)[0]
    ends = numpy.where(closing.any(axis=1), p.end, NEG_INF)
    result[rows, p.lengths[rows] - 1] = ends
    return result


def span_probabilities(
    p: Potentials, messages: MessagesT, closing: ndarray, tags: Sequence[SpanTags], spans: Sequence[BatchSpanT]
) -> ndarray:
    """The probability that exactly this labelled span stands in the sequence, for each span.

    closing (ndarray): The scheme's closing steps. Shape: (K, K).
    tags (Sequence[SpanTags]): The tags that spell a span, by label.
    spans (Sequence[BatchSpanT]): Any spans that lie inside their sequences.
    RETURNS (ndarray): Shape (N,), float64, in [0, 1].
    """
    if not len(spans):
        return numpy.zeros(0)
    loop = loops.compiled(loops.span_scores) if isinstance(messages, ScaledMessages) else None
    if loop is not None:
        return _in_loops(loop, p, messages, closing, tags, spans)
    sequence, start, end, label = numpy.asarray(spans, dtype=numpy.intp).T
    spelling = numpy.asarray(tags, dtype=numpy.intp)  # (L, 4)
    lengths = end - start
    owner = numpy.repeat(numpy.arange(len(lengths)), lengths)
    offset = numpy.arange(len(owner)) - numpy.repeat(numpy.cumsum(lengths) - lengths, lengths)
    first, last = offset == 0, offset == lengths[owner] - 1
    role = numpy.where(first & last, 0, numpy.where(first, 1, numpy.where(last, 3, 2)))
    path = spelling[label[owner], role]
    position = start[owner] + offset
    scores = p.emissions[sequence[owner], position, path].astype(numpy.float64)
    inner = numpy.nonzero(~first)[0]
    scores[inner] += p.transitions[path[inner - 1], path[inner]]
    heads, tails = numpy.nonzero(first)[0], numpy.nonzero(last)[0]
    total = numpy.add.reduceat(scores, heads) + _pick(messages.before_at(sequence, start), path[heads])
    leaving = _closing_at(p, messages, closing, sequence, end - 1, path[tails])
    return numpy.exp(numpy.minimum(total + leaving - messages.log_z[sequence], 0.0))


def _in_loops(
    loop: Callable, p: Potentials, messages: ScaledMessages, closing: ndarray, tags: Sequence[SpanTags], spans: Any
) -> ndarray:
    """As `span_probabilities`; loop (Callable): `loops.span_scores`, compiled."""
    places, spelling = numpy.ascontiguousarray(spans, dtype="int64"), numpy.array(tags, dtype="int64")
    emissions, lengths, _, end, transitions = p.plain()
    scores = numpy.empty(len(places))
    known = (closing, spelling, places, messages.sums, messages.scales, messages.log_z)
    loop(emissions, lengths, end, transitions, *known, scores)
    return scores


def _pick(table: ndarray, columns: ndarray) -> ndarray:
    """One number of each row. Shape: (N,)."""
    return table[numpy.arange(len(table)), columns]


def _closing_at(
    p: Potentials, messages: MessagesT, closing: ndarray, sequence: ndarray, position: ndarray, tag: ndarray
) -> ndarray:
    """`closing_messages` at single places only. Shape: (N,)."""
    steps = numpy.where(closing, p.transitions, NEG_INF)
    last = p.lengths[sequence] - 1
    final, following = position == last, numpy.minimum(position + 1, last)
    inner = log_sum(steps[tag] + p.emissions[sequence, following] + messages.after_at(sequence, following))
    ends = numpy.where(closing.any(axis=1), p.end, NEG_INF)
    return numpy.where(final, ends[tag], inner)


def likely_spans(p: Potentials, messages: Messages, closing: ndarray, tags: Sequence[SpanTags], minimum: float) -> ScoredSpans:
    """All labelled spans whose probability is at least a minimum, found without trying all (start, end) pairs.

    Spans grow to the right from each start; one is given up when the probability that any span with this start and label is at
    least so long falls below the minimum, so that the search is exact.

    minimum (float): Greater than 0.
    RETURNS (ScoredSpans): Ordered by sequence, start, end and label.
    """
    leaving = closing_messages(p, messages, closing)
    real = real_tokens(p.lengths, p.emissions.shape[1])
    found: List[ScoredSpans] = []
    floor = numpy.log(minimum)
    for label, spelling in enumerate(tags):
        found.extend(_grow(p, messages, leaving, real, spelling, label, floor))
    if not found:
        empty = numpy.zeros(0, dtype=numpy.intp)
        return ScoredSpans(empty, empty, empty, empty, numpy.zeros(0))
    spans = ScoredSpans(*(numpy.concatenate(column) for column in zip(*found)))
    order = numpy.lexsort((spans.label, spans.end, spans.start, spans.sequence))
    return ScoredSpans(*(column[order] for column in spans))


def _grow(
    p: Potentials, messages: Messages, leaving: ndarray, real: ndarray, tags: SpanTags, label: int, floor: float
) -> List[ScoredSpans]:
    """The likely spans of one label, a batch of equal length at a time."""
    found: List[ScoredSpans] = []
    log_z = messages.log_z[:, None]

    def keep(sequence: ndarray, start: ndarray, end: ndarray, scores: ndarray) -> None:
        good = scores >= floor
        if good.any():
            score = numpy.exp(numpy.minimum(scores[good], 0.0))
            found.append(ScoredSpans(sequence[good], start[good], end[good], numpy.full(good.sum(), label), score))

    single = messages.before[..., tags.unit] + p.emissions[..., tags.unit] + leaving[..., tags.unit] - log_z
    sequence, start = numpy.nonzero(real)
    keep(sequence, start, start + 1, single[sequence, start])
    mass = messages.before[..., tags.begin] + p.emissions[..., tags.begin]
    alive = real & (mass + messages.after[..., tags.begin] - log_z >= floor)
    sequence, start = numpy.nonzero(alive)
    mass, end, current = mass[sequence, start], start + 1, tags.begin
    while len(sequence):
        inside = end < p.lengths[sequence]
        sequence, start, end, mass = sequence[inside], start[inside], end[inside], mass[inside]
        z = messages.log_z[sequence]
        stop = mass + p.transitions[current, tags.last] + p.emissions[sequence, end, tags.last]
        keep(sequence, start, end + 1, stop + leaving[sequence, end, tags.last] - z)
        mass = mass + p.transitions[current, tags.inside] + p.emissions[sequence, end, tags.inside]
        alive = mass + messages.after[sequence, end, tags.inside] - z >= floor
        sequence, start, end, mass = sequence[alive], start[alive], end[alive] + 1, mass[alive]
        current = tags.inside
    return found
