"""Dynamic programs over a linear chain, on plain arrays: sums (forward-backward) and maxima (Viterbi, n-best).

Everything runs on the CPU in numpy: a step of a chain is a handful of tiny operations, and what one costs is its overhead. The
only Python loops are the recursions over positions; each step serves the whole batch. Notation: B sequences, T positions, K
tags; `transitions[j, k]` scores tag j followed by tag k; -inf forbids. Sequences are padded on the right; what lies behind
`lengths[b]` is never read.

Sums follow Rabiner, "A Tutorial on Hidden Markov Models" (1989), section V.A (scaled messages); the marginals are those of
Lafferty, McCallum and Pereira, "Conditional Random Fields" (2001), section 3.
"""

from typing import Any, List, NamedTuple, Tuple

import numpy
from numpy import ndarray

NEG_INF = -numpy.inf
# Products of matrices of more multiplications OpenBLAS shares out to threads, which then turn round for milliseconds waiting for
# the next one, and take the processor from whoever could use it.
ALONE = 2**18
# With so many tags that fewer rows make such a product, threads are worth it, and reading the matrix once for each row is not.
FEW_ROWS = 16
TINY = 1e-300


class Potentials(NamedTuple):
    """The scores of a chain: emissions (B, T, K), lengths (B,), start (K,), end (K,), transitions (K, K)."""

    emissions: ndarray
    lengths: ndarray
    start: ndarray
    end: ndarray
    transitions: ndarray


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
    emissions = p.emissions.astype(numpy.float64)
    B, T, K = emissions.shape
    if B == 0 or T == 0:
        return ScaledMessages(numpy.zeros((T, 2, B, K)), numpy.zeros((T, 2, B)), p.lengths, numpy.zeros(B))
    tops = emissions.max(axis=2)
    tops[~numpy.isfinite(tops)] = 0.0
    places = (numpy.arange(B), _turned(p.lengths, T).T)  # (T, B)
    weights = numpy.exp(emissions - tops[..., None])
    weights = numpy.stack([weights.transpose(1, 0, 2), weights[places]], axis=1)  # (T, 2, B, K)
    entry = numpy.stack([p.start, p.end]).astype(numpy.float64)[:, None, :].repeat(B, axis=1)  # (2, B, K)
    scales = numpy.empty((T, 2, B))
    scales[0] = entry.max(axis=2, initial=-1e300)
    top = _finite_max(p.transitions)
    step = numpy.exp(numpy.stack([p.transitions, p.transitions.T]).astype(numpy.float64) - top)
    sums, totals = _scaled_sums(numpy.exp(entry - scales[0][..., None]), weights, step)
    numpy.log(totals, out=scales[1:])
    scales[1:] += top + numpy.stack([tops.T, tops[places]], axis=1)[:-1]
    scales = numpy.cumsum(scales, axis=0)
    rows, last = numpy.arange(B), numpy.maximum(p.lengths - 1, 0)
    found = ScaledMessages(sums, scales, p.lengths, numpy.zeros(B))
    log_z = log_sum(found.before_at(rows, last) + emissions[rows, last] + p.end.astype(numpy.float64))
    return found._replace(log_z=numpy.where(p.lengths > 0, log_z, 0.0))


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
    size = ALONE // K**2 if ALONE // K**2 >= FEW_ROWS else B
    parts = [slice(i, i + size) for i in range(0, B, size)]
    state, raw = numpy.empty((2, 2, B, K))
    for t in range(1, T):
        numpy.multiply(sums[t - 1], weights[t - 1], out=state)
        for part in parts:
            numpy.matmul(state[:, part], step, out=raw[:, part])
        total = totals[t - 1]
        numpy.add.reduce(raw, axis=2, keepdims=True, out=total)
        total += TINY  # where no path is legal, which leaves 0 to divide
        numpy.divide(raw, total, out=sums[t])
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


class Block(NamedTuple):
    """G groups of tags, each with p predecessors and n successors: every predecessor leads to every successor."""

    previous: ndarray  # (G, p)
    following: ndarray  # (G, n)


def transition_blocks(legal: ndarray, dense_up_to: int) -> List[Block]:
    """Group the tags by the set of tags that may precede them, so that a maximum looks at legal steps only.

    BILUO over L labels falls into one block of (2L+1) x (2L+1) and L blocks of 2 x 2, a quarter of all K x K steps.

    legal (ndarray): True where a step is allowed. Shape: (K, K).
    dense_up_to (int): So few tags are one block of all steps.
    RETURNS (List[Block]): Each tag is a successor in exactly one group; one with no predecessor is given all of them.
    """
    everything = tuple(range(len(legal)))
    if len(legal) <= dense_up_to:
        return [Block(numpy.array([everything]), numpy.array([everything]))]
    groups: dict = {}
    for tag in everything:
        groups.setdefault(tuple(numpy.nonzero(legal[:, tag])[0]) or everything, []).append(tag)
    shapes: dict = {}
    for previous, following in groups.items():
        shapes.setdefault((len(previous), len(following)), []).append((previous, following))
    return [Block(numpy.array([a for a, _ in rows]), numpy.array([b for _, b in rows])) for rows in shapes.values()]


