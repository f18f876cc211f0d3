"""Scores of `ie_relations`, by the names of Taillé et al., "Let's Stop Incorrect Comparisons in End-to-end RE!" (2020)."""

from typing import Any, Callable, Dict, Iterable, Optional, Sequence, Set, Tuple

from spacy.tokens import Doc, Span
from spacy.training import Example

from ..annotations import get_relations, is_annotated
from ..facts import FactScore
from ..types import ScorerT

# Start, end and label of head, then of tail, in characters; then the label of the relation.
FactT = Tuple[int, int, str, int, int, str, str]


def make_relation_scorer() -> ScorerT:
    """Make the default scorer of `ie_relations`. RETURNS (Callable): See `score_relations`."""
    return score_relations


def score_relations(
    examples: Iterable[Example],
    *,
    symmetric: Sequence[str] = (),
    candidates: Optional[Callable[[Doc], Set[Tuple[int, int, int, int]]]] = None,
    **kwargs: Any,
) -> Dict[str, Any]:
    """Compare sets of relations. A gold relation that was missed because an entity was missed is missed.

    examples (Iterable[Example]): Documents whose reference is not annotated with relations are left out.
    symmetric (Sequence[str]): Labels whose direction does not matter.
    candidates (Optional[Callable]): Says which pairs of a predicted document were scored.
    RETURNS (Dict[str, Any]): None where there is nothing to score.
        `rels_micro_p`, `rels_micro_r`, `rels_micro_f`: strict: label, direction, borders and types of both ends are right.
        `rels_per_type`: the same by label. `rels_macro_f`: mean of the labels' F1, over the labels that the reference has.
        `rels_boundary_p`, `_r`, `_f`: the same as strict, whatever the types of the ends.
        `rels_candidate_recall`: share of gold relations whose pair was among the candidates, whatever types the ends had: what a
        perfect classifier would reach.
    """
    strict, boundary = FactScore(), FactScore()
    reached = total = 0
    for example in examples:
        if not is_annotated(example.reference, "relations"):
            continue
        gold, found = (relation_facts(doc, symmetric) for doc in (example.reference, example.predicted))
        strict.add(found, gold, lambda fact: fact[6])
        loose_gold, loose_found = ({_untyped(fact) for fact in facts} for facts in (gold, found))
        boundary.add(loose_found, loose_gold)
        if candidates is not None:
            pairs = candidates(example.predicted)
            reached += sum(fact[:4] in pairs or (fact[2:4] + fact[:2]) in pairs for fact in loose_gold)
            total += len(loose_gold)
    return {
        **strict.scores("rels_micro"),
        "rels_macro_f": strict.macro_f(),
        "rels_per_type": strict.per_type(),
        **boundary.scores("rels_boundary"),
        "rels_candidate_recall": reached / total if total else None,
    }


def relation_facts(doc: Doc, symmetric: Sequence[str] = ()) -> Set[FactT]:
    """The relations of a document as plain facts; those without direction begin with the span that stands first."""
    facts = set()
    for relation in get_relations(doc):
        head, tail = _end(relation.head), _end(relation.tail)
        if relation.label in symmetric and tail < head:
            head, tail = tail, head
        facts.add((*head, *tail, relation.label))
    return facts


def _end(span: Span) -> Tuple[int, int, str]:
    return (span.start_char, span.end_char, span.label_)


def _untyped(fact: FactT) -> Tuple[Any, ...]:
    return (fact[0], fact[1], fact[3], fact[4], fact[6])
