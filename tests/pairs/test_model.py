"""The pair classifier as a thinc model: gradients down to the token vectors, dropout, saving."""

import numpy
import pytest
import spacy
from thinc.api import Model, fix_random_seed, set_dropout_rate

from spacy_llm_ie.pairs.model import PairBatch, build_pair_classifier_v1, get_scorer, set_sizes

TEXTS = ["Ada Quill joined Arlen Foods", "", "Omaha", "Bexley Grain of Lagos sued Omar Lind"]
SPANS = [[(0, 2, 1), (3, 5, 2)], [], [(0, 1, 1)], [(0, 2, 1), (1, 4, 2), (5, 7, 0)]]
PAIRS = [[(0, 1), (1, 0)], [], [], [(0, 1), (0, 2), (2, 1)]]
WIDTH, OUTPUTS = 6, 3


def make_batch():
    nlp = spacy.blank("en")
    tables = [[numpy.array(rows, dtype="int64").reshape(-1, k) for rows in found] for found, k in ((SPANS, 3), (PAIRS, 2))]
    return PairBatch([nlp.make_doc(text) for text in TEXTS], *tables)


class FakeVectors:
    """Token vectors that are parameters, so that their gradient can be read, and moved by a small step."""

    def __init__(self, docs):
        rng = numpy.random.default_rng(0)
        self.values = [rng.normal(size=(len(doc), WIDTH)).astype("f") for doc in docs]
        self.gradients = None
        self.model = Model("fake_vectors", self._forward, dims={"nO": WIDTH})

    def _forward(self, model, docs, is_train):
        def backprop(gradients):
            self.gradients = gradients
            return docs

        return [model.ops.asarray(array.copy()) for array in self.values], backprop


@pytest.mark.parametrize("order", [(0, 3), (3, 0), (0, 1, 3), (3, 2, 0)])
def test_documents_of_a_batch_are_told_apart(order):
    """Words and spans of one document are no context of the next one."""
    batch = make_batch()
    vectors = FakeVectors(batch.docs)
    model, every = make_model(vectors.model), vectors.values

    def predict(numbers):
        vectors.values = [every[i] for i in numbers]
        return model.predict(PairBatch(*([part[i] for i in numbers] for part in batch)))

    alone = numpy.concatenate([predict([i]) for i in order])
    numpy.testing.assert_allclose(predict(order), alone, rtol=1e-4, atol=1e-5)


def test_an_empty_document_may_come_without_width():
    """As a transformer listener gives it."""
    batch = make_batch()
    vectors = FakeVectors(batch.docs)
    model = make_model(vectors.model)
    expected = model.predict(batch)
    vectors.values[1] = numpy.zeros((0, 0), dtype="f")
    scores, backprop = model.begin_update(batch)
    numpy.testing.assert_allclose(scores, expected, rtol=1e-5)
    backprop(model.ops.alloc2f(*scores.shape))
    assert [len(g) for g in vectors.gradients] == [len(v) for v in vectors.values]


@pytest.mark.parametrize("how", ["in order", "read-only", "float64", "turned", "on and on"])
def test_vectors_of_a_single_document_are_read_however_they_lie(how):
    batch = make_batch()
    vectors = FakeVectors(batch.docs)
    model, expected = make_model(vectors.model), vectors.values[3].copy()
    given = {"turned": numpy.asfortranarray(expected), "float64": expected.astype("float64")}.get(how, expected)
    given.flags.writeable = how != "read-only"
    if how == "on and on":
        given = numpy.repeat(expected, 2, axis=0)[::2]
    one = PairBatch(*(part[3:] for part in batch))
    vectors.model._func = lambda node, docs, is_train: ([given], lambda gradients: docs)
    found = model.predict(one)
    numpy.testing.assert_array_equal(given, expected)  # as it was
    vectors.model._func = vectors._forward
    numpy.testing.assert_allclose(model.predict(batch)[2:], found, rtol=1e-4, atol=1e-5)
    assert found.dtype == "float32"


def make_model(tok2vec, seed=0, **settings):
    fix_random_seed(seed)
    model = build_pair_classifier_v1(tok2vec, **{"hidden_size": 8, "label_size": 3, "distance_size": 4, **settings})
    set_sizes(model, OUTPUTS, 2)
    model.initialize(X=make_batch().docs)
    return model


def cnn(width=16):
    return spacy.registry.architectures.get("spacy.HashEmbedCNN.v2")(
        width=width,
        depth=1,
        embed_size=100,
        window_size=1,
        maxout_pieces=2,
        subword_features=False,
        pretrained_vectors=None,
    )


