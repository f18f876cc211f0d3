"""Sums over the paths of a linear chain (forward-backward), on plain arrays; maxima are in `viterbi`.

Everything runs on the CPU: a step of a chain is a handful of tiny operations, and what one costs is its overhead. The only Python
loops are the recursions over positions, in which each step serves the whole batch; where numba is installed, those of `loops` take
their place. Notation: B sequences, T positions, K tags; `transitions[j, k]` scores tag j followed by tag k; -inf forbids. Sequences
are padded on the right; what lies behind `lengths[b]` is never read.

Sums follow Rabiner, "A Tutorial on Hidden Markov Models" (1989), section V.A (scaled messages); the marginals are those of
Lafferty, McCallum and Pereira, "Conditional Random Fields" (2001), section 3.
"""

from typing import Any, NamedTuple, Tuple

import numpy
from numpy import ndarray

from ..processor import ALONE_IN_NUMPY
from . import loops

NEG_INF = -numpy.inf
# With so many tags that fewer rows make a product that numpy shares out to threads, these are worth it, and reading the matrix once
# for each row is not.
FEW_ROWS = 16


class Potentials(NamedTuple):
    """The scores of a chain: emissions (B, T, K), lengths (B,), start (K,), end (K,), transitions (K, K)."""

    emissions: ndarray
    lengths: ndarray
    start: ndarray
    end: ndarray
    transitions: ndarray

    def plain(self) -> Tuple[ndarray, ndarray, ndarray, ndarray, ndarray]:
        """What `loops` takes. RETURNS: The five in C order, scores as float64, lengths as int64; the same ones, if they are so."""
        start, end, steps = (numpy.ascontiguousarray(x, dtype=numpy.float64) for x in (self.start, self.end, self.transitions))
        emissions = numpy.ascontiguousarray(self.emissions, dtype=numpy.float64)
        return emissions, numpy.ascontiguousarray(self.lengths, dtype=numpy.int64), start, end, steps


class Messages(NamedTuple):
    """What forward-backward finds, as logarithms.

    before (ndarray): Sum over all prefixes that enter a tag, without the tag's own emission. Shape: (B, T, K).
    after (ndarray): Sum over all suffixes that leave a tag, without its own emission. Shape: (B, T, K).
    log_z (ndarray): Sum over all paths; 0 for an empty sequence, -inf where no path is legal. Shape: (B,).
    """

    before: ndarray
    after: ndarray
    log_z: ndarray

    def before_at(self, sequence: ndarray, position: ndarray) -> ndarray:
        """`before` at some places. RETURNS (ndarray): Shape (N, K)."""
        return self.before[sequence, position]

    def after_at(self, sequence: ndarray, position: ndarray) -> ndarray:
        """`after` at some places. RETURNS (ndarray): Shape (N, K)."""
        return self.after[sequence, position]


class ScaledMessages(NamedTuple):
    """`Messages` as they are computed: scaled, so that logarithms can be taken at the few places where they are wanted.

    sums (ndarray): Those from the left and, turned round, those from the right. Shape: (T, 2, B, K).
    scales (ndarray): Logarithms of what they were divided by. Shape: (T, 2, B).
    lengths (ndarray): Shape (B,).
    log_z (ndarray): As in `Messages`. Shape: (B,).
    """

    sums: ndarray
    scales: ndarray
    lengths: ndarray
    log_z: ndarray

    def before_at(self, sequence: ndarray, position: ndarray) -> ndarray:
        """`Messages.before` at some places. RETURNS (ndarray): Shape (N, K)."""
        return self._logs(position, 0, sequence)

    def after_at(self, sequence: ndarray, position: ndarray) -> ndarray:
        """`Messages.after` at some places. RETURNS (ndarray): Shape (N, K)."""
        return self._logs(self.lengths[sequence] - 1 - position, 1, sequence)

    def _logs(self, *place: Any) -> ndarray:
        with numpy.errstate(divide="ignore"):
            return numpy.log(self.sums[place]) + self.scales[place][..., None]

    def whole(self) -> Messages:
        """RETURNS (Messages): The logarithms everywhere."""
        if not self.sums.size:
            B, (T, _, _, K) = len(self.lengths), self.sums.shape
            return Messages(numpy.zeros((B, T, K)), numpy.zeros((B, T, K)), self.log_z)
        logs = self._logs(slice(None)).transpose(1, 2, 0, 3)
        index = _turned(self.lengths, logs.shape[2])[:, :, None]
        return Messages(logs[0], numpy.take_along_axis(logs[1], index, axis=1), self.log_z)


