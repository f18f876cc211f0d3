"""thinc's operations with torch's products: the same results."""

import numpy
import pytest
import spacy
import torch
from spacy.util import fix_random_seed
from thinc.api import Linear, NumpyOps, get_current_ops

from spacy_llm_ie.layers import products
from spacy_llm_ie.ops import TorchProducts, use_torch_products

SIZES = {"width": 16, "depth": 1, "embed_size": 50, "window_size": 1, "maxout_pieces": 2, "subword_features": True}


@pytest.mark.parametrize("few", [1, 10**9])
@pytest.mark.parametrize("shape", [(7, 5, 3), (1, 5, 3), (0, 5, 3), (300, 64, 33), (4, 384, 288), (40, 384, 200)])
def test_products_are_those_of_thinc(monkeypatch, few, shape):
    monkeypatch.setattr(products, "FEW", few)
    a, b, c = shape
    random = numpy.random.default_rng(0)
    x, y = random.standard_normal((a, b), dtype="float32"), random.standard_normal((b, c), dtype="float32")
    ops = TorchProducts()
    for one, trans1 in ((x, False), (numpy.ascontiguousarray(x.T), True)):
        for two, trans2 in ((y, False), (numpy.ascontiguousarray(y.T), True)):
            numpy.testing.assert_allclose(ops.gemm(one, two, trans1=trans1, trans2=trans2), x @ y, rtol=1e-4, atol=1e-4)
    out = numpy.full((a, c), 9, dtype="float32")
    assert ops.gemm(x, y, out=out) is out
    numpy.testing.assert_allclose(out, x @ y, rtol=1e-4, atol=1e-4)


def test_parts_are_of_nearly_the_same_size():
    for count, most in [(0, 5), (1, 0), (24, 21), (10, 3), (7, 7), (8, 7), (1000, 64)]:
        parts = [range(count)[part] for part in products.parts_of(count, most)]
        assert [i for part in parts for i in part] == list(range(count))
        assert len(parts) == -(-count // max(most, 1))
        assert all(len(part) == len(parts[0]) for part in parts[:-1]) and max(map(len, parts), default=0) <= max(most, 1)


def record_one_dnn(monkeypatch, shapes):
    """Take oneDNN, quicker or not, and keep the shapes of what it multiplies."""
    one_dnn = products.find_one_dnn()
    recorded = lambda *args: shapes.append(tuple(args[0].shape)) or one_dnn(*args)  # noqa: E731
    monkeypatch.setattr(products, "quick_one_dnn", lambda: recorded)


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="torch was built without oneDNN")
@pytest.mark.parametrize("quicker", [True, False])
def test_onednn_is_left_alone_where_it_is_slower(monkeypatch, quicker):
    tried = []
    monkeypatch.setattr(products, "is_quicker", lambda new, old, times: tried.extend([new(), old()]) or quicker)
    products.quick_one_dnn.cache_clear()
    try:
        assert (products.quick_one_dnn() is not None) == quicker == (products.quick_one_dnn() is not None)
    finally:
        products.quick_one_dnn.cache_clear()
    new, old = tried  # once
    torch.testing.assert_close(new, old)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_few_sizes_are_multiplied_whatever_the_number_of_rows(monkeypatch, dtype):
    monkeypatch.setattr(products, "FEW", 1)
    shapes = []
    if dtype == torch.float32:
        record_one_dnn(monkeypatch, shapes)
    else:
        linear = torch.nn.functional.linear
        monkeypatch.setattr(products.functional, "linear", lambda rows, *rest: shapes.append(rows.shape) or linear(rows, *rest))
    weight, bias = torch.randn(5, 6).to(dtype), torch.randn(5).to(dtype)
    with torch.no_grad():
        for count in [0, *range(1, 600, 7), 1000, 1024, 1025]:
            values = torch.randn(count, 6).to(dtype)
            found = products.linear(values, weight, bias)
            torch.testing.assert_close(
                found, values @ weight.T + bias, rtol=1e-2, atol=5e-2 if dtype == torch.bfloat16 else 1e-5
            )
    sizes = {shape[0] for shape in shapes}
    assert len(sizes) < 40 and {8, 64, 72, 128, 144, 1024, 1152} <= sizes


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="torch was built without oneDNN")
def test_onednn_is_used_where_it_is_quicker(monkeypatch):
    assert products.find_one_dnn() is not None
    calls = []
    record_one_dnn(monkeypatch, calls)
    values, weight, bias = torch.randn(1000, 60), torch.randn(20, 60), torch.randn(20)
    with torch.no_grad():
        torch.testing.assert_close(products.linear(values, weight, bias), values @ weight.T + bias, rtol=1e-4, atol=1e-4)
    assert len(calls) == 1


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="torch was built without oneDNN")
def test_slices_of_matrices_are_copied_first(monkeypatch):
    monkeypatch.setattr(products, "FEW", 1)
    whole, values = torch.randn(8, 20), torch.randn(6, 12)
    with torch.no_grad():
        for weight in (whole[:, :12], whole[:, :12].contiguous(), whole.T[:12].T):
            found = products.linear(values[:, ::1], weight, torch.ones(8))
            torch.testing.assert_close(found, values @ weight.T + 1)


