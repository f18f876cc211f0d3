"""Steps that are known before: what they are, which layers have them, and what the export does with them."""

import numpy
import onnx
import pytest
import torch
from transformers.activations import ACT2FN

from spacy_llm_ie.compress.backend import export_encoder
from spacy_llm_ie.compress.calibrate import calibrate
from spacy_llm_ie.compress.linear import find_linear, matrix_of
from spacy_llm_ie.compress.parts import find_transformer
from spacy_llm_ie.compress.quantize import Known, quantize_products, quantize_weights
from spacy_llm_ie.compress.simulate import simulated_int8
from spacy_llm_ie.encode.runtimes import OnnxRuntime
from tests.compress.helpers import SENTENCES, make_family
from tests.encode.helpers import make_nlp
from tests.util import make_tiny_bert


@pytest.fixture
def pipeline(tmp_path):
    nlp = make_nlp(make_tiny_bert(tmp_path / "bert"))
    return find_transformer(nlp), [nlp.make_doc(text) for text in SENTENCES]


def steps_of(*args, **settings):
    return {name: known.steps for name, known in calibrate(*args, **settings).items() if known.steps is not None}


def linear_layers(model):
    return {name: module for name, module in model.transformer.named_modules() if isinstance(module, torch.nn.Linear)}


def test_steps_are_of_what_layers_are_given(pipeline):
    model, docs = pipeline
    seen, layer = [], model.transformer.encoder.layer[1].output.dense
    hook = layer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].flatten(0, -2)))
    steps = steps_of(model, docs, share=1.0, tolerance=1.0)
    hook.remove()
    largest = torch.cat(seen).abs().amax(0).numpy()
    numpy.testing.assert_allclose(steps["encoder.layer.1.output.dense"], largest / 127, rtol=1e-5)
    used = {name for name in linear_layers(model) if "pooler" not in name}
    assert used <= set(steps)
    uniform = steps_of(model, docs, share=0.0, tolerance=1.0)["encoder.layer.1.output.dense"]
    weights = layer.weight.detach().abs().amax(0).numpy()
    numpy.testing.assert_allclose(uniform * weights, (largest * weights).max() / 127, rtol=1e-5)


def test_layers_that_are_given_the_same_have_the_same_steps(pipeline):
    steps = steps_of(*pipeline, tolerance=1.0)
    query, key, value = (steps[f"encoder.layer.0.attention.self.{part}"] for part in ("query", "key", "value"))
    assert numpy.array_equal(query, key) and numpy.array_equal(query, value)
    assert not numpy.array_equal(query, steps["encoder.layer.1.attention.self.query"])


@pytest.mark.parametrize("family", ["albert", "gpt2"])
def test_layers_that_are_used_again_or_stand_the_other_way_round_have_steps(tmp_path, family):
    nlp = make_nlp(make_family(tmp_path / family, family))
    model, docs = find_transformer(nlp), [nlp.make_doc(text) for text in SENTENCES]
    steps = steps_of(model, docs, tolerance=1.0)
    widths = {name: matrix_of(layer).shape[1] for name, layer in find_linear(model.transformer)}
    assert {name: len(found) for name, found in steps.items()} == widths


def test_layers_that_rows_suit_better_have_none(pipeline):
    """A text in which every number is a thousand times as large as in the others spoils steps, but no rows."""
    model, docs = pipeline
    rows = iter([1000.0] + [1.0] * 1000)
    layer = model.transformer.encoder.layer[0].output.dense
    hook = layer.register_forward_pre_hook(lambda _, inputs: (inputs[0] * next(rows),))
    steps = steps_of(model, docs, tolerance=0.02, batch_size=1)
    hook.remove()
    assert "encoder.layer.0.output.dense" not in steps and "encoder.layer.0.intermediate.dense" in steps


def test_columns_without_numbers_do_not_spoil_the_others(pipeline):
    model, docs = pipeline
    norm = model.transformer.encoder.layer[0].attention.output.LayerNorm
    with torch.no_grad():
        norm.weight[3] = norm.bias[3] = 0
    steps = steps_of(model, docs, tolerance=1.0)["encoder.layer.0.intermediate.dense"]
    assert numpy.isfinite(steps).all() and (steps > 0).all()


