import numpy
import pytest
from thinc.api import NumpyOps

from spacy_llm_ie import rows
from spacy_llm_ie.rows import distinct_rows, join_rows

OPS = NumpyOps()


def test_rows_that_lie_one_below_the_other_are_joined_without_copying():
    whole = numpy.arange(24, dtype="float32").reshape(8, 3)
    parts = [whole[:2], whole[2:2], whole[2:3], whole[3:7]]
    joined = join_rows(OPS, parts)
    assert numpy.shares_memory(joined, whole)
    numpy.testing.assert_array_equal(joined, whole[:7])


@pytest.mark.parametrize("parts", [[(3, 5), (0, 2)], [(0, 2), (3, 5)], [(0, 8)]])
def test_other_rows_are_copied(parts):
    whole = numpy.arange(24, dtype="float32").reshape(8, 3)
    given = [whole[begin:end] for begin, end in parts]
    numpy.testing.assert_array_equal(join_rows(OPS, given), numpy.concatenate(given))
    other = [*given, numpy.ones((2, 3), dtype="float32")]
    numpy.testing.assert_array_equal(join_rows(OPS, other), numpy.concatenate(other))
    columns = [whole[:2, :2], whole[2:4, :2]]
    numpy.testing.assert_array_equal(join_rows(OPS, columns), whole[:4, :2])


@pytest.mark.parametrize("factors", [None, [1, 1]])
def test_rows_with_the_same_number_are_told_apart(factors, monkeypatch):
    given = numpy.array([[1, 2], [3, 4], [1, 2], [0, 0], [3, 4], [4, 3]], dtype="uint64")
    if factors is not None:
        monkeypatch.setattr(rows, "_factors", lambda count: numpy.array(factors, dtype="uint64"))
    first, place = distinct_rows(given)
    assert len(first) == 4
    numpy.testing.assert_array_equal(given[first][place], given)
