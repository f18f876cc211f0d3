"""Scores of labelled pairs of spans, from token vectors that know nothing of the pair.

With an encoder shared by all tasks no markers can be put into the text around the two spans, as is best for an encoder of its own
(Soares et al., "Matching the Blanks", 2019). What a marker says is said here after the encoder: each token learns which spans
cover it, spans are their borders and their content, and the words before, between and behind the two are pooled separately
(piecewise max-pooling: Zeng et al., "Distant Supervision for Relation Extraction via Piecewise Convolutional Neural Networks",
2015, section 3.4), over a table of maxima of all powers of two, so that a pair costs two look-ups a piece whatever lies between.
"""

import itertools
from functools import lru_cache
from typing import List, Tuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from .products import linear

# Gaps of 0, 1, 2, 3-4, 5-8, 9-16, 17-32, 33-64, 65 and more tokens.
GAP_BORDERS = (0, 1, 2, 4, 8, 16, 32, 64)
# Spans of 1, 2, 3, 4-6, 7 and more tokens.
WIDTH_BORDERS = (1, 2, 3, 6)
MOST_BETWEEN = 4
# Pairs scored at once without gradients, and the tokens that they may stretch over.
CHUNK_PAIRS = 8192
CHUNK_TOKENS = 16384


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

    def forward(self, vectors: Tensor, spans: Tensor, pairs: Tensor, bounds: Tensor) -> Tensor:
        """Score pairs; with parameters in bfloat16, they are computed in bfloat16.

        vectors (Tensor): Token vectors of all documents one after the other, with a row of zeros between documents. Shape: (T, D).
        spans (Tensor): Start, end (exclusive) and label of each span, rows of `vectors`. Those of one document stand together,
            sorted by start. Shape: (S, 3).
        pairs (Tensor): Head and tail of each pair, rows of `spans`, both of one document. Shape: (P, 2).
        bounds (Tensor): First row and end of the document of each span. Shape: (S, 2).
        RETURNS (Tensor): Shape (P, K).
        """
        if self.output.weight.dtype == torch.bfloat16 != vectors.dtype:
            return self(vectors.bfloat16(), spans, pairs, bounds).to(vectors.dtype)
        if self.training or len(pairs) <= CHUNK_PAIRS and len(vectors) <= CHUNK_TOKENS:
            return self._score(vectors, spans, pairs, bounds)
        chunks = _chunks(spans, pairs)
        scores = torch.cat([self._score_chunk(vectors, spans, pairs[rows], bounds) for rows in chunks])
        return scores[torch.argsort(torch.cat(chunks))]

    def _score_chunk(self, vectors: Tensor, spans: Tensor, pairs: Tensor, bounds: Tensor) -> Tensor:
        """Score pairs that lie near each other, from the tokens around them only, so that memory stays bounded."""
        used = spans[pairs.flatten()]
        margin = self.context_size + 3  # one more than what the convolution of the first pooled token sees
        low = max(int(used[:, 0].min()) - margin, 0)
        high = min(int(used[:, 1].max()) + margin, len(vectors))
        inside = (spans[:, 0] < high) & (spans[:, 1] > low)
        first = int(inside.to(torch.uint8).argmax())
        last = len(spans) - int(inside.flip(0).to(torch.uint8).argmax())
        near = spans[first:last].clone()
        near[:, :2] -= low
        # Spans that stick out belong to no pair here; what is left of them still marks its tokens.
        near[:, :2].clamp_(0, high - low)
        near[:, 1] = torch.maximum(near[:, 1], near[:, 0] + 1).clamp_max(high - low)
        near[:, 0] = torch.minimum(near[:, 0], near[:, 1] - 1)
        return self._score(vectors[low:high], near, pairs - first, (bounds[first:last] - low).clamp(0, high - low))

    def _score(self, vectors: Tensor, spans: Tensor, pairs: Tensor, bounds: Tensor) -> Tensor:
        covered = _tokens_of(spans)
        tokens = functional.gelu(self._mix(vectors, spans, covered))
        tokens = functional.dropout(tokens, self.dropout, self.training)
        contents = functional.gelu(_apply(self.span, self._span_parts(vectors, tokens, spans, covered)))
        contents = functional.dropout(contents, self.dropout, self.training)
        head, tail = _apply(self.head, contents)[pairs[:, 0]], _apply(self.tail, contents)[pairs[:, 1]]
        parts = [head, tail, head * tail]
        if self.context_size:
            parts.extend(self._context(tokens, spans, pairs, bounds))
        if self.gaps is not None:
            parts.append(self._distance(spans, pairs))
        joined = functional.gelu(_apply(self.joined, torch.cat(parts, dim=1)))
        scores = _apply(self.output, functional.dropout(joined, self.dropout, self.training))
        if self.bilinear is not None:
            scores = scores + torch.einsum("ph,khj,pj->pk", head, self.bilinear, tail)
        return scores

    def _mix(self, vectors: Tensor, spans: Tensor, covered: Tuple[Tensor, Tensor]) -> Tensor:
        """The convolution `mix` over the vectors of three tokens and the labels of the spans that cover them. Shape: (T, H).

        It is taken as one product, whose three parts are then moved by a token, with a table for the labels, which most tokens do
        not have: half the time of `nn.Conv1d`.
        """
        T, D = vectors.shape
        weight = self.mix.weight.permute(2, 0, 1)  # (3, H, D + label size)
        parts = linear(vectors, weight[..., :D].reshape(-1, D))
        if self.labels is not None:
            token, label = _labels_of_tokens(spans, covered, T)
            parts = parts.index_add(0, token, linear(self.labels.weight, weight[..., D:].flatten(0, 1))[label])
        before, here, behind = parts.view(T, 3, -1).unbind(1)
        tokens = here + self.mix.bias
        tokens[1:] += before[:-1]
        tokens[:-1] += behind[1:]
        return tokens

    def _span_parts(self, vectors: Tensor, tokens: Tensor, spans: Tensor, covered: Tuple[Tensor, Tensor]) -> Tensor:
        """Borders, mean content, label and width of each span. Shape: (S, 2D + H + ...)."""
        token, owner = covered
        sizes = spans[:, 1] - spans[:, 0]
        content = tokens.new_zeros(len(spans), tokens.shape[1]).index_add(0, owner, tokens[token]) / sizes[:, None]
        width = self.widths(torch.bucketize(sizes, _borders(WIDTH_BORDERS, spans.device)))
        parts = [vectors[spans[:, 0]], vectors[spans[:, 1] - 1], content, width]
        if self.labels is not None:
            parts.append(self.labels(spans[:, 2]))
        return torch.cat(parts, dim=1)

    def _context(self, tokens: Tensor, spans: Tensor, pairs: Tensor, bounds: Tensor) -> List[Tensor]:
        """Maxima over the tokens between the two spans, before the first and behind the second. Shape of each: (P, H)."""
        head, tail = spans[pairs[:, 0]], spans[pairs[:, 1]]
        limits = bounds[pairs[:, 0]]
        first, last = torch.minimum(head[:, 0], tail[:, 0]), torch.maximum(head[:, 1], tail[:, 1])
        inner = torch.minimum(head[:, 1], tail[:, 1])
        outer = torch.maximum(head[:, 0], tail[:, 0])
        size = self.context_size
        ranges = (
            (inner, torch.maximum(outer, inner)),
            (torch.maximum(first - size, limits[:, 0]), first),
            (last, torch.minimum(last + size, limits[:, 1])),
        )
        start, end = (torch.cat(ends) for ends in zip(*ranges))
        longest = int((end - start).max()) if len(pairs) else 0
        empty = self.empty.repeat_interleave(len(pairs), dim=0)
        return list(range_max(maxima(tokens, longest), start, end, empty).tensor_split(3))

    def _distance(self, spans: Tensor, pairs: Tensor) -> Tensor:
        head, tail = spans[pairs[:, 0]], spans[pairs[:, 1]]
        gap = torch.maximum(tail[:, 0] - head[:, 1], head[:, 0] - tail[:, 1])
        order = torch.where(gap < 0, 2, (head[:, 0] > tail[:, 0]).long())  # overlapping, or which comes first
        bucket = torch.bucketize(gap.clamp_min(0), _borders(GAP_BORDERS, gap.device))
        between = ((pairs[:, 0] - pairs[:, 1]).abs() - 1).clamp(0, MOST_BETWEEN)
        return self.gaps(bucket + order * (len(GAP_BORDERS) + 1)) + self.between(between)


