"""Takes annotation along where spaCy makes a new document: a piece of a document, or one document from several.

`span.as_doc()` leaves span groups and scores behind, `Doc.from_docs()` the attrs of span groups, so that
relations and events are lost or broken. The functions here do what spaCy's do, and move everything.
"""

import copy
import warnings
from bisect import bisect_left, bisect_right
from collections import Counter
from dataclasses import replace
from functools import partial
from typing import Any, Callable, Dict, Iterable, List, Optional, Sequence, Tuple, Union

import numpy
from spacy import util
from spacy.tokens import Doc, Span, SpanGroup

from .annotations import (
    ENTITIES,
    EVENTS,
    RELATIONS,
    Argument,
    Event,
    Relation,
    current_spans,
    get_events,
    get_relations,
    is_annotated,
    set_events,
    set_relations,
)
from .errors import Errors, Warnings
from .ner.scores import get_score, is_score_key

LostT = Callable[[str, str], None]
MoverT = Callable[[Span], Optional[Span]]


def span_as_doc(span: Span, *, copy_user_data: bool = False) -> Doc:
    """Make a document of a span: `span.as_doc()` with scores, relations, events and span groups.

    An event goes along if its trigger lies inside, with those of its arguments that lie inside too. What
    touches the span and does not lie inside is left out, and a warning (W157) counts it; the tokens of such an
    entity are marked as missing. What lies outside altogether is another document's.

    span (Span): The span, which may be empty. Its document is not modified. Raises ValueError (E188) for
        anything else.
    copy_user_data (bool): Whether to copy `doc.user_data` too, and the values of custom attributes of the
        tokens and spans inside. Scores come along in either case.
    RETURNS (Doc): A new document, annotated with the same layers. As in spaCy, it has those of `doc.cats` only
        that are about this span.
    """
    if not isinstance(span, Span):
        raise ValueError(Errors.E188.format(function="span_as_doc", expected="a Span", found=repr(span)))
    lost: List[Tuple[str, str]] = []

    def note(kind: str, message: str) -> None:
        lost.append((kind.removeprefix("cut_"), message))

    (piece,) = cut_doc(span.doc, [(span.start, span.end)], note, copy_user_data=copy_user_data)
    if lost:
        kinds = ", ".join(f"{kind}: {count}" for kind, count in Counter(kind for kind, _ in lost).items())
        place = {"start": span.start, "end": span.end}
        warnings.warn(Warnings.W157.format(count=len(lost), kinds=kinds, some=lost[0][1], **place), stacklevel=2)
    return piece


def join_docs(
    docs: Iterable[Doc],
    ensure_whitespace: bool = True,
    attrs: Optional[List[Union[int, str]]] = None,
    *,
    exclude: Iterable[str] = (),
) -> Optional[Doc]:
    """Make one document of several: `Doc.from_docs()` with relations, events and the attrs of span groups.

    The joined document is annotated with relations (events) if every document that has tokens is. If some are
    and some are not, it is not, since what is missing is not negative, and a warning (W155) tells. Lists in
    the attrs of a span group that have one value a span are joined; attrs that are the same everywhere stay,
    others are left out with a warning (W156). Ids of entities stay unless an earlier document has them.

    docs (Iterable[Doc]): The documents, not modified. They share a vocabulary.
    ensure_whitespace (bool): Put a space between two documents where there is none.
    attrs (Optional[List[Union[int, str]]]): Attributes of tokens to keep; all without it.
    exclude (Iterable[str]): What to leave out: "spans" (relations and events too), "tensor", "user_data"
        (scores of entities too).
    RETURNS (Optional[Doc]): The new document; None if there are no documents, as in spaCy.
    """
    docs = list(docs)
    joined = Doc.from_docs(docs, ensure_whitespace, attrs, exclude=[*exclude, "spans"])
    if joined is not None:
        joined.has_unknown_spaces = any(doc.has_unknown_spaces for doc in docs if len(doc))
        if "spans" not in exclude:
            _join_spans(docs, joined)
    return joined


