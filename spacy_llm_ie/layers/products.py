"""Products of matrices on the CPU, for prediction: by oneDNN where it is quicker. torch has it, but takes it for float32 only in
compiled models. On AMD processors it is twice as quick as what torch takes otherwise (MKL), on Intel's it is not.

oneDNN writes a program for each number of rows, which takes up to a millisecond, as long as a product of some hundred rows. Rows of
zeros fill matrices up to few sizes, so that there are few programs.
"""

import contextlib
from functools import cache, partial
from typing import Callable, Iterator, Optional

import torch
from torch import Tensor
from torch.nn import functional

from ..processor import is_quicker, trial_matrices

# Products of fewer multiplications take longer to begin with it.
FEW = 2**19
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
    step = 2 ** max(len(rows).bit_length() - 4, 3)
    missing = -len(rows) % step
    return torch.cat([rows, rows.new_zeros(missing, rows.shape[1])]) if missing else rows


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
