"""Loops over tokens: plain Python that numba compiles, where it is installed.

numpy has no operation for a recursion over tokens: it takes several for each token, and what one of them costs is its overhead.
Compiled, a sentence takes a tenth of the time, a batch a third (`benchmarks/crf.py`), and other threads may run meanwhile. Without
numba, its users do the same with numpy or torch: the same paths, and the same sums but for rounding.
"""

import math
from functools import cache, update_wrapper
from types import FunctionType
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
    # Division by zero is numpy's: what has to look whether it happens is not done for several numbers at once.
    settings = {"nogil": True, "error_model": "numpy"}
    function = _with_compiled_parts(function)
    try:
        return numba.njit(cache=True, **settings)(function)
    except RuntimeError:  # there is no folder that it could write to
        return numba.njit(**settings)(function)


def _with_compiled_parts(function: FunctionT) -> FunctionT:
    """The same function, which calls those of its file that it calls compiled."""
    known = function.__globals__
    parts = {name: known[name] for name in function.__code__.co_names if isinstance(known.get(name), FunctionType)}
    if not parts:
        return function
    compiled_parts = {name: compiled(part) for name, part in parts.items()}
    whole = FunctionType(function.__code__, {**known, **compiled_parts}, function.__name__, function.__defaults__)
    return update_wrapper(whole, function)


def for_tags(function: FunctionT, num_tags: int) -> Optional[FunctionT]:
    """As `compiled`, if loops are quicker for so many tags. RETURNS (Optional[Callable]): None if they are not."""
    return compiled(function) if num_tags <= MOST_TAGS[function.__name__] else None


def reach(emissions: ndarray, lengths: ndarray, start: ndarray, end: ndarray, transitions: ndarray) -> float:
    """The greatest finite number, without its sign, of each of four arrays, added up.

    emissions (ndarray): float64, as other scores in this file. Shape: (B, T, K).
    lengths (ndarray): int64, as other whole numbers. What lies behind them is not read. Shape: (B,).
    start, end, transitions (ndarray): Scores of first tags, of last tags and of steps. Shapes: (K,), (K,), (K, K).
    RETURNS (float): The sum.
    """
    K = emissions.shape[2]
    tops = numpy.zeros(4)
    for b in range(len(lengths)):
        for t in range(lengths[b]):
            for k in range(K):
                value = abs(emissions[b, t, k])
                if tops[0] < value < math.inf:
                    tops[0] = value
    for j in range(K):
        if tops[1] < abs(start[j]) < math.inf:
            tops[1] = abs(start[j])
        if tops[2] < abs(end[j]) < math.inf:
            tops[2] = abs(end[j])
        for k in range(K):
            if tops[3] < abs(transitions[j, k]) < math.inf:
                tops[3] = abs(transitions[j, k])
    return tops.sum()


def best_paths(
    emissions: ndarray,
    lengths: ndarray,
    start: ndarray,
    end: ndarray,
    transitions: ndarray,
    unit: float,
    forbidden: float,
    tags: ndarray,
    scores: ndarray,
) -> None:
    """The best path of each sequence, in whole numbers; of equally good ones that with the highest number, from the end.

    emissions, lengths, start, end, transitions (ndarray): As `reach` takes them.
    unit (float): How many whole numbers one point of a score is.
    forbidden (float): The whole number that stands for -inf.
    tags (ndarray): Written. int64. Shape: (B, T); left alone on padding.
    scores (ndarray): Written. int64. Shape: (B,); left alone for an empty sequence.
    """
    T, K = emissions.shape[1:]
    steps, pointers = numpy.zeros((K, K), numpy.int64), numpy.zeros((T, K), numpy.int64)
    state = numpy.zeros(K, numpy.int64)
    for j in range(K):
        for k in range(K):
            steps[j, k] = _whole(transitions[j, k], unit, forbidden)
    for b in range(len(lengths)):
        if lengths[b] == 0:
            continue
        for k in range(K):
            state[k] = _whole(start[k], unit, forbidden) + _whole(emissions[b, 0, k], unit, forbidden)
        _best_prefixes(emissions[b], lengths[b], steps, unit, forbidden, state, pointers)
        tag = 0
        for k in range(K):
            state[k] += _whole(end[k], unit, forbidden)
            if state[k] > state[tag]:
                tag = k
        scores[b] = state[tag]
        for t in range(lengths[b] - 1, -1, -1):
            tags[b, t] = tag
            tag = pointers[t, tag]


