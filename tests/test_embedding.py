import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy
import pytest
import spacy
from spacy.ml.models.tok2vec import CharacterEmbed, MultiHashEmbed
from thinc.api import Adam, fix_random_seed

from spacy_llm_ie import embedding, rows
from spacy_llm_ie.embedding import embed_each_once


def make_docs(repeat):
    nlp = spacy.blank("en")
    texts = ["Acme Inc. bought Bolt Ltd. in May.", "", "In May 2024 Acme, as ever, bought nothing at all!"]
    return [nlp.make_doc(text) for text in texts * repeat]


def make_embedding(docs):
    """One that has counted the tokens that it embeds, in each call."""
    fix_random_seed(0)
    model = MultiHashEmbed(32, ["NORM", "SHAPE", "IS_TITLE"], [100, 50, 7], False)
    model.initialize(X=docs)
    before = model.predict(docs)
    seen, layer = [], model.layers[2]
    forward = layer._func
    layer._func = lambda node, X, is_train: (seen.append(len(X.data)), forward(node, X, is_train))[1]
    return embed_each_once(model), before, seen


def assert_same(found, expected):
    assert [array.shape for array in found] == [array.shape for array in expected]
    numpy.testing.assert_allclose(numpy.concatenate(found), numpy.concatenate(expected), atol=1e-6)


@pytest.mark.parametrize("repeat", [1, 20])
def test_alike_tokens_embedded_once_have_the_vectors_that_they_had(repeat):
    docs = make_docs(repeat)
    model, before, seen = make_embedding(docs)
    assert_same(model.predict(docs[:2]), before[:2])
    assert_same(model.predict(docs), before)
    assert_same(model.predict(docs[::-1]), before[::-1])
    assert seen == [8, 9]  # then those that are new: "In" for one


def test_an_embedding_that_is_trained_keeps_nothing():
    docs = make_docs(3)
    model, before, seen = make_embedding(docs)
    vectors, backprop = model(docs, is_train=True)
    assert_same(vectors, before)
    backprop(vectors)
    for _ in range(2):
        assert_same(model.predict(docs), before)
    assert seen == [sum(map(len, docs)), 17, 17]
    model.finish_update(Adam(0.1))
    assert abs(numpy.concatenate(model.predict(docs)) - numpy.concatenate(before)).max() > 0.01


def test_other_parameters_are_noticed():
    docs = make_docs(1)
    model, before, seen = make_embedding(docs)
    model.predict(docs)
    norm = next(node for node in model.walk() if node.has_param("G"))
    with model.use_params({(norm.id, "b"): norm.get_param("b") + 1}):
        assert abs(numpy.concatenate(model.predict(docs)) - numpy.concatenate(before)).max() > 0.01
    assert_same(model.predict(docs), before)
    data = model.to_bytes()
    norm.set_param("b", norm.get_param("b") + 1)
    model.predict(docs)
    assert_same(model.from_bytes(data).predict(docs), before)


def test_no_more_than_some_thousand_tokens_are_kept(monkeypatch):
    docs = make_docs(1)
    model, before, seen = make_embedding(docs)
    monkeypatch.setattr(embedding, "MOST_KEPT", 3)
    for _ in range(2):
        assert_same(model.predict(docs), before)
    assert seen == [17, 17]


def test_tokens_with_the_same_number_are_told_apart(monkeypatch):
    docs = make_docs(2)
    model, before, _ = make_embedding(docs)
    monkeypatch.setattr(rows, "_factors", lambda count: numpy.zeros(count, dtype="uint64"))
    for _ in range(2):
        assert_same(model.predict(docs), before)


def test_several_threads_embed_at_once():
    docs = make_docs(50)
    model, before, _ = make_embedding(docs)
    with ThreadPoolExecutor(4) as pool:
        for number, found in enumerate(pool.map(lambda i: model.predict(docs[i : i + 2]), range(100))):
            assert_same(found, before[number : number + 2])


def test_an_embedding_can_be_copied_and_pickled():
    docs = make_docs(1)
    model, before, _ = make_embedding(docs)
    model.predict(docs)
    assert_same(model.copy().predict(docs), before)
    assert isinstance(pickle.loads(pickle.dumps(model._func)), embedding.EmbedOnce)


def test_models_that_look_at_more_than_attributes_stay_as_they_are():
    models = [MultiHashEmbed(8, ["NORM"], [10], True), CharacterEmbed(8, 8, 10, 2, False)]
    for model in models:
        before = [node._func for node in model.walk()]
        assert [node._func for node in embed_each_once(model).walk()] == before


def test_each_layer_of_an_embedding_is_made_ready():
    model = MultiHashEmbed(8, ["NORM", "SHAPE"], [10, 10], False)
    parts = [part for layer in model.layers[2:-1] for part in layer.walk()]
    assert {part._func for part in parts} == set(embedding.READY)
    one = MultiHashEmbed(8, ["NORM"], [10], False)
    assert {part._func for layer in one.layers[2:-1] for part in layer.walk()} < set(embedding.READY)


def test_a_layer_that_does_something_else_predicts_as_ever():
    docs = make_docs(1)
    model, before, _ = make_embedding(docs)
    norm = next(node for node in model.walk() if node.name == "layernorm")
    forward = norm._func
    norm._func = lambda node, rows, is_train: (forward(node, rows, is_train)[0] + 1, None)
    assert_same(model.predict(docs), [array + 1 for array in before])
