"""Tells whether parameters are still what something was computed of."""

from typing import Iterable

from torch import Tensor


class Snapshot:
    """Remembers which memory tensors have, and how often it was written to; as long as it is remembered, no other can have it.

    What is written past torch, to `.data` or to the array of `.numpy()`, is not seen.

    tensors (Iterable[Tensor]): Parameters, or buffers.
    """

    def __init__(self, tensors: Iterable[Tensor]) -> None:
        self._kept = [(tensor, tensor.detach(), tensor._version) for tensor in tensors]

    def is_current(self) -> bool:
        """Whether the tensors are the same as then. RETURNS (bool): False if one was written to, or has other memory."""
        for now, then, version in self._kept:
            if now._version != version or now.data_ptr() != then.data_ptr():
                return False
        return True
