"""Facts on the Doc: stored plainly, shown as views, kept on every way a document travels."""

import pickle
import warnings

import numpy
import pytest
import spacy
from spacy.tokens import Doc, DocBin, Span, SpanGroup
from spacy.training import Example
from spacy.vocab import Vocab

from spacy_llm_ie import annotations
from spacy_llm_ie.annotations import Argument, Event, Relation, is_annotated, mark_missing
from spacy_llm_ie.ner.scores import get_score, set_scores

TEXT = "Apple bought Beats for $3 billion in 2014."


@pytest.fixture(scope="module")
def nlp():
    return spacy.blank("en")


def annotate(doc):
    """Two relations (one with an unlabelled end) and two events (one without arguments)."""
    apple, beats = Span(doc, 0, 1, label="ORG"), Span(doc, 2, 3, label="ORG")
    price = Span(doc, 4, 7, label="MONEY")
    doc.ents = [apple, beats, price]
    doc._.relations = [Relation(apple, beats, "owns", 0.25), Relation(beats, doc[8:9], "until")]
    arguments = (Argument("buyer", apple, 0.5), Argument("target", beats), Argument("price", price, 0.125))
    doc._.events = [
        Event(Span(doc, 1, 2, label="acquisition"), "acquisition", 0.75, arguments),
        Event(doc[3:4], "x"),
    ]
    return doc


@pytest.fixture
def doc(nlp):
    return annotate(nlp.make_doc(TEXT))


def through_docbin(doc, nlp, user_data=True):
    data = DocBin(store_user_data=user_data, docs=[doc]).to_bytes()
    return next(DocBin().from_bytes(data).get_docs(Vocab()))


def through_disk(doc, tmp_path):
    doc.to_disk(tmp_path / "doc")
    return Doc(Vocab()).from_disk(tmp_path / "doc")


JOURNEYS = {
    "bytes": lambda doc, nlp, tmp_path: Doc(Vocab()).from_bytes(doc.to_bytes()),
    "bytes without user data": lambda doc, nlp, tmp_path: Doc(nlp.vocab).from_bytes(doc.to_bytes(exclude=["user_data"])),
    "disk": lambda doc, nlp, tmp_path: through_disk(doc, tmp_path),
    "docbin": lambda doc, nlp, tmp_path: through_docbin(doc, nlp),
    "docbin without user data": lambda doc, nlp, tmp_path: through_docbin(doc, nlp, False),
    "copy": lambda doc, nlp, tmp_path: doc.copy(),
    "pickle": lambda doc, nlp, tmp_path: pickle.loads(pickle.dumps(doc)),
    "pipe": lambda doc, nlp, tmp_path: next(nlp.pipe([doc])),
}


@pytest.mark.parametrize("name", JOURNEYS)
def test_facts_survive(name, doc, nlp, tmp_path):
    other = JOURNEYS[name](doc, nlp, tmp_path)
    assert other._.relations == doc._.relations
    assert other._.events == doc._.events
    assert [r.head.doc for r in other._.relations] == [other, other]
    head, trigger = other._.relations[0].head, other._.events[0].trigger
    assert (head.text, head.label_, trigger.text, trigger.label_) == ("Apple", "ORG", "bought", "acquisition")
    other._.relations = []
    assert other._.relations == ()
    if other is not doc:
        assert len(doc._.relations) == 2


@pytest.mark.parametrize("name", JOURNEYS)
def test_scores_of_entities_survive_where_user_data_does(name, doc, nlp, tmp_path):
    set_scores(doc, [(doc.ents[0], 0.75)], ["ORG"])
    other = JOURNEYS[name](doc, nlp, tmp_path)
    assert get_score(other.ents[0]) == (None if "without user data" in name else 0.75)


