"""Encoders that were exported answer as torch does, in each runtime, for any text and batch; and say what is missing."""

import builtins
import contextlib
import importlib.util
import subprocess
import sys
from threading import Barrier

import numpy
import onnx
import pytest
import spacy
import srsly
import torch
from spacy.cli.package import get_meta
from spacy_transformers.data_classes import TransformerData
from spacy_transformers.layers.trfs2arrays import forward as pool_pieces
from transformers import (
    AlbertConfig,
    AlbertModel,
    BertConfig,
    BertModel,
    DistilBertConfig,
    DistilBertModel,
    ElectraConfig,
    ElectraModel,
    GPT2Config,
    GPT2Model,
    OPTConfig,
    OPTModel,
    RobertaConfig,
)
from transformers import RobertaModel as Roberta

from spacy_llm_ie.compress.backend import CLEANER, compile_transformer, export_encoder, find_component, save_compiled
from spacy_llm_ie.compress.export import export_onnx
from spacy_llm_ie.compress.linear import find_linear, matrix_of
from spacy_llm_ie.compress.quantize import Known, quantize_products, quantize_weights, round_to_int8
from spacy_llm_ie.encode.compiled import build_compiled_transformer_v1, mean_over, pass_on
from spacy_llm_ie.encode.runtimes import RUNTIMES, OnnxRuntime, OpenVino
from spacy_llm_ie.encode.spans import WordpieceSpans
from spacy_llm_ie.layers import loops

from ..encode.helpers import get_vectors, make_nlp
from .helpers import make_examples, make_family, make_pipeline

TEXTS = [
    "The bank agreed to buy a new group in Paris.",
    "",
    "x",
    "  \n ",
    "Monday \u4e2d\u56fd \u0627\u0644 \U0001f600 word " * 30,
    "a_" * 200 + " ends",
    "It said on Friday that it had cut jobs.",
]
SMALL = {"num_attention_heads": 4, "vocab_size": 300, "max_position_embeddings": 64}
FAMILIES = {
    "bert": (BertModel, BertConfig(hidden_size=32, num_hidden_layers=2, intermediate_size=64, **SMALL)),
    "roberta": (Roberta, RobertaConfig(hidden_size=32, num_hidden_layers=2, intermediate_size=64, **SMALL)),
    "electra": (
        ElectraModel,
        ElectraConfig(embedding_size=16, hidden_size=32, num_hidden_layers=2, intermediate_size=64, **SMALL),
    ),
    "distilbert": (DistilBertModel, DistilBertConfig(dim=32, n_layers=2, n_heads=4, hidden_dim=64, vocab_size=300)),
    # One layer that is used again and again; and products that ONNX writes in another way.
    "albert": (
        AlbertModel,
        AlbertConfig(embedding_size=16, hidden_size=32, num_hidden_layers=2, intermediate_size=64, **SMALL),
    ),
    "gpt2": (GPT2Model, GPT2Config(hidden_size=32, num_hidden_layers=2, **SMALL)),
    "opt": (OPTModel, OPTConfig(hidden_size=32, num_hidden_layers=2, ffn_dim=64, **SMALL)),
}


