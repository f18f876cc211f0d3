"""Annotation goes along into pieces of documents and joined documents."""

import re
import warnings
from collections import Counter

import numpy
import pytest
import spacy
from hypothesis import given, settings
from hypothesis import strategies as st
from spacy.tokens import Doc, Span, SpanGroup, Token

from spacy_llm_ie import join_docs, span_as_doc
from spacy_llm_ie.annotations import LAYERS, Argument, Event, Relation, is_annotated, mark_missing
from spacy_llm_ie.carry import entities_of
from spacy_llm_ie.data.jsonl import doc_to_record, record_to_doc
from spacy_llm_ie.ner.scores import get_score, set_scores

BLANK = spacy.blank("en")
TEXT = "Apple Inc. bought Beats for $3 billion. Dre sold Beats to Apple. He left."


def make_doc(text=TEXT, vocab=BLANK):
    """Three sentences; owns within the first, employs across two, an event in each of two, one with an argument beyond."""
    doc = vocab.make_doc(text)
    apple, beats = Span(doc, 0, 2, label="ORG"), Span(doc, 3, 4, label="ORG")
    price, dre, other = (
        Span(doc, 5, 8, label="MONEY"),
        Span(doc, 9, 10, label="PERSON", kb_id="Q1"),
        Span(doc, 11, 12, label="ORG"),
    )
    doc.set_ents([apple, beats, price, dre, other])
    doc._.relations = [
        Relation(apple, beats, "owns", 0.5),
        Relation(apple, dre, "employs"),
        Relation(dre, other, "sells", 0.25),
    ]
    doc._.events = [
        Event(doc[2:3], "buy", 0.25, (Argument("buyer", apple), Argument("price", price, 0.5), Argument("seller", dre))),
        Event(doc[10:11], "sell", arguments=(Argument("target", other),)),
    ]
    set_scores(doc, [(apple, 0.75), (dre, 0.5), (other, 0.125)], ["ORG", "PERSON"])
    return doc


def facts(doc, offset=0):
    """Everything in doc.ents, relations and events, with token places moved by `offset`."""

    def place(span):
        return (span.start + offset, span.end + offset, span.label_, span.kb_id_, span.text)

    entities = [(place(e), get_score(e)) for e in doc.ents]
    relations = [(place(r.head), place(r.tail), r.label, r.score) for r in doc._.relations]
    events = [
        (place(e.trigger), e.label, e.score, [(a.role, place(a.span), a.score) for a in e.arguments]) for e in doc._.events
    ]
    return entities, relations, events


def quietly(function, *args, **settings):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return function(*args, **settings)


# span_as_doc


def test_a_span_with_everything_inside():
    doc = make_doc()
    before = facts(doc)
    piece = quietly(span_as_doc, doc[0:18])
    assert facts(piece) == before
    assert piece is not doc
    assert piece._.relations[0].head.doc is piece
    assert facts(doc) == before, "the document is not modified"


def test_what_crosses_the_border_is_told_in_one_warning():
    doc = make_doc()
    message = r"IE-W157\] 2 annotation.*border of the span 9:18.*relation: 1, event: 1.*'Apple Inc.'"
    with pytest.warns(UserWarning, match=message) as caught:
        piece = span_as_doc(doc[9:18])
    assert len(caught) == 1
    assert caught[0].filename == __file__
    entities, relations, events = facts(piece, 9)
    whole = facts(doc)
    assert entities == whole[0][3:]
    assert relations == whole[1][2:]
    assert events == whole[2][1:]
    with pytest.warns(UserWarning, match=r"IE-W157\] 2 annotation.*relation: 1, argument: 1"):
        piece = span_as_doc(doc[0:9])
    assert [a.role for a in piece._.events[0].arguments] == ["buyer", "price"], "an event keeps the arguments inside"
    assert len(doc._.events[0].arguments) == 3


def test_what_lies_outside_altogether_is_not_told():
    doc = make_doc()
    piece = quietly(span_as_doc, doc[15:18])
    assert facts(piece) == ([], [], [])
    assert all(is_annotated(piece, layer) for layer in LAYERS)


