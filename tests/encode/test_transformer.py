import warnings

import numpy
import pytest
import spacy
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from spacy.tokens import Doc
from transformers import BertTokenizerFast, RobertaConfig, RobertaModel

from spacy_llm_ie.encode.batches import plan_passes
from spacy_llm_ie.encode.spans import WordpieceSpans, configure_wordpiece_spans
from spacy_llm_ie.encode.transformer import (
    WindowTransformer,
    build_transformer_model_v1,
)
from tests.encode.helpers import OUR_SPANS, STOCK_SPANS, find_bare, get_vectors, make_nlp, run
from tests.util import make_tiny_bert

NEWS = "the company said on monday that it had agreed to buy a bank in ohio and to cut jobs .".split()
SPECIAL = ["[SEP]", "[CLS]", "[PAD]", "\n" * 300, "a-" * 300, "\u200b", "\x00", "\u202e", "\U0001f600" * 150, " ", "\r\n"]
SMALL = {**OUR_SPANS, "window": 20, "stride": 14}


@pytest.fixture(scope="module")
def nlp(bert):
    return make_nlp(bert, spans=SMALL)


def get_model(nlp):
    return nlp.get_pipe("transformer").model


def spy_on_passes(nlp, monkeypatch):
    """Collect the shape of each forward pass."""
    shapes = []
    transformer = get_model(nlp).transformer
    forward = transformer.forward

    def call(*args, **kwargs):
        shapes.append(tuple(kwargs["input_ids"].shape))
        return forward(*args, **kwargs)

    monkeypatch.setattr(transformer, "forward", call)
    return shapes


@settings(max_examples=150, deadline=None)
@given(st.lists(st.one_of(st.text(max_size=40), st.sampled_from(SPECIAL), st.sampled_from(NEWS)), max_size=30))
@example(["a-" * 300])
@example(["\n"])
@example(["\n" * 300, "a-" * 300, "\n", "a-" * 300, "the"])
@example(["\U0001f468\u200d\U0001f469\u200d\U0001f467" * 100])
@example(["\u0645\u0631\u062d\u0628\u0627 " * 40])
@pytest.mark.filterwarnings("ignore:.*IE-W501")
def test_every_token_of_any_text_has_a_vector(nlp, parts):
    doc = nlp(" ".join(parts).encode("utf8", "ignore").decode("utf8"))
    if len(doc):
        vectors = get_vectors(doc)
        assert vectors.shape == (len(doc), 32)
        assert numpy.isfinite(vectors).all()
        assert (abs(vectors).max(axis=1) > 0).all()
        rows = doc._.trf_data.wordpieces
        assert rows.input_ids.shape == doc._.trf_data.model_output.last_hidden_state.shape[:2]
        assert max(rows.lengths) <= 22


@pytest.mark.parametrize("position", [0, 1, 150, 299, 300])
@pytest.mark.parametrize("monster", ["a-" * 2500, "\n" * 5000, "\U0001f600" * 5000])
@pytest.mark.filterwarnings("ignore:.*IE-W501")
def test_monster_leaves_all_other_tokens_alone(nlp, position, monster):
    words = (NEWS * 20)[:300]
    expected = get_vectors(run(nlp, words))
    found = get_vectors(run(nlp, [*words[:position], monster, *words[position:]]))
    if monster[0] != "\U0001f600":
        numpy.testing.assert_allclose(numpy.delete(found, position, axis=0), expected, atol=1e-4)
    else:
        # One unknown piece: a word like others. What is far away does not change.
        far = [i for i in range(300) if i < position - 40]
        numpy.testing.assert_allclose(found[far], expected[far], atol=1e-4)


def test_one_counted_warning(nlp):
    words = [*NEWS, "a-" * 50, *NEWS, "b-" * 100, "c-" * 5]
    docs = [Doc(nlp.vocab, words=words), Doc(nlp.vocab, words=NEWS), Doc(nlp.vocab, words=["d-" * 20])]
    with pytest.warns(UserWarning, match="IE-W501") as caught:
        get_model(nlp).predict(docs)
    messages = [str(warning.message) for warning in caught]
    assert len(messages) == 1
    assert messages[0].startswith("[IE-W501] 3 token(s)")
    assert "holds (20)" in messages[0]
    assert f"{100 + 200 + 40 - 3 * 20} piece(s)" in messages[0]
    assert "'b-b-b-" in messages[0]
    assert len(messages[0]) < 300


