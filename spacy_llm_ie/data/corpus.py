"""The reader spacy-llm-ie.Corpus.v1: like spacy.Corpus.v1, and keeps relations and events."""

import random
import warnings
from pathlib import Path
from typing import Any, Callable, Dict, Iterable, Iterator, List, Optional, Sequence, Set, Tuple, Union

from spacy.language import Language
from spacy.tokens import Doc, DocBin, Span, SpanGroup
from spacy.training import Example

from ..annotations import ENTITIES, EVENTS, LAYERS, RELATIONS, is_annotated
from ..errors import Errors, Warnings
from .files import find_files
from .given import check_layers, give
from .jsonl import read_jsonl, record_to_doc
from .problems import Problems
from .split import split_doc

GROUPS = (ENTITIES, RELATIONS, EVENTS)


def create_corpus_v1(
    path: Optional[Union[str, Path]],
    max_length: int = 0,
    limit: int = 0,
    augmenter: Optional[Callable[[Language, Example], Iterable[Example]]] = None,
    shuffle: bool = False,
    seed: int = 0,
    given: Sequence[str] = (),
) -> Callable[[Language], Iterable[Example]]:
    """Create the reader "spacy-llm-ie.Corpus.v1".

    path (Optional[Union[str, Path]]): A .spacy file, a .jsonl file in our format, or a folder of these.
    max_length (int): Longer documents are split, at the borders of sentences where they are known. In tokens;
        0 = no limit.
    limit (int): Read the first documents only, counted before they are split. 0 = all.
    augmenter (Optional[Callable]): As in spacy.Corpus.v1, for instance spacy.lower_case.v1.
    shuffle (bool): Whether to bring the documents into another order each time the corpus is read.
    seed (int): Where the order of `shuffle` starts: the same seed, the same sequence of orders.
    given (Sequence[str]): What the predicted documents have from the start: "sentences", the borders of the reference; "entities",
        the gold ones; "triggers", the gold events without their arguments. To train relations alone, or to score them without
        the errors of the components before.
    RETURNS (Callable[[Language], Iterable[Example]]): The corpus. Raises ValueError (E164, E167) for settings
        that cannot be used.
    """
    return Corpus(path, max_length=max_length, limit=limit, augmenter=augmenter, shuffle=shuffle, seed=seed, given=given)


def annotation(doc: Doc) -> Set[str]:
    """What a document is annotated with. What it is not annotated with is missing, not negative.

    doc (Doc): The document.
    RETURNS (Set[str]): Any of "entities", "relations", "events".
    """
    return {layer for layer in LAYERS if is_annotated(doc, layer)}


class Corpus:
    """Examples from .spacy files and .jsonl files, with their entities, relations and events.

    The predicted document is made anew from the text, as spacy.Corpus does it, so that a pipeline meets its
    own tokens in training; the example aligns them with those of the reference. Where the spaces between the
    tokens are not known (CoNLL files), there is no text to tokenize, and it has the tokens of the reference.

    Arguments as in `create_corpus_v1`.
    """

    def __init__(
        self,
        path: Optional[Union[str, Path]],
        *,
        max_length: int = 0,
        limit: int = 0,
        augmenter: Optional[Callable[[Language, Example], Iterable[Example]]] = None,
        shuffle: bool = False,
        seed: int = 0,
        given: Sequence[str] = (),
    ) -> None:
        if path is None:
            raise ValueError(Errors.E164)
        for name, value in (("max_length", max_length), ("limit", limit)):
            if value < 0:
                raise ValueError(Errors.E167.format(name=name, expected="0 (no limit) or more", found=value))
        self.path = Path(path)
        self.max_length = max_length
        self.limit = limit
        self.augmenter = augmenter
        self.shuffle = shuffle
        self.given = check_layers(given)
        self._random = random.Random(seed)
        self._told = False

    def __call__(self, nlp: Language) -> Iterator[Example]:
        """Read the corpus once.

        nlp (Language): The pipeline, for its tokenizer and vocabulary.
        YIELDS (Example): The examples. At the end of the first pass a warning (W152) sums up what did not
            come through. Raises ValueError (E165, E166, E174 and those of the JSONL format) for files that
            cannot be read.
        """
        problems = Problems()
        docs: Iterable[Tuple[str, Doc]] = self._read(nlp, problems)
        if self.shuffle:
            docs = list(docs)
            self._random.shuffle(docs)
        for where, doc in docs:
            for piece in split_doc(doc, self.max_length or len(doc), where=where, problems=problems):
                for example in self._examples(nlp, piece, where, problems):
                    give(example, self.given, where, problems)
                    yield example
        if problems.total and not self._told:
            self._told = True
            summary = problems.render()
            warnings.warn(Warnings.W152.format(path=self.path, count=problems.total, summary=summary), stacklevel=2)

    def _read(self, nlp: Language, problems: Problems) -> Iterator[Tuple[str, Doc]]:
        """Yield the documents that have tokens, up to the limit, each with the place where it stands."""
        count = 0
        for path in find_files(self.path, tuple(READERS)):
            for where, doc in READERS[path.suffix](path, nlp, problems):
                if not len(doc):
                    problems.add("empty", where)
                    continue
                yield where, doc
                count += 1
                if count == self.limit:
                    return

    def _examples(self, nlp: Language, doc: Doc, where: str, problems: Problems) -> Iterator[Example]:
        if self.augmenter is None:
            yield _example(nlp, doc)
            return
        groups = {key: doc.spans.pop(key) for key in GROUPS if key in doc.spans}
        for example in self.augmenter(nlp, _example(nlp, doc)):
            _restore(groups, doc, example.reference, where, problems)
            yield example