def test_large_columns_with_small_weights_cost_less_in_steps_than_by_row(pipeline):
    """As trained encoders have them."""
    model, docs = pipeline
    with torch.no_grad():
        for layer in model.transformer.encoder.layer:
            for part in (layer.attention.output.LayerNorm.weight, layer.attention.output.LayerNorm.bias):
                part[5] *= 40
            for matrix in (layer.intermediate.dense.weight[:, 5], layer.output.LayerNorm.weight):
                matrix /= 40
    exact = model.predict(docs).model_output.last_hidden_state
    found = []
    for steps in (None, steps_of(model, docs)):
        with simulated_int8(model.transformer, steps):
            found.append(numpy.linalg.norm(model.predict(docs).model_output.last_hidden_state - exact))
    assert found[1] < 0.7 * found[0]


def test_the_export_measures_no_rows_where_steps_are_known(pipeline):
    model, docs = pipeline
    kinds = []
    for given in ((), docs):
        graph = onnx.load_from_string(export_encoder(model, "onnxruntime", "int8", None, given)).graph
        kinds.append([node.op_type for node in graph.node])
    assert kinds[0].count("MatMulIntegerToFloat") == kinds[1].count("MatMulIntegerToFloat") == 12
    assert kinds[1].count("ReduceMax") < kinds[0].count("ReduceMax") == 8
    assert kinds[1].count("Add") < kinds[0].count("Add")  # biases are added in the products


def test_openvino_has_weights_that_make_up_for_each_other(pipeline):
    model, docs = pipeline
    weights = export_encoder(model, "openvino", "float32")
    pieces = model.tokenizer(SENTENCES[1], return_tensors="np")
    exact = OnnxRuntime(weights, "float32", 1).run(pieces)
    errors = []
    for exported in (quantize_weights(weights), export_encoder(model, "openvino", "int8", docs=docs)):
        errors.append(numpy.linalg.norm(OnnxRuntime(exported, "float32", 1).run(pieces) - exact))  # any runtime reads it
    assert errors[1] < errors[0]


def test_weights_that_learned_to_be_rounded_are_rounded_each_for_itself(pipeline):
    model, docs = pipeline
    plain = quantize_weights(export_encoder(model, "openvino", "float32"))
    assert export_encoder(model, "openvino", "int8", docs=docs, compensate=False) == plain
    assert export_encoder(model, "openvino", "int8", docs=docs) != plain


def test_bad_settings_are_refused(pipeline):
    model, docs = pipeline
    for given, settings in (([], {}), (docs, {"share": 1.5}), (docs, {"share": -0.1}), (docs, {"tolerance": 2.0})):
        with pytest.raises(ValueError, match="IE-E722"):
            calibrate(model, given, **settings)


@pytest.mark.parametrize(("activation", "lowest"), [("gelu", -0.17), ("relu", 0.0)])
def test_few_whole_numbers_are_negative_behind_gelu_and_relu(tmp_path, activation, lowest):
    nlp = make_nlp(make_tiny_bert(tmp_path / "bert"))
    model, docs = find_transformer(nlp), [nlp.make_doc(text) for text in SENTENCES]
    with torch.no_grad():
        for layer in model.transformer.encoder.layer:
            layer.intermediate.intermediate_act_fn = ACT2FN[activation]
            layer.intermediate.dense.weight *= 20  # as large as in trained encoders
    known = calibrate(model, docs, tolerance=0.0)
    one_sided = {name: given.lowest for name, given in known.items() if given.lowest is not None}
    assert one_sided.keys() == {f"encoder.layer.{i}.output.dense" for i in (0, 1)}
    assert list(one_sided.values()) == pytest.approx([lowest] * 2, abs=0.01)
    weights = export_encoder(model, "onnxruntime", "float32")
    pieces = model.tokenizer(SENTENCES[1], return_tensors="np")
    exact = OnnxRuntime(weights, "float32", 1).run(pieces)
    errors = []
    for given in (Known(), Known(lowest=one_sided["encoder.layer.1.output.dense"])):
        found = OnnxRuntime(quantize_products(weights, dict.fromkeys(one_sided, given)), "int8", 1).run(pieces)
        errors.append(numpy.linalg.norm(found - exact))
    assert errors[1] < errors[0]
