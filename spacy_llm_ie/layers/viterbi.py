"""Maxima over the paths of a linear chain, on plain arrays: Viterbi, n-best. Notation as in `chain`."""

import math
from typing import Callable, List, NamedTuple, Tuple

import numpy
from numpy import ndarray

from .chain import NEG_INF, Potentials, real_tokens

# So few sequences of so many tags at most are searched one by one: fewer operations, which cost more than what they compute.
FEW_SEQUENCES, FEW_TAGS = 2, 64


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
    where it came from: of equally good ones that with the highest number, whatever the blocks. The unit is as fine as the range
    of the scores allows in 62 bits, at least as fine as float32.

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
    unit, forbidden = _unit(_reach(p, real), T, bits)

    def whole(scores: ndarray) -> ndarray:
        result = numpy.maximum(scores * unit, forbidden).astype(numpy.int64)
        result <<= bits
        return result

    emissions = whole(numpy.where(real.T[:, None, :], p.emissions.transpose(1, 2, 0)[:, order], 0.0))  # (T, K, B)
    steps = [_packed_steps(b, whole(p.transitions)) for b in blocks]
    state = whole(p.start[order])[:, None] + emissions[0]
    history = _best_prefixes(state, emissions, [place[b.previous].T for b in blocks], steps, bits, real.sum(axis=0))
    if (order[1:] < order[:-1]).any():
        history = history[:, place]  # from here on in the order of the tags
    final = (history[numpy.maximum(p.lengths - 1, 0), :, numpy.arange(B)] >> bits << bits) + whole(p.end)
    best = final.argmax(axis=1)
    history &= (1 << bits) - 1
    history.transpose(0, 2, 1)[~real.T] = numpy.arange(K)
    tags = numpy.where(real, trace_back(history.transpose(0, 2, 1), best), -1)
    scores = numpy.where(p.lengths > 0, (final[numpy.arange(B), best] >> bits) / unit, 0.0)
    return tags[back], scores[back]


def viterbi_in_loops(p: Potentials, reach: Callable, loop: Callable) -> Tuple[ndarray, ndarray]:
    """As `viterbi`, with the same whole numbers, so that equally good paths are told apart alike.

    p (Potentials): The chain.
    reach, loop (Callable): `loops.reach` and `loops.best_paths`, compiled.
    RETURNS (Tuple[ndarray, ndarray]): Tags (B, T), -1 on padding; and scores (B,).
    """
    B, T, K = p.emissions.shape
    tags, scores = numpy.full((B, T), -1), numpy.zeros(B, dtype=numpy.int64)
    chain = p.plain()
    unit, forbidden = _unit(reach(*chain), T, int(K - 1).bit_length())
    loop(*chain, unit, forbidden, tags, scores)
    return tags, scores / unit


def viterbi_one_by_one(p: Potentials) -> Tuple[ndarray, ndarray]:
    """As `viterbi`, for few sequences, with the same whole numbers, so that equally good paths are told apart alike.

    p (Potentials): The chain.
    RETURNS (Tuple[ndarray, ndarray]): Tags (B, T), -1 on padding; and scores (B,).
    """
    B, T, K = p.emissions.shape
    tags, scores = numpy.full((B, T), -1), numpy.zeros(B)
    for row, length in enumerate(p.lengths.tolist()):
        if length:
            one = p._replace(emissions=p.emissions[row : row + 1, :length], lengths=p.lengths[row : row + 1])
            bits = int(K - 1).bit_length()
            unit, forbidden = _unit(_reach(one, numpy.ones((1, length), dtype=bool)), length, bits)
            parts = (one.emissions[0], p.start, p.end, p.transitions)
            whole = (numpy.maximum(part * unit, forbidden).astype(numpy.int64) << bits for part in parts)
            path, score = _best_path(*whole, bits)
            tags[row, :length], scores[row] = path, score / unit
    return tags, scores


def _best_path(emissions: ndarray, start: ndarray, end: ndarray, steps: ndarray, bits: int) -> Tuple[List[int], int]:
    """The best path of one sequence, in whole numbers whose lowest bits are free. RETURNS: Its tags and its score."""
    length, K = emissions.shape
    history, sums, state = numpy.empty((length, K), "int64"), numpy.empty((K, K), "int64"), numpy.empty((K, 1), "int64")
    cleared = ~numpy.int64((1 << bits) - 1)
    steps = steps | numpy.arange(K)[:, None]  # of equally good ones the last, as in `viterbi`
    numpy.add(start, emissions[0], out=history[0])
    columns = history[:, :, None]
    for emission, best, before in zip(emissions[1:], history[1:], columns):
        numpy.bitwise_and(before, cleared, out=state)
        numpy.add(state, steps, out=sums)
        numpy.maximum.reduce(sums, axis=0, out=best)
        best += emission
    final = (history[-1] >> bits) + (end >> bits)
    tag = int(final.argmax())
    score, path = int(final[tag]), [tag]
    for pointers in reversed((history[1:] & ~cleared).tolist()):
        tag = pointers[tag]
        path.append(tag)
    return path[::-1], score


def _longest_first(p: Potentials) -> Tuple[Potentials, ndarray]:
    """Sort a batch, so that those still running at a step are its first rows. RETURNS: It, and the index that undoes it."""
    order = numpy.argsort(-p.lengths, kind="stable")
    return p._replace(emissions=p.emissions[order], lengths=p.lengths[order]), order.argsort()


def _packed_steps(block: Block, scores: ndarray) -> ndarray:
    """The step scores of a block with the predecessor in the low bits. RETURNS (ndarray): Shape (p, G, n, 1)."""
    steps = scores[block.previous[:, :, None], block.following[:, None, :]] | block.previous[:, :, None]
    return numpy.ascontiguousarray(steps.transpose(1, 0, 2)[..., None])


def _reach(p: Potentials, real: ndarray) -> float:
    """As `loops.reach`."""
    parts = [p.emissions[real], p.start, p.end, p.transitions]
    return float(sum(numpy.abs(x[numpy.isfinite(x)]).max(initial=0.0) for x in parts))


def _unit(reach: float, tokens: int, bits: int) -> Tuple[float, float]:
    """How many whole numbers one point of a score is, and the whole number that stands for -inf.

    reach (float): The sum of the greatest emission, start, end and step. tokens (int): Most in a sequence.
    """
    most = reach * (tokens + 2) + 1.0
    unit = 2.0 ** min(40, 62 - bits - 4 - math.ceil(math.log2(most)))
    return unit, -2.0 * math.ceil(most * unit)


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
