"""Rows of word pieces through the transformer in bounded passes, and back to documents."""

from typing import Any, Callable, Dict, List, Tuple

import numpy
import torch
from spacy_transformers.data_classes import FullTransformerBatch, TransformerData, WordpieceBatch
from thinc.api import Model, torch2xp
from thinc.types import Ints1d, Ragged
from transformers.file_utils import ModelOutput

from .windows import NO_LIMIT

FEW_PIECES = 512
FULL_ENOUGH = 0.85


class WindowBatch(FullTransformerBatch):
    """The output for a batch. Each document with tokens has windows, and each of its tokens is in `align`."""

    def split_by_doc(self) -> List[TransformerData]:
        """Divide the output among the documents.

        RETURNS (List[TransformerData]): One for each document, in order, empty for one without tokens. They
            share the memory of the batch.
        """
        found = self.model_output.items()
        outputs = {key: _to_arrays(value) for key, value in found if _is_by_row(value, len(self.wordpieces))}
        width = self.wordpieces.input_ids.shape[1]
        piece_ends = numpy.concatenate([[0], numpy.cumsum(self.align.lengths)])
        datas, row, token = [], 0, 0
        for spans in self.spans:
            if not spans:
                datas.append(TransformerData.empty())
                continue
            rows, tokens = slice(row, row + len(spans)), slice(token, token + len(spans[0].doc))
            pieces = self.align.dataXd[piece_ends[tokens.start] : piece_ends[tokens.stop]] - row * width
            datas.append(
                TransformerData(
                    wordpieces=self.wordpieces[rows],
                    model_output=ModelOutput({key: _take(value, rows) for key, value in outputs.items()}),
                    align=Ragged(pieces, self.align.lengths[tokens]),
                )
            )
            row, token = rows.stop, tokens.stop
        return datas


def predict_rows(layer: Model, wordpieces: WordpieceBatch, max_pieces: int) -> ModelOutput:
    """Run the transformer over rows without training it, in passes of bounded size.

    layer (Model): The wrapped transformer.
    wordpieces (WordpieceBatch): The rows.
    max_pieces (int): Most pieces in a pass, padding included; a longer row makes a pass of its own.
    RETURNS (ModelOutput): As of one pass over all rows, in their order; zeros where rows are padded.
    """
    passes = _passes_for(layer, wordpieces, max_pieces)
    if len(passes) == 1:
        return layer.predict(wordpieces)
    merged = _Merged(len(wordpieces))
    for rows in passes:
        merged.add(rows, layer.predict(_take_rows(wordpieces, rows)))
    return merged.output()


def train_rows(layer: Model, wordpieces: WordpieceBatch) -> Tuple[ModelOutput, Callable[[ModelOutput], None]]:
    """Run the transformer over rows in training, rows of like length together, so that little is padded.

    layer (Model): The wrapped transformer.
    wordpieces (WordpieceBatch): The rows.
    RETURNS (Tuple[ModelOutput, Callable]): The output as of one pass over all rows; and the backward pass, which takes the
        gradients of its first parts, in order.
    """
    passes = _passes_for(layer, wordpieces, NO_LIMIT)
    if len(passes) == 1:
        return layer.begin_update(wordpieces)
    merged, calls = _Merged(len(wordpieces)), []
    for rows in passes:
        output, backprop_pass = layer.begin_update(_take_rows(wordpieces, rows))
        merged.add(rows, output)
        calls.append((torch.from_numpy(rows), output.last_hidden_state.shape[1], backprop_pass))

    def backprop(gradients: ModelOutput) -> None:
        for rows, width, backprop_pass in calls:
            backprop_pass(ModelOutput({key: value[rows, :width] for key, value in gradients.items()}))

    return merged.output(), backprop


def _passes_for(layer: Model, wordpieces: WordpieceBatch, max_pieces: int) -> List[Ints1d]:
    # A GPU loses more by many small passes than by padding.
    few_pieces = FEW_PIECES if layer.shims[0].device.type == "cpu" else max_pieces
    return plan_passes(numpy.asarray(wordpieces.lengths), max_pieces, few_pieces)