def test_no_warning_without_cuts(nlp):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run(nlp, [*NEWS * 30, "\n" * 1000, *["\n"] * 1000, "c-" * 10])


@pytest.mark.parametrize("max_pieces", [1, 22, 50, 333, 10**6])
def test_passes_do_not_change_the_result(nlp, bert, max_pieces, monkeypatch):
    other = make_nlp(bert, spans=SMALL, max_pieces=max_pieces)
    monkeypatch.setattr("spacy_llm_ie.encode.batches.FEW_PIECES", min(max_pieces, 100))
    texts = [" ".join(NEWS[:n]) for n in (3, 19, 1, 7)] + ["", " ".join(NEWS * 9), "\n", " ".join(NEWS[3:6])]
    shapes = spy_on_passes(other, monkeypatch)
    docs = list(other.pipe(texts))
    assert all(rows == 1 or rows * width <= max_pieces for rows, width in shapes)
    assert (len(shapes) > 1) == (max_pieces < 10**6 or len(set(shapes)) > 1)
    model = get_model(nlp)
    one_pass, _ = model.layers[0](model.predict(docs).wordpieces, is_train=False)
    hidden = one_pass.last_hidden_state.numpy()
    row = 0
    for doc, text in zip(docs, texts):
        data = doc._.trf_data
        if not text:
            assert len(doc) == 0
            continue
        found = data.model_output.last_hidden_state
        mask = data.wordpieces.attention_mask[..., None].astype("bool")
        numpy.testing.assert_allclose(found * mask, hidden[row : row + len(found)] * mask, atol=1e-5)
        numpy.testing.assert_allclose(get_vectors(doc), get_vectors(nlp(text)), atol=1e-5)
        numpy.testing.assert_allclose(
            data.model_output.pooler_output, one_pass.pooler_output[row : row + len(found)].numpy(), atol=1e-5
        )
        row += len(found)


def test_other_outputs_pass_through(bert):
    config = {"output_hidden_states": True, "output_attentions": True, "attn_implementation": "eager"}
    one = make_nlp(bert, spans=SMALL, transformer_config=config, max_pieces=10**6)
    many = make_nlp(bert, spans=SMALL, transformer_config=config, max_pieces=30)
    text = " ".join(NEWS * 5)
    expected, found = one(text)._.trf_data, many(text)._.trf_data
    assert found.model_output.keys() == expected.model_output.keys()
    n_rows, width = expected.wordpieces.input_ids.shape
    assert [array.shape for array in found.model_output.hidden_states] == [(n_rows, width, 32)] * 3
    assert [array.shape for array in found.model_output.attentions] == [(n_rows, 4, width, width)] * 2
    for key in ("hidden_states", "attentions"):
        for theirs, ours in zip(expected.model_output[key], found.model_output[key]):
            length = min(expected.wordpieces.lengths)
            a, b = (array[..., :length, :length] if key == "attentions" else array[:, :length] for array in (theirs, ours))
            numpy.testing.assert_allclose(a, b, atol=1e-5)
    assert type(get_model(many).predict([many.make_doc(text)]).model_output).__name__.startswith("BaseModelOutput")


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(1, 60), min_size=1, max_size=80), st.integers(1, 300), st.integers(0, 200))
def test_plan_passes(lengths, max_pieces, few_pieces):
    lengths = numpy.array(lengths)
    passes = plan_passes(lengths, max_pieces, few_pieces)
    assert sorted(numpy.concatenate(passes).tolist()) == list(range(len(lengths)))
    assert lengths[passes[0][0]] == lengths.max()
    for rows in passes:
        longest = lengths[rows[0]]
        assert longest == lengths[rows].max()
        assert len(rows) == 1 or len(rows) * longest <= max_pieces
        assert len(rows) * longest <= few_pieces or lengths[rows].min() >= 0.85 * longest or len(rows) == 1
    before = numpy.concatenate([lengths[rows] for rows in passes])
    assert (before[:-1] >= before[1:]).all()


