"""What is particular to `ie_relations`: types, thresholds, several labels, symmetric labels, what is learned from, limits."""

import warnings
from collections import Counter

import numpy
import pytest
import spacy
from spacy.tokens import Doc, Span
from spacy.training import Example
from thinc.api import Adam

from spacy_llm_ie import Relation
from spacy_llm_ie.pairs.candidates import Candidates

PER, ORG, GPE = "PERSON", "ORG", "GPE"
# Words, entities (tokens), relations (head, tail, label; indices of entities).
TEXTS = [
    ("Ada joined Arlen in Omaha", [(0, 1, PER), (2, 3, ORG), (4, 5, GPE)], [(0, 1, "works"), (1, 2, "seat")]),
    ("Bexley of Lagos hired Omar", [(0, 1, ORG), (2, 3, GPE), (4, 5, PER)], [(2, 0, "works"), (0, 1, "seat")]),
    (
        "Omar left Arlen , Bexley of Omaha said",
        [(0, 1, PER), (2, 3, ORG), (4, 5, ORG), (6, 7, GPE)],
        [(0, 1, "works"), (2, 3, "seat")],
    ),
    ("Arlen and Bexley rose", [(0, 1, ORG), (2, 3, ORG)], []),
]
TWO_LABELS = [("Ada founded Arlen", [(0, 1, PER), (2, 3, ORG)], [(0, 1, "works"), (0, 1, "founder")]), *TEXTS]
PARTNERS = [
    ("Arlen joins Bexley", [(0, 1, ORG), (2, 3, ORG)], [(1, 0, "partner")]),  # the second is the head here
    ("Bexley meets Cargill and Dole", [(0, 1, ORG), (2, 3, ORG), (4, 5, ORG)], [(0, 1, "partner")]),
    ("Ada joins Arlen", [(0, 1, PER), (2, 3, ORG)], [(0, 1, "works")]),
]
SMALL = {"hidden_size": 32, "label_size": 8, "distance_size": 8, "tok2vec": {"width": 32, "depth": 1, "embed_size": 500}}


def annotate(doc, entities, relations=None, key=None):
    spans = [Span(doc, *span[:2], label=span[2]) for span in entities]
    if key is None:
        doc.set_ents(spans)
    else:
        doc.spans[key] = spans
    if relations is not None:
        doc._.relations = [Relation(spans[head], spans[tail], label) for head, tail, label in relations]
    return doc


def make_examples(nlp, texts=TEXTS, key=None):
    return [Example(nlp.make_doc(t), annotate(nlp.make_doc(t), ents, rels, key)) for t, ents, rels in texts]


def make(steps=0, texts=TEXTS, seed=0, **config):
    spacy.util.fix_random_seed(seed)
    nlp = spacy.blank("en")
    nlp.add_pipe("ie_relations", config={"model": SMALL, **config})
    examples = make_examples(nlp, texts, config.get("spans_key"))
    sgd = nlp.initialize(lambda: examples)
    sgd.learn_rate = 0.005
    for _ in range(steps):
        nlp.update(examples, sgd=sgd)
    return nlp


def pipe_of(**config):
    return make(**config).get_pipe("ie_relations")


def find(nlp, text, entities, key=None):
    """The relations found in a text between given entities."""
    doc = nlp.get_pipe("ie_relations")(annotate(nlp.make_doc(text), entities, key=key))
    return [(r.head.start, r.tail.start, r.label) for r in doc._.relations]


def gold(entities, relations):
    return [(entities[head][0], entities[tail][0], label) for head, tail, label in relations]


@pytest.fixture(scope="module")
def trained():
    return make(steps=30)


@pytest.fixture(scope="module")
def fresh():
    return make()


def picked(pipe, number=0, texts=TEXTS):
    """The pairs of a text that are scored, as types."""
    nlp = spacy.blank("en")
    text, entities, _ = texts[number]
    candidates, _ = pipe.pick(nlp.make_doc(text), entities)
    return {tuple(candidates.spans[i][2] for i in pair) for pair in candidates.pairs.tolist()}