def test_an_entity_across_the_border_is_missing_and_told():
    doc = make_doc()
    with pytest.warns(UserWarning, match=r"W157.*entity: 1, relation: 2, argument: 2\), for example 'Apple Inc.' ORG"):
        piece = span_as_doc(doc[1:9])
    assert [e.text for e in piece.ents] == ["Beats", "$3 billion"]
    assert piece[0].ent_iob_ == ""
    assert piece[1].ent_iob_ == "O"


@pytest.mark.parametrize("layer", ["relations", "events"])
def test_missing_stays_missing(layer):
    doc = make_doc()
    mark_missing(doc, layer)
    piece = quietly(span_as_doc, doc[0:18])
    assert {x for x in LAYERS if not is_annotated(piece, x)} == {layer}
    bare = quietly(span_as_doc, BLANK.make_doc(TEXT)[0:9])
    assert not any(is_annotated(bare, x) for x in LAYERS)


def test_user_data_and_scores():
    doc = make_doc()
    doc._.relations, doc._.events = [], []
    Token.set_extension("carry_note", default=None)
    Doc.set_extension("carry_note", default=None)
    try:
        doc[9]._.carry_note, doc[0]._.carry_note, doc._.carry_note = ["in"], ["out"], "whole"
        doc.user_data["meta"] = {"source": "x"}
        plain = quietly(span_as_doc, doc[9:12])
        copied = quietly(span_as_doc, doc[9:12], copy_user_data=True)
        assert [get_score(e) for e in plain.ents] == [get_score(e) for e in copied.ents] == [0.5, 0.125]
        assert len(plain.user_data) == 2, "scores of other spans stay where they are"
        assert (plain[0]._.carry_note, copied[0]._.carry_note) == (None, ["in"])
        assert copied.user_data["meta"] == {"source": "x"}
        assert copied._.carry_note is None, "a value of the whole document is not one of the piece, as in spaCy"
        copied[0]._.carry_note.append("x")
        assert doc[9]._.carry_note == ["in"]
        assert "meta" not in plain.user_data
    finally:
        Token.remove_extension("carry_note")
        Doc.remove_extension("carry_note")


def add_groups(doc):
    spans = [doc[0:1], doc[8:10], doc[15:17]]
    doc.spans["sc"] = SpanGroup(doc, name="sc", spans=spans, attrs={"scores": [0.1, 0.2, 0.3], "by": {"name": "me"}})
    doc.spans["spancat"] = SpanGroup(doc, name="sc", spans=spans, attrs={"scores": numpy.array([0.1, 0.2, 0.3])})
    doc.spans["empty"] = []
    doc.spans["gap"] = [doc[4:4]]
    return doc


def test_span_groups_with_values_for_each_span():
    doc = add_groups(make_doc())
    with pytest.warns(UserWarning, match=r"span: 2"):
        piece = span_as_doc(doc[9:18])
    assert [s.text for s in piece.spans["sc"]] == ["He left"]
    assert piece.spans["sc"].attrs == {"scores": [0.3], "by": {"name": "me"}}
    assert piece.spans["spancat"].attrs["scores"].tolist() == [0.3]
    assert isinstance(piece.spans["spancat"].attrs["scores"], numpy.ndarray)
    assert len(piece.spans["empty"]) == 0
    piece.spans["sc"].attrs["by"]["name"] = "you"
    assert doc.spans["sc"].attrs["by"] == {"name": "me"}


