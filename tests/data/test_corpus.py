"""The reader: files to examples, long documents to pieces, facts through augmenters."""

import inspect
import warnings

import pytest
import spacy
from hypothesis import given, settings
from hypothesis import strategies as st
from spacy.tokens import Doc, DocBin, Span
from spacy.training import Corpus as SpacyCorpus
from spacy.training.augment import create_lower_casing_augmenter, create_orth_variants_augmenter
from spacy.util import registry

from spacy_llm_ie.annotations import Argument, Event, Relation, is_annotated
from spacy_llm_ie.data.corpus import Corpus, annotation, create_corpus_v1
from spacy_llm_ie.data.jsonl import doc_to_record, write_jsonl
from spacy_llm_ie.data.problems import Problems
from spacy_llm_ie.data.split import find_cuts, split_doc
from spacy_llm_ie.ner.scores import get_score, set_scores

BLANK = spacy.blank("en")
TEXT = "Apple Inc. bought Beats for $3 billion. Dre sold Beats to Apple. He left."


@pytest.fixture
def nlp():
    return BLANK


def make_doc(text=TEXT, sentences=True):
    """Three sentences: owns within the first, employs across the first two, an event in each of them."""
    doc = BLANK.make_doc(text)
    apple, beats = Span(doc, 0, 2, label="ORG"), Span(doc, 3, 4, label="ORG")
    price, dre, other = Span(doc, 5, 8, label="MONEY"), Span(doc, 9, 10, label="PERSON"), Span(doc, 11, 12, label="ORG")
    doc.ents = [apple, beats, price, dre, other]
    doc._.relations = [Relation(apple, beats, "owns", 0.5), Relation(apple, dre, "employs")]
    doc._.events = [
        Event(doc[2:3], "buy", 0.25, (Argument("buyer", apple), Argument("price", price, 0.5), Argument("seller", dre))),
        Event(doc[10:11], "sell", arguments=(Argument("target", other),)),
    ]
    if sentences:
        for token in doc:
            token.is_sent_start = token.i in (0, 9, 15)
    doc.user_data["meta"] = {"source": "x"}
    return doc


def write(path, *docs):
    if path.suffix == ".jsonl":
        write_jsonl(path, map(doc_to_record, docs))
    else:
        DocBin(store_user_data=True, docs=docs).to_disk(path)
    return path


def read(path, nlp=BLANK, **settings):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return [example.reference for example in Corpus(path, **settings)(nlp)]


@pytest.mark.parametrize("ending", ["spacy", "jsonl"])
def test_reads_everything(ending, tmp_path):
    doc = make_doc()
    path = write(tmp_path / f"a.{ending}", doc, BLANK.make_doc("Nothing known."))
    first, second = Corpus(path)(BLANK)
    assert first.reference._.relations == doc._.relations
    assert first.reference._.events == doc._.events
    assert [e.text for e in first.reference.ents] == [e.text for e in doc.ents]
    assert [t.is_sent_start for t in first.reference] == [t.is_sent_start for t in doc]
    assert first.reference.user_data["meta"] == {"source": "x"}
    assert annotation(first.reference) == {"entities", "relations", "events"}
    assert annotation(second.reference) == set()
    assert first.predicted.text == doc.text
    assert annotation(first.predicted) == set(), "the predicted document carries no gold annotation"


def test_annotation_says_what_is_there(nlp):
    doc = nlp.make_doc("Some words")
    assert annotation(doc) == set()
    doc._.relations = []
    assert annotation(doc) == {"relations"}
    doc.set_ents([])
    assert annotation(doc) == {"relations", "entities"}


def test_like_spacys_corpus(tmp_path):
    path = write(tmp_path / "a.spacy", make_doc(), Doc(BLANK.vocab, words=["can't", "stop"]))
    for ours, theirs in zip(Corpus(path)(BLANK), SpacyCorpus(path)(BLANK), strict=True):
        assert [t.text for t in ours.predicted] == [t.text for t in theirs.predicted]
        assert ours.predicted.text == theirs.predicted.text
        assert ours.reference.to_json() == theirs.reference.to_json()