def test_long_document_runs_in_bounded_passes(bert, monkeypatch):
    nlp = make_nlp(bert)
    shapes = spy_on_passes(nlp, monkeypatch)
    doc = run(nlp, NEWS * 1000)
    assert max(rows * width for rows, width in shapes) <= 4096
    assert sum(rows for rows, _ in shapes) < 1.2 * len(NEWS) * 1000 / 96
    assert find_bare(doc) == []
    # A window in the middle reads the same as the same tokens alone.
    numpy.testing.assert_allclose(
        doc._.trf_data.model_output.last_hidden_state[0],
        run(nlp, NEWS * 12)._.trf_data.model_output.last_hidden_state[0],
        atol=1e-5,
    )


def test_batches_do_not_matter(nlp):
    texts = [" ".join(NEWS[i:]) for i in range(len(NEWS))] + ["", "\n \n", " ".join(NEWS * 4)] * 2
    for text, doc in zip(texts, nlp.pipe(texts, batch_size=7)):
        alone = nlp(text)
        assert len(doc._.trf_data.align.lengths) == len(doc) == len(alone)
        if text:
            numpy.testing.assert_allclose(get_vectors(doc), get_vectors(alone), atol=1e-5)


def test_same_document_twice_and_empty_ones(nlp):
    doc, empty = nlp.make_doc("the bank"), nlp.make_doc("")
    batch = get_model(nlp).predict([empty, doc, empty, doc, nlp.make_doc("unit")])
    assert [len(spans) for spans in batch.spans] == [0, 1, 0, 1, 1]
    assert [len(data.align.lengths) for data in batch.doc_data] == [0, 2, 0, 2, 1]
    first, second = batch.doc_data[1], batch.doc_data[3]
    assert first.align.dataXd.tolist() == second.align.dataXd.tolist() == [1, 2]
    assert get_model(nlp).predict([empty, empty]).doc_data[1].align.lengths.size == 0
    assert get_model(nlp).predict([]).doc_data == []


def test_spans_of_the_batch_are_the_windows(nlp):
    doc = nlp.make_doc(" ".join(NEWS * 3))
    batch = get_model(nlp).predict([doc])
    spans = batch.spans[0]
    assert len(spans) == len(batch.wordpieces) == len(batch.wordpieces.lengths)
    assert spans[0].start == 0
    assert spans[-1].end == len(doc)
    for span, strings, length in zip(spans, batch.wordpieces.strings, batch.wordpieces.lengths):
        assert strings[0] == "[CLS]"
        assert strings[length - 1] == "[SEP]"
        assert "".join(s.removeprefix("##") for s in strings[1 : length - 1]) == "".join(span.text.split())


def test_predict_leaves_the_document_alone(nlp):
    doc = nlp.make_doc(" ".join(NEWS))
    before = doc.to_bytes()
    get_model(nlp).predict([doc])
    assert doc.to_bytes() == before


@pytest.mark.parametrize("max_length", [10**18, 10**6, 64])
@pytest.mark.parametrize("window", [None, 1000])
def test_no_window_is_longer_than_the_model_takes(bert, monkeypatch, max_length, window):
    spans = {**OUR_SPANS, "window": window, "stride": window}
    nlp = make_nlp(bert, spans=spans, tokenizer_config={"model_max_length": max_length})
    shapes = spy_on_passes(nlp, monkeypatch)
    assert find_bare(run(nlp, NEWS * 20)) == []
    assert max(width for _, width in shapes) == min(max_length, 128)


def test_one_window_as_long_as_the_model_takes(bert):
    nlp = make_nlp(bert, spans={**OUR_SPANS, "window": None, "stride": None})
    assert run(nlp, ["the"] * 126)._.trf_data.wordpieces.input_ids.shape == (1, 128)
    assert run(nlp, ["the"] * 127)._.trf_data.wordpieces.input_ids.shape == (2, 128)


