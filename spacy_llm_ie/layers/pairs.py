"""Scores of labelled pairs of spans, from token vectors that know nothing of the pair.

With an encoder shared by all tasks no markers can be put into the text around the two spans, as is best for an encoder of its own
(Soares et al., "Matching the Blanks", 2019). What a marker says is said here after the encoder: each token learns which spans
cover it, spans are their borders and their content, and the words before, between and behind the two are pooled separately
(piecewise max-pooling: Zeng et al., "Distant Supervision for Relation Extraction via Piecewise Convolutional Neural Networks",
2015, section 3.4), over a table of maxima of all powers of two, so that a pair costs two look-ups a piece whatever lies between.
"""

from typing import List, Optional

import numpy
import torch
from numpy import ndarray
from torch import Tensor, nn
from torch.nn import functional

from ..processor import one_thread
from . import places
from .places import GAP_BORDERS, MOST_BETWEEN, WIDTH_BORDERS
from .products import linear
from .ready import ReadyScorer, range_max_in_loops

# Pairs scored at once without gradients, and the tokens that they may stretch over.
CHUNK_PAIRS = 8192
CHUNK_TOKENS = 16384
# As many tokens and pairs at most are scored sooner by numpy's operations than by torch's.
FEW_TOKENS, FEW_PAIRS = 512, 1024
# Fewer are scored quicker by one thread (measured with two: twice as fast for 1,500 tokens and less, half as fast for 11,000).
MANY_TOKENS = 4096
CPU = torch.device("cpu")


