"""The JSONL format: records to documents and back, and what happens to records that do not fit."""

import importlib.util
import json
import warnings
from pathlib import Path

import pytest
import spacy
from hypothesis import given, settings
from hypothesis import strategies as st
from spacy.tokens import Doc, DocBin, Span
from spacy.vocab import Vocab

from spacy_llm_ie.annotations import Event, Relation, is_annotated
from spacy_llm_ie.data.jsonl import doc_to_record, read_jsonl, record_to_doc, write_jsonl
from spacy_llm_ie.data.problems import Problems
from spacy_llm_ie.ner.scores import get_score

NEWSWIRE = Path(__file__).parents[2] / "assets" / "newswire"
TEXT = "Apple bought Beats for $3 billion."
RECORD = {
    "text": TEXT,
    "entities": [
        {"id": "T1", "start": 0, "end": 5, "label": "ORG"},
        {"id": "T2", "start": 13, "end": 18, "label": "ORG"},
        {"id": "T3", "start": 23, "end": 33, "label": "MONEY"},
    ],
    "relations": [{"head": "T1", "tail": "T2", "label": "owns"}],
    "events": [
        {
            "trigger": {"start": 6, "end": 12},
            "label": "acquisition",
            "arguments": [{"role": "buyer", "entity": "T1"}, {"role": "price", "entity": "T3"}],
        },
        {"trigger": {"start": 19, "end": 22}, "label": "x", "arguments": []},
    ],
    "meta": {"source": "test", "list": [1, [2]]},
}


@pytest.fixture(scope="module")
def nlp():
    return spacy.blank("en")


def clean(record, nlp):
    """Build a document; nothing may be reported."""
    problems = Problems()
    doc = record_to_doc(record, nlp, problems=problems)
    assert problems.render() == ""
    return doc


def through_docbin(doc):
    data = DocBin(store_user_data=True, docs=[doc]).to_bytes()
    return next(DocBin().from_bytes(data).get_docs(Vocab()))


def newswire():
    spec = importlib.util.spec_from_file_location("newswire_build", NEWSWIRE / "build.py")
    build = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(build)
    return [record for records in build.build().values() for record in records]


def test_record_to_doc(nlp):
    doc = clean(RECORD, nlp)
    assert [(e.text, e.label_) for e in doc.ents] == [("Apple", "ORG"), ("Beats", "ORG"), ("$3 billion", "MONEY")]
    assert doc._.relations == (Relation(doc.ents[0], doc.ents[1], "owns"),)
    acquisition, other = doc._.events
    assert (acquisition.trigger.text, acquisition.trigger.label_) == ("bought", "acquisition")
    assert [(a.role, a.span) for a in acquisition.arguments] == [("buyer", doc.ents[0]), ("price", doc.ents[2])]
    assert other.arguments == ()
    assert doc.user_data["meta"] == RECORD["meta"]


def test_newswire_round_trip(nlp):
    """That its spans fall on token borders is tested with the corpus."""
    count = 0
    for record in newswire():
        problems = Problems()
        doc = record_to_doc(record, nlp, problems=problems)
        if not problems.total:
            count += 1
            assert doc_to_record(doc) == record
            assert doc_to_record(through_docbin(doc)) == record
    assert count > 400


def test_a_tokenizer_is_enough(nlp):
    assert doc_to_record(record_to_doc(RECORD, nlp.tokenizer)) == RECORD


def test_a_tokenizer_that_changes_the_text_is_refused(nlp):
    with pytest.raises(ValueError, match=r"IE-E156.*x:1.*changes the text"):
        record_to_doc({"text": "two  spaces"}, lambda text: Doc(nlp.vocab, words=text.split()), where="x:1")


@pytest.mark.parametrize("layer", ["entities", "relations", "events"])
def test_absent_is_not_empty(layer, nlp):
    for record in ({"text": TEXT}, {"text": TEXT, layer: []}):
        doc = clean(record, nlp)
        assert is_annotated(doc, layer) == (layer in record)
        assert doc_to_record(doc) == record
        assert doc_to_record(through_docbin(doc)) == record
    for token in clean({"text": TEXT}, nlp):
        assert token.ent_iob_ == ""


def test_scores(nlp):
    record = json.loads(json.dumps(RECORD))
    record["entities"][1]["score"] = 0.5
    record["relations"][0]["score"] = 0.25
    record["events"][0]["score"] = 0.75
    record["events"][0]["arguments"][1]["score"] = 0.125
    doc = clean(record, nlp)
    assert [get_score(ent) for ent in doc.ents] == [None, 0.5, None]
    assert doc._.relations[0].score == 0.25
    assert doc._.events[0].score == 0.75
    assert [a.score for a in doc._.events[0].arguments] == [1.0, 0.125]
    assert doc_to_record(doc) == record
    assert doc_to_record(through_docbin(doc)) == record


