"""The linear-chain CRF: pytorch-crf's parameters, a scheme's constraints, exact probabilities.

`torchcrf.CRF` holds start, end and step scores, so that weights interchange with it; steps that the scheme forbids score -inf
in the loss and in decoding. Gradients are the exact ones (expected counts), computed together with the loss: no autograd graph
over positions, so that memory stays linear in length.
"""

from functools import lru_cache
from typing import Any, List, NamedTuple, Optional, Sequence, Tuple

import numpy
import torch
from numpy import ndarray
from torch import Tensor
from torchcrf import CRF

from ..errors import Errors
from . import chain, loops, viterbi
from .chain import NEG_INF, Messages, Potentials
from .snapshot import Snapshot

# Up to so many tags, one block of all steps is faster than several small ones, and so it is for more tags in a few sequences.
DENSE = 24
SOME_SEQUENCES, DENSE_IN_SOME_SEQUENCES = 8, 64


class PathCounts(NamedTuple):
    """What a distribution over the tag paths of one sequence expects: all that a chain's mean score under it depends on.

    tags (ndarray): The probability of each tag at each token. Shape: (T, K).
    steps (ndarray): How often each tag follows each other one, [previous][next]. Shape: (K, K).
    entropy (float): That of the distribution over paths, in nats.
    """

    tags: ndarray
    steps: ndarray
    entropy: float


