"""From documents to rows of word pieces, through the transformer in bounded passes, and back to documents."""

import warnings
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

import numpy
import torch
from spacy.tokens import Doc, Span
from spacy_transformers.data_classes import FullTransformerBatch, TransformerData, WordpieceBatch
from thinc.api import Model, torch2xp
from thinc.types import Ints1d, Ragged
from transformers.file_utils import ModelOutput

from ..errors import Errors, Warnings
from .align import Frame, Pieces, Rows, build_rows, split_docs
from .spans import LEAST_WINDOW, WordpieceSpans, cut_windows

NO_LIMIT = 10**9
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


def split_into_windows(
    tokenizer: Any, transformer: Any, frame: Frame, get_spans: Callable, docs: Sequence[Doc]
) -> Tuple[List[List[Span]], WordpieceBatch, Ragged]:
    """Cut documents into windows that the transformer can read, and align their tokens to the pieces.

    tokenizer (PreTrainedTokenizerBase): The tokenizer of the transformer.
    transformer (PreTrainedModel): The transformer.
    frame (Frame): The special pieces of the tokenizer.
    get_spans (Callable): The span getter.
    docs (Sequence[Doc]): The documents; at least one has tokens. Not modified.
    RETURNS (Tuple[List[List[Span]], WordpieceBatch, Ragged]): The windows of each document, the row of each
        window, the pieces of each token.
    RAISES (ValueError): If the span getter does not answer for each document, or the transformer takes too
        few pieces.
    """
    full = [doc for doc in docs if len(doc)]
    bounds = numpy.cumsum([0] + [len(doc) for doc in full])
    limit = longest_text(tokenizer, transformer, frame.size)
    counted = isinstance(get_spans, WordpieceSpans)
    size, overlap = get_spans.measure(limit) if counted else (limit or NO_LIMIT, 0)
    pieces, lifted = split_docs(tokenizer, full).lift(size)
    whole = list(zip(range(len(full)), bounds[:-1], bounds[1:]))
    ranges = whole if counted else _read_spans(get_spans, full, bounds)
    windows = _fit_windows(pieces, ranges, size, overlap)
    covered = _find_covered(windows, bounds)
    long_tokens = [token for token in lifted if covered[token]]
    _warn_of_cuts(full, bounds, {token: len(lifted[token]) for token in long_tokens}, size)
    # A document without any window gets an empty one, which keeps the batch and its documents in step.
    missing = sorted(set(range(len(full))) - {doc for doc, *_ in windows})
    windows.extend((doc, int(bounds[doc]), int(bounds[doc])) for doc in missing)
    rows = Rows.from_windows(windows, [(_doc_of(token, bounds), token) for token in long_tokens])
    wordpieces, align = build_rows(frame, pieces, rows, lifted, size)
    return _make_spans(docs, rows, bounds), wordpieces, align


def longest_text(tokenizer: Any, transformer: Any, special: int) -> Optional[int]:
    """Find out how many pieces of text the transformer takes at once.

    tokenizer (PreTrainedTokenizerBase): Its model_max_length counts, unless it is beyond all measure.
    transformer (PreTrainedModel): So does the number of its positions.
    special (int): Number of special pieces, which are not text.
    RETURNS (Optional[int]): The number, None if nothing limits it.
    RAISES (ValueError): If there is no room for text worth the name.
    """
    positions = getattr(transformer.config, "max_position_embeddings", None) or 0
    table = getattr(getattr(transformer, "embeddings", None), "position_embeddings", None)
    padding = getattr(table, "padding_idx", None)
    if padding is not None:  # such models count positions from behind that of the padding
        positions -= padding + 1
    limits = [n for n in (tokenizer.model_max_length, positions) if n and 0 < n < NO_LIMIT]
    if not limits:
        return None
    if min(limits) - special < LEAST_WINDOW:
        raise ValueError(Errors.E507.format(limit=min(limits), special=special, least=LEAST_WINDOW))
    return int(min(limits)) - special


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


