"""Loops over tokens: plain Python that numba compiles, where it is installed.

numpy has no operation for a recursion over tokens: it takes several for each token, and what one of them costs is its overhead.
Compiled, a sentence takes a third of the time, a batch a half (`benchmarks/crf.py`), and other threads may run meanwhile. Without
numba, its users do the same with numpy or torch: the same paths, and the same sums but for rounding.
"""

import math
from functools import cache
from typing import Callable, Optional, TypeVar

import numpy
from numpy import ndarray

# With more tags, numpy is quicker: most steps are illegal, which it leaves out, and many sequences make one product of matrices.
MOST_TAGS = {"best_paths": 512, "scaled_sums": 128}
TINY = 1e-300
FunctionT = TypeVar("FunctionT", bound=Callable)


@cache
def compiled(function: FunctionT) -> Optional[FunctionT]:
    """Compile a function, once in a process; what numba compiled in another one is read from its cache.

    function (Callable): One of this file, or such as numba can compile.
    RETURNS (Optional[Callable]): It, to be called with arrays in C order. None where numba is not installed.
    """
    try:
        import numba
    except ImportError:
        return None
    try:
        return numba.njit(nogil=True, cache=True)(function)
    except RuntimeError:  # there is no folder that it could write to
        return numba.njit(nogil=True)(function)


def for_tags(function: FunctionT, num_tags: int) -> Optional[FunctionT]:
    """As `compiled`, if loops are quicker for so many tags. RETURNS (Optional[Callable]): None if they are not."""
    return compiled(function) if num_tags <= MOST_TAGS[function.__name__] else None


def best_paths(
    emissions: ndarray, lengths: ndarray, start: ndarray, end: ndarray, steps: ndarray, tags: ndarray, scores: ndarray
) -> None:
    """The best path of each sequence, in whole numbers; of equally good ones that with the highest number, from the end.

    emissions (ndarray): int64, as all others. Shape: (B, T, K).
    lengths (ndarray): Shape (B,).
    start, end, steps (ndarray): Shapes: (K,), (K,), (K, K).
    tags (ndarray): Written. Shape: (B, T); left alone on padding.
    scores (ndarray): Written. Shape: (B,); left alone for an empty sequence.
    """
    T, K = emissions.shape[1:]
    pointers = numpy.zeros((T, K), numpy.int64)
    state, best = numpy.zeros(K, numpy.int64), numpy.zeros(K, numpy.int64)
    for b in range(len(lengths)):
        length = lengths[b]
        if length == 0:
            continue
        for k in range(K):
            state[k] = start[k] + emissions[b, 0, k]
        for t in range(1, length):
            for k in range(K):
                best[k] = state[0] + steps[0, k]
                pointers[t, k] = 0
            for j in range(1, K):
                score = state[j]
                for k in range(K):
                    if score + steps[j, k] >= best[k]:
                        best[k] = score + steps[j, k]
                        pointers[t, k] = j
            for k in range(K):
                state[k] = best[k] + emissions[b, t, k]
        tag = 0
        for k in range(1, K):
            if state[k] + end[k] > state[tag] + end[tag]:
                tag = k
        scores[b] = state[tag] + end[tag]
        for t in range(length - 1, -1, -1):
            tags[b, t] = tag
            tag = pointers[t, tag]


def scaled_sums(
    weights: ndarray,
    tops: ndarray,
    lengths: ndarray,
    entry: ndarray,
    steps: ndarray,
    top: float,
    sums: ndarray,
    scales: ndarray,
) -> None:
    """The sums over all prefixes and over all suffixes, each position's divided by their total; see `chain.ScaledMessages`.

    weights (ndarray): The emissions, divided by the greatest of a token, not as logarithms. float64, as others. Shape: (B, T, K).
    tops (ndarray): The logarithms of what they were divided by. Shape: (B, T).
    lengths (ndarray): int64. Shape: (B,).
    entry (ndarray): Logarithms of the scores of first tags, and of last ones. Shape: (2, K).
    steps (ndarray): The transitions, and those back, divided by the greatest one. Shape: (2, K, K).
    top (float): The logarithm of what they were divided by.
    sums (ndarray): Written. Shape: (T, 2, B, K); left alone on padding.
    scales (ndarray): Written: logarithms of what the sums were divided by. Shape: (T, 2, B); left alone on padding.
    """
    K = weights.shape[2]
    for b in range(len(lengths)):
        length = lengths[b]
        for d in range(2 if length else 0):
            scale = max(entry[d].max(), -1e300)
            scales[0, d, b] = scale
            for k in range(K):
                sums[0, d, b, k] = math.exp(entry[d, k] - scale)
            for t in range(1, length):
                before = t - 1 if d == 0 else length - t
                after = sums[t, d, b]
                after[:] = 0.0
                for j in range(K):
                    weight = sums[t - 1, d, b, j] * weights[b, before, j]
                    for k in range(K):
                        after[k] += weight * steps[d, j, k]
                total = after.sum() + TINY  # where no path is legal, which leaves 0 to divide
                after /= total
                scale += math.log(total) + top + tops[b, before]
                scales[t, d, b] = scale