def _apply(layer: nn.Linear, values: Tensor) -> Tensor:
    return linear(values, layer.weight, layer.bias)


def _tokens_of(spans: Tensor) -> Tuple[Tensor, Tensor]:
    """The tokens of all spans. RETURNS: Token and owner (index of the span), both of shape (sum of sizes,)."""
    sizes = spans[:, 1] - spans[:, 0]
    owner = torch.repeat_interleave(torch.arange(len(spans), device=spans.device), sizes)
    offset = torch.arange(len(owner), device=spans.device) - (torch.cumsum(sizes, 0) - sizes)[owner]
    return spans[owner, 0] + offset, owner


def _labels_of_tokens(spans: Tensor, covered: Tuple[Tensor, Tensor], tokens: int) -> Tuple[Tensor, Tensor]:
    """The label of the span that covers a token; of several, the one that starts last. RETURNS: Tokens that one covers, labels.

    covered (Tuple[Tensor, Tensor]): As `_tokens_of` gives it.
    tokens (int): How many tokens there are.
    """
    token, owner = covered
    cover = torch.full((tokens,), -1, dtype=torch.long, device=spans.device).scatter_reduce(0, token, owner, "amax")
    named = torch.nonzero(cover >= 0)[:, 0]
    return named, spans[cover[named], 2]