def cut_doc(doc: Doc, ranges: Sequence[Tuple[int, int]], lost: LostT, *, copy_user_data: bool = False) -> List[Doc]:
    """Make documents of pieces of a document, each with all annotation that lies within it.

    doc (Doc): The document, not modified.
    ranges (Sequence[Tuple[int, int]]): First token and end of each piece, in order, not overlapping.
    lost (LostT): Is called with a kind of `data.problems` ("cut_relation") and a description for everything
        that touches a piece and lies in none.
    copy_user_data (bool): As in `span_as_doc`.
    RETURNS (List[Doc]): One for each range. They are annotated with the same layers as the document.
    """
    cutter = _Cutter(doc, ranges, lost)
    cutter.move_user_data(copy_user_data)
    for span, _, _ in entities_of(doc):
        if cutter.moved(span) is None:
            cutter.note("cut_entity", f"{span.text!r} {span.label_}", [span])
    for key in doc.spans:
        if key not in (RELATIONS, EVENTS):
            cutter.move_group(key)
    if RELATIONS in doc.spans:
        cutter.move_relations()
    if EVENTS in doc.spans:
        cutter.move_events()
    return cutter.docs


def move(span: Span, doc: Doc, offset: int) -> Span:
    """The span of another document that lies `offset` tokens further on, with the same label and ids.

    span (Span): The span.
    doc (Doc): The other document, over the same vocabulary.
    offset (int): Tokens to add to start and end.
    RETURNS (Span): The span in `doc`.
    """
    start, end = span.start + offset, span.end + offset
    return Span(doc, start, end, label=span.label, kb_id=span.kb_id, span_id=span.id)


def entities_of(doc: Doc) -> List[Tuple[Span, str, Optional[float]]]:
    """The entities of a document with their ids and scores, overlapping ones too, in the order of the text.

    doc.spans["ie_entities"] counts as long as it agrees with doc.ents, that is, until a component writes
    others.

    doc (Doc): The document.
    RETURNS (List[Tuple[Span, str, Optional[float]]]): Entity, its own id or "", its `ent._.score` or None.
    """
    ids: Dict[Tuple[int, int, str], str] = {}
    spans = list(doc.ents)
    if ENTITIES in doc.spans:
        group = current_spans(doc, doc.spans[ENTITIES])
        if _agree(group, doc.ents):
            spans = sorted(group, key=lambda span: (span.start, -span.end))
            ids = dict(zip(map(_key, group), doc.spans[ENTITIES].attrs.get("ids", ())))
    return [(span, ids.get(_key(span), ""), get_score(span)) for span in spans]


def _key(span: Span) -> Tuple[int, int, str]:
    return (span.start, span.end, span.label_)


def _agree(spans: Iterable[Span], ents: Iterable[Span]) -> bool:
    return set(map(_key, util.filter_spans(spans))) == set(map(_key, ents))


def _moved_relation(relation: Relation, moved: MoverT) -> Optional[Relation]:
    head, tail = moved(relation.head), moved(relation.tail)
    if head is None or tail is None or head.doc is not tail.doc:
        return None
    return replace(relation, head=head, tail=tail)


def _moved_event(event: Event, moved: MoverT) -> Tuple[Optional[Event], List[Argument]]:
    """RETURNS (Tuple[Optional[Event], List[Argument]]): The event, None if its trigger is nowhere, and the arguments
    that are not where the trigger is.
    """
    trigger = moved(event.trigger)
    if trigger is None:
        return None, []
    kept, lost = [], []
    for argument in event.arguments:
        span = moved(argument.span)
        if span is None or span.doc is not trigger.doc:
            lost.append(argument)
        else:
            kept.append(replace(argument, span=span))
    return replace(event, trigger=trigger, arguments=tuple(kept)), lost


