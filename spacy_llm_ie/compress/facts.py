"""Entities, relations and events from one document to another one that has the same tokens."""

from typing import Any, Dict, Iterable, Mapping, Optional, Tuple

from spacy.tokens import Doc, Span, SpanGroup
from spacy.training import Example
from spacy.vocab import Vocab

from ..annotations import Argument, Event, Relation, get_events, get_relations, is_annotated, set_events, set_relations
from ..data.given import give_entities, give_triggers

# Entity label of the teacher -> the student's; "" drops the entity, labels that are not named stay.
LabelMapT = Mapping[str, str]


def same_words(doc: Doc, vocab: Vocab) -> Doc:
    """RETURNS (Doc): A document without annotation that has the tokens of another one, for a pipeline with another vocabulary."""
    return Doc(vocab, words=[token.text for token in doc], spaces=[bool(token.whitespace_) for token in doc])


def copy_facts(
    source: Doc, target: Doc, layer: str, labels: Optional[LabelMapT] = None
) -> Tuple[Dict[str, int], Dict[str, int]]:
    """Write what one document says over what another one says.

    source (Doc): Not changed. What it is not annotated with is left alone on the target.
    target (Doc): Has the same tokens; modified.
    layer (str): "entities", "relations" or "events".
    labels (Optional[LabelMapT]): New labels of entities; facts that lose an entity are dropped with it.
    RETURNS (Tuple[Dict[str, int], Dict[str, int]]): Facts copied and dropped, counted by label.
    """
    if not is_annotated(source, layer):
        return {}, {}
    names = dict(labels or {})
    copied: Dict[str, int] = {}
    dropped: Dict[str, int] = {}

    def move(span: Span) -> Optional[Span]:
        label = names.get(span.label_, span.label_)
        return Span(target, span.start, span.end, label=label) if label or not span.label_ else None

    facts = _COPIERS[layer](source, target, move)
    for kept, label in facts:
        counts = dropped if kept is None else copied
        counts[label if kept is None else kept] = counts.get(label if kept is None else kept, 0) + 1
    return copied, dropped


def _copy_entities(source: Doc, target: Doc, move: Any) -> Iterable[Tuple[Optional[str], str]]:
    moved = [(move(ent), ent.label_) for ent in source.ents]
    target.set_ents([span for span, _ in moved if span is not None])
    return [(None if span is None else span.label_, label) for span, label in moved]


def _copy_relations(source: Doc, target: Doc, move: Any) -> Iterable[Tuple[Optional[str], str]]:
    moved = [(move(r.head), move(r.tail), r) for r in get_relations(source)]
    kept = [Relation(head, tail, r.label, r.score) for head, tail, r in moved if head is not None and tail is not None]
    set_relations(target, kept)
    return [(None if head is None or tail is None else r.label, r.label) for head, tail, r in moved]


def _copy_events(source: Doc, target: Doc, move: Any) -> Iterable[Tuple[Optional[str], str]]:
    events = []
    for event in get_events(source):
        spans = [(argument, move(argument.span)) for argument in event.arguments]
        arguments = [Argument(argument.role, span, argument.score) for argument, span in spans if span is not None]
        trigger = Span(target, event.trigger.start, event.trigger.end, label=event.trigger.label_)
        events.append(Event(trigger, event.label, event.score, arguments))
    set_events(target, events)
    return [(event.label, event.label) for event in events]


_COPIERS = {"entities": _copy_entities, "relations": _copy_relations, "events": _copy_events}


def copy_group(source: Doc, target: Doc, key: str) -> None:
    """Copy a span group. Nothing happens if the source has none of this name."""
    if key in source.spans:
        spans = [Span(target, span.start, span.end, label=span.label_) for span in source.spans[key]]
        target.spans[key] = SpanGroup(target, name=key, spans=spans)


def give_known(gold: Doc, doc: Doc) -> Tuple[bool, bool]:
    """Put gold entities and triggers onto a teacher's document, where the gold document has all of them.

    gold (Doc): Its entities count if no token's is missing.
    doc (Doc): Of the same text; modified.
    RETURNS (Tuple[bool, bool]): Whether entities and triggers were given.
    """
    example = Example(doc, gold)
    complete = bool(len(gold)) and all(token.ent_iob != 0 for token in gold)
    if complete:
        give_entities(example)
    annotated = is_annotated(gold, "events")
    if annotated:
        give_triggers(example)
    return complete, annotated