def real_tokens(lengths: ndarray, width: int) -> ndarray:
    """The mask of the real positions. RETURNS (ndarray): True on real tokens. Shape: (B, T)."""
    return numpy.arange(width)[None, :] < lengths[:, None]


def _turned(lengths: ndarray, width: int) -> ndarray:
    """The index that turns each sequence around and keeps its padding on the right. RETURNS (ndarray): Shape (B, T)."""
    steps = numpy.arange(width)[None, :]
    return numpy.where(steps < lengths[:, None], lengths[:, None] - 1 - steps, steps)


def forward_backward(p: Potentials) -> Messages:
    """Sum over all paths from both sides, in float64 whatever the chain comes in. RETURNS (Messages): In logarithms."""
    return scaled_messages(p).whole()


def scaled_messages(p: Potentials) -> ScaledMessages:
    """Sum over all paths from both sides at once: both directions run as one batch of 2B scaled chains, in float64.

    p (Potentials): The chain; computed in float64 whatever it comes in.
    RETURNS (ScaledMessages): From which logarithms can be taken.
    """
    B, T, K = p.emissions.shape
    if B == 0 or T == 0:
        return ScaledMessages(numpy.zeros((T, 2, B, K)), numpy.zeros((T, 2, B)), p.lengths, numpy.zeros(B))
    loop = loops.for_tags(loops.scaled_sums, K)
    if loop is not None:
        found = ScaledMessages(numpy.zeros((T, 2, B, K)), numpy.zeros((T, 2, B)), p.lengths, numpy.zeros(B))
        loop(*p.plain(), found.sums, found.scales, found.log_z)
        return found
    emissions = p.emissions.astype(numpy.float64, copy=False)
    rows, last = numpy.arange(B), numpy.maximum(p.lengths - 1, 0)
    found = ScaledMessages(*_sums_and_scales(p._replace(emissions=emissions)), p.lengths, numpy.zeros(B))
    log_z = log_sum(found.before_at(rows, last) + emissions[rows, last] + p.end.astype(numpy.float64))
    return found._replace(log_z=numpy.where(p.lengths > 0, log_z, 0.0))


def _sums_and_scales(p: Potentials) -> Tuple[ndarray, ndarray]:
    """As `loops.scaled_sums`, by operations on all sequences at once. RETURNS (Tuple[ndarray, ndarray]): Sums and scales."""
    B, T, _ = p.emissions.shape
    tops = p.emissions.max(axis=2)
    tops[~numpy.isfinite(tops)] = 0.0
    weights = numpy.exp(p.emissions - tops[..., None])
    top = _finite_max(p.transitions)
    steps = numpy.exp(numpy.stack([p.transitions, p.transitions.T]).astype(numpy.float64) - top)
    places = (numpy.arange(B), _turned(p.lengths, T).T)  # (T, B)
    entry = numpy.stack([p.start, p.end]).astype(numpy.float64)[:, None, :].repeat(B, axis=1)  # (2, B, K)
    scales = numpy.empty((T, 2, B))
    scales[0] = entry.max(axis=2, initial=-1e300)
    both = numpy.stack([weights.transpose(1, 0, 2), weights[places]], axis=1)  # (T, 2, B, K)
    sums, totals = _scaled_sums(numpy.exp(entry - scales[0][..., None]), both, steps)
    numpy.log(totals, out=scales[1:])
    scales[1:] += top + numpy.stack([tops.T, tops[places]], axis=1)[:-1]
    return sums, numpy.cumsum(scales, axis=0)


