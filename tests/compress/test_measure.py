from spacy_llm_ie.compress.measure import forget_words, wait_for_each
from spacy_llm_ie.embedding import EmbedOnce
from tests.contract.test_components import trf_pipeline


def make(tiny_bert):
    nlp = trf_pipeline("ie_ner", tiny_bert)
    features = {"@architectures": "spacy.MultiHashEmbed.v2", "width": 8, "attrs": ["NORM"], "rows": [50]}
    model = {
        "features": {**features, "include_static_vectors": False},
        "tok2vec": nlp.get_pipe_config("ie_ner")["model"]["tok2vec"],
    }
    nlp.remove_pipe("ie_ner")
    nlp.add_pipe("ie_ner", config={"model": {"@architectures": "spacy-llm-ie.CrfTagger.v1", **model}}).add_label("ORG")
    return nlp


def test_words_are_forgotten_before_a_pipeline_is_timed(tiny_bert):
    nlp = make(tiny_bert)
    nlp.initialize()
    splitter = nlp.get_pipe("transformer").model.split
    (embedding,) = (node._func for node in nlp.get_pipe("ie_ner").model.walk() if isinstance(node._func, EmbedOnce))
    forget_words(nlp)
    nlp("the bank is buying")
    assert len(splitter._units) == len(embedding._places) == 4
    forget_words(nlp)
    assert not splitter._units and not embedding._places
    assert len(wait_for_each(nlp, ["the bank", "the bank is"])) == 2
    assert len(splitter._units) == 3
    assert len(wait_for_each(nlp, ["the bank", "the bank is"], ["the group of the bank"])) == 2
    assert len(splitter._units) == 5