def test_predicted_tokens(tmp_path):
    """Words with unknown spaces keep their tokens; text is tokenized as the pipeline does it."""
    known = Doc(BLANK.vocab, words=["can't", "stop"], spaces=[True, False])
    unknown = Doc(BLANK.vocab, words=["can't", "stop"])
    for ending in ("spacy", "jsonl"):
        known.user_data["ie_tokens"] = True
        path = write(tmp_path / f"a.{ending}", known, unknown)
        words = [[t.text for t in example.predicted] for example in Corpus(path)(BLANK)]
        assert words == [["ca", "n't", "stop"], ["can't", "stop"]]


def test_folders_limits_and_empty_documents(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / ".hidden").mkdir()
    docs = {name: BLANK.make_doc(name) for name in ("one", "two", "three", "four")}
    write(tmp_path / "a.jsonl", docs["one"], BLANK.make_doc(""), docs["two"])
    write(tmp_path / "b.spacy", docs["three"])
    write(tmp_path / "sub" / "c.spacy", docs["four"])
    write(tmp_path / ".hidden" / "d.spacy", docs["one"])
    (tmp_path / "notes.txt").write_text("x")
    assert [doc.text for doc in read(tmp_path)] == ["one", "two", "three", "four"]
    assert [doc.text for doc in read(tmp_path, limit=1)] == ["one"]
    assert [doc.text for doc in read(tmp_path, limit=3)] == ["one", "two", "three"]
    assert [doc.text for doc in read(tmp_path, limit=9)] == ["one", "two", "three", "four"]


def test_shuffle(tmp_path):
    path = write(tmp_path / "a.spacy", *(BLANK.make_doc(str(i)) for i in range(30)))
    plain = [doc.text for doc in read(path)]
    one, two = Corpus(path, shuffle=True, seed=1), Corpus(path, shuffle=True, seed=1)
    orders = [[[eg.text for eg in corpus(BLANK)] for _ in range(3)] for corpus in (one, two)]
    assert orders[0] == orders[1], "the same seed gives the same sequence of orders"
    assert orders[0][0] != orders[0][1] != orders[0][2], "each pass has another order"
    assert sorted(orders[0][0], key=int) == plain
    assert [doc.text for doc in read(path, shuffle=True, seed=2)] != orders[0][0]
    assert {doc.text for doc in read(path, shuffle=True, limit=5)} == set(plain[:5])


@pytest.mark.parametrize(
    ("settings", "code"), [({"path": None}, "E164"), ({"max_length": -1}, "E167"), ({"limit": -2}, "E167")]
)
def test_bad_settings_are_refused(settings, code, tmp_path):
    with pytest.raises(ValueError, match=code):
        create_corpus_v1(**{"path": tmp_path, **settings})


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(ValueError, match="E165"):
        read(tmp_path / "no.spacy")
    with pytest.raises(ValueError, match=r"E166.*\.spacy or \.jsonl.*no files"):
        read(tmp_path)
    (tmp_path / "a.txt").write_text("x")
    for path in (tmp_path, tmp_path / "a.txt"):
        with pytest.raises(ValueError, match=r"E166.*a\.txt"):
            read(path)
    for content in (b"", b"no docbin", b"\x78\x9c\x03\x00\x00\x00\x00\x01"):
        (tmp_path / "a.spacy").write_bytes(content)
        with pytest.raises(ValueError, match=r"E174.*a\.spacy"):
            read(tmp_path / "a.spacy")


