"""The vectors of all layers are those that the components read, and what a smaller encoder learns from them."""

import numpy
import pytest
import spacy
import torch
from spacy.training import Example

from spacy_llm_ie.compress.importance import measure_importance
from spacy_llm_ie.compress.parts import find_transformer
from spacy_llm_ie.compress.prune import prune
from spacy_llm_ie.compress.recover import imitate, recover
from spacy_llm_ie.compress.states import relative_distance, token_states
from tests.compress.helpers import SENTENCES, make_examples, make_family, make_pipeline
from tests.encode.helpers import get_vectors


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    make_pipeline(make_family(folder / "bert", "bert"), steps=20).to_disk(folder / "nlp")
    return folder / "nlp"


def test_the_last_state_is_what_components_read(trained):
    nlp = spacy.load(trained)
    nlp.get_pipe("transformer").set_extra_annotations = None
    model = find_transformer(nlp)
    texts = [*SENTENCES, "a_" * 150 + " ends", ""]
    docs = [nlp.make_doc(text) for text in texts]
    model.transformer.train()
    with torch.no_grad(), pytest.warns(UserWarning, match="IE-W501"):
        states = token_states(model, docs)
    assert len(states) == 4 and {state.shape for state in states} == {(sum(map(len, docs)), 32)}
    expected = []
    for doc in docs:
        if len(doc):
            doc._.trf_data = model.predict([doc]).doc_data[0]
            expected.append(get_vectors(doc))
    numpy.testing.assert_allclose(states[-1].numpy(), numpy.concatenate(expected), atol=1e-4)
    assert not any(module._forward_pre_hooks for module in model.transformer.modules())


def test_gradients_reach_all_that_a_layer_is_made_of(trained):
    model = find_transformer(nlp := spacy.load(trained))
    token_states(model, [nlp.make_doc(text) for text in SENTENCES])[2].sum().backward()
    layers = model.transformer.encoder.layer
    reached = [layer.attention.self.query.weight.grad is not None for layer in layers]
    assert reached == [True, True, False] and model.transformer.embeddings.word_embeddings.weight.grad is not None


def test_distances_are_relative():
    states = [torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.zeros(2, 2)]
    targets = [torch.tensor([[1.0, 2.0], [3.0, 2.0]]), torch.ones(2, 2) * 5]
    assert [float(d) for d in relative_distance(states, targets)] == pytest.approx([4 / 18, 1.0])
    assert float(relative_distance(targets[:1], [torch.zeros(2, 2)])[0]) > 1e6  # and not divided by zero


@pytest.mark.parametrize("layers", [0.0, 10.0])
def test_layers_learn_what_they_answered(trained, layers):
    nlp, teacher = spacy.load(trained), spacy.load(trained)
    texts = [Example(nlp.make_doc(text), nlp.make_doc(text)) for text in SENTENCES]
    prune(nlp, measure_importance(nlp, make_examples(nlp), rank_layers=False), heads=0.25, neurons=0.5)
    nlp.config["training"]["optimizer"] = {"@optimizers": "Adam.v1", "learn_rate": 0.002}
    update, losses = imitate(teacher, weight=1.0, layers=layers, gold=False), []
    docs = [example.reference for example in texts]

    def errors():
        with torch.no_grad():
            return relative_distance(*(token_states(find_transformer(one), docs) for one in (nlp, teacher)))

    before = errors()
    recover(nlp, texts, make_examples(nlp), 20, update=lambda *a: losses.append(update(*a)) or losses[-1], eval_every=20)
    assert losses[0].keys() == ({"vectors", "layers"} if layers else {"vectors"})
    assert losses[0]["vectors"] == pytest.approx(float(before[-1]), rel=1e-3)
    if layers:
        assert losses[0]["layers"] == pytest.approx(layers * float(sum(before[:-1])), rel=1e-3)
        assert losses[-1]["layers"] < 0.5 * losses[0]["layers"]


def test_removed_layers_are_not_compared(trained):
    nlp, teacher = spacy.load(trained), spacy.load(trained)
    prune(nlp, measure_importance(nlp, make_examples(nlp), rank_layers=False), layers=[1])
    assert imitate(teacher, layers=5.0, gold=False)(nlp, make_examples(nlp)).keys() == {"vectors"}