def test_own_ids_and_links_are_kept(nlp):
    record = {
        "text": TEXT,
        "entities": [
            {"id": "apple", "start": 0, "end": 5, "label": "ORG", "kb_id": "Q312"},
            {"id": "T1", "start": 13, "end": 18, "label": "ORG"},
        ],
        "relations": [{"head": "apple", "tail": "T1", "label": "owns"}],
    }
    assert doc_to_record(clean(record, nlp)) == record
    assert doc_to_record(through_docbin(clean(record, nlp))) == record


def test_ids_may_be_left_out(nlp):
    record = {"text": TEXT, "entities": [{"start": 0, "end": 5, "label": "ORG"}]}
    assert doc_to_record(clean(record, nlp))["entities"][0]["id"] == "T1"
    mixed = {"text": TEXT, "entities": [{"start": 0, "end": 5, "label": "ORG"}, dict(RECORD["entities"][1], id="T1")]}
    assert [e["id"] for e in doc_to_record(clean(mixed, nlp))["entities"]] == ["T2", "T1"]


def test_entities_that_a_component_wrote_count(nlp):
    """Scores and ids of the file must not come back once doc.ents has other entities."""
    doc = clean({"text": TEXT, "entities": [{"id": "a", "start": 0, "end": 5, "label": "ORG"}]}, nlp)
    doc.ents = [Span(doc, 2, 3, label="ORG")]
    assert doc_to_record(doc)["entities"] == [{"id": "T1", "start": 13, "end": 18, "label": "ORG"}]


def test_facts_between_spans_that_are_no_entities(nlp):
    doc = nlp.make_doc(TEXT)
    doc._.relations = [Relation(doc[0:1], Span(doc, 2, 3, label="ORG"), "owns")]
    record = doc_to_record(doc)
    assert record == {
        "text": TEXT,
        "relations": [{"head": {"start": 0, "end": 5}, "tail": {"start": 13, "end": 18, "label": "ORG"}, "label": "owns"}],
    }
    assert clean(record, nlp)._.relations == doc._.relations
    doc._.events = [Event(doc[1:2], "x", arguments=()), Event(Span(doc, 1, 2, label="y"), "x")]
    triggers = [event["trigger"] for event in doc_to_record(doc)["events"]]
    assert triggers == [{"start": 6, "end": 12}, {"start": 6, "end": 12, "label": "y"}]


def test_argument_by_place(nlp):
    record = {
        "text": TEXT,
        "events": [
            {
                "trigger": {"start": 6, "end": 12, "text": "bought"},
                "label": "a",
                "arguments": [{"role": "price", "start": 23, "end": 33, "label": "MONEY"}],
            }
        ],
    }
    doc = clean(record, nlp)
    assert doc._.events[0].arguments[0].span.label_ == "MONEY"


# Tokens and sentences


def test_given_tokens_are_kept(nlp):
    record = {
        "text": "Smad-phosphorylation  of Id1\n.",
        "tokens": [{"start": s, "end": e} for s, e in [(0, 4), (4, 5), (5, 20), (22, 24), (25, 28), (29, 30)]],
        "entities": [{"id": "T1", "start": 0, "end": 4, "label": "GGP"}],
    }
    doc = clean(record, nlp)
    assert doc.text == record["text"]
    assert [t.text for t in doc] == ["Smad", "-", "phosphorylation", " ", "of", "Id1", "\n", "."]
    again = doc_to_record(doc)
    assert again["text"] == record["text"]
    assert [t for t in again["tokens"] if record["text"][t["start"] : t["end"]].strip()] == record["tokens"]
    assert doc_to_record(clean(again, nlp)) == again
    assert doc_to_record(through_docbin(doc)) == again