def _scaled_sums(entry: ndarray, weights: ndarray, step: ndarray) -> Tuple[ndarray, ndarray]:
    """The recursion of both directions; every position's sums are divided by their total.

    entry (ndarray): Sums at the first position. Shape: (2, B, K).
    weights (ndarray): The emissions, not as logarithms. Shape: (T, 2, B, K).
    step (ndarray): The transitions, not as logarithms. Shape: (2, K, K).
    RETURNS (Tuple[ndarray, ndarray]): The sums, (T, 2, B, K); the totals from the second position on, (T - 1, 2, B).
    """
    T, _, B, K = weights.shape
    sums, totals = numpy.empty(weights.shape), numpy.empty((T - 1, 2, B, 1))
    sums[0] = entry
    size = ALONE_IN_NUMPY // K**2 if ALONE_IN_NUMPY // K**2 >= FEW_ROWS else B
    state, raw = numpy.empty((2, 2, B, K))
    parts = [(state[:, i : i + size], raw[:, i : i + size]) for i in range(0, B, size)]
    for before, weight, total, after in zip(sums, weights, totals, sums[1:]):
        numpy.multiply(before, weight, out=state)
        for part, product in parts:
            numpy.matmul(part, step, out=product)
        numpy.add.reduce(raw, axis=2, keepdims=True, out=total)
        total += loops.TINY  # where no path is legal, which leaves 0 to divide
        numpy.divide(raw, total, out=after)
    return sums, totals[..., 0]


def _finite_max(values: ndarray) -> float:
    finite = values[numpy.isfinite(values)]
    return float(finite.max()) if finite.size else 0.0


def log_sum(values: ndarray) -> ndarray:
    """log(sum(exp(values))) over the last axis; -inf where all are -inf. Shape: (..., K) -> (...)."""
    top = values.max(axis=-1, keepdims=True)
    top = numpy.where(numpy.isfinite(top), top, 0.0)
    with numpy.errstate(divide="ignore"):
        return numpy.log(numpy.exp(values - top).sum(axis=-1)) + top[..., 0]


def marginals(p: Potentials, messages: Messages) -> ndarray:
    """The probability of each tag at each position; 0 on padding. Shape: (B, T, K), float64."""
    logs = messages.before + p.emissions + messages.after - messages.log_z[:, None, None]
    real = real_tokens(p.lengths, p.emissions.shape[1])[:, :, None]
    return numpy.where(real, numpy.exp(numpy.where(real, logs, NEG_INF)), 0.0)


def expected_steps(p: Potentials, messages: Messages, weights: ndarray) -> ndarray:
    """Expected number of times that each tag follows each other one, summed over the batch.

    weights (ndarray): A factor for each sequence. Shape: (B,).
    RETURNS (ndarray): Shape (K, K), [previous][next].
    """
    K = p.emissions.shape[2]
    both = real_tokens(p.lengths, p.emissions.shape[1])[:, 1:]
    left = (messages.before + p.emissions)[:, :-1][both]  # (N, K)
    right = (messages.after + p.emissions)[:, 1:][both]
    if not len(left):
        return numpy.zeros((K, K))
    sequence = numpy.nonzero(both)[0]
    tops = [numpy.where(numpy.isfinite(x), x, 0.0) for x in (left.max(axis=1), right.max(axis=1))]
    top = _finite_max(p.transitions)
    scale = numpy.exp(tops[0] + tops[1] + top - messages.log_z[sequence]) * weights[sequence]
    pairs = (numpy.exp(left - tops[0][:, None]) * scale[:, None]).T @ numpy.exp(right - tops[1][:, None])
    return pairs * numpy.exp(p.transitions.astype(numpy.float64) - top)
