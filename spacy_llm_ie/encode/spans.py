"""Windows over documents, counted in word pieces.

A transformer reads a limited number of pieces at once, so a document is cut into windows that overlap. The
span getters of spacy-transformers count tokens, and a token may have any number of pieces; this one is told
the pieces by the transformer model.
"""

from typing import Any, List, NoReturn, Optional, Sequence, Tuple

import numpy
from spacy.tokens import Doc
from thinc.types import Ints1d

from ..errors import Errors

LEAST_WINDOW = 8


class WordpieceSpans:
    """Span getter whose windows are counted in word pieces and begin and end at token borders.

    window (Optional[int]): Most pieces of text in a window, special pieces not counted; None for as many as
        the transformer takes. If it takes fewer, the window shrinks to that, and the overlap in proportion.
    stride (Optional[int]): Pieces from the begin of a window to the begin of the next one, so that neighbours
        share `window - stride` pieces at most; None for three quarters of the window.
    RAISES (ValueError): If a setting is out of range.
    """

    def __init__(self, window: Optional[int] = 128, stride: Optional[int] = 96) -> None:
        if window is not None and not (_is_int(window) and window >= LEAST_WINDOW):
            _refuse("window", window, f"a whole number of pieces, {LEAST_WINDOW} or more, or null")
        if stride is not None and not (_is_int(stride) and stride >= 1):
            _refuse("stride", stride, "a whole number of pieces, 1 or more, or null")
        if window is not None and stride is not None and stride > window:
            _refuse("stride", stride, f"at most the window ({window}), or pieces would be left out")
        self.window = window
        self.stride = stride

    def __call__(self, docs: Sequence[Doc]) -> NoReturn:
        """Refuse to cut documents whose pieces are not known.

        docs (Sequence[Doc]): Not read.
        RAISES (ValueError): Always: the transformer model in use is not one of ours.
        """
        raise ValueError(Errors.E505)

    def __repr__(self) -> str:
        return f"WordpieceSpans(window={self.window}, stride={self.stride})"

    def measure(self, limit: Optional[int]) -> Tuple[int, int]:
        """Fit the settings to a transformer.

        limit (Optional[int]): Most pieces of text it takes at once, None if it names none.
        RETURNS (Tuple[int, int]): Pieces of a window, and pieces that two neighbours may share.
        RAISES (ValueError): If neither the settings nor the transformer give a size.
        """
        if self.window is None and limit is None:
            raise ValueError(Errors.E506)
        size = min(length for length in (self.window, limit) if length is not None)
        if self.stride is None:
            return size, size // 4
        if self.window is None:
            return size, max(size - self.stride, 0)
        return size, (self.window - self.stride) * size // self.window


def configure_wordpiece_spans(window: Optional[int] = 128, stride: Optional[int] = 96) -> WordpieceSpans:
    """Cut documents into windows counted in word pieces: `@span_getters = "spacy-llm-ie.wordpiece_spans.v1"`.

    Every token is in a window; windows begin and end at token borders; no window is longer than the
    transformer takes. A document that fits into one window gets one. Works with
    spacy-llm-ie.TransformerModel.v1 only.

    window (Optional[int]): Most pieces of text in a window; null for as many as the transformer takes.
    stride (Optional[int]): Pieces from the begin of a window to that of the next; null for three quarters of
        the window.
    RETURNS (WordpieceSpans): The span getter.
    RAISES (ValueError): If window < 8, stride < 1 or stride > window.
    """
    return WordpieceSpans(window, stride)


def cut_windows(first: Ints1d, end: Ints1d, size: int, overlap: int = 0) -> List[Tuple[int, int]]:
    """Cut the tokens of one document into as few windows as fit, from left to right.

    Takes one step a window, each in time logarithmic in the number of tokens. A window other than the first
    begins at a token with pieces.

    first (Ints1d): First piece of each token; never falls. Shape: (T,).
    end (Ints1d): Piece behind the last one of each token, equal to `first` if it has none; never falls. No
        token may have more than `size` pieces. Shape: (T,).
    size (int): Most pieces in a window.
    overlap (int): Most pieces that two neighbours share (more only where one piece covers several tokens).
    RETURNS (List[Tuple[int, int]]): Token ranges, end exclusive, in order. Empty without tokens.
    """
    windows: List[Tuple[int, int]] = []
    start, n_tokens = 0, len(first)
    while start < n_tokens:
        stop = int(numpy.searchsorted(end, first[start] + size, side="right"))
        windows.append((start, stop))
        if stop == n_tokens:
            break
        earliest = max(end[stop - 1] - overlap, end[stop] - size)
        start = int(numpy.searchsorted(first, earliest, side="left"))
        if start < stop:
            start = max(start, int(numpy.searchsorted(end, first[start], side="right")))
        start = min(start, stop)
    return windows


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _refuse(setting: str, value: Any, expected: str) -> NoReturn:
    raise ValueError(Errors.E504.format(setting=setting, value=value, expected=expected))