def test_overlapping_entities_come_along():
    doc = make_doc()
    outer, inner = Span(doc, 0, 4, label="DEAL"), Span(doc, 0, 2, label="ORG")
    doc.spans["ie_entities"] = SpanGroup(doc, name="ie_entities", spans=[outer, inner], attrs={"ids": ["a", "b"]})
    doc.set_ents([outer])
    doc._.relations, doc._.events = [Relation(inner, outer, "in")], []
    piece = quietly(span_as_doc, doc[0:5])
    assert [(s.text, name) for s, name, _ in entities_of(piece)] == [("Apple Inc. bought Beats", "a"), ("Apple Inc.", "b")]
    with pytest.warns(UserWarning, match="entity: 1, relation: 1"):
        piece = span_as_doc(doc[0:3])
    assert [(s.text, name) for s, name, _ in entities_of(piece)] == [("Apple Inc.", "b")], "freed by the one that is cut"
    assert [t.ent_iob_ for t in piece] == ["B", "I", ""]


def test_a_span_after_merging_tokens():
    doc = make_doc()
    with doc.retokenize() as retokenizer:
        for ent in doc.ents:
            retokenizer.merge(ent)
    piece = span_as_doc(doc[0 : len(doc)])
    assert [repr(r) for r in piece._.relations] == [repr(r) for r in make_doc()._.relations]


def test_empty_spans_and_documents():
    doc = add_groups(make_doc())
    for span in (doc[3:3], doc[1:1], doc[18:18], BLANK.make_doc("")[0:0]):
        piece = quietly(span_as_doc, span, copy_user_data=True)
        assert (len(piece), piece._.relations, piece._.events) == (0, (), ())
        assert is_annotated(piece, "relations") == bool(span.doc.text)
    with pytest.raises(ValueError, match=r"IE-E188.*a Span"):
        span_as_doc(doc)


# join_docs


def test_joined_documents_have_the_facts_of_all():
    docs = [make_doc(), BLANK.make_doc(""), make_doc(), make_doc(TEXT + " ")]
    joined = quietly(join_docs, docs)
    offset = 0
    expected = ([], [], [])
    for doc in docs:
        for layer, found in zip(expected, facts(doc, offset)):
            layer.extend(found)
        offset += len(doc)
    assert facts(joined) == expected
    assert len(joined._.relations) == 9
    assert joined.text == f"{TEXT} {TEXT} {TEXT} "
    assert joined._.events[-1].trigger.doc is joined
    assert len(docs[0]._.relations) == 3


def test_joining_is_from_docs():
    docs = [make_doc(), make_doc()]
    for settings_ in ({}, {"ensure_whitespace": False}, {"attrs": ["ENT_TYPE", "ENT_IOB"]}, {"exclude": ["user_data"]}):
        ours, theirs = join_docs(docs, **settings_), Doc.from_docs(docs, **settings_)
        assert ours.text == theirs.text
        assert ours.to_bytes(exclude=["spans", "user_data"]) == theirs.to_bytes(exclude=["spans", "user_data"])
        assert ours.user_data == theirs.user_data
        assert len(ours._.relations) == 6
    without = quietly(join_docs, docs, exclude=["spans"])
    assert not is_annotated(without, "relations")
    assert join_docs([]) is None
    assert facts(join_docs(iter(docs[:1]))) == facts(docs[0])
    with pytest.raises(ValueError, match="E999"):
        join_docs([make_doc(), make_doc(vocab=spacy.blank("en"))])


@pytest.mark.parametrize("layer", ["relations", "events"])
def test_missing_is_not_negative(layer):
    docs = [make_doc(), make_doc(), make_doc()]
    mark_missing(docs[1], layer)
    message = rf"IE-W155\].*{layer}: 1 of 3 documents are not.*\d {layer} were left out"
    with pytest.warns(UserWarning, match=message) as caught:
        joined = join_docs(docs)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert {x for x in LAYERS if not is_annotated(joined, x)} == {layer}
    for doc in docs:
        mark_missing(doc, layer)
    assert not is_annotated(quietly(join_docs, docs), layer)


def test_documents_without_tokens_do_not_count():
    empty = BLANK.make_doc("")
    assert is_annotated(quietly(join_docs, [make_doc(), empty]), "relations")
    known = BLANK.make_doc("")
    known._.relations = []
    unknown = BLANK.make_doc("Nothing known.")
    assert not is_annotated(quietly(join_docs, [known, unknown]), "relations")
    assert is_annotated(quietly(join_docs, [known, empty]), "relations")
    assert not is_annotated(quietly(join_docs, [empty, empty]), "relations")