class LinearChainCRF(torch.nn.Module):
    """A distribution over the legal tag paths of a sequence (Lafferty et al., 2001, equation 1).

    num_tags (int): K.
    legal (Optional[Sequence[Sequence[bool]]]): Which tag may follow which, [previous][next]; None allows all. Shape: (K, K).
    legal_start (Optional[Sequence[bool]]): Which tags may come first. Shape: (K,).
    legal_end (Optional[Sequence[bool]]): Which tags may come last. Shape: (K,).
    """

    def __init__(
        self,
        num_tags: int,
        legal: Optional[Sequence[Sequence[bool]]] = None,
        legal_start: Optional[Sequence[bool]] = None,
        legal_end: Optional[Sequence[bool]] = None,
    ) -> None:
        super().__init__()
        self.settings = {"num_tags": num_tags}  # the tables are saved with the parameters
        self.crf = CRF(num_tags, batch_first=True)
        for name, given, shape in (
            ("legal", legal, (num_tags, num_tags)),
            ("legal_start", legal_start, (num_tags,)),
            ("legal_end", legal_end, (num_tags,)),
        ):
            table = torch.ones(shape, dtype=torch.bool) if given is None else torch.tensor(given, dtype=torch.bool)
            if tuple(table.shape) != shape:
                raise ValueError(Errors.E201.format(name=name, found=tuple(table.shape), expected=shape))
            self.register_buffer(name, table)
        self._arrays: Tuple[Optional[Snapshot], float, List[ndarray]] = (None, 1.0, [])

    @property
    def num_tags(self) -> int:
        """K, the number of tags."""
        return self.crf.num_tags

    def _constrained(self) -> Tuple[Tensor, Tensor, Tensor]:
        """Start, end and step scores with -inf where the scheme forbids. Shapes: (K,), (K,), (K, K)."""
        start, end, steps = (scores.masked_fill(~legal, NEG_INF) for scores, legal in self._scores_and_legal())
        return start, end, steps

    def _scores_and_legal(self) -> Tuple[Tuple[Tensor, Tensor], ...]:
        """pytorch-crf's start, end and step scores, each with what the scheme allows."""
        crf = self.crf
        tables = (self.legal_start, self.legal_end, self.legal)
        return tuple(zip((crf.start_transitions, crf.end_transitions, crf.transitions), tables))

    def potentials(self, emissions: ndarray, lengths: ndarray, temperature: float = 1.0) -> Potentials:
        """Join emissions with the constrained parameters.

        emissions (ndarray): Shape (B, T, K).
        lengths (ndarray): Number of real tokens, which come first in each row. Shape: (B,).
        temperature (float): Divides all scores: above 1, probabilities become less extreme; the best path stays the best.
        RETURNS (Potentials): On the CPU.
        """
        snapshot, known_temperature, arrays = self._arrays
        if snapshot is None or known_temperature != temperature or not snapshot.is_current():
            snapshot = Snapshot([*self.parameters(), *self.buffers()])
            parts = [[part.detach().cpu().numpy() for part in pair] for pair in self._scores_and_legal()]
            # As `_constrained`, which torch takes several times as long for.
            arrays = [numpy.where(legal, scores / temperature, NEG_INF).astype(numpy.float64) for scores, legal in parts]
            self._arrays = (snapshot, temperature, arrays)
        scores = emissions if temperature == 1.0 else emissions / temperature
        return Potentials(numpy.asarray(scores, dtype=numpy.float64), numpy.asarray(lengths), *arrays)

    def train(self, mode: bool = True) -> "LinearChainCRF":
        """As of every module. What was kept of the parameters is forgotten."""
        self._arrays = (None, 1.0, [])
        return super().train(mode)

    def nll(self, emissions: Tensor, lengths: ndarray, allowed: ndarray) -> Tensor:
        """Negative log-likelihood of the paths that the annotation allows: log Z - log Z restricted to them.

        With one tag allowed at each token this is the usual CRF loss; with several, it sums over them (Tsuboi et al., "Training
        Conditional Random Fields Using Incomplete Annotations", 2008, equation 3); with all, it is 0.

        emissions (Tensor): Score of each tag at each token. Shape: (B, T, K).
        lengths (ndarray): Number of real tokens. Shape: (B,).
        allowed (ndarray): True where the annotation allows a tag. Shape: (B, T, K).
        RETURNS (Tensor): One value a sequence, inf where the scheme forbids all allowed paths. Shape: (B,), float64.
        """
        return _NegLogLikelihood.apply(emissions, *self._constrained(), numpy.asarray(lengths), allowed)

    def expectations(self, emissions: ndarray, lengths: ndarray, temperature: float = 1.0) -> List[PathCounts]:
        """What the distribution over paths expects. RETURNS (List[PathCounts]): One a sequence, without padding, float64."""
        p, messages = self.messages(emissions, lengths, temperature)
        tags = chain.marginals(p, messages)
        found = []
        for row, length in enumerate(p.lengths.tolist()):
            one = p._replace(emissions=p.emissions[row : row + 1, :length], lengths=p.lengths[row : row + 1])
            part = Messages(*(x[row : row + 1, :length] for x in messages[:2]), messages.log_z[row : row + 1])
            steps = chain.expected_steps(one, part, numpy.ones(1))
            score = _mean_score(one, tags[row : row + 1, :length], steps[None])[0]
            found.append(PathCounts(tags[row, :length], steps, float(messages.log_z[row] - score)))
        return found

    def cross_entropy(
        self, emissions: Tensor, lengths: ndarray, teacher: Sequence[PathCounts], temperature: float = 1.0
    ) -> Tensor:
        """How far this distribution over paths is from a teacher's: the Kullback-Leibler divergence of whole paths.

        It is log Z - (the mean score of the teacher's paths) - (their entropy). The mean score needs no more of the teacher than
        its expected tags and steps (Wang et al., "Structural Knowledge Distillation: Tractably Distilling Information for
        Structured Predictor", 2021, where teacher and student have the same factorisation), and the gradient of an emission is
        the student's marginal less the teacher's.

        emissions (Tensor): Score of each tag at each token. Shape: (B, T, K).
        lengths (ndarray): Number of real tokens. Shape: (B,).
        teacher (Sequence[PathCounts]): One a sequence, at the same temperature.
        temperature (float): Divides all scores.
        RETURNS (Tensor): One value a sequence, in nats; inf where the teacher goes where the scheme forbids. Shape: (B,), float64.
        """
        tags = numpy.zeros(tuple(emissions.shape))
        for row, counts in zip(tags, teacher):
            row[: len(counts.tags)] = counts.tags
        steps = numpy.stack([counts.steps for counts in teacher]).astype(numpy.float64)
        scores = (x / temperature for x in (emissions, *self._constrained()))
        found = _CrossEntropy.apply(*scores, numpy.asarray(lengths), tags, steps)
        return found - torch.tensor([counts.entropy for counts in teacher], dtype=found.dtype)

    def messages(self, emissions: ndarray, lengths: ndarray, temperature: float = 1.0) -> Tuple[Potentials, Messages]:
        """Forward-backward. RETURNS: The potentials and the messages that the functions of `spans` and `chain` take."""
        p = self.potentials(emissions, lengths, temperature)
        return p, chain.forward_backward(p)

    def marginals(self, emissions: ndarray, lengths: ndarray) -> ndarray:
        """The probability of each tag at each token. RETURNS (ndarray): Rows sum to 1, 0 on padding. Shape: (B, T, K)."""
        return chain.marginals(*self.messages(emissions, lengths))

    def viterbi(self, emissions: ndarray, lengths: ndarray) -> Tuple[ndarray, ndarray]:
        """The best legal path. RETURNS: Tags (B, T), -1 on padding, and the paths' scores (B,)."""
        return self.best_paths(self.potentials(emissions, lengths))

    def best_paths(self, p: Potentials) -> Tuple[ndarray, ndarray]:
        """As `viterbi`, from potentials that `messages` has given already."""
        loop = loops.for_tags(loops.best_paths, self.num_tags)
        if loop is not None:
            return viterbi.viterbi_in_loops(p, loops.compiled(loops.reach), loop)
        if len(p.lengths) <= viterbi.FEW_SEQUENCES and self.num_tags <= viterbi.FEW_TAGS:
            return viterbi.viterbi_one_by_one(p)
        legal = self.legal.cpu().numpy()
        dense = DENSE if len(p.lengths) > SOME_SEQUENCES else DENSE_IN_SOME_SEQUENCES
        return viterbi.viterbi(p, blocks_of(legal.tobytes(), len(legal), dense))

    def n_best(self, emissions: ndarray, lengths: ndarray, n: int, temperature: float = 1.0) -> Tuple[ndarray, ndarray]:
        """The n best legal paths, best first. RETURNS: Tags (B, n, T) and probabilities (B, n), 0 where there is no path."""
        p, messages = self.messages(emissions, lengths, temperature)
        tags, scores = viterbi.n_best(p, n)
        return tags, numpy.exp(scores - messages.log_z[:, None])