class _Cutter:
    """Makes the pieces of one document.

    doc, ranges, lost: As in `cut_doc`.
    """

    def __init__(self, doc: Doc, ranges: Sequence[Tuple[int, int]], lost: LostT) -> None:
        self.doc = doc
        self.starts = [start for start, _ in ranges]
        self.ends = [end for _, end in ranges]
        self.lost = lost
        self.docs: List[Doc] = []
        head = doc._get_array_attrs()
        array = doc.to_array(head)
        for start, end in ranges:
            piece = doc[start:end].as_doc(array_head=head, array=array)
            piece.has_unknown_spaces = doc.has_unknown_spaces
            self.docs.append(piece)

    def note(self, kind: str, message: str, spans: Iterable[Span]) -> None:
        """Tell that something is in no piece, if any of its spans touches one."""
        for span in spans:
            number = bisect_left(self.starts, span.end) - 1
            if number >= 0 and max(span.start, self.starts[number]) < self.ends[number]:
                self.lost(kind, message)
                return

    def moved(self, span: Span) -> Optional[Span]:
        """RETURNS (Optional[Span]): The same words in their piece, None if no piece has all of them."""
        number = bisect_right(self.starts, span.start) - 1
        if number < 0 or span.end > self.ends[number]:
            return None
        return move(span, self.docs[number], -self.starts[number])

    def move_user_data(self, everything: bool) -> None:
        """Hand out scores; with `everything`, also other values of tokens and spans, and to each piece the rest."""
        first = [self.doc[start : start + 1].start_char for start in self.starts]
        last = [self.doc[start:end].end_char for start, end in zip(self.starts, self.ends)]
        for key, value in self.doc.user_data.items():
            if not (everything or is_score_key(key)):
                continue
            if not (isinstance(key, tuple) and len(key) == 4 and key[0] == "._."):
                for piece in self.docs:
                    piece.user_data[key] = copy.copy(value)
                continue
            kind, name, start, end = key
            number = -1 if start is None else bisect_right(first, start) - 1
            if number >= 0 and start < last[number] and (end is None or end <= last[number]):
                place = (start - first[number], None if end is None else end - first[number])
                self.docs[number].user_data[(kind, name, *place)] = copy.copy(value)

    def move_relations(self) -> None:
        """Hand out the relations, and count those between two pieces."""
        found: Dict[int, List[Relation]] = {id(doc): [] for doc in self.docs}
        for relation in get_relations(self.doc):
            moved = _moved_relation(relation, self.moved)
            if moved is None:
                self.note("cut_relation", repr(relation), [relation.head, relation.tail])
            else:
                found[id(moved.head.doc)].append(moved)
        for doc in self.docs:
            set_relations(doc, found[id(doc)])

    def move_events(self) -> None:
        """Hand out the events, and count the triggers that are nowhere and the arguments that are elsewhere."""
        found: Dict[int, List[Event]] = {id(doc): [] for doc in self.docs}
        for event in get_events(self.doc):
            moved, lost = _moved_event(event, self.moved)
            if moved is None:
                self.note("cut_event", repr(event), [event.trigger, *(a.span for a in event.arguments)])
                continue
            for argument in lost:
                self.lost("cut_argument", f"{event.trigger.text!r} {argument!r}")
            found[id(moved.trigger.doc)].append(moved)
        for doc in self.docs:
            set_events(doc, found[id(doc)])

    def move_group(self, key: str) -> None:
        """Hand out the spans of another group, with the attrs that have one value for each span."""
        group = self.doc.spans[key]
        stored = current_spans(self.doc, group)
        rows: Dict[int, Tuple[List[int], List[Span]]] = {id(doc): ([], []) for doc in self.docs}
        for number, span in enumerate(stored):
            moved = self.moved(span)
            if moved is None and key != ENTITIES:
                self.note("cut_span", f"{key}: {span.text!r}", [span])
            if moved is not None:
                numbers, spans = rows[id(moved.doc)]
                numbers.append(number)
                spans.append(moved)
        whole = key == ENTITIES and _agree(stored, self.doc.ents)
        for doc in self.docs:
            numbers, spans = rows[id(doc)]
            attrs = {name: _picked(value, numbers, len(group)) for name, value in group.attrs.items()}
            doc.spans[key] = SpanGroup(doc, name=group.name, spans=spans, attrs=attrs)
            if whole and not _agree(spans, doc.ents):
                _set_freed(doc, spans)


def _set_freed(doc: Doc, spans: Sequence[Span]) -> None:
    """Write the entities of a piece anew, where one that overlaps with them went across its border."""
    flat = util.filter_spans(spans)
    covered = {i for span in flat for i in range(span.start, span.end)}
    missing = [doc[token.i : token.i + 1] for token in doc if token.ent_iob == 0 and token.i not in covered]
    doc.set_ents(flat, missing=missing, default="outside")


def _per_span(value: Any, length: int) -> bool:
    rows = isinstance(value, (list, tuple)) or (isinstance(value, numpy.ndarray) and value.ndim > 0)
    return rows and len(value) == length


