"""Loops over tokens, spans and pairs, for `ready`; as those of `loops`, plain Python that numba compiles.

Between two products of matrices there is one of them, where numpy takes a dozen operations. Where numba is not installed, these are
taken.
"""

import numpy
from numpy import ndarray

from .places import GAP_BORDERS, MOST_BETWEEN, WIDTH_BORDERS

# erf(x) = x * OVER(x * x) / UNDER(x * x) up to `MOST`, where it is 1, to 4e-8: fitted by least squares, with weights that grow
# where the error is great. In float32 the error is 4e-7.
OVER = tuple(
    map(numpy.float32, (1.1283788, 0.204225342, 0.0511490048, 0.00389629464, 0.000147474568, -1.99691301e-06, 2.01185024e-08))
)
UNDER = tuple(map(numpy.float32, (1.0, 0.514319012, 0.116785731, 0.0147305448, 0.00100660403)))
MOST, NOTHING, HALF, ROOT = map(numpy.float32, (3.9, 0.0, 0.5, 0.5**0.5))
GAPS = len(GAP_BORDERS) + 1


def gelu(values: ndarray) -> None:
    """Half of each number times one plus the error function of it by the root of two (Hendrycks and Gimpel, "Gaussian Error Linear
    Units", 2016, section 2).

    values (ndarray): float32, overwritten. Shape: (N,).
    """
    for i in range(len(values)):
        whole = values[i] * ROOT
        x = whole if whole < MOST else MOST
        x = x if x > -MOST else -MOST
        s = x * x
        over = (((((OVER[6] * s + OVER[5]) * s + OVER[4]) * s + OVER[3]) * s + OVER[2]) * s + OVER[1]) * s + OVER[0]
        under = (((UNDER[4] * s + UNDER[3]) * s + UNDER[2]) * s + UNDER[1]) * s + UNDER[0]
        values[i] *= HALF + HALF * x * over / under if whole > -MOST else NOTHING


def mix(parts: ndarray, bias: ndarray, labels: ndarray, spans: ndarray, tokens: ndarray) -> None:
    """What three tokens side by side give to the one in the middle, those that a span covers with its label.

    parts (ndarray): What each token gives to the one behind it, to itself and to the one before it. float32, as all but whole
        numbers. Shape: (T, 3H).
    bias (ndarray): Shape (H,).
    labels (ndarray): What a label adds to the parts of a token. Shape: (labels, 3H), or (0, 3H) for nothing.
    spans (ndarray): Start, end (exclusive) and label of each, sorted by start; of several that cover a token the last one counts.
        int64, as all whole numbers. Shape: (S, 3).
    tokens (ndarray): Written. Shape: (T, H).
    """
    T, H = tokens.shape
    covered = numpy.zeros(T, numpy.int64)  # by the label with this number less one
    for s in range(len(spans) if len(labels) else 0):
        for t in range(spans[s, 0], spans[s, 1]):
            covered[t] = spans[s, 2] + 1
    for t in range(T):
        for h in range(3 * H if covered[t] else 0):
            parts[t, h] += labels[covered[t] - 1, h]
    for t in range(T):
        for h in range(H):
            tokens[t, h] = parts[t, H + h] + bias[h]
        for h in range(H if t > 0 else 0):
            tokens[t, h] += parts[t - 1, h]
        for h in range(H if t < T - 1 else 0):
            tokens[t, h] += parts[t + 1, 2 * H + h]


def span_parts(vectors: ndarray, tokens: ndarray, spans: ndarray, parts: ndarray) -> None:
    """The first and the last token of each span, and the mean of what `mix` made of its tokens.

    vectors, tokens, spans (ndarray): Shapes: (T, D), (T, H), (S, 3).
    parts (ndarray): Written. Shape: (S, 2D + H).
    """
    D, H = vectors.shape[1], tokens.shape[1]
    for s in range(len(spans)):
        start, end = spans[s, 0], spans[s, 1]
        for d in range(D):
            parts[s, d], parts[s, D + d] = vectors[start, d], vectors[end - 1, d]
        for h in range(H):
            parts[s, 2 * D + h] = tokens[start, h]
        for t in range(start + 1, end):
            for h in range(H):
                parts[s, 2 * D + h] += tokens[t, h]
        for h in range(H):
            parts[s, 2 * D + h] /= numpy.float32(end - start)