@lru_cache(maxsize=32)
def blocks_of(legal: bytes, num_tags: int, dense_up_to: int) -> List[viterbi.Block]:
    """`viterbi.transition_blocks` of a table of legal steps; finding them takes as long as a short sentence."""
    return viterbi.transition_blocks(numpy.frombuffer(legal, dtype=bool).reshape(num_tags, num_tags), dense_up_to)


class _NegLogLikelihood(torch.autograd.Function):
    """log Z(all) - log Z(allowed), with the difference of the two expectations as its gradient."""

    @staticmethod
    def forward(
        ctx: Any, emissions: Tensor, start: Tensor, end: Tensor, steps: Tensor, lengths: ndarray, allowed: ndarray
    ) -> Tensor:
        """Run forward-backward twice. RETURNS (Tensor): The loss of each sequence. Shape: (B,), float64."""
        arrays = [x.detach().cpu().numpy() for x in (start, end, steps)]
        scores = emissions.detach().cpu().numpy().astype(numpy.float64)
        free = Potentials(scores, lengths, *arrays)
        clamped = free._replace(emissions=numpy.where(allowed, scores, NEG_INF))
        runs = [(p, chain.forward_backward(p)) for p in (free, clamped)]
        ctx.runs, ctx.like = runs, (emissions, start)
        return torch.from_numpy(runs[0][1].log_z - runs[1][1].log_z)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tuple[Optional[Tensor], ...]:
        """Expected counts under all paths less those under the allowed ones, weighted by `grad` of shape (B,)."""
        weights = grad.detach().cpu().numpy().astype(numpy.float64)
        plus, minus = (_expectations(p, messages, weights) for p, messages in ctx.runs)
        emissions, start = ctx.like
        return (
            torch.from_numpy(plus[0] - minus[0]).to(emissions),
            *(torch.from_numpy(a - b).to(start) for a, b in zip(plus[1:], minus[1:])),
            None,
            None,
        )