def test_unknown_spaces(nlp):
    doc = Doc(nlp.vocab, words=["EU", "rejects", "it"])
    doc.set_ents([Span(doc, 0, 1, label="ORG")])
    record = doc_to_record(doc)
    assert record["text"] == "EU rejects it"
    assert record["unknown_spaces"] is True
    again = clean(record, nlp)
    assert again.has_unknown_spaces
    assert [t.text for t in again] == ["EU", "rejects", "it"]
    assert doc_to_record(again) == record
    assert doc_to_record(through_docbin(again)) == record
    with pytest.raises(ValueError, match=r"IE-E156.*one space"):
        record_to_doc({**record, "text": "EU rejects\nit"}, nlp)


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        ([(0, 5)], "end of the text: ' bought Beats"),
        ([(0, 12), (13, 20), (18, 34)], "begins before"),
        ([(6, 12), (0, 5)], "'Apple "),
        ([(0, 99)], "E159"),
    ],
)
def test_tokens_that_do_not_cover_the_text(tokens, message, nlp):
    record = {"text": TEXT, "tokens": [{"start": s, "end": e} for s, e in tokens]}
    with pytest.raises(ValueError, match=message):
        record_to_doc(record, nlp, where="x.jsonl:3")


def test_sentences(nlp):
    record = {"text": "It rains. Go home.", "sentences": [{"start": 0, "end": 9}, {"start": 10, "end": 18}]}
    doc = clean(record, nlp)
    assert [s.text for s in doc.sents] == ["It rains.", "Go home."]
    assert doc_to_record(doc) == record
    assert doc_to_record(through_docbin(doc)) == record
    assert "sentences" not in doc_to_record(nlp.make_doc("It rains. Go home."))
    problems = Problems()
    record["sentences"][1]["start"] = 11
    doc = record_to_doc(record, nlp, problems=problems)
    assert problems.counts == {"sentence": 1}
    assert len(list(doc.sents)) == 1
    record["sentences"].reverse()
    with pytest.raises(ValueError, match="not in order"):
        record_to_doc(record, nlp)


def test_one_token_has_no_sentences_to_tell(nlp):
    assert doc_to_record(nlp.make_doc("Hello")) == {"text": "Hello"}


def test_empty_text(nlp):
    assert doc_to_record(clean({"text": "", "relations": []}, nlp))["relations"] == []


# Spans that do not fit


def test_misaligned_span_is_reported_and_missing(nlp):
    record = json.loads(json.dumps(RECORD))
    record["entities"][0]["end"] = 3
    problems = Problems()
    doc = record_to_doc(record, nlp, where="train.jsonl:7", problems=problems)
    assert problems.counts == {"misaligned": 1, "relation": 1, "argument": 1}
    example = problems.examples["misaligned"][0]
    assert example == "train.jsonl:7, entities[0]: 'App' (0:3); the tokens: Apple | bought"
    assert [e.text for e in doc.ents] == ["Beats", "$3 billion"]
    assert doc[0].ent_iob_ == "", "the token is missing, not outside"
    assert doc[1].ent_iob_ == "O"
    again = doc_to_record(doc)
    assert again["missing"] == [{"start": 0, "end": 5}]
    assert clean(again, nlp)[0].ent_iob_ == ""
    assert doc._.relations == ()
    assert [a.role for a in doc._.events[0].arguments] == ["price"]


def test_misaligned_trigger_takes_its_event_along(nlp):
    record = {"text": TEXT, "events": [{"trigger": {"start": 6, "end": 9}, "label": "a", "arguments": []}]}
    problems = Problems()
    doc = record_to_doc(record, nlp, problems=problems)
    assert problems.counts == {"misaligned": 1, "event": 1}
    assert doc._.events == ()


def test_without_a_collector_a_warning_tells(nlp):
    record = {"text": TEXT, "entities": [{"start": 1, "end": 5, "label": "ORG"}]}
    with pytest.warns(UserWarning, match=r"IE-W151.*a:1.*1 place[\s\S]*'pple'"):
        record_to_doc(record, nlp, where="a:1")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        record_to_doc(RECORD, nlp)


def test_whitespace_at_the_edges_is_taken_off(nlp):
    record = {"text": TEXT, "entities": [{"start": 12, "end": 19, "label": "ORG"}]}
    problems = Problems()
    doc = record_to_doc(record, nlp, problems=problems)
    assert [e.text for e in doc.ents] == ["Beats"]
    assert problems.counts == {"trimmed": 1}
    only_space = {"text": TEXT, "entities": [{"start": 5, "end": 6, "label": "ORG"}]}
    assert record_to_doc(only_space, nlp, problems=problems).ents == ()
    assert problems.counts["misaligned"] == 1


