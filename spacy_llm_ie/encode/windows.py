"""From documents to windows: which tokens a row of the transformer reads, and which pieces those have."""

import warnings
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy
from spacy.tokens import Doc, Span
from spacy_transformers.data_classes import WordpieceBatch
from thinc.types import Ints1d, Ragged

from ..errors import Errors, Warnings
from .align import Pieces, Rows, build_rows
from .frame import Frame
from .spans import LEAST_WINDOW, WordpieceSpans, cut_windows

NO_LIMIT = 10**9

# Splits documents that have tokens into word pieces: `align.split_docs` with a tokenizer, or something quicker.
SplitT = Callable[[Sequence[Doc]], Pieces]


class Windows(NamedTuple):
    """The windows of a batch of documents.

    pieces (Pieces): The pieces of the documents that have tokens, those of very long tokens lifted out.
    lifted (Dict[int, Ints1d]): All the pieces of each token that was lifted out.
    rows (Rows): The tokens of each window.
    size (int): Most pieces of text in a row.
    bounds (Ints1d): First token of each document with tokens, and the number of tokens. Shape: (documents + 1,).
    """

    pieces: Pieces
    lifted: Dict[int, Ints1d]
    rows: Rows
    size: int
    bounds: Ints1d


def cut_docs(split: SplitT, limit: Optional[int], frame: Frame, get_spans: Callable, docs: Sequence[Doc]) -> Windows:
    """Cut documents into windows that the transformer can read.

    split (Callable[[Sequence[Doc]], Pieces]): Splits documents into pieces.
    limit (Optional[int]): Most pieces of text that the transformer takes at once, None if nothing limits it.
    frame (Frame): The special pieces of the tokenizer.
    get_spans (Callable): The span getter.
    docs (Sequence[Doc]): The documents; at least one has tokens. Not modified.
    RETURNS (Windows): The windows; each document with tokens has one.
    RAISES (ValueError): If the span getter does not answer for each document.
    """
    full = [doc for doc in docs if len(doc)]
    bounds = numpy.cumsum([0] + [len(doc) for doc in full])
    counted = isinstance(get_spans, WordpieceSpans)
    size, overlap = get_spans.measure(limit) if counted else (limit or NO_LIMIT, 0)
    pieces = split(full)
    if counted and _most_pieces(pieces, bounds) <= size:  # each document is one window
        rows = Rows(numpy.arange(len(full)), bounds[:-1], bounds[1:], numpy.zeros(len(full), dtype=bool))
        return Windows(pieces, {}, rows, size, bounds)
    pieces, lifted = pieces.lift(size)
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
    return Windows(pieces, lifted, rows, size, bounds)


def split_into_windows(
    split: SplitT, limit: Optional[int], frame: Frame, get_spans: Callable, docs: Sequence[Doc]
) -> Tuple[List[List[Span]], WordpieceBatch, Ragged]:
    """Cut documents into windows, and align their tokens to the pieces.

    split, limit, frame, get_spans, docs: As in `cut_docs`.
    RETURNS (Tuple[List[List[Span]], WordpieceBatch, Ragged]): The windows of each document, the row of each
        window, the pieces of each token.
    RAISES (ValueError): If the span getter does not answer for each document.
    """
    windows = cut_docs(split, limit, frame, get_spans, docs)
    wordpieces, align = build_rows(frame, windows.pieces, windows.rows, windows.lifted, windows.size)
    return _make_spans(docs, windows.rows, windows.bounds), wordpieces, align


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


def _most_pieces(pieces: Pieces, bounds: Ints1d) -> int:
    """How many pieces the longest document has. RETURNS (int): Those between its tokens count too."""
    return int((pieces.token_end[bounds[1:] - 1] - pieces.token_first[bounds[:-1]]).max())


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
