"""The search for thresholds: exact counts, the best value, and no values for noise."""

import itertools

import numpy
import pytest

from spacy_llm_ie.pairs.candidates import Candidates
from spacy_llm_ie.pairs.thresholds import (
    GRID,
    Counts,
    Option,
    Thresholds,
    _try_all,
    count_facts,
    list_options,
    make_pool,
    score_pairs,
    search_thresholds,
)

from ..events import test_pipes as events
from ..relations import test_pipe as relations

NOTHING = Thresholds(None, {})


def single(scores, gold, label="a", missed=0):
    """One document whose pairs have one label each: probabilities, and whether they are right."""
    options = [Option((label, i), label, score, 1 - score, (i, label)) for i, score in enumerate(scores)]
    facts = {(i, label) for i, right in enumerate(gold) if right} | {(-i, label) for i in range(1, missed + 1)}
    return options, facts


def f1(pool, settings):
    return count_facts(pool, settings)[None].prf()[2]


# Counts


def test_counts_by_hand():
    options = [
        Option(0, "a", 0.6, 0.1, ("x", "a")),
        Option(0, "b", 0.3, 0.1, ("x", "b")),  # of the same pair
        Option(1, "b", 0.2, 0.7, ("y", "b")),
        Option(2, "b", 0.4, 0.5, ("x", "b")),  # the same fact
    ]
    docs = [(options, {("x", "b"), ("y", "b"), ("z", "new")}), ([], {("x", "b")})]
    pool = make_pool(docs, ["a", "b"], False)
    assert count_facts(pool, NOTHING) == {
        None: Counts(0, 1, 4),
        "a": Counts(0, 1, 0),
        "b": Counts(0, 0, 3),
        "new": Counts(0, 0, 1),
    }
    assert count_facts(pool, Thresholds(0.2, {}))[None] == Counts(2, 3, 4)
    assert count_facts(pool, Thresholds(0.2, {"a": 0.61}))[None] == Counts(2, 2, 4)  # the second label takes its place
    assert count_facts(pool, Thresholds(None, {"a": 0.61, "b": 0.35}))[None] == Counts(1, 1, 4)
    several = make_pool(docs, ["a", "b"], True)
    assert count_facts(several, Thresholds(0.3, {}))[None] == Counts(1, 2, 4)
    assert Counts(2, 3, 4).prf() == (2 / 3, 2 / 4, 4 / 7)
    assert Counts(0, 0, 0).prf() == (0, 0, 0)


def test_nothing_to_choose_from():
    for docs in ([], [([], set())], [([], {("x", "a")})]):
        pool = make_pool(docs, ["a"], False)
        assert search_thresholds(pool, NOTHING, per_label=True, least_gold=1) == NOTHING


def random_pairs(pipe, spans, seed):
    """All pairs of spans with random probabilities, as the model could give them."""
    rng = numpy.random.default_rng(seed)
    pairs = numpy.array([(i, j) for i in range(len(spans)) for j in range(len(spans)) if i != j and rng.random() < 0.8])
    scores = rng.dirichlet(numpy.full(len(pipe.labels) + 1, 0.5), len(pairs)).astype("float32")
    if pipe.cfg["several"]:
        scores = rng.beta(0.5, 0.5, scores.shape).astype("float32")
    return Candidates(spans, pairs), scores


@pytest.mark.parametrize(
    ("texts", "config"),
    [(relations.TEXTS, {}), (relations.TWO_LABELS, {}), (relations.PARTNERS, {"symmetric": ["partner"]})],
    ids=["one", "several", "symmetric"],
)
def test_what_is_found_is_what_the_component_decodes(texts, config):
    """The oracle: `decode` with the settings, for any thresholds and probabilities."""
    pipe = relations.pipe_of(texts=texts, label_filter=False, **config)
    spans = [(i, i + 1, label) for i, label in enumerate(["ORG", "PERSON", "ORG", "GPE", "ORG"])]
    limits = [None, 0.0, 0.002, 0.1, 0.3, 0.5, 0.9]
    for seed, (general, special) in enumerate(itertools.product(limits, [None, 0.05, 0.4, 0.8])):
        settings = Thresholds(general, {} if special is None else {pipe.labels[seed % 2]: special})
        pipe.cfg.update(settings._asdict())
        candidates, scores = random_pairs(pipe, spans, seed)
        decoded = {(p.head, p.tail, p.label) for p in pipe.decode(candidates, scores)}
        options = list_options(pipe, candidates, scores, lambda p: (p.head, p.tail, p.label))
        # Half of what is decoded is called right, so that both columns are compared.
        gold = set(sorted(decoded)[::2])
        pool = make_pool([(options, gold)], pipe.labels, pipe.cfg["several"])
        assert count_facts(pool, settings)[None] == Counts(len(gold), len(decoded), len(gold))


def test_probabilities_are_those_that_predict_decodes(monkeypatch):
    monkeypatch.setattr("spacy_llm_ie.pairs.thresholds.BATCH", 2)
    nlp = relations.make(steps=3)
    pipe = nlp.get_pipe("ie_relations")
    docs = [relations.annotate(nlp.make_doc(text), entities) for text, entities, _ in relations.TEXTS]
    before = dict(pipe.cfg)
    scored = score_pairs(pipe, docs)
    assert [len(found.pairs) > 0 for found, _ in scored] == [True, True, True, False]  # two ORG: no label joins them
    assert [pipe.decode(*parts) for parts in scored] == pipe.predict(docs)
    assert pipe.cfg == before


