"""Saving, loading, copying, training: what the `transformer` component does with the model."""

import numpy
import pytest
import spacy
import torch
from spacy.tokens import Doc
from spacy.training import Example
from thinc.api import Adam, Config

from spacy_llm_ie.encode.transformer import WindowTransformer, build_tok2vec_transformer_v1
from tests.encode.helpers import OUR_SPANS, add_tagger, find_bare, get_vectors, make_nlp

TEXT = "The bank said \n\n on monday that " + "a-" * 40 + " \u200b bought Brentland \U0001f600 in ohio. " * 5
WORDS = ("bank", "ohio", "jobs", "monday", "bought", "-")
SMALL = {**OUR_SPANS, "window": 20, "stride": 14}

pytestmark = pytest.mark.filterwarnings("ignore:.*IE-W501")


@pytest.fixture
def nlp(bert):
    spacy.util.fix_random_seed(0)
    return make_nlp(bert, spans=SMALL, listener=True)


def get_model(nlp):
    return nlp.get_pipe("transformer").model


def get_weights(model):
    """A copy of all parameters of the first torch model inside."""
    shim = next(shim for node in model.walk() for shim in node.shims)
    return {name: value.detach().clone() for name, value in shim._model.named_parameters()}


def get_examples(nlp):
    docs = [nlp.make_doc(text) for text in (TEXT, "", "the bank \n cut jobs", "\n")]
    references = [doc.copy() for doc in docs]
    for doc in references:
        for token in doc:
            # White space has the vector of the word before it, so it cannot have another tag.
            tags = [t.tag_ for t in doc[: token.i]]
            space = token.is_space or not token.text.isprintable()
            token.tag_ = tags[-1] if space and tags else "A" if token.text in WORDS else "B"
    return [Example(doc, reference) for doc, reference in zip(docs, references)]


def train(nlp, steps):
    optimizer = Adam(0.005)
    losses = []
    for _ in range(steps):
        loss = {}
        nlp.update(get_examples(nlp), sgd=optimizer, losses=loss)
        losses.append(loss)
    return losses


def score(nlp, text=TEXT):
    return nlp.get_pipe("tagger").model.predict([nlp(text)])[0]


@pytest.mark.parametrize("way", ["bytes", "disk", "model"])
def test_round_trip_into_a_fresh_pipeline(nlp, bert, tmp_path, way):
    # Away from the weights on disk, so that these cannot be what is loaded.
    train(nlp, 3)
    expected = get_vectors(nlp(TEXT))
    assert abs(expected - get_vectors(make_nlp(bert, spans=SMALL)(TEXT))).max() > 1e-3
    if way == "disk":
        nlp.to_disk(tmp_path / "nlp")
        loaded = spacy.load(tmp_path / "nlp")
    elif way == "bytes":
        loaded = make_nlp("no-such-model", spans=SMALL, listener=True, initialize=False)
        loaded.from_bytes(nlp.to_bytes())
    else:
        loaded = make_nlp("no-such-model", spans=SMALL, listener=True, initialize=False)
        loaded.from_bytes(nlp.to_bytes(exclude=["transformer"]))
        get_model(loaded).from_bytes(get_model(nlp).to_bytes())
    assert type(get_model(loaded)) is WindowTransformer
    assert find_bare(loaded(TEXT)) == []
    numpy.testing.assert_array_equal(get_vectors(loaded(TEXT)), expected)
    numpy.testing.assert_allclose(score(loaded), score(nlp), atol=1e-6)


def test_saving_twice_gives_the_same_bytes(nlp):
    first = get_model(nlp).to_bytes()
    loaded = make_nlp("no-such-model", spans=SMALL, initialize=False)
    get_model(loaded).from_bytes(first)
    assert get_model(loaded).to_bytes() == get_model(nlp).to_bytes() == first


def test_small_numbers_of_the_config_survive(nlp):
    loaded = make_nlp("no-such-model", spans=SMALL, initialize=False)
    get_model(loaded).from_bytes(get_model(nlp).to_bytes())
    transformer = get_model(loaded).transformer
    assert transformer.config.layer_norm_eps == 1e-12
    assert transformer.embeddings.LayerNorm.eps == 1e-12
    assert transformer.config.to_dict() == get_model(nlp).transformer.config.to_dict()


def test_uninitialized_round_trip(bert):
    nlp = make_nlp(bert, initialize=False)
    loaded = make_nlp(bert, initialize=False)
    loaded.from_bytes(nlp.to_bytes())
    loaded.initialize()
    assert find_bare(loaded(TEXT)) == []


