"""Products of matrices on the CPU, for prediction: by oneDNN where it is quicker. torch has it, but takes it for float32 only in
compiled models. On AMD processors it is twice as quick as what torch takes otherwise (MKL), on Intel's it is not.

oneDNN writes a program for each number of rows, which takes up to a millisecond, as long as a product of some hundred rows. Rows of
zeros fill matrices up to few sizes, so that there are few programs.
"""

import contextlib
from functools import cache, partial
from typing import Callable, Iterator, Optional

import numpy
import torch
from numpy import ndarray
from torch import Tensor
from torch.nn import functional

from ..processor import ALONE_IN_NUMPY, is_quicker, trial_matrices

# Products of fewer multiplications take longer to begin with it.
FEW = 2**19
# Products of fewer are numpy's: torch's take longer to begin with, and bfloat16 is not yet worth it.
FEW_FOR_TORCH = 2**22
# Columns that numpy multiplies by at once: the matrix is small, and so is the product, which is then left to one thread.
BLOCK = 32
# How much quicker than MKL, which needs no programs, it has to be.
QUICKER = 1.25


def find_one_dnn() -> Optional[Callable[..., Tensor]]:
    """What torch's compiler writes for a linear layer on x86 processors; it is not in torch's documentation.

    RETURNS (Optional[Callable]): None where this torch does not have it.
    """
    try:
        found = torch.ops.mkldnn._linear_pointwise
        one = torch.ones(1, 1)
        return found if float(found(one, one, torch.ones(1), "none", [], "")) == 2.0 else None
    except (AttributeError, RuntimeError, TypeError):
        return None


@cache
def quick_one_dnn() -> Optional[Callable[..., Tensor]]:
    """As `find_one_dnn`, if that is quicker on this processor than what torch takes by itself, which is tried once in a process."""
    found = find_one_dnn()
    if found is None:
        return None
    matrices = trial_matrices()
    quicker = is_quicker(lambda: found(*matrices, None, "none", [], ""), lambda: functional.linear(*matrices), QUICKER)
    return found if quicker else None


def linear(values: Tensor, weight: Tensor, bias: Optional[Tensor] = None) -> Tensor:
    """As `torch.nn.functional.linear`, but quicker where no gradient is wanted.

    values (Tensor): Shape (..., I).
    weight (Tensor): Shape (O, I).
    bias (Optional[Tensor]): Shape (O,).
    RETURNS (Tensor): Shape (..., O).
    """
    others = torch.is_grad_enabled() or torch.is_autocast_enabled("cpu") or values.device.type != "cpu"
    if others or values.dtype != weight.dtype or values.dtype not in (torch.float32, torch.bfloat16):
        return functional.linear(values, weight, bias)
    rows = values.reshape(-1, values.shape[-1])
    if values.dtype == torch.bfloat16:
        found = functional.linear(fill(rows), weight, bias)  # by oneDNN in any case
    elif len(rows) * weight.numel() < FEW or quick_one_dnn() is None:
        return functional.linear(values, weight, bias)
    else:
        found = quick_one_dnn()(_dense(fill(rows)), _dense(weight), bias, "none", [], "")
    return found[: len(rows)].reshape(*values.shape[:-1], len(weight))


def fill(rows: Tensor) -> Tensor:
    """Fill a matrix up with rows of zeros to one of eight sizes between a power of two and the next, from 64 on; else to a multiple
    of eight. RETURNS (Tensor): The same one, if it has such a size.
    """
    missing = filled(len(rows)) - len(rows)
    return torch.cat([rows, rows.new_zeros(missing, rows.shape[1])]) if missing else rows


def filled(count: int) -> int:
    """RETURNS (int): The number of rows that `fill` makes of so many."""
    return count + -count % 2 ** max(count.bit_length() - 4, 3)


@contextlib.contextmanager
def quick_layers(module: torch.nn.Module) -> Iterator[None]:
    """While the context lasts, the linear layers in a module multiply by `linear`; but those that something else has taken over.

    module (torch.nn.Module): Any.
    """
    layers = [part for part in module.modules() if type(part) is torch.nn.Linear and "forward" not in vars(part)]
    for part in layers if quick_one_dnn() is not None else ():
        part.forward = partial(_forward, part)  # the instance's own goes before that of its class
    try:
        yield
    finally:
        for part in layers:
            vars(part).pop("forward", None)


def _forward(layer: torch.nn.Linear, values: Tensor) -> Tensor:
    return linear(values, layer.weight, layer.bias)


def _dense(matrix: Tensor) -> Tensor:
    """A copy of a slice, which oneDNN takes a thousand times as long for; not of a matrix that is transposed."""
    return matrix if matrix.is_contiguous() or matrix.t().is_contiguous() else matrix.contiguous()


def parts_of(count: int, most: int) -> Iterator[slice]:
    """Divide rows, or columns, into as few parts as possible, nearly of the same size: of a small rest numpy makes a slow product.

    count (int): How many there are.
    most (int): How many may be in a part; but one at least.
    YIELDS (slice): Each part.
    """
    size = -(-count // max(-(-count // max(most, 1)), 1))
    return (slice(i, i + size) for i in range(0, count, max(size, 1)))


class Matrix:
    """A matrix by which rows are multiplied in prediction, laid out for each way to do so: few rows by numpy, many by torch.

    weight (Tensor): On the CPU, float32. Shape: (O, I).
    half (bool): Many rows are multiplied in bfloat16.
    """

    def __init__(self, weight: Tensor, half: bool) -> None:
        self.weight, self.columns = weight.bfloat16() if half else weight.contiguous(), len(weight)
        width = min(BLOCK, self.columns)
        whole = functional.pad(weight, (0, 0, 0, -self.columns % width))
        self.blocks = whole.view(-1, width, weight.shape[1]).transpose(1, 2).contiguous().numpy()  # (blocks, I, width)

    def __call__(self, rows: ndarray) -> ndarray:
        """Multiply. rows (ndarray): float32. Shape: (N, I). RETURNS (ndarray): Shape (N, O)."""
        if rows.size * self.columns >= FEW_FOR_TORCH:
            return linear(torch.from_numpy(rows).to(self.weight.dtype), self.weight).float().numpy()
        found = numpy.empty((len(rows), len(self.blocks), self.blocks.shape[2]), dtype="float32")
        for part in parts_of(len(rows), ALONE_IN_NUMPY // (self.blocks.size // len(self.blocks))):
            numpy.matmul(rows[part], self.blocks, out=found[part].transpose(1, 0, 2))
        return found.reshape(len(rows), -1)[:, : self.columns]