def test_positions_that_begin_behind_the_padding(tmp_path):
    """RoBERTa with 40 positions takes 38 pieces."""
    path = make_tiny_bert(tmp_path)
    tokenizer = BertTokenizerFast.from_pretrained(path, model_max_length=10**30)
    tokenizer.save_pretrained(path)
    size = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
    config = RobertaConfig(vocab_size=len(tokenizer), max_position_embeddings=40, pad_token_id=1, **size)
    RobertaModel(config).save_pretrained(path)
    nlp = make_nlp(path, spans={**OUR_SPANS, "window": None, "stride": None}, tokenizer_config={"tokenizer_type": "bert"})
    doc = run(nlp, ["the"] * 100)
    assert max(doc._.trf_data.wordpieces.lengths) == 38


def test_model_that_takes_too_little(bert):
    with pytest.raises(ValueError, match="IE-E507.*takes 9 pieces at once, 2 of them special"):
        make_nlp(bert, tokenizer_config={"model_max_length": 9})


@pytest.mark.parametrize("getter", ["strided_spans", "sent_spans", "doc_spans"])
def test_stock_span_getters_are_divided_and_not_truncated(bert, monkeypatch, getter):
    settings = {"window": 60, "stride": 40} if getter == "strided_spans" else {}
    nlp = make_nlp(bert, spans={"@span_getters": f"spacy-transformers.{getter}.v1", **settings})
    shapes = spy_on_passes(nlp, monkeypatch)
    words = [*NEWS, *["a-b-c-d-e-f-"] * 40, "\n", *NEWS, "x-" * 200, *NEWS]
    starts = [i in (0, len(NEWS)) for i in range(len(words))]
    docs = [Doc(nlp.vocab, words=words, sent_starts=starts), Doc(nlp.vocab, words=[]), Doc(nlp.vocab, words=NEWS)]
    docs[2][0].is_sent_start = True
    for token in docs[2][1:]:
        token.is_sent_start = False
    with pytest.warns(UserWarning, match=r"IE-W501.*1 token\(s\).*holds \(126\)"):
        batch = get_model(nlp).predict(docs)
    nlp.get_pipe("transformer").set_annotations(docs, batch)
    assert find_bare(docs[0]) == find_bare(docs[2]) == []
    assert max(width for _, width in shapes) == 128
    plain = len(doc_pieces := docs[2]._.trf_data.wordpieces.lengths)
    assert plain == 1
    assert doc_pieces[0] == docs[2]._.trf_data.align.lengths.sum() + 2


def test_stock_span_getter_gives_the_same_windows(bert):
    ours = make_nlp(bert, spans={**STOCK_SPANS, "window": 30, "stride": 20})
    theirs = make_nlp(
        bert, architecture="spacy-transformers.TransformerModel.v3", spans={**STOCK_SPANS, "window": 30, "stride": 20}
    )
    text = " ".join(NEWS * 6)
    numpy.testing.assert_allclose(get_vectors(ours(text)), get_vectors(theirs(text)), atol=1e-5)


def replace_getter(nlp, get_spans):
    get_model(nlp).attrs["get_spans"] = get_spans


@pytest.mark.filterwarnings("ignore:.*IE-W501")
def test_tokens_that_a_span_getter_leaves_out(bert):
    nlp = make_nlp(bert)
    replace_getter(nlp, lambda docs: [[doc[2:4], doc[6:7]] if len(doc) > 5 else [] for doc in docs])
    docs = [Doc(nlp.vocab, words=words) for words in (NEWS[:10], ["the", "bank"], NEWS[:6] + ["a-" * 200])]
    with pytest.warns(UserWarning, match=r"IE-W502\] 13 token\(s\) in 3 document\(s\)"):
        batch = get_model(nlp).predict(docs)
    nlp.get_pipe("transformer").set_annotations(docs, batch)
    assert find_bare(docs[0]) == [0, 1, 4, 5, 7, 8, 9]
    assert find_bare(docs[1]) == [0, 1]
    assert find_bare(docs[2]) == [0, 1, 4, 5]
    assert docs[1]._.trf_data.wordpieces.strings[0][:2] == ["[CLS]", "[SEP]"]


