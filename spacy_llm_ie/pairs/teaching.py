"""What a trained classifier of pairs teaches another one: probabilities of pairs, in the other one's labels."""

from typing import Any, List, NamedTuple, Optional, Sequence, Tuple

import numpy
import torch
from numpy import ndarray

from ..errors import Errors
from ..layers.pairs import soften
from .candidates import Candidates
from .labels import LabelTable


class TaughtPairs(NamedTuple):
    """Pairs of one document, and the probabilities of their labels. Shape: (P, K), output 0 for no label."""

    candidates: Candidates
    probabilities: ndarray


class SharedPairs(NamedTuple):
    """Pairs of one document, with gold labels and with a teacher's probabilities; a row of zeros where either is unknown.

    Shapes of both: (P, K).
    """

    candidates: Candidates
    gold: ndarray
    probabilities: ndarray


def label_table(student: Any, teacher: Any) -> List[int]:
    """Which output of the student stands for each output of the teacher. Labels are compared by their names.

    student (PairPipe): Its labels are among the teacher's, ValueError (E542) otherwise: a label that a teacher does not know is
        not absent. If its pairs have one label each, so do the teacher's, ValueError (E543) otherwise.
    teacher (Any): ValueError (E540) if it is no classifier of pairs of ours.
    RETURNS (List[int]): One a label of the teacher, in order, from output 1 on; 0 for labels that the student lacks.
    """
    if not hasattr(teacher, "probabilities") or not getattr(teacher, "labels", None):
        expected = "a trained classifier of pairs"
        raise ValueError(Errors.E540.format(name=student.name, found=type(teacher).__name__, expected=expected))
    unknown = sorted(set(student.labels).difference(teacher.labels))
    if unknown:
        raise ValueError(Errors.E542.format(name=student.name, unknown=unknown, labels=list(teacher.labels)))
    if teacher.cfg["several"] and not student.cfg["several"]:
        raise ValueError(Errors.E543.format(name=student.name))
    return [student.table.outputs.get(label, 0) for label in teacher.labels]


def translate(
    student: Any, candidates: Candidates, probabilities: ndarray, columns: List[int], several: bool, temperature: float
) -> TaughtPairs:
    """Bring what a teacher says of the pairs of a document into the student's labels.

    candidates, probabilities (Candidates, ndarray): As the teacher's `probabilities` gave them.
    columns (List[int]): As `label_table` made it.
    several (bool): Whether the teacher's pairs may have several labels.
    temperature (float): Softens the teacher's probabilities.
    RETURNS (TaughtPairs): Without pairs that the student would never score, as no label of it joins their types. What the student
        may not say of a pair is no label.
    """
    table = student.table
    allowed = table.masks(table.rows([candidates.spans]), [candidates.pairs])
    soft = soften(torch.from_numpy(probabilities), several, temperature).numpy()
    result = numpy.zeros((len(soft), len(student.labels) + 1), dtype="float32")
    for source, place in enumerate(columns, 1):
        if place:
            result[:, place] = soft[:, source] * allowed[:, place]
    named = result[:, 1:]
    result[:, 0] = 1 - (named.max(axis=1, initial=0.0) if student.cfg["several"] else named.sum(axis=1))
    numpy.clip(result, 0, 1, out=result)
    used = allowed[:, 1:].any(axis=1)
    return TaughtPairs(Candidates(candidates.spans, candidates.pairs[used]), result[used])


def join(own: Tuple[Candidates, ndarray], taught: Optional[TaughtPairs]) -> SharedPairs:
    """Put the pairs of a document that have gold labels and those that a teacher has scored together, each once.

    own (Tuple[Candidates, ndarray]): Candidates and their gold labels (P, K).
    taught (Optional[TaughtPairs]): None: the teacher says nothing of the document.
    RETURNS (SharedPairs): In the order of heads and tails.
    """
    if taught is None:
        return SharedPairs(*own, numpy.zeros(own[1].shape, dtype="float32"))
    spans = sorted({*own[0].spans, *taught.candidates.spans})
    place = {span: i for i, span in enumerate(spans)}
    moved = []
    for found, _ in (own, taught):
        index = numpy.array([place[span] for span in found.spans], dtype="int64")
        moved.append(index[found.pairs] if len(found.pairs) else found.pairs)
    pairs, rows = numpy.unique(numpy.concatenate(moved), axis=0, return_inverse=True)
    rows = rows.reshape(-1)
    width = own[1].shape[1]
    gold, target = numpy.zeros((len(pairs), width), dtype=bool), numpy.zeros((len(pairs), width), dtype="float32")
    gold[rows[: len(moved[0])]] = own[1]
    target[rows[len(moved[0]) :]] = taught.probabilities
    return SharedPairs(Candidates(spans, pairs), gold, target)


def stack(table: LabelTable, taught: Sequence[Optional[TaughtPairs]]) -> Tuple[ndarray, ndarray]:
    """Put the pairs of all documents into one array. RETURNS: Allowed labels and probabilities, both of shape (P, K)."""
    known = [pairs for pairs in taught if pairs is not None]
    spans, pairs = ([part[i] for part, _ in known] for i in (0, 1))
    empty = numpy.zeros((0, len(table.labels) + 1), dtype="float32")
    return table.masks(table.rows(spans), pairs), numpy.concatenate([empty, *(found for _, found in known)])


def known_rows(scores: torch.Tensor, table: ndarray, *others: ndarray) -> List[torch.Tensor]:
    """The rows that are not empty in a table. RETURNS (List[torch.Tensor]): Of the scores and the others, on the scores' device."""
    rows = table.any(axis=1)
    tensors = [torch.from_numpy(array).to(scores.device) for array in (rows, *(other[rows] for other in others))]
    return [scores[tensors[0]], *tensors[1:]]
