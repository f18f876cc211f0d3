"""An encoder in torch that rounds as its int8 export does, so that it can be trained to bear it (quantisation-aware training).

Weights, looked-up embeddings and activations are rounded to the 255 values that int8 has for them and made floats again, before
each product (Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference", 2018,
section 3). Gradients pass the rounding as if it were not there (Bengio et al., "Estimating or Propagating Gradients Through
Stochastic Neurons for Conditional Computation", 2013, section 2.3). What is rounded, and how, is as in `quantize_products`.
"""

import contextlib
import math
from functools import partial
from typing import Any, Callable, Dict, Iterable, Iterator, Optional, Tuple

import torch
from spacy.tokens import Doc
from spacy.util import minibatch
from spacy_transformers.layers import TransformerModel
from torch import Tensor, nn

from ..errors import Errors
from .importance import hooked
from .pack import Packing, round_to_levels
from .quantize import LARGEST, least_table

# A few numbers, those of [CLS] first, are several times as large as all others; a scale for a whole layer is better without them.
# Chosen on the newswire dev set (docs/compress.md).
SHARE = 0.9999


@contextlib.contextmanager
def simulated_int8(
    transformer: nn.Module, scales: Optional[Dict[str, float]] = None, packing: Optional[Packing] = None
) -> Iterator[None]:
    """While the context lasts, an encoder answers as its int8 export for ONNX Runtime does, but for the order of float sums.

    Training changes its float32 weights. Its parameters, their names and what is saved stay as they are.

    transformer (nn.Module): A Hugging Face encoder. After the context it computes as before.
    scales (Optional[Dict[str, float]]): Of the inputs of its linear layers, by name, from `calibrate`; other layers, or all if
        None, have a scale for each word piece.
    packing (Optional[Packing]): Of the export, if it stores weights in fewer than 8 bits.
    """
    with contextlib.ExitStack() as stack:
        for name, module in transformer.named_modules():
            if isinstance(module, nn.Linear):
                forward: Callable = partial(_multiply, module, (scales or {}).get(name), packing is not None)
            elif isinstance(module, nn.Embedding) and module.num_embeddings >= least_table(packing):
                packed = packing is not None and module.num_embeddings == len(packing.rare)
                forward = partial(_look_up, module.forward, torch.from_numpy(packing.rare) if packed else None)
            else:
                continue
            module.forward = forward  # the instance's own goes before that of its class
            stack.callback(vars(module).pop, "forward")
        yield


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


def round_all(values: Tensor, scale: float) -> Tensor:
    """Round to whole multiples of a scale, from -128 to 127; values beyond are cut off and have no gradient.

    values (Tensor): Any shape.
    scale (float): Greater than 0.
    RETURNS (Tensor): The same shape, in float32.
    """
    return torch.fake_quantize_per_tensor_affine(values.float(), scale, 0, -LARGEST - 1, LARGEST)


def calibrate(model: TransformerModel, docs: Iterable[Doc], share: float = SHARE, batch_size: int = 16) -> Dict[str, float]:
    """Find a scale for the inputs of each linear layer, from what they are on some texts.

    model (TransformerModel): The transformer of a pipeline. Not modified.
    docs (Iterable[Doc]): Some hundred texts like those that it is for.
    share (float): Of the numbers of a batch that shall not be cut off; 1: all, so that the largest decides.
    batch_size (int): Texts in a batch; the batch with the largest numbers counts.
    RETURNS (Dict[str, float]): By name of the layer: what a number is divided by before it is rounded.
    RAISES (ValueError): If there are no texts, or `share` is out of range (E722).
    """
    docs = [doc for doc in docs if len(doc)]
    if not docs:
        raise ValueError(Errors.E722.format(setting="docs", found=docs, expected="documents with text"))
    if not 0 < share <= 1:
        raise ValueError(Errors.E722.format(setting="share", found=share, expected="above 0, and 1 at most"))
    largest: Dict[str, float] = {}
    with contextlib.ExitStack() as stack:
        for name, module in model.transformer.named_modules():
            if isinstance(module, nn.Linear):
                stack.enter_context(hooked(module, partial(_note_largest, largest, name, share)))
        for batch in minibatch(docs, batch_size):
            model.predict(batch)
    return {name: max(value, 1e-12) / LARGEST for name, value in largest.items()}


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


def _multiply(module: nn.Linear, scale: Optional[float], is_packed: bool, values: Tensor) -> Tensor:
    values = round_rows(values) if scale is None else round_all(values, scale)
    weight = _PassThrough.apply(module.weight, round_to_levels(module.weight, 4)) if is_packed else module.weight
    return nn.functional.linear(values, round_rows(weight), module.bias)


def _look_up(forward: Callable[[Tensor], Tensor], rare: Optional[Tensor], ids: Tensor) -> Tensor:
    rows = forward(ids)
    if rare is None:
        return round_rows(rows)
    rare = rare.to(ids.device)[ids][..., None]
    return _PassThrough.apply(rows, torch.where(rare, round_to_levels(rows, 2), round_to_levels(rows, 4)))


def _note_largest(largest: Dict[str, float], name: str, share: float, values: Tensor) -> None:
    sizes = values.detach().float().abs().flatten()
    found = float(sizes.kthvalue(math.ceil(share * len(sizes))).values)
    largest[name] = max(found, largest.get(name, 0.0))
