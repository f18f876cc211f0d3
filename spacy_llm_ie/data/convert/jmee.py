"""JMEE: JSON lists of sentences with entities and events, as nlpcl-lab's preprocessing writes ACE 2005."""

from pathlib import Path
from typing import Any, Dict, Iterator, Optional, Tuple

from spacy.language import Language
from spacy.tokens import Doc

from ..build import record_to_doc
from ..fields import Fields
from ..problems import Problems
from .common import PlaceT, read_list
from .tokens import Tokens

ENTITIES = "golden-entity-mentions"
EVENTS = "golden-event-mentions"
PARSES = ("pos-tags", "lemma", "parse", "stanford-colcc", "conll-head", "chunk", "ner", "dep")


def read_jmee(path: Path, nlp: Language, problems: Problems) -> Iterator[Doc]:
    """Read sentences of words. Ends are exclusive.

    Entities are the heads of the mentions, as in the ACE literature, and arguments the heads of the entities
    that they name; the label is the type without the subtype ("ORG:Commercial" is ORG). Parses are counted,
    not read.

    path (Path): The file.
    nlp (Language): For its vocabulary.
    problems (Problems): Takes in what does not fit.
    YIELDS (Doc): One for each sentence; not annotated with relations. Raises ValueError (E156-E158, E174) if
        the file does not follow the format.
    """
    for where, data in read_list(path, "JSON list of sentences"):
        fields = Fields(data, where, problems, ())
        for key in data:
            if key in PARSES:
                problems.add("beyond", where, key)
            elif key not in ("sentence", "words", ENTITIES, EVENTS):
                problems.add("unknown_key", where, repr(key))
        record = _Sentence(fields, problems).record()
        yield record_to_doc(record, nlp, where=where, problems=problems)


class _Sentence:
    """Makes a record of one sentence.

    fields (Fields): Its object.
    problems (Problems): Takes in what does not fit.
    """

    def __init__(self, fields: Fields, problems: Problems) -> None:
        self.fields = fields
        self.problems = problems
        self.tokens = Tokens(fields.get("words", list), fields.where, fields.get("sentence", str, None))
        self.heads: Dict[Tuple[int, int, str], Optional[PlaceT]] = {}

    def record(self) -> Dict[str, Any]:
        """Put the document together. RETURNS (Dict[str, Any]): A record of our JSONL format."""
        record = self.tokens.record()
        if ENTITIES in self.fields:
            found = [self._entity(item) for item in self.fields.objects(ENTITIES)]
            record["entities"] = [entity for entity in found if entity is not None]
        if EVENTS in self.fields:
            events = [self._event(item) for item in self.fields.objects(EVENTS)]
            record["events"] = [event for event in events if event is not None]
        return record

    def _entity(self, item: Fields) -> Optional[PlaceT]:
        label = item.get("entity-type", str, filled=True).partition(":")[0]
        place = self.tokens.mention(item.object("head") if "head" in item else item, self.problems)
        entity = None if place is None else {**place, "label": label}
        self.heads.setdefault((item.get("start", int), item.get("end", int), label), entity)
        return entity

    def _event(self, item: Fields) -> Optional[Dict[str, Any]]:
        return self.tokens.event(item, self._argument, self.problems)

    def _argument(self, item: Fields) -> Optional[PlaceT]:
        """The head of the entity with the extent of an argument; the extent itself if there is none."""
        label = item.get("entity-type", str, "").partition(":")[0]
        key = (item.get("start", int), item.get("end", int), label)
        return self.heads[key] if key in self.heads else self.tokens.mention(item, self.problems)