class PairScorer(nn.Module):
    """Scores for (head, tail) pairs of spans: relations, or triggers and their arguments.

    width (int): Width of the token vectors, D.
    outputs (int): Scores a pair, K.
    span_labels (int): Number of labels that spans have, L; 0 stands for a label that is not known.
    hidden_size (int): Width of all layers in it, H.
    label_size (int): Width of the labels' vectors; 0 leaves labels out.
    context_size (int): Tokens before the first and behind the second span that are pooled; 0 leaves the context out, also that
        between the spans.
    distance_size (int): Width of the vectors for gap, direction and spans between; 0 leaves them out.
    biaffine (bool): Add a bilinear score of head and tail (Dozat and Manning, "Deep Biaffine Attention", 2017, equation 2).
    """

    def __init__(
        self,
        width: int,
        outputs: int,
        span_labels: int,
        hidden_size: int = 128,
        label_size: int = 32,
        context_size: int = 12,
        distance_size: int = 32,
        biaffine: bool = False,
    ) -> None:
        super().__init__()
        self.settings = {key: value for key, value in locals().items() if key not in ("self", "__class__")}
        H = hidden_size
        self.context_size, self.dropout = context_size, 0.0
        self.labels = nn.Embedding(span_labels + 1, label_size) if label_size else None
        self.mix = nn.Conv1d(width + label_size, H, kernel_size=3, padding=1)
        self.widths = nn.Embedding(len(WIDTH_BORDERS) + 1, 16)
        self.span = nn.Linear(2 * width + H + label_size + 16, H)
        self.head, self.tail = nn.Linear(H, H), nn.Linear(H, H)
        self.empty = nn.Parameter(torch.zeros(3, H))
        self.gaps = nn.Embedding(3 * (len(GAP_BORDERS) + 1), distance_size) if distance_size else None
        self.between = nn.Embedding(MOST_BETWEEN + 1, distance_size) if distance_size else None
        pieces = 3 * H + (3 * H if context_size else 0) + distance_size
        self.joined, self.output = nn.Linear(pieces, H), nn.Linear(H, outputs)
        self.bilinear = nn.Parameter(torch.zeros(outputs, H, H)) if biaffine else None
        for table in filter(None, (self.labels, self.widths, self.gaps, self.between)):
            nn.init.normal_(table.weight, std=0.1)
        self._ready: Optional[ReadyScorer] = None

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return self.empty.device

    def forward(self, vectors: Tensor, spans: ndarray, pairs: ndarray, bounds: ndarray) -> Tensor:
        """Score pairs; with parameters in bfloat16, they are computed in bfloat16.

        vectors (Tensor): Token vectors of all documents one after the other, with a row of zeros between documents. Shape: (T, D).
        spans (ndarray): Start, end (exclusive) and label of each span, rows of `vectors`. Those of one document stand together,
            sorted by start. int64. Shape: (S, 3).
        pairs (ndarray): Head and tail of each pair, rows of `spans`, both of one document. int64. Shape: (P, 2).
        bounds (ndarray): First row and end of the document of each span. int64. Shape: (S, 2).
        RETURNS (Tensor): Shape (P, K).
        """
        with one_thread(len(vectors) < MANY_TOKENS and not torch.is_grad_enabled()):
            return self._score_all(vectors, spans, pairs, bounds)

    def predict(self, vectors: ndarray, spans: ndarray, pairs: ndarray, bounds: ndarray) -> ndarray:
        """As `forward`, on arrays and without gradients. Few pairs are scored without torch, whose calls take longer than them.

        vectors (ndarray): float32; all else, and the parameters, must be on the CPU too. Shape: (T, D).
        spans, pairs, bounds (ndarray): As in `forward`.
        RETURNS (ndarray): Shape (P, K).
        """
        ready = self._find_ready(len(vectors), len(pairs))
        if ready is not None:
            return ready(vectors, spans, pairs, bounds)
        with torch.no_grad():
            return self(torch.from_numpy(vectors), spans, pairs, bounds).numpy()

    def _score_all(self, vectors: Tensor, spans: ndarray, pairs: ndarray, bounds: ndarray) -> Tensor:
        """As `forward`, by torch's operations; many pairs some at a time."""
        if self.output.weight.dtype == torch.bfloat16 != vectors.dtype:
            return self._score_all(vectors.bfloat16(), spans, pairs, bounds).to(vectors.dtype)
        if self.training or len(pairs) <= CHUNK_PAIRS and len(vectors) <= CHUNK_TOKENS or not len(pairs):
            return self._score(vectors, spans, pairs, bounds)
        chunks = places.chunks(spans, pairs, CHUNK_PAIRS, CHUNK_TOKENS)
        scores = torch.cat([self._score_chunk(vectors, spans, pairs[rows], bounds) for rows in chunks])
        return scores[_on(scores, numpy.argsort(numpy.concatenate(chunks)))]

    def train(self, mode: bool = True) -> "PairScorer":
        """As of every module. What was made ready of the parameters is forgotten."""
        self._ready = None
        return super().train(mode)

    def _find_ready(self, tokens: int, pairs: int) -> Optional[ReadyScorer]:
        """What scores few pairs by numpy. None for many, in training, on a GPU, in float64."""
        if not 0 < pairs <= FEW_PAIRS or tokens > FEW_TOKENS:
            return None
        if self._ready is None or not self._ready.is_current():
            weight = self.output.weight
            if self.training or weight.device != CPU or weight.dtype not in (torch.float32, torch.bfloat16):
                return None
            self._ready = ReadyScorer(self)
        return self._ready

    def _score_chunk(self, vectors: Tensor, spans: ndarray, pairs: ndarray, bounds: ndarray) -> Tensor:
        """Score pairs that lie near each other, from the tokens around them only, so that memory stays bounded."""
        margin = self.context_size + 3  # one more than what the convolution of the first pooled token sees
        (low, high), first, near = places.cut_out(spans, pairs, margin, len(vectors))
        limits = numpy.clip(bounds[first : first + len(near)] - low, 0, high - low)
        return self._score(vectors[low:high], near, pairs - first, limits)

    def _score(self, vectors: Tensor, spans: ndarray, pairs: ndarray, bounds: ndarray) -> Tensor:
        covered = places.Covered.by(spans)
        tokens = functional.gelu(self._mix(vectors, spans, covered))
        tokens = functional.dropout(tokens, self.dropout, self.training)
        contents = functional.gelu(_apply(self.span, self._span_parts(vectors, tokens, spans, covered)))
        contents = functional.dropout(contents, self.dropout, self.training)
        head, tail = (
            _apply(layer, contents).index_select(0, _on(contents, ends)) for layer, ends in zip((self.head, self.tail), pairs.T)
        )
        parts = [head, tail, head * tail]
        if self.context_size:
            ranges = places.context_ranges(spans, pairs, bounds, self.context_size)
            parts.append(range_max(tokens, *ranges, self.empty).flatten(1))
        if self.gaps is not None:
            gap, between = (_on(tokens, array) for array in places.distances(spans, pairs))
            parts.append(self.gaps(gap) + self.between(between))
        whole = functional.gelu(_apply(self.joined, torch.cat(parts, dim=1)))
        scores = _apply(self.output, functional.dropout(whole, self.dropout, self.training))
        if self.bilinear is not None:
            scores = scores + torch.einsum("ph,khj,pj->pk", head, self.bilinear, tail)
        return scores

    def _mix(self, vectors: Tensor, spans: ndarray, covered: places.Covered) -> Tensor:
        """The convolution `mix` over the vectors of three tokens and the labels of the spans that cover them. Shape: (T, H).

        It is taken as one product, whose three parts are then moved by a token, with a table for the labels, which most tokens do
        not have: half the time of `nn.Conv1d`.
        """
        D = vectors.shape[1]
        weight = self.mix.weight.permute(2, 0, 1)  # (3, H, D + label size)
        parts = linear(vectors, weight[..., :D].reshape(-1, D))
        if self.labels is not None:
            token, label = (_on(parts, array) for array in covered.labels(spans, len(vectors)))
            table = linear(self.labels.weight, weight[..., D:].flatten(0, 1))
            parts = parts.index_add(0, token, table.index_select(0, label))
        before, here, behind = parts.view(len(vectors), 3, len(self.mix.bias)).unbind(1)
        tokens = here + self.mix.bias
        tokens[1:] += before[:-1]
        tokens[:-1] += behind[1:]
        return tokens

    def _span_parts(self, vectors: Tensor, tokens: Tensor, spans: ndarray, covered: places.Covered) -> Tensor:
        """Borders, mean content, label and width of each span. Shape: (S, 2D + H + ...)."""
        borders = vectors.index_select(0, _on(vectors, (spans[:, :2] - (0, 1)).ravel())).view(len(spans), 2 * vectors.shape[1])
        content = functional.embedding_bag(_on(tokens, covered.token), tokens, _on(tokens, covered.begin), mode="mean")
        parts = [borders, content, self.widths(_on(tokens, places.width_buckets(spans)))]
        if self.labels is not None:
            parts.append(self.labels(_on(tokens, spans[:, 2])))
        return torch.cat(parts, dim=1)