def test_arguments_too():
    nlp = events.make("ie_arguments", steps=3)
    pipe = nlp.get_pipe("ie_arguments")
    docs = [events.given(nlp, *text) for text in events.TEXTS]
    for parts, found in zip(score_pairs(pipe, docs), pipe.predict(docs)):
        options = list_options(pipe, *parts, lambda p: (p.head, p.tail, p.label))
        assert {(p.head, p.tail, p.label) for p in found} <= {option.fact for option in options}


# The search


def test_the_best_general_threshold_is_found():
    rng = numpy.random.default_rng(0)
    scores = rng.random(2000)
    pool = make_pool([single(scores, scores > 0.73)], ["a"], False)
    assert search_thresholds(pool, NOTHING) == Thresholds(0.73, {})
    lower = make_pool([single(scores, scores > 0.205)], ["a"], False)
    best = search_thresholds(lower, NOTHING)
    assert best.threshold in (0.2, 0.21)
    assert f1(lower, best) == max(f1(lower, Thresholds(float(value), {})) for value in GRID)


def test_the_middle_of_equally_good_thresholds_is_taken():
    pool = make_pool([single([0.3] * 20 + [0.1] * 50, [True] * 20 + [False] * 50)], ["a"], False)
    assert search_thresholds(pool, NOTHING).threshold == pytest.approx(0.2, abs=0.011)


def two_labels(n=400, first=0.3, second=0.8):
    rng = numpy.random.default_rng(1)
    a, b = rng.random(n), rng.random(n)
    docs = [single(a, a > first, "a"), single(b, b > second, "b")]
    return make_pool(docs, ["a", "b"], False)


def test_labels_that_differ_get_thresholds_of_their_own():
    pool = two_labels()
    general = search_thresholds(pool, NOTHING)
    assert general.thresholds == {}
    best = search_thresholds(pool, NOTHING, per_label=True)
    limits = {label: best.thresholds.get(label, best.threshold) for label in "ab"}
    assert limits["a"] == pytest.approx(0.3, abs=0.02) and limits["b"] == pytest.approx(0.8, abs=0.02)
    assert f1(pool, best) > f1(pool, general) > f1(pool, NOTHING)


def test_rare_labels_get_none():
    pool = two_labels()
    gold = count_facts(pool, NOTHING)
    assert "b" not in search_thresholds(pool, NOTHING, per_label=True, least_gold=gold["b"].gold + 1).thresholds
    assert search_thresholds(pool, NOTHING, per_label=True, least_gold=10**6) == search_thresholds(pool, NOTHING)


def test_label_wise_thresholds_that_are_set_stay_and_are_in_force():
    pool = two_labels()
    best = search_thresholds(pool, Thresholds(None, {"b": 0.8}))
    assert best.thresholds == {"b": 0.8} and best.threshold == pytest.approx(0.3, abs=0.02)


def test_it_stops_where_nothing_is_gained():
    pool = two_labels()
    best = search_thresholds(pool, NOTHING, per_label=True)
    assert search_thresholds(pool, best, per_label=True) == best


@pytest.mark.parametrize(("more", "general", "label"), [(1, False, False), (3, True, False), (7, True, True)])
def test_a_few_facts_more_are_no_reason(more, general, label):
    """Of 20 facts, one more is 2 points of F1, and three are 6; that is what chance gives, all the more for each of many labels."""
    start = Thresholds(0.5, {})
    pool = make_pool([single([0.9] * 20 + [0.4] * more, [True] * (20 + more))], ["a"], False)
    assert f1(pool, Thresholds(0.4, {})) > f1(pool, start) + 0.02
    assert (search_thresholds(pool, start) != start) is general
    assert (_try_all(pool, start, "a") != start) is label


def test_a_gain_that_is_sure_but_tiny_is_no_reason():
    pool = make_pool([single([0.9] * 20000 + [0.4] * 60, [True] * 20060)], ["a"], False)
    assert f1(pool, Thresholds(0.4, {})) > f1(pool, NOTHING)
    assert search_thresholds(pool, NOTHING) == NOTHING


def test_noise_is_fitted_less_than_by_taking_the_best(monkeypatch):
    """Six labels that are alike, and 0.5 is near the best for each. The best values of 600 pairs cost F1 on other data; ours less."""
    rng = numpy.random.default_rng(3)
    start = Thresholds(0.5, {})

    def draw(size):
        docs = []
        for label in "abcdef":
            logits = rng.normal(-1.5, 2.2, size)
            right = rng.random(size) < 1 / (1 + numpy.exp(1 - logits))
            docs.append(single(1 / (1 + numpy.exp(-logits)), right, label))
        return make_pool(docs, "abcdef", False)

    other, pools = draw(5000), [draw(100) for _ in range(15)]

    def lost():
        return sum(f1(other, start) - f1(other, search_thresholds(pool, start, per_label=True)) for pool in pools) / len(pools)

    ours = lost()
    for name in ("LEAST_GAIN", "GENERAL_ERRORS", "LABEL_ERRORS"):
        monkeypatch.setattr(f"spacy_llm_ie.pairs.thresholds.{name}", 0.0)
    best = lost()
    assert best > 0.01
    assert ours < best / 2