@pytest.mark.parametrize("settings", [{}, {"biaffine": True}, {"context_size": 0, "label_size": 0, "distance_size": 0}])
def test_the_gradient_of_each_token_vector_by_finite_differences(settings):
    batch = make_batch()
    vectors = FakeVectors(batch.docs)
    model = make_model(vectors.model, **settings)
    weights = numpy.random.default_rng(1).normal(size=(5, OUTPUTS)).astype("f")
    scores, backprop = model.begin_update(batch)
    assert scores.shape == (5, OUTPUTS)
    backprop(model.ops.asarray(weights))
    assert [g.shape for g in vectors.gradients] == [v.shape for v in vectors.values]
    assert not vectors.gradients[2].any()  # a document without pairs
    for number in (0, 3):
        for place in numpy.ndindex(*vectors.values[number].shape):
            found = []
            for step in (1e-2, -1e-2):
                vectors.values[number][place] += step
                found.append(float((model.predict(batch) * weights).sum()))
                vectors.values[number][place] -= step
            assert vectors.gradients[number][place] == pytest.approx((found[0] - found[1]) / 2e-2, rel=0.05, abs=0.02)


def test_the_gradient_of_a_cnn_by_finite_differences():
    batch, model = make_batch(), make_model(cnn())
    weights = numpy.random.default_rng(1).normal(size=(5, OUTPUTS)).astype("f")
    _, backprop = model.begin_update(batch)
    backprop(model.ops.asarray(weights))
    checked = 0
    for node in model.get_ref("tok2vec").walk():
        for name in node.param_names:
            gradient = node.get_grad(name) if node.has_grad(name) else None
            if gradient is None or not gradient.any():
                continue
            direction = gradient / numpy.linalg.norm(gradient)
            before, found = node.get_param(name).copy(), []
            for step in (1e-2, -1e-2):
                node.set_param(name, before + step * direction)
                found.append(float((model.predict(batch) * weights).sum()))
            node.set_param(name, before)
            assert (found[0] - found[1]) / 2e-2 == pytest.approx(float(numpy.linalg.norm(gradient)), rel=0.05)
            checked += 1
    assert checked >= 4


def test_a_batch_without_pairs_still_goes_back_to_the_token_vectors():
    batch = make_batch()
    vectors = FakeVectors(batch.docs)
    model = make_model(vectors.model)
    none = [numpy.zeros((0, 2), dtype="int64")] * len(batch.docs)
    for spans in (batch.spans, [numpy.zeros((0, 3), dtype="int64")] * len(batch.docs)):
        vectors.gradients = None
        scores, backprop = model.begin_update(PairBatch(batch.docs, spans, none))
        assert scores.shape == (0, OUTPUTS)
        backprop(model.ops.alloc2f(0, OUTPUTS))
        assert [g.shape for g in vectors.gradients] == [v.shape for v in vectors.values]
        assert not any(g.any() for g in vectors.gradients)


@pytest.mark.parametrize("given", [None, 0.7])
def test_dropout_reaches_the_module_and_is_off_in_prediction(given):
    batch, model = make_batch(), make_model(cnn(), dropout=given)
    set_dropout_rate(model, 0.4)
    first, second = (model.begin_update(batch)[0] for _ in range(2))
    assert get_scorer(model).dropout == (0.4 if given is None else given)
    assert not numpy.allclose(first, second)
    set_dropout_rate(model, 0.0)
    numpy.testing.assert_array_equal(model.predict(batch), model.predict(batch))
    first, second = (model.begin_update(batch)[0] for _ in range(2))
    assert numpy.allclose(first, second) == (given is None)


def test_bytes_into_a_model_that_was_initialised_otherwise_and_into_one_that_was_not():
    batch, model = make_batch(), make_model(cnn(), seed=0)
    expected = model.predict(batch)
    other = make_model(cnn(), seed=1)
    assert not numpy.allclose(other.predict(batch), expected)
    numpy.testing.assert_array_equal(other.from_bytes(model.to_bytes()).predict(batch), expected)
    fresh = build_pair_classifier_v1(cnn(), hidden_size=8, label_size=3, distance_size=4)
    numpy.testing.assert_array_equal(fresh.from_bytes(model.to_bytes()).predict(batch), expected)


def test_a_copy_is_independent():
    batch, model = make_batch(), make_model(cnn())
    copied, expected = model.copy(), model.predict(batch)
    numpy.testing.assert_array_equal(copied.predict(batch), expected)
    for parameter in get_scorer(copied).parameters():
        parameter.data += 1
    numpy.testing.assert_array_equal(model.predict(batch), expected)


def test_the_module_is_as_wide_as_the_token_vectors():
    for width in (16, 24):
        assert get_scorer(make_model(cnn(width))).settings["width"] == width
