"""Relation, Event, Argument: frozen views over what the Doc stores.

Store plain, show rich: the spans that facts refer to lie in a span group, and the group's attrs hold parallel
lists of ints (indices into the group), floats and strings that say how they belong together. This survives
`to_bytes`, `to_disk`, `DocBin` (also without user data), `doc.copy()`, pickling and `n_process=2`.
`doc._.relations` and `doc._.events` build the views anew at each access, and can be assigned.

    doc.spans["ie_relations"]   attrs: heads, tails, labels, scores
    doc.spans["ie_events"]      attrs: triggers, labels, scores,
                                       argument_events, argument_spans, argument_roles, argument_scores

No group: the document is not annotated with relations (events). Empty group: annotated, there are none.
"""

import math
import struct
import warnings
from dataclasses import dataclass
from typing import Any, Callable, Dict, Iterable, List, Sequence, Tuple, Type

import srsly
from spacy.tokens import Doc, Span, SpanGroup

from .errors import Errors, Warnings

RELATIONS = "ie_relations"
EVENTS = "ie_events"
ENTITIES = "ie_entities"
LAYERS = ("entities", "relations", "events")
RELATION_COLUMNS = ("heads", "tails", "labels", "scores")
EVENT_COLUMNS = ("triggers", "labels", "scores")
ARGUMENT_COLUMNS = ("argument_events", "argument_spans", "argument_roles", "argument_scores")
# A span in SpanGroup.to_bytes of spaCy 3: id, kb_id, label, start, end, start_char, end_char.
SPAN_FORMAT = ">QQQllll"


class _View:
    """Equality by value: the facts of a copied or reloaded document equal those of the original."""

    __slots__ = ()

    def _key(self) -> Tuple[Any, ...]:
        raise NotImplementedError

    def __eq__(self, other: object) -> bool:
        return self._key() == other._key() if type(other) is type(self) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._key())


def _span_key(span: Span) -> Tuple[int, int, str, str]:
    return (span.start_char, span.end_char, span.label_, span.text)


def _span_repr(span: Span) -> str:
    return f"{span.text!r}" + (f"[{span.label_}]" if span.label_ else "")


@dataclass(frozen=True, eq=False, repr=False)
class Relation(_View):
    """A directed, labelled pair of spans of one document.

    Two relations are equal if label and score are the same and both ends have the same characters, text and
    label; the documents need not be the same object.

    head (Span): Where the relation starts: the owner in "owns".
    tail (Span): Where it ends: what is owned.
    label (str): Relation type, not empty.
    score (float): Probability of the relation; 1.0 for gold annotation.
    """

    head: Span
    tail: Span
    label: str
    score: float = 1.0

    def _key(self) -> Tuple[Any, ...]:
        return (_span_key(self.head), self.label, _span_key(self.tail), self.score)

    def __repr__(self) -> str:
        head, tail = _span_repr(self.head), _span_repr(self.tail)
        return f"Relation({head} -{self.label}-> {tail}, score={self.score:.4g})"


@dataclass(frozen=True, eq=False, repr=False)
class Argument(_View):
    """A span that plays a role in an event.

    role (str): What the span is to the event, not empty: "buyer".
    span (Span): Who or what plays it.
    score (float): Probability that the span plays this role; 1.0 for gold annotation.
    """

    role: str
    span: Span
    score: float = 1.0

    def _key(self) -> Tuple[Any, ...]:
        return (self.role, _span_key(self.span), self.score)

    def __repr__(self) -> str:
        return f"Argument({self.role}={_span_repr(self.span)}, score={self.score:.4g})"


@dataclass(frozen=True, eq=False, repr=False)
class Event(_View):
    """Something that happens, named by a trigger, with the spans that take part in it.

    Equal by value, as relations are; the label of the trigger's span does not count, since the event has its own.

    trigger (Span): The words that name the event.
    label (str): Event type, not empty.
    score (float): Probability of the trigger; 1.0 for gold annotation.
    arguments (Tuple[Argument, ...]): In the order in which they were given; a role may repeat. Any iterable
        is taken.
    """

    trigger: Span
    label: str
    score: float = 1.0
    arguments: Tuple[Argument, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "arguments", tuple(self.arguments))

    def _key(self) -> Tuple[Any, ...]:
        trigger = (self.trigger.start_char, self.trigger.end_char, self.trigger.text)
        return (trigger, self.label, self.score, tuple(argument._key() for argument in self.arguments))

    def __repr__(self) -> str:
        roles = "".join(f", {a.role}={_span_repr(a.span)}" for a in self.arguments)
        return f"Event({self.trigger.text!r} {self.label}{roles}, score={self.score:.4g})"


