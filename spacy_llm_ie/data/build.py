"""Builds documents from records of the JSONL format.

Converters make records of their formats and come here.
"""

import re
import warnings
from bisect import bisect_left, bisect_right
from typing import Any, Callable, Dict, List, Optional, Set, Tuple, Union

from spacy import util
from spacy.language import Language
from spacy.tokens import Doc, Span, SpanGroup
from spacy.vocab import Vocab

from ..annotations import ENTITIES, Argument, Event, Relation, set_events, set_relations
from ..errors import Errors, Warnings
from ..ner.scores import set_scores
from .fields import Fields
from .problems import Problems

META = "meta"
TOKENS = "ie_tokens"
TOP = ("text", "tokens", "unknown_spaces", "sentences", "entities", "missing", "relations", "events", "meta")
PLACE = ("start", "end", "text")
ENTITY = ("id", *PLACE, "label", "kb_id", "score")
RELATION = ("head", "tail", "label", "score")
EVENT = ("trigger", "label", "arguments", "score")
ARGUMENT = ("role", "entity", *PLACE, "label", "score")
SURROGATE = re.compile("[\ud800-\udfff]")


def record_to_doc(
    record: Dict[str, Any],
    nlp: Union[Language, Callable[[str], Doc]],
    *,
    where: str = "record",
    problems: Optional[Problems] = None,
) -> Doc:
    """Turn a record of the JSONL format into a document; the inverse of `doc_to_record`.

    record (Dict[str, Any]): The record, not modified.
    nlp (Union[Language, Callable[[str], Doc]]): Pipeline or tokenizer; not asked where the record has tokens.
    where (str): File and line, for messages.
    problems (Optional[Problems]): Takes in what does not fit the tokens; without it, a warning (W151) tells.
    RETURNS (Doc): With doc.ents, doc._.relations and doc._.events as far as the record has them, and meta in
        doc.user_data["meta"]. Scores of entities become `ent._.score`. Raises ValueError (E156-E163) if the
        record does not follow the format.
    """
    own = Problems() if problems is None else problems
    fields = Fields(record, where, own, TOP)
    text = fields.get("text", str)
    if SURROGATE.search(text):
        raise ValueError(Errors.E156.format(where=where, problem="'text' holds half of a surrogate pair"))
    doc = _tokenized(fields, text, nlp)
    _set_sentences(doc, fields)
    builder = _Builder(doc, fields)
    builder.set_entities()
    if "relations" in fields:
        set_relations(doc, builder.relations())
    if "events" in fields:
        set_events(doc, builder.events())
    if META in fields:
        doc.user_data[META] = dict(fields.get(META, dict))
    if problems is None and own.total:
        warnings.warn(Warnings.W151.format(where=where, count=own.total, summary=own.render()), stacklevel=2)
    return doc


def _tokenized(fields: Fields, text: str, nlp: Union[Language, Callable[[str], Doc]]) -> Doc:
    """The document of a record without annotation: its own tokens where it has them, else the tokenizer's."""
    tokenizer = nlp.tokenizer if isinstance(nlp, Language) else nlp
    unknown = fields.get("unknown_spaces", bool, False)
    if "tokens" not in fields:
        if unknown:
            problem = "'unknown_spaces' is given without 'tokens'"
            raise ValueError(Errors.E156.format(where=fields.where, problem=problem))
        doc = tokenizer(text)
        if doc.text != text:
            problem = "the tokenizer changes the text, so that offsets do not fit it any more. Give 'tokens'"
            raise ValueError(Errors.E156.format(where=fields.where, problem=problem))
        return doc
    vocab: Vocab = nlp.vocab if hasattr(nlp, "vocab") else tokenizer("").vocab
    words, spaces = _words(fields, text)
    if unknown and " ".join(words) != text.removesuffix(" "):
        problem = "with 'unknown_spaces', 'text' must be the tokens with one space between any two"
        raise ValueError(Errors.E156.format(where=fields.where, problem=problem))
    doc = Doc(vocab, words=words, spaces=None if unknown else spaces)
    doc.user_data[TOKENS] = True
    return doc


