import numpy
import pytest
import spacy
from spacy.ml.models.tok2vec import CharacterEmbed, MultiHashEmbed
from thinc.api import NumpyOps, fix_random_seed

from spacy_llm_ie import rows
from spacy_llm_ie.rows import distinct_rows, embed_each_once, join_rows

OPS = NumpyOps()


def test_rows_that_lie_one_below_the_other_are_joined_without_copying():
    whole = numpy.arange(24, dtype="float32").reshape(8, 3)
    parts = [whole[:2], whole[2:2], whole[2:3], whole[3:7]]
    joined = join_rows(OPS, parts)
    assert numpy.shares_memory(joined, whole)
    numpy.testing.assert_array_equal(joined, whole[:7])


@pytest.mark.parametrize("parts", [[(3, 5), (0, 2)], [(0, 2), (3, 5)], [(0, 8)]])
def test_other_rows_are_copied(parts):
    whole = numpy.arange(24, dtype="float32").reshape(8, 3)
    given = [whole[begin:end] for begin, end in parts]
    numpy.testing.assert_array_equal(join_rows(OPS, given), numpy.concatenate(given))
    other = [*given, numpy.ones((2, 3), dtype="float32")]
    numpy.testing.assert_array_equal(join_rows(OPS, other), numpy.concatenate(other))
    columns = [whole[:2, :2], whole[2:4, :2]]
    numpy.testing.assert_array_equal(join_rows(OPS, columns), whole[:4, :2])


def make_docs(repeat):
    nlp = spacy.blank("en")
    texts = ["Acme Inc. bought Bolt Ltd. in May.", "", "In May 2024 Acme, as ever, bought nothing at all!"]
    return [nlp.make_doc(text) for text in texts * repeat]


@pytest.mark.parametrize("repeat", [1, 20])
def test_alike_tokens_embedded_once_have_the_vectors_that_they_had(repeat, monkeypatch):
    fix_random_seed(0)
    model = MultiHashEmbed(32, ["NORM", "SHAPE", "IS_TITLE"], [100, 50, 7], False)
    docs = make_docs(repeat)
    model.initialize(X=docs)
    before = model.predict(docs)
    seen = []
    monkeypatch.setattr(rows, "distinct_rows", lambda found: (seen.append(len(found)), distinct_rows(found))[1])
    embed_each_once(model)
    after = model.predict(docs)
    assert len(seen) == (repeat > 1)
    assert [array.shape for array in after] == [array.shape for array in before]
    numpy.testing.assert_allclose(numpy.concatenate(after), numpy.concatenate(before), atol=1e-6)
    vectors, backprop = model(docs, is_train=True)
    numpy.testing.assert_allclose(numpy.concatenate(vectors), numpy.concatenate(before), atol=1e-6)
    backprop(vectors)
    assert len(seen) == (repeat > 1)


@pytest.mark.parametrize("factors", [None, [1, 1]])
def test_rows_with_the_same_number_are_told_apart(factors, monkeypatch):
    given = numpy.array([[1, 2], [3, 4], [1, 2], [0, 0], [3, 4], [4, 3]], dtype="uint64")
    if factors is not None:
        monkeypatch.setattr(rows, "_factors", lambda count: numpy.array(factors, dtype="uint64"))
    first, place = distinct_rows(given)
    assert len(first) == 4
    numpy.testing.assert_array_equal(given[first][place], given)


def test_models_that_look_at_more_than_attributes_stay_as_they_are():
    models = [MultiHashEmbed(8, ["NORM"], [10], True), CharacterEmbed(8, 8, 10, 2, False)]
    for model in models:
        before = [node._func for node in model.walk()]
        assert [node._func for node in embed_each_once(model).walk()] == before