class _Spans:
    """Collects the spans of a document that facts refer to, each once, and says which index each has.

    doc (Doc): The document all spans must belong to.
    fact (str): What points at the spans, for messages.
    """

    def __init__(self, doc: Doc, fact: str) -> None:
        self.doc = doc
        self.fact = fact
        self.spans: List[Span] = []
        self._index: Dict[Tuple[int, ...], int] = {}

    def add(self, span: Span) -> int:
        """Check a span and take it in.

        RETURNS (int): Its index. Raises ValueError (E150, E151, E153) if it does not fit.
        """
        if not isinstance(span, Span):
            raise ValueError(Errors.E153.format(fact=self.fact, field="span", expected="a Span", found=span))
        if span.doc is not self.doc:
            text = span.text
            raise ValueError(Errors.E150.format(fact=self.fact, start=span.start, end=span.end, text=text))
        if not (0 <= span.start < span.end and _in_place(self.doc, span.start, span.end, span.start_char, span.end_char)):
            length = len(self.doc)
            raise ValueError(Errors.E151.format(fact=self.fact, start=span.start, end=span.end, length=length))
        key = (span.start, span.end, span.label, span.kb_id, span.id)
        if key not in self._index:
            self._index[key] = len(self.spans)
            self.spans.append(span)
        return self._index[key]

    def group(self, name: str, columns: Dict[str, List[Any]]) -> SpanGroup:
        """RETURNS (SpanGroup): The collected spans, with the columns as attrs."""
        return SpanGroup(self.doc, name=name, spans=self.spans, attrs=columns)


def get_relations(doc: Doc) -> Tuple[Relation, ...]:
    """The relations of a document.

    doc (Doc): The document.
    RETURNS (Tuple[Relation, ...]): In the order in which they were assigned; () if there are none or if the
        document is not annotated with relations (`is_annotated` tells these apart). Raises ValueError (E154)
        if the stored columns are broken.
    """
    if RELATIONS not in doc.spans:
        return ()
    group = doc.spans[RELATIONS]
    spans = current_spans(doc, group)
    rows = _rows(group, "relations", RELATION_COLUMNS, {"heads": len(spans), "tails": len(spans)})
    return tuple(Relation(spans[head], spans[tail], label, score) for head, tail, label, score in rows)


def set_relations(doc: Doc, relations: Iterable[Relation]) -> None:
    """Replace the relations of a document. Afterwards it counts as annotated with relations, also if there
    are none.

    doc (Doc): The document, modified.
    relations (Iterable[Relation]): Their spans must belong to `doc`. Raises ValueError (E150-E153) otherwise,
        and changes nothing.
    """
    spans = _Spans(doc, "relation")
    columns: Dict[str, List[Any]] = {name: [] for name in RELATION_COLUMNS}
    for relation in _checked(relations, Relation, "relations"):
        columns["heads"].append(spans.add(relation.head))
        columns["tails"].append(spans.add(relation.tail))
        columns["labels"].append(_name(relation.label, "relation", "label"))
        columns["scores"].append(_number(relation.score, "relation"))
    doc.spans[RELATIONS] = spans.group(RELATIONS, columns)


def get_events(doc: Doc) -> Tuple[Event, ...]:
    """The events of a document.

    doc (Doc): The document.
    RETURNS (Tuple[Event, ...]): In the order in which they were assigned; () if there are none or if the
        document is not annotated with events (`is_annotated` tells these apart). Raises ValueError (E154) if
        the stored columns are broken.
    """
    if EVENTS not in doc.spans:
        return ()
    group = doc.spans[EVENTS]
    spans = current_spans(doc, group)
    rows = _rows(group, "events", EVENT_COLUMNS, {"triggers": len(spans)})
    limits = {"argument_events": len(rows), "argument_spans": len(spans)}
    arguments: List[List[Argument]] = [[] for _ in rows]
    for event, span, role, score in _rows(group, "events", ARGUMENT_COLUMNS, limits):
        arguments[event].append(Argument(role, spans[span], score))
    return tuple(Event(spans[trigger], label, score, tuple(found)) for (trigger, label, score), found in zip(rows, arguments))


