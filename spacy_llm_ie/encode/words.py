"""Word pieces of words that were split before: most words of a text are repeated, and looking one up takes a fraction of the time.

That is right for BERT's tokenizers only, which look at nothing beyond a white space or a mark of punctuation.
"""

from bisect import bisect_left, bisect_right
from itertools import accumulate
from threading import Lock
from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple, Union

import numpy
from spacy.attrs import ORTH, SPACY
from spacy.strings import StringStore
from spacy.tokens import Doc
from thinc.types import Ints1d

from ..layers import loops
from ..rows import GrowingRows
from . import piece_loops
from .align import Pieces, encode, split_docs
from .frame import Frame, concat_ranges

# Tokens without anything between them at which BERT would split; there are more in languages that are written so, and then words
# are not what is repeated.
MOST_GLUED = 8
# With more pieces, all that was kept is thrown away: some megabytes.
MOST_KEPT = 2**17
# A token by its number in the string store, or several that are written as one word.
UnitT = Union[int, Tuple[int, ...]]
# A piece: its number, the first and the last token that it covers, and whether it is solid.
PieceT = Tuple[int, int, int, bool]


def splits_words_alone(tokenizer: Any) -> bool:
    """Whether a Hugging Face tokenizer splits a word alone as it does in a text."""
    if not tokenizer.is_fast:
        return False
    backend = tokenizer.backend_tokenizer
    kinds = [type(part).__name__ for part in (backend.normalizer, backend.pre_tokenizer, backend.model)]
    added = tokenizer.added_tokens_decoder.values()
    whole = all(not token.normalized and len(token.content.split()) == 1 for token in added)
    return kinds == ["BertNormalizer", "BertPreTokenizer", "WordPiece"] and whole


class OfTokenizer:
    """What is made of a tokenizer once: its frame, and what splits documents. Made anew if another one takes its place."""

    def __init__(self) -> None:
        self._made: Tuple[Any, Optional[Frame], Optional[WordSplitter]] = (None, None, None)

    def get(self, tokenizer: Any) -> Tuple[Frame, "WordSplitter"]:
        """tokenizer (PreTrainedTokenizerBase): The one that is used now. RETURNS: Its special pieces, and a splitter."""
        known, frame, splitter = self._made
        if frame is None or splitter is None or known is not tokenizer:
            frame, splitter = Frame.from_tokenizer(tokenizer), WordSplitter(tokenizer)
            self._made = (tokenizer, frame, splitter)
        return frame, splitter