def test_what_does_not_fit_is_told_once(tmp_path):
    path = tmp_path / "a.jsonl"
    write_jsonl(path, [{"text": "Apple", "entities": [{"start": 1, "end": 3, "label": "X"}]}])
    corpus = Corpus(path)
    with pytest.warns(UserWarning, match=r"IE-W152[\s\S]*a\.jsonl:1, entities\[0\]: 'pp'"):
        list(corpus(BLANK))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        list(corpus(BLANK))


def test_registered_reader_in_a_config(tmp_path):
    path = write(tmp_path / "a.spacy", make_doc())
    config = {"corpus": {"@readers": "spacy-llm-ie.Corpus.v1", "path": str(path), "max_length": 9}}
    corpus = registry.resolve(config)["corpus"]
    with pytest.warns(UserWarning, match="W152"):
        assert len(list(corpus(BLANK))) == 2
    for bad in ({"max_length": "x"}, {"shuffle": 3.5}, {"gold_preproc": True}):
        with pytest.raises(ValueError, match="(?i)corpus"):
            registry.resolve({"corpus": {**config["corpus"], **bad}})
    assert list(inspect.signature(create_corpus_v1).parameters) == [
        *("path", "max_length", "limit", "augmenter", "shuffle", "seed", "given")
    ]


def test_trains_a_component(tmp_path):
    nlp = spacy.blank("en")
    nlp.add_pipe("ner")
    corpus = Corpus(write(tmp_path / "a.spacy", make_doc()))
    nlp.initialize(lambda: corpus(nlp))
    losses = nlp.update(list(corpus(nlp)))
    assert losses["ner"] > 0
    assert set(nlp.get_pipe("ner").labels) == {"ORG", "MONEY", "PERSON"}
    assert "ents_f" in nlp.evaluate(list(corpus(nlp)))


# Long documents


def split(doc, max_length):
    problems = Problems()
    return list(split_doc(doc, max_length, where="x", problems=problems)), problems


def test_cuts_at_sentences():
    doc = make_doc()
    assert len(doc) == 18
    assert find_cuts(doc, 18) == [0, 18]
    assert find_cuts(doc, 17) == [0, 15, 18], "as many sentences as fit"
    assert find_cuts(doc, 9) == [0, 9, 18]
    assert find_cuts(doc, 8) == [0, 8, 15, 18], "a sentence that is too long is cut at a token"


def test_cuts_at_tokens_where_sentences_are_not_known():
    doc = make_doc(sentences=False)
    assert find_cuts(doc, 9) == [0, 9, 18]
    assert find_cuts(doc, 7) == [0, 5, 12, 18], "not inside '$3 billion'"
    assert find_cuts(doc, 1)[:3] == [0, 1, 2], "an entity that is too long by itself is cut"


def test_pieces_carry_their_facts():
    doc = make_doc()
    (first, second), problems = split(doc, 9)
    assert first.text + second.text == doc.text
    assert [e.text for e in first.ents] == ["Apple Inc.", "Beats", "$3 billion"]
    assert [e.text for e in second.ents] == ["Dre", "Beats"]
    assert [repr(r) for r in first._.relations] == ["Relation('Apple Inc.'[ORG] -owns-> 'Beats'[ORG], score=0.5)"]
    assert second._.relations == ()
    assert is_annotated(second, "relations")
    buy = first._.events[0]
    assert [(a.role, a.span.text, a.score) for a in buy.arguments] == [("buyer", "Apple Inc.", 1), ("price", "$3 billion", 0.5)]
    assert buy.score == 0.25
    sell = second._.events[0]
    assert (sell.trigger.text, sell.arguments[0].span) == ("sold", second.ents[1])
    assert [s.text for s in second.sents] == ["Dre sold Beats to Apple.", "He left."]
    assert problems.counts == {"cut_relation": 1, "cut_argument": 1}
    assert "employs" in problems.examples["cut_relation"][0]
    assert second.user_data["meta"] == {"source": "x"}
    assert len(doc._.relations) == 2, "the document is not modified"
    assert doc.ents[0].text == "Apple Inc."


