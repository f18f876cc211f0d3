"""What is particular to `ie_triggers`, `ie_argument_spans` and `ie_arguments`."""

import warnings

import numpy
import pytest
import spacy
from spacy.tokens import Doc, Span
from spacy.training import Example

from spacy_llm_ie import Argument, Event, is_annotated, mark_missing
from spacy_llm_ie.annotations import set_events as store_events
from spacy_llm_ie.schemes import SCHEMES

PER, ORG, MONEY = "PERSON", "ORG", "MONEY"
# Words, entities (tokens), events: trigger (tokens), type, arguments as (role, tokens).
TEXTS = [
    # Two events share an argument; a role repeats.
    (
        "Arlen bought Bexley and Cargill and sued Dole",
        [(0, 1, ORG), (2, 3, ORG), (4, 5, ORG), (7, 8, ORG)],
        [
            ((1, 2), "sale", [("buyer", (0, 1)), ("target", (2, 3)), ("target", (4, 5))]),
            ((6, 7), "lawsuit", [("plaintiff", (0, 1)), ("defendant", (7, 8))]),
        ],
    ),
    (
        "Dole sued Ada today",
        [(0, 1, ORG), (2, 3, PER)],
        [((1, 2), "lawsuit", [("plaintiff", (0, 1)), ("defendant", (2, 3))])],
    ),
    ("Cargill bought out Arlen", [(0, 1, ORG), (3, 4, ORG)], [((1, 3), "sale", [("buyer", (0, 1)), ("target", (3, 4))])]),
    ("Shares of Dole rose", [(2, 3, ORG)], []),
]
SMALL = {"tok2vec": {"width": 32, "depth": 1, "embed_size": 500}}
BOTH_ROLES = [
    *TEXTS[1:],
    ("Bexley bought itself", [(0, 1, ORG)], [((1, 2), "sale", [("buyer", (0, 1)), ("target", (0, 1))])]),
]


def span(doc, place, label=""):
    return Span(doc, *place, label=label)


def set_entities(doc, entities):
    doc.set_ents([span(doc, ent[:2], ent[2]) for ent in entities])
    return doc


def set_events(doc, events):
    found = []
    for trigger, label, arguments in events:
        roles = [Argument(role, span(doc, place)) for role, place in arguments]
        found.append(Event(span(doc, trigger), label, arguments=roles))
    doc._.events = found
    return doc


def make_examples(nlp, texts=TEXTS):
    references = [set_events(set_entities(nlp.make_doc(text), ents), events) for text, ents, events in texts]
    return [Example(nlp.make_doc(doc.text), doc) for doc in references]


def make(factory, steps=0, texts=TEXTS, seed=0, **config):
    spacy.util.fix_random_seed(seed)
    nlp = spacy.blank("en")
    nlp.add_pipe(factory, config={"model": SMALL, **config})
    examples = make_examples(nlp, texts)
    sgd = nlp.initialize(lambda: examples)
    sgd.learn_rate = 0.005
    for _ in range(steps):
        nlp.update(examples, sgd=sgd)
    return nlp


def given(nlp, text, entities, events):
    """A document with entities and with events that have no arguments."""
    return set_events(set_entities(nlp.make_doc(text), entities), [(place, label, []) for place, label, _ in events])


def events_of(doc):
    return [
        ((e.trigger.start, e.trigger.end), e.label, [(a.role, (a.span.start, a.span.end)) for a in e.arguments])
        for e in doc._.events
    ]


# Triggers


@pytest.fixture(scope="module", params=SCHEMES)
def triggers(request):
    return make("ie_triggers", steps=30, scheme=request.param)


def test_triggers_become_events_without_arguments(triggers):
    for text, _, events in TEXTS:
        doc = triggers(text)
        assert events_of(doc) == [(place, label, []) for place, label, _ in events]
        group = doc.spans["ie_triggers"]
        assert [(s.start, s.end, s.label_) for s in group] == [(*place, label) for place, label, _ in events]
        assert group.attrs["scores"] == [event.score for event in doc._.events]
        assert all(0.5 < score <= 1 for score in group.attrs["scores"])
        assert is_annotated(doc, "events")