class WordSplitter:
    """Splits documents into word pieces as `align.split_docs` does, looking up words that were split before. Threads may share it.

    tokenizer (PreTrainedTokenizerBase): Any; where words cannot be split alone, it is asked each time.
    """

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer, self._lock = tokenizer, Lock()
        self._breaks: Dict[str, bool] = {}
        self.forget()

    def __reduce__(self) -> Any:
        return (WordSplitter, (self.tokenizer,))

    def forget(self) -> None:
        """Forget all words, as if none had been split."""
        self._alone = splits_words_alone(self.tokenizer)
        self._added: List[str] = []
        if self._alone:
            self._added = [token.content for token in self.tokenizer.added_tokens_decoder.values()]
        self._openers = {added[0] for added in self._added}
        self._units: Dict[UnitT, int] = {}
        # Of each unit: its first piece and first token below, how many it has, and what is at its edges.
        self._places, self._edges = GrowingRows(), GrowingRows()
        # Of each piece: its number, first and last token, and whether it is solid. Of each token: its first piece and its end.
        self._pieces, self._tokens = GrowingRows(), GrowingRows()

    def __call__(self, docs: Sequence[Doc]) -> Pieces:
        """Split. docs (Sequence[Doc]): At least one, none of them empty. RETURNS (Pieces): The pieces of all of them, in order."""
        found = None
        if self._alone and all(doc.vocab is docs[0].vocab for doc in docs):
            with self._lock:
                found = self._look_up(docs)
        return split_docs(self.tokenizer, docs) if found is None else found

    def _look_up(self, docs: Sequence[Doc]) -> Optional[Pieces]:
        if self._pieces.count > MOST_KEPT or len(self.tokenizer.added_tokens_decoder) != len(self._added):
            self.forget()
            if not self._alone:
                return None
        table = numpy.concatenate([doc.to_array([ORTH, SPACY]) for doc in docs])
        keys, strings = table[:, 0].tolist(), docs[0].vocab.strings
        self._learn([key for key in dict.fromkeys(keys) if key not in self._units], strings)
        units = numpy.array([self._units[key] for key in keys])
        begins, ends, opens = self._edges.rows[units].T
        if opens.any() and any(token in doc.text for doc in docs for token in self._added):
            return None
        glued = (table[:-1, 1] == 0) & ~ends[:-1] & ~begins[1:]
        glued[numpy.cumsum([len(doc) for doc in docs])[:-1] - 1] = False
        if glued.any():
            first = numpy.flatnonzero(~numpy.concatenate([[False], glued]))
            sizes = numpy.diff(first, append=len(keys))
            if sizes.max() > MOST_GLUED:
                return None
            units = self._join(units[first], first, sizes, keys, strings)
        return self._lay_out(units)

    def _join(self, units: Ints1d, first: Ints1d, sizes: Ints1d, keys: List[int], strings: StringStore) -> Ints1d:
        """The units of tokens of which some are written as one word. Shape: (words,)."""
        several = numpy.flatnonzero(sizes > 1)
        words = [tuple(keys[begin : begin + size]) for begin, size in zip(first[several].tolist(), sizes[several].tolist())]
        self._learn([word for word in dict.fromkeys(words) if word not in self._units], strings)
        units[several] = [self._units[word] for word in words]
        return units

    def _learn(self, new: Sequence[UnitT], strings: StringStore) -> None:
        """Split units that are not known yet, each once."""
        if not new:
            return
        words = [[strings[key] for key in (unit if isinstance(unit, tuple) else (unit,))] for unit in new]
        (encoding,) = encode(self.tokenizer, [" ".join(map("".join, words))])
        pieces, tokens, places = [], [], []
        for of_word, ranges in _divide(words, encoding.ids, encoding.offsets):
            places.append((self._pieces.count + len(pieces), len(of_word), self._tokens.count + len(tokens), len(ranges)))
            pieces += of_word
            tokens += ranges
        self._pieces.append(numpy.array(pieces, dtype="int64").reshape(-1, 4))
        self._tokens.append(numpy.array(tokens, dtype="int64"))
        begin = self._places.append(numpy.array(places, dtype="int64"))
        self._edges.append(numpy.array([self._edges_of(word) for word in words]))
        self._units.update(zip(new, range(begin, begin + len(words))))

    def _edges_of(self, tokens: Sequence[str]) -> Tuple[bool, bool, bool]:
        """Whether the tokenizer splits at the first and at the last character, and whether an added token may begin there."""
        opens = any(char in token for char in self._openers for token in tokens)
        return self._splits_at(tokens[0][:1]), self._splits_at(tokens[-1][-1:]), opens

    def _splits_at(self, char: str) -> bool:
        if char not in self._breaks:
            backend = self.tokenizer.backend_tokenizer
            parts = backend.pre_tokenizer.pre_tokenize_str(backend.normalizer.normalize_str(f"a{char}a"))
            self._breaks[char] = len(parts) > 1 and parts[0][0] == parts[-1][0] == "a"
        return self._breaks[char]

    def _lay_out(self, units: Ints1d) -> Pieces:
        """The pieces of units, one after the other."""
        first_piece, counts, first_token, sizes = self._places.rows[units].T
        loop = loops.compiled(piece_loops.lay_units)
        if loop is not None:
            n_pieces, n_tokens = int(counts.sum()), int(sizes.sum())
            pieces, tokens = numpy.empty((3, n_pieces), dtype="int64"), numpy.empty((2, n_tokens), dtype="int64")
            solid = numpy.empty(n_pieces, dtype=bool)
            loop(units, self._places.rows, self._pieces.rows, self._tokens.rows, pieces, solid, tokens)
            return Pieces(*pieces, solid, *tokens)
        ids, first, last, solid = self._pieces.rows[concat_ranges(first_piece, counts)].T
        tokens = numpy.repeat(numpy.cumsum(sizes) - sizes, counts)
        ranges = self._tokens.rows[concat_ranges(first_token, sizes)]
        ranges += numpy.repeat(numpy.cumsum(counts) - counts, sizes)[:, None]
        return Pieces(ids, first + tokens, last + tokens, solid.astype(bool), *ranges.T)


def _divide(
    words: Sequence[Sequence[str]], ids: Sequence[int], offsets: Sequence[Tuple[int, int]]
) -> Iterator[Tuple[List[PieceT], List[Tuple[int, int]]]]:
    """Which pieces and tokens belong together, in words of some tokens each. A loop: they are few, for which numpy takes longer.

    words (Sequence[Sequence[str]]): The tokens of each word.
    ids (Sequence[int]): The pieces of all words, written with a space between two words.
    offsets (Sequence[Tuple[int, int]]): The first character of each piece, and the end.
    YIELDS (Tuple[List[PieceT], List[Tuple[int, int]]]): The pieces of each word; and of each token, its first piece and its end.
        Both are counted in the word.
    """
    piece, start = 0, 0
    for word in words:
        *starts, stop = accumulate(map(len, word), initial=start)
        end = piece
        while end < len(ids) and offsets[end][0] < stop:
            end += 1
        chars, numbers = offsets[piece:end], ids[piece:end]
        piece, start = end, stop + 1
        if len(word) == 1:  # as most have: what follows would say the same
            yield [(number, 0, 0, after > begin) for number, (begin, after) in zip(numbers, chars)], [(0, len(chars))]
            continue
        # They never fall, as in `Pieces`.
        first = list(accumulate((bisect_right(starts, begin) - 1 for begin, _ in chars), max))
        last = list(accumulate((bisect_right(starts, after - 1) - 1 for _, after in chars), max))
        last = list(map(max, first, last))
        solid = [after > begin for begin, after in chars]
        ranges = [(bisect_left(last, token), bisect_right(first, token)) for token in range(len(word))]
        yield list(zip(numbers, first, last, solid)), ranges
