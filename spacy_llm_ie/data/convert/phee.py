"""PHEE: adverse and therapeutic events in sentences about drugs, with arguments and their parts."""

from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional

from spacy.language import Language
from spacy.tokens import Doc

from ...errors import Errors
from ..build import record_to_doc
from ..fields import Fields, describe
from ..jsonl import read_jsonl
from ..problems import Problems
from .common import PlaceT, compare_words

TOP = ("id", "context", "is_mult_event", "annotations")
SPAN = ("text", "start", "entity_id", "value")
EVENT = ("event_id", "event_type", "Trigger")
ATTRIBUTES = ("Severity", "Negated", "Speculated")


def read_phee(path: Path, nlp: Language, problems: Problems, *, main_arguments: bool = False) -> Iterator[Doc]:
    """Read sentences with events. Arguments are spans of the text, and not entities.

    A part of an argument has the role of the whole in front: "Treatment.Drug". Each piece of a discontinuous
    argument is an argument of its own (so do the published counts), and is counted. Attributes (Severity,
    Negated, Speculated) and the triggers of combinations are counted, not read.

    path (Path): The file.
    nlp (Language): Tokenizer and vocabulary.
    problems (Problems): Takes in what does not fit.
    main_arguments (bool): Subject, Treatment and Effect only, without their parts.
    YIELDS (Doc): With events; not annotated with entities or relations. Raises ValueError (E156-E158) for
        lines that do not follow the format.
    """
    for number, data in read_jsonl(path):
        fields = Fields(data, f"{path.name}:{number}", problems, TOP)
        annotations = fields.objects("annotations")
        if len(annotations) > 1:
            count = len(annotations) - 1
            problems.add("extra", fields.where, f"{count + 1} annotations", count=count)
        reader = _Sentence(fields, problems, main_arguments)
        record: Dict[str, Any] = {"text": reader.text, "meta": {"id": fields.get("id", str, "")}}
        if annotations:
            events = [reader.event(item) for item in annotations[0].objects("events")]
            record["events"] = [event for event in events if event is not None]
        yield record_to_doc(record, nlp, where=fields.where, problems=problems)


class _Sentence:
    """Reads the events of one sentence.

    fields (Fields): The line.
    problems (Problems): Takes in what does not fit.
    main_arguments (bool): Leave out the parts of arguments.
    """

    def __init__(self, fields: Fields, problems: Problems, main_arguments: bool) -> None:
        self.text: str = fields.get("context", str)
        self.problems = problems
        self.main_arguments = main_arguments

    def event(self, item: Fields) -> Optional[Dict[str, Any]]:
        """Read one event. RETURNS (Optional[Dict[str, Any]]): As in our JSONL; None without a usable trigger, which is counted."""
        label = item.get("event_type", str, filled=True)
        triggers = self._spans(item.object("Trigger"))
        if len(triggers) != 1 or len(triggers[0]) != 1:
            if triggers:
                self.problems.add("discontinuous", item.where, f"trigger of {label}")
            self.problems.add("event", item.where, label)
            return None
        arguments: List[Dict[str, Any]] = []
        for name in item.data:
            if name in ATTRIBUTES:
                self.problems.add("beyond", item.where, name)
            elif name not in EVENT:
                arguments += self._argument(item.object(name), name)
        return {"trigger": triggers[0][0], "label": label, "arguments": arguments}

    def _argument(self, item: Fields, role: str) -> List[Dict[str, Any]]:
        """The spans of an argument and, under them, its parts."""
        found: List[Dict[str, Any]] = []
        for pieces in self._spans(item):
            if len(pieces) > 1:
                self.problems.add("pieces", item.where, role)
            found += [{"role": role, **piece} for piece in pieces]
        for name, value in item.data.items():
            if name in SPAN or self.main_arguments:
                continue
            if isinstance(value, list):
                for part in item.objects(name):
                    self.problems.add("beyond", part.where, f"trigger of {name}")
                    found += self._members(part, f"{role}.{name}")
            else:
                found += self._argument(item.object(name), f"{role}.{name}")
        return found

    def _members(self, item: Fields, role: str) -> List[Dict[str, Any]]:
        names = [name for name in item.data if name not in EVENT]
        return [found for name in names for found in self._argument(item.object(name), f"{role}.{name}")]

    def _spans(self, item: Fields) -> List[List[PlaceT]]:
        """RETURNS (List[List[PlaceT]]): The pieces of each span whose words fit."""
        texts, starts = item.get("text", list), item.get("start", list)
        if not _same_shape(texts, starts):
            expected, found = "lists of pieces, and 'start' the same shape with numbers", describe(texts)
            raise ValueError(Errors.E157.format(where=item.where, key="text", expected=expected, found=found))
        spans = []
        for words, numbers in zip(texts, starts):
            pieces = [self._piece(word, start, item.where) for word, start in zip(words, numbers)]
            spans.append([piece for piece in pieces if piece is not None])
        return [pieces for pieces in spans if pieces]

    def _piece(self, words: str, start: int, where: str) -> Optional[PlaceT]:
        place = {"start": start, "end": start + len(words)}
        return compare_words(self.text, place, words, where=where, problems=self.problems)


def _same_shape(texts: List[Any], starts: List[Any]) -> bool:
    if len(texts) != len(starts) or not all(isinstance(item, list) for item in (*texts, *starts)):
        return False
    pairs = [pair for words, numbers in zip(texts, starts) for pair in zip(words, numbers)]
    same = all(len(words) == len(numbers) for words, numbers in zip(texts, starts))
    return same and all(isinstance(word, str) and type(start) is int for word, start in pairs)
