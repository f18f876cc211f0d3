"""Counts what a corpus holds."""

from collections import Counter
from typing import Dict

from spacy.tokens import Doc

from ..annotations import LAYERS, get_events, get_relations, is_annotated
from .jsonl import entities_of


class Counts:
    """Documents, sentences, tokens and facts of the documents that were added.

    documents, tokens, sentences, arguments (int): Totals; sentences only of documents where they are known.
    with_sentences (int): Documents whose sentences are known.
    annotated (Counter): Documents by layer: "entities", "relations", "events".
    entities, relations, events (Counter): By label; overlapping entities count.
    """

    def __init__(self) -> None:
        self.documents = 0
        self.tokens = 0
        self.sentences = 0
        self.with_sentences = 0
        self.arguments = 0
        self.annotated: Counter = Counter()
        self.entities: Counter = Counter()
        self.relations: Counter = Counter()
        self.events: Counter = Counter()

    def add(self, doc: Doc) -> None:
        """Count a document.

        doc (Doc): The document, not modified.
        """
        self.documents += 1
        self.tokens += len(doc)
        if len(doc) and doc.has_annotation("SENT_START"):
            self.with_sentences += 1
            self.sentences += sum(1 for _ in doc.sents)
        self.annotated.update(layer for layer in LAYERS if is_annotated(doc, layer))
        self.entities.update(span.label_ for span, _, _ in entities_of(doc))
        self.relations.update(relation.label for relation in get_relations(doc))
        events = get_events(doc)
        self.events.update(event.label for event in events)
        self.arguments += sum(len(event.arguments) for event in events)

    def by_layer(self) -> Dict[str, Counter]:
        """RETURNS (Dict[str, Counter]): Counts by label of the layers that any document is annotated with."""
        counters = {"entities": self.entities, "relations": self.relations, "events": self.events}
        return {layer: counters[layer] for layer in LAYERS if self.annotated[layer]}