def test_events_that_stood_there_before_are_replaced(triggers):
    doc = set_events(triggers.make_doc("Shares of Dole rose"), [((1, 2), "lawsuit", [("plaintiff", (2, 3))])])
    doc = triggers.get_pipe("ie_triggers")(doc)
    assert doc._.events == () and not doc.spans["ie_triggers"] and is_annotated(doc, "events")


def test_trigger_candidates_below_the_best_path_can_be_kept():
    nlp = make("ie_triggers", steps=1, spans_key="maybe", candidate_threshold=0.01)
    doc = nlp(TEXTS[0][0])
    assert len(doc.spans["maybe"]) > len(doc.spans["ie_triggers"])
    assert len(doc.spans["maybe"].attrs["scores"]) == len(doc.spans["maybe"])


def survey_warning(factory, texts):
    nlp = spacy.blank("en")
    nlp.add_pipe(factory)
    with pytest.warns(UserWarning, match="IE-W") as record:
        nlp.initialize(lambda: make_examples(nlp, texts))
    return nlp, "\n".join(str(warning.message) for warning in record)


def test_triggers_that_overlap_are_counted_and_the_longest_is_learned():
    text = ("Dole gave up today", [], [((1, 3), "departure", []), ((2, 3), "rise", []), ((3, 4), "rise", [])])
    nlp, message = survey_warning("ie_triggers", [text, *TEXTS])
    assert "IE-W401" in message and "of 7 gold spans, 1 overlap a longer one (such as 'up' (rise)) and 0 do not" in message
    (example,) = make_examples(nlp, [text])
    scheme = nlp.get_pipe("ie_triggers").scheme
    allowed = nlp.get_pipe("ie_triggers").allowed(example)
    tags = [scheme.tags[int(row.argmax())] for row in allowed]
    assert tags == ["O", "B-departure", "L-departure", "U-rise"] and (allowed.sum(axis=1) == 1).all()


def test_two_events_of_one_type_with_one_trigger_are_one_trigger():
    text = ("Dole sued Ada", [], [((1, 2), "lawsuit", [("plaintiff", (0, 1))]), ((1, 2), "lawsuit", [("plaintiff", (2, 3))])])
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        nlp = make("ie_triggers", steps=20, texts=[text])
    assert events_of(nlp(text[0])) == [((1, 2), "lawsuit", [])]


def test_two_events_of_two_types_with_one_trigger_are_counted():
    text = ("Dole sued Ada", [], [((1, 2), "lawsuit", []), ((1, 2), "sale", [])])
    _, message = survey_warning("ie_triggers", [text])
    assert "of 2 gold spans, 1 overlap a longer one (such as 'sued' (sale))" in message


def merged_example(nlp):
    """The pipeline sees one token where the trigger ends."""
    doc = Doc(nlp.vocab, words=["Dole", "sued", "based", "Ada"], spaces=[True, False, True, False])
    set_entities(doc, [(0, 1, ORG), (3, 4, PER)])
    set_events(doc, [((1, 2), "lawsuit", [("plaintiff", (0, 1))]), ((3, 4), "sale", [("buyer", (0, 1)), ("target", (2, 3))])])
    return Example(nlp.make_doc(doc.text), doc)


def test_triggers_that_do_not_fall_on_tokens_are_counted_and_are_unknown():
    nlp = spacy.blank("en")
    pipe = nlp.add_pipe("ie_triggers")
    example = merged_example(nlp)
    assert len(example.predicted) == 3
    with pytest.warns(UserWarning, match="IE-W401.*of 6 gold spans, 0 overlap a longer one and 1 do not fall"):
        nlp.initialize(lambda: [example, *make_examples(nlp)])
    allowed = pipe.allowed(example)
    assert allowed[1].all() and allowed[[0, 2]].sum() == 2