def test_overlapping_entities(nlp):
    record = {
        "text": TEXT,
        "entities": [
            {"id": "T1", "start": 0, "end": 5, "label": "ORG"},
            {"id": "T2", "start": 23, "end": 33, "label": "MONEY"},
            {"id": "T3", "start": 24, "end": 25, "label": "NUMBER"},
            {"id": "T4", "start": 24, "end": 33, "label": "AMOUNT"},
        ],
        "relations": [{"head": "T1", "tail": "T3", "label": "paid"}],
    }
    problems = Problems()
    doc = record_to_doc(record, nlp, problems=problems)
    assert [e.label_ for e in doc.ents] == ["ORG", "MONEY"]
    assert [s.label_ for s in doc.spans["ie_entities"]] == ["ORG", "MONEY", "AMOUNT", "NUMBER"]
    assert problems.counts == {"overlap": 2}
    assert doc._.relations[0].tail.label_ == "NUMBER"
    again = doc_to_record(doc)
    key = "start end label".split()
    assert {tuple(e[k] for k in key) for e in again["entities"]} == {tuple(e[k] for k in key) for e in record["entities"]}
    assert doc_to_record(through_docbin(doc)) == again
    assert "ie_entities" not in clean(RECORD, nlp).spans


def test_the_same_twice_is_kept_once(nlp):
    record = json.loads(json.dumps(RECORD))
    record["entities"].append({**record["entities"][0], "id": "T9"})
    record["relations"].append({"head": "T9", "tail": "T2", "label": "owns"})
    record["events"].append(record["events"][0])
    problems = Problems()
    doc = record_to_doc(record, nlp, problems=problems)
    assert problems.counts == {"duplicate": 3}
    assert (len(doc.ents), len(doc._.relations), len(doc._.events)) == (3, 1, 2)


def test_unknown_keys_are_counted(nlp):
    record = {"text": TEXT, "entites": [], "entities": [{"start": 0, "end": 5, "label": "ORG", "type": 1}]}
    problems = Problems()
    record_to_doc(record, nlp, where="a:1", problems=problems)
    assert problems.counts == {"unknown_key": 2}
    assert problems.examples["unknown_key"][0].startswith("a:1: 'entites' (the format has text, ")


E = {"start": 0, "end": 5, "label": "ORG"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"text": 3}, "'text' must be a string, and is the number 3"),
        ({"text": None}, "'text' must be a string, and is null"),
        ({"text": "\ud83d"}, "surrogate"),
        ({"entities": {}}, "'entities' must be a list"),
        ({"entities": None}, "'entities' must be a list"),
        ({"entities": ["x"]}, r"entities\[0\]: 'entities\[0\]' must be an object"),
        ({"entities": [{"start": 0, "end": 5}]}, r"entities\[0\]: 'label' is missing"),
        ({"entities": [{**E, "label": ""}]}, "'label' must be a string, not empty"),
        ({"entities": [{**E, "id": 1}]}, "'id' must be a string"),
        ({"entities": [{**E, "start": "0"}]}, "'start' must be a whole number"),
        ({"entities": [{**E, "start": True}]}, "'start' must be a whole number"),
        ({"entities": [{**E, "end": 5.0}]}, "'end' must be a whole number"),
        ({"entities": [{**E, "end": 0}]}, r"E159.*start 0 and end 0"),
        ({"entities": [{**E, "start": 9}]}, "E159"),
        ({"entities": [{**E, "start": -1}]}, "E159"),
        ({"entities": [{**E, "end": 99}]}, r"E159.*34 characters"),
        ({"entities": [{**E, "text": "Beats"}]}, "E162.*'Apple'.*'Beats'"),
        ({"entities": [{**E, "score": "high"}]}, "'score' must be a number"),
        ({"entities": [{**E, "score": float("nan")}]}, "'score' must be a number"),
        ({"entities": [{**E, "id": "a"}, {**E, "id": "a", "label": "X"}]}, "E160.*'a' is given twice.*'Apple'"),
        ({"relations": [{"head": "T9", "tail": "T1", "label": "x"}]}, r"E161.*relations\[0\].*'T9'.*T1, T2, T3"),
        ({"relations": [{"head": "T1", "label": "x"}]}, "'tail' is missing"),
        ({"relations": [{"head": "T1", "tail": "T2", "label": ""}]}, "'label' must be a string, not empty"),
        ({"relations": [{"head": {"start": 4, "end": 2}, "tail": "T2", "label": "x"}]}, "E159"),
        ({"relations": [{"head": 0, "tail": "T2", "label": "x"}]}, "'head' must be a string"),
        ({"events": [{"label": "x"}]}, "'trigger' is missing"),
        ({"events": [{"trigger": {"start": 0}, "label": "x"}]}, "trigger: 'end' is missing"),
        ({"events": [{"trigger": E, "label": "x", "arguments": [{"role": "r"}]}]}, "'start' is missing"),
        ({"events": [{"trigger": E, "label": "x", "arguments": [{"entity": "T1"}]}]}, "'role' is missing"),
        ({"events": [{"trigger": E, "label": "x", "arguments": [{"role": "r", "entity": "T7"}]}]}, "E161"),
        ({"meta": 3}, "'meta' must be an object"),
        ({"unknown_spaces": True}, "without 'tokens'"),
    ],
)
def test_bad_records_are_refused_with_their_place(change, message, nlp):
    with pytest.raises(ValueError, match=message) as error:
        record_to_doc({**RECORD, **change}, nlp, where="train.jsonl:12")
    assert "train.jsonl:12" in str(error.value)
    assert str(error.value).startswith("[IE-E1")