def _picked(value: Any, numbers: Sequence[int], length: int) -> Any:
    """The values of these spans, if there is one value a span; else a copy of the value, which is for all."""
    if not _per_span(value, length):
        return copy.deepcopy(value)
    return value[numbers] if isinstance(value, numpy.ndarray) else [value[number] for number in numbers]


def _join_spans(docs: Sequence[Doc], joined: Doc) -> None:
    """Write the span groups, relations and events of all documents onto the joined one."""
    offsets = numpy.cumsum([0, *(len(doc) for doc in docs)]).tolist()
    movers = [partial(move, doc=joined, offset=offset) for offset in offsets]
    conflicts: List[str] = []
    for key in dict.fromkeys(key for doc in docs for key in doc.spans if key not in (RELATIONS, EVENTS)):
        parts = [_group_part(doc, key) for doc in docs]
        spans = [mover(span) for mover, (found, _) in zip(movers, parts) for span in found]
        attrs = _joined_attrs(key, [(len(found), attrs) for found, attrs in parts], conflicts)
        joined.spans[key] = SpanGroup(joined, name=key, spans=spans, attrs=attrs)
    if conflicts:
        warnings.warn(Warnings.W156.format(keys=", ".join(conflicts)), stacklevel=3)
    if _all_annotated(docs, "relations"):
        set_relations(joined, [_moved_relation(r, mover) for doc, mover in zip(docs, movers) for r in get_relations(doc)])
    if _all_annotated(docs, "events"):
        set_events(joined, [_moved_event(e, mover)[0] for doc, mover in zip(docs, movers) for e in get_events(doc)])


def _all_annotated(docs: Sequence[Doc], layer: str) -> bool:
    """Whether the joined document is annotated with a layer. A warning tells what that costs."""
    have = [doc for doc in docs if is_annotated(doc, layer)]
    filled = [doc for doc in docs if len(doc)]
    without = [doc for doc in filled if not is_annotated(doc, layer)]
    if without and any(len(doc) for doc in have):
        get: Callable[[Doc], Sequence[Any]] = get_relations if layer == "relations" else get_events
        lost = sum(len(get(doc)) for doc in have)
        place = {"count": len(without), "total": len(filled)}
        warnings.warn(Warnings.W155.format(layer=layer, lost=lost, **place), stacklevel=4)
    return bool(have) and not without


def _group_part(doc: Doc, key: str) -> Tuple[List[Span], Dict[str, Any]]:
    """RETURNS (Tuple[List[Span], Dict[str, Any]]): What a document gives to a joined group: spans and attrs."""
    if key == ENTITIES:
        # Where one document has this group, all entities of the joined document must be in it.
        found = entities_of(doc)
        return [span for span, _, _ in found], {"ids": [name for _, name, _ in found]}
    if key not in doc.spans:
        return [], {}
    return current_spans(doc, doc.spans[key]), doc.spans[key].attrs


def _joined_attrs(key: str, parts: Sequence[Tuple[int, Dict[str, Any]]], conflicts: List[str]) -> Dict[str, Any]:
    """The attrs of a joined group.

    key (str): Its name.
    parts (Sequence[Tuple[int, Dict[str, Any]]]): Number of spans and attrs in each document.
    conflicts (List[str]): Takes in the names of those that cannot be joined.
    RETURNS (Dict[str, Any]): The others.
    """
    attrs: Dict[str, Any] = {}
    for name in dict.fromkeys(name for _, found in parts for name in found):
        holders = [(found.get(name), count) for count, found in parts if count or name in found]
        values = [value for value, _ in holders]
        if all(_per_span(value, count) for value, count in holders):
            arrays = all(isinstance(value, numpy.ndarray) for value in values)
            attrs[name] = numpy.concatenate(values) if arrays else [item for value in values for item in value]
        elif not any(isinstance(value, numpy.ndarray) for value in values) and values.count(values[0]) == len(values):
            attrs[name] = copy.deepcopy(values[0])
        else:
            conflicts.append(f"doc.spans[{key!r}].attrs[{name!r}]")
    if key == ENTITIES and not any(attrs["ids"]):
        del attrs["ids"]
    elif key == ENTITIES:
        first: Dict[str, int] = {}
        attrs["ids"] = [name if first.setdefault(name, i) == i else "" for i, name in enumerate(attrs["ids"])]
    return attrs
