"""The classifier of pairs, made ready for prediction on a CPU: what `pairs.PairScorer` computes, on plain arrays.

A sentence has few pairs, for which torch's operations take many times as long as what they compute. Here they are numpy's, there
are fewer of them, and what the parameters alone decide is computed once: the layers of heads and tails with what `joined` makes of
them, and tables of what each label, width and distance adds. Where numba is installed, the loops of `pair_loops` do the rest.
"""

from typing import Any, List, Optional, Tuple

import numpy
import torch
from numpy import ndarray
from torch import Tensor
from torch.nn import functional

from . import loops, pair_loops, places
from .products import Matrix
from .snapshot import Snapshot

# With more rows in the ranges of a pair, a table of maxima is quicker.
MOST_ROWS = 64


class ReadyScorer:
    """Scores for pairs of spans, as those of a `PairScorer` in float32 or bfloat16, but for rounding.

    scorer (PairScorer): On the CPU. Its parameters as they are now count.
    """

    def __init__(self, scorer: Any) -> None:
        self._made_of = Snapshot(scorer.parameters())
        self.context_size, self.size = scorer.context_size, len(scorer.joined.bias)
        self.half = scorer.output.weight.dtype == torch.bfloat16
        weights = {name: value.float() for name, value in scorer.state_dict().items()}
        with torch.no_grad():
            self._take_tokens(weights, scorer.settings["width"])
            self._take_spans(weights, scorer.settings["width"])
            self._take_pairs(weights)

    def is_current(self) -> bool:
        """Whether the parameters are still those that this was made of."""
        return self._made_of.is_current()

    def _take_tokens(self, weights: Any, width: int) -> None:
        mix = weights["mix.weight"].permute(2, 0, 1)  # (3, H, D + label size)
        self.mix, self.mix_bias = self._matrix(mix[..., :width].flatten(0, 1)), weights["mix.bias"].numpy()
        labels = weights.get("labels.weight")
        self.token_labels = _table(labels, mix[..., width:].flatten(0, 1))

    def _take_spans(self, weights: Any, width: int) -> None:
        H, span = self.size, weights["span.weight"]
        content, widths, labels = span.split([2 * width + H, 16, span.shape[1] - 2 * width - H - 16], dim=1)
        self.span = self._matrix(content)
        self.widths = (weights["widths.weight"] @ widths.T + weights["span.bias"]).numpy()
        self.span_labels = _table(weights.get("labels.weight"), labels)

    def _take_pairs(self, weights: Any) -> None:
        H = self.size
        distance = weights["gaps.weight"].shape[1] if "gaps.weight" in weights else 0
        joined = weights["joined.weight"]
        *ends, pair, distances = joined.split([H, H, joined.shape[1] - 2 * H - distance, distance], dim=1)
        matrix, bias = [], []
        for name, part in zip(("head", "tail"), ends):  # the end itself, and its share of `joined`
            weight, own = weights[f"{name}.weight"], weights[f"{name}.bias"]
            matrix += [weight, part @ weight]
            bias += [own, part @ own]
        self.ends, self.ends_bias = self._matrix(torch.cat(matrix)), torch.cat(bias).numpy()
        self.pair = self._matrix(pair)
        table = weights["joined.bias"][None, None]
        if distance:
            table = table + (weights["gaps.weight"] @ distances.T)[:, None] + weights["between.weight"] @ distances.T
        self.distances = table.numpy()  # by gap and number of spans between
        self.output, self.output_bias = self._matrix(weights["output.weight"]), weights["output.bias"].numpy()
        self.empty, self.bilinear = weights["empty"].numpy(), weights.get("bilinear")

    def _matrix(self, weight: Tensor) -> Matrix:
        return Matrix(weight, self.half)

    def __call__(self, vectors: ndarray, spans: ndarray, pairs: ndarray, bounds: ndarray) -> ndarray:
        """Score pairs. vectors, spans, pairs, bounds: As `PairScorer.predict` takes them. RETURNS (ndarray): Shape (P, K)."""
        H = self.size
        covered = None if loops.compiled(pair_loops.mix) else places.Covered.by(spans)
        tokens = _gelu(self._mix(vectors, spans, covered))
        ends = self.ends(_gelu(self._contents(vectors, tokens, spans, covered))) + self.ends_bias
        ends = ends.reshape(-1, 2 * H)  # two rows a span: as a head, and as a tail
        whole = self.pair(self._pair_parts(ends, tokens, spans, pairs, bounds))
        self._add_to_pairs(whole, ends, spans, pairs)
        scores = self.output(_gelu(whole)) + self.output_bias
        if self.bilinear is not None:
            head, tail = (torch.from_numpy(part) for part in _head_and_tail(ends[:, :H], pairs))
            scores += torch.einsum("ph,khj,pj->pk", head, self.bilinear, tail).numpy()
        return scores

    def _mix(self, vectors: ndarray, spans: ndarray, covered: Optional[places.Covered]) -> ndarray:
        """The convolution over three tokens and the labels of the spans that cover them. Shape: (T, H).

        covered (Optional[Covered]): None: loops find the tokens of spans by themselves.
        """
        parts, H = self.mix(vectors), self.size
        if covered is None:
            tokens = numpy.empty((len(vectors), H), dtype="float32")
            loops.compiled(pair_loops.mix)(parts, self.mix_bias, self.token_labels, spans, tokens)
            return tokens
        if len(self.token_labels):
            token, label = covered.labels(spans, len(vectors))
            parts[token] += self.token_labels[label]
        tokens = parts[:, H : 2 * H] + self.mix_bias
        tokens[1:] += parts[:-1, :H]
        tokens[:-1] += parts[1:, 2 * H :]
        return tokens

    def _contents(self, vectors: ndarray, tokens: ndarray, spans: ndarray, covered: Optional[places.Covered]) -> ndarray:
        """What a span is, before the activation. Shape: (S, H). covered: As in `_mix`."""
        if covered is None:
            parts = numpy.empty((len(spans), 2 * vectors.shape[1] + self.size), dtype="float32")
            loops.compiled(pair_loops.span_parts)(vectors, tokens, spans, parts)
            contents = self.span(parts)
            loops.compiled(pair_loops.add_to_spans)(contents, self.widths, self.span_labels, spans)
            return contents
        borders = vectors[spans[:, :2] - (0, 1)].reshape(len(spans), -1)
        sums = numpy.add.reduceat(tokens[covered.token], covered.begin, axis=0)
        content = sums / (spans[:, 1] - spans[:, 0]).astype(sums.dtype)[:, None]
        contents = self.span(numpy.concatenate([borders, content], axis=1))
        contents += self.widths[places.width_buckets(spans)]
        if len(self.span_labels):
            contents += self.span_labels[spans[:, 2]]
        return contents

    def _pair_parts(self, ends: ndarray, tokens: ndarray, spans: ndarray, pairs: ndarray, bounds: ndarray) -> ndarray:
        """The product of head and tail, and the maxima over what is between, before and behind them. Shape: (P, H or 4H)."""
        loop = loops.compiled(pair_loops.pair_parts)
        if loop is not None:
            parts = numpy.empty((len(pairs), self.size * (4 if self.context_size else 1)), dtype="float32")
            loop(ends, tokens, spans, pairs, bounds, self.context_size, self.empty, parts)
            return parts
        head, tail = _head_and_tail(ends[:, : self.size], pairs)
        if not self.context_size:
            return head * tail
        ranges = places.context_ranges(spans, pairs, bounds, self.context_size)
        return numpy.concatenate([head * tail, range_max(tokens, *ranges, self.empty).reshape(len(pairs), -1)], axis=1)

    def _add_to_pairs(self, whole: ndarray, ends: ndarray, spans: ndarray, pairs: ndarray) -> None:
        """Add what heads and tails by themselves say, and how far they are from each other, to rows of shape (P, H)."""
        loop = loops.compiled(pair_loops.add_to_pairs)
        if loop is not None:
            loop(whole, ends, self.distances, spans, pairs)
            return
        for share in _head_and_tail(ends[:, self.size :], pairs):
            whole += share
        whole += self.distances[0] if len(self.distances) == 1 else self.distances[places.distances(spans, pairs)]