def test_none_found_is_annotated():
    docs = [BLANK.make_doc("One."), make_doc()]
    docs[0]._.relations, docs[0]._.events = [], []
    joined = quietly(join_docs, docs)
    assert len(joined._.relations) == 3
    docs[1]._.relations = []
    assert is_annotated(quietly(join_docs, docs), "relations")


def test_entities_that_are_missing_stay_missing():
    docs = [make_doc(), BLANK.make_doc("Nothing known.")]
    for doc in docs:
        mark_missing(doc, "relations")
        mark_missing(doc, "events")
    joined = quietly(join_docs, docs)
    assert [t.ent_iob_ for t in joined][-3:] == ["", "", ""]
    assert len(joined.ents) == 5


def test_attrs_of_span_groups_are_joined():
    first, second = add_groups(make_doc()), add_groups(make_doc())
    joined = quietly(join_docs, [first, none_there(), second])
    assert [s.start for s in joined.spans["sc"]] == [0, 8, 15, 19, 27, 34]
    assert joined.spans["sc"].attrs == {"scores": [0.1, 0.2, 0.3] * 2, "by": {"name": "me"}}
    assert joined.spans["spancat"].attrs["scores"].tolist() == [0.1, 0.2, 0.3] * 2
    assert len(joined.spans["gap"]) == 2
    assert len(joined.spans["empty"]) == 0


def none_there():
    doc = BLANK.make_doc("None")
    doc._.relations, doc._.events = [], []
    return doc


def test_attrs_that_differ_are_told():
    docs = [add_groups(make_doc()), add_groups(make_doc())]
    docs[1].spans["sc"].attrs["by"] = "somebody else"
    del docs[1].spans["spancat"].attrs["scores"]
    with pytest.warns(UserWarning, match=r"IE-W156.*\['sc'\].attrs\['by'\], doc.spans\['spancat'\].attrs\['scores'\]"):
        joined = join_docs(docs)
    assert list(joined.spans["sc"].attrs) == ["scores"]
    assert joined.spans["spancat"].attrs == {}


def test_ids_of_entities_stay_unique():
    record = {
        "text": "Apple Inc. left",
        "entities": [
            {"id": "T1", "start": 0, "end": 5, "label": "ORG"},
            {"id": "x", "start": 0, "end": 10, "label": "ORG"},
        ],
        "relations": [{"head": "T1", "tail": "x", "label": "in"}],
    }
    with pytest.warns(UserWarning, match="overlapping"):
        docs = [record_to_doc(record, BLANK), record_to_doc(record, BLANK)]
    plain = BLANK.make_doc("Beats left")
    plain.ents = [Span(plain, 0, 1, label="ORG")]
    plain._.relations = []
    with pytest.warns(UserWarning, match="W102") if docs[0].user_data else warnings.catch_warnings():
        joined = join_docs([*docs, plain])
    assert [(s.text, name) for s, name, _ in entities_of(joined)] == [
        *(("Apple Inc.", "x"), ("Apple", "T1"), ("Apple Inc.", ""), ("Apple", ""), ("Beats", "")),
    ]
    written = doc_to_record(joined)
    assert len({e["id"] for e in written["entities"]}) == 5
    with pytest.warns(UserWarning, match="overlapping"):
        again = record_to_doc(written, BLANK)
    assert again._.relations == joined._.relations
    assert joined.spans["ie_entities"].attrs["ids"][2:] == ["", "", ""]