def inputs_of(rows, pieces, names):
    ids = numpy.random.default_rng(0).integers(5, 290, (rows, pieces))
    mask = numpy.ones_like(ids)
    mask[0, pieces // 2 :] = 0
    values = {"input_ids": ids, "attention_mask": mask, "token_type_ids": numpy.zeros_like(ids)}
    return {name: values[name] for name in names}


@pytest.fixture(scope="module")
def nlp(tiny_bert):
    return make_nlp(tiny_bert, listener=True)


def compiled(nlp, folder, backend="onnxruntime", precision="float32", **settings):
    name, pipe = find_component(nlp)
    model = compile_transformer(pipe.model, export_encoder(pipe.model, backend, precision), backend, precision)
    save_compiled(nlp, name, model, folder, **settings)
    return spacy.load(folder)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_an_exported_encoder_answers_as_torch_does(family, runtime):
    make, config = FAMILIES[family]
    torch.manual_seed(0)
    encoder = make(config).train()
    has_types = family in ("bert", "electra")
    session = RUNTIMES[runtime](export_onnx(encoder, has_types), "float32", 1)
    assert encoder.training  # as it was found
    encoder.eval()
    for rows, pieces in ((1, 3), (5, 40), (2, 8)):
        given = inputs_of(rows, pieces, session.inputs)
        with torch.no_grad():
            expected = encoder(**{name: torch.from_numpy(value) for name, value in given.items()})[0].numpy()
        real = given["attention_mask"][..., None]
        assert numpy.abs((session.run(given) - expected) * real).max() < 1e-4


@pytest.mark.parametrize("quantize", [quantize_products, quantize_weights])
def test_int8_is_a_quarter_of_the_size_and_near(quantize):
    torch.manual_seed(0)
    encoder = BertModel(
        BertConfig(hidden_size=128, num_hidden_layers=2, intermediate_size=256, **{**SMALL, "vocab_size": 2000})
    ).eval()
    whole = export_onnx(encoder, False)
    small = quantize(whole)
    assert len(small) < 0.32 * len(whole)
    given = inputs_of(4, 30, ("input_ids", "attention_mask"))
    exact, near = OnnxRuntime(whole, "float32", 1).run(given), OnnxRuntime(small, "int8", 1).run(given)
    assert 0 < numpy.linalg.norm(near - exact) < 0.03 * numpy.linalg.norm(exact)


@pytest.mark.parametrize("steps", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_int8_takes_every_matrix_once(family, steps):
    make, config = FAMILIES[family]
    torch.manual_seed(0)
    encoder = make(type(config).from_dict({**config.to_dict(), "vocab_size": 1100})).eval()
    whole = export_onnx(encoder, False)
    names = dict(find_linear(encoder))
    widths = {name: matrix_of(module).shape[1] for name, module in names.items()}
    known = {name: Known(numpy.full(width, 0.05, "float32")) for name, width in widths.items()} if steps else {}
    for quantize in (quantize_products, quantize_weights):
        graph = onnx.load_from_string(quantize(whole, known)).graph
        tables = {node.input[0] for node in graph.node if node.op_type == "Gather"}  # positions stay
        matrices = [tensor for tensor in graph.initializer if len(tensor.dims) == 2 and tensor.name not in tables]
        assert {tensor.data_type for tensor in matrices} == {onnx.TensorProto.INT8}
        used = [matrix_of(module) for name, module in names.items() if "pooler" not in name]
        assert sum(numpy.prod(tensor.dims) for tensor in matrices) == sum(matrix.numel() for matrix in used)


def test_an_int8_answer_does_not_depend_on_the_batch():
    torch.manual_seed(0)
    encoder = BertModel(BertConfig(hidden_size=32, num_hidden_layers=2, intermediate_size=64, **SMALL)).eval()
    session = OnnxRuntime(quantize_products(export_onnx(encoder, False)), "int8", 1)
    given = inputs_of(6, 20, ("input_ids", "attention_mask"))
    alone = session.run({name: value[2:3] for name, value in given.items()})
    assert numpy.abs(session.run(given)[2:3] - alone).max() < 1e-5


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_passes_run_side_by_side_and_come_back_in_order(runtime):
    torch.manual_seed(0)
    encoder = BertModel(BertConfig(hidden_size=32, num_hidden_layers=2, intermediate_size=64, **SMALL)).eval()
    weights = export_onnx(encoder, False)
    given = [inputs_of(rows, 7, ("input_ids", "attention_mask")) for rows in range(1, 9)]
    alone = RUNTIMES[runtime](weights, "float32", 1)
    expected = [alone.run(inputs).copy() for inputs in given]
    for threads, shared, workers in ((2, 1, 2), (2, 2, 1), (4, 2, 2), (1, 8, 1)):
        session, all_at_once = RUNTIMES[runtime](weights, "float32", threads, shared), Barrier(workers)
        assert session.workers == workers

        def read(number, session=session, all_at_once=all_at_once):
            if number < session.workers:
                all_at_once.wait(10)  # breaks if they do not run at the same time
            return session.run(given[number]).copy()

        found = list(session.each(read, range(len(given))))
        assert all(numpy.abs(a - b).max() < 1e-5 for a, b in zip(found, expected))


@pytest.fixture
def single():
    encoder = BertModel(BertConfig(hidden_size=32, num_hidden_layers=2, intermediate_size=64, **SMALL)).eval()
    return OnnxRuntime(export_onnx(encoder, False), "float32", 2), inputs_of(1, 7, ("input_ids", "attention_mask"))


def test_texts_one_by_one_are_read_by_threads_that_share_a_pass(single):
    session, given = single
    if not session._spins_briefly:
        pytest.skip("an old ONNX Runtime")
    expected, started = session.run(given).copy(), []
    start = session._start
    session._start = lambda weights, threads, spin: (started.append((threads, spin > 0)), start(weights, threads, spin))[1]
    session.run_single(given)
    assert not started  # one text does not say that there will be more
    for _ in range(2):
        numpy.testing.assert_allclose(session.run_single(given), expected, atol=1e-5)
    assert started == [(2, True)]


@pytest.mark.parametrize("why", ["a stream", "another text", "one thread", "1.23.2", "1.9rc1", "main"])
def test_where_they_would_disturb_others_they_do_not(single, why, monkeypatch):
    session, given = single
    if why == "one thread":
        session.pool = None
    elif why == "another text":
        session._turn.acquire()
    elif why != "a stream":
        monkeypatch.setattr(session.load_package(), "__version__", why)
        session = OnnxRuntime(session._weights, "float32", 2)
    expected = session.run(given).copy()
    with session.standing_by() if why == "a stream" else contextlib.nullcontext():
        for _ in range(3):
            numpy.testing.assert_array_equal(session.run_single(given), expected)
    assert session._quicker is None


def test_what_a_single_text_needs_is_one_pass(nlp, tmp_path):
    runtime = (small := compiled(nlp, tmp_path)).get_pipe("transformer").model.runtime
    asked = []
    runtime.run_single = lambda inputs: (asked.append(len(inputs["input_ids"])), runtime.run(inputs))[1]
    small("The bank agreed to buy a new group in Paris.")
    assert asked == [1]
    small("Monday word " * 200)  # several windows, which are read side by side
    assert asked == [1]


FIRST_RUNS = """
import sys
from threading import Barrier, Thread
import numpy
from spacy_llm_ie.encode.runtimes import RUNTIMES

session, all_at_once = RUNTIMES[sys.argv[1]](open(sys.argv[2], "rb").read(), "float32", 2), Barrier(8)
given = {name: numpy.ones((1, 2), dtype="int64") for name in ("input_ids", "attention_mask", "token_type_ids")}

def run():
    if sys.argv[1] == "openvino":  # what else takes time before the first run
        session.mine.request = session.compiled.create_infer_request()
    all_at_once.wait(10)
    session.run(given)

threads = [Thread(target=run) for _ in range(8)]
sys.setswitchinterval(1e-6)
[thread.start() for thread in threads]
[thread.join() for thread in threads]
"""


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_the_first_runs_may_be_at_the_same_time(tmp_path, runtime):
    encoder = BertModel(BertConfig(hidden_size=32, num_hidden_layers=1, intermediate_size=64, **SMALL)).eval()
    (tmp_path / "encoder.onnx").write_bytes(export_onnx(encoder, False))
    command = [sys.executable, "-W", "ignore", "-c", FIRST_RUNS, runtime, str(tmp_path / "encoder.onnx")]
    for _ in range(2):
        subprocess.run(command, check=True, timeout=60)


def test_rounding_to_int8_has_a_scale_for_each_column_or_row():
    values = numpy.random.default_rng(0).normal(size=(7, 5)).astype("float32") * [1, 10, 100, 1000, 0]
    for axis in (0, 1):
        rounded, scale = round_to_int8(values, axis)
        assert rounded.dtype == numpy.int8
        assert (numpy.abs(rounded * scale - values) <= scale / 2 * 1.001).all()
    assert (rounded[:, 4] == 0).all()


@pytest.mark.parametrize("backend", RUNTIMES)
def test_token_vectors_are_the_mean_of_the_pieces(nlp, tmp_path, backend):
    small = compiled(nlp, tmp_path / "small", backend, keep_vectors=True)
    with pytest.warns(UserWarning, match="IE-W501"):
        found = list(small.pipe(TEXTS))
    with pytest.warns(UserWarning, match="IE-W501"):
        expected = list(nlp.pipe(TEXTS))
    for doc, other in zip(found, expected):
        assert [token.tag_ for token in doc] == [token.tag_ for token in other]
        if len(doc):
            vectors = doc._.trf_data.model_output.last_hidden_state[0]
            assert vectors.shape == (len(doc), 32)
            assert numpy.abs(vectors - get_vectors(other)).max() < 1e-4


def test_vectors_are_taken_out_at_the_end_unless_they_are_wanted(nlp, tmp_path):
    small = compiled(nlp, tmp_path / "small")
    assert small.pipe_names[-1] == CLEANER
    assert small.config["components"]["transformer"]["model"]["@architectures"] == "spacy-llm-ie.CompiledTransformer.v1"
    assert small(TEXTS[0])._.trf_data is None
    assert CLEANER not in nlp.pipe_names


@pytest.mark.parametrize(
    ("backend", "before", "after"),
    [
        ("onnxruntime", ["some-tokenizer>=1.0"], ["some-tokenizer>=1.0", "onnxruntime>=1.20"]),
        ("openvino", [], ["openvino>=2025.0"]),
        ("onnxruntime", ["onnxruntime==1.27.0"], ["onnxruntime==1.27.0"]),
    ],
)
def test_a_wheel_requires_the_backend(nlp, tmp_path, monkeypatch, backend, before, after):
    monkeypatch.setitem(nlp.meta, "requirements", before)
    compiled(nlp, tmp_path / "small", backend)
    meta = get_meta(tmp_path / "small", srsly.read_json(tmp_path / "small" / "meta.json"))
    assert [text for text in meta["requirements"] if not text.startswith("spacy")] == after
    assert nlp.meta["requirements"] == before


@pytest.mark.parametrize("processes", [1, 2])
def test_batches_threads_and_processes_change_nothing(nlp, tmp_path, processes):
    small = compiled(nlp, tmp_path / "small", precision="int8", keep_vectors=True)
    texts = [text for text in TEXTS if "a_a_" not in text] * 3
    expected = [[token.tag_ for token in small(text)] for text in texts]
    for ahead in (True, False):
        small.get_pipe("transformer").ahead = ahead
        for size in (1, 2, 50):
            docs = list(small.pipe(texts, batch_size=size, n_process=processes))
            assert [doc.text for doc in docs] == texts
            assert [[token.tag_ for token in doc] for doc in docs] == expected


def test_an_error_in_the_thread_reaches_the_caller(nlp, tmp_path, monkeypatch):
    small = compiled(nlp, tmp_path / "small")
    monkeypatch.setattr(small.get_pipe("transformer").model.runtime, "run", lambda inputs: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        list(small.pipe(["One text.", "Another text."]))
    stopped = small.pipe(f"Text {i}." for i in range(10**9))
    with pytest.raises(ZeroDivisionError):
        next(stopped)


def test_a_compressed_pipeline_is_saved_again_as_it_is(nlp, tmp_path):
    small = compiled(nlp, tmp_path / "small", precision="int8")
    small.to_disk(tmp_path / "again")
    again = spacy.load(tmp_path / "again").from_bytes(small.to_bytes())
    for text in (TEXTS[0], TEXTS[-1]):
        assert [token.tag_ for token in again(text)] == [token.tag_ for token in small(text)]
    assert again.config["components"]["transformer"]["model"]["precision"] == "int8"


def count_weights(model):
    """The numbers that take half the space: thinc's, and those of a pair classifier."""
    count = sum(node.get_param(name).size for node in model.walk() for name in node.param_names if node.has_param(name))
    modules = [shim.module for node in model.walk() for shim in node.shims if getattr(shim, "can_be_half", False)]
    return count + sum(parameter.numel() for module in modules for parameter in module.parameters())


def test_components_take_half_the_space_with_an_encoder_that_is_no_longer_float32(tmp_path):
    nlp = make_pipeline(make_family(tmp_path / "bert", "bert"), steps=1)
    nlp.to_disk(tmp_path / "whole")
    before, names = nlp.to_bytes(), [name for name in nlp.pipe_names if name != "transformer"]
    for precision in ("float32", "int8"):
        small = compiled(nlp, tmp_path / precision, precision=precision)
        small.to_disk(tmp_path / f"{precision} again")
        for name in names:
            files = [tmp_path / folder / name / "model" for folder in ("whole", precision, f"{precision} again")]
            sizes = [file.stat().st_size for file in files]
            saved = 2 * count_weights(nlp.get_pipe(name).model) if precision == "int8" else 0
            assert sizes[0] - sizes[1] == pytest.approx(saved, rel=0.1, abs=0)
            assert files[1].read_bytes() == files[2].read_bytes()
            for node in small.get_pipe(name).model.walk():
                assert all(node.get_param(param).dtype == "float32" for param in node.param_names if node.has_param(param))
    assert nlp.to_bytes() == before


def test_pair_classifiers_take_a_quarter_beside_an_encoder_in_four_bits(tmp_path):
    nlp = make_pipeline(make_family(tmp_path / "bert", "bert"), steps=1)
    sizes = []
    for quarter in (False, True):
        small = compiled(nlp, tmp_path / f"{quarter}", precision="int8", int8_components=quarter)
        small.to_disk(tmp_path / f"{quarter} again")
        files = [tmp_path / folder / "ie_relations" / "model" for folder in (f"{quarter}", f"{quarter} again")]
        assert files[0].read_bytes() == files[1].read_bytes()
        sizes.append(files[0].stat().st_size)
    count = count_weights(nlp.get_pipe("ie_relations").model)
    assert sizes[0] - sizes[1] == pytest.approx(count, rel=0.1, abs=1000)
    for text in TEXTS:
        assert len(small(text)._.relations) == len(spacy.load(tmp_path / "False")(text)._.relations)


def test_halved_components_learn_and_are_saved_whole_again(tmp_path):
    nlp = make_pipeline(make_family(tmp_path / "bert", "bert"), steps=1)
    for name in ("ie_ner", "ie_relations"):
        pipe = nlp.get_pipe(name)
        whole = len(pipe.to_bytes())
        pipe.halve()
        assert whole - len(pipe.to_bytes()) == pytest.approx(2 * count_weights(pipe.model), rel=0.1)
        nlp.update(make_examples(nlp), losses=(losses := {}))
        assert losses[name] > 0 and len(pipe.to_bytes()) == pytest.approx(whole, rel=0.02)


def test_weights_beyond_float16_stay_as_they_are(tmp_path):
    nlp = make_pipeline(make_family(tmp_path / "bert", "bert"), steps=1)
    pipe = nlp.get_pipe("ie_ner")
    output = pipe.model.get_ref("output_layer")
    output.set_param("b", output.get_param("b") + 1e5)
    pipe.halve()
    again = pipe.from_bytes(pipe.to_bytes()).model.get_ref("output_layer")
    assert numpy.isfinite(again.get_param("W")).all() and again.get_param("b").min() > 9e4


def test_little_is_padding(nlp, tmp_path, monkeypatch):
    small = compiled(nlp, tmp_path / "small")
    runtime, real, whole = small.get_pipe("transformer").model.runtime, 0, 0
    run = runtime.run

    def count(inputs):
        nonlocal real, whole
        real, whole = real + int(inputs["attention_mask"].sum()), whole + inputs["attention_mask"].size
        return run(inputs)

    monkeypatch.setattr(runtime, "run", count)
    words = numpy.random.default_rng(0).integers(3, 60, 256)
    list(small.pipe(["bank " * size for size in words], batch_size=128))
    assert 0.95 * whole < real < whole


@pytest.mark.parametrize("way", ["numba", "torch"])
def test_means_over_groups_of_rows(way, monkeypatch):
    if way != "numba":
        monkeypatch.setattr(loops, "compiled", lambda function: None)
    vectors = numpy.arange(12, dtype="float32").reshape(6, 2)
    found = mean_over(vectors, numpy.array([5, 0, 1, 2, 3, 3], dtype="i"), numpy.array([1, 3, 0, 2, 0], dtype="i"))
    assert found.tolist() == [[10, 11], [2, 3], [0, 0], [6, 7], [0, 0]]
    assert mean_over(vectors, numpy.zeros(0, dtype="i"), numpy.zeros(2, dtype="i")).tolist() == [[0, 0], [0, 0]]


def test_what_cannot_be_is_refused(nlp, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"IE-E520.*onnxruntime \(float32, int8\)"):
        build_compiled_transformer_v1(WordpieceSpans(), "onnxruntime", "bfloat16")
    model = build_compiled_transformer_v1(WordpieceSpans(), "onnxruntime", "int8")
    with pytest.raises(ValueError, match="IE-E524"):
        model.initialize()
    empty = spacy.blank("en")
    empty.add_pipe("ie_encoder")
    with pytest.raises(ValueError, match="IE-E524.*ie compress"):
        empty("A text.")
    small = compiled(nlp, tmp_path / "small")
    with pytest.raises(ValueError, match="IE-E525"):
        small.get_pipe("transformer").model.begin_update([small.make_doc("A text.")])
    with pytest.raises(ValueError, match="IE-E530"):
        find_component(small)  # compressed already
    with pytest.raises(ValueError, match="IE-E530"):
        find_component(spacy.blank("en"))


def test_a_missing_package_is_named_with_the_pip_command(nlp, tmp_path, monkeypatch):
    small = compiled(nlp, tmp_path / "small", "openvino")
    real = builtins.__import__

    def refuse(name, *args, **kwargs):
        if name.split(".")[0] in ("openvino", "onnx"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refuse)
    monkeypatch.setattr(importlib, "import_module", lambda name: refuse(name))
    with pytest.raises(ImportError, match="IE-E521.*pip install openvino"):
        small("A text.")
    with pytest.raises(ImportError, match=r"IE-E522.*pip install \"spacy-llm-ie\[compress\]\""):
        export_onnx(nlp.get_pipe("transformer").model.transformer, True)
    assert OpenVino.package == "openvino"


def test_other_pooling_than_the_mean_is_refused(tiny_bert):
    nlp = make_nlp(tiny_bert, initialize=False)
    pooling = {"@layers": "reduce_last.v1"}
    tok2vec = {"@architectures": "spacy-transformers.TransformerListener.v1", "grad_factor": 1.0, "pooling": pooling}
    tagger = nlp.add_pipe("tagger", config={"model": {"@architectures": "spacy.Tagger.v2", "tok2vec": tok2vec}})
    tagger.add_label("A")
    nlp.initialize()
    with pytest.raises(ValueError, match="IE-E531.*tagger.*reduce_last"):
        find_component(nlp)


def test_listeners_hand_on_what_is_one_vector_a_token(nlp, tmp_path):
    small = compiled(nlp, tmp_path / "small", keep_vectors=True)
    node = next(node for node in small.get_pipe("tagger").model.walk() if node.name == "trfs2arrays")
    assert node._func is pass_on
    docs = [small("The bank agreed to buy a new group."), small("It said.")]
    datas = [doc._.trf_data for doc in docs]
    for found, doc, pooled in zip(node.predict(datas), docs, pool_pieces(node, datas, False)[0]):
        assert found.shape == (len(doc), 32)
        assert numpy.array_equal(found, pooled)
    whole = [nlp(doc.text)._.trf_data for doc in docs]  # pieces: pooled as ever
    assert [len(array) for array in node.predict(whole)] == [len(doc) for doc in docs]
    assert [len(array) for array in node.predict([datas[0], TransformerData.empty()])] == [len(docs[0]), 0]


def test_threads_find_a_tokenizer_that_they_need_not_change(nlp, tmp_path):
    small = compiled(nlp, tmp_path / "small")
    shim = small.get_pipe("transformer").model.shims[0]
    shim.tokenizer.backend_tokenizer.enable_truncation(4)
    shim.tokenizer.backend_tokenizer.enable_padding()
    again = shim.copy().tokenizer.backend_tokenizer
    assert again.truncation is None and again.padding is None
