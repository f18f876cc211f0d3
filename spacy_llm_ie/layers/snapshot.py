"""Tells whether parameters are still what something was computed of."""

from typing import Iterable, Tuple

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
        tensors = list(tensors)
        self._can_tell = all(tensor.device.type == "cpu" and tensor.is_contiguous() for tensor in tensors)
        self._kept = []
        for tensor in tensors if self._can_tell else ():
            numbers = tensor.detach().reshape(-1)
            numbers = numbers.view(AS_WHOLE.get(tensor.dtype, tensor.dtype)).numpy()
            self._kept.append((tensor, tensor.data_ptr(), tensor._version, numbers, _some(numbers)))

    def is_current(self) -> bool:
        """Whether the tensors are the same as then. RETURNS (bool): False if one was written to, or has other memory."""
        for tensor, address, version, numbers, some in self._kept:
            if tensor._version != version or tensor.data_ptr() != address or _some(numbers) != some:
                return False
        return self._can_tell


def _some(numbers: ndarray) -> Tuple[float, ...]:
    size = len(numbers)
    return (numbers.item(0), numbers.item(size // 2), numbers.item(size - 1)) if size else ()
