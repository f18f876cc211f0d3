"""Arrays whose rows belong to tokens: those of many documents as one, and rows that are alike found."""

import itertools
from functools import lru_cache
from typing import Iterable, List, Sequence, Tuple

import numpy
from numpy import ndarray
from thinc.api import Ops
from thinc.types import Floats2d, Ints1d


def join_rows(ops: Ops, arrays: Sequence[Floats2d]) -> Floats2d:
    """Put arrays one below the other; where they lie so in memory already, as the vectors of a batch do, without copying.

    ops (Ops): Those that the arrays belong to.
    arrays (Sequence[Floats2d]): At least one with rows. Shape of each: (tokens, width); without rows, any.
    RETURNS (Floats2d): Shape: (all tokens, width).
    """
    full = [array for array in arrays if len(array)]
    first = full[0]
    if len(full) == 1:
        return first
    if not isinstance(first, ndarray):
        return ops.flatten(full)
    address = first.__array_interface__["data"][0]
    for array in full:
        if array.base is not first.base or array.__array_interface__["data"][0] != address or not array.flags.c_contiguous:
            return numpy.concatenate(full)
        address += array.nbytes
    if first.base is None:
        return numpy.concatenate(full)
    rows = sum(map(len, full))
    return numpy.lib.stride_tricks.as_strided(first, (rows, first.shape[1]), first.strides)


class GrowingRows:
    """An array to which rows are added, with room for more, so that adding a few does not copy all of them.

    rows (ndarray): Its rows; behind them may be others that mean nothing.
    count (int): How many there are.
    """

    def __init__(self) -> None:
        self.rows, self.count = numpy.zeros(0), 0

    def append(self, rows: ndarray) -> int:
        """rows (ndarray): All of one shape and type, in all calls. RETURNS (int): The index of the first of them."""
        begin, end = self.count, self.count + len(rows)
        if end > len(self.rows) or not begin:
            whole = numpy.empty((2 * end, *rows.shape[1:]), dtype=rows.dtype)
            whole[:begin] = self.rows[:begin].reshape(begin, *rows.shape[1:])
            self.rows = whole
        self.rows[begin:end], self.count = rows, end
        return begin


def split_rows(rows: ndarray, sizes: Iterable[int]) -> List[ndarray]:
    """Divide the rows of an array, so many in each part; numpy's `split` takes ten times as long for small parts."""
    ends = [0, *itertools.accumulate(sizes)]
    return [rows[begin:end] for begin, end in zip(ends, ends[1:])]


def row_numbers(rows: ndarray) -> ndarray:
    """A number for each row, the same for equal rows, and hardly ever for others. Shape: (N,), uint64."""
    return (rows * _factors(rows.shape[1])).sum(axis=1)


def distinct_rows(rows: ndarray) -> Tuple[Ints1d, Ints1d]:
    """Find the rows that are different, by a number for each row.

    rows (ndarray): Shape: (N, F), uint64.
    RETURNS (Tuple[Ints1d, Ints1d]): Indices of M rows, each different; and for each of the N rows, which one of them it is.
    """
    _, first, place = numpy.unique(row_numbers(rows), return_index=True, return_inverse=True)
    if not numpy.array_equal(rows[first[place]], rows):  # two rows have one number: one in many billions
        _, first, place = numpy.unique(rows, axis=0, return_index=True, return_inverse=True)
    return first, place.reshape(-1)


@lru_cache
def _factors(count: int) -> ndarray:
    return numpy.random.default_rng(0).integers(2**63, size=count, dtype="uint64") * 2 + 1