def _words(fields: Fields, text: str) -> Tuple[List[str], List[bool]]:
    """Words and spaces for a Doc with exactly this text; whitespace between tokens becomes a token of its
    own.

    fields (Fields): The record.
    text (str): Its text.
    RETURNS (Tuple[List[str], List[bool]]): As the Doc takes them. Raises ValueError (E163) if the tokens
        overlap, are not in order or leave out more than whitespace.
    """
    words: List[str] = []
    spaces: List[bool] = []
    position = 0
    places = [(token.where, *token.offsets(text)) for token in fields.objects("tokens", PLACE)]
    for where, start, end in [*places, (f"{fields.where}, end of the text", len(text), len(text))]:
        gap = text[position:start]
        if start < position:
            raise ValueError(Errors.E163.format(where=where, problem="begins before the one in front ends"))
        if gap.strip():
            raise ValueError(Errors.E163.format(where=where, problem=f"{gap!r} in front is in no token"))
        if gap.startswith(" ") and words:
            spaces[-1], gap = True, gap[1:]
        for word in filter(None, (gap, text[start:end])):
            words.append(word)
            spaces.append(False)
        position = end
    return words, spaces


def _set_sentences(doc: Doc, fields: Fields) -> None:
    if "sentences" not in fields:
        return
    starts = [token.idx for token in doc]
    borders: Set[int] = {0}
    position = 0
    for sentence in fields.objects("sentences", PLACE):
        start, end = sentence.offsets(doc.text)
        if start < position:
            problem = f"'sentences' overlap or are not in order at {start}"
            raise ValueError(Errors.E156.format(where=sentence.where, problem=problem))
        position = end
        index = bisect_left(starts, start)
        if index == len(starts) or doc.text[start : starts[index]].strip():
            message = f"{doc.text[start : start + 20]!r} begins inside {doc[index - 1].text!r}"
            fields.problems.add("sentence", sentence.where, message)
        else:
            borders.add(index)
    for token in doc:
        token.is_sent_start = token.i in borders


