"""Layers that multiply by a matrix: torch's, and those of GPT-2, which store it the other way round."""

from typing import Iterator, Tuple, Union

from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

LinearT = Union[nn.Linear, Conv1D]


def find_linear(transformer: nn.Module) -> Iterator[Tuple[str, LinearT]]:
    """Find the layers of an encoder that multiply by a matrix and add a bias.

    transformer (nn.Module): A Hugging Face encoder.
    YIELDS (Tuple[str, Union[nn.Linear, Conv1D]]): Name and layer. One that is used several times (ALBERT) comes once.
    """
    for name, module in transformer.named_modules():
        if isinstance(module, (nn.Linear, Conv1D)):
            yield name, module


def matrix_of(layer: LinearT) -> Tensor:
    """The matrix of a layer, a view of its parameter. RETURNS (Tensor): Shape: (outputs, inputs)."""
    return layer.weight.T if isinstance(layer, Conv1D) else layer.weight
