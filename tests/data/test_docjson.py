"""Documents as JSON: what spaCy writes, with relations, events, scores, and back."""

import json
import warnings

import numpy
import pytest
import spacy
from hypothesis import given, settings
from hypothesis import strategies as st
from spacy import schemas
from spacy.tokens import Doc, Span, SpanGroup
from spacy.vocab import Vocab

from spacy_llm_ie import doc_to_json, json_to_doc, mark_missing
from spacy_llm_ie.annotations import LAYERS, Argument, Event, Relation, is_annotated
from spacy_llm_ie.ner.scores import get_score, set_scores

BLANK = spacy.blank("en")
TEXT = "Apple Inc. bought Beats  for $3 billion.\nDre left."
PLACES = {"apple": (0, 2, "ORG"), "beats": (3, 4, "ORG"), "price": (6, 9, "MONEY")}


def make_doc():
    doc = BLANK.make_doc(TEXT)
    apple, beats, price = (Span(doc, start, end, label=label) for start, end, label in PLACES.values())
    dre = Span(doc, 11, 12, label="PERSON", kb_id="Q1", span_id="p1")
    doc.set_ents([apple, beats, price, dre], missing=[doc[12:13]], default="outside")
    doc._.relations = [Relation(apple, beats, "owns", 0.1), Relation(dre, doc[4:6], "x")]
    doc._.events = [Event(Span(doc, 2, 3, label="buy"), "buy", 0.25, (Argument("buyer", apple, 0.5), Argument("who", dre)))]
    set_scores(doc, [(apple, 0.75), (dre, 0.5)], ())
    return doc


def there_and_back(doc, **settings_):
    """Through text, into another vocabulary."""
    return json_to_doc(Vocab(), json.loads(json.dumps(doc_to_json(doc, **settings_), allow_nan=False)))


def entities(doc):
    return [(e.text, e.start, e.label_, e.kb_id_, e.id_, get_score(e)) for e in doc.ents]


def same(doc, other):
    assert other.text == doc.text
    assert [t.text for t in other] == [t.text for t in doc]
    assert entities(other) == entities(doc)
    assert [t.ent_iob for t in other] == [t.ent_iob for t in doc]
    assert other._.relations == doc._.relations
    assert other._.events == doc._.events
    assert [is_annotated(other, x) for x in LAYERS] == [is_annotated(doc, x) for x in LAYERS]


def test_the_dictionary():
    doc = make_doc()
    before = doc.to_bytes()
    data = doc_to_json(doc)
    assert doc.to_bytes() == before, "the document is not modified"
    apple = {"start": 0, "end": 10, "token_start": 0, "token_end": 2, "label": "ORG"}
    beats = {"start": 18, "end": 23, "token_start": 3, "token_end": 4, "label": "ORG"}
    dre = {"start": 41, "end": 44, "token_start": 11, "token_end": 12, "label": "PERSON", "kb_id": "Q1", "id": "p1"}
    assert data["relations"] == [
        {"head": apple, "tail": beats, "label": "owns", "score": 0.1},
        {
            "head": dre,
            "tail": {"start": 24, "end": 28, "token_start": 4, "token_end": 6, "label": ""},
            "label": "x",
            "score": 1.0,
        },
    ]
    assert data["events"] == [
        {
            "trigger": {"start": 11, "end": 17, "token_start": 2, "token_end": 3, "label": "buy"},
            "label": "buy",
            "score": 0.25,
            "arguments": [{"role": "buyer", "span": apple, "score": 0.5}, {"role": "who", "span": dre, "score": 1.0}],
        }
    ]
    assert data["scores"] == [
        {"start": 0, "end": 10, "label": "ORG", "score": 0.75},
        {"start": 41, "end": 44, "label": "PERSON", "score": 0.5},
    ]
    assert data["ents"][3] == {"start": 41, "end": 44, "label": "PERSON", "kb_id": "Q1", "id": "p1"}
    assert data["missing"] == [{"start": 45, "end": 49}]
    assert "spans" not in data, "the groups that hold relations and events are not written twice"
    places = [r[end] for r in data["relations"] for end in ("head", "tail")] + [data["events"][0]["trigger"]]
    for place in places:
        span = doc[place["token_start"] : place["token_end"]]
        assert TEXT[place["start"] : place["end"]] == span.text


def test_it_contains_what_spacy_writes():
    doc = make_doc()
    doc.cats = {"news": 0.5}
    data, theirs = doc_to_json(doc), doc.to_json()
    for key in ("text", "tokens", "cats"):
        assert data[key] == theirs[key]
    assert not schemas.validate(schemas.DocJSONSchema, data)
    assert Doc(BLANK.vocab).from_json(data, validate=True).ents[0].text == "Apple Inc.", "spaCy reads it too"
    data["cats"]["news"] = 0.0
    assert doc.cats == {"news": 0.5}


def test_there_and_back():
    doc = make_doc()
    same(doc, there_and_back(doc))
    assert doc_to_json(there_and_back(doc)) == doc_to_json(doc)