class _CrossEntropy(torch.autograd.Function):
    """log Z less the mean score of given expectations, with the difference of the expectations as its gradient."""

    @staticmethod
    def forward(
        ctx: Any, emissions: Tensor, start: Tensor, end: Tensor, steps: Tensor, lengths: ndarray, tags: ndarray, counts: ndarray
    ) -> Tensor:
        """Run forward-backward once. RETURNS (Tensor): The cross-entropy of each sequence. Shape: (B,), float64."""
        arrays = [x.detach().cpu().numpy() for x in (start, end, steps)]
        p = Potentials(emissions.detach().cpu().numpy().astype(numpy.float64), lengths, *arrays)
        messages = chain.forward_backward(p)
        ctx.run, ctx.given, ctx.like = (p, messages), (tags, counts), (emissions, start)
        return torch.from_numpy(messages.log_z - _mean_score(p, tags, counts))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tuple[Optional[Tensor], ...]:
        """The student's expected counts less the teacher's, weighted by `grad` of shape (B,)."""
        weights = grad.detach().cpu().numpy().astype(numpy.float64)
        plus = _expectations(*ctx.run, weights)
        tags, counts = ctx.given[0] * weights[:, None, None], numpy.einsum("b,bjk->jk", weights, ctx.given[1])
        minus = [tags, *_ends(tags, ctx.run[0].lengths), counts]
        emissions, start = ctx.like
        return (
            torch.from_numpy(plus[0] - minus[0]).to(emissions),
            *(torch.from_numpy(a - b).to(start) for a, b in zip(plus[1:], minus[1:])),
            *(None, None, None),
        )


def _expectations(p: Potentials, messages: Messages, weights: ndarray) -> List[ndarray]:
    """Expected counts of tags (B, T, K), first tags (K,), last tags (K,) and steps (K, K), weighted by sequence."""
    tags = chain.marginals(p, messages) * weights[:, None, None]
    return [tags, *_ends(tags, p.lengths), chain.expected_steps(p, messages, weights)]


def _ends(tags: ndarray, lengths: ndarray) -> Tuple[ndarray, ndarray]:
    """Counts of tags at the first and at the last token, summed over the batch. Shape of each: (K,)."""
    rows = numpy.nonzero(lengths > 0)[0]
    return tags[rows, 0].sum(axis=0), tags[rows, lengths[rows] - 1].sum(axis=0)


def _mean_score(p: Potentials, tags: ndarray, steps: ndarray) -> ndarray:
    """The mean score of paths with these expected tags (B, T, K) and steps (B, K, K). RETURNS (ndarray): Shape (B,)."""
    last = tags[numpy.arange(len(tags)), numpy.maximum(p.lengths - 1, 0)] if tags.shape[1] else tags.sum(axis=1)
    first = tags[:, 0] if tags.shape[1] else last
    parts = ((tags, p.emissions), (first, p.start), (last, p.end), (steps, p.transitions))
    found = numpy.zeros(len(tags))
    for counts, scores in parts:  # what does not occur may be forbidden: 0 times -inf
        found += numpy.where(counts > 0, counts * numpy.where(counts > 0, scores, 0.0), 0.0).reshape(len(tags), -1).sum(axis=1)
    return found
