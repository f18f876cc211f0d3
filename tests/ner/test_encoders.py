"""`ie_ner` behind encoders of other kinds, and behind a frozen one."""

import numpy
import pytest
import spacy
from thinc.api import Config

from tests.contract.test_components import TEXTS, answers, make_examples, train, trf_pipeline
from tests.util import SPECIAL, make_tiny_bert


def test_a_frozen_transformer_must_annotate_and_is_not_changed(tmp_path):
    spacy.util.fix_random_seed(0)
    nlp = trf_pipeline("ie_ner", make_tiny_bert(tmp_path / "bert"))
    examples = make_examples(nlp)
    sgd = nlp.initialize(lambda: examples)
    sgd.learn_rate = 0.01
    encoder = nlp.get_pipe("transformer").model.transformer
    before = {name: value.clone() for name, value in encoder.named_parameters()}
    for _ in range(60):
        losses = nlp.update(make_examples(nlp), sgd=sgd, exclude=["transformer"], annotates=["transformer"])
    assert losses["ie_ner"] < 0.5
    assert all((before[name] == value).all() for name, value in encoder.named_parameters())
    with pytest.raises(ValueError, match="E203|trf_data|transformer"):
        nlp.update(make_examples(nlp), sgd=sgd, exclude=["transformer"])


def test_adding_ie_ner_to_a_trained_pipeline_does_not_change_the_others(tmp_path):
    spacy.util.fix_random_seed(0)
    nlp = trf_pipeline("ie_ner", make_tiny_bert(tmp_path / "bert"))
    train(nlp, steps=20, rate=0.003)
    expected = answers(nlp, "ie_ner")
    target = spacy.blank("en")
    for name in nlp.pipe_names:
        target.add_pipe(name, source=nlp)
    target.add_pipe("ie_ner", name="second", config={"spans_key": "second"})
    target.get_pipe("second").initialize(lambda: make_examples(target), nlp=target)
    target.get_pipe("second").cfg["threshold"] = 1.0
    with target.select_pipes(disable=["second"]):
        assert answers(target, "ie_ner") == expected


CURATED = """
[nlp]
lang = "en"
pipeline = ["transformer", "ie_ner"]
[components]
[components.transformer]
factory = "curated_transformer"
[components.transformer.model]
@architectures = "spacy-curated-transformers.BertTransformer.v1"
vocab_size = 62
hidden_width = 32
intermediate_width = 64
num_attention_heads = 4
num_hidden_layers = 2
[components.transformer.model.piece_encoder]
@architectures = "spacy-curated-transformers.BertWordpieceEncoder.v1"
[components.transformer.model.with_spans]
@architectures = "spacy-curated-transformers.WithStridedSpans.v1"
[components.ie_ner]
factory = "ie_ner"
learn_rate_factor = 3.0
[components.ie_ner.model]
@architectures = "spacy-llm-ie.CrfTagger.v1"
[components.ie_ner.model.tok2vec]
@architectures = "spacy-curated-transformers.LastTransformerLayerListener.v1"
width = 32
upstream = "*"
[components.ie_ner.model.tok2vec.pooling]
@layers = "reduce_mean.v1"
[initialize]
[initialize.components]
[initialize.components.transformer]
[initialize.components.transformer.piecer_loader]
@model_loaders = "spacy-curated-transformers.WordpieceLoader.v1"
path = "vocab.txt"
"""


def test_a_listener_of_spacy_curated_transformers(tmp_path, monkeypatch):
    pytest.importorskip("spacy_curated_transformers")
    if numpy.lib.NumpyVersion(numpy.__version__) >= "2.4.0":
        pytest.skip("spacy-curated-transformers 2.1 cannot train with numpy 2.4: it takes float() of an array")
    letters = [chr(i) for i in range(ord("a"), ord("z") + 1)]
    pieces = [*SPECIAL, *letters, ".", *(f"##{letter}" for letter in letters)]
    (tmp_path / "vocab.txt").write_text("\n".join(pieces), encoding="utf8")
    monkeypatch.chdir(tmp_path)
    spacy.util.fix_random_seed(0)
    nlp = spacy.util.load_model_from_config(Config().from_str(CURATED), auto_fill=True)
    assert train(nlp, steps=100, rate=0.003)["ie_ner"] < 0.1
    assert [(ent.text, ent.label_) for ent in nlp(TEXTS[0][0]).ents][0] == ("Ada Quill", "PERSON")