def test_all_that_spacy_carries_comes_back():
    doc = make_doc()
    for token in doc:
        token.tag_, token.pos_, token.lemma_ = "T", "NOUN", token.text.lower()
        token.is_sent_start = token.i in (0, 11)
    doc.cats = {"news": 0.5}
    same(doc, there_and_back(doc))
    other = there_and_back(doc)
    assert [(t.tag_, t.pos_, t.lemma_, t.is_sent_start) for t in other] == [
        (t.tag_, t.pos_, t.lemma_, t.is_sent_start) for t in doc
    ]
    assert other.cats == doc.cats


@pytest.mark.parametrize("layer", LAYERS)
def test_not_annotated_is_an_absent_key(layer):
    doc = make_doc()
    mark_missing(doc, layer)
    data = doc_to_json(doc)
    assert ({"entities": "ents"}.get(layer, layer)) not in data
    same(doc, there_and_back(doc))
    if layer != "entities":
        doc._.set(layer, [])
        assert doc_to_json(doc)[layer] == []
        same(doc, there_and_back(doc))
    bare = BLANK.make_doc(TEXT)
    assert set(doc_to_json(bare)) == set(bare.to_json())
    same(bare, there_and_back(bare))


@pytest.mark.parametrize("text", ["", " ", "a", "\u4e2d\u56fd \U0001f600 e\u0301t\u00e9 \u0627\u0644 ", " \n a  b\t"])
def test_empty_unicode_and_whitespace(text):
    doc = BLANK.make_doc(text)
    doc._.relations, doc._.events = [], []
    if text.strip():
        span = next(doc[token.i : token.i + 1] for token in doc if not token.is_space)
        last = Span(doc, span.start, len(doc), label="\u00dc\U0001f600")
        doc._.relations = [Relation(span, last, "\u6301\u3064")]
        doc._.events = [Event(last, "\u00e9", arguments=[Argument("\u89d2", span)])]
    same(doc, there_and_back(doc))


def test_span_groups_keep_attrs_ids_and_scores():
    doc = make_doc()
    spans = [Span(doc, 0, 1, label="A", span_id="s1"), Span(doc, 0, 2, label="B", kb_id="Q2")]
    attrs = {"scores": numpy.array([0.5, 0.25]), "by": ("me", numpy.float32(0.5))}
    doc.spans["sc"] = SpanGroup(doc, name="sc", spans=spans, attrs=attrs)
    doc.spans["empty"] = []
    set_scores(doc, [(spans[1], 0.125)], ())
    data = doc_to_json(doc)
    assert data["span_attrs"] == {"sc": {"scores": [0.5, 0.25], "by": ["me", 0.5]}}
    assert list(data["spans"]) == ["sc", "empty"]
    other = there_and_back(doc)
    same(doc, other)
    assert [(s.text, s.label_, s.kb_id_, s.id_) for s in other.spans["sc"]] == [
        ("Apple", "A", "", "s1"),
        ("Apple Inc.", "B", "Q2", ""),
    ]
    assert get_score(other.spans["sc"][1]) == 0.125
    assert get_score(other.ents[0]) == 0.75
    assert other.spans["sc"].attrs == data["span_attrs"]["sc"]
    assert len(other.spans["empty"]) == 0


@pytest.mark.parametrize("value", [{1, 2}, float("nan"), object()])
def test_attrs_that_json_cannot_hold(value):
    doc = make_doc()
    doc.spans["sc"] = SpanGroup(doc, name="sc", spans=[doc[0:1]], attrs={"key": value})
    with pytest.raises(ValueError, match=r"IE-E187.*\['sc'\].*'key'"):
        doc_to_json(doc)


def test_custom_attributes():
    doc = make_doc()
    Doc.set_extension("docjson_note", default=None)
    Span.set_extension("docjson_note", default=None)
    try:
        doc._.docjson_note = {"a": [1]}
        doc[0:2]._.docjson_note = "span"
        data = doc_to_json(doc, underscore=["docjson_note", "relations", "events"])
        assert data["_"] == {"docjson_note": {"a": [1]}}
        other = json_to_doc(Vocab(), json.loads(json.dumps(data)))
        assert (other._.docjson_note, other[0:2]._.docjson_note) == ({"a": [1]}, "span")
        same(doc, other)
        with pytest.raises(ValueError, match="E106"):
            doc_to_json(doc, underscore=["unheard_of"])
    finally:
        Doc.remove_extension("docjson_note")
        Span.remove_extension("docjson_note")


def test_after_merging_tokens():
    doc = make_doc()
    before = doc_to_json(doc)
    with doc.retokenize() as retokenizer:
        for ent in doc.ents:
            retokenizer.merge(ent)
    data = doc_to_json(doc)
    assert [r["head"]["start"] for r in data["relations"]] == [r["head"]["start"] for r in before["relations"]]
    assert data["relations"][0]["head"]["token_end"] == 1
    same(doc, there_and_back(doc))