def viterbi(p: Potentials, blocks: List[Block]) -> Tuple[ndarray, ndarray]:
    """The best path of each sequence.

    Scores are kept as whole numbers whose lowest bits name the predecessor, so that one maximum finds both the best score and
    where it came from. The unit is as fine as the range of the scores allows in 62 bits, at least as fine as float32.

    p (Potentials): The chain.
    blocks (List[Block]): `transition_blocks` of the legal steps.
    RETURNS (Tuple[ndarray, ndarray]): Tags (B, T), -1 on padding; and the paths' scores (B,), 0.0 for an empty sequence.
    """
    B, T, K = p.emissions.shape
    if B == 0 or T == 0:
        return numpy.full((B, T), -1), numpy.zeros(B)
    p, back = _longest_first(p)
    order = numpy.concatenate([b.following.ravel() for b in blocks])  # tags in the order of the blocks
    place = order.argsort()
    bits = int(K - 1).bit_length()
    real = real_tokens(p.lengths, T)
    unit, forbidden = _unit(p, real, bits)

    def whole(scores: ndarray) -> ndarray:
        result = numpy.maximum(scores * unit, forbidden).astype(numpy.int64)
        result <<= bits
        return result

    emissions = whole(numpy.where(real.T[:, None, :], p.emissions.transpose(1, 2, 0)[:, order], 0.0))  # (T, K, B)
    steps = [_packed_steps(b, place, whole(p.transitions)) for b in blocks]
    state = whole(p.start[order])[:, None] + emissions[0]
    history = _best_prefixes(state, emissions, [place[b.previous].T for b in blocks], steps, bits, real.sum(axis=0))
    final = (history[numpy.maximum(p.lengths - 1, 0), :, numpy.arange(B)] >> bits << bits) + whole(p.end[order])
    best = final.argmax(axis=1)
    history &= (1 << bits) - 1
    history.transpose(0, 2, 1)[~real.T] = numpy.arange(K)
    tags = numpy.where(real, order[trace_back(history.transpose(0, 2, 1), best)], -1)
    scores = numpy.where(p.lengths > 0, (final[numpy.arange(B), best] >> bits) / unit, 0.0)
    return tags[back], scores[back]


def _longest_first(p: Potentials) -> Tuple[Potentials, ndarray]:
    """Sort a batch, so that those still running at a step are its first rows. RETURNS: It, and the index that undoes it."""
    order = numpy.argsort(-p.lengths, kind="stable")
    return p._replace(emissions=p.emissions[order], lengths=p.lengths[order]), order.argsort()


def _packed_steps(block: Block, place: ndarray, scores: ndarray) -> ndarray:
    """The step scores of a block with the predecessor in the low bits. RETURNS (ndarray): Shape (p, G, n, 1)."""
    steps = scores[block.previous[:, :, None], block.following[:, None, :]] | place[block.previous][:, :, None]
    return numpy.ascontiguousarray(steps.transpose(1, 0, 2)[..., None])


def _unit(p: Potentials, real: ndarray, bits: int) -> Tuple[float, float]:
    """How many whole numbers one score point is, and the whole number that stands for -inf."""
    parts = [p.emissions[real], p.start, p.end, p.transitions]
    reach = sum(numpy.abs(x[numpy.isfinite(x)]).max(initial=0.0) for x in parts) * (real.shape[1] + 2) + 1.0
    unit = 2.0 ** min(40, 62 - bits - 4 - int(numpy.ceil(numpy.log2(reach))))
    return unit, -2.0 * numpy.ceil(reach * unit)


