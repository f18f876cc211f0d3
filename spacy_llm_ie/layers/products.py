"""Products of matrices on the CPU, for prediction: by oneDNN, which torch has, but takes for float32 only in compiled models.

On AMD processors it is twice as quick as what torch takes otherwise (MKL).
"""

from typing import Callable, Optional

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

    values (Tensor): Shape (N, I).
    weight (Tensor): Shape (O, I).
    bias (Optional[Tensor]): Shape (O,).
    RETURNS (Tensor): Shape (N, O).
    """
    other = torch.is_grad_enabled() or values.dtype != torch.float32 or values.device.type != "cpu"
    if ONE_DNN is None or other or values.shape[0] * weight.numel() < FEW:
        return functional.linear(values, weight, bias)
    return ONE_DNN(_dense(values), _dense(weight), bias, "none", [], "")


def _dense(matrix: Tensor) -> Tensor:
    """A copy of a slice, which oneDNN takes a thousand times as long for; not of a matrix that is transposed."""
    return matrix if matrix.is_contiguous() or matrix.t().is_contiguous() else matrix.contiguous()
