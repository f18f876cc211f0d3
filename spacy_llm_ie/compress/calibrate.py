"""Finds out what linear layers are given, and the steps in which an int8 export counts that, before it is ever given a text.

A column of activations that is large in every text (a trained encoder has some) would spoil a scale for the whole layer. A step
for each column costs nothing where the products are: x W = (x / steps) (steps W), and the rows of W are multiplied with them
before they are rounded. What the one side gains in fineness, the other loses, so that both have a share in it (Xiao et al.,
"SmoothQuant: Accurate and Efficient Post-Training Quantization for Large Language Models", 2023, equation 4).
"""

import contextlib
from typing import Dict, Iterable, List, Optional, Tuple

import torch
from spacy.tokens import Doc
from spacy.util import minibatch
from spacy_transformers.layers import TransformerModel
from torch import Tensor

from ..errors import Errors
from .importance import hooked
from .linear import LinearT, find_linear, matrix_of
from .quantize import LARGEST, Known
from .simulate import round_rows, round_whole

# The share of the activations (equation 4: alpha); chosen on the newswire dev set (docs/compress.md).
SHARE = 0.8
# How far answers of a layer may be from the exact ones, if a scale for each row is nearer. In the newswire pipeline, layers behind
# a normalisation are below, all others above.
TOLERANCE = 0.02
# Columns that are nearly always zero count as being so large at least, relative to the largest one: another text may use them.
LEAST = 1e-3
# Negative numbers are small if they are less than this share of the largest.
SMALL = 0.1
# Texts that are read, and rows of each batch that answers are compared on.
TEXTS, ROWS_A_BATCH = 100, 64


class Inputs:
    """What layers that share it are given: the largest number of each column, the sum of x xᵀ, and some rows."""

    def __init__(self) -> None:
        self.layers: Dict[str, LinearT] = {}
        self.largest: Optional[Tensor] = None
        self.products: Optional[Tensor] = None
        self.lowest = 0.0
        self.rows: List[Tensor] = []
        self.count = 0

    def see(self, values: Tensor) -> None:
        """Take note of a batch, its few rows of padding too. values (Tensor): Shape: (..., inputs)."""
        rows = values.detach().float().flatten(0, -2)
        largest, products = rows.abs().amax(0), rows.T @ rows
        self.largest = largest if self.largest is None else torch.maximum(self.largest, largest)
        self.products = products if self.products is None else self.products + products
        self.lowest = min(self.lowest, float(rows.min()))
        self.count += len(rows)
        self.rows.append(rows[:: max(1, len(rows) // ROWS_A_BATCH)])

    def steps(self, share: float) -> Tensor:
        """What one whole number stands for in each column. RETURNS (Tensor): Shape: (inputs,)."""
        weights = torch.stack([matrix_of(layer).abs().amax(0) for layer in self.layers.values()]).amax(0).float()
        largest = self.largest.clamp(min=max(LEAST * float(self.largest.max()), 1e-12))
        factors = largest**share / weights.clamp(min=1e-6) ** (1 - share)
        return factors * (largest / factors).max() / LARGEST

    def known(self, steps: Optional[Tensor]) -> Known:
        """RETURNS (Known): What is known of the layers."""
        is_one_sided = -self.lowest <= SMALL * float(self.largest.max())
        products = (self.products / self.count).cpu().numpy()
        return Known(None if steps is None else steps.cpu().numpy(), products, self.lowest if is_one_sided else None)

    def errors(self, steps: Tensor) -> Tuple[float, float]:
        """How far the answers are from the exact ones, relative to these: in steps, and with a scale for each row. All rows count
        the same, however large they are."""
        rows, weight = torch.cat(self.rows), torch.cat([matrix_of(layer).float() for layer in self.layers.values()])
        exact = rows @ weight.T
        in_steps = round_whole(rows / steps) @ round_rows(weight * steps).T
        by_row = round_rows(rows) @ round_rows(weight).T
        sizes = exact.norm(dim=1).clamp(min=1e-12)
        in_steps, by_row = (((found - exact).norm(dim=1) / sizes).square().mean().sqrt() for found in (in_steps, by_row))
        return float(in_steps), float(by_row)


def calibrate(
    model: TransformerModel, docs: Iterable[Doc], share: float = SHARE, tolerance: float = TOLERANCE, batch_size: int = 16
) -> Dict[str, Known]:
    """Find what the linear layers of an encoder are given on some texts, and the steps to count it in.

    model (TransformerModel): The transformer of a pipeline. Not modified.
    docs (Iterable[Doc]): Texts like those that it is for, without annotation; some hundred of them are read, here and there.
    share (float): How much of the differences between columns the steps take over; the weights bear what is left. 0 to 1.
    tolerance (float): Layers whose answers would be further from the exact ones than that, as a share of these, have no steps, but
        a scale for each row, if that is nearer.
    batch_size (int): Texts in a batch.
    RETURNS (Dict[str, Known]): By name of the layer. Layers that are given the same tensor share it.
    RAISES (ValueError): If there are no texts, or a setting is out of range (E722).
    """
    docs = [doc for doc in docs if len(doc)]
    if not docs:
        raise ValueError(Errors.E722.format(setting="docs", found=docs, expected="documents with text"))
    for setting, value in (("share", share), ("tolerance", tolerance)):
        if not 0 <= value <= 1:
            raise ValueError(Errors.E722.format(setting=setting, found=value, expected="0 to 1"))
    found = {}
    with torch.no_grad():
        for inputs in _watch(model, docs[:: max(1, len(docs) // TEXTS)], batch_size):
            steps = inputs.steps(share)
            in_steps, by_row = inputs.errors(steps)
            known = inputs.known(steps if in_steps <= max(by_row, tolerance) else None)
            found.update(dict.fromkeys(inputs.layers, known))
    return found


def _watch(model: TransformerModel, docs: List[Doc], batch_size: int) -> List[Inputs]:
    """Read texts. RETURNS (List[Inputs]): Of all linear layers that were used; those that are given the same tensor have one."""
    seen: Dict[str, Inputs] = {}
    last: List[Tuple[Optional[Tensor], Inputs]] = [(None, Inputs())]

    def note(name: str, layer: LinearT, values: Tensor) -> None:
        given, inputs = last[0]
        if values is not given:
            inputs = seen.get(name, Inputs())
            inputs.see(values)
            last[0] = (values, inputs)
        inputs.layers[name] = layer
        seen[name] = inputs

    with contextlib.ExitStack() as stack:
        for name, layer in find_linear(model.transformer):
            stack.enter_context(hooked(layer, lambda values, name=name, layer=layer: note(name, layer, values)))
        for batch in minibatch(docs, batch_size):
            model.predict(batch)
    return list({id(inputs): inputs for inputs in seen.values()}.values())