def test_the_reader_tells_what_was_cut(tmp_path):
    for ending in ("spacy", "jsonl"):
        path = write(tmp_path / f"a.{ending}", make_doc())
        with pytest.warns(
            UserWarning, match=r"W152.*2 annotation[\s\S]*relation between two pieces[\s\S]*argument in"
        ) as caught:
            docs = [example.reference for example in Corpus(path, max_length=9)(BLANK)]
        assert len(caught) == 1
        assert [len(doc._.relations) for doc in docs] == [1, 0]


def test_missing_stays_missing_in_pieces():
    doc = make_doc()
    for layer in ("relations", "events"):
        other = make_doc()
        del other.spans[f"ie_{layer}"]
        pieces, _ = split(other, 9)
        assert all(not is_annotated(piece, layer) for piece in pieces)
    doc.set_ents([], default="missing")
    pieces, _ = split(doc, 9)
    assert all(not is_annotated(piece, "entities") for piece in pieces)


def test_an_entity_longer_than_a_piece_is_counted_and_missing():
    doc = BLANK.make_doc("a b c d e f g h")
    doc.ents = [Span(doc, 1, 7, label="X")]
    doc._.relations = [Relation(doc.ents[0], doc[7:8], "r")]
    pieces, problems = split(doc, 3)
    assert [len(p) for p in pieces] == [1, 3, 3, 1]
    assert problems.counts == {"cut_entity": 1, "cut_relation": 1}
    assert [[t.ent_iob_ for t in p] for p in pieces] == [["O"], [""] * 3, [""] * 3, ["O"]]


def test_other_annotation_goes_along():
    doc = make_doc()
    doc.has_unknown_spaces = True
    doc.cats = {"news": 1.0}
    doc.spans["sc"] = spacy.tokens.SpanGroup(
        doc, name="sc", spans=[doc[0:1], doc[8:10], doc[15:17]], attrs={"scores": [0.1, 0.2, 0.3], "by": "me"}
    )
    doc.spans["ie_entities"] = list(doc.ents)
    set_scores(doc, [(doc.ents[0], 0.5), (doc.ents[-1], 0.25)], ["ORG"])
    for token in doc:
        token.tag_ = f"T{token.i}"
    (first, second), problems = split(doc, 9)
    assert [s.text for s in second.spans["sc"]] == ["He left"]
    assert second.spans["sc"].attrs == {"scores": [0.3], "by": "me"}
    assert [s.text for s in second.spans["ie_entities"]] == ["Dre", "Beats"]
    assert [get_score(e) for e in (*first.ents, *second.ents)] == [0.5, None, None, None, 0.25]
    assert second[0].tag_ == "T9"
    assert first.has_unknown_spaces
    assert problems.counts["cut_span"] == 1
    assert problems.counts["cut_cats"] == 1


@st.composite
def long_docs(draw):
    n = draw(st.integers(1, 40))
    doc = Doc(BLANK.vocab, words=["w"] * n, sent_starts=[i == 0 or draw(st.integers(0, 4)) == 0 for i in range(n)])
    borders = sorted(draw(st.sets(st.integers(0, n), max_size=12)))
    ents = [Span(doc, a, b, label="X") for a, b in zip(borders, borders[1:]) if b - a < 6]
    doc.set_ents(ents)
    if ents:
        pairs = draw(st.lists(st.tuples(st.sampled_from(ents), st.sampled_from(ents)), max_size=8, unique=True))
        doc._.relations = [Relation(h, t, "r") for h, t in pairs]
    return doc