@pytest.mark.parametrize("problem", [AttributeError("none"), RuntimeError("not built"), TypeError("other arguments")])
def test_without_onednn_torch_multiplies_as_ever(monkeypatch, problem):
    def fail(*args):
        raise problem

    monkeypatch.setattr(torch.ops.mkldnn, "_linear_pointwise", fail)
    assert products.find_one_dnn() is None
    products.quick_one_dnn.cache_clear()
    monkeypatch.setattr(products, "FEW", 1)
    with torch.no_grad():
        torch.testing.assert_close(products.linear(torch.ones(2, 3), torch.ones(4, 3)), torch.full((2, 4), 3.0))
    assert products.quick_one_dnn() is None
    products.quick_one_dnn.cache_clear()


def test_with_gradients_torch_multiplies_as_ever():
    values = torch.randn(1000, 600, requires_grad=True)
    products.linear(values, torch.ones(1, 600)).sum().backward()
    torch.testing.assert_close(values.grad, torch.ones(1000, 600))


def test_only_thincs_own_operations_are_replaced():
    class Others(NumpyOps):
        pass

    others, ours = Linear(2, 2), Linear(2, 2)
    others.ops = Others()
    ours.ops = NumpyOps()
    assert type(use_torch_products(others).ops) is Others
    assert type(use_torch_products(ours).ops) is TorchProducts
    assert type(get_current_ops()) is not TorchProducts


def test_the_cnn_has_the_weights_and_vectors_of_spacys():
    models = []
    for name in ("spacy.HashEmbedCNN.v2", "spacy-llm-ie.HashEmbedCNN.v1"):
        fix_random_seed(0)
        models.append(spacy.registry.get("architectures", name)(pretrained_vectors=None, **SIZES))
    docs = [spacy.blank("en")(text) for text in ("Acme Corp bought Globex.", "", "It rained.")]
    for model in models:
        fix_random_seed(0)
        model.initialize(X=docs)
    spacys, ours = models
    assert ours.to_bytes() == spacys.to_bytes()
    assert {type(node.ops) for node in ours.walk()} == {TorchProducts}
    for one, two in zip(spacys.predict(docs), ours.predict(docs)):
        numpy.testing.assert_allclose(one, two, atol=1e-5)


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="torch was built without oneDNN")
def test_linear_layers_multiply_so_while_they_predict(monkeypatch):
    monkeypatch.setattr(products, "FEW", 1)
    seen = []
    record_one_dnn(monkeypatch, seen)
    first, second = torch.nn.Linear(6, 5), torch.nn.Linear(5, 4, bias=False)
    taken = torch.nn.Linear(4, 4)
    taken.forward = lambda values: values * 2
    module, values = torch.nn.Sequential(first, torch.nn.ReLU(), second, taken), torch.randn(2, 3, 6)
    with torch.no_grad():
        exact = module(values)
        with products.quick_layers(module):
            torch.testing.assert_close(module(values), exact, rtol=1e-4, atol=1e-5)
            assert seen == [(8, 6), (8, 5)]  # six rows, filled up
            with torch.autocast("cpu", dtype=torch.bfloat16):
                assert first(values).dtype == torch.bfloat16 and len(seen) == 2
        assert module(values).shape == (2, 3, 4) and len(seen) == 2
    assert "forward" not in vars(first) and "forward" in vars(taken)
    with pytest.raises(TypeError), products.quick_layers(module):
        module("no numbers")
    assert "forward" not in vars(first)