@pytest.mark.parametrize("name", JOURNEYS)
@pytest.mark.parametrize("layer", ["relations", "events"])
def test_none_found_and_not_annotated_stay_apart(name, layer, nlp, tmp_path):
    doc = nlp.make_doc(TEXT)
    doc._.set(layer, [])
    other = JOURNEYS[name](doc, nlp, tmp_path)
    rest = [x for x in annotations.LAYERS if x != layer]
    assert is_annotated(other, layer)
    assert not any(is_annotated(other, x) for x in rest)
    assert other._.get(layer) == ()


@spacy.Language.component("ie_test_annotate")
def annotate_component(doc):
    return annotate(doc)


@spacy.Language.component("ie_test_score")
def score_component(doc):
    set_scores(doc, [(doc.ents[0], 0.75)], ["ORG"])
    return doc


def test_facts_survive_two_processes(doc):
    nlp = spacy.blank("en")
    nlp.add_pipe("ie_test_annotate")
    nlp.add_pipe("ie_test_score")
    docs = list(nlp.pipe([TEXT] * 4, n_process=2, batch_size=2))
    assert [get_score(d.ents[0]) for d in docs] == [0.75] * 4
    assert [d._.relations for d in docs] == [doc._.relations] * 4
    assert [d._.events for d in docs] == [doc._.events] * 4


def test_views(doc):
    owns, until = doc._.relations
    assert (owns.head.text, owns.tail.text, owns.label, owns.score) == ("Apple", "Beats", "owns", 0.25)
    assert until.score == 1.0
    assert owns.head == doc.ents[0]
    assert repr(owns) == "Relation('Apple'[ORG] -owns-> 'Beats'[ORG], score=0.25)"
    event = doc._.events[0]
    assert [(a.role, a.span.text, a.score) for a in event.arguments] == [
        ("buyer", "Apple", 0.5),
        ("target", "Beats", 1.0),
        ("price", "$3 billion", 0.125),
    ]
    assert repr(event).startswith("Event('bought' acquisition, buyer='Apple'[ORG], target=")
    assert repr(event.arguments[0]) == "Argument(buyer='Apple'[ORG], score=0.5)"
    with pytest.raises(AttributeError):
        owns.label = "x"


def test_equal_by_value(doc, nlp):
    other = annotate(nlp.make_doc(TEXT))
    assert set(doc._.relations) == set(other._.relations)
    assert set(doc._.events) == set(other._.events)
    first, second = doc._.relations
    assert first != second
    assert first != Relation(first.head, first.tail, first.label, 0.5)
    assert first != Relation(doc[0:1], first.tail, first.label, first.score), "labels of the ends count"
    assert first != Relation(first.tail, first.head, first.label, first.score), "direction counts"
    assert first != "owns"
    moved = nlp.make_doc("Tesla bought Beats for $3 billion in 2014.")
    assert first != Relation(Span(moved, 0, 1, "ORG"), Span(moved, 2, 3, "ORG"), "owns", 0.25)


def test_storage_is_plain(doc):
    def plain(value):
        if isinstance(value, (list, tuple)):
            return all(map(plain, value))
        return type(value) in (int, float, str)

    for name in ("ie_relations", "ie_events"):
        group = doc.spans[name]
        assert all(isinstance(key, str) and plain(value) for key, value in group.attrs.items())
        assert len({(s.start, s.end, s.label) for s in group}) == len(group), "each span once"
    assert doc.user_data == {}


def test_numpy_scores_become_floats(doc):
    apple, beats, _ = doc.ents
    doc._.relations = [Relation(apple, beats, "owns", numpy.float32(0.5))]
    assert type(doc.spans["ie_relations"].attrs["scores"][0]) is float
    assert doc.to_bytes()


def test_assigning_replaces_and_accepts_generators(doc):
    doc._.relations = (r for r in doc._.relations if r.label == "owns")
    assert [r.label for r in doc._.relations] == ["owns"]
    doc._.events = [Event(e.trigger, e.label, arguments=iter(e.arguments)) for e in doc._.events]
    assert [len(e.arguments) for e in doc._.events] == [3, 0]


