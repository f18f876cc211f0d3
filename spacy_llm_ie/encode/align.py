"""Word pieces of documents, and the rows of pieces that a transformer reads.

Each document is split into pieces once, as a whole. Windows are ranges of tokens; their rows are slices of
those pieces, framed by the special pieces. All arrays are flat over the batch: token t of document d has the
index (tokens of the documents before d) + t. Nothing here loops over tokens or pieces in Python that is not
compiled, but for tokenizers without offsets.
"""

from dataclasses import dataclass
from itertools import chain
from typing import Any, Dict, List, Sequence, Tuple

import numpy
from numpy import ndarray
from spacy.attrs import IDX, LENGTH
from spacy.tokens import Doc
from spacy_alignments import get_alignments
from spacy_transformers.data_classes import WordpieceBatch
from thinc.types import Ints1d, Ragged

from ..layers import loops
from . import piece_loops
from .frame import Frame, concat_ranges, fill_rows, row_lengths


@dataclass(frozen=True)
class Pieces:
    """The word pieces of a batch of documents, and the tokens they cover. P pieces, T tokens.

    ids (Ints1d): Number of each piece in the vocabulary. Shape: (P,).
    first, last (Ints1d): First and last token that a piece covers; never fall. Shape: (P,).
    solid (numpy.ndarray): False for pieces that stand for no character, or for a space between tokens. Shape:
        (P,).
    token_first, token_end (Ints1d): The pieces of each token as a range; equal if it has none. Shape: (T,).
    """

    ids: Ints1d
    first: Ints1d
    last: Ints1d
    solid: numpy.ndarray
    token_first: Ints1d
    token_end: Ints1d

    @classmethod
    def from_tokens(cls, ids: Ints1d, first: Ints1d, last: Ints1d, solid: numpy.ndarray, n_tokens: int) -> "Pieces":
        """Find the range of pieces of each token.

        ids, first, last, solid: As in the class, but `first` and `last` may fall: they are then held level.
        n_tokens (int): Number of tokens in the batch.
        RETURNS (Pieces): The whole.
        """
        first = numpy.maximum.accumulate(first)
        last = numpy.maximum.accumulate(numpy.maximum(first, last))
        tokens = numpy.arange(n_tokens)
        token_first = numpy.searchsorted(last, tokens, side="left")
        token_end = numpy.searchsorted(first, tokens, side="right")
        return cls(ids, first, last, solid, token_first, token_end)

    def lift(self, size: int) -> Tuple["Pieces", Dict[int, Ints1d]]:
        """Take all pieces that cover a token with more than `size` pieces out of the text.

        size (int): Most pieces a token may have.
        RETURNS (Tuple[Pieces, Dict[int, Ints1d]]): The other pieces, and all the pieces of each long token.
        """
        is_long = self.token_end - self.token_first > size
        if not is_long.any():
            return self, {}
        ranges = [(int(t), self.token_first[t], self.token_end[t]) for t in numpy.flatnonzero(is_long)]
        lifted = {token: self.ids[begin:end] for token, begin, end in ranges}
        n_long = numpy.concatenate([[0], numpy.cumsum(is_long)])
        keep = n_long[self.last + 1] == n_long[self.first]
        kept = (self.ids[keep], self.first[keep], self.last[keep], self.solid[keep])
        return Pieces.from_tokens(*kept, n_tokens=len(is_long)), lifted


def split_docs(tokenizer: Any, docs: Sequence[Doc]) -> Pieces:
    """Split documents into word pieces, without special pieces.

    tokenizer (PreTrainedTokenizerBase): A Hugging Face tokenizer, fast (with offsets) or slow.
    docs (Sequence[Doc]): At least one, none of them empty. Not modified.
    RETURNS (Pieces): The pieces of all of them, in order.
    """
    return _split_fast(tokenizer, docs) if tokenizer.is_fast else _split_slow(tokenizer, docs)


def _split_fast(tokenizer: Any, docs: Sequence[Doc]) -> Pieces:
    table = numpy.concatenate([doc.to_array([IDX, LENGTH]) for doc in docs]).astype("int64")
    return split_texts(tokenizer, [doc.text for doc in docs], table, [len(doc) for doc in docs])