# Types


def test_the_schema_is_learned_and_filters_pairs(fresh):
    pipe = fresh.get_pipe("ie_relations")
    assert pipe.full_schema() == {"works": [[PER, ORG]], "seat": [[ORG, GPE]]}
    assert picked(pipe) == {(PER, ORG), (ORG, GPE)}
    assert picked(pipe, 3) == set()


def test_without_the_filter_every_pair_and_every_label_is_tried():
    pipe = pipe_of(label_filter=False)
    assert picked(pipe) == {(PER, ORG), (ORG, PER), (PER, GPE), (GPE, PER), (ORG, GPE), (GPE, ORG)}
    assert pipe.table.allowed.all()


def test_a_filtered_label_has_no_probability(trained):
    pipe = trained.get_pipe("ie_relations")
    pipe.cfg["threshold"] = 0.0
    try:
        found = find(trained, *TEXTS[0][:2])
    finally:
        pipe.cfg["threshold"] = None
    assert {label for _, _, label in found} == {"works", "seat"} and len(found) == 2


def test_a_given_schema_goes_before_what_the_data_shows():
    pipe = pipe_of(schema={"works": [[PER, ORG], [PER, GPE]], "makes": [[ORG, "PRODUCT"]]})
    assert pipe.full_schema() == {"works": [[PER, ORG], [PER, GPE]], "seat": [[ORG, GPE]], "makes": [[ORG, "PRODUCT"]]}
    assert picked(pipe) == {(PER, ORG), (PER, GPE), (ORG, GPE)}
    assert pipe.labels == ("makes", "seat", "works") and "PRODUCT" in pipe.cfg["span_labels"]


def test_gold_that_a_given_schema_does_not_allow_is_learned_where_the_pair_is_a_candidate():
    """Not allowing it would make its loss infinite."""
    nlp = make(
        steps=2, texts=[("Ada founded Arlen", [(0, 1, PER), (2, 3, ORG)], [(0, 1, "founder")]), *TEXTS], schema={"works": []}
    )
    loss = nlp.update(make_examples(nlp, TEXTS[:1]))["ie_relations"]
    assert 0 < loss < 100
    assert {label for _, _, label in find(nlp, *TEXTS[0][:2])} <= {"founder", "seat"}


def test_an_entity_type_that_the_training_data_lacks_is_no_candidate_and_no_error(trained):
    assert find(trained, "Ada joined Arlen", [(0, 1, PER), (2, 3, "NEW")]) == []
    nlp = make(label_filter=False)
    find(nlp, "Ada joined Arlen", [(0, 1, PER), (2, 3, "NEW")])


# Choosing labels


def decode(pipe, rows, count=2):
    """Decode probabilities of all pairs of some one-token spans, in their order. RETURNS: (head, tail, label, score)."""
    pairs = [(i, j) for i in range(count) for j in range(count) if i != j]
    candidates = Candidates([(i, i + 1, ORG) for i in range(count)], numpy.array(pairs))
    found = pipe.decode(candidates, numpy.array(rows, dtype="float32"))
    return [(p.head[0], p.tail[0], p.label, round(p.score, 4)) for p in found]


def decide(pipe, *probabilities):
    """Decode the first of two pairs, with none, "seat" and "works". RETURNS: Its labels."""
    nothing = [1] + [0] * (len(probabilities) - 1)
    return [label for head, _, label, _ in decode(pipe, [probabilities, nothing]) if head == 0]


def test_without_a_threshold_a_label_must_be_more_probable_than_none(fresh):
    pipe = fresh.get_pipe("ie_relations")
    assert decide(pipe, 0.5, 0.3, 0.2) == []
    assert decide(pipe, 0.3, 0.4, 0.3) == ["seat"]
    assert decide(pipe, 0.3, 0.31, 0.39) == ["works"]