def _apply(layer: nn.Linear, values: Tensor) -> Tensor:
    return linear(values, layer.weight, layer.bias)


def _on(like: Tensor, array: ndarray) -> Tensor:
    """An array of whole numbers, where another tensor is."""
    return torch.from_numpy(numpy.ascontiguousarray(array)).to(like.device)


def maxima(values: Tensor, levels: int) -> List[Tensor]:
    """The maxima of all windows whose length is a power of two.

    values (Tensor): Shape (T, H).
    levels (int): How many powers of two; at least one.
    RETURNS (List[Tensor]): Item k has the maxima of windows of 2**k rows. Shape of each: (T - 2**k + 1, H).
    """
    table = [values]
    while len(table) < levels:
        half = 2 ** (len(table) - 1)
        table.append(torch.maximum(table[-1][:-half], table[-1][half:]))
    return table


def range_max(values: Tensor, start: ndarray, end: ndarray, empty: Tensor) -> Tensor:
    """The maxima over ranges of rows, each from two windows that overlap.

    values (Tensor): Shape (T, H).
    start, end (ndarray): End exclusive. Shape: (P, R).
    empty (Tensor): What a range without rows has. Shape: (R, H).
    RETURNS (Tensor): Shape (P, R, H).
    """
    if not torch.is_grad_enabled() and values.device == CPU and values.dtype in (torch.float32, torch.bfloat16):
        found = range_max_in_loops(values.float().numpy(), start, end, empty.float().numpy())
        if found is not None:
            return torch.from_numpy(found).to(values.dtype)
    counts = places.window_counts(len(values), int((end - start).max(initial=0)))
    windows = places.range_windows(start, end, counts)
    flat = torch.cat([*maxima(values, len(counts)), empty])
    found = flat.index_select(0, _on(flat, numpy.stack(windows).ravel())).view(2, *start.shape, flat.shape[1])
    return torch.maximum(found[0], found[1])


