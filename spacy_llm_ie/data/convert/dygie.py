"""DyGIE++: one document a line, as SciERC comes and as DyGIE++ writes ACE 2005, with events."""

from collections import defaultdict
from pathlib import Path
from typing import Any, Dict, Iterator, List, Tuple

from spacy.language import Language
from spacy.tokens import Doc

from ...errors import Errors
from ..build import record_to_doc
from ..fields import Fields, describe
from ..jsonl import read_jsonl
from ..problems import Problems
from .tokens import PlaceT, Tokens

COREFERENCE = ("clusters", "event_clusters")
KNOWN = ("doc_key", "dataset", "sentences", "ner", "relations", "events", *COREFERENCE, "weight", "_sentence_start")
ENTITY = ([int, int, str],)
RELATION = ([int, int, int, int, str],)
TRIGGER = ([int, str], [int, int, str])
EXPECTED = {
    "ner": "[start, end, label]",
    "relations": "[start, end, start, end, label]",
    "events": "[[token, type], [start, end, role], ...]",
}


def read_dygie(path: Path, nlp: Language, problems: Problems) -> Iterator[Doc]:
    """Read documents of sentences of tokens. Token numbers count in the document, and ends are inclusive.

    Coreference is counted, not read. It is not known where spaces were.

    path (Path): The file.
    nlp (Language): For its vocabulary.
    problems (Problems): Takes in what does not fit.
    YIELDS (Doc): The documents, with sentences. Raises ValueError (E156-E158) for those that do not follow
        the format.
    """
    for number, data in read_jsonl(path):
        where = f"{path.name}:{number}"
        record = _Document(Fields(data, where, problems, KNOWN)).record()
        yield record_to_doc(record, nlp, where=where, problems=problems)


class _Document:
    """Makes a record of one line.

    fields (Fields): The object of the line.
    """

    def __init__(self, fields: Fields) -> None:
        self.fields = fields
        sentences = fields.get("sentences", list)
        for number, words in enumerate(sentences):
            if not isinstance(words, list) or not words:
                self._refuse(fields.where, f"sentences[{number}]", "a list of tokens, not empty", words)
        self.lengths = [len(words) for words in sentences]
        self.tokens = Tokens([word for words in sentences for word in words], fields.where)
        self.labels: Dict[Tuple[int, int], List[str]] = defaultdict(list)

    def record(self) -> Dict[str, Any]:
        """Put the document together. RETURNS (Dict[str, Any]): A record of our JSONL format."""
        record = self.tokens.record()
        record["sentences"] = self._sentences()
        meta = {key: self.fields.get(key, str) for key in ("doc_key", "dataset") if key in self.fields}
        if meta:
            record["meta"] = meta
        if "ner" in self.fields:
            record["entities"] = [self._entity(where, *item) for where, item in self._items("ner")]
        if "relations" in self.fields:
            record["relations"] = [self._relation(where, *item) for where, item in self._items("relations")]
        if "events" in self.fields:
            record["events"] = [self._event(where, item) for where, item in self._items("events")]
        for key in COREFERENCE:
            if self.fields.get(key, list, []):
                count = len(self.fields.get(key, list))
                self.fields.problems.add("beyond", self.fields.where, f"{count} {key}", count=count)
        return record

    def _sentences(self) -> List[PlaceT]:
        places, position = [], 0
        for length in self.lengths:
            places.append(self.tokens.place(position, position + length, self.fields.where))
            position += length
        return places

    def _items(self, key: str) -> Iterator[Tuple[str, List[Any]]]:
        """YIELDS (Tuple[str, List[Any]]): Place, for messages, and item of all sentences; shapes are checked."""
        groups = self.fields.get(key, list)
        if len(groups) != len(self.lengths):
            expected = f"one list for each of the {len(self.lengths)} sentences"
            self._refuse(self.fields.where, key, expected, f"{len(groups)} lists")
        for first, group in enumerate(groups):
            if not isinstance(group, list):
                self._refuse(self.fields.where, f"{key}[{first}]", "a list", group)
            for second, item in enumerate(group):
                if not _fits(key, item):
                    self._refuse(self.fields.where, f"{key}[{first}][{second}]", EXPECTED[key], item)
                yield f"{self.fields.where}, {key}[{first}][{second}]", item

    def _refuse(self, where: str, key: str, expected: str, found: Any) -> None:
        raise ValueError(Errors.E157.format(where=where, key=key, expected=expected, found=describe(found)))

    def _entity(self, where: str, start: int, end: int, label: str) -> PlaceT:
        self.labels[start, end].append(label)
        return {**self.tokens.place(start, end + 1, where), "label": label}

    def _end(self, where: str, start: int, end: int) -> PlaceT:
        """The place of a span, with its label if it is an entity."""
        labels = self.labels.get((start, end), [])
        if len(set(labels)) > 1:
            self.fields.problems.add("ambiguous", where, f"tokens {start} to {end}: {', '.join(labels)}")
        place = self.tokens.place(start, end + 1, where)
        return {**place, "label": labels[0]} if labels else place

    def _relation(self, where: str, start: int, end: int, start2: int, end2: int, label: str) -> Dict[str, Any]:
        return {"head": self._end(where, start, end), "tail": self._end(where, start2, end2), "label": label}

    def _event(self, where: str, item: List[Any]) -> Dict[str, Any]:
        *span, label = item[0]
        arguments = [{"role": role, **self._end(where, start, end)} for start, end, role in item[1:]]
        return {"trigger": self.tokens.place(span[0], span[-1] + 1, where), "label": label, "arguments": arguments}


def _fits(key: str, item: Any) -> bool:
    if not isinstance(item, list) or not item:
        return False
    if key != "events":
        return [type(value) for value in item] in (ENTITY if key == "ner" else RELATION)
    if not all(isinstance(part, list) for part in item):
        return False
    shapes = [[type(value) for value in part] for part in item]
    return shapes[0] in TRIGGER and all(shape in ENTITY for shape in shapes[1:])