class _Merged:
    """Joins the outputs of passes over some rows each.

    n_rows (int): Number of all rows.
    """

    def __init__(self, n_rows: int) -> None:
        self.n_rows = n_rows
        self.targets: Dict[str, List[torch.Tensor]] = {}
        self.last: ModelOutput = ModelOutput()

    def add(self, rows: Ints1d, output: ModelOutput) -> None:
        """Take in the output for some rows. The first one must have a longest row."""
        self.last = output
        for key, value in output.items():
            if not _is_by_row(value, len(rows)):
                continue
            tensors = [value] if isinstance(value, torch.Tensor) else value
            targets = self.targets.setdefault(key, [_make_target(tensor, self.n_rows) for tensor in tensors])
            for target, tensor in zip(targets, tensors):
                target[(torch.from_numpy(rows), *map(slice, tensor.shape[1:]))] = tensor.detach()

    def output(self) -> ModelOutput:
        """RETURNS (ModelOutput): As of one pass over all rows; zeros where rows are padded."""
        single = {key for key in self.targets if isinstance(self.last[key], torch.Tensor)}
        values = {key: targets[0] if key in single else tuple(targets) for key, targets in self.targets.items()}
        return self.last.__class__(**values)


def plan_passes(
    lengths: Ints1d, max_pieces: int, few_pieces: int = FEW_PIECES, full_enough: float = FULL_ENOUGH
) -> List[Ints1d]:
    """Sort rows by length and divide them into passes, so that little is padded.

    A pass ends when it is full, or when it is not tiny and the next row is much shorter than its longest.

    lengths (Ints1d): Pieces of each row. Shape: (R,).
    max_pieces (int): Most pieces in a pass, padding included; a longer row makes a pass of its own.
    few_pieces (int): A pass of fewer pieces is tiny.
    full_enough (float): Least length of a row as a share of the longest one in its pass.
    RETURNS (List[Ints1d]): The rows of each pass; the longest rows come first.
    """
    if len(lengths) == 1:
        return [numpy.zeros(1, dtype="int64")]
    order = numpy.argsort(-lengths, kind="stable")
    rising = -lengths[order]
    passes, begin = [], 0
    while begin < len(order):
        longest = -int(rising[begin])
        short = int(numpy.searchsorted(rising, -full_enough * longest, side="right"))
        stop = max(min(begin + max_pieces // longest, max(short, begin + few_pieces // longest)), begin + 1)
        passes.append(order[begin:stop])
        begin = stop
    return passes


def _take_rows(wordpieces: WordpieceBatch, rows: Ints1d) -> WordpieceBatch:
    lengths = [wordpieces.lengths[row] for row in rows]
    width = max(lengths)
    types = wordpieces.token_type_ids
    return WordpieceBatch(
        strings=[wordpieces.strings[row][:width] for row in rows],
        input_ids=wordpieces.input_ids[rows, :width],
        attention_mask=wordpieces.attention_mask[rows, :width],
        lengths=lengths,
        token_type_ids=None if types is None else types[rows, :width],
    )


def _make_target(tensor: torch.Tensor, n_rows: int) -> torch.Tensor:
    """Make room for the output of all rows.

    tensor (torch.Tensor): The output of some rows, a longest one among them.
    n_rows (int): Number of all rows.
    RETURNS (torch.Tensor): Zeros.
    """
    shape = (n_rows, *tensor.shape[1:])
    if tensor.device.type == "cpu" and tensor.dtype == torch.float32:
        # numpy's zeros take memory only when they are written, so short rows beside a long one cost nothing.
        return torch.from_numpy(numpy.zeros(shape, dtype="float32"))
    return tensor.new_zeros(shape)


def _is_by_row(value: Any, n_rows: int) -> bool:
    """Tell whether an output is a tensor, or some tensors, with an entry for each row."""
    tensors = value if isinstance(value, (tuple, list)) else (value,)
    return all(isinstance(tensor, torch.Tensor) and tensor.shape[0] == n_rows for tensor in tensors)


def _to_arrays(value: Any) -> Any:
    return torch2xp(value) if isinstance(value, torch.Tensor) else [torch2xp(tensor) for tensor in value]


def _take(value: Any, rows: slice) -> Any:
    return [array[rows] for array in value] if isinstance(value, list) else value[rows]