@settings(max_examples=80, deadline=None)
@given(doc=long_docs(), max_length=st.integers(1, 12))
def test_nothing_is_lost_uncounted(doc, max_length):
    pieces, problems = split(doc, max_length)
    assert "".join(piece.text for piece in pieces) == doc.text
    assert all(0 < len(piece) <= max_length for piece in pieces)
    assert sum(len(p.ents) for p in pieces) + problems.counts["cut_entity"] == len(doc.ents)
    assert sum(len(p._.relations) for p in pieces) + problems.counts["cut_relation"] == len(doc._.relations)
    if max_length >= 6:
        assert problems.counts["cut_entity"] == 0
    offset = 0
    whole = {(e.start, e.end) for e in doc.ents}
    for piece in pieces:
        assert {(e.start + offset, e.end + offset) for e in piece.ents} <= whole
        offset += len(piece)


def test_a_very_long_document_is_split_quickly():
    doc = Doc(BLANK.vocab, words=["w"] * 50_000, sent_starts=[i % 20 == 0 for i in range(50_000)])
    doc.set_ents([Span(doc, i, i + 2, label="X") for i in range(0, 50_000, 10)])
    doc._.relations = [Relation(a, b, "r") for a, b in zip(doc.ents, doc.ents[1:])]
    pieces, problems = split(doc, 200)
    assert len(pieces) == 250
    assert problems.counts == {"cut_relation": 249}


# Augmenters


def augmented(tmp_path, augmenter, doc=None):
    path = write(tmp_path / "a.spacy", doc or make_doc())
    return read(path, augmenter=augmenter)


def test_facts_survive_spacys_augmenters(tmp_path):
    (lower,) = augmented(tmp_path, create_lower_casing_augmenter(1.0))
    assert lower.text == TEXT.lower()
    assert [(r.head.text, r.label, r.tail.text, r.score) for r in lower._.relations] == [
        ("apple inc.", "owns", "beats", 0.5),
        ("apple inc.", "employs", "dre", 1.0),
    ]
    assert [a.span.text for a in lower._.events[0].arguments] == ["apple inc.", "$3 billion", "dre"]
    assert lower._.relations[0].head == lower.ents[0]


def test_facts_survive_variants_of_another_length(tmp_path):
    doc = make_doc()
    for token in doc:
        token.tag_ = "." if token.text == "." else "NN"
    variants = {"single": [{"tags": ["."], "variants": [".", "...!"]}], "paired": []}
    for _ in range(4):
        (other,) = augmented(tmp_path, create_orth_variants_augmenter(1.0, 0.0, variants), doc)
        assert [a.span.text for a in other._.events[1].arguments] == ["Beats"]
        assert other._.events[1].trigger.text == "sold"


def test_facts_survive_whitespace_variants(tmp_path):
    augmenter = registry.resolve(
        {
            "a": {
                "@augmenters": "spacy.combined_augmenter.v1",
                **{"lower_level": 0.0, "orth_level": 0.0, "orth_variants": None, "whitespace_level": 1.0},
                **{"whitespace_per_token": 0.3, "whitespace_variants": ["\n"]},
            }
        }
    )["a"]
    (other,) = augmented(tmp_path, augmenter)
    assert len(other) > len(make_doc())
    facts = [(r.head.text.split(), r.tail.text) for r in other._.relations]
    assert facts == [(["Apple", "Inc."], "Beats"), (["Apple", "Inc."], "Dre")]


def test_an_augmenter_that_yields_the_example_itself(tmp_path):
    doc = make_doc()

    def twice(nlp, example):
        yield example
        yield example

    first, second = augmented(tmp_path, twice, doc)
    assert first is second
    assert first._.relations == doc._.relations


def test_an_augmenter_that_changes_the_words_takes_the_facts_away_and_says_so(tmp_path):
    def shorten(nlp, example):
        doc = nlp.make_doc("Short.")
        yield spacy.training.Example(nlp.make_doc("Short."), doc)

    path = write(tmp_path / "a.spacy", make_doc())
    with pytest.warns(UserWarning, match=r"W152.*2 annotation[\s\S]*augmentation"):
        (example,) = Corpus(path, augmenter=shorten)(BLANK)
    assert annotation(example.reference) == set()