def _best_prefixes(
    state: ndarray, emissions: ndarray, previous: List[ndarray], steps: List[ndarray], bits: int, running: ndarray
) -> ndarray:
    """The recursion of Viterbi over a batch that is sorted by length.

    running (ndarray): How many sequences reach each position. Shape: (T,).
    RETURNS (ndarray): Best score of a prefix that ends in a tag, its predecessor in the low bits. Shape: (T, K, B).
    """
    T, K, B = emissions.shape
    history = numpy.zeros((T, K, B), dtype=numpy.int64)
    history[0] = state
    cleared = ~numpy.int64((1 << bits) - 1)
    whole = len(previous) == 1 and previous[0].shape == (K, 1)  # all tags, in their order
    places = [slice(None) if whole else rows for rows in previous]
    width = 2 * B
    for t in range(1, T):
        if running[t] <= 0.75 * width:
            width = int(running[t])
            spelt = [s.repeat(width if width <= 64 else 1, axis=3) for s in steps]  # numpy adds short rows faster this way
            scratch = [numpy.empty((*s.shape[:3], width), dtype=numpy.int64) for s in steps]
            best = numpy.empty((K, width), dtype=numpy.int64)
            outs = _slices(best, steps)
            state = numpy.ascontiguousarray(state[:, :width])
            views = state.reshape(K, 1, width)
        for place, step, sums, out in zip(places, spelt, scratch, outs):
            numpy.add(views[place][:, :, None] if whole else state[place][:, :, None], step, out=sums)
            numpy.maximum.reduce(sums, axis=0, out=out)
        best += emissions[t, :, :width]
        history[t, :, :width] = best
        numpy.bitwise_and(best, cleared, out=state)
    return history


def _slices(best: ndarray, steps: List[ndarray]) -> List[ndarray]:
    """The rows of `best` (K, width) that each block writes. RETURNS (List[ndarray]): Views of shape (G, n, width)."""
    edges = numpy.cumsum([step.shape[1] * step.shape[2] for step in steps])
    parts = numpy.split(best, edges[:-1])
    return [part.reshape(*step.shape[1:3], -1) for part, step in zip(parts, steps)]


def trace_back(pointers: ndarray, best: ndarray) -> ndarray:
    """Follow back-pointers in about 3 * sqrt(T) steps instead of T.

    The chain is cut into sqrt(T) chunks. First the pointers of all chunks are composed side by side into one map a chunk, then
    the maps are followed from the end, then all chunks are traced side by side from the tag that each ends with.

    pointers (ndarray): The best previous tag of each tag; the identity on padding. Shape: (T, B, K).
    best (ndarray): The tag at the last position. Shape: (B,).
    RETURNS (ndarray): Tags. Shape: (B, T).
    """
    T, B, K = pointers.shape
    size = int(numpy.ceil(numpy.sqrt(T)))
    count = -(-T // size)
    chunks = numpy.empty((size, count, B, K), dtype=numpy.intp)
    chunks[:] = numpy.arange(K)
    steps = numpy.arange(T)
    chunks[steps % size, steps // size] = pointers
    base = numpy.arange(count * B).reshape(count, B, 1) * K
    maps = chunks[-1]
    for i in range(size - 2, -1, -1):
        maps = chunks[i].ravel().take(maps + base, mode="clip")
    ends = numpy.empty((count, B), dtype=numpy.intp)
    rows = numpy.arange(B)
    for c in range(count - 1, -1, -1):
        ends[c] = best
        best = maps[c, rows, best]
    tags = numpy.empty((count, size, B), dtype=numpy.intp)
    for i in range(size - 1, -1, -1):
        tags[:, i] = ends
        ends = chunks[i].ravel().take(ends + base[:, :, 0], mode="clip")
    return tags.reshape(count * size, B)[:T].T


def n_best(p: Potentials, n: int) -> Tuple[ndarray, ndarray]:
    """The n best paths of each sequence, best first (list Viterbi: Seshadri and Sundberg, 1994, the parallel algorithm).

    p (Potentials): The chain.
    n (int): How many paths.
    RETURNS (Tuple[ndarray, ndarray]): Tags (B, n, T), -1 on padding and in paths that do not exist; scores (B, n), -inf there.
    """
    B, T, K = p.emissions.shape
    tags, scores = numpy.full((B, n, T), -1), numpy.full((B, n), NEG_INF)
    for b in range(B):
        length = int(p.lengths[b])
        state = numpy.full((n, K), NEG_INF)
        if length == 0:
            scores[b, 0] = 0.0
            continue
        state[0] = p.start + p.emissions[b, 0]
        pointers = numpy.zeros((length, n, K), dtype=numpy.int32)
        for t in range(1, length):
            paths = (state[:, :, None] + p.transitions).reshape(n * K, K)
            pointers[t] = numpy.argsort(-paths, axis=0, kind="stable")[:n]
            state = numpy.take_along_axis(paths, pointers[t], axis=0) + p.emissions[b, t]
        ends = (state + p.end).ravel()
        places = numpy.argsort(-ends, kind="stable")[:n]
        scores[b] = ends[places]
        for t in range(length - 1, -1, -1):
            tags[b, :, t] = places % K
            places = pointers[t].ravel()[places]
        tags[b, numpy.isneginf(scores[b])] = -1
    return tags, scores