def test_documents_that_are_annotated_but_have_no_event_teach_that_there_is_none():
    for factory, learns in (("ie_triggers", True), ("ie_argument_spans", True), ("ie_arguments", False)):
        nlp = make(factory)
        assert (nlp.update(make_examples(nlp, TEXTS[3:]))[factory] > 0) == learns
        plain = [Example(nlp.make_doc("Dole sued Ada"), nlp.make_doc("Dole sued Ada"))]
        assert nlp.update(plain)[factory] == 0.0


def test_unknown_labels_in_training_data_are_named():
    late = [("Dole fell", [(0, 1, ORG)], [((1, 2), "bankruptcy", [("debtor", (0, 1))])])]
    known_type = [("Dole sued", [(0, 1, ORG)], [((1, 2), "lawsuit", [("debtor", (0, 1))])])]
    nlp = make("ie_triggers")
    with pytest.raises(ValueError, match="IE-E203.*bankruptcy.*Dole fell.*init labels"):
        nlp.update(make_examples(nlp, late))
    nlp = make("ie_argument_spans")
    with pytest.raises(ValueError, match="IE-E203.*debtor"):
        nlp.update(make_examples(nlp, late))
    nlp = make("ie_arguments")
    with pytest.raises(ValueError, match="IE-E303.*debtor.*init labels"):
        nlp.update(make_examples(nlp, known_type))
    with pytest.raises(ValueError, match="IE-E306.*debtor"):
        nlp.get_pipe("ie_arguments").add_label("debtor")
    assert nlp.get_pipe("ie_arguments").add_label("buyer") == 0
    fresh = spacy.blank("en").add_pipe("ie_triggers")
    assert (fresh.add_label("sale"), fresh.add_label("sale"), fresh.labels) == (1, 0, ("sale",))


@pytest.mark.parametrize("factory", ["ie_triggers", "ie_argument_spans", "ie_arguments"])
def test_training_data_without_events_is_refused(factory):
    for keep in (True, False):
        nlp = spacy.blank("en")
        nlp.add_pipe(factory)
        examples = make_examples(nlp, TEXTS[3:])
        if not keep:
            mark_missing(examples[0].reference, "events")
        with pytest.raises(ValueError, match="IE-E205|IE-E307"):
            nlp.initialize(lambda examples=examples: examples)


# Arguments that are no entities


def test_argument_spans_are_labelled_with_their_roles():
    with pytest.warns(UserWarning, match="IE-W401"):  # Bexley is both
        nlp = make("ie_argument_spans", steps=30, texts=BOTH_ROLES)
    doc = nlp(TEXTS[1][0])
    group = doc.spans["ie_argument_spans"]
    assert [(s.start, s.end, s.label_) for s in group] == [(0, 1, "plaintiff"), (2, 3, "defendant")]
    assert all(0.5 < score <= 1 for score in group.attrs["scores"])
    assert not is_annotated(doc, "events")


def test_arguments_that_are_no_entities_come_from_their_own_component():
    """No entity is annotated at all; triggers and argument spans are found, then joined."""
    texts = [(text, [], events) for text, _, events in TEXTS[1:]]
    spacy.util.fix_random_seed(0)
    nlp = spacy.blank("en")
    for name in ("ie_triggers", "ie_argument_spans"):
        nlp.add_pipe(name, config={"model": SMALL})
    nlp.add_pipe("ie_arguments", config={"spans_key": "ie_argument_spans", "model": SMALL})
    examples = make_examples(nlp, texts)
    for example in examples:
        mark_missing(example.reference, "entities")
    sgd = nlp.initialize(lambda: examples)
    sgd.learn_rate = 0.005
    for _ in range(30):
        nlp.update(examples, sgd=sgd)
    assert [events_of(doc) for doc in nlp.pipe(text for text, _, _ in texts)] == [events for _, _, events in texts]
    scores = nlp.evaluate(make_examples(nlp, texts))
    assert scores["triggers_f"] == scores["arg_spans_f"] == scores["args_f"] == 1.0


