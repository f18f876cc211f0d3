"""Vectors as torch has them are those that the components read, and what a smaller encoder learns from them."""

import numpy
import pytest
import spacy
import torch
from spacy.training import Example

from spacy_llm_ie.compress.importance import measure_importance
from spacy_llm_ie.compress.parts import find_transformer
from spacy_llm_ie.compress.prune import prune
from spacy_llm_ie.compress.recover import imitate, recover
from spacy_llm_ie.compress.states import relative_distance, token_vectors
from tests.compress.helpers import SENTENCES, make_examples, make_family, make_pipeline
from tests.encode.helpers import get_vectors


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    make_pipeline(make_family(folder / "bert", "bert"), steps=20).to_disk(folder / "nlp")
    return folder / "nlp"


def test_they_are_what_components_read(trained):
    nlp = spacy.load(trained)
    nlp.get_pipe("transformer").set_extra_annotations = None
    model = find_transformer(nlp)
    texts = [*SENTENCES, "a_" * 150 + " ends", ""]
    docs = [nlp.make_doc(text) for text in texts]
    model.transformer.train()
    with torch.no_grad(), pytest.warns(UserWarning, match="IE-W501"):
        vectors = token_vectors(model, docs)
    assert vectors.shape == (sum(map(len, docs)), 32)
    expected = []
    for doc in docs:
        if len(doc):
            doc._.trf_data = model.predict([doc]).doc_data[0]
            expected.append(get_vectors(doc))
    numpy.testing.assert_allclose(vectors.numpy(), numpy.concatenate(expected), atol=1e-4)
    assert not any(module._forward_pre_hooks for module in model.transformer.modules())


def test_distances_are_relative():
    vectors, target = torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([[1.0, 2.0], [3.0, 2.0]])
    assert float(relative_distance(vectors, target)) == pytest.approx(4 / 18)
    assert float(relative_distance(vectors, torch.zeros(2, 2))) > 1e6  # and not divided by zero


def test_they_learn_what_they_were(trained):
    nlp, teacher = spacy.load(trained), spacy.load(trained)
    texts = [Example(nlp.make_doc(text), nlp.make_doc(text)) for text in SENTENCES]
    prune(nlp, measure_importance(nlp, make_examples(nlp), rank_layers=False), heads=0.25, neurons=0.5)
    nlp.config["training"]["optimizer"] = {"@optimizers": "Adam.v1", "learn_rate": 0.002}
    update, losses = imitate(teacher, weight=2.0, gold=False), []
    docs = [example.reference for example in texts]
    with torch.no_grad():
        before = float(relative_distance(*(token_vectors(find_transformer(one), docs) for one in (nlp, teacher))))
    recover(nlp, texts, make_examples(nlp), 20, update=lambda *a: losses.append(update(*a)) or losses[-1], eval_every=20)
    assert losses[0] == {"vectors": pytest.approx(2 * before, rel=1e-3)}
    assert losses[-1]["vectors"] < 0.5 * losses[0]["vectors"]