def test_spans_of_another_doc_are_refused(doc, nlp):
    other = annotate(nlp.make_doc(TEXT))
    before = doc._.relations, doc._.events
    with pytest.raises(ValueError, match=r"IE-E150.*another document"):
        doc._.relations = other._.relations
    with pytest.raises(ValueError, match="IE-E150"):
        doc._.events = other._.events
    with pytest.raises(ValueError, match="IE-E150"):
        doc._.events = [Event(doc[0:1], "x", arguments=[Argument("r", other[0:1])])]
    assert (doc._.relations, doc._.events) == before, "a refused assignment changes nothing"


def test_spans_outside_the_doc_are_refused(doc):
    empty = doc[2:2]
    beyond = doc[8:10]
    with pytest.raises(ValueError, match="IE-E151"):
        doc._.relations = [Relation(empty, doc[0:1], "x")]
    with doc.retokenize() as retokenizer:
        retokenizer.merge(doc[4:7])
    with pytest.raises(ValueError, match="IE-E151"):
        doc._.events = [Event(beyond, "x")]


@pytest.mark.parametrize("value", [None, 3, "ab", [1], [None], [("a", "b", "c")]])
def test_things_that_are_no_facts_are_refused(value, doc):
    with pytest.raises(ValueError, match=r"IE-E152.*Relation"):
        doc._.relations = value
    with pytest.raises(ValueError, match=r"IE-E152.*Event"):
        doc._.events = value
    with pytest.raises(ValueError, match="IE-E152"):
        doc._.relations = doc._.events


@pytest.mark.parametrize("score", ["0.5", None, float("nan"), float("inf")])
def test_bad_scores_are_refused(score, doc):
    with pytest.raises(ValueError, match=r"IE-E153.*score"):
        doc._.relations = [Relation(doc[0:1], doc[2:3], "owns", score)]


@pytest.mark.parametrize("label", ["", None, 7])
def test_bad_labels_are_refused(label, doc):
    for assign in (
        lambda: doc._.set("relations", [Relation(doc[0:1], doc[2:3], label)]),
        lambda: doc._.set("events", [Event(doc[0:1], label)]),
        lambda: doc._.set("events", [Event(doc[0:1], "x", arguments=[Argument(label, doc[2:3])])]),
    ):
        with pytest.raises(ValueError, match="IE-E153"):
            assign()


def test_spans_that_are_no_spans_are_refused(doc):
    with pytest.raises(ValueError, match=r"IE-E153.*a Span"):
        doc._.relations = [Relation(doc[0], doc[2:3], "owns")]


def test_retokenization_keeps_facts_on_their_words(doc):
    doc._.relations = doc._.relations[:1]
    with doc.retokenize() as retokenizer:
        retokenizer.split(doc[1], ["bou", "ght"], heads=[doc[0], doc[0]])
    assert (doc._.relations[0].head.text, doc._.relations[0].tail.text) == ("Apple", "Beats")
    with doc.retokenize() as retokenizer:
        retokenizer.merge(doc[0:2])
    assert doc._.relations[0].head.text == "Apple bou", "a span inside a merged token grows to it"


def words(doc):
    """The facts as plain words."""
    relations = [(r.head.text, r.head.label_, r.label, r.tail.text, r.score) for r in doc._.relations]
    events = [(e.trigger.text, e.label, e.score, [(a.role, a.span.text, a.score) for a in e.arguments]) for e in doc._.events]
    return relations, events


LONG = "In May, Apple Inc. bought Beats for $3 billion in 2014"


def annotate_long(doc):
    """Facts at the end of the document, where stale token indices lie behind the end after merging."""
    apple, beats = Span(doc, 3, 5, label="ORG"), Span(doc, 6, 7, label="ORG")
    price, year = Span(doc, 8, 11, label="MONEY"), Span(doc, 12, 13, label="DATE")
    doc.ents = [apple, beats, price, year]
    doc._.relations = [Relation(apple, beats, "owns", 0.25), Relation(beats, year, "until")]
    doc._.events = [Event(doc[5:6], "buy", 0.5, (Argument("price", price, 0.125), Argument("date", year)))]
    return doc