def test_token_offsets_and_scores_may_be_left_out():
    doc = BLANK.make_doc("Apple left")
    data = {
        **doc.to_json(),
        "relations": [{"head": {"start": 0, "end": 5}, "tail": {"start": 6, "end": 10, "label": "X"}, "label": "r"}],
        "events": [{"trigger": {"start": 6, "end": 10}, "label": "e"}],
    }
    kept = json.dumps(data)
    other = json_to_doc(BLANK.vocab, data)
    assert json.dumps(data) == kept, "the dictionary is not modified"
    assert other._.relations == (Relation(other[0:1], Span(other, 1, 2, label="X"), "r"),)
    assert other._.events == (Event(other[1:2], "e"),)


APPLE = {"start": 0, "end": 5}


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ({"start": 0, "end": 99}, r"E159.*relations\[0\], tail.*text of 10 characters"),
        ({"start": -1, "end": 5}, "E159"),
        ({"start": 3, "end": 3}, "E159"),
        ({"start": 0, "end": 4}, r"E185.*'Appl'.*whole tokens.*0 'Apple'"),
        ({"start": 5, "end": 6}, r"E185.*whole tokens.*none"),
        ({**APPLE, "token_start": 1, "token_end": 2}, r"E185.*the tokens 1 to 2 that.*0 'Apple'"),
        ({"end": 4}, "E158.*'start'"),
        ({**APPLE, "label": 3}, "E157.*'label'"),
        ({**APPLE, "token_start": "0"}, "E157.*'token_start'"),
        ("Apple", "E157.*an object"),
    ],
)
def test_a_place_outside_of_the_document_is_refused(place, message):
    data = BLANK.make_doc("Apple left").to_json()
    with pytest.raises(ValueError, match=message):
        json_to_doc(BLANK.vocab, {**data, "relations": [{"head": APPLE, "tail": place, "label": "r"}]})
    message = message.replace(r"relations\[0\], tail", r"events\[0\], arguments\[0\], span")
    event = {"trigger": APPLE, "label": "e", "arguments": [{"role": "a", "span": place}]}
    with pytest.raises(ValueError, match=message):
        json_to_doc(BLANK.vocab, {**data, "events": [event]})


@pytest.mark.parametrize(
    "wrong",
    [
        {"relations": {}},
        {"relations": [{"head": APPLE, "tail": APPLE, "label": ""}]},
        {"relations": [{"head": APPLE, "tail": APPLE}]},
        {"relations": [{"head": APPLE, "tail": APPLE, "label": "r", "score": "1"}]},
        {"relations": [{"head": APPLE, "tail": APPLE, "label": "r", "score": float("nan")}]},
        {"events": [{"label": "e"}]},
        {"events": [{"trigger": APPLE, "label": "e", "arguments": [{"span": APPLE}]}]},
        {"scores": [APPLE]},
        {"text": None},
        {"tokens": None},
        {"span_attrs": []},
    ],
)
def test_what_is_no_such_dictionary_is_refused(wrong):
    data = BLANK.make_doc("Apple left").to_json()
    with pytest.raises(ValueError, match=r"IE-E15[78].*JSON document"):
        json_to_doc(BLANK.vocab, {**data, **wrong})
    with pytest.raises(ValueError, match="IE-E157"):
        json_to_doc(BLANK.vocab, "text")


def test_tokens_that_spacy_does_not_make_again():
    doc = Doc(BLANK.vocab, words=["a", "\n", "\n", "b"], spaces=[False] * 4)
    with pytest.raises(ValueError, match=r"IE-E186.*'\\n\\n'.*'\\n'"):
        there_and_back(doc)


def test_an_attribute_of_others_is_theirs():
    mine = Doc.get_extension("relations")
    Doc.remove_extension("relations")
    Doc.set_extension("relations", default="theirs")
    try:
        assert doc_to_json(BLANK.make_doc("a"), underscore=["relations"])["_"] == {"relations": "theirs"}
    finally:
        Doc.remove_extension("relations")
        Doc.set_extension("relations", getter=mine[2], setter=mine[3])


@settings(max_examples=60, deadline=None)
@given(
    text=st.text("ab .\u00e9\u4e2d\U0001f600", max_size=30),
    places=st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1), st.sampled_from(["", "X", "\u00dc"])), max_size=6),
)
def test_any_document_comes_back(text, places):
    doc = BLANK.make_doc(text)
    spans = []
    for first, second, label in places:
        start, end = sorted((int(first * len(doc)), int(second * len(doc))))
        if start < end:
            spans.append(Span(doc, start, end, label=label))
    doc.set_ents(spacy.util.filter_spans([span for span in spans if span.label_]))
    doc._.relations = [Relation(a, b, "r", i / 8) for i, (a, b) in enumerate(zip(spans, spans[1:]))]
    doc._.events = [Event(span, "e", arguments=[Argument("a", other) for other in spans]) for span in spans]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        same(doc, there_and_back(doc))