def _table(labels: Optional[Tensor], weight: Tensor) -> ndarray:
    """What each label adds. RETURNS (ndarray): Shape (labels, outputs); without labels, none of them."""
    return numpy.zeros((0, len(weight)), dtype="float32") if labels is None else (labels @ weight.T).numpy()


def _head_and_tail(ends: ndarray, pairs: ndarray) -> Tuple[ndarray, ndarray]:
    """Rows of heads and rows of tails, of two a span. Shape of each: (P, H)."""
    return ends[2 * pairs[:, 0]], ends[2 * pairs[:, 1] + 1]


def _gelu(values: ndarray) -> ndarray:
    """The activation. values (ndarray): Perhaps overwritten. RETURNS (ndarray): The same shape."""
    loop = loops.compiled(pair_loops.gelu)
    if loop is None:
        return functional.gelu(torch.from_numpy(values)).numpy()
    values = numpy.ascontiguousarray(values)
    loop(values.reshape(-1))
    return values


def range_max(values: ndarray, start: ndarray, end: ndarray, empty: ndarray) -> ndarray:
    """As `pairs.range_max`, on arrays. RETURNS (ndarray): Shape (P, R, H)."""
    found = range_max_in_loops(values, start, end, empty)
    if found is not None:
        return found
    counts = places.window_counts(len(values), int((end - start).max(initial=0)))
    table: List[ndarray] = [values]
    while len(table) < len(counts):
        half = 2 ** (len(table) - 1)
        table.append(numpy.maximum(table[-1][:-half], table[-1][half:]))
    one, other = places.range_windows(start, end, counts)
    flat = numpy.concatenate([*table, empty])
    return numpy.maximum(flat[one], flat[other])


def range_max_in_loops(values: ndarray, start: ndarray, end: ndarray, empty: ndarray) -> Optional[ndarray]:
    """As `range_max`. RETURNS (Optional[ndarray]): None without numba, and for ranges so long that a table of maxima is quicker."""
    loop = loops.compiled(loops.range_max)
    if loop is None or (end - start).sum() > MOST_ROWS * len(start):
        return None
    maxima = numpy.empty((*start.shape, values.shape[1]), dtype="float32")
    loop(values, start, end, empty, maxima)
    return maxima
