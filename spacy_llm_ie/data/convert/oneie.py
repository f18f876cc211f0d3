"""OneIE: one sentence a line with entities, relations and events; also the form of TextEE."""

from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional

from spacy.language import Language
from spacy.tokens import Doc

from ...errors import Errors
from ..build import record_to_doc
from ..fields import Fields
from ..jsonl import read_jsonl
from ..problems import Problems
from .common import PlaceT
from .tokens import Tokens

UNTYPED = "UNK"
TEXTS = ("sentence", "text")
IDS = ("doc_id", "sent_id", "wnd_id", "lang")
PIECES = ("pieces", "token_lens", "piece_idxs", "token_start_idxs", "sentence_starts")
KNOWN = ("tokens", *TEXTS, *IDS, *PIECES, "entity_mentions", "relation_mentions", "event_mentions")


def read_oneie(path: Path, nlp: Language, problems: Problems) -> Iterator[Doc]:
    """Read sentences (OneIE) or passages (TextEE) of tokens. Ends are exclusive.

    Labels are entity types, relation types and event types; subtypes and mention types are left aside. Mentions
    of the type UNK are no entities, but facts may refer to them; where a file has no others, it is not
    annotated with entities.

    path (Path): The file.
    nlp (Language): For its vocabulary.
    problems (Problems): Takes in what does not fit.
    YIELDS (Doc): One for each line. Raises ValueError (E156-E161) for lines that do not follow the format.
    """
    kinds = {
        mention.get("entity_type", str)
        for number, data in read_jsonl(path)
        for mention in Fields(data, f"{path.name}:{number}", problems).objects("entity_mentions")
    }
    for number, data in read_jsonl(path):
        where = f"{path.name}:{number}"
        record = _Sentence(Fields(data, where, problems, KNOWN), problems).record()
        if kinds == {UNTYPED}:
            record.pop("entities", None)
        yield record_to_doc(record, nlp, where=where, problems=problems)


class _Sentence:
    """Makes a record of one line.

    fields (Fields): The object of the line.
    problems (Problems): Takes in what does not fit.
    """

    def __init__(self, fields: Fields, problems: Problems) -> None:
        self.fields = fields
        self.problems = problems
        text = next((fields.get(key, str) for key in TEXTS if key in fields), None)
        self.tokens = Tokens(fields.get("tokens", list), fields.where, text)
        self.mentions: Dict[str, Optional[PlaceT]] = {}

    def record(self) -> Dict[str, Any]:
        """Put the document together. RETURNS (Dict[str, Any]): A record of our JSONL format."""
        record = self.tokens.record()
        meta = {key: self.fields.data[key] for key in IDS if key in self.fields}
        if meta:
            record["meta"] = meta
        if "entity_mentions" in self.fields:
            record["entities"] = self._entities()
        if "relation_mentions" in self.fields:
            found = [self._relation(item) for item in self.fields.objects("relation_mentions")]
            record["relations"] = [relation for relation in found if relation is not None]
        if "event_mentions" in self.fields:
            events = [self._event(item) for item in self.fields.objects("event_mentions")]
            record["events"] = [event for event in events if event is not None]
        return record

    def _entities(self) -> List[PlaceT]:
        entities = []
        for item in self.fields.objects("entity_mentions"):
            name, label = item.get("id", str, filled=True), item.get("entity_type", str, filled=True)
            if name in self.mentions:
                raise ValueError(Errors.E160.format(where=item.where, id=name, first=self.mentions[name]))
            place = self.tokens.mention(item, self.problems)
            if label == UNTYPED:
                self.problems.add("untyped", item.where)
            elif place is not None:
                place = {**place, "label": label}
                entities.append(place)
            self.mentions[name] = place
        return entities

    def _mention(self, item: Fields) -> Optional[PlaceT]:
        """The place of an argument: that of its entity, or its own."""
        name = item.get("entity_id", str, "")
        if name in self.mentions:
            return self.mentions[name]
        if "start" in item:
            return self.tokens.mention(item, self.problems)
        known = ", ".join(list(self.mentions)[:20]) or "none"
        raise ValueError(Errors.E161.format(where=item.where, id=name, known=known))

    def _relation(self, item: Fields) -> Optional[Dict[str, Any]]:
        label, arguments = item.get("relation_type", str, filled=True), item.objects("arguments")
        if len(arguments) != 2:
            problem = f"expected 2 arguments of a relation, found {len(arguments)}"
            raise ValueError(Errors.E156.format(where=item.where, problem=problem))
        if arguments[0].get("role", str, "") == "Arg-2":
            arguments.reverse()
        head, tail = map(self._mention, arguments)
        if head is None or tail is None:
            self.problems.add("relation", item.where, label)
            return None
        return {"head": head, "tail": tail, "label": label}

    def _event(self, item: Fields) -> Optional[Dict[str, Any]]:
        return self.tokens.event(item, self._mention, self.problems)