@pytest.mark.parametrize(
    ("threshold", "thresholds", "expected"),
    [
        (0.25, {}, ["seat"]),
        (0.35, {}, []),
        (None, {"works": 0.1}, ["works"]),
        (0.35, {"works": 0.2}, ["works"]),
        (0.1, {"seat": 0.9}, ["works"]),
        (0.1, {"seat": 0.9, "works": 0.9}, []),
        (0.0, {}, ["seat"]),
    ],
)
def test_thresholds_for_all_labels_and_for_one(threshold, thresholds, expected):
    pipe = pipe_of(threshold=threshold, thresholds=thresholds)
    assert decide(pipe, 0.5, 0.3, 0.2) == expected
    assert decide(pipe, 1.0, 0.0, 0.0) == []  # a label that is not possible reaches no threshold


def test_thresholds_trade_recall_for_precision():
    nlp = make(steps=2)  # has learned something, but is not sure
    found = {}
    for threshold in (0.0, 0.5, 1.0):
        nlp.get_pipe("ie_relations").cfg["threshold"] = threshold
        found[threshold] = find(nlp, *TEXTS[2][:2])
    assert found[0.0] == [(0, 2, "works"), (0, 4, "works"), (2, 6, "seat"), (4, 6, "seat")]
    assert set(found[0.5]) < set(found[0.0]) and found[1.0] == []


def test_a_pair_may_have_several_labels_if_one_has_in_the_training_data(trained):
    assert not trained.get_pipe("ie_relations").cfg["several"]
    nlp = make(steps=30, texts=TWO_LABELS)
    pipe = nlp.get_pipe("ie_relations")
    assert pipe.cfg["several"] and pipe.labels == ("founder", "seat", "works")
    for text, entities, relations in TWO_LABELS:
        assert sorted(find(nlp, text, entities)) == sorted(gold(entities, relations))
    assert decide(pipe, 0.2, 0.8, 0.6, 0.4) == ["founder", "seat"]
    pipe.cfg.update(threshold=0.7, thresholds={"works": 0.3})
    assert decide(pipe, 0.2, 0.8, 0.6, 0.4) == ["founder", "works"]
    assert nlp.evaluate([])["rels_micro_f"] is None


# Labels without direction


@pytest.fixture(scope="module")
def partners():
    return make(steps=40, texts=PARTNERS, symmetric=["partner"])


def test_a_symmetric_relation_is_stored_once_with_the_first_span_as_head(partners):
    assert find(partners, *PARTNERS[0][:2]) == [(0, 2, "partner")]
    assert find(partners, *PARTNERS[1][:2]) == [(0, 2, "partner")]
    assert find(partners, *PARTNERS[2][:2]) == [(0, 2, "works")]
    examples = make_examples(partners, PARTNERS)
    for example in examples:
        example.predicted.set_ents([Span(example.predicted, e.start, e.end, label=e.label_) for e in example.reference.ents])
    assert partners.evaluate(examples)["rels_micro_f"] == 1.0


def test_a_symmetric_relation_has_the_mean_of_what_both_directions_say(partners):
    pipe = partners.get_pipe("ie_relations")
    assert decode(pipe, [(0.4, 0.5, 0.1), (0.2, 0.7, 0.1)]) == [(0, 1, "partner", 0.6)]
    assert decode(pipe, [(0.1, 0.8, 0.1), (0.9, 0.1, 0.0)]) == [(0, 1, "partner", 0.45)]
    assert decode(pipe, [(0.5, 0.4, 0.1), (0.1, 0.8, 0.1)]) == [(0, 1, "partner", 0.6)]
    assert decode(pipe, [(0.5, 0.1, 0.4), (0.1, 0.1, 0.8)]) == [(1, 0, "works", 0.8)]  # direction matters


def test_without_the_setting_directions_stand_for_themselves():
    nlp = make(steps=40, texts=PARTNERS)
    assert find(nlp, *PARTNERS[0][:2]) == [(2, 0, "partner")]


