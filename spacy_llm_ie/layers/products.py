"""Products of matrices on the CPU, for prediction: by oneDNN, which torch has, but takes for float32 only in compiled models.

On AMD processors it is twice as quick as what torch takes otherwise (MKL).
"""

import contextlib
from functools import partial
from typing import Callable, Iterator, Optional

import torch
from torch import Tensor
from torch.nn import functional

# Products of fewer multiplications take longer to begin with it.
FEW = 2**19


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


ONE_DNN = find_one_dnn()


def linear(values: Tensor, weight: Tensor, bias: Optional[Tensor] = None) -> Tensor:
    """As `torch.nn.functional.linear`, but quicker where no gradient is wanted.

    values (Tensor): Shape (..., I).
    weight (Tensor): Shape (O, I).
    bias (Optional[Tensor]): Shape (O,).
    RETURNS (Tensor): Shape (..., O).
    """
    others = torch.is_grad_enabled() or torch.is_autocast_enabled("cpu") or values.device.type != "cpu"
    if ONE_DNN is None or others or values.dtype != torch.float32 or weight.dtype != torch.float32:
        return functional.linear(values, weight, bias)
    rows = values.reshape(-1, values.shape[-1])
    if len(rows) * weight.numel() < FEW:
        return functional.linear(values, weight, bias)
    return ONE_DNN(_dense(rows), _dense(weight), bias, "none", [], "").reshape(*values.shape[:-1], -1)


@contextlib.contextmanager
def quick_layers(module: torch.nn.Module) -> Iterator[None]:
    """While the context lasts, the linear layers in a module multiply by `linear`; but those that something else has taken over.

    module (torch.nn.Module): Any.
    """
    layers = [part for part in module.modules() if type(part) is torch.nn.Linear and "forward" not in vars(part)]
    for part in layers if ONE_DNN is not None else ():
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
