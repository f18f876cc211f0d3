"""Weights in 4 bits and in 2: what is packed is what was meant, in the file, in the graph and in training."""

import numpy
import onnx
import onnxruntime
import pytest
import torch
from transformers import BertConfig, BertModel

from spacy_llm_ie.compress.export import export_onnx
from spacy_llm_ie.compress.pack import GROUP, LEVELS, Packing, level_table, pack_rows, round_to_levels, unpack_rows
from spacy_llm_ie.compress.quantize import quantize_products


def normal(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("bits", LEVELS)
@pytest.mark.parametrize("width", [1, 63, 64, 65, 384])
def test_packed_rows_come_back_rounded(bits, width):
    values = normal(9, width) * 10.0 ** torch.arange(-4, 5)[:, None]
    values[3] = 0
    packed = pack_rows(values.numpy(), bits)
    groups = -(-width // GROUP)
    assert packed.codes.shape == (9, groups * GROUP * bits // 8) and packed.codes.dtype == numpy.uint8
    assert packed.scales.shape == (9, groups) and packed.scales.dtype == numpy.float16
    found = unpack_rows(packed, bits, width)
    assert numpy.array_equal(found, round_to_levels(values, bits).numpy())
    assert not found[3].any()


@pytest.mark.parametrize(("bits", "error"), [(4, 0.09), (2, 0.35)])
def test_rounding_costs_as_much_as_it_should(bits, error):
    values = normal(500, 4 * GROUP)
    found = round_to_levels(values, bits)
    assert 0.9 * error < float((found - values).norm() / values.norm()) < error
    assert torch.equal(round_to_levels(values.reshape(50, 10, -1), bits).reshape(500, -1), found)
    # Each number has the nearest of the levels of its group.
    scales = unpack_rows(pack_rows(values.numpy(), bits)._replace(codes=numpy.zeros((500, 32 * bits), "uint8")), bits, 256)
    levels = scales[..., None] / LEVELS[bits][0] * numpy.array(LEVELS[bits], "float32")
    nearest = abs(levels - values.numpy()[..., None]).min(-1)
    assert (abs(found - values).numpy() > nearest + 1e-4).mean() < 0.06  # scales are fitted after codes are chosen


@pytest.mark.parametrize("bits", LEVELS)
def test_the_levels_are_the_best_ones_for_normal_numbers(bits):
    """Each is the mean of the numbers that are rounded to it, weighted with the squares of what their groups were divided by."""
    groups = normal(100_000, GROUP)
    largest = groups.gather(1, groups.abs().argmax(1, keepdim=True))
    levels = torch.tensor(LEVELS[bits])
    numbers, weights = (groups / largest).flatten(), (largest**2).expand_as(groups).flatten()
    codes = torch.bucketize(numbers, (levels[1:] + levels[:-1]) / 2)
    sums = torch.zeros(2, len(levels)).index_add(1, codes, torch.stack([numbers * weights, weights]))
    assert (sums[0] / sums[1] - levels).abs().max() < 0.01


def test_the_table_says_what_each_byte_holds():
    assert level_table(4)[0xF0].tolist() == [numpy.float32(LEVELS[4][0]), numpy.float32(LEVELS[4][15])]
    assert level_table(2)[0b11100100].tolist() == [numpy.float32(level) for level in LEVELS[2]]


def test_an_export_is_half_as_large_and_multiplies_int8_all_the_same(tmp_path):
    """Matrices are unpacked once, when the session is made."""
    torch.manual_seed(0)
    shape = {"num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": 64}
    encoder = BertModel(BertConfig(hidden_size=128, intermediate_size=500, vocab_size=3000, **shape)).eval()
    whole = export_onnx(encoder, False)
    rare = numpy.arange(3000) >= 1000
    int8, packed = quantize_products(whole), quantize_products(whole, packing=Packing(rare))
    assert len(packed) < 0.52 * len(int8)
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath, options.log_severity_level = str(tmp_path / "optimized.onnx"), 3
    session = onnxruntime.InferenceSession(packed, options, providers=["CPUExecutionProvider"])
    graph = onnx.load(tmp_path / "optimized.onnx").graph
    matrices = {tensor.name: tensor for tensor in graph.initializer if tensor.data_type == onnx.TensorProto.INT8}
    products = [node for node in graph.node if node.op_type == "MatMulIntegerToFloat"]
    assert len(products) == 12 and all(node.input[1] in matrices for node in products)
    ids = numpy.arange(3000, dtype="int64").reshape(50, 60)
    with torch.no_grad():
        expected = encoder(torch.from_numpy(ids))[0].numpy()
    found = session.run(None, {"input_ids": ids, "attention_mask": numpy.ones_like(ids)})[0]
    errors = numpy.linalg.norm(found - expected, axis=-1) / numpy.linalg.norm(expected, axis=-1)
    assert errors.max() < 0.6 and errors[~rare[ids]].mean() < 0.6 * errors[rare[ids]].mean()


@pytest.mark.parametrize("rare", [False, True])
def test_all_pieces_may_be_rare_or_none(rare):
    torch.manual_seed(0)
    shape = {"num_hidden_layers": 1, "num_attention_heads": 4, "intermediate_size": 64}
    encoder = BertModel(BertConfig(hidden_size=32, vocab_size=300, max_position_embeddings=64, **shape)).eval()
    packed = quantize_products(export_onnx(encoder, False), packing=Packing(numpy.full(300, rare)))
    session = onnxruntime.InferenceSession(packed, providers=["CPUExecutionProvider"])
    ids = numpy.arange(300, dtype="int64").reshape(6, 50)
    with torch.no_grad():
        expected = encoder(torch.from_numpy(ids))[0].numpy()
    found = session.run(None, {"input_ids": ids, "attention_mask": numpy.ones_like(ids)})[0]
    assert numpy.linalg.norm(found - expected) < (0.45 if rare else 0.15) * numpy.linalg.norm(expected)