def test_unknown_spaces_and_unicode():
    docs = [Doc(BLANK.vocab, words=["\U0001f600", "e\u0301"]), BLANK.make_doc("\u4e2d\u56fd 1")]
    for doc in docs:
        doc.ents = [Span(doc, 1, 2, label="\u00dc")]
        set_scores(doc, [(doc.ents[0], 0.5)], ())
        doc._.relations, doc._.events = [Relation(doc[0:1], doc.ents[0], "\u6301")], []
    joined = quietly(join_docs, docs)
    assert joined.has_unknown_spaces
    assert not quietly(join_docs, docs[1:]).has_unknown_spaces
    assert [(r.head.text, r.tail.text) for r in joined._.relations] == [("\U0001f600", "e\u0301"), ("\u4e2d\u56fd", "1")]
    assert [get_score(e) for e in joined.ents] == [0.5, 0.5]
    assert quietly(span_as_doc, joined[2:4])._.relations == docs[1]._.relations


def test_joining_after_merging_tokens():
    docs = [make_doc(), make_doc()]
    for doc in docs:
        with doc.retokenize() as retokenizer:
            for ent in doc.ents:
                retokenizer.merge(ent)
    joined = quietly(join_docs, docs)
    assert [r.head.text for r in joined._.relations] == ["Apple Inc.", "Apple Inc.", "Dre"] * 2


@st.composite
def annotated_docs(draw):
    n = draw(st.integers(0, 12))
    doc = Doc(BLANK.vocab, words=["w"] * n, spaces=draw(st.lists(st.booleans(), min_size=n, max_size=n)))
    borders = sorted(draw(st.sets(st.integers(0, n), max_size=8)))
    spans = [Span(doc, a, b, label=draw(st.sampled_from("XY"))) for a, b in zip(borders, borders[1:])]
    doc.set_ents(draw(st.lists(st.sampled_from(spans), unique=True)) if spans else [])
    set_scores(doc, [(e, e.start / 16) for e in doc.ents], ())
    doc._.relations, doc._.events = [], []
    if spans:
        pick = st.sampled_from(spans)
        doc._.relations = [Relation(a, b, "r", 0.5) for a, b in draw(st.lists(st.tuples(pick, pick), max_size=5))]
        triggers = draw(st.lists(st.tuples(pick, st.lists(pick, max_size=3)), max_size=3))
        doc._.events = [Event(t, "e", 0.25, [Argument("a", a) for a in args]) for t, args in triggers]
    return doc


@settings(max_examples=60, deadline=None)
@given(docs=st.lists(annotated_docs(), min_size=1, max_size=4))
def test_pieces_of_a_joined_document_are_the_documents(docs):
    joined = quietly(join_docs, docs)
    start = 0
    for doc in docs:
        piece = quietly(span_as_doc, joined[start : start + len(doc)])
        assert facts(piece) == facts(doc)
        assert all(is_annotated(piece, layer) for layer in LAYERS)
        start += len(doc)


@settings(max_examples=60, deadline=None)
@given(doc=annotated_docs(), data=st.data())
def test_all_that_touches_is_kept_or_counted(doc, data):
    start = data.draw(st.integers(0, len(doc)))
    end = data.draw(st.integers(start, len(doc)))
    counts = Counter()

    def touches(*spans):
        return any(max(start, s.start) < min(end, s.end) for s in spans)

    def inside(*spans):
        return all(start <= s.start and s.end <= end for s in spans)

    counts["entity"] = sum(touches(e) and not inside(e) for e in doc.ents)
    counts["relation"] = sum(touches(r.head, r.tail) and not inside(r.head, r.tail) for r in doc._.relations)
    counts["event"] = sum(touches(e.trigger, *(a.span for a in e.arguments)) and not inside(e.trigger) for e in doc._.events)
    counts["argument"] = sum(inside(e.trigger) and not inside(a.span) for e in doc._.events for a in e.arguments)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        piece = span_as_doc(doc[start:end])
    told = dict(re.findall(r"(\w+): (\d+)", str(caught[0].message).split(" left out (")[1].split(")")[0]) if caught else ())
    assert told == {kind: str(count) for kind, count in counts.items() if count}
    assert len(piece._.relations) == sum(inside(r.head, r.tail) for r in doc._.relations)
    assert len(piece._.events) == sum(inside(e.trigger) for e in doc._.events)
