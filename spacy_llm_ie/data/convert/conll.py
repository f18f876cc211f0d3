"""CoNLL: one token a line in columns, an empty line between sentences.

CoNLL-2003, WNUT, CrossNER, Weibo, ...
"""

import re
from pathlib import Path
from typing import Iterable, Iterator, List, NamedTuple, Optional, Sequence, Tuple

from spacy.language import Language
from spacy.tokens import Doc, Span

from ...errors import Errors
from ..build import META, TOKENS
from ..problems import Problems
from .tags import AUTO, Tagged, decode_tags, detect_scheme, scheme_name, split_tag

DOCSTART = "-DOCSTART-"


class Sentence(NamedTuple):
    """One sentence of a file.

    words (List[str]): Column 1.
    tags (List[str]): The column of the tags.
    lines (List[int]): Line number of each token, from 1.
    begins (bool): Whether a document begins here.
    """

    words: List[str]
    tags: List[str]
    lines: List[int]
    begins: bool


def read_conll(
    path: Path,
    nlp: Language,
    problems: Problems,
    *,
    column: int = -1,
    scheme: str = AUTO,
    merge: bool = False,
    n_sents: int = 1,
    strip_position: bool = False,
    no_spaces: bool = False,
    comment: str = "",
) -> Iterator[Doc]:
    """Read a file with one token a line.

    path (Path): The file, in UTF-8.
    nlp (Language): For its vocabulary.
    problems (Problems): Takes in tags that do not follow the scheme.
    column (int): Column of the tags, from 2; -1 = the last one.
    scheme (str): A labelling scheme, or "auto" to tell it from the tags of the file.
    merge (bool): One document for all sentences up to the next -DOCSTART- line, or to the end of the file.
    n_sents (int): Sentences in a document; a -DOCSTART- line begins a new one.
    strip_position (bool): Take the last character off each word, the position of the character in its word.
    no_spaces (bool): No spaces between tokens, as in Chinese. Otherwise they are marked as not known.
    comment (str): Lines that begin so are left out. "" = none: a hashtag is a token.
    YIELDS (Doc): With doc.ents, borders of sentences, and file and line in doc.user_data["meta"]. Raises
        ValueError (E156, E167, E170-E173) for lines and settings that cannot be read.
    """
    if column in (0, 1):
        expected = "2 or more (the words are in column 1), or -1 for the last one"
        raise ValueError(Errors.E167.format(name="column", expected=expected, found=column))
    if n_sents < 1 or (merge and n_sents != 1):
        expected = "1 or more" + (", and not given together with 'merge'" if merge else "")
        raise ValueError(Errors.E167.format(name="n_sents", expected=expected, found=n_sents))
    name = scheme_name(scheme)
    if name == AUTO:
        name = detect_scheme(_split_tags(path, read_sentences(path, column, comment)), path.name)
        problems.add("scheme", path.name, name)
    decoder = _Decoder(path.name, name, strip_position, problems)
    for group in _groups(read_sentences(path, column, comment), 0 if merge else n_sents):
        yield decoder.make_doc(group, nlp, no_spaces)


def read_sentences(path: Path, column: int = -1, comment: str = "") -> Iterator[Sentence]:
    """Read the words and tags of a file, sentence by sentence.

    path (Path): The file, in UTF-8.
    column (int): Column of the tags, from 2; -1 = the last one.
    comment (str): Lines that begin so are left out; "" = none.
    YIELDS (Sentence): Each has a token at least. Raises ValueError (E156, E170) for a line that cannot be
        read.
    """
    sentence = Sentence([], [], [], True)
    begins = True
    with path.open("rb") as lines:
        for number, raw in enumerate(lines, 1):
            line = _decode(raw, number, path.name)
            if comment and line.startswith(comment):
                continue
            starts_document = line.startswith(DOCSTART)
            if starts_document or not line.strip(" \t"):
                if sentence.words:
                    yield sentence
                    begins = False
                begins = begins or starts_document
                sentence = Sentence([], [], [], begins)
                continue
            word, tag = _columns(line, column, f"{path.name}:{number}")
            sentence.words.append(word)
            sentence.tags.append(tag)
            sentence.lines.append(number)
    if sentence.words:
        yield sentence