def test_merging_entities_keeps_facts(nlp):
    doc = annotate_long(nlp.make_doc(LONG))
    before = words(doc)
    with doc.retokenize() as retokenizer:
        for ent in doc.ents:
            retokenizer.merge(ent)
    assert len(doc) == 10
    assert words(doc) == before
    assert [r.head for r in doc._.relations] == [doc.ents[0], doc.ents[1]]
    doc._.relations, doc._.events = doc._.relations, doc._.events
    assert words(doc.copy()) == before


def test_merge_entities_in_a_pipeline_keeps_facts(nlp):
    pipeline = spacy.blank("en")
    pipeline.add_pipe("ie_test_annotate_long")
    pipeline.add_pipe("merge_entities")
    assert words(pipeline(LONG)) == words(annotate_long(nlp.make_doc(LONG)))


@spacy.Language.component("ie_test_annotate_long")
def annotate_long_component(doc):
    return annotate_long(doc)


@pytest.mark.parametrize("name", ["bytes", "disk", "docbin", "docbin without user data", "copy", "pickle"])
def test_after_merging_groups_can_be_brought_up_to_date(name, nlp, tmp_path):
    doc = annotate_long(nlp.make_doc(LONG))
    doc.spans["other"] = [doc[11:13]]
    before = words(doc)
    with doc.retokenize() as retokenizer:
        retokenizer.merge(doc[3:5])
        retokenizer.merge(doc[8:11])
    with pytest.raises((IndexError, ValueError)):
        doc.copy()  # spaCy's own failure; if this does not raise any more, refresh_spans has become superfluous
    annotations.refresh_spans(doc)
    assert [s.text for s in doc.spans["other"]] == ["in 2014"]
    assert words(JOURNEYS[name](doc, nlp, tmp_path)) == before


def test_a_group_of_another_text_is_an_error(doc, nlp):
    long = annotate_long(nlp.make_doc(LONG))
    doc.spans["ie_relations"].from_bytes(long.spans["ie_relations"].to_bytes())
    with pytest.raises(ValueError, match=r"IE-E179.*ie_relations"):
        doc._.relations  # noqa: B018


@pytest.mark.parametrize("change", ["none", "missing", "other", "label"])
def test_setting_entities_afterwards_leaves_facts_alone(change, doc):
    before = words(doc)
    if change == "none":
        doc.ents = []
    elif change == "missing":
        mark_missing(doc, "entities")
    elif change == "other":
        doc.set_ents([Span(doc, 7, 9, label="DATE")], default="unmodified")
    else:
        doc.set_ents([Span(doc, 0, 1, label="FRUIT")], default="outside")
    assert words(doc) == before
    assert words(doc.copy()) == before
    assert doc._.relations[0].head.label_ == "ORG", "the span of a relation keeps the label that it was stored with"


@pytest.mark.parametrize("name", JOURNEYS)
@pytest.mark.parametrize("text", ["", "\u4e2d\u56fd \U0001f600 e\u0301t\u00e9 \u0627\u0644", "a"])
def test_empty_and_unicode_documents_travel(name, text, nlp, tmp_path):
    doc = nlp.make_doc(text)
    doc._.relations, doc._.events = [], []
    if text:
        last = Span(doc, len(doc) - 1, len(doc), label="\u00dc\U0001f600")
        doc._.relations = [Relation(doc[0:1], last, "\u6301\u3064")]
        doc._.events = [Event(last, "\u00e9", arguments=[Argument("\u89d2", doc[0 : len(doc)])])]
    other = JOURNEYS[name](doc, nlp, tmp_path)
    assert words(other) == words(doc)
    assert (other._.relations, other._.events) == (doc._.relations, doc._.events)
    assert is_annotated(other, "relations")
    assert is_annotated(other, "events")


