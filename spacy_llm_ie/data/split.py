"""Cuts long documents into pieces, with the facts that each piece contains."""

from bisect import bisect_right
from typing import Any, Dict, Iterator, List, Optional, Sequence, Set, Tuple

from spacy.tokens import Doc, Span, SpanGroup

from ..annotations import (
    ENTITIES,
    EVENTS,
    RELATIONS,
    Argument,
    Event,
    Relation,
    get_events,
    get_relations,
    set_events,
    set_relations,
)
from ..ner.scores import set_scores
from .build import META, TOKENS
from .jsonl import entities_of
from .problems import Problems


def split_doc(doc: Doc, max_length: int, *, where: str, problems: Problems) -> Iterator[Doc]:
    """Cut a document into pieces of at most `max_length` tokens.

    Cuts are made at the last border of a sentence that leaves the piece short enough, where such borders are
    known; else at the last border of a token; and not inside an entity, trigger or other span that a fact
    refers to, unless that span alone is too long. What crosses a cut is counted.

    doc (Doc): The document, not modified.
    max_length (int): Tokens in a piece, at least 1.
    where (str): Which document it is, for messages.
    problems (Problems): Takes in the facts that no piece contains.
    YIELDS (Doc): The pieces in order, annotated with the same layers as the document; the document itself if
        it is short enough.
    """
    if len(doc) <= max_length:
        yield doc
        return
    splitter = _Splitter(doc, find_cuts(doc, max_length), where, problems)
    yield from splitter.pieces()


def find_cuts(doc: Doc, max_length: int) -> List[int]:
    """Where to cut a document.

    doc (Doc): The document.
    max_length (int): Tokens in a piece, at least 1.
    RETURNS (List[int]): Index of the first token of each piece, and the length of the document.
    """
    inside = _inside(doc)
    known = doc.has_annotation("SENT_START")
    cuts = [0]
    while len(doc) - cuts[-1] > max_length:
        borders = range(cuts[-1] + max_length, cuts[-1], -1)
        safe = [i for i in borders if i not in inside]
        sentences = (i for i in safe if known and doc[i].is_sent_start)
        cuts.append(next(sentences, safe[0] if safe else borders[0]))
    return [*cuts, len(doc)]


def _inside(doc: Doc) -> Set[int]:
    """Tokens in front of which a cut would part a span that entities or facts need."""
    spans = [span for span, _, _ in entities_of(doc)]
    for relation in get_relations(doc):
        spans += [relation.head, relation.tail]
    for event in get_events(doc):
        spans += [event.trigger, *(argument.span for argument in event.arguments)]
    return {i for span in spans for i in range(span.start + 1, span.end)}


class _Splitter:
    """Makes the pieces of one document.

    doc (Doc): The document, not modified.
    cuts (List[int]): As `find_cuts` gives them.
    where (str): Which document it is, for messages.
    problems (Problems): Takes in what crosses a cut.
    """

    def __init__(self, doc: Doc, cuts: List[int], where: str, problems: Problems) -> None:
        self.doc = doc
        self.cuts = cuts
        self.where = where
        self.problems = problems
        self.docs: List[Doc] = []

    def pieces(self) -> List[Doc]:
        """RETURNS (List[Doc]): The pieces in order, with all annotation that lies within one piece."""
        head = self.doc._get_array_attrs()
        array = self.doc.to_array(head)
        for start, end in zip(self.cuts, self.cuts[1:]):
            piece = self.doc[start:end].as_doc(array_head=head, array=array)
            piece.has_unknown_spaces = self.doc.has_unknown_spaces
            for key in (META, TOKENS):
                if key in self.doc.user_data:
                    piece.user_data[key] = self.doc.user_data[key]
            self.docs.append(piece)
        for span, _, score in entities_of(self.doc):
            moved = self._moved(span)
            if moved is None:
                self._lost("cut_entity", f"{span.text!r} {span.label_}")
            elif score is not None:
                set_scores(moved.doc, [(moved, score)], ())
        if self.doc.cats:
            self._lost("cut_cats", ", ".join(map(str, self.doc.cats)))
        if RELATIONS in self.doc.spans:
            self._split_relations()
        if EVENTS in self.doc.spans:
            self._split_events()
        for key in self.doc.spans:
            if key not in (RELATIONS, EVENTS):
                self._split_group(key)
        return self.docs

    def _lost(self, kind: str, message: str) -> None:
        self.problems.add(kind, self.where, message)

    def _moved(self, span: Span) -> Optional[Span]:
        """RETURNS (Optional[Span]): The same words in their piece, None if no piece has all of them."""
        number = bisect_right(self.cuts, span.start) - 1
        start = self.cuts[number]
        return move(span, self.docs[number], -start) if span.end <= self.cuts[number + 1] else None

    def _split_relations(self) -> None:
        found: Dict[int, List[Relation]] = {id(doc): [] for doc in self.docs}
        for relation in get_relations(self.doc):
            head, tail = self._moved(relation.head), self._moved(relation.tail)
            if head is None or tail is None or head.doc is not tail.doc:
                self._lost("cut_relation", repr(relation))
            else:
                found[id(head.doc)].append(Relation(head, tail, relation.label, relation.score))
        for doc in self.docs:
            set_relations(doc, found[id(doc)])

    def _split_events(self) -> None:
        found: Dict[int, List[Event]] = {id(doc): [] for doc in self.docs}
        for event in get_events(self.doc):
            trigger = self._moved(event.trigger)
            if trigger is None:
                self._lost("cut_event", repr(event))
                continue
            arguments = []
            for argument in event.arguments:
                span = self._moved(argument.span)
                if span is None or span.doc is not trigger.doc:
                    self._lost("cut_argument", f"{event.trigger.text!r} {argument!r}")
                else:
                    arguments.append(Argument(argument.role, span, argument.score))
            found[id(trigger.doc)].append(Event(trigger, event.label, event.score, tuple(arguments)))
        for doc in self.docs:
            set_events(doc, found[id(doc)])

    def _split_group(self, key: str) -> None:
        """Hand out the spans of another group, with the attrs that have one value for each span."""
        group = self.doc.spans[key]
        rows: Dict[int, Tuple[List[int], List[Span]]] = {id(doc): ([], []) for doc in self.docs}
        for number, span in enumerate(group):
            moved = self._moved(span)
            if moved is None and key != ENTITIES:
                self._lost("cut_span", f"{key}: {span.text!r}")
            if moved is not None:
                numbers, spans = rows[id(moved.doc)]
                numbers.append(number)
                spans.append(moved)
        for doc in self.docs:
            numbers, spans = rows[id(doc)]
            attrs = {name: _picked(value, numbers, len(group)) for name, value in group.attrs.items()}
            doc.spans[key] = SpanGroup(doc, name=group.name, spans=spans, attrs=attrs)


def move(span: Span, doc: Doc, offset: int) -> Span:
    """The span of another document that lies `offset` tokens further on, with the same label and ids.

    span (Span): The span.
    doc (Doc): The other document, over the same vocabulary.
    offset (int): Tokens to add to start and end.
    RETURNS (Span): The span in `doc`.
    """
    start, end = span.start + offset, span.end + offset
    return Span(doc, start, end, label=span.label, kb_id=span.kb_id, span_id=span.id)


def _picked(value: Any, numbers: Sequence[int], length: int) -> Any:
    if isinstance(value, (list, tuple)) and len(value) == length:
        return [value[number] for number in numbers]
    return value