def split_texts(tokenizer: Any, texts: Sequence[str], table: ndarray, sizes: Sequence[int]) -> Pieces:
    """Split texts into word pieces, without special pieces.

    tokenizer (PreTrainedTokenizerBase): A fast one.
    texts (Sequence[str]): None without tokens.
    table (ndarray): Where each token begins in its text, and its length, in characters. Shape: (T, 2).
    sizes (Sequence[int]): Tokens of each text.
    RETURNS (Pieces): The pieces of all of them, in order.
    """
    encodings = encode(tokenizer, texts)
    # One more character between documents keeps them apart.
    bases = numpy.cumsum([0] + [len(text) + 1 for text in texts])[:-1]
    starts = table[:, 0] + numpy.repeat(bases, sizes)
    counts = [len(encoding) for encoding in encodings]
    ids = numpy.fromiter(chain.from_iterable(e.ids for e in encodings), dtype="int64", count=sum(counts))
    offsets = chain.from_iterable(chain.from_iterable(e.offsets for e in encodings))
    chars = numpy.fromiter(offsets, dtype="int64", count=2 * len(ids)).reshape(-1, 2)
    begin, end = (chars + numpy.repeat(bases, counts)[:, None]).T
    first = numpy.searchsorted(starts, begin, side="right") - 1
    # A piece such as " word" or " " belongs to the word, not to the token before the space.
    in_space = begin >= starts[first] + table[first, 1]
    solid = end > begin + in_space
    first = first + (in_space & (numpy.append(starts, -1)[first + 1] == begin + 1))
    last = numpy.where(solid, numpy.searchsorted(starts, end - 1, side="right") - 1, first)
    return Pieces.from_tokens(ids, first, last, solid, n_tokens=len(starts))


def encode(tokenizer: Any, texts: Sequence[str]) -> List[Any]:
    """Split texts with what is inside a fast tokenizer: the same pieces, without packing them into tensors and dictionaries.

    tokenizer (PreTrainedTokenizerBase): A fast one.
    texts (Sequence[str]): Any.
    RETURNS (List[tokenizers.Encoding]): One a text, whole, without special pieces.
    """
    leave_whole(tokenizer)  # somebody may have used the tokenizer for something else
    if len(texts) == 1:
        return [tokenizer.backend_tokenizer.encode(texts[0], add_special_tokens=False)]  # not in another thread
    return tokenizer.backend_tokenizer.encode_batch(list(texts), add_special_tokens=False)


def leave_whole(tokenizer: Any) -> None:
    """Turn truncation and padding of a fast tokenizer off. Not while another thread uses it.

    tokenizer (PreTrainedTokenizerBase): A Hugging Face tokenizer; a slow one has nothing to turn off.
    """
    backend = tokenizer.backend_tokenizer if tokenizer.is_fast else None
    if backend is not None and backend.truncation is not None:
        backend.no_truncation()
    if backend is not None and backend.padding is not None:
        backend.no_padding()


def _split_slow(tokenizer: Any, docs: Sequence[Doc]) -> Pieces:
    """Split what stands between two spaces, one after the other, and align by the strings of the pieces."""
    ids: List[int] = []
    cover: List[Tuple[int, int, bool]] = []
    seen: Dict[Tuple[str, ...], Tuple[List[int], List[List[int]]]] = {}
    n_tokens = 0
    for space, *tokens in chain.from_iterable(map(_words_between_spaces, docs)):
        key = (space, *tokens)
        if key not in seen:
            strings = tokenizer.tokenize("".join(key))
            seen[key] = (tokenizer.convert_tokens_to_ids(strings), get_alignments(tokens, strings)[1])
        word_ids, aligned = seen[key]
        ids.extend(word_ids)
        for js in aligned:
            cover.append((n_tokens + min(js, default=0), n_tokens + max(js, default=0), bool(js)))
        n_tokens += len(tokens)
    first, last, solid = numpy.array(cover, dtype="int64").reshape(-1, 3).T
    return Pieces.from_tokens(numpy.array(ids, dtype="int64"), first, last, solid == 1, n_tokens)