def test_span_getter_that_forgets_a_document(bert):
    nlp = make_nlp(bert)
    replace_getter(nlp, lambda docs: [[doc[:]] for doc in docs[1:]])
    with pytest.raises(ValueError, match="IE-E510.*for 1 documents.*each of the 2"):
        get_model(nlp).predict([nlp.make_doc("a"), nlp.make_doc("b")])


@pytest.mark.parametrize(
    "settings",
    [{"name": ""}, {"name": None}, {"get_spans": "strided"}, {"max_pieces": 0}, {"max_pieces": 1.5}],
)
def test_refuses_bad_settings(settings):
    with pytest.raises(ValueError, match=f"IE-E508.*{next(iter(settings))}"):
        build_transformer_model_v1(**{"name": "bert", "get_spans": WordpieceSpans(), **settings})


@pytest.mark.parametrize("settings", [{"max_pieces": "many"}, {"mixed_precision": 3}, {"unknown": 1}])
def test_config_refuses_bad_settings(bert, settings):
    with pytest.raises(Exception, match=next(iter(settings))):
        make_nlp(bert, **settings)


def test_settings_are_not_shared_between_models(bert):
    settings = {"transformer_config": {}, "tokenizer_config": {}, "grad_scaler_config": {}}
    first = WindowTransformer(bert, WordpieceSpans(), **settings)
    first.initialize()
    assert settings == {"transformer_config": {}, "tokenizer_config": {}, "grad_scaler_config": {}}
    second = WindowTransformer(bert, WordpieceSpans(), mixed_precision=True)
    assert second.layers[0].shims[0]._mixed_precision
    assert second.layers[0].shims[0]._grad_scaler._enabled
    assert not first.layers[0].shims[0]._grad_scaler._enabled


def test_slow_tokenizer(bert):
    slow = make_nlp(bert, tokenizer_config={"use_fast": False})
    fast = make_nlp(bert)
    assert not get_model(slow).tokenizer.is_fast
    text = "The bank of Brentland said: 'we can't buy' \n\n (London) \u200b \U0001f600."
    numpy.testing.assert_allclose(get_vectors(slow(text)), get_vectors(fast(text)), atol=1e-5)


def test_registered():
    spacy.blank("en")
    assert spacy.registry.architectures.get("spacy-llm-ie.TransformerModel.v1") is build_transformer_model_v1


def test_bfloat16_is_for_training_only_and_close_to_float32(tmp_path, monkeypatch):
    monkeypatch.setattr("spacy_llm_ie.encode.transformer.bfloat16_is_quick", lambda: True)
    path = make_tiny_bert(tmp_path)
    get_spans = configure_wordpiece_spans(50, 40)
    models = [build_transformer_model_v1(path, get_spans, bfloat16_training=half) for half in (False, True)]
    docs = [spacy.blank("en")("the company agreed to buy a bank"), spacy.blank("en")("shares rose")]
    found, gradients = [], []
    for model in models:
        model.initialize(X=docs)
        model.transformer.eval()
        torch.manual_seed(0)
        monkeypatch.setattr(model.transformer, "train", lambda mode=True: None)  # no dropout
        output, backprop = model.begin_update(docs)
        found.append(output.model_output.last_hidden_state.detach())
        assert found[-1].dtype == torch.float32
        arrays = [[numpy.ones_like(data.model_output.last_hidden_state)] for data in output.doc_data]
        backprop(output.unsplit_by_doc(arrays))
        gradients.append([p.grad for p in model.transformer.parameters() if p.grad is not None])
    assert not torch.equal(*found)
    assert torch.allclose(*found, atol=0.1)
    assert len(gradients[0]) == len(gradients[1]) > 10
    predicted = [model.predict(docs).model_output.last_hidden_state for model in models]
    assert torch.equal(*predicted)