def add_to_spans(contents: ndarray, widths: ndarray, labels: ndarray, spans: ndarray) -> None:
    """Add what the width and the label of a span say.

    contents (ndarray): Added to. Shape: (S, H).
    widths (ndarray): By bucket, as `places.width_buckets` counts them. Shape: (buckets, H).
    labels (ndarray): By label. Shape: (labels, H), or (0, H) for nothing.
    spans (ndarray): Shape: (S, 3).
    """
    for s in range(len(spans)):
        bucket = 0
        while bucket < len(WIDTH_BORDERS) and WIDTH_BORDERS[bucket] < spans[s, 1] - spans[s, 0]:
            bucket += 1
        for h in range(contents.shape[1]):
            contents[s, h] += widths[bucket, h]
        for h in range(contents.shape[1] if len(labels) else 0):
            contents[s, h] += labels[spans[s, 2], h]


def pair_parts(
    ends: ndarray,
    tokens: ndarray,
    spans: ndarray,
    pairs: ndarray,
    bounds: ndarray,
    size: int,
    empty: ndarray,
    parts: ndarray,
) -> None:
    """The product of head and tail, and the maxima over the tokens between, before and behind them.

    ends (ndarray): The first H columns of two rows a span: as a head, and as a tail. Shape: (2S, ...).
    tokens, spans (ndarray): Shapes: (T, H), (S, 3).
    pairs (ndarray): Head and tail of each, as indices of spans. Shape: (P, 2).
    bounds (ndarray): First token and end of the document of each span. Shape: (S, 2).
    size (int): How many tokens before and behind; 0 for no maxima.
    empty (ndarray): What stands for ranges without tokens. Shape: (3, H).
    parts (ndarray): Written. Shape: (P, H or 4H).
    """
    H = tokens.shape[1]
    for p in range(len(pairs)):
        head, tail = pairs[p, 0], pairs[p, 1]
        for h in range(H):
            parts[p, h] = ends[2 * head, h] * ends[2 * tail + 1, h]
        if size == 0:
            continue
        first, second = (head, tail) if spans[head, 0] <= spans[tail, 0] else (tail, head)
        inner, last = min(spans[head, 1], spans[tail, 1]), max(spans[head, 1], spans[tail, 1])
        begin, outer = spans[first, 0], spans[second, 0]
        for r in range(3):
            if r == 0:
                low, high = inner, outer
            elif r == 1:
                low, high = max(begin - size, bounds[head, 0]), begin
            else:
                low, high = last, min(last + size, bounds[head, 1])
            found = (r + 1) * H
            for h in range(H):
                parts[p, found + h] = tokens[low, h] if low < high else empty[r, h]
            for t in range(low + 1, high):
                for h in range(H):
                    value = tokens[t, h]
                    parts[p, found + h] = value if value > parts[p, found + h] else parts[p, found + h]


def add_to_pairs(whole: ndarray, ends: ndarray, distances: ndarray, spans: ndarray, pairs: ndarray) -> None:
    """Add what heads and tails by themselves say, and how far they are from each other.

    whole (ndarray): Added to. Shape: (P, H).
    ends (ndarray): The last H columns of two rows a span: as a head, and as a tail. Shape: (2S, 2H).
    distances (ndarray): By gap and spans between, as `places.distances` counts them, or one row and column for all. Shape:
        (gaps, between, H).
    spans, pairs (ndarray): Shapes: (S, 3), (P, 2).
    """
    H = whole.shape[1]
    for p in range(len(pairs)):
        head, tail = pairs[p, 0], pairs[p, 1]
        bucket, between = 0, 0
        if len(distances) > 1:
            gap = max(spans[tail, 0] - spans[head, 1], spans[head, 0] - spans[tail, 1])
            while bucket < len(GAP_BORDERS) and GAP_BORDERS[bucket] < gap:
                bucket += 1
            bucket += GAPS * (2 if gap < 0 else int(spans[head, 0] > spans[tail, 0]))
            between = min(max(abs(head - tail) - 1, 0), MOST_BETWEEN)
        for h in range(H):
            whole[p, h] += ends[2 * head, H + h] + ends[2 * tail + 1, H + h] + distances[bucket, between, h]