def _words_between_spaces(doc: Doc) -> List[List[str]]:
    """Group the tokens of a document that no space divides. White space tokens stand alone.

    doc (Doc): The document.
    RETURNS (List[List[str]]): For each group, the space before it (" " or "") and the texts of its tokens.
    """
    groups: List[List[str]] = []
    divided = True
    for token in doc:
        if divided or token.is_space:
            groups.append([" " if groups and not token.is_space else ""])
        groups[-1].append(token.text)
        divided = bool(token.whitespace_) or token.is_space
    return groups


@dataclass(frozen=True)
class Rows:
    """The windows of a batch, one a row, in the order of the documents. R rows.

    doc (Ints1d): Index of the document. Shape: (R,).
    start, stop (Ints1d): Its tokens, end exclusive. Shape: (R,).
    alone (numpy.ndarray): True for the own window of a token that is too long. Shape: (R,).
    """

    doc: Ints1d
    start: Ints1d
    stop: Ints1d
    alone: numpy.ndarray

    @classmethod
    def from_windows(cls, windows: Sequence[Tuple[int, int, int]], lifted: Sequence[Tuple[int, int]]) -> "Rows":
        """Put the windows of long tokens behind the other windows of their document.

        windows (Sequence[Tuple[int, int, int]]): Document, first token and end of tokens of each.
        lifted (Sequence[Tuple[int, int]]): Document and token of each long token.
        RETURNS (Rows): All windows.
        """
        table = numpy.array([*windows, *((doc, t, t + 1) for doc, t in lifted)], dtype="int64").reshape(-1, 3)
        alone = numpy.arange(len(table)) >= len(windows)
        order = numpy.argsort(table[:, 0], kind="stable")
        doc, start, stop = table[order].T
        return cls(doc, start, stop, alone[order])


def build_rows(frame: Frame, pieces: Pieces, rows: Rows, lifted: Dict[int, Ints1d], size: int) -> Tuple[WordpieceBatch, Ragged]:
    """Lay the pieces of each window into a padded row, and align the tokens to them.

    A token in several windows is aligned to its pieces in all of them. A token without pieces is aligned to
    the piece before it in its window, which at the begin of the window is a special piece.

    frame (Frame): The special pieces.
    pieces (Pieces): The pieces of the batch, those of long tokens lifted out.
    rows (Rows): The windows.
    lifted (Dict[int, Ints1d]): All the pieces of each long token.
    size (int): How many of them are used.
    RETURNS (Tuple[WordpieceBatch, Ragged]): The rows, padded on the right; and for each token of the batch,
        in order, the indices of its pieces in the flattened rows.
    """
    ids, begin, end = lay_out(pieces, rows, lifted, size)
    filled = fill_rows(frame, ids, begin, end, [numpy.arange(len(begin))])
    ((_, input_ids, types, mask),) = filled.passes()
    wordpieces = WordpieceBatch(
        strings=frame.strings[input_ids].tolist(),
        input_ids=input_ids,
        attention_mask=mask.astype("float32"),
        lengths=row_lengths(frame, begin, end).tolist(),
        token_type_ids=types if frame.has_types else None,
    )
    target, counts = align_tokens(frame, pieces, rows, begin, end, filled.offsets)
    return wordpieces, Ragged(target, counts)


