"""`doc.to_json()` with relations and events: one plain dictionary, and back.

What spaCy writes stays as it is. Added are, where the document has them:

    "relations":  [{"head": PLACE, "tail": PLACE, "label": "owns", "score": 0.9}, ...]
    "events":     [{"trigger": PLACE, "label": "acquisition", "score": 0.8,
                    "arguments": [{"role": "buyer", "span": PLACE, "score": 0.7}, ...]}, ...]
    "scores":     [{"start": 0, "end": 5, "label": "ORG", "score": 0.95}, ...]   ent._.score
    "missing":    [{"start": 10, "end": 15}, ...]           not known whether there are entities
    "span_attrs": {"ie_ner": {"scores": [0.9, 0.1]}, ...}   doc.spans[...].attrs

    PLACE: {"start": 0, "end": 5, "token_start": 0, "token_end": 1, "label": "ORG"}

and "kb_id" and "id" in a place, an entity ("ents") or a span ("spans") that has them. Offsets are characters
and tokens, ends exclusive. Absent key: not annotated. Empty list: annotated, there are none.
"""

import copy
import json
from itertools import zip_longest
from typing import Any, Dict, Iterable, List, Optional

from spacy.tokens import Doc, Span
from spacy.util import get_words_and_spaces
from spacy.vocab import Vocab

from ..annotations import (
    EVENTS,
    RELATIONS,
    Argument,
    Event,
    Relation,
    get_events,
    get_relations,
    is_annotated,
    refresh_spans,
    set_events,
    set_relations,
)
from ..errors import Errors
from ..ner.scores import get_score, set_scores
from .fields import Fields, describe
from .jsonl import missing_records
from .problems import Problems

OWN = {"relations": (Doc, get_relations), "events": (Doc, get_events), "score": (Span, get_score)}


def doc_to_json(doc: Doc, underscore: Optional[List[str]] = None) -> Dict[str, Any]:
    """Turn a document into a dictionary for JSON: `doc.to_json()` with relations, events and scores.

    The keys are in the description of this module. The groups "ie_relations" and "ie_events" are not under
    "spans", since "relations" and "events" say it all.

    doc (Doc): The document. Only span groups whose tokens were merged or split are brought up to date, as
        `refresh_spans` does it, since spaCy cannot write them otherwise.
    underscore (Optional[List[str]]): Names of custom attributes to write, as in `doc.to_json()`. Those of this
        package ("relations", "events", "score") may be among them, and have their own keys in any case.
    RETURNS (Dict[str, Any]): Takes no more than `json.dumps` to write. Raises ValueError (E187) for attrs of a
        span group that JSON cannot hold.
    """
    refresh_spans(doc)
    data = doc.to_json(underscore=[name for name in underscore or () if not _is_own(name)])
    if "cats" in data:
        data["cats"] = dict(data["cats"])
    groups = {key: group for key, group in doc.spans.items() if key not in (RELATIONS, EVENTS)}
    data["spans"] = {key: _detailed(data["spans"][key], group) for key, group in groups.items()}
    data["span_attrs"] = {key: _plain(key, group.attrs) for key, group in groups.items() if group.attrs}
    data["scores"] = _score_records([doc.ents, *groups.values()])
    if is_annotated(doc, "entities"):
        data["ents"] = _detailed(data["ents"], doc.ents)
        data["missing"] = missing_records(doc)
    for key in ("spans", "span_attrs", "scores", "missing"):
        if not data.get(key):
            data.pop(key, None)
    if is_annotated(doc, "relations"):
        data["relations"] = [_relation_record(relation) for relation in get_relations(doc)]
    if is_annotated(doc, "events"):
        data["events"] = [_event_record(event) for event in get_events(doc)]
    return data


def json_to_doc(vocab: Vocab, data: Dict[str, Any]) -> Doc:
    """Make a document from a dictionary that `doc_to_json` (or `doc.to_json()`) has made.

    vocab (Vocab): The vocabulary of the new document.
    data (Dict[str, Any]): The dictionary, not modified. Token offsets may be left out of it.
    RETURNS (Doc): With the same entities, scores, relations and events, and whatever else `Doc.from_json`
        reads. Raises ValueError (E157-E159, E185) for a place that is not in the document or does not fall on
        its tokens, and (E186) for tokens that spaCy would not make again.
    """
    fields = Fields(data, "JSON document", Problems())
    own = ("relations", "events", "scores", "missing", "span_attrs")
    rest = {key: value for key, value in data.items() if key not in own}
    _check_tokens(fields)
    doc = Doc(vocab).from_json({**rest, "cats": dict(rest.get("cats", {}))})
    reader = _Reader(doc, fields)
    reader.set_entities()
    reader.set_groups()
    reader.set_facts()
    return doc


def _is_own(name: str) -> bool:
    """Whether a custom attribute is the one that this package has registered, and not somebody else's."""
    if name not in OWN:
        return False
    kind, getter = OWN[name]
    return kind.has_extension(name) and kind.get_extension(name)[2] is getter


def _detailed(records: List[Dict[str, Any]], spans: Iterable[Span]) -> List[Dict[str, Any]]:
    """Records of spans as spaCy writes them, with the ids that it leaves out."""
    return [{**record, **_ids(span)} for record, span in zip(records, spans)]


def _ids(span: Span) -> Dict[str, str]:
    return {key: value for key, value in (("kb_id", span.kb_id_), ("id", span.id_)) if value}