def set_events(doc: Doc, events: Iterable[Event]) -> None:
    """Replace the events of a document. Afterwards it counts as annotated with events, also if there are
    none.

    doc (Doc): The document, modified.
    events (Iterable[Event]): Their triggers and arguments must belong to `doc`. Raises ValueError (E150-E153)
        otherwise, and changes nothing.
    """
    spans = _Spans(doc, "event")
    columns: Dict[str, List[Any]] = {name: [] for name in EVENT_COLUMNS + ARGUMENT_COLUMNS}
    for number, event in enumerate(_checked(events, Event, "events")):
        columns["triggers"].append(spans.add(event.trigger))
        columns["labels"].append(_name(event.label, "event", "label"))
        columns["scores"].append(_number(event.score, "event"))
        for argument in _checked(event.arguments, Argument, "events"):
            columns["argument_events"].append(number)
            columns["argument_spans"].append(spans.add(argument.span))
            columns["argument_roles"].append(_name(argument.role, "argument", "role"))
            columns["argument_scores"].append(_number(argument.score, "argument"))
    doc.spans[EVENTS] = spans.group(EVENTS, columns)


def is_annotated(doc: Doc, layer: str) -> bool:
    """Whether a document carries an annotation at all: none found is annotated, not looked for is not.

    doc (Doc): The document. One without tokens counts as annotated with entities, as in spaCy.
    layer (str): "entities", "relations" or "events". Raises ValueError (E155) otherwise.
    RETURNS (bool): For entities, whether any token is known to be inside or outside of an entity.
    """
    if _known(layer) == "entities":
        return doc.has_annotation("ENT_IOB")
    return _GROUPS[layer] in doc.spans


def mark_missing(doc: Doc, layer: str) -> None:
    """Take an annotation away, so that the document counts as not annotated with it.

    doc (Doc): The document, modified.
    layer (str): "entities", "relations" or "events". Raises ValueError (E155) otherwise.
    """
    if _known(layer) == "entities":
        doc.set_ents([], default="missing")
    doc.spans.pop(_GROUPS[layer], None)


def refresh_spans(doc: Doc) -> None:
    """Bring all span groups of a document up to date after its tokens were merged or split.

    Relations and events can be read all the same, but spaCy itself fails to copy or save a document whose
    span groups still have the token indices from before.

    doc (Doc): The document; its span groups are modified. Raises ValueError (E179) as `current_spans` does.
    """
    for group in doc.spans.values():
        for number, span in enumerate(current_spans(doc, group)):
            group[number] = span


def install_extensions() -> None:
    """Register `doc._.relations` and `doc._.events`, once.

    Names that others have taken are left to them, with a warning.
    """
    for name, (getter, setter) in _EXTENSIONS.items():
        if not Doc.has_extension(name):
            Doc.set_extension(name, getter=getter, setter=setter)
            continue
        owner = Doc.get_extension(name)[2]
        if getattr(owner, "__qualname__", "") != getter.__qualname__ or owner.__module__ != __name__:
            taken = getattr(owner, "__module__", None) or "other code"
            warnings.warn(Warnings.W150.format(name=name, owner=taken), stacklevel=2)


_GROUPS = {"entities": ENTITIES, "relations": RELATIONS, "events": EVENTS}
_EXTENSIONS: Dict[str, Tuple[Callable[[Doc], Any], Callable[[Doc, Any], None]]] = {
    "relations": (get_relations, set_relations),
    "events": (get_events, set_events),
}


def _known(layer: str) -> str:
    if layer not in _GROUPS:
        raise ValueError(Errors.E155.format(layer=layer, known=", ".join(LAYERS)))
    return layer