def read_records(path: Path, nlp: Language, problems: Problems) -> Iterator[Tuple[str, Doc]]:
    """Read a file in our JSONL format.

    path (Path): The file.
    nlp (Language): Tokenizer and vocabulary.
    problems (Problems): Takes in what does not fit.
    YIELDS (Tuple[str, Doc]): Where the document stands, and the document. Raises ValueError (E156-E163) for
        records that do not follow the format.
    """
    for number, record in read_jsonl(path):
        where = f"{path.name}:{number}"
        yield where, record_to_doc(record, nlp, where=where, problems=problems)


def read_docbin(path: Path, nlp: Language, problems: Problems) -> Iterator[Tuple[str, Doc]]:
    """Read a .spacy file.

    path (Path): The file.
    nlp (Language): For its vocabulary.
    problems (Problems): Not used; as in `read_records`.
    YIELDS (Tuple[str, Doc]): Where the document stands, and the document. Raises ValueError (E174) if the
        file cannot be read.
    """
    try:
        docbin = DocBin().from_disk(path)
    except (ValueError, KeyError, TypeError) as error:
        problem = error or type(error).__name__
        raise ValueError(Errors.E174.format(path=path, expected="a .spacy file", problem=problem)) from None
    for number, doc in enumerate(docbin.get_docs(nlp.vocab), 1):
        yield f"{path.name}, document {number}", doc


READERS = {".spacy": read_docbin, ".jsonl": read_records}


def _example(nlp: Language, reference: Doc) -> Example:
    if not reference.has_unknown_spaces:
        return Example(nlp.make_doc(reference.text), reference)
    words = [token.text for token in reference]
    return Example(Doc(nlp.vocab, words=words), reference)


def _restore(groups: Dict[str, SpanGroup], doc: Doc, reference: Doc, where: str, problems: Problems) -> None:
    """Put the facts back onto a document that an augmenter may have made anew.

    spaCy's augmenters know neither the attrs of span groups nor their characters once the text has changed,
    so the groups were taken off before. Tokens correspond by their number, leaving whitespace aside.

    groups (Dict[str, SpanGroup]): The groups of the original.
    doc (Doc): The original, which owns the spans of the groups.
    reference (Doc): The document to write on; may be the original.
    where (str): Which document it is, for messages.
    problems (Problems): Takes in groups that cannot be put back.
    """
    index = _token_index(doc, reference)
    for key, group in groups.items():
        spans = [_mapped(span, reference, index) for span in group]
        kept = [span for span in spans if span is not None]
        if len(kept) == len(spans):
            reference.spans[key] = SpanGroup(reference, name=key, spans=kept, attrs=dict(group.attrs))
        else:
            problems.add("augmented", where, key)


def _token_index(doc: Doc, other: Doc) -> Dict[int, int]:
    """RETURNS (Dict[int, int]): For tokens of `doc` that are no whitespace, their index in `other`."""
    if len(doc) == len(other):
        return {i: i for i in range(len(doc))}
    ours: List[int] = [token.i for token in doc if not token.is_space]
    theirs: List[int] = [token.i for token in other if not token.is_space]
    return dict(zip(ours, theirs)) if len(ours) == len(theirs) else {}


def _mapped(span: Span, doc: Doc, index: Dict[int, int]) -> Optional[Span]:
    if span.start not in index or span.end - 1 not in index:
        return None
    places: Dict[str, Any] = {"start": index[span.start], "end": index[span.end - 1] + 1}
    return Span(doc, **places, label=span.label, kb_id=span.kb_id, span_id=span.id)