def _plain(group: str, attrs: Dict[str, Any]) -> Dict[str, Any]:
    """A copy of the attrs of a span group in the types that JSON has; arrays become lists."""
    plain = {}
    for key, value in attrs.items():
        try:
            plain[key] = json.loads(json.dumps(value, allow_nan=False, default=_listed))
        except (TypeError, ValueError):
            raise ValueError(Errors.E187.format(group=group, key=key, found=describe(value))) from None
    return plain


def _listed(value: Any) -> Any:
    if not hasattr(value, "tolist"):
        raise TypeError(type(value))
    return value.tolist()


def _score_records(groups: Iterable[Iterable[Span]]) -> List[Dict[str, Any]]:
    """The scores of the spans of all groups, each once."""
    records = {}
    for span in (span for group in groups for span in group):
        score = get_score(span)
        if score is not None:
            place = {"start": span.start_char, "end": span.end_char, "label": span.label_}
            records[tuple(place.values())] = {**place, "score": score}
    return list(records.values())


def _place_record(span: Span) -> Dict[str, Any]:
    place = {"start": span.start_char, "end": span.end_char, "token_start": span.start, "token_end": span.end}
    return {**place, "label": span.label_, **_ids(span)}


def _relation_record(relation: Relation) -> Dict[str, Any]:
    ends = {"head": _place_record(relation.head), "tail": _place_record(relation.tail)}
    return {**ends, "label": relation.label, "score": relation.score}


def _event_record(event: Event) -> Dict[str, Any]:
    arguments = [{"role": a.role, "span": _place_record(a.span), "score": a.score} for a in event.arguments]
    trigger = _place_record(event.trigger)
    return {"trigger": trigger, "label": event.label, "score": event.score, "arguments": arguments}


def _check_tokens(fields: Fields) -> None:
    """Raise ValueError (E186) where Doc.from_json would stop without a message."""
    text = fields.get("text", str)
    words = [text[token.get("start", int) : token.get("end", int)] for token in fields.objects("tokens")]
    for found, expected in zip_longest(get_words_and_spaces(words, text)[0], words):
        if found != expected:
            raise ValueError(Errors.E186.format(found=repr(found), expected=repr(expected)))


class _Reader:
    """Reads what Doc.from_json does not.

    doc (Doc): The document as spaCy has read it, modified.
    fields (Fields): The dictionary.
    """

    def __init__(self, doc: Doc, fields: Fields) -> None:
        self.doc = doc
        self.text = doc.text
        self.fields = fields

    def place(self, fields: Fields) -> Span:
        """RETURNS (Span): The span at a place. Raises ValueError (E157-E159, E185) if there is none."""
        start, end = fields.offsets(self.text)
        label, kb_id, name = (fields.get(key, str, "") for key in ("label", "kb_id", "id"))
        span = self.doc.char_span(start, end, label=label, kb_id=kb_id, span_id=name)
        if span is None:
            raise self._misplaced(fields, start, end, "whole tokens")
        given = fields.get("token_start", int, span.start), fields.get("token_end", int, span.end)
        if given != (span.start, span.end):
            expected = "the tokens {} to {} that token_start and token_end name".format(*given)
            raise self._misplaced(fields, start, end, expected)
        return span

    def _misplaced(self, fields: Fields, start: int, end: int, expected: str) -> ValueError:
        touched = [token for token in self.doc if token.idx < end and token.idx + len(token) > start]
        around = " | ".join(f"{token.i} {token.text!r}" for token in touched[:20]) or "none"
        place = {"start": start, "end": end, "text": self.text[start:end]}
        return ValueError(Errors.E185.format(where=fields.where, **place, expected=expected, around=around))

    def set_entities(self) -> None:
        """Write doc.ents anew, where something is missing or an entity has ids."""
        records = self.fields.objects("ents")
        details = any("kb_id" in record or "id" in record for record in records)
        if "ents" in self.fields and ("missing" in self.fields or details):
            missing = [self.place(record) for record in self.fields.objects("missing")]
            self.doc.set_ents([self.place(record) for record in records], missing=missing, default="outside")

    def set_groups(self) -> None:
        """Give span groups their ids and attrs."""
        for key, group in self.doc.spans.items():
            for number, record in enumerate(self.fields.object("spans").objects(key)):
                if "id" in record:
                    group[number] = self.place(record)
        if "span_attrs" in self.fields:
            attrs = self.fields.object("span_attrs")
            for key in attrs.data:
                group = self.doc.spans.setdefault(key, [])
                group.attrs.update(copy.deepcopy(attrs.get(key, dict)))

    def set_facts(self) -> None:
        """Write scores, relations and events."""
        records = self.fields.objects("scores")
        set_scores(self.doc, [(self.place(record), record.get("score", float)) for record in records], ())
        if "relations" in self.fields:
            set_relations(self.doc, [self.relation(record) for record in self.fields.objects("relations")])
        if "events" in self.fields:
            set_events(self.doc, [self.event(record) for record in self.fields.objects("events")])

    def relation(self, fields: Fields) -> Relation:
        """RETURNS (Relation): The relation of a record."""
        head, tail = self.place(fields.object("head")), self.place(fields.object("tail"))
        return Relation(head, tail, fields.get("label", str, filled=True), _score(fields))

    def event(self, fields: Fields) -> Event:
        """RETURNS (Event): The event of a record."""
        trigger, label = self.place(fields.object("trigger")), fields.get("label", str, filled=True)
        arguments = [
            Argument(record.get("role", str, filled=True), self.place(record.object("span")), _score(record))
            for record in fields.objects("arguments")
        ]
        return Event(trigger, label, _score(fields), tuple(arguments))


def _score(fields: Fields) -> float:
    return float(fields.get("score", float, 1.0))
