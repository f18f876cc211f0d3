"""The special pieces of a tokenizer, and rows of pieces framed by them, in passes of padded rows."""

from dataclasses import dataclass
from typing import Any, List, NamedTuple, Sequence, Tuple

import numpy
from thinc.types import Ints1d

from ..layers import loops
from . import piece_loops

PROBE = "a 1 . \u4e2d"


@dataclass(frozen=True)
class Frame:
    """What a tokenizer puts around the pieces of a text, and the strings of its pieces.

    prefix, suffix (Ints1d): Special pieces before and behind the text.
    prefix_types, suffix_types (Ints1d): Their segment numbers.
    text_type, pad_type (int): The segment numbers of the text and of the padding.
    has_types (bool): Whether the transformer is given segment numbers at all.
    pad (int): The piece that fills short rows.
    strings (numpy.ndarray): The string of each piece, by its number. Shape: (vocabulary,).
    """

    prefix: Ints1d
    suffix: Ints1d
    prefix_types: Ints1d
    suffix_types: Ints1d
    text_type: int
    pad_type: int
    has_types: bool
    pad: int
    strings: numpy.ndarray

    @property
    def size(self) -> int:
        """Count the special pieces of a row. RETURNS (int): Prefix and suffix."""
        return len(self.prefix) + len(self.suffix)

    @classmethod
    def from_tokenizer(cls, tokenizer: Any) -> "Frame":
        """Read the frame off a short text, split with and without special pieces.

        tokenizer (PreTrainedTokenizerBase): A Hugging Face tokenizer.
        RETURNS (Frame): Its frame.
        """
        plain = tokenizer(PROBE, add_special_tokens=False)["input_ids"]
        framed = tokenizer(PROBE, add_special_tokens=True)
        ids = framed["input_ids"]
        types = framed.get("token_type_ids") or [0] * len(ids)
        starts = range(len(ids) - len(plain) + 1)
        begin = next((i for i in starts if ids[i : i + len(plain)] == plain), len(ids))
        end = begin + len(plain)
        vocab = tokenizer.get_vocab()
        strings = numpy.full(max(vocab.values()) + 1, "", dtype=object)
        strings[list(vocab.values())] = list(vocab)
        return cls(
            prefix=numpy.array(ids[:begin], dtype="int64"),
            suffix=numpy.array(ids[end:], dtype="int64"),
            prefix_types=numpy.array(types[:begin], dtype="int64"),
            suffix_types=numpy.array(types[end:], dtype="int64"),
            text_type=types[begin] if begin < len(types) else 0,
            pad_type=tokenizer.pad_token_type_id or 0,
            has_types="token_type_ids" in framed,
            pad=tokenizer.pad_token_id or 0,
            strings=strings,
        )


def row_lengths(frame: Frame, begin: Ints1d, end: Ints1d) -> Ints1d:
    """Count the pieces of rows, special ones included; a row without text and special pieces has one of padding. Shape: (R,)."""
    return numpy.maximum(end - begin + frame.size, 1)


class PassOfRows(NamedTuple):
    """One pass: its place among all pieces; and its pieces, their segment numbers and their mask. Shapes: (rows, width)."""

    place: slice
    input_ids: numpy.ndarray
    types: numpy.ndarray
    mask: numpy.ndarray


class FilledRows(NamedTuple):
    """Rows of pieces in passes, all of them flat, one pass after the other. C pieces with those of padding.

    input_ids, types (Ints1d): Pieces and their segment numbers. Shape: (C,).
    mask (numpy.ndarray): True for the pieces that are not padding. Shape: (C,).
    shapes (List[Tuple[int, int]]): Rows and width of each pass.
    offsets (Ints1d): Where each row begins, in the order in which the rows were given. Shape: (R,).
    """

    input_ids: Ints1d
    types: Ints1d
    mask: numpy.ndarray
    shapes: List[Tuple[int, int]]
    offsets: Ints1d

    def passes(self) -> List[PassOfRows]:
        """RETURNS (List[PassOfRows]): All passes."""
        ends = numpy.cumsum([0] + [rows * width for rows, width in self.shapes]).tolist()
        places = [slice(begin, end) for begin, end in zip(ends, ends[1:])]
        flat = (self.input_ids, self.types, self.mask)
        return [PassOfRows(place, *(x[place].reshape(shape) for x in flat)) for place, shape in zip(places, self.shapes)]


def fill_rows(frame: Frame, ids: Ints1d, begin: Ints1d, end: Ints1d, passes: Sequence[Ints1d]) -> FilledRows:
    """Frame the pieces of rows, padded on the right to the longest row of their pass.

    frame (Frame): The special pieces.
    ids (Ints1d): All pieces. Shape: (P,).
    begin, end (Ints1d): The pieces of each row. Shape: (R,).
    passes (Sequence[Ints1d]): The rows of each pass; each row in one of them.
    RETURNS (FilledRows): The whole.
    """
    order, sizes = numpy.concatenate(passes), numpy.array([len(rows) for rows in passes])
    lengths = row_lengths(frame, begin, end)[order]
    widths = numpy.maximum.reduceat(lengths, numpy.cumsum(sizes) - sizes)
    cells = numpy.repeat(widths, sizes)
    total = int(cells.sum())
    input_ids, types = (numpy.full(total, pad, dtype="int64") for pad in (frame.pad, frame.pad_type))
    mask, offsets = numpy.zeros(total, dtype=bool), numpy.empty(len(order), dtype="int64")
    loop = loops.compiled(piece_loops.fill)
    if loop is None:
        first = numpy.cumsum(cells) - cells
        offsets[order] = first
        mask[concat_ranges(first, lengths)] = True
        _fill(frame, ids, begin[order], end[order], first, input_ids, types)
    else:
        special = (frame.prefix, frame.suffix, frame.prefix_types, frame.suffix_types)
        loop(order, cells, ids, begin, end, *special, frame.text_type, input_ids, types, mask, offsets)
    return FilledRows(input_ids, types, mask, list(zip(sizes.tolist(), widths.tolist())), offsets)


def _fill(frame: Frame, ids: Ints1d, begin: Ints1d, end: Ints1d, first: Ints1d, input_ids: Ints1d, types: Ints1d) -> None:
    """Write the pieces of rows that begin at `first`, and their segment numbers."""
    counts, text = end - begin, first + len(frame.prefix)
    places = concat_ranges(text, counts)
    input_ids[places], types[places] = ids[concat_ranges(begin, counts)], frame.text_type
    for start, special, kinds in ((first, frame.prefix, frame.prefix_types), (text + counts, frame.suffix, frame.suffix_types)):
        places = start[:, None] + numpy.arange(len(special))
        input_ids[places], types[places] = special, kinds


def concat_ranges(starts: Ints1d, counts: Ints1d) -> Ints1d:
    """Concatenate ranges of numbers: [start, start + count) for each.

    starts (Ints1d): First number of each range. Shape: (N,).
    counts (Ints1d): Length of each range. Shape: (N,).
    RETURNS (Ints1d): All of them. Shape: (sum of counts,).
    """
    before = numpy.cumsum(counts) - counts
    return numpy.repeat(starts - before, counts) + numpy.arange(int(counts.sum()))