class _Builder:
    """Finds the spans of a record in the tokens of its document, and counts those that are not there.

    doc (Doc): The document; only `set_entities` modifies it.
    fields (Fields): The record.
    """

    def __init__(self, doc: Doc, fields: Fields) -> None:
        self.doc = doc
        self.text = doc.text
        self.fields = fields
        self.problems = fields.problems
        self.starts = [token.idx for token in doc]
        self.ends = [token.idx + len(token) for token in doc]
        self.by_id: Dict[str, Optional[Span]] = {}
        self.missing: Set[int] = set()
        self.reported: Set[Tuple[int, int]] = set()

    def set_entities(self) -> None:
        """Write doc.ents, and doc.spans["ie_entities"] where doc.ents cannot hold everything."""
        if "entities" not in self.fields:
            if "missing" in self.fields:
                problem = "'missing' is given without 'entities'"
                raise ValueError(Errors.E156.format(where=self.fields.where, problem=problem))
            return
        found: Dict[Span, Fields] = {}
        for fields in self.fields.objects("entities", ENTITY):
            span = self._entity(fields)
            if span in found:
                self.problems.add("duplicate", fields.where, f"{span.text!r} {span.label_}")
            elif span is not None:
                found[span] = fields
        for fields in self.fields.objects("missing", PLACE):
            first, last = self._tokens(*fields.offsets(self.text))
            self.missing.update(range(first, last))
        spans = sorted(found, key=lambda span: (span.start, -span.end))
        flat = util.filter_spans(spans)
        if len(flat) < len(spans):
            kept = set(flat)
            texts = ", ".join(f"{span.text!r} {span.label_}" for span in spans if span not in kept)
            self.problems.add("overlap", self.fields.where, texts, count=len(spans) - len(flat))
        covered = {i for span in flat for i in range(span.start, span.end)}
        unknown = [self.doc[i : i + 1] for i in sorted(self.missing - covered) if i < len(self.doc)]
        self.doc.set_ents(flat, missing=unknown, default="outside")
        self._keep_details(spans, [found[span] for span in spans], len(flat) < len(spans))

    def _entity(self, fields: Fields) -> Optional[Span]:
        label = fields.get("label", str, filled=True)
        name = fields.get("id", str, "", filled=True)
        start, end = fields.offsets(self.text)
        span = self._align(start, end, label, fields, fields.get("kb_id", str, ""))
        if span is None:
            self.missing.update(range(*self._tokens(start, end)))
        if name in self.by_id:
            others = self.fields.objects("entities")
            first = next(o for o in others if o.get("id", str, "") == name)
            words = self.text[first.get("start", int) : first.get("end", int)]
            raise ValueError(Errors.E160.format(where=fields.where, id=name, first=words))
        if name:
            self.by_id[name] = span
        return span

    def _keep_details(self, spans: List[Span], fields: List[Fields], overlap: bool) -> None:
        """Keep what doc.ents has no place for: overlapping entities, scores, and ids that are not T1, T2, ."""
        scores = [(span, item.get("score", float)) for span, item in zip(spans, fields) if "score" in item]
        if scores:
            set_scores(self.doc, scores, {span.label_ for span in spans})
        ids = [item.get("id", str, "") for item in fields]
        own = any(ids) and ids != [f"T{number}" for number in range(1, len(ids) + 1)]
        if own or overlap:
            attrs = {"ids": ids} if own else {}
            self.doc.spans[ENTITIES] = SpanGroup(self.doc, name=ENTITIES, spans=spans, attrs=attrs)

    def _tokens(self, start: int, end: int) -> Tuple[int, int]:
        """First and last (exclusive) of the tokens that share a character with start:end."""
        return bisect_right(self.ends, start), bisect_left(self.starts, end)

    def _align(self, start: int, end: int, label: str, fields: Fields, kb_id: str = "") -> Optional[Span]:
        """RETURNS (Optional[Span]): The span of the tokens with exactly these characters; None is counted."""
        first, last = self._tokens(start, end)
        if first < last and self.starts[first] == start and self.ends[last - 1] == end:
            return Span(self.doc, first, last, label=label, kb_id=kb_id)
        words = self.text[start:end]
        inner = words.strip()
        if inner and inner != words:
            lead = len(words) - len(words.lstrip())
            span = self._align(start + lead, start + lead + len(inner), label, fields, kb_id)
            if span is not None:
                self.problems.add("trimmed", fields.where, f"{words!r}")
            return span
        if (start, end) not in self.reported:
            self.reported.add((start, end))
            around = " | ".join(token.text for token in self.doc[max(0, first - 1) : last + 1])
            self.problems.add("misaligned", fields.where, f"{words!r} ({start}:{end}); the tokens: {around}")
        return None

    def _end(self, fields: Fields, key: str) -> Optional[Span]:
        """The span that a fact refers to by an id, or by place and label."""
        value = fields.data.get(key)
        if isinstance(value, dict):
            place = fields.object(key, (*PLACE, "label"))
            return self._align(*place.offsets(self.text), place.get("label", str, ""), place)
        name = fields.get(key, str, filled=True)
        if name not in self.by_id:
            known = ", ".join(list(self.by_id)[:20]) or "none"
            raise ValueError(Errors.E161.format(where=fields.where, id=name, known=known))
        return self.by_id[name]

    def relations(self) -> List[Relation]:
        """RETURNS (List[Relation]): In the order of the record, each once."""
        relations: Dict[Tuple[Span, Span, str], Relation] = {}
        for fields in self.fields.objects("relations", RELATION):
            label, score = fields.get("label", str, filled=True), fields.get("score", float, 1.0)
            head, tail = self._end(fields, "head"), self._end(fields, "tail")
            if head is None or tail is None:
                self.problems.add("relation", fields.where, label)
            elif (head, tail, label) in relations:
                self.problems.add("duplicate", fields.where, f"{head.text!r} {label} {tail.text!r}")
            else:
                relations[head, tail, label] = Relation(head, tail, label, float(score))
        return list(relations.values())

    def events(self) -> List[Event]:
        """RETURNS (List[Event]): In the order of the record, each once."""
        events: Dict[Event, None] = {}
        for fields in self.fields.objects("events", EVENT):
            label, score = fields.get("label", str, filled=True), fields.get("score", float, 1.0)
            place = fields.object("trigger", (*PLACE, "label"))
            trigger = self._align(*place.offsets(self.text), place.get("label", str, label), place)
            arguments = self._arguments(fields)
            if trigger is None:
                self.problems.add("event", fields.where, label)
                continue
            event = Event(trigger, label, float(score), tuple(arguments))
            if event in events:
                self.problems.add("duplicate", fields.where, f"{trigger.text!r} {label}")
            events[event] = None
        return list(events)

    def _arguments(self, event: Fields) -> List[Argument]:
        arguments: Dict[Tuple[str, Span], Argument] = {}
        for fields in event.objects("arguments", ARGUMENT):
            role, score = fields.get("role", str, filled=True), fields.get("score", float, 1.0)
            if "entity" in fields:
                span = self._end(fields, "entity")
            else:
                span = self._align(*fields.offsets(self.text), fields.get("label", str, ""), fields)
            if span is None:
                self.problems.add("argument", fields.where, role)
            elif (role, span) in arguments:
                self.problems.add("duplicate", fields.where, f"{role}={span.text!r}")
            else:
                arguments[role, span] = Argument(role, span, float(score))
        return list(arguments.values())