def test_missing_without_entities_is_refused(nlp):
    with pytest.raises(ValueError, match="'missing' is given without 'entities'"):
        record_to_doc({"text": TEXT, "missing": []}, nlp)


def test_relations_need_their_entities(nlp):
    with pytest.raises(ValueError, match="Known ids: none"):
        record_to_doc({"text": TEXT, "relations": RECORD["relations"]}, nlp)


# Files


def write(tmp_path, data):
    path = tmp_path / "a.jsonl"
    path.write_bytes(data if isinstance(data, bytes) else data.encode("utf8"))
    return path


def test_read_and_write(tmp_path, nlp):
    path = tmp_path / "a.jsonl"
    records = [RECORD, {"text": "Zürich 🙂\u2028line\x85"}]
    assert write_jsonl(path, records) == 2
    assert list(read_jsonl(path)) == [(1, records[0]), (2, records[1])]
    assert "Zürich" in path.read_text(encoding="utf8")


def test_lines_keep_their_numbers(tmp_path):
    path = write(tmp_path, b'\xef\xbb\xbf{"text": "a"}\r\n\r\n  \n{"text": "b"}')
    assert list(read_jsonl(path)) == [(1, {"text": "a"}), (4, {"text": "b"})]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b'{"text": "a"', "a.jsonl:2: not valid JSON"),
        (b"[1]", "a.jsonl:2: expected one JSON object a line, found list"),
        (b'{"text": "\xff"}', "a.jsonl:2: not UTF-8"),
        (b'{"text": "a", "text": "b"}', "a.jsonl:2.*'text' is given twice"),
    ],
)
def test_bad_lines_are_refused_with_their_place(line, message, tmp_path):
    path = write(tmp_path, b'{"text": "a"}\n' + line)
    with pytest.raises(ValueError, match=message):
        list(read_jsonl(path))


def test_what_json_cannot_hold_is_refused(tmp_path, nlp):
    with pytest.raises(ValueError, match=r"IE-E178.*document 1"):
        write_jsonl(tmp_path / "a.jsonl", [{"meta": {"x": object()}}])


# Anything


@st.composite
def records(draw):
    words = draw(st.lists(st.text(st.sampled_from("aé漢🙂.-'"), min_size=1, max_size=4), min_size=1, max_size=8))
    gaps = draw(st.lists(st.sampled_from(["", " ", "  ", "\n"]), min_size=len(words), max_size=len(words)))
    text = "".join(word + gap for word, gap in zip(words, gaps))
    starts = [len("".join(w + g for w, g in zip(words[:i], gaps[:i]))) for i in range(len(words))]
    tokens = [{"start": s, "end": s + len(w)} for s, w in zip(starts, words)]
    borders = sorted(draw(st.sets(st.integers(0, len(words)), min_size=2)) | {0, len(words)})
    entities = []
    for first, last in zip(borders, borders[1:]):
        if draw(st.booleans()):
            place = {"start": tokens[first]["start"], "end": tokens[last - 1]["end"]}
            entities.append({"id": f"T{len(entities) + 1}", **place, "label": draw(st.sampled_from("AB"))})
    record = {"text": text, "tokens": tokens, "entities": entities}
    if entities:
        ids = st.sampled_from([e["id"] for e in entities])
        pairs = draw(st.sets(st.tuples(ids, ids, st.sampled_from("rs"))))
        record["relations"] = [{"head": h, "tail": t, "label": label} for h, t, label in pairs]
    return record


@settings(max_examples=60, deadline=None)
@given(record=records())
def test_any_record_round_trips(record):
    doc = clean(record, BLANK)
    assert doc.text == record["text"]
    again = doc_to_record(doc)
    for key in ("text", "entities", "relations"):
        assert again.get(key) == record.get(key)
    assert doc_to_record(clean(again, BLANK)) == again
    assert doc_to_record(through_docbin(doc)) == again


BLANK = spacy.blank("en")
