"""The linear-chain CRF: pytorch-crf's parameters, a scheme's constraints, exact probabilities.

`torchcrf.CRF` holds start, end and step scores, so that weights interchange with it; steps that the scheme forbids score -inf
in the loss and in decoding. Gradients are the exact ones (expected counts), computed together with the loss: no autograd graph
over positions, so that memory stays linear in length.
"""

from typing import Any, List, Optional, Sequence, Tuple

import numpy
import torch
from numpy import ndarray
from torch import Tensor
from torchcrf import CRF

from ..errors import Errors
from . import chain
from .chain import NEG_INF, Messages, Potentials


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

    @property
    def num_tags(self) -> int:
        """K, the number of tags."""
        return self.crf.num_tags

    def _constrained(self) -> Tuple[Tensor, Tensor, Tensor]:
        """Start, end and step scores with -inf where the scheme forbids. Shapes: (K,), (K,), (K, K)."""
        crf = self.crf
        return (
            crf.start_transitions.masked_fill(~self.legal_start, NEG_INF),
            crf.end_transitions.masked_fill(~self.legal_end, NEG_INF),
            crf.transitions.masked_fill(~self.legal, NEG_INF),
        )

    def potentials(self, emissions: ndarray, lengths: ndarray, temperature: float = 1.0) -> Potentials:
        """Join emissions with the constrained parameters.

        emissions (ndarray): Shape (B, T, K).
        lengths (ndarray): Number of real tokens, which come first in each row. Shape: (B,).
        temperature (float): Divides all scores: above 1, probabilities become less extreme; the best path stays the best.
        RETURNS (Potentials): On the CPU.
        """
        start, end, steps = (x.detach().cpu().numpy() / temperature for x in self._constrained())
        return Potentials(emissions / temperature, numpy.asarray(lengths), start, end, steps)

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
        return chain.viterbi(p, chain.transition_blocks(self.legal.cpu().numpy()))

    def n_best(self, emissions: ndarray, lengths: ndarray, n: int, temperature: float = 1.0) -> Tuple[ndarray, ndarray]:
        """The n best legal paths, best first. RETURNS: Tags (B, n, T) and probabilities (B, n), 0 where there is no path."""
        p, messages = self.messages(emissions, lengths, temperature)
        tags, scores = chain.n_best(p, n)
        return tags, numpy.exp(scores - messages.log_z[:, None])


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


def _expectations(p: Potentials, messages: Messages, weights: ndarray) -> List[ndarray]:
    """Expected counts of tags (B, T, K), first tags (K,), last tags (K,) and steps (K, K), weighted by sequence."""
    tags = chain.marginals(p, messages) * weights[:, None, None]
    rows = numpy.nonzero(p.lengths > 0)[0]
    first = tags[rows, 0].sum(axis=0)
    last = tags[rows, p.lengths[rows] - 1].sum(axis=0)
    return [tags, first, last, chain.expected_steps(p, messages, weights)]
