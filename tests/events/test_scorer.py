"""Scores of events against cases that were counted by hand."""

import pytest
import spacy
from spacy.tokens import Doc, Span, SpanGroup
from spacy.training import Example

from spacy_llm_ie import Argument, Event

score_triggers = spacy.registry.scorers.get("spacy-llm-ie.trigger_scorer.v1")()
score_argument_spans = spacy.registry.scorers.get("spacy-llm-ie.argument_span_scorer.v1")()
score_arguments = spacy.registry.scorers.get("spacy-llm-ie.argument_scorer.v1")()
VOCAB = spacy.blank("en").vocab
BUY, SUE = (2, 3), (6, 8)
A, B, C = (0, 1), (4, 5), (9, 10)


def make_doc(events):
    """Events as (trigger, label, {span: role} or [(span, role)]); None for no annotation."""
    doc = Doc(VOCAB, words=["w"] * 10)
    if events is not None:
        found = []
        for trigger, label, roles in events:
            pairs = roles.items() if isinstance(roles, dict) else roles
            found.append(Event(Span(doc, *trigger), label, arguments=[Argument(r, Span(doc, *span)) for span, r in pairs]))
        doc._.events = found
    return doc


def score(method, *pairs):
    return method([Example(make_doc(found), make_doc(gold)) for found, gold in pairs])


def prf(tp, found, gold):
    p, r = tp / found, tp / gold
    return pytest.approx((p, r, 2 * p * r / (p + r) if tp else 0.0))


def values(scores, prefix):
    return tuple(scores[f"{prefix}_{k}"] for k in "prf")


def test_triggers_by_borders_and_by_type():
    scores = score(
        score_triggers,
        ([(BUY, "sale", {}), (SUE, "lawsuit", {})], [(BUY, "acquisition", {}), (SUE, "lawsuit", {}), (C, "layoff", {})]),
        ([(A, "sale", {})], []),
    )
    assert values(scores, "triggers") == prf(1, 3, 3)
    assert values(scores, "triggers_id") == prf(2, 3, 3)
    assert scores["triggers_per_type"]["lawsuit"]["f"] == 1.0
    assert scores["triggers_per_type"]["sale"] == {"p": 0.0, "r": 0.0, "f": 0.0}
    assert set(scores["triggers_per_type"]) == {"acquisition", "lawsuit", "layoff", "sale"}


def test_two_types_on_one_trigger_are_two_triggers_and_one_place():
    scores = score(score_triggers, ([(BUY, "sale", {})], [(BUY, "sale", {}), (BUY, "layoff", {})]))
    assert values(scores, "triggers") == prf(1, 1, 2)
    assert values(scores, "triggers_id") == prf(1, 1, 1)


def test_arguments_by_borders_by_role_and_by_trigger():
    gold = [(BUY, "sale", {A: "seller", B: "buyer"}), (SUE, "lawsuit", {A: "plaintiff", C: "date"})]
    found = [
        (BUY, "sale", {A: "buyer", B: "buyer"}),  # the first has the wrong role
        (SUE, "lawsuit", {A: "plaintiff", B: "date"}),  # the second has the wrong borders
    ]
    scores = score(score_arguments, (found, gold))
    assert values(scores, "args") == prf(2, 4, 4)
    assert values(scores, "args_id") == prf(3, 4, 4)
    assert values(scores, "args_attached") == prf(2, 4, 4)
    assert scores["args_per_type"]["buyer"] == pytest.approx({"p": 0.5, "r": 1.0, "f": 2 / 3})
    assert scores["args_per_type"]["seller"]["f"] == 0.0


def test_a_wrong_event_type_makes_all_of_its_arguments_wrong():
    scores = score(score_arguments, ([(BUY, "loan", {A: "seller"})], [(BUY, "sale", {A: "seller"})]))
    assert values(scores, "args") == values(scores, "args_id") == values(scores, "args_attached") == (0.0, 0.0, 0.0)


def test_an_argument_at_another_trigger_of_the_type_counts_but_is_not_attached():
    gold = [(BUY, "sale", {A: "seller"}), (SUE, "sale", {})]
    scores = score(score_arguments, ([(BUY, "sale", {}), (SUE, "sale", {A: "seller"})], gold))
    assert values(scores, "args") == values(scores, "args_id") == (1.0, 1.0, 1.0)
    assert values(scores, "args_attached") == (0.0, 0.0, 0.0)


def test_a_missed_trigger_misses_its_arguments():
    scores = score(score_arguments, ([], [(BUY, "sale", {A: "seller", B: "buyer"})]))
    assert values(scores, "args") == (0.0, 0.0, 0.0)


def test_two_roles_of_one_span_and_one_role_of_two_spans():
    gold = [(BUY, "sale", [(A, "seller"), (A, "buyer"), (B, "buyer")])]
    scores = score(score_arguments, ([(BUY, "sale", [(A, "seller"), (B, "buyer")])], gold))
    assert values(scores, "args") == prf(2, 2, 3)
    assert values(scores, "args_id") == prf(2, 2, 2)


def test_spans_that_are_proposed_as_arguments():
    def predicted(spans):
        doc = make_doc(None)
        doc.spans["ie_argument_spans"] = SpanGroup(doc, spans=[Span(doc, *s, label=role) for s, role in spans])
        return doc

    gold = make_doc([(BUY, "sale", {A: "seller", B: "buyer"}), (SUE, "lawsuit", {A: "seller"})])
    scores = score_argument_spans(
        [
            Example(predicted([(A, "seller"), (B, "seller"), (C, "buyer")]), gold),
            Example(predicted([(A, "seller")]), make_doc(None)),
            Example(make_doc(None), make_doc([])),
        ]
    )
    assert values(scores, "arg_spans") == prf(1, 3, 2)
    assert set(scores["arg_spans_per_type"]) == {"buyer", "seller"}
    assert scores["arg_spans_per_type"]["buyer"]["f"] == 0.0


@pytest.mark.parametrize("method", [score_triggers, score_arguments, score_argument_spans])
def test_documents_that_are_not_annotated_are_left_out(method):
    one = ([(BUY, "sale", {A: "seller"})], [(BUY, "sale", {A: "seller"})])
    assert score(method, one, ([(SUE, "lawsuit", {B: "plaintiff"})], None)) == score(method, one)
    assert all(value is None for value in score(method, (one[0], None)).values())
    assert all(value is None for value in score(method, ([], [])).values())


def test_annotated_documents_without_events_count_what_was_found_there():
    scores = score(score_triggers, ([(BUY, "sale", {})], []))
    assert values(scores, "triggers") == values(scores, "triggers_id") == (0.0, 0.0, 0.0)