def test_initialize_keeps_loaded_weights(nlp, bert):
    train(nlp, 3)
    loaded = make_nlp(bert, spans=SMALL, initialize=False)
    loaded.get_pipe("transformer").from_bytes(nlp.get_pipe("transformer").to_bytes())
    loaded.initialize()
    numpy.testing.assert_array_equal(get_vectors(loaded(TEXT)), get_vectors(nlp(TEXT)))


def test_config_round_trip(nlp, tmp_path):
    text = nlp.config.to_str()
    assert Config().from_str(text) == Config().from_str(Config().from_str(text).to_str())
    loaded = spacy.util.load_model_from_config(Config().from_str(text), auto_fill=True)
    model = loaded.config["components"]["transformer"]["model"]
    assert model == nlp.config["components"]["transformer"]["model"]
    assert model["@architectures"] == "spacy-llm-ie.TransformerModel.v1"
    assert (model["max_pieces"], model["tokenizer_config"]) == (4096, {})
    assert repr(get_model(loaded).attrs["get_spans"]) == "WordpieceSpans(window=20, stride=14)"


def test_who_loads_decides_on_max_pieces(nlp, tmp_path):
    nlp.to_disk(tmp_path / "nlp")
    loaded = spacy.load(tmp_path / "nlp", config={"components.transformer.model.max_pieces": 77})
    assert get_model(loaded).max_pieces == 77
    numpy.testing.assert_allclose(get_vectors(loaded(TEXT)), get_vectors(nlp(TEXT)), atol=1e-5)


def test_listener_trains_the_encoder(nlp):
    before = get_weights(get_model(nlp))
    losses = train(nlp, 40)
    after = get_weights(get_model(nlp))
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert set(before) - changed <= {"pooler.dense.weight", "pooler.dense.bias"}
    assert losses[-1]["tagger"] < 0.3 * losses[0]["tagger"]
    assert losses[-1]["transformer"] > 0
    assert [doc.tag_ for doc in nlp("the bank \n cut jobs")] == ["B", "A", "A", "B", "A"]


def test_gradient_of_each_token_reaches_its_pieces(nlp):
    """The gradient of the vectors, against finite differences of one weight."""
    model = get_model(nlp)
    transformer = model.transformer
    # Training mode without dropout.
    for module in transformer.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    for layer in transformer.encoder.layer:
        layer.attention.self.dropout_prob = 0.0
    tok2vec = nlp.get_pipe("tagger").model.get_ref("tok2vec")
    pooled = tok2vec.layers[1]
    doc = nlp.make_doc("the bank \n " + "a-" * 15 + " bought ohio " * 10)

    def total(is_train):
        batch, backprop = model(([doc]), is_train)
        vectors, backprop_pool = pooled(batch.doc_data, is_train)
        return vectors[0], lambda dY: backprop(batch.unsplit_by_doc([data.tensors for data in backprop_pool([dY])]))

    direction = numpy.random.default_rng(0).normal(size=(len(doc), 32)).astype("float32")
    vectors, backprop = total(True)
    backprop(direction.copy())
    weight = transformer.embeddings.LayerNorm.weight
    gradient, weight.grad = weight.grad.clone(), None
    for index in (0, 7):
        values = []
        for step in (0.01, -0.01):
            with torch.no_grad():
                weight[index] += step
                values.append(float((total(False)[0] * direction).sum()))
                weight[index] -= step
        assert (values[0] - values[1]) / 0.02 == pytest.approx(float(gradient[index]), rel=0.02)


def test_training_and_prediction_give_the_same_vectors(nlp):
    model = get_model(nlp)
    model.transformer.eval()
    doc = nlp.make_doc(TEXT)
    expected = model.predict([doc])
    wordpieces = expected.wordpieces
    trained, _ = model.begin_update([doc])
    assert trained.wordpieces.input_ids.tolist() == wordpieces.input_ids.tolist()
    assert trained.align.dataXd.tolist() == expected.align.dataXd.tolist()
    assert trained.model_output.last_hidden_state.requires_grad


def test_training_makes_one_pass(nlp, monkeypatch):
    model = get_model(nlp)
    model.max_pieces = 1
    calls = []
    forward = model.transformer.forward
    monkeypatch.setattr(model.transformer, "forward", lambda **kwargs: calls.append(1) or forward(**kwargs))
    model.begin_update([nlp.make_doc(TEXT)])
    assert len(calls) == 1


@pytest.mark.parametrize("texts", [["", ""], [""]])
def test_batches_without_tokens(nlp, texts):
    assert [len(doc) for doc in nlp.pipe(texts)] == [0] * len(texts)
    docs = [nlp.make_doc(text) for text in texts]
    losses = nlp.update([Example(doc, doc.copy()) for doc in docs])
    assert not any(losses.values())