def test_a_given_schema_of_a_symmetric_label_needs_one_direction_only():
    texts = [
        ("Ada meets Arlen", [(0, 1, PER), (2, 3, ORG)], [(0, 1, "meets")]),
        ("Arlen meets Ada", [(0, 1, ORG), (2, 3, PER)], [(0, 1, "meets")]),
    ]
    nlp = make(steps=30, texts=texts, schema={"meets": [[PER, ORG]]}, symmetric=["meets"])
    assert [find(nlp, *text[:2]) for text in texts] == [[(0, 2, "meets")]] * 2


def test_a_symmetric_relation_whose_other_direction_was_not_scored_is_told_in_order(partners):
    """As when `max_pairs` cuts between the two."""
    pipe = partners.get_pipe("ie_relations")
    candidates = Candidates([(0, 1, ORG), (2, 3, ORG)], numpy.array([(1, 0)]))
    (found,) = pipe.decode(candidates, numpy.array([(0.2, 0.7, 0.1)], dtype="float32"))
    assert (found.head, found.tail, found.label) == ((0, 1, ORG), (2, 3, ORG), "partner")
    assert found.score == pytest.approx(0.7)


# What is learned from


def training_spans(nlp, predicted=((2, 3, ORG), (3, 4, ORG))):
    """The spans that the component pairs up when it learns from the first text, whose predicted entities are given."""
    (example,) = make_examples(nlp, TEXTS[:1])
    annotate(example.predicted, predicted)
    batch, allowed, labels = nlp.get_pipe("ie_relations")._training_batch([example])
    return [tuple(row) for row in batch.spans[0][:, :2].tolist()], len(batch.pairs[0]), int(labels[:, 1:].sum())


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("gold", ([(0, 1), (2, 3), (4, 5)], 2, 2)),
        ("predicted", ([(2, 3), (3, 4)], 0, 0)),
        ("mix", ([(0, 1), (2, 3), (3, 4), (4, 5)], 4, 2)),
    ],
)
def test_gold_entities_predicted_ones_or_both_are_learned_from(source, expected):
    assert training_spans(make(train_on=source)) == expected


@pytest.mark.parametrize("source", ["predicted", "mix"])
def test_learning_from_predictions_that_nobody_makes_is_told(source):
    nlp = make(train_on=source)
    with pytest.warns(UserWarning, match="IE-W303.*annotating_components"):
        nlp.update(make_examples(nlp, TEXTS[:1]))


def test_predictions_follow_an_update_that_documents_were_read_in():
    """Whatever is kept of parameters to predict with: `annotating_components` predict before the optimizer writes to them."""
    nlp = make()
    pipe, examples, sgd = nlp.get_pipe("ie_relations"), make_examples(nlp), Adam(0.05)
    docs = [annotate(nlp.make_doc(text), entities) for text, entities, _ in TEXTS]
    for _ in range(3):
        pipe.update(examples)
        before = [found for _, found in pipe.probabilities(docs)]
        pipe.finish_update(sgd)
        after = [found for _, found in pipe.probabilities(docs)]
        assert abs(numpy.concatenate(after) - numpy.concatenate(before)).max() > 1e-3
        loaded = pipe_of().from_bytes(pipe.to_bytes())
        for (_, found), expected in zip(loaded.probabilities(docs), after):
            numpy.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("source", ["gold", "predicted", "mix"])
def test_predicted_entities_come_from_annotating_components(source):
    nlp = make(train_on=source)
    ruler = nlp.add_pipe("entity_ruler", before="ie_relations")
    names = [
        (PER, "Ada"),
        (PER, "Omar"),
        (ORG, "Arlen"),
        (ORG, "Bexley"),
        (GPE, "Omaha"),
        (GPE, "Lagos"),
        (PER, "rose"),
        (ORG, "hired"),
    ]
    ruler.add_patterns([{"label": label, "pattern": pattern} for label, pattern in names])
    sgd = nlp.create_optimizer()
    sgd.learn_rate = 0.005
    bare = nlp.update(make_examples(nlp))["ie_relations"]
    assert (bare == 0) == (source == "predicted")  # nothing was found, so that there is nothing to learn from
    for _ in range(40):
        losses = nlp.update(make_examples(nlp), sgd=sgd, annotates=["entity_ruler"])
    assert losses["ie_relations"] < 0.05
    right = [(r.head.text, r.label, r.tail.text) for r in nlp("Omar left Arlen , Bexley of Omaha said")._.relations]
    assert right == [("Omar", "works", "Arlen"), ("Bexley", "seat", "Omaha")]
    wrong = [r.head.text for r in nlp("Arlen and Bexley rose")._.relations]
    assert source == "gold" or wrong == []  # only these have seen the wrong entity 'rose'


