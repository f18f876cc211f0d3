"""An encoder in torch that rounds as its int8 export does, so that it can be trained to bear it (quantisation-aware training).

Weights, looked-up embeddings and activations are rounded to the 255 values that int8 has for them and made floats again, before
each product (Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference", 2018,
section 3). Gradients pass the rounding as if it were not there (Bengio et al., "Estimating or Propagating Gradients Through
Stochastic Neurons for Conditional Computation", 2013, section 2.3). What is rounded, and how, is as in `quantize_products`, but
for two things by which the export is only nearer to the float32 encoder: `Known.lowest`, and weights that make up for each
other's rounding.
"""

import contextlib
from functools import partial
from typing import Any, Callable, Dict, Iterator, Optional, Tuple

import torch
from numpy import ndarray
from torch import Tensor, nn

from .linear import LinearT, find_linear, matrix_of
from .pack import Packing, round_to_levels
from .quantize import LARGEST, least_table


@contextlib.contextmanager
def simulated_int8(
    transformer: nn.Module, steps: Optional[Dict[str, ndarray]] = None, packing: Optional[Packing] = None
) -> Iterator[None]:
    """While the context lasts, an encoder answers as an int8 export for ONNX Runtime that rounds each weight for itself and knows
    no more of activations than `steps`, but for the order of float sums.

    Training changes its float32 weights. Its parameters, their names and what is saved stay as they are.

    transformer (nn.Module): A Hugging Face encoder. After the context it computes as before.
    steps (Optional[Dict[str, ndarray]]): Of the inputs of its linear layers, by name, from `calibrate`; other layers, or all if
        None, have a scale for each word piece.
    packing (Optional[Packing]): Of the export, if it stores weights in fewer than 8 bits.
    """
    with contextlib.ExitStack() as stack:
        for name, layer in find_linear(transformer):
            _replace(stack, layer, partial(_multiply, layer, packing is not None, (steps or {}).get(name)))
        for module in transformer.modules():
            if isinstance(module, nn.Embedding) and module.num_embeddings >= least_table(packing):
                packed = packing is not None and module.num_embeddings == len(packing.rare)
                _replace(stack, module, partial(_look_up, module.forward, torch.from_numpy(packing.rare) if packed else None))
        yield


def _replace(stack: contextlib.ExitStack, module: nn.Module, forward: Callable) -> None:
    module.forward = forward  # the instance's own goes before that of its class
    stack.callback(vars(module).pop, "forward")


def round_rows(values: Tensor) -> Tensor:
    """Round each row as `round_to_int8` does, by a scale of its own; the gradient is that of the values.

    values (Tensor): Shape: (..., D).
    RETURNS (Tensor): The same shape, in float32.
    """
    values = values.float()
    with torch.no_grad():  # fake_quantize_per_channel_affine does the same, in eight times the time or more
        scale = (values.abs().amax(-1, keepdim=True) / LARGEST).clamp_(min=1e-12 / LARGEST)
        rounded = (values / scale).round_().mul_(scale)
    return _PassThrough.apply(values, rounded)


def round_whole(values: Tensor) -> Tensor:
    """Round to whole numbers from -128 to 127; values beyond are cut off and have no gradient.

    values (Tensor): Any shape.
    RETURNS (Tensor): The same shape, in float32.
    """
    return torch.fake_quantize_per_tensor_affine(values.float(), 1.0, 0, -LARGEST - 1, LARGEST)


class _PassThrough(torch.autograd.Function):
    """Rounded values with the gradient of the values."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, rounded: Tensor) -> Tensor:
        """RETURNS (Tensor): The rounded values."""
        return rounded

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tuple[Tensor, None]:
        """RETURNS (Tuple[Tensor, None]): The gradient as it comes."""
        return gradient, None


def _multiply(layer: LinearT, is_packed: bool, steps: Optional[ndarray], values: Tensor) -> Tensor:
    weight = matrix_of(layer)
    weight = _PassThrough.apply(weight, round_to_levels(weight, 4)) if is_packed else weight
    if steps is None:
        return nn.functional.linear(round_rows(values), round_rows(weight), layer.bias)
    step = torch.as_tensor(steps, dtype=torch.float32, device=values.device)
    return nn.functional.linear(round_whole(values / step), round_rows(weight * step), layer.bias)


def _look_up(forward: Callable[[Tensor], Tensor], rare: Optional[Tensor], ids: Tensor) -> Tensor:
    rows = forward(ids)
    if rare is None:
        return round_rows(rows)
    rare = rare.to(ids.device)[ids][..., None]
    return _PassThrough.apply(rows, torch.where(rare, round_to_levels(rows, 2), round_to_levels(rows, 4)))