def test_a_gold_group_of_spans_goes_before_the_arguments_themselves():
    nlp = make("ie_arguments", spans_key="ie_argument_spans", texts=TEXTS[1:])
    pipe = nlp.get_pipe("ie_arguments")
    (example,) = make_examples(nlp, TEXTS[1:2])
    tails = {s for s in pipe.gold(example).spans if not s[2].startswith("!")}
    assert tails == {(0, 1, "plaintiff"), (2, 3, "defendant")}
    group = [span(example.reference, p, "thing") for p in ((0, 1), (2, 3), (3, 4))]
    example.reference.spans["ie_argument_spans"] = group
    tails = {s for s in pipe.gold(example).spans if not s[2].startswith("!")}
    assert tails == {(0, 1, "thing"), (2, 3, "thing"), (3, 4, "thing")}


def test_arguments_that_are_no_entities_are_counted_where_only_entities_can_be():
    text = ("Dole sued the man", [(0, 1, ORG)], [((1, 2), "lawsuit", [("plaintiff", (0, 1)), ("defendant", (2, 4))])])
    _, message = survey_warning("ie_arguments", [text])
    assert "IE-W301" in message and "of 2 gold facts, 1 have spans that" in message


def test_arguments_that_do_not_fall_on_tokens_or_are_too_far_away_are_counted():
    nlp = spacy.blank("en")
    near = {"@misc": "spacy-llm-ie.near_pairs.v1", "max_distance": 1}
    pipe = nlp.add_pipe("ie_arguments", config={"candidates": near})
    example = merged_example(nlp)
    with pytest.warns(UserWarning, match="IE-W301.*of 12 gold facts, 2 have spans.*and 2 are no candidates"):
        nlp.initialize(lambda: [example, *make_examples(nlp)])
    assert pipe.gold(example).lost == 2  # the trigger of one, and the target of the other


# Arguments


@pytest.fixture(scope="module")
def arguments():
    return make("ie_arguments", steps=30)


def test_events_share_an_argument_and_a_role_repeats(arguments):
    for text in TEXTS:
        doc = arguments.get_pipe("ie_arguments")(given(arguments, *text))
        assert events_of(doc) == text[2]


def test_arguments_are_entities_with_probabilities_and_triggers_stay(arguments):
    doc = given(arguments, *TEXTS[0])
    scored = [Event(event.trigger, event.label, score) for event, score in zip(doc._.events, (0.7, 0.9))]
    doc._.events = scored
    doc = arguments.get_pipe("ie_arguments")(doc)
    assert [(e.label, e.score) for e in doc._.events] == [("sale", 0.7), ("lawsuit", 0.9)]
    found = [argument for event in doc._.events for argument in event.arguments]
    assert all(a.span in doc.ents and 0.5 < a.score <= 1 and type(a.score) is float for a in found)


def test_one_span_with_two_roles():
    nlp = make("ie_arguments", steps=40, texts=BOTH_ROLES)
    assert nlp.get_pipe("ie_arguments").cfg["several"]
    for text in BOTH_ROLES:
        assert events_of(nlp.get_pipe("ie_arguments")(given(nlp, *text))) == text[2]


def test_two_events_with_one_trigger():
    """Of two types, each has its own arguments; of one type, they cannot be told apart and have the same."""
    text = (
        "Arlen took Bexley over",
        [(0, 1, ORG), (2, 3, ORG)],
        [((1, 2), "sale", [("buyer", (0, 1)), ("target", (2, 3))]), ((1, 2), "lawsuit", [("defendant", (2, 3))])],
    )
    nlp = make("ie_arguments", steps=40, texts=[*TEXTS, text])
    pipe = nlp.get_pipe("ie_arguments")
    assert events_of(pipe(given(nlp, *text))) == text[2]
    twice = [text[2][0], text[2][0]]
    assert events_of(pipe(given(nlp, *text[:2], twice))) == twice