def test_none_weight_weighs_pairs_without_relation():
    losses = {}
    for weight in (0.0, 0.5, 1.0):
        nlp = make(none_weight=weight)
        example = make_examples(nlp, [("Ada joined Arlen", [(0, 1, PER), (2, 3, ORG)], [])])
        losses[weight] = nlp.update(example)["ie_relations"]
    assert losses[0.0] == 0.0 < losses[1.0]
    assert losses[0.5] == pytest.approx(losses[1.0] / 2)


def test_loss_weight_multiplies_the_loss():
    losses = {weight: make(loss_weight=weight).update(make_examples(make()))["ie_relations"] for weight in (1.0, 3.0)}
    assert losses[3.0] == pytest.approx(3 * losses[1.0])


def test_get_loss_is_what_update_reports(fresh):
    pipe = fresh.get_pipe("ie_relations")
    examples = make_examples(fresh)
    scores = pipe.model.predict(pipe._training_batch(examples)[0])
    loss, gradient = pipe.get_loss(examples, scores)
    assert loss == pytest.approx(fresh.update(examples)["ie_relations"])
    assert gradient.shape == scores.shape


# Limits


def test_the_closest_pairs_are_kept_and_the_others_are_counted():
    every = {"@misc": "spacy-llm-ie.near_pairs.v1", "max_distance": None}
    nlp = make(max_pairs=1000, candidates=every, threshold=0.0)
    kinds = (PER, ORG)
    docs = [annotate(nlp.make_doc("w " * n), [(i, i + 1, kinds[i % 2]) for i in range(n)]) for n in (500, 4, 500)]
    with pytest.warns(UserWarning, match=r"IE-W302.*'ie_relations': 123000 pair\(s\) of spans in 2 document.*max_pairs = 1000"):
        docs = list(nlp.get_pipe("ie_relations").pipe(docs, batch_size=3))  # 2 * (250 * 250 - 1000)
    assert [len(doc._.relations) for doc in docs] == [1000, 4, 1000]
    for doc in (docs[0], docs[2]):
        assert Counter(abs(r.head.start - r.tail.start) for r in doc._.relations) == {1: 499, 3: 497, 5: 4}


def test_no_warning_if_all_pairs_are_scored(trained):
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        find(trained, *TEXTS[0][:2])


def test_relations_that_cannot_be_reached_are_counted_when_the_labels_are_read():
    near = {"@misc": "spacy-llm-ie.near_pairs.v1", "max_distance": 1}
    far = ("Ada was long ago at Arlen", [(0, 1, PER), (5, 6, ORG)], [(0, 1, "works")])
    with pytest.warns(UserWarning, match=r"IE-W301.*of 7 gold facts, 0 have spans.*and 2 are no candidates"):
        nlp = make(steps=30, texts=[*TEXTS, far], candidates=near)  # and that of "Bexley of Lagos hired Omar"
    assert find(nlp, *far[:2]) == []


def test_spans_that_do_not_fall_on_tokens_are_counted_and_not_learned():
    nlp = spacy.blank("en")
    pipe = nlp.add_pipe("ie_relations")
    words, spaces = ["Ada", "joined", "Arlen", "based", "now"], [True, True, False, True, False]
    reference = annotate(Doc(nlp.vocab, words=words, spaces=spaces), [(0, 1, PER), (2, 3, ORG)], [(0, 1, "works")])
    example = Example(nlp.make_doc(reference.text), reference)
    assert [t.text for t in example.predicted] == ["Ada", "joined", "Arlenbased", "now"]
    with pytest.warns(UserWarning, match=r"IE-W301.*of 7 gold facts, 1 have spans.*and 0 are no candidates"):
        nlp.initialize(lambda: [example, *make_examples(nlp)])
    assert pipe.gold(example).lost == 1 and pipe.gold(example).spans == [(0, 1, PER)]
    assert nlp.update([example])["ie_relations"] == 0.0