def _checked(items: Any, kind: Type[_View], name: str) -> Iterable[Any]:
    """Yield the items; raise ValueError (E152) for one of another kind, or if they are no iterable."""
    if not isinstance(items, Iterable):
        raise ValueError(Errors.E152.format(name=name, expected=kind.__name__, found=repr(items)))
    for item in items:
        if not isinstance(item, kind):
            raise ValueError(Errors.E152.format(name=name, expected=kind.__name__, found=repr(item)))
        yield item


def _name(value: Any, fact: str, field: str) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError(Errors.E153.format(fact=fact, field=field, expected="a string, not empty", found=value))
    return str(value)


def _number(value: Any, fact: str) -> float:
    """RETURNS (float): The score as a plain float (a numpy or torch scalar would not serialise)."""
    if isinstance(value, (str, bytes)) or not hasattr(value, "__float__") or not math.isfinite(value):
        raise ValueError(Errors.E153.format(fact=fact, field="score", expected="a finite number", found=value))
    return float(value)


def _rows(group: SpanGroup, name: str, columns: Sequence[str], limits: Dict[str, int]) -> List[Tuple[Any, ...]]:
    """The columns of a group's attrs, row by row. Lists may have become tuples on the way through a DocBin.

    group (SpanGroup): The stored group.
    name (str): Name of the extension, for messages.
    columns (Sequence[str]): Keys of the attrs; their lists must be equally long.
    limits (Dict[str, int]): For the columns that hold indices, how many things they can point at.
    RETURNS (List[Tuple[Any, ...]]): One tuple a row. Raises ValueError (E154) if columns are missing or do
        not fit.
    """
    found = [group.attrs.get(column) for column in columns]
    whole = all(isinstance(values, (list, tuple)) and len(values) == len(found[0]) for values in found)
    if not len(group) and (not group.attrs or whole and not found[0]):
        return []
    for column, values in zip(columns, found):
        if whole and column in limits:
            whole = not values or set(map(type, values)) == {int} and 0 <= min(values) and max(values) < limits[column]
    if not whole:
        keys, expected = ", ".join(sorted(map(str, group.attrs))) or "none", ", ".join(columns)
        key = _GROUPS[name]
        raise ValueError(Errors.E154.format(group=key, count=len(group), keys=keys, expected=expected, name=name))
    return list(zip(*found))


def _in_place(doc: Doc, start: int, end: int, start_char: int, end_char: int) -> bool:
    """Whether these characters are those of these tokens: merging and splitting tokens parts them."""
    if not start < end <= len(doc):
        return start == end <= len(doc)
    return doc[start].idx == start_char and doc[end - 1].idx + len(doc[end - 1]) == end_char


def current_spans(doc: Doc, group: SpanGroup) -> List[Span]:
    """The spans of a group, where retokenization has moved the tokens, found again by their characters.

    spaCy keeps the token indices of a span group as they were. A span whose border now lies inside a merged
    token grows to the whole token.

    doc (Doc): The document that the group belongs to, not modified.
    group (SpanGroup): The group.
    RETURNS (List[Span]): One for each span, in order. Raises ValueError (E179) for characters beyond the text.
    """
    try:  # nearly always nothing was merged, and spaCy's own reading is a hundred times faster
        stored = list(group)
        if all(_in_place(doc, span.start, span.end, span.start_char, span.end_char) for span in stored):
            return stored
    except IndexError:  # a token index lies behind the end
        pass
    bare = SpanGroup(doc)
    bare.extend(group)
    bare.attrs.clear()
    spans = []
    # Read as spaCy serialises it, which needs no tokens.
    for entry in srsly.msgpack_loads(bare.to_bytes())["spans"]:
        name, kb_id, label, start, end, start_char, end_char = struct.unpack(SPAN_FORMAT, entry)
        if not _in_place(doc, start, end, start_char, end_char):
            found = doc.char_span(start_char, end_char, alignment_mode="expand")
            if found is None:
                raise ValueError(Errors.E179.format(group=group.name, end=end_char, length=len(doc.text)))
            start, end = found.start, found.end
        spans.append(Span(doc, start, end, label=label, kb_id=kb_id, span_id=name))
    return spans


install_extensions()