def masked_log_softmax(scores: Tensor, allowed: Tensor) -> Tensor:
    """Log-probabilities over the allowed outputs of each pair; -inf for the others. Shape: (P, K)."""
    return torch.log_softmax(scores.masked_fill(~allowed, -torch.inf), dim=1)


def pair_loss(scores: Tensor, gold: Tensor, allowed: Tensor, several: bool, none_weight: float) -> Tensor:
    """The loss of pairs.

    scores (Tensor): Shape (P, K). Output 0 stands for 'no label' unless `several`.
    gold (Tensor): True for the labels of each pair; output 0 included. Shape: (P, K).
    allowed (Tensor): True where the types of a pair permit a label. Shape: (P, K).
    several (bool): Pairs may have several labels: a logistic loss for each allowed label; otherwise cross-entropy over them.
    none_weight (float): Weight of pairs without label; if `several`, of each label that a pair does not have.
    RETURNS (Tensor): Mean over pairs; 0.0 without pairs. Shape: ().
    """
    if not len(scores):
        return scores.sum()
    if several:
        losses = functional.binary_cross_entropy_with_logits(scores, gold.to(scores.dtype), reduction="none")
        weights = torch.where(gold, 1.0, none_weight)[:, 1:]
        return (losses[:, 1:] * allowed[:, 1:] * weights).sum() / len(scores)
    target = gold.to(torch.uint8).argmax(dim=1)
    losses = -masked_log_softmax(scores, allowed).gather(1, target[:, None])[:, 0]
    return (losses * torch.where(target == 0, none_weight, 1.0)).sum() / len(scores)


def pair_probabilities(scores: ndarray, allowed: ndarray, several: bool) -> ndarray:
    """The probability of each label of each pair, 0 where it is not allowed; output 0 is 'no label'. Shape: (P, K)."""
    if several:
        found = numpy.exp(-numpy.logaddexp(0, -scores)) * allowed
        found[:, 0] = 1 - found[:, 1:].max(axis=1, initial=0)
        return found
    found = numpy.where(allowed, scores, -numpy.inf)
    found = numpy.exp(found - found.max(axis=1, keepdims=True))
    return found / found.sum(axis=1, keepdims=True)


def soften(probabilities: Tensor, several: bool, temperature: float) -> Tensor:
    """The probabilities that the same scores would have, divided by a temperature. What is 0 stays 0. Shape: (P, K)."""
    powers = probabilities ** (1 / temperature)
    if not several:
        return powers / powers.sum(dim=1, keepdim=True)
    found = (powers / (powers + (1 - probabilities) ** (1 / temperature)))[:, 1:]
    return torch.cat([1 - found.amax(dim=1, keepdim=True), found], dim=1) if len(found) else powers


def pair_distance(scores: Tensor, target: Tensor, allowed: Tensor, several: bool, temperature: float) -> Tensor:
    """The Kullback-Leibler divergence of the probabilities of pairs from a teacher's.

    scores (Tensor): Shape (P, K).
    target (Tensor): The teacher's probabilities at this temperature, 0 where not allowed. Shape: (P, K).
    allowed (Tensor): True where the types of a pair permit a label. Shape: (P, K).
    several (bool): Pairs may have several labels: the sum over all allowed labels of the divergence of yes and no.
    temperature (float): Divides the scores; the result is multiplied by its square (Hinton et al., 2015, section 2).
    RETURNS (Tensor): Mean over pairs, 0.0 without pairs or where the probabilities are the same. Shape: ().
    """
    if not len(scores):
        return scores.sum()
    scores, target = scores / temperature, target.to(scores.dtype)
    if several:
        losses = functional.binary_cross_entropy_with_logits(scores, target, reduction="none")
        losses = (losses + torch.xlogy(target, target) + torch.xlogy(1 - target, 1 - target))[:, 1:]
        return (losses * allowed[:, 1:]).sum() * temperature**2 / len(scores)
    logs = masked_log_softmax(scores, allowed).masked_fill(~allowed, 0.0)
    return (torch.xlogy(target, target) - target * logs).sum() * temperature**2 / len(scores)