def _decode(raw: bytes, number: int, name: str) -> str:
    try:
        line = raw.decode("utf-8-sig" if number == 1 else "utf8")
    except UnicodeDecodeError as error:
        problem = f"not UTF-8 (byte {error.start} of the line). Save the file in UTF-8"
        raise ValueError(Errors.E156.format(where=f"{name}:{number}", problem=problem)) from None
    return line.rstrip("\r\n")


def _columns(line: str, column: int, where: str) -> Tuple[str, str]:
    columns = line.rstrip("\t ").split("\t") if "\t" in line else re.split(" +", line.strip(" "))
    index = column if column < 0 else column - 1
    if not 1 <= (index + len(columns) if index < 0 else index) < len(columns):
        shown = "-1 (the last)" if column == -1 else column
        raise ValueError(Errors.E170.format(where=where, count=len(columns), line=line, column=shown))
    word = columns[0].strip(" ") or columns[0]
    if not word:
        raise ValueError(Errors.E156.format(where=where, problem=f"the word in column 1 is empty: {line!r}"))
    return word, columns[index].strip(" ")


def _split_tags(path: Path, sentences: Iterable[Sentence]) -> Iterator[List[Tuple[str, str]]]:
    for sentence in sentences:
        lines = zip(sentence.tags, sentence.lines)
        yield [split_tag(tag, f"{path.name}:{line}") for tag, line in lines]


def _groups(sentences: Iterable[Sentence], size: int) -> Iterator[List[Sentence]]:
    """Put sentences together: `size` of them (0 = all) up to the next beginning of a document."""
    group: List[Sentence] = []
    for sentence in sentences:
        if group and (sentence.begins or len(group) == size):
            yield group
            group = []
        group.append(sentence)
    if group:
        yield group


class _Decoder:
    """Makes documents of the sentences of one file.

    name (str): Name of the file, for messages.
    scheme (str): Scheme of its tags.
    strip_position (bool): Whether words end in their position.
    problems (Problems): Takes in repaired tags.
    """

    def __init__(self, name: str, scheme: str, strip_position: bool, problems: Problems) -> None:
        self.name = name
        self.scheme = scheme
        self.strip_position = strip_position
        self.problems = problems

    def make_doc(self, sentences: Sequence[Sentence], nlp: Language, no_spaces: bool) -> Doc:
        """RETURNS (Doc): One document of these sentences, with entities and sentence borders."""
        words = [self._word(w, line) for s in sentences for w, line in zip(s.words, s.lines)]
        starts = [i == 0 for sentence in sentences for i in range(len(sentence.words))]
        spaces: Optional[List[bool]] = [False] * len(words) if no_spaces else None
        doc = Doc(nlp.vocab, words=words, spaces=spaces, sent_starts=starts)
        entities: List[Span] = []
        missing: List[Span] = []
        offset = 0
        for sentence in sentences:
            tagged = self._tagged(sentence)
            entities += [Span(doc, a + offset, b + offset, label=label) for a, b, label in tagged.spans]
            missing += [doc[i + offset : i + offset + 1] for i in tagged.missing]
            offset += len(sentence.words)
        doc.set_ents(entities, missing=missing, default="outside")
        doc.user_data[TOKENS] = True
        doc.user_data[META] = {"source": f"{self.name}:{sentences[0].lines[0]}"}
        return doc

    def _word(self, word: str, line: int) -> str:
        if not self.strip_position:
            return word
        if len(word) < 2 or word[-1] not in "0123456789":
            raise ValueError(Errors.E173.format(where=f"{self.name}:{line}", word=word))
        return word[:-1]

    def _tagged(self, sentence: Sentence) -> Tagged:
        pairs = zip(sentence.tags, sentence.lines)
        tags = [split_tag(tag, f"{self.name}:{line}", self.scheme) for tag, line in pairs]
        tagged = decode_tags(tags, self.scheme)
        for index, message in tagged.repairs:
            self.problems.add("repaired", f"{self.name}:{sentence.lines[index]}", message)
        return tagged
