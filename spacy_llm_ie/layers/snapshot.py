"""Tells whether parameters are still what something was computed of."""

from typing import Iterable, List, Tuple

import torch
from numpy import ndarray
from torch import Tensor

# What numpy has no numbers for is looked at as whole numbers.
AS_WHOLE = {torch.bfloat16: torch.int16}


class Snapshot:
    """Remembers which memory tensors have, and how often it was written to; as long as it is remembered, no other can have it.

    What is written past torch, to `.data` or to the array of `.numpy()`, torch does not count: it is seen by three numbers of each
    tensor, which nothing that copies, averages or learns leaves alone. Tensors on a GPU count as changed at once.

    tensors (Iterable[Tensor]): Parameters, or buffers.
    """

    def __init__(self, tensors: Iterable[Tensor]) -> None:
        self._tensors = list(tensors)
        self._can_tell = all(tensor.device.type == "cpu" and tensor.is_contiguous() for tensor in self._tensors)
        # Arrays over the memory of the tensors, and the places in them that are looked at.
        self._places: List[Tuple[ndarray, int]] = []
        for tensor in self._tensors if self._can_tell else ():
            numbers = tensor.detach().reshape(-1)
            numbers = numbers.view(AS_WHOLE.get(tensor.dtype, tensor.dtype)).numpy()
            size = len(numbers)
            self._places += [(numbers, i) for i in (0, size // 2, size - 1)] if size else []
        self._state = self._look()

    def is_current(self) -> bool:
        """Whether the tensors are the same as then. RETURNS (bool): False if one was written to, or has other memory."""
        return self._can_tell and self._look() == self._state

    def _look(self) -> List[float]:
        """How often each tensor was written to, where its memory is, and some of its numbers."""
        tensors = self._tensors
        found: List[float] = [tensor._version for tensor in tensors]
        found += [tensor.data_ptr() for tensor in tensors]
        found += [numbers.item(i) for numbers, i in self._places]
        return found
