"""Scores of relations against cases that were counted by hand."""

import pytest
import spacy
from spacy.tokens import Doc, Span
from spacy.training import Example

from spacy_llm_ie import Relation

score_relations = spacy.registry.scorers.get("spacy-llm-ie.relation_scorer.v1")()
VOCAB = spacy.blank("en").vocab
A, B, C, D = (0, 1, "ORG"), (2, 4, "PERSON"), (5, 6, "GPE"), (7, 8, "ORG")


def make_doc(relations, words=8):
    """A document of one-letter words; relations as (head, tail, label), None for no annotation."""
    doc = Doc(VOCAB, words=["w"] * words)
    if relations is not None:
        doc._.relations = [Relation(*(Span(doc, *end[:2], label=end[2]) for end in r[:2]), r[2]) for r in relations]
    return doc


def score(*pairs, **settings):
    """Score documents, each given as (found, gold)."""
    return score_relations([Example(make_doc(found), make_doc(gold)) for found, gold in pairs], **settings)


def prf(tp, found, gold):
    p, r = tp / found, tp / gold
    return p, r, 2 * p * r / (p + r) if tp else 0.0


def values(scores, prefix):
    return tuple(scores[f"{prefix}_{k}"] for k in "prf")


def test_hits_wrong_ones_and_missed_ones():
    scores = score(
        ([(B, A, "works"), (A, C, "seat"), (D, C, "seat")], [(B, A, "works"), (B, D, "works"), (A, C, "seat")]),
        ([], [(B, A, "works")]),
        ([(B, A, "works")], []),
    )
    assert values(scores, "rels_micro") == pytest.approx(prf(2, 4, 4))
    assert scores["rels_per_type"]["works"] == pytest.approx(dict(zip("prf", prf(1, 2, 3))))
    assert scores["rels_per_type"]["seat"] == pytest.approx(dict(zip("prf", prf(1, 2, 1))))
    assert scores["rels_macro_f"] == pytest.approx((prf(1, 2, 3)[2] + prf(1, 2, 1)[2]) / 2)


def test_a_missed_entity_is_a_missed_relation():
    """The predicted document has no entity at all, so that there was no candidate: recall is 1/2, not 1."""
    scores = score(([], [(B, A, "works")]), ([(B, A, "works")], [(B, A, "works")]), candidates=lambda doc: set())
    assert values(scores, "rels_micro") == pytest.approx(prf(1, 1, 2))
    assert scores["rels_candidate_recall"] == 0.0


def test_a_wrong_type_of_an_end_counts_in_boundary_but_not_in_strict():
    scores = score(([((0, 1, "GPE"), C, "seat"), (B, A, "works")], [(A, C, "seat"), (B, A, "works")]))
    assert values(scores, "rels_micro") == pytest.approx((0.5, 0.5, 0.5))
    assert values(scores, "rels_boundary") == (1.0, 1.0, 1.0)


def test_wrong_borders_a_wrong_label_and_a_wrong_direction_are_wrong_in_both():
    for found in [((2, 3, "PERSON"), A, "works"), (B, A, "owns"), (A, B, "works")]:
        scores = score(([found], [(B, A, "works")]))
        assert values(scores, "rels_micro") == values(scores, "rels_boundary") == (0.0, 0.0, 0.0)


def test_macro_is_the_mean_over_labels_that_the_reference_has():
    scores = score(([(A, C, "seat"), (B, A, "invented")], [(A, C, "seat"), (B, A, "works"), (B, D, "works")]))
    assert scores["rels_macro_f"] == pytest.approx((1.0 + 0.0) / 2)
    assert set(scores["rels_per_type"]) == {"invented", "seat", "works"}
    assert list(scores["rels_per_type"]) == sorted(scores["rels_per_type"])


def test_facts_are_sets():
    scores = score(([(A, C, "seat"), (A, C, "seat")], [(A, C, "seat")]))
    assert values(scores, "rels_micro") == (1.0, 1.0, 1.0)


def test_several_labels_of_a_pair_are_several_facts():
    scores = score(([(A, B, "owns")], [(A, B, "owns"), (A, B, "founded")]))
    assert values(scores, "rels_micro") == pytest.approx(prf(1, 1, 2))


@pytest.mark.parametrize("symmetric", [["near"], []])
def test_direction_does_not_matter_for_symmetric_labels_only(symmetric):
    scores = score(([(D, A, "near"), (D, A, "owns")], [(A, D, "near"), (A, D, "owns")]), symmetric=symmetric)
    assert values(scores, "rels_micro")[0] == (0.5 if symmetric else 0.0)
    assert values(scores, "rels_boundary")[0] == (0.5 if symmetric else 0.0)
    both = score(([(D, A, "near"), (A, D, "near")], [(A, D, "near")]), symmetric=symmetric)
    assert values(both, "rels_micro") == pytest.approx((1.0, 1.0, 1.0) if symmetric else prf(1, 2, 1))


def test_a_symmetric_relation_between_overlapping_ends_with_other_types():
    inner, outer = (2, 3, "B"), (2, 4, "A")
    scores = score(([(inner, outer, "near")], [(outer, inner, "near")]), symmetric=["near"])
    assert values(scores, "rels_micro") == values(scores, "rels_boundary") == (1.0, 1.0, 1.0)


def test_candidate_recall_looks_at_borders_only_and_in_both_directions():
    def candidates(doc):
        return {(0, 1, 10, 11), (14, 15, 0, 1)}  # A, C; D, A: characters of one-letter words

    gold = [(A, C, "seat"), (A, D, "owns"), (B, A, "works"), ((0, 1, "X"), C, "other")]
    assert score(([], gold), candidates=candidates)["rels_candidate_recall"] == pytest.approx(3 / 4)
    assert score(([], []), candidates=candidates)["rels_candidate_recall"] is None
    assert score(([], gold))["rels_candidate_recall"] is None


def test_documents_that_are_not_annotated_are_left_out():
    one = ([(A, C, "seat")], [(A, C, "seat")])
    assert score(one, ([(B, A, "works")], None)) == score(one)
    nothing = score(([(B, A, "works")], None))
    assert all(value is None for value in nothing.values())


def test_annotated_documents_without_relations_count_what_was_found_there():
    scores = score(([(B, A, "works")], []))
    assert values(scores, "rels_micro") == (0.0, 0.0, 0.0)
    assert scores["rels_macro_f"] is None
    assert score(([], []))["rels_micro_f"] is None


def test_tokens_may_differ_since_facts_are_characters():
    reference = make_doc([(A, C, "seat")])
    predicted = Doc(VOCAB, words=["w", "w w w", "w", "w", "w", "w"])
    assert predicted.text == reference.text
    predicted._.relations = [Relation(Span(predicted, 0, 1, label="ORG"), Span(predicted, 3, 4, label="GPE"), "seat")]
    assert score_relations([Example(predicted, reference)])["rels_micro_f"] == 1.0