def test_a_trigger_that_is_an_entity_too():
    text = ("Ada the buyer", [(0, 1, PER), (2, 3, "TITLE")], [((2, 3), "sale", [("buyer", (0, 1)), ("post", (2, 3))])])
    nlp = make("ie_arguments", steps=30, texts=[text, *TEXTS])
    assert events_of(nlp.get_pipe("ie_arguments")(given(nlp, *text))) == text[2]


def test_documents_without_events_are_left_alone(arguments):
    pipe = arguments.get_pipe("ie_arguments")
    doc = pipe(set_entities(arguments.make_doc(TEXTS[0][0]), TEXTS[0][1]))
    assert not is_annotated(doc, "events") and "ie_events" not in doc.spans
    doc = pipe(given(arguments, TEXTS[0][0], TEXTS[0][1], []))
    assert is_annotated(doc, "events") and doc._.events == ()


def test_arguments_that_stood_there_before_are_replaced(arguments):
    text, _, events = TEXTS[0]
    doc = set_events(arguments.make_doc(text), events)  # and no entities
    assert events_of(arguments.get_pipe("ie_arguments")(doc)) == [(place, label, []) for place, label, _ in events]


def test_the_schema_is_learned_by_event_type_and_entity_type(arguments):
    pipe = arguments.get_pipe("ie_arguments")
    assert pipe.labels == ("buyer", "defendant", "plaintiff", "target")
    assert pipe.full_schema()["defendant"] == [["!lawsuit", ORG], ["!lawsuit", PER]]
    doc = given(arguments, "Ada bought Dole", [(0, 1, PER), (2, 3, ORG)], [((1, 2), "sale", [])])
    candidates, _ = pipe.pick(doc, pipe.spans(doc))
    assert [[candidates.spans[i][2] for i in pair] for pair in candidates.pairs.tolist()] == [["!sale", ORG]]


def test_a_given_schema_goes_before_the_learned_one_for_the_event_types_that_it_names():
    pipe = make("ie_arguments", schema={"sale": {"buyer": [PER, ORG], "price": [MONEY]}}).get_pipe("ie_arguments")
    assert pipe.full_schema() == {
        "buyer": [["!sale", PER], ["!sale", ORG]],
        "price": [["!sale", MONEY]],
        "defendant": [["!lawsuit", ORG], ["!lawsuit", PER]],
        "plaintiff": [["!lawsuit", ORG]],
        "target": [],
    }
    assert pipe.labels == ("buyer", "defendant", "plaintiff", "price", "target")
    assert MONEY in pipe.cfg["span_labels"] and pipe.cfg["schema"] == {"sale": {"buyer": [PER, ORG], "price": [MONEY]}}


def test_without_the_filter_every_span_may_have_every_role():
    nlp = make("ie_arguments", label_filter=False)
    pipe = nlp.get_pipe("ie_arguments")
    doc = given(nlp, "Ada bought Dole and sued", [(0, 1, PER), (2, 3, ORG)], [((1, 2), "sale", []), ((4, 5), "lawsuit", [])])
    candidates, _ = pipe.pick(doc, pipe.spans(doc))
    pairs = {tuple(candidates.spans[i][2] for i in pair) for pair in candidates.pairs.tolist()}
    assert pairs == {("!sale", PER), ("!sale", ORG), ("!lawsuit", PER), ("!lawsuit", ORG)}  # triggers are never arguments


def test_an_event_type_that_the_training_data_lacks_has_no_arguments(arguments):
    doc = given(arguments, "Ada bought Dole", [(0, 1, PER), (2, 3, ORG)], [((1, 2), "NEW", [])])
    assert events_of(arguments.get_pipe("ie_arguments")(doc)) == [((1, 2), "NEW", [])]


