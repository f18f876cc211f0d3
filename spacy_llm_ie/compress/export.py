"""Writes the encoder of a trained pipeline as ONNX, which the runtimes of `encode.runtimes` read."""

import tempfile
import warnings
from pathlib import Path
from typing import Any, Dict, List, Tuple

import torch
from torch import Tensor, nn

from ..encode.runtimes import INPUTS
from ..errors import Errors

OPSET = 17
# ONNX is a protocol buffer, and those end at 2 GB.
MOST_BYTES = 2**31 - 2**20


class LastLayer(nn.Module):
    """An encoder whose inputs and output are plain tensors.

    encoder (PreTrainedModel): A Hugging Face encoder.
    inputs (Sequence[str]): Names of its inputs.
    """

    def __init__(self, encoder: nn.Module, inputs: List[str]) -> None:
        super().__init__()
        self.encoder, self.inputs = encoder, inputs

    def forward(self, *values: Tensor) -> Tensor:
        """Run the encoder. values (Tensor): In the order of the names, (rows, pieces). RETURNS (Tensor): (rows, pieces, width)."""
        return self.encoder(**dict(zip(self.inputs, values)), return_dict=False)[0]


def export_onnx(encoder: nn.Module, has_types: bool) -> bytes:
    """Write an encoder as ONNX in float32. Its answers are those of torch but for rounding.

    encoder (PreTrainedModel): A Hugging Face encoder. Not modified.
    has_types (bool): Whether the tokenizer gives segment numbers.
    RETURNS (bytes): The ONNX model; inputs are those of `INPUTS` that the encoder takes, as int64 of (rows, pieces).
    RAISES (ImportError): If onnx is not installed (E522).
    RAISES (ValueError): If the encoder is larger than ONNX files may be, or torch cannot export it (E523).
    """
    try:
        import onnx  # noqa: F401  torch imports it while it writes
    except ImportError as error:
        raise ImportError(Errors.E522) from error
    size = sum(tensor.numel() * tensor.element_size() for tensor in encoder.state_dict().values())
    if size > MOST_BYTES:
        raise ValueError(
            Errors.E523.format(kind=type(encoder).__name__, problem=f"its {size:,} bytes are more than a file holds")
        )
    names = list(INPUTS if has_types else INPUTS[:2])
    example, axes = _example(encoder, names)
    was_training = encoder.training
    try:
        with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(), torch.no_grad():
            # The tracer warns of each branch on a shape; test_export compares the result with torch on other shapes.
            warnings.simplefilter("ignore")
            path = Path(folder) / "encoder.onnx"
            torch.onnx.export(
                LastLayer(encoder, names).eval(),
                example,
                str(path),
                input_names=names,
                output_names=["vectors"],
                dynamic_axes=axes,
                opset_version=OPSET,
                dynamo=False,
            )
            return path.read_bytes()
    except (RuntimeError, TypeError, torch.onnx.OnnxExporterError) as error:
        raise ValueError(Errors.E523.format(kind=type(encoder).__name__, problem=str(error)[:500])) from error
    finally:
        encoder.train(was_training)


def _example(encoder: nn.Module, names: List[str]) -> Tuple[Tuple[Tensor, ...], Dict[str, Any]]:
    """Inputs for tracing: two rows, one of them padded; and which axes may have any size."""
    device = next(encoder.parameters()).device
    values = {name: torch.zeros(2, 8, dtype=torch.long, device=device) for name in names}
    values["input_ids"] += 3
    values["attention_mask"] += 1
    values["attention_mask"][1, 5:] = 0
    axes = {name: {0: "rows", 1: "pieces"} for name in [*names, "vectors"]}
    return tuple(values.values()), axes
