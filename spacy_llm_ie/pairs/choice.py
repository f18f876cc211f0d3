"""From the probabilities of pairs to labelled pairs."""

from typing import List, NamedTuple, Optional, Sequence, Tuple

import numpy
from numpy import ndarray

from .candidates import Candidates, SpanT


class FoundPair(NamedTuple):
    """A labelled pair of spans with its probability."""

    head: SpanT
    tail: SpanT
    label: str
    score: float


def read_labels(
    scored: Sequence[Tuple[Candidates, ndarray]], labels: Sequence[str], limits: Sequence[Optional[float]], several: bool
) -> List[List[FoundPair]]:
    """Choose the labels of the pairs of documents.

    scored (Sequence[Tuple[Candidates, ndarray]]): Candidates of each document, and their probabilities. Shape: (P, K).
    labels (Sequence[str]): The label of each output from 1 on.
    limits, several: As in `choose_labels`.
    RETURNS (List[List[FoundPair]]): One a document, in order; in it, in the order of the pairs.
    """
    found: List[List[FoundPair]] = [[] for _ in scored]
    counts = [len(probabilities) for _, probabilities in scored]
    if not any(counts):
        return found
    whole = numpy.concatenate([probabilities for _, probabilities in scored if len(probabilities)])
    rows, outputs = choose_labels(whole, limits, several)
    owners = numpy.repeat(numpy.arange(len(scored)), counts)[rows]
    pairs = numpy.concatenate([candidates.pairs for candidates, _ in scored])[rows]
    columns = (owners.tolist(), pairs.tolist(), outputs.tolist(), whole[rows, outputs].tolist())
    for owner, (head, tail), output, score in zip(*columns):
        spans = scored[owner][0].spans
        found[owner].append(FoundPair(spans[head], spans[tail], labels[output - 1], score))
    return found


def choose_labels(probabilities: ndarray, limits: Sequence[Optional[float]], several: bool) -> Tuple[ndarray, ndarray]:
    """Choose the labels of pairs.

    Without a threshold, a pair has its most probable label, or none if that is more probable; a pair that may have several has all
    that are more probable than not. With one, it has its most probable label (all, if it may have several) among those that reach
    their threshold.

    probabilities (ndarray): Output 0 for no label. Shape: (P, K).
    limits (Sequence[Optional[float]]): The threshold of each output from 1 on; None: it has none.
    several (bool): Whether a pair may have several labels.
    RETURNS (Tuple[ndarray, ndarray]): Pairs and outputs that go together, in the order of the pairs.
    """
    rest = 0.5 if several else probabilities[:, :1]
    reached = numpy.zeros(probabilities.shape, dtype=bool)
    numpy.greater(probabilities[:, 1:], rest, out=reached[:, 1:])
    for output, limit in enumerate(limits, 1):
        if limit is not None:
            reached[:, output] = (probabilities[:, output] >= limit) & (probabilities[:, output] > 0)
    if not several:
        best = numpy.where(reached, probabilities, -1.0).argmax(axis=1)
        reached &= numpy.arange(reached.shape[1]) == best[:, None]
    return numpy.nonzero(reached)
