"""The baseline that stands beside every score: link each entity to the nearest one of a type that it is often linked to."""

from collections import Counter
from typing import Dict, Iterable, List, Tuple

from spacy.tokens import Doc, Span
from spacy.training import Example

from ..annotations import Relation, get_relations, set_relations


class NearestRelations:
    """Relations between nearest entities, with the label that their types have most often in the training data.

    examples (Iterable[Example]): Training data.
    """

    def __init__(self, examples: Iterable[Example]) -> None:
        counts: Dict[Tuple[str, str], Counter] = {}
        for example in examples:
            for relation in get_relations(example.reference):
                counts.setdefault((relation.head.label_, relation.tail.label_), Counter())[relation.label] += 1
        self.labels = {types: min(found, key=lambda label: (-found[label], label)) for types, found in counts.items()}

    def __call__(self, doc: Doc) -> Doc:
        """Set the relations of a document that has entities. RETURNS (Doc): The same document."""
        found: List[Relation] = []
        for head in doc.ents:
            for (head_type, tail_type), label in self.labels.items():
                tails = [ent for ent in doc.ents if ent.label_ == tail_type and ent.start != head.start]
                if head.label_ == head_type and tails:
                    found.append(Relation(head, nearest(head, tails), label))
        set_relations(doc, found)
        return doc


def nearest(span: Span, others: Iterable[Span]) -> Span:
    """The span with the fewest tokens in between; of two, the first. RETURNS (Span): One of the others."""
    return min(others, key=lambda other: (max(other.start - span.end, span.start - other.end), other.start))