def test_tokens_may_differ_where_the_borders_are_the_same(fresh):
    words = ["Ada", "Quill", "joined", "Ar", "len"]
    reference = Doc(fresh.vocab, words=words, spaces=[True, True, True, False, False])
    annotate(reference, [(0, 2, PER), (3, 5, ORG)], [(0, 1, "works")])
    found = fresh.get_pipe("ie_relations").gold(Example(fresh.make_doc(reference.text), reference))
    assert found.labels == {((0, 2, PER), (3, 4, ORG)): {"works"}} and found.lost == 0


def test_a_symmetric_relation_is_counted_once():
    nlp = spacy.blank("en")
    nlp.add_pipe("ie_relations", config={"symmetric": ["partner"]})
    far = ("Arlen " + "and " * 200 + "Bexley", [(0, 1, ORG), (201, 202, ORG)], [(0, 1, "partner")])
    with pytest.warns(UserWarning, match=r"IE-W301.*of 4 gold facts, 0 .* and 1 are no candidates"):
        nlp.initialize(lambda: make_examples(nlp, [far, *PARTNERS]))


# Spans from elsewhere


def test_spans_of_a_group_that_overlap():
    texts = [
        ("the Bank of Omaha here", [(0, 4, ORG), (1, 4, ORG), (3, 4, GPE)], [(1, 2, "seat")]),
        ("the House of Lagos too", [(0, 4, ORG), (1, 4, ORG), (3, 4, GPE)], [(1, 2, "seat")]),
    ]
    nlp = make(steps=30, texts=texts, spans_key="mentions")
    for text, spans, relations in texts:
        assert find(nlp, text, spans, "mentions") == gold(spans, relations)
        assert find(nlp, text, spans[:0], "mentions") == find(nlp, text, [(1, 4, ORG), (3, 4, GPE)][:0]) == []
        doc = nlp(nlp.make_doc(text))  # no such group
        assert doc._.relations == () and "mentions" not in doc.spans


def test_what_stood_there_before_is_replaced_but_for_labels_of_others(trained):
    text, entities, relations = TEXTS[0]
    doc = annotate(trained.make_doc(text), entities, [(2, 0, "seat")])
    doc = trained.get_pipe("ie_relations")(doc)
    assert [r.label for r in doc._.relations] == ["works", "seat"]
    doc = annotate(trained.make_doc(text), entities, [(2, 0, "other")])
    doc = trained.get_pipe("ie_relations")(doc)
    assert [r.label for r in doc._.relations] == ["other", "works", "seat"]
    assert [r.label for r in trained.get_pipe("ie_relations")(annotate(doc, []))._.relations] == ["other"]


def test_relations_end_at_the_entities_and_have_probabilities(trained):
    doc = trained.get_pipe("ie_relations")(annotate(trained.make_doc(TEXTS[0][0]), TEXTS[0][1]))
    for relation in doc._.relations:
        assert relation.head in doc.ents and relation.tail in doc.ents
        assert 0.5 < relation.score <= 1 and type(relation.score) is float


def test_candidate_recall_is_reported(trained):
    examples = make_examples(trained)
    assert trained.evaluate(examples)["rels_candidate_recall"] == 0.0  # no entity was predicted
    for example, (_, entities, _) in zip(examples, TEXTS):
        annotate(example.predicted, entities)
    scores = trained.evaluate(examples)
    assert scores["rels_candidate_recall"] == scores["rels_micro_f"] == scores["rels_macro_f"] == 1.0
    annotate(examples[0].predicted, TEXTS[0][1][:2])
    scores = trained.evaluate(examples)
    assert scores["rels_candidate_recall"] == scores["rels_micro_r"] == pytest.approx(5 / 6)