def _whole(score: float, unit: float, forbidden: float) -> int:
    return int(max(score * unit, forbidden))


def _best_prefixes(
    emissions: ndarray, length: int, steps: ndarray, unit: float, forbidden: float, state: ndarray, pointers: ndarray
) -> None:
    """The best score of a prefix that ends in a tag, in `state`, and where it came from. Shapes: (K,), (T, K)."""
    K = len(state)
    best = numpy.zeros(K, numpy.int64)
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
            state[k] = best[k] + _whole(emissions[t, k], unit, forbidden)


def path_spans(tags: ndarray, begins: ndarray, continues: ndarray, label: ndarray, spans: ndarray) -> int:
    """Read spans from legal paths.

    tags (ndarray): int64, -1 on padding. Shape: (B, T).
    begins, continues (ndarray): Whether a tag is the first of a span, and whether it is a later one. bool. Shape of each: (K,).
    label (ndarray): The label of each tag. Shape: (K,).
    spans (ndarray): Written: sequence, start, end (exclusive) and label, in reading order. Shape: (tokens or more, 4).
    RETURNS (int): How many there are.
    """
    B, T = tags.shape
    count = 0
    for b in range(B):
        for t in range(T):
            tag = tags[b, t]
            if tag >= 0 and begins[tag]:
                end = t + 1
                while end < T and tags[b, end] >= 0 and continues[tags[b, end]]:
                    end += 1
                spans[count, 0], spans[count, 1], spans[count, 2], spans[count, 3] = b, t, end, label[tag]
                count += 1
    return count


def scaled_sums(
    emissions: ndarray,
    lengths: ndarray,
    start: ndarray,
    end: ndarray,
    transitions: ndarray,
    sums: ndarray,
    scales: ndarray,
    log_z: ndarray,
) -> None:
    """The sums over all prefixes and over all suffixes, each position's divided by their total; see `chain.ScaledMessages`.

    emissions, lengths, start, end, transitions (ndarray): As `reach` takes them.
    sums (ndarray): Written. Shape: (T, 2, B, K); left alone on padding.
    scales (ndarray): Written: logarithms of what the sums were divided by. Shape: (T, 2, B); left alone on padding.
    log_z (ndarray): Written: the logarithm of the sum over all paths. Shape: (B,); left alone for an empty sequence.
    """
    T, K = emissions.shape[1:]
    weights, tops = numpy.zeros((T, K)), numpy.zeros(T)  # emissions, not as logarithms, and what they were divided by, as one
    steps, top, whole = numpy.zeros((2, K, K)), -math.inf, numpy.zeros(K)
    for j in range(K):
        for k in range(K):
            if top < transitions[j, k] < math.inf:
                top = transitions[j, k]
    top = top if top > -math.inf else 0.0
    for j in range(K):
        for k in range(K):
            steps[0, j, k] = steps[1, k, j] = math.exp(transitions[j, k] - top)
    for b in range(len(lengths)):
        length = lengths[b]
        for t in range(length):
            tops[t] = _greatest(emissions[b, t])
            tops[t] = tops[t] if math.isfinite(tops[t]) else 0.0
            for k in range(K):
                weights[t, k] = math.exp(emissions[b, t, k] - tops[t])
        if length:
            last = length - 1
            for d in range(2):
                entry = start if d == 0 else end
                _sum_prefixes(weights, tops, length, d == 1, entry, steps[d], top, sums[:, d, b], scales[:, d, b])
            for k in range(K):
                whole[k] = _log(sums[last, 0, b, k]) + emissions[b, last, k] + end[k]
            log_z[b] = scales[last, 0, b] + _log_sum(whole)