def plan_passes(lengths: Ints1d, max_pieces: int, few_pieces: int = FEW_PIECES) -> List[Ints1d]:
    """Sort rows by length and divide them into passes, so that little is padded.

    A pass ends when it is full, or when it is not tiny and the next row is much shorter than its longest.

    lengths (Ints1d): Pieces of each row. Shape: (R,).
    max_pieces (int): Most pieces in a pass, padding included; a longer row makes a pass of its own.
    few_pieces (int): A pass of fewer pieces is tiny.
    RETURNS (List[Ints1d]): The rows of each pass; the longest rows come first.
    """
    order = numpy.argsort(-lengths, kind="stable")
    rising = -lengths[order]
    passes, begin = [], 0
    while begin < len(order):
        longest = -int(rising[begin])
        short = int(numpy.searchsorted(rising, -FULL_ENOUGH * longest, side="right"))
        stop = max(min(begin + max_pieces // longest, max(short, begin + few_pieces // longest)), begin + 1)
        passes.append(order[begin:stop])
        begin = stop
    return passes


def _read_spans(get_spans: Callable, docs: Sequence[Doc], bounds: Ints1d) -> List[Tuple[int, int, int]]:
    """Ask a span getter that knows tokens only.

    RETURNS (List[Tuple[int, int, int]]): Document, first token and end of tokens of each window that is not
        empty.
    RAISES (ValueError): If it does not answer for each document.
    """
    nested = list(get_spans(docs))
    if len(nested) != len(docs):
        raise ValueError(Errors.E510.format(found=len(nested), expected=len(docs)))
    return [
        (i, int(bounds[i]) + span.start, int(bounds[i]) + span.end)
        for i, spans in enumerate(nested)
        for span in spans
        if len(span)
    ]


def _fit_windows(pieces: Pieces, ranges: Sequence[Tuple[int, int, int]], size: int, overlap: int) -> List[Tuple[int, int, int]]:
    """Divide ranges of tokens that have more than `size` pieces.

    RETURNS (List[Tuple[int, int, int]]): Document, first token and end of tokens of each window.
    """
    windows: List[Tuple[int, int, int]] = []
    for doc, start, stop in ranges:
        if pieces.token_end[stop - 1] - pieces.token_first[start] <= size:
            windows.append((doc, int(start), int(stop)))
            continue
        first, end = pieces.token_first[start:stop], pieces.token_end[start:stop]
        windows.extend((doc, int(start + a), int(start + b)) for a, b in cut_windows(first, end, size, overlap))
    return windows


def _find_covered(windows: Sequence[Tuple[int, int, int]], bounds: Ints1d) -> numpy.ndarray:
    """Find the tokens that are in a window, and warn if some are not.

    RETURNS (numpy.ndarray): True for tokens in a window. Shape: (T,).
    """
    table = numpy.array(windows, dtype="int64").reshape(-1, 3)
    depth = numpy.zeros(bounds[-1] + 1, dtype="int64")
    numpy.add.at(depth, table[:, 1], 1)
    numpy.add.at(depth, table[:, 2], -1)
    covered = numpy.cumsum(depth)[:-1] > 0
    if not covered.all():
        left_out = numpy.flatnonzero(~covered)
        n_docs = len(numpy.unique(numpy.searchsorted(bounds, left_out, side="right")))
        warnings.warn(Warnings.W502.format(tokens=len(left_out), docs=n_docs), stacklevel=2)
    return covered


def _warn_of_cuts(docs: Sequence[Doc], bounds: Ints1d, lengths: Dict[int, int], size: int) -> None:
    if lengths:
        longest = max(lengths, key=lengths.__getitem__)
        doc = _doc_of(longest, bounds)
        text = docs[doc][longest - int(bounds[doc])].text
        counts = {"tokens": len(lengths), "pieces": sum(lengths.values()) - size * len(lengths)}
        shown = repr(text if len(text) <= 40 else text[:40] + "...")
        warnings.warn(Warnings.W501.format(**counts, size=size, longest=shown), stacklevel=2)


def _doc_of(token: int, bounds: Ints1d) -> int:
    return int(numpy.searchsorted(bounds, token, side="right")) - 1


def _make_spans(docs: Sequence[Doc], rows: Rows, bounds: Ints1d) -> List[List[Span]]:
    """Show the windows as spans.

    RETURNS (List[List[Span]]): Those of each document, in the order of the rows; none for an empty document.
    """
    spans: List[List[Span]] = [[] for _ in docs]
    full = [i for i, doc in enumerate(docs) if len(doc)]
    for i, start, stop in zip(rows.doc.tolist(), rows.start.tolist(), rows.stop.tolist()):
        offset = int(bounds[i])
        spans[full[i]].append(docs[full[i]][start - offset : stop - offset])
    return spans


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
