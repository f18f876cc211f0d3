"""Cuts long documents into pieces, with the facts that each piece contains."""

from typing import Iterator, List, Set

from spacy.tokens import Doc

from ..annotations import get_events, get_relations
from ..carry import cut_doc, entities_of
from .build import META, TOKENS
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

    def lost(kind: str, message: str) -> None:
        problems.add(kind, where, message)

    if doc.cats:
        lost("cut_cats", ", ".join(map(str, doc.cats)))
    cuts = find_cuts(doc, max_length)
    for piece in cut_doc(doc, list(zip(cuts, cuts[1:])), lost):
        for key in (META, TOKENS):
            if key in doc.user_data:
                piece.user_data[key] = doc.user_data[key]
        yield piece


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