def _greatest(numbers: ndarray) -> float:
    found = -math.inf
    for number in numbers:
        found = number if number > found else found
    return found


def _log(number: float) -> float:
    return math.log(number) if number > 0 else -math.inf


def _log_sum(scores: ndarray) -> float:
    """As `chain.log_sum`, of one row."""
    top, share = _greatest(scores), 0.0
    for score in scores:
        share += math.exp(score - top) if top > -math.inf else 0.0
    return top + _log(share) if share > 0 else top


def _sum_prefixes(
    weights: ndarray,
    tops: ndarray,
    length: int,
    back: bool,
    entry: ndarray,
    steps: ndarray,
    top: float,
    sums: ndarray,
    scales: ndarray,
) -> None:
    """One direction of `scaled_sums`, of one sequence. Shapes: (T, K), (T,), (), (), (K,), (K, K), (), (T, K), (T,)."""
    K = len(entry)
    state, after = numpy.zeros(K), numpy.zeros(K)  # side by side in memory, as what is written to is not
    scale = max(_greatest(entry), -1e300)
    scales[0] = scale
    for k in range(K):
        state[k] = sums[0, k] = math.exp(entry[k] - scale)
    for t in range(1, length):
        before = length - t if back else t - 1
        for k in range(K):
            after[k] = 0.0
        for j in range(K):
            weight = state[j] * weights[before, j]
            for k in range(K):
                after[k] += weight * steps[j, k]
        total = TINY  # where no path is legal, which leaves 0 to divide
        for k in range(K):
            total += after[k]
        for k in range(K):
            state[k] = sums[t, k] = after[k] / total
        scale += math.log(total) + top + tops[before]
        scales[t] = scale


def span_scores(
    emissions: ndarray,
    lengths: ndarray,
    end: ndarray,
    transitions: ndarray,
    closing: ndarray,
    spelling: ndarray,
    spans: ndarray,
    sums: ndarray,
    scales: ndarray,
    log_z: ndarray,
    scores: ndarray,
) -> None:
    """The probability of each span: the sum over all paths that have it, divided by that over all paths.

    emissions, lengths, end, transitions (ndarray): As `reach` takes them.
    closing (ndarray): Whether a step ends the span of its first tag. bool. Shape: (K, K).
    spelling (ndarray): The tags of each label: of a single token, the first one, those inside, the last one. Shape: (L, 4).
    spans (ndarray): Sequence, start, end (exclusive) and label of each. Shape: (N, 4).
    sums, scales, log_z (ndarray): As `scaled_sums` writes them.
    scores (ndarray): Written. Shape: (N,).
    """
    leaving = numpy.zeros(len(end))
    for n in range(len(spans)):
        b, first, stop, label = spans[n]
        total, before = scales[first, 0, b], 0
        for t in range(first, stop):
            if t == first:
                tag = spelling[label, 0 if stop == first + 1 else 1]
                total += _log(sums[first, 0, b, tag])
            else:
                tag = spelling[label, 3 if t == stop - 1 else 2]
                total += transitions[before, tag]
            total += emissions[b, t, tag]
            before = tag
        if stop == lengths[b]:
            total += end[before] if closing[before].any() else -math.inf
        else:
            behind = lengths[b] - 1 - stop
            steps = (transitions[before], closing[before])
            total += scales[behind, 1, b] + _leave(emissions[b, stop], steps[0], steps[1], sums[behind, 1, b], leaving)
        scores[n] = math.exp(min(total - log_z[b], 0.0))


def _leave(emissions: ndarray, transitions: ndarray, closing: ndarray, sums: ndarray, leaving: ndarray) -> float:
    """The logarithm of the sum over all that may stand behind a span. Shape of each, the last of which is overwritten: (K,)."""
    for k in range(len(emissions)):
        leaving[k] = transitions[k] + emissions[k] + _log(sums[k]) if closing[k] else -math.inf
    return _log_sum(leaving)


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