def span_scores(
    emissions: ndarray,
    lengths: ndarray,
    ends: ndarray,
    transitions: ndarray,
    closing: ndarray,
    spelling: ndarray,
    spans: ndarray,
    sums: ndarray,
    scales: ndarray,
    scores: ndarray,
) -> None:
    """The logarithm of the sum over all paths that have a span, for each span.

    emissions (ndarray): float64, as all scores. Shape: (B, T, K).
    lengths (ndarray): int64, as all others. Shape: (B,).
    ends (ndarray): The scores of last tags; -inf for one that ends no span. Shape: (K,).
    transitions, closing (ndarray): The scores of steps; and again, -inf for those that do not end a span. Shape of each: (K, K).
    spelling (ndarray): The tags of each label: of a single token, the first one, those inside, the last one. Shape: (L, 4).
    spans (ndarray): Sequence, start, end (exclusive) and label of each. Shape: (N, 4).
    sums, scales (ndarray): As `scaled_sums` writes them.
    scores (ndarray): Written. Shape: (N,).
    """
    K = len(ends)
    leaving = numpy.zeros(K)
    for n in range(len(spans)):
        b, start, end, label = spans[n]
        total, before = scales[start, 0, b], 0
        for t in range(start, end):
            if t == start:
                tag = spelling[label, 0 if end == start + 1 else 1]
                total += math.log(sums[start, 0, b, tag]) if sums[start, 0, b, tag] > 0 else -math.inf
            else:
                tag = spelling[label, 3 if t == end - 1 else 2]
                total += transitions[before, tag]
            total += emissions[b, t, tag]
            before = tag
        if end == lengths[b]:
            scores[n] = total + ends[before]
            continue
        behind = lengths[b] - 1 - end
        for k in range(K):
            rest = sums[behind, 1, b, k]
            leaving[k] = closing[before, k] + emissions[b, end, k] + (math.log(rest) if rest > 0 else -math.inf)
        top = leaving.max()
        share = 0.0
        for k in range(K if top > -math.inf else 0):
            share += math.exp(leaving[k] - top)
        scores[n] = total + top + scales[behind, 1, b] + (math.log(share) if share > 0 else 0.0)


def range_max(values: ndarray, start: ndarray, end: ndarray, empty: ndarray, maxima: ndarray) -> None:
    """The maxima over ranges of rows.

    values (ndarray): float32. Shape: (T, H).
    start, end (ndarray): End exclusive. int64. Shape: (P, R).
    empty (ndarray): What a range without rows has. float32. Shape: (R, H).
    maxima (ndarray): Written. float32. Shape: (P, R, H).
    """
    P, R, H = maxima.shape
    for p in range(P):
        for r in range(R):
            found, first, last = maxima[p, r], start[p, r], end[p, r]
            found[:] = values[first] if first < last else empty[r]
            for row in range(first + 1, last):
                for h in range(H):
                    value = values[row, h]
                    found[h] = value if value > found[h] else found[h]


def mean_rows(vectors: ndarray, target: ndarray, counts: ndarray, means: ndarray) -> None:
    """Average over groups of rows.

    vectors (ndarray): float32. Shape: (P, D).
    target (ndarray): The rows of the first group, then those of the second, and so on. int32. Shape: (sum of counts,).
    counts (ndarray): Rows of each group. int32. Shape: (T,).
    means (ndarray): Written, zeros before; left alone where a group has no rows. float32. Shape: (T, D).
    """
    place = 0
    for t in range(len(counts)):
        mean = means[t]
        for _ in range(counts[t]):
            mean += vectors[target[place]]
            place += 1
        if counts[t] > 1:
            mean /= counts[t]