@pytest.mark.parametrize("source", ["gold", "predicted", "mix"])
def test_gold_triggers_predicted_ones_or_both_are_learned_from(source):
    nlp = make("ie_arguments", train_on=source)
    (example,) = make_examples(nlp, TEXTS[1:2])
    wrong = given(nlp, *TEXTS[1][:2], [((3, 4), "lawsuit", [])])
    example = Example(wrong, example.reference)
    batch, _, labels = nlp.get_pipe("ie_arguments")._training_batch([example])
    triggers = {"gold": 1, "predicted": 1, "mix": 2}[source]
    assert len(batch.pairs[0]) == 2 * triggers
    assert labels[:, 1:].sum() == (0 if source == "predicted" else 2)


def test_learning_from_triggers_that_nobody_finds_is_told():
    nlp = make("ie_arguments", train_on="predicted")
    with pytest.warns(UserWarning, match="IE-W303.*annotating_components"):
        nlp.update(make_examples(nlp))


def test_training_on_the_answers_of_the_components_before():
    spacy.util.fix_random_seed(0)
    nlp = spacy.blank("en")
    nlp.add_pipe("ie_ner", config={"model": SMALL})
    nlp.add_pipe("ie_triggers", config={"model": SMALL})
    nlp.add_pipe("ie_arguments", config={"train_on": "predicted", "model": SMALL})
    sgd = nlp.initialize(lambda: make_examples(nlp))
    sgd.learn_rate = 0.005
    for _ in range(40):
        losses = nlp.update(make_examples(nlp), sgd=sgd, annotates=["ie_ner", "ie_triggers"])
    assert losses["ie_arguments"] < 0.1
    scores = nlp.evaluate(make_examples(nlp))
    assert scores["args_f"] == scores["args_attached_f"] == scores["triggers_f"] == scores["ents_f"] == 1.0


def test_thresholds_of_roles():
    nlp = make("ie_arguments", steps=1)
    pipe = nlp.get_pipe("ie_arguments")
    counts = {}
    for threshold in (0.0, 0.5, 1.0):
        pipe.cfg.update(threshold=threshold)
        counts[threshold] = len(pipe(given(nlp, *TEXTS[0]))._.events[1].arguments)
    assert counts[0.0] == 4 > counts[1.0] == 0
    pipe.cfg.update(threshold=0.0, thresholds={"plaintiff": 1.0})
    roles = {a.role for a in pipe(given(nlp, *TEXTS[0]))._.events[1].arguments}
    assert roles == {"defendant"}


def test_max_pairs_keeps_what_is_next_to_the_trigger():
    nlp = make("ie_arguments", max_pairs=2, threshold=0.0)
    doc = given(nlp, "a b c d sued f g", [(i, i + 1, ORG) for i in (0, 1, 2, 3, 5, 6)], [((4, 5), "lawsuit", [])])
    with pytest.warns(UserWarning, match=r"IE-W302.*'ie_arguments': 4 pair\(s\) of spans in 1 document"):
        doc = nlp.get_pipe("ie_arguments")(doc)
    assert [a.span.start for a in doc._.events[0].arguments] == [3, 5]


@pytest.mark.parametrize(
    ("factory", "config", "message"),
    [
        ("ie_triggers", {"scheme": "IOB9"}, "IE-E101"),
        ("ie_triggers", {"threshold": 1.5}, "IE-E207.*threshold"),
        ("ie_triggers", {"thresholds": {"NOPE": 0.5}}, "IE-E209.*NOPE.*sale"),
        ("ie_argument_spans", {"temperature": 0.0}, "IE-E208.*temperature"),
        ("ie_arguments", {"thresholds": {"NOPE": 0.5}}, "IE-E209.*NOPE.*buyer"),
        ("ie_arguments", {"train_on": "silver"}, "IE-E305"),
        ("ie_arguments", {"loss_weight": 0.0}, "IE-E208.*loss_weight"),
    ],
)
def test_bad_settings_are_refused(factory, config, message):
    with pytest.raises(ValueError, match=message):
        make(factory, **config)


