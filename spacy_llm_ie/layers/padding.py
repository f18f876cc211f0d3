"""Ragged sequences <-> padded batches of bounded size."""

from typing import Iterator, List, Sequence, Tuple

import numpy
from numpy import ndarray


def buckets(lengths: Sequence[int], max_cells: int) -> Iterator[ndarray]:
    """Group sequences of similar length, so that one long document does not pad all others to its length.

    lengths (Sequence[int]): Length of each sequence.
    max_cells (int): Greatest number of padded positions in a group; one that is longer stands alone.
    YIELDS (ndarray): Indices into `lengths`, longest first; each index once; empty sequences are left out.
    """
    if len(lengths) == 1 and lengths[0]:
        yield numpy.array([0])
        return
    order = numpy.argsort(-numpy.asarray(lengths, dtype=int), kind="stable")
    group: List[int] = []
    for index in order:
        length = lengths[index]
        if length == 0:
            break
        if group:
            longest = lengths[group[0]]
            if longest * (len(group) + 1) > max_cells or (4 * length < longest and len(group) >= 8):
                yield numpy.array(group)
                group = []
        group.append(index)
    if group:
        yield numpy.array(group)


def pad(arrays: Sequence[ndarray], fill: float = 0.0) -> Tuple[ndarray, ndarray]:
    """Stack arrays of shape (length, K). RETURNS: The batch (B, T, K), padded on the right with `fill`, and lengths (B,)."""
    lengths = numpy.array([len(array) for array in arrays], dtype=int)
    if len(arrays) == 1:
        return arrays[0][None], lengths
    batch = numpy.full((len(arrays), lengths.max(initial=0), arrays[0].shape[1]), fill, dtype=arrays[0].dtype)
    for row, array in zip(batch, arrays):
        row[: len(array)] = array
    return batch, lengths