def test_frozen_and_annotating(nlp):
    nlp.select_pipes(disable=[])
    before = get_weights(get_model(nlp))
    examples = get_examples(nlp)
    nlp.update(examples, sgd=Adam(0.01), exclude=["transformer"], annotates=["transformer"])
    after = get_weights(get_model(nlp))
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_copy(nlp):
    model = get_model(nlp)
    copied = model.copy()
    assert type(copied) is WindowTransformer
    assert copied.attrs == model.attrs
    assert copied.max_pieces == model.max_pieces
    assert copied.get_dim("nO") == 32
    ids = {node.id for m in (model, copied) for node in m.walk()}
    assert len(ids) == 4
    assert copied.layers[0].shims[0].id != model.layers[0].shims[0].id
    doc = nlp.make_doc(TEXT)
    expected = model.predict([doc]).model_output.last_hidden_state
    assert torch.equal(copied.predict([doc]).model_output.last_hidden_state, expected)
    with torch.no_grad():
        copied.transformer.embeddings.word_embeddings.weight += 1
    assert torch.equal(model.predict([doc]).model_output.last_hidden_state, expected)


def test_copy_without_weights(bert):
    copied = WindowTransformer(bert, get_model(make_nlp(bert, initialize=False)).attrs["get_spans"]).copy()
    copied.initialize()
    assert copied.attrs["has_transformer"]


def test_replace_listeners_keeps_our_behaviour(nlp, tmp_path):
    expected = score(nlp)
    nlp.replace_listeners("transformer", "tagger", ["model.tok2vec"])
    block = nlp.config["components"]["tagger"]["model"]["tok2vec"]
    assert block["@architectures"] == "spacy-llm-ie.Tok2VecTransformer.v1"
    assert (block["max_pieces"], block["grad_factor"]) == (4096, 1.0)
    numpy.testing.assert_array_equal(score(nlp), expected)
    inner = next(node for node in nlp.get_pipe("tagger").model.walk() if isinstance(node, WindowTransformer))
    assert inner is not get_model(nlp)

    nlp.to_disk(tmp_path / "nlp")
    loaded = spacy.load(tmp_path / "nlp")
    numpy.testing.assert_array_equal(score(loaded), expected)
    assert any(isinstance(node, WindowTransformer) for node in loaded.get_pipe("tagger").model.walk())

    # Trained apart from the transformer that it once listened to.
    shared, own = get_weights(get_model(nlp)), get_weights(inner)
    losses = train(nlp, 10)
    assert losses[-1]["tagger"] < losses[0]["tagger"]
    assert all(torch.equal(value, get_weights(get_model(nlp))[name]) for name, value in shared.items())
    assert not torch.equal(own["embeddings.word_embeddings.weight"], get_weights(inner)["embeddings.word_embeddings.weight"])


def test_transformer_of_one_component(bert):
    nlp = spacy.blank("en")
    tok2vec = {
        "@architectures": "spacy-llm-ie.Tok2VecTransformer.v1",
        "name": bert,
        "get_spans": SMALL,
        "pooling": {"@layers": "reduce_mean.v1"},
    }
    tagger = nlp.add_pipe("tagger", config={"model": {"@architectures": "spacy.Tagger.v2", "tok2vec": tok2vec}})
    for label in ("A", "B"):
        tagger.add_label(label)
    nlp.initialize()
    losses = train(nlp, 10)
    assert losses[-1]["tagger"] < 0.6 * losses[0]["tagger"]
    vectors = tagger.model.get_ref("tok2vec").predict([nlp.make_doc(TEXT), nlp.make_doc("a")])
    assert [rows.shape for rows in vectors] == [(len(nlp.make_doc(TEXT)), 32), (1, 32)]
    assert spacy.registry.architectures.get("spacy-llm-ie.Tok2VecTransformer.v1") is build_tok2vec_transformer_v1


def test_trf_data_survives_bytes(nlp):
    doc = nlp("the bank \n cut jobs")
    loaded = Doc(nlp.vocab).from_bytes(doc.to_bytes())
    assert loaded._.trf_data.wordpieces.strings == doc._.trf_data.wordpieces.strings
    assert loaded._.trf_data.align.lengths.tolist() == doc._.trf_data.align.lengths.tolist()


def test_two_listeners(bert):
    nlp = make_nlp(bert, spans=SMALL, initialize=False)
    add_tagger(nlp)
    config = nlp.config["components"]["tagger"]["model"]
    nlp.add_pipe("morphologizer", config={"model": {"@architectures": config["@architectures"], "tok2vec": config["tok2vec"]}})
    nlp.get_pipe("morphologizer").add_label("POS=X")
    nlp.initialize()
    losses = train(nlp, 3)
    assert losses[-1]["tagger"] < losses[0]["tagger"]