def lay_out(pieces: Pieces, rows: Rows, lifted: Dict[int, Ints1d], size: int) -> Tuple[Ints1d, Ints1d, Ints1d]:
    """Find the pieces of each window.

    pieces, rows, lifted, size: As in `build_rows`.
    RETURNS (Tuple[Ints1d, Ints1d, Ints1d]): All pieces, those of the lifted tokens last. Shape: (P,). And the first piece and the
        end of each row in them. Shape of each: (R,).
    """
    if not lifted and (rows.stop > rows.start).all():
        return pieces.ids, pieces.token_first[rows.start], pieces.token_end[rows.stop - 1]
    long_tokens = rows.start[rows.alone]
    used = [lifted[int(token)][:size] for token in long_tokens]
    ids = numpy.concatenate([pieces.ids, *used])
    begin, end = numpy.zeros((2, len(rows.start)), dtype="int64")
    in_text = ~rows.alone & (rows.stop > rows.start)
    begin[in_text] = pieces.token_first[rows.start[in_text]]
    end[in_text] = pieces.token_end[rows.stop[in_text] - 1]
    ends = len(pieces.ids) + numpy.cumsum([len(piece_ids) for piece_ids in used], dtype="int64")
    begin[rows.alone] = ends - [len(piece_ids) for piece_ids in used]
    end[rows.alone] = ends
    return ids, begin, end


def align_tokens(
    frame: Frame, pieces: Pieces, rows: Rows, begin: Ints1d, end: Ints1d, offsets: Ints1d
) -> Tuple[Ints1d, Ints1d]:
    """Align each token of the batch to its pieces; see `build_rows`.

    begin, end (Ints1d): The pieces of each row. Shape: (R,).
    offsets (Ints1d): Where each row begins in the flattened rows. Shape: (R,).
    RETURNS (Tuple[Ints1d, Ints1d]): Indices into the flattened rows, those of one token after those of the token before; and
        how many each token has. Shape: (T,).
    """
    loop = loops.compiled(piece_loops.align)
    if loop is not None and not rows.alone.any() and (rows.start[1:] >= rows.stop[:-1]).all():
        first, last = pieces.token_first, pieces.token_end
        counts = numpy.zeros(len(first), dtype="int32")
        target = numpy.empty(int((last - first).sum()) + len(first), dtype="int32")
        count = loop(first, last, pieces.solid, begin, rows.start, rows.stop, offsets, len(frame.prefix), target, counts)
        return target[:count], counts
    n_tokens, n_prefix = len(pieces.token_first), len(frame.prefix)
    row = numpy.repeat(numpy.arange(len(rows.doc)), rows.stop - rows.start)
    token = concat_ranges(rows.start, rows.stop - rows.start)
    alone = rows.alone[row]
    is_long = numpy.zeros(n_tokens, dtype="bool")
    is_long[token[alone]] = True
    first = numpy.where(alone, begin[row], pieces.token_first[token])
    count = numpy.where(alone, (end - begin)[row], pieces.token_end[token] - pieces.token_first[token])
    # A long token has no pieces in the text it was lifted out of, and is aligned to its own window only.
    bare = (count == 0) & ~is_long[token]
    column = n_prefix + first - begin[row]
    column[bare] = numpy.maximum(column[bare] - 1, 0)
    count[bare] = 1
    target = concat_ranges(offsets[row] + column, count)
    owner = numpy.repeat(token, count)
    keep = _keep_solid(pieces, concat_ranges(first, count), owner, numpy.repeat(bare | alone, count))
    target, owner = target[keep], owner[keep]
    order = numpy.argsort(owner, kind="stable")
    lengths = numpy.bincount(owner, minlength=n_tokens)
    return target[order].astype("i"), lengths.astype("i")


def _keep_solid(pieces: Pieces, piece: Ints1d, owner: Ints1d, exempt: numpy.ndarray) -> numpy.ndarray:
    """Choose the pairs of piece and token whose piece stands for characters, if the token has such pieces.

    piece, owner (Ints1d): The pieces and their tokens. Shape: (pairs,).
    exempt (numpy.ndarray): Pairs that are kept anyway. Shape: (pairs,).
    RETURNS (numpy.ndarray): True where a pair is kept. Shape: (pairs,).
    """
    if pieces.solid.all():
        return numpy.ones(len(piece), dtype="bool")
    count = numpy.concatenate([[0], numpy.cumsum(pieces.solid)])
    hollow = count[pieces.token_end] == count[pieces.token_first]
    solid = numpy.concatenate([pieces.solid, [True]])[numpy.minimum(piece, len(pieces.solid))]
    return solid | hollow[owner] | exempt
