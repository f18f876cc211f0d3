"""What a trained tagger teaches another one: the expected tags and steps of its CRF, in the other one's tags."""

from typing import Any, List, Optional, Sequence

import numpy
from numpy import ndarray
from spacy.tokens import Doc

from ..errors import Errors
from ..layers.crf import PathCounts
from ..layers.padding import buckets, pad
from .decoding import MAX_CELLS
from .model import get_crf


def tag_table(student: Any, teacher: Any) -> ndarray:
    """Which of the student's tags stands for each of the teacher's. Tags are compared by their names.

    student (CrfTaggerPipe): Its labels are among the teacher's, ValueError (E542) otherwise: a label that a teacher does not know
        is not absent. Of the same scheme, ValueError (E541) otherwise.
    teacher (Any): ValueError (E540) if it is no tagger of ours.
    RETURNS (ndarray): Tags of labels that the student lacks stand for O. Shape: (teacher's tags, student's tags), one 1.0 a row.
    """
    if getattr(teacher, "scheme", None) is None or get_crf(teacher.model) is None:
        raise ValueError(
            Errors.E540.format(name=student.name, found=type(teacher).__name__, expected="a trained tagger with a CRF")
        )
    if teacher.scheme.name != student.scheme.name:
        raise ValueError(Errors.E541.format(name=student.name, found=teacher.scheme.name, expected=student.scheme.name))
    unknown = sorted(set(student.labels).difference(teacher.labels))
    if unknown:
        raise ValueError(Errors.E542.format(name=student.name, unknown=unknown, labels=list(teacher.labels)))
    places = [student.scheme.index.get(tag, 0) for tag in teacher.scheme.tags]
    return numpy.eye(len(student.scheme.tags))[places]


def ask(teacher: Any, docs: Sequence[Doc], table: ndarray, temperature: float) -> List[Optional[PathCounts]]:
    """What the teacher expects of documents.

    docs (Sequence[Doc]): Processed by what the teacher's component reads; not changed.
    table (ndarray): As `tag_table` made it.
    temperature (float): Divides the teacher's scores.
    RETURNS (List[Optional[PathCounts]]): One a document, in order, in float32; None for one without tokens. Where the student lacks
        labels the entropy is not known, and is 0: the loss has another zero, and the same gradient.
    """
    emissions = teacher.emissions(docs)
    found: List[Optional[PathCounts]] = [None] * len(docs)
    same = table.shape[0] == table.shape[1]
    for group in buckets([len(array) for array in emissions], MAX_CELLS // table.shape[0]):
        batch, lengths = pad([emissions[i] for i in group])
        for i, counts in zip(group, get_crf(teacher.model).expectations(batch, lengths, temperature)):
            tags, steps = counts.tags @ table, table.T @ counts.steps @ table
            found[i] = PathCounts(tags.astype("float32"), steps.astype("float32"), counts.entropy if same else 0.0)
    return found
