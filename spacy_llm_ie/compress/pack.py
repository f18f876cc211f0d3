"""Rows of weights in 4 bits a number, or 2: codes, several in a byte, and a scale for each group of 64 numbers.

Codes stand for 16 or 4 levels, close together where weights are dense, and a group is divided by its largest number with its sign,
so that this one is always near the last level and the others have all the rest (as NF4 does, but for the sign: Dettmers et al.,
"QLoRA: Efficient Finetuning of Quantized LLMs", 2023, section 3). The levels are those with the least squared error on groups of
normally distributed numbers (Lloyd, "Least Squares Quantization in PCM", 1982), which weights nearly are.
"""

from typing import Callable, Dict, NamedTuple, Optional, Tuple

import numpy
import torch
from numpy import ndarray
from torch import Tensor

from .compensate import BLOCK, round_compensated

GROUP = BLOCK
# By bits.
LEVELS: Dict[int, Tuple[float, ...]] = {
    4: (
        *(-0.859, -0.674, -0.531, -0.409, -0.301, -0.201, -0.107, -0.015),
        *(0.076, 0.168, 0.264, 0.367, 0.479, 0.608, 0.765, 0.978),
    ),
    2: (-0.523, -0.127, 0.22, 0.659),
}
# The nearest level is looked up in a table of so many steps from 0 to 1, as a search takes ten times as long.
STEPS = 2047


class Packing(NamedTuple):
    """How an int8 export stores its weights in less than 8 bits: 4 for all matrices and word pieces, but 2 for rare pieces.

    rare (ndarray): Whether each word piece is rare. Shape: (pieces,), bool.
    """

    rare: ndarray


class PackedRows(NamedTuple):
    """Packed rows of R rows of W numbers. The last group is filled up with zeros.

    codes (ndarray): The first number of a byte in its lowest bits. Shape: (R, groups · 64 · bits / 8), uint8.
    scales (ndarray): What the levels are multiplied with. Shape: (R, groups), float16.
    """

    codes: ndarray
    scales: ndarray


def pack_rows(values: ndarray, bits: int, products: Optional[ndarray] = None) -> PackedRows:
    """Pack the rows of a matrix.

    values (ndarray): Shape: (R, W), float32.
    bits (int): 4 or 2.
    products (Optional[ndarray]): Of what the rows are multiplied with; see `round_compensated`. Shape: (W, W).
    RETURNS (PackedRows): What `round_to_levels` makes of them, in few bytes; with products, what answers more nearly.
    """
    if products is None:
        codes, scales = _find_codes(torch.from_numpy(numpy.array(values, order="C")), bits)
    else:
        codes, scales = _compensate(values, bits, products)
    shifts = torch.arange(0, 8, bits)
    together = (codes.reshape(len(values), -1, len(shifts)).long() << shifts).sum(-1)
    return PackedRows(together.to(torch.uint8).numpy(), scales.half().squeeze(-1).numpy())


def unpack_rows(packed: PackedRows, bits: int, width: int) -> ndarray:
    """Undo `pack_rows`; the ONNX graph has its own nodes for that.

    packed (PackedRows): The rows.
    bits (int): 4 or 2.
    width (int): Numbers in a row.
    RETURNS (ndarray): Shape: (R, width), float32.
    """
    levels = level_table(bits)[packed.codes].reshape(*packed.scales.shape, GROUP)
    whole = levels * packed.scales[..., None].astype("float32")
    return whole.reshape(len(packed.codes), -1)[:, :width]


def level_table(bits: int) -> ndarray:
    """RETURNS (ndarray): The levels in each byte. Shape: (256, numbers in a byte), float32."""
    shifts = numpy.arange(0, 8, bits)
    return numpy.array(LEVELS[bits], dtype="float32")[numpy.arange(256)[:, None] >> shifts & 2**bits - 1]


def round_to_levels(values: Tensor, bits: int) -> Tensor:
    """Round each row to what it is after packing; without a gradient.

    values (Tensor): Shape: (..., W).
    bits (int): 4 or 2.
    RETURNS (Tensor): The same shape, in float32.
    """
    codes, scales = _find_codes(values.detach().float(), bits)
    whole = torch.tensor(LEVELS[bits])[codes.long()] * scales
    return whole.reshape(*values.shape[:-1], -1)[..., : values.shape[-1]]


def _find_codes(values: Tensor, bits: int) -> Tuple[Tensor, Tensor]:
    """RETURNS (Tuple[Tensor, Tensor]): Codes, (..., groups, 64), and scales, (..., groups, 1), as float16 has them."""
    width = values.shape[-1]
    groups = torch.nn.functional.pad(values, (0, -width % GROUP)).reshape(*values.shape[:-1], -1, GROUP)
    high, low = groups.amax(-1, keepdim=True), groups.amin(-1, keepdim=True)
    largest = torch.where(high >= -low, high, low)
    largest = torch.where(largest == 0, torch.ones_like(largest), largest)
    codes = _nearest(bits)[(groups / largest * STEPS + STEPS + 0.5).to(torch.int32)]
    levels = torch.tensor(LEVELS[bits])[codes.long()]
    scales = (groups * levels).sum(-1, keepdim=True) / (levels * levels).sum(-1, keepdim=True)  # least squares
    return codes, scales.half().float()


def _compensate(values: ndarray, bits: int, products: ndarray) -> Tuple[Tensor, Tensor]:
    """As `_find_codes`. Groups are the blocks of `round_compensated`: their scales are found when their turn comes."""
    levels = numpy.array(LEVELS[bits])
    codes, scales = [], []

    def make(group: ndarray) -> Callable[[ndarray], ndarray]:
        scale = _find_codes(torch.from_numpy(group.T.astype("float32")), bits)[1][:, 0, 0].numpy()
        scales.append(scale)
        factor = numpy.where(scale == 0, 1, scale)

        def round_row(row: ndarray) -> ndarray:
            found = numpy.searchsorted((levels[1:] + levels[:-1]) / 2, row / factor)
            codes.append(found.astype("uint8"))
            return levels[found] * scale

        return round_row

    round_compensated(values.T, products, make)
    filling = ((0, 0), (0, -len(codes) % GROUP))
    whole = numpy.pad(numpy.stack(codes, axis=1), filling, constant_values=int(_nearest(bits)[STEPS]))
    return torch.from_numpy(whole.reshape(len(values), -1, GROUP)), torch.from_numpy(numpy.stack(scales, axis=1)[..., None])


def _nearest(bits: int) -> Tensor:
    """RETURNS (Tensor): The code of the nearest level of each number from -1 to 1. Shape: (2 · STEPS + 1,), uint8."""
    levels = torch.tensor(LEVELS[bits])
    numbers = torch.arange(-STEPS, STEPS + 1) / STEPS
    return torch.bucketize(numbers, (levels[1:] + levels[:-1]) / 2).to(torch.uint8)