def test_the_scores_of_a_pair_are_those_of_the_model(arguments):
    """No mixing up of pairs on the way: each document alone gives what the batch gives."""
    pipe = arguments.get_pipe("ie_arguments")
    docs = [given(arguments, *text) for text in TEXTS]
    together = pipe.predict(docs)
    assert together == [
        [type(pair)(*pair[:3], pytest.approx(pair.score, abs=1e-6)) for pair in pipe.predict([doc])[0]] for doc in docs
    ]
    assert numpy.isfinite([pair.score for found in together for pair in found]).all()


def test_a_corpus_with_events_only_teaches_arguments_by_their_own_labelled_spans():
    nlp = spacy.blank("en")
    doc = nlp.make_doc("Arlen bought Bexley .")
    buyer, target = Span(doc, 0, 1, "ORG"), Span(doc, 2, 3, "ORG")
    store_events(doc, [Event(doc[1:2], "deal", 1.0, [Argument("buyer", buyer), Argument("target", target)])])
    pipe = nlp.add_pipe("ie_arguments")
    gold = pipe.gold(Example(nlp.make_doc(doc.text), doc))
    assert gold.lost == 0
    assert gold.labels == {
        ((1, 2, "!deal"), (0, 1, "ORG")): {"buyer"},
        ((1, 2, "!deal"), (2, 3, "ORG")): {"target"},
    }


def test_an_entity_label_that_looks_like_a_trigger_is_refused():
    nlp = spacy.blank("en")
    doc = nlp.make_doc("Arlen bought Bexley .")
    doc.set_ents([Span(doc, 0, 1, "!deal")])
    store_events(doc, [Event(doc[1:2], "deal")])
    with pytest.raises(ValueError, match="IE-E401"):
        nlp.add_pipe("ie_arguments").gold(Example(nlp.make_doc(doc.text), doc))


def test_arguments_that_a_given_schema_forbids_are_counted():
    nlp = spacy.blank("en")
    doc = nlp.make_doc("Arlen bought Bexley .")
    buyer, target = Span(doc, 0, 1, "ORG"), Span(doc, 2, 3, "ORG")
    doc.set_ents([buyer, target])
    store_events(doc, [Event(doc[1:2], "deal", 1.0, [Argument("buyer", buyer), Argument("target", target)])])
    pipe = nlp.add_pipe("ie_arguments", config={"schema": {"deal": {"buyer": ["ORG"], "target": ["PRODUCT"]}}})
    with pytest.warns(UserWarning, match="of 2 gold facts, 0 have .* and 1 are no candidates"):
        pipe.initialize(lambda: [Example(nlp.make_doc(doc.text), doc)], nlp=nlp)


def test_components_for_groups_of_types_stand_side_by_side():
    """Overlapping triggers of different types: a component a group, with its labels; each leaves the other's events alone."""
    nlp = spacy.blank("en")
    doc = nlp.make_doc("Arlen bought out Bexley .")
    store_events(doc, [Event(doc[1:2], "deal"), Event(doc[1:3], "exit")])
    examples = [Example(nlp.make_doc(doc.text), doc)]
    for label in ("deal", "exit"):
        pipe = nlp.add_pipe("ie_triggers", name=label)
        pipe.initialize(lambda: examples, nlp=nlp, labels=[label])
    sgd = nlp.create_optimizer()
    for _ in range(40):
        nlp.update(examples, sgd=sgd)
    found = nlp(doc.text)
    assert [(e.trigger.text, e.label) for e in found._.events] == [("bought", "deal"), ("bought out", "exit")]
    assert [span.label_ for span in found.spans["ie_triggers"]] == ["deal", "exit"]
    assert len(found.spans["ie_triggers"].attrs["scores"]) == 2