@lru_cache(maxsize=32)
def _borders(borders: Tuple[int, ...], device: torch.device) -> Tensor:
    return torch.tensor(borders, device=device)


def maxima(values: Tensor, longest: int) -> List[Tensor]:
    """The maxima of all windows whose length is a power of two, up to the longest range that will be asked for.

    values (Tensor): Shape (T, H).
    longest (int): Length of the longest range.
    RETURNS (List[Tensor]): Item k has the maxima of windows of 2**k rows. Shape of each: (T - 2**k + 1, H).
    """
    table = [values]
    while 2 ** len(table) <= longest:
        half = 2 ** (len(table) - 1)
        table.append(torch.maximum(table[-1][:-half], table[-1][half:]))
    return table


def range_max(table: List[Tensor], start: Tensor, end: Tensor, empty: Tensor) -> Tensor:
    """The maximum over rows start to end, from two overlapping windows.

    table (List[Tensor]): As `maxima` returned it.
    start, end (Tensor): Shape (P,), end exclusive.
    empty (Tensor): What an empty range has. Shape: (H,) or (P, H).
    RETURNS (Tensor): Shape (P, H).
    """
    device, sizes = start.device, end - start
    powers = _borders(tuple(2**k for k in range(len(table))), device)
    level = (torch.bucketize(sizes, powers, right=True) - 1).clamp_min(0)
    sized = [len(windows) for windows in table]
    heights, starts = torch.tensor([sized, [0, *itertools.accumulate(sized[:-1])]], device=device)
    first = starts[level]
    flat = torch.cat(table)
    if not len(flat):
        return empty.expand(len(start), -1)
    last = heights[level] - 1  # an empty range is read from anywhere
    places = [first + torch.minimum(row, last) for row in (start, (end - powers[level]).clamp_min(0))]
    found = torch.maximum(*(flat.index_select(0, place) for place in places))
    return torch.where((sizes > 0)[:, None], found, empty)


def _chunks(spans: Tensor, pairs: Tensor) -> List[Tensor]:
    """Divide pairs into groups of bounded size that begin in one stretch of the text. RETURNS: Indices of pairs, each once."""
    blocks = torch.div(spans[pairs].amin(dim=1)[:, 0], CHUNK_TOKENS, rounding_mode="floor")
    blocks, order = torch.sort(blocks, stable=True)
    cuts = torch.nonzero(blocks[1:] != blocks[:-1])[:, 0] + 1
    parts = torch.tensor_split(order, cuts.cpu())
    return [piece for part in parts for piece in torch.split(part, CHUNK_PAIRS)]


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


def pair_probabilities(scores: Tensor, allowed: Tensor, several: bool) -> Tensor:
    """The probability of each label of each pair, 0 where it is not allowed; output 0 is 'no label'. Shape: (P, K)."""
    if not several:
        return torch.exp(masked_log_softmax(scores, allowed))
    found = torch.sigmoid(scores) * allowed
    return torch.cat([1 - found[:, 1:].amax(dim=1, keepdim=True), found[:, 1:]], dim=1) if len(found) else found


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