# Refusals


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"threshold": 1.5}, "IE-E207.*threshold.*1.5"),
        ({"thresholds": {"works": -1.0}}, "IE-E207.*thresholds.works"),
        ({"thresholds": {"NOPE": 0.5}}, "IE-E209.*NOPE.*seat"),
        ({"learn_rate_factor": 0.0}, "IE-E208.*learn_rate_factor"),
        ({"loss_weight": -1.0}, "IE-E208.*loss_weight"),
        ({"train_on": "silver"}, "IE-E305.*silver.*gold, predicted, mix"),
        ({"schema": {"works": [[PER]]}}, "IE-E304.*works"),
        ({"candidates": {"@misc": "spacy-llm-ie.near_pairs.v1", "max_distance": -1}}, "IE-E301.*max_distance"),
    ],
)
def test_bad_settings_are_refused(config, message):
    with pytest.raises(ValueError, match=message):
        make(**config)


def test_training_data_without_a_relation_is_refused():
    for relations in ([], None):
        with pytest.raises(ValueError, match="IE-E307.*ie convert"):
            make(texts=[("Ada rose", [(0, 1, PER)], relations)])


def test_a_label_that_the_model_lacks_is_named(fresh):
    late = make_examples(fresh, [("Ada owns Arlen", [(0, 1, PER), (2, 3, ORG)], [(0, 1, "owns")])])
    with pytest.raises(ValueError, match="IE-E303.*owns.*init labels"):
        fresh.update(late)
    with pytest.raises(ValueError, match="IE-E306.*owns.*seat"):
        fresh.get_pipe("ie_relations").add_label("owns")
    assert fresh.get_pipe("ie_relations").add_label("works") == 0


def test_a_model_cannot_be_initialised_again_for_other_labels_or_other_types():
    nlp = make(steps=5)
    pipe = nlp.get_pipe("ie_relations")
    before = pipe.label_data
    pipe.initialize(lambda: make_examples(nlp))
    for extra in (
        ("Ada owns Arlen", [(0, 1, PER), (2, 3, ORG)], [(0, 1, "owns")]),
        ("Ada joined Arlen now", [(0, 1, PER), (2, 3, ORG), (3, 4, "DATE")], [(0, 1, "works")]),
    ):
        with pytest.raises(ValueError, match="IE-E214.*(owns|DATE)"):
            pipe.initialize(lambda extra=extra: make_examples(nlp, [*TEXTS, extra]))
        assert pipe.label_data == before
    nlp.update(make_examples(nlp), sgd=nlp.create_optimizer())


def test_divergence_is_said_plainly():
    nlp = make()
    module = nlp.get_pipe("ie_relations").model.shims[0].module
    module.output.bias.data.fill_(float("nan"))
    with pytest.raises(ValueError, match="IE-E210.*learning rate"):
        nlp.update(make_examples(nlp), sgd=nlp.create_optimizer())
    with pytest.raises(ValueError, match="IE-E210"):
        find(nlp, *TEXTS[0][:2])


def test_settings_at_load_go_before_saved_ones(tmp_path):
    nlp = make(steps=1)
    nlp.get_pipe("ie_relations").cfg["threshold"] = 0.4
    nlp.to_disk(tmp_path / "m")
    assert spacy.load(tmp_path / "m").get_pipe("ie_relations").cfg["threshold"] == 0.4
    override = {"components": {"ie_relations": {"threshold": 0.7, "max_pairs": 5}}}
    pipe = spacy.load(tmp_path / "m", config=override).get_pipe("ie_relations")
    assert (pipe.cfg["threshold"], pipe.cfg["max_pairs"]) == (0.7, 5)
    assert pipe.labels == ("seat", "works")


def test_the_flow_is_declared():
    nlp = spacy.blank("en")
    nlp.add_pipe("ie_relations")
    problems = nlp.analyze_pipes()["problems"]["ie_relations"]
    assert problems == ["doc.ents"]
    nlp.add_pipe("ie_ner", first=True)
    assert nlp.analyze_pipes()["problems"]["ie_relations"] == []