def test_as_doc_of_spacy_gives_a_document_that_is_not_annotated(doc):
    for copied in (False, True):
        piece = doc[0:7].as_doc(copy_user_data=copied)
        assert not is_annotated(piece, "relations")
        assert piece._.events == ()


def test_public_names_come_from_the_package():
    import spacy_llm_ie

    for name in ("Relation", "Event", "Argument", "is_annotated", "mark_missing", "refresh_spans"):
        assert getattr(spacy_llm_ie, name) is getattr(annotations, name)
    assert {"set_relations", "get_relations", "set_events", "get_events"} <= set(dir(spacy_llm_ie))
    assert {"span_as_doc", "join_docs", "doc_to_json", "json_to_doc"} <= set(spacy_llm_ie.__all__)
    for name in spacy_llm_ie.__all__:
        assert getattr(spacy_llm_ie, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        spacy_llm_ie.nothing  # noqa: B018


def test_lost_attrs_are_an_error_and_not_an_empty_answer(doc):
    joined = Doc.from_docs([doc, doc])
    with pytest.raises(ValueError, match=r"IE-E154.*ie_relations"):
        joined._.relations  # noqa: B018
    with pytest.raises(ValueError, match="IE-E154"):
        joined._.events  # noqa: B018
    mark_missing(joined, "relations")
    assert joined._.relations == ()
    example = Example.from_dict(doc.copy(), Example(doc.copy(), doc).to_dict())
    with pytest.raises(ValueError, match="IE-E154"):
        example.reference._.relations  # noqa: B018


@pytest.mark.parametrize("attrs", [{"heads": 3}, {"heads": []}, {"heads": [0], "tails": [], "labels": [], "scores": []}])
def test_an_empty_group_with_other_columns_is_an_error(nlp, attrs):
    doc = nlp.make_doc("Nothing here.")
    doc.spans["ie_relations"] = SpanGroup(doc, attrs=attrs)
    with pytest.raises(ValueError, match="IE-E154"):
        doc._.relations  # noqa: B018


def test_a_group_that_someone_shortened_is_an_error(doc):
    doc.spans["ie_relations"].attrs["heads"] = [99, 0]
    with pytest.raises(ValueError, match="IE-E154"):
        doc._.relations  # noqa: B018
    doc.spans["ie_events"].attrs["argument_roles"] = ["buyer"]
    with pytest.raises(ValueError, match="IE-E154"):
        doc._.events  # noqa: B018


def test_missing_and_none(nlp):
    doc = nlp.make_doc(TEXT)
    assert (doc._.relations, doc._.events) == ((), ())
    assert not any(is_annotated(doc, layer) for layer in annotations.LAYERS)
    annotate(doc)
    assert all(is_annotated(doc, layer) for layer in annotations.LAYERS)
    for layer in annotations.LAYERS:
        mark_missing(doc, layer)
        assert not is_annotated(doc, layer)
        mark_missing(doc, layer)
    assert doc.ents == ()
    doc.set_ents([])
    assert is_annotated(doc, "entities")
    for function in (is_annotated, mark_missing):
        with pytest.raises(ValueError, match=r"IE-E155.*entities, relations, events"):
            function(doc, "ents")


def test_empty_document(nlp):
    doc = nlp.make_doc("")
    doc._.relations, doc._.events = [], []
    assert doc.copy()._.relations == doc._.events == ()
    with pytest.raises(ValueError, match="IE-E151"):
        doc._.relations = [Relation(doc[0:0], doc[0:0], "x")]


def test_extensions_are_registered_once():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        annotations.install_extensions()
    mine = Doc.get_extension("relations")
    Doc.remove_extension("relations")
    Doc.set_extension("relations", default=None)
    try:
        with pytest.warns(UserWarning, match=r"IE-W150.*get_relations"):
            annotations.install_extensions()
    finally:
        Doc.remove_extension("relations")
        Doc.set_extension("relations", getter=mine[2], setter=mine[3])
