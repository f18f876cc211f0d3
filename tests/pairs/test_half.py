"""Pair classifiers whose parameters are rounded to bfloat16, as in compressed pipelines."""

import numpy
import pytest
import torch

from spacy_llm_ie import shim as shims
from spacy_llm_ie.pairs.model import get_scorer
from tests.pairs.test_model import cnn, make_batch, make_model


@pytest.fixture
def model():
    return make_model(cnn(), hidden_size=64, biaffine=True)


def dtypes(model):
    return {parameter.dtype for parameter in get_scorer(model).parameters()}


@pytest.mark.parametrize("quick", [True, False])
def test_half_the_bytes_and_nearly_the_same_scores(model, monkeypatch, quick):
    monkeypatch.setattr(shims, "bfloat16_is_quick", lambda: quick)
    batch, before = make_batch(), len(model.shims[0].to_bytes())
    expected = model.predict(batch)
    model.shims[0].halve()
    assert len(model.shims[0].to_bytes()) < 0.6 * before
    assert dtypes(model) == {torch.bfloat16 if quick else torch.float32}
    scores = model.predict(batch)
    assert scores.dtype == numpy.float32
    numpy.testing.assert_allclose(scores, expected, atol=0.05)
    assert not numpy.array_equal(scores, expected)


def test_int8_is_a_quarter_of_the_bytes(model):
    batch, before = make_batch(), len(model.shims[0].to_bytes())
    expected = model.predict(batch)
    model.shims[0].halve(int8=True)
    assert len(model.shims[0].to_bytes()) < 0.35 * before
    numpy.testing.assert_allclose(model.predict(batch), expected, atol=0.1)


def test_matrices_of_int8_have_the_nearest_multiple_of_a_power_of_two():
    rows = torch.randn(6, 4, 5, generator=torch.Generator().manual_seed(0)) * 10.0 ** torch.arange(-20, 40, 10)[:, None, None]
    rows[2], rows[3], rows[3, 0, 0] = 0, 0.25, 127.0
    packed = shims._pack({"matrix": rows, "bias": rows[0, 0], "ids": torch.arange(3)[:, None]})
    assert {name: value.dtype for name, value in packed.items()} == {
        "matrix": torch.int8,
        "matrix.exponents": torch.int8,
        "bias": torch.float32,
        "ids": torch.int64,
    }
    assert packed["matrix"][3, 0, 0] == 127 and packed["matrix.exponents"][3] == 0
    found = shims._unpack(packed)["matrix"]
    largest = rows.flatten(1).abs().amax(1)
    assert ((found - rows).flatten(1).abs().amax(1) <= largest / 127 * 1.0001).all()
    again = shims._pack({"matrix": found.bfloat16()})
    assert torch.equal(again["matrix"], packed["matrix"]) and torch.equal(again["matrix.exponents"], packed["matrix.exponents"])


@pytest.mark.parametrize("int8", [True, False])
@pytest.mark.parametrize("quick", [True, False])
def test_it_is_saved_and_loaded_as_it_is(model, monkeypatch, quick, int8):
    model.shims[0].halve(int8)
    monkeypatch.setattr(shims, "bfloat16_is_quick", lambda: quick)
    loaded = make_model(cnn(), seed=1, hidden_size=64, biaffine=True).from_bytes(model.to_bytes())
    assert loaded.to_bytes() == model.to_bytes()
    assert dtypes(loaded) == {torch.bfloat16 if quick else torch.float32}
    numpy.testing.assert_allclose(loaded.predict(make_batch()), model.predict(make_batch()), atol=0.05)


@pytest.mark.parametrize("int8", [True, False])
def test_it_learns_in_float32(model, int8):
    before = len(model.to_bytes())
    model.shims[0].halve(int8)
    scores, backprop = model.begin_update(make_batch())
    backprop(scores)
    assert dtypes(model) == {torch.float32}
    assert all(parameter.grad.dtype == torch.float32 for parameter in get_scorer(model).parameters())
    again = make_model(cnn(), seed=1, hidden_size=64, biaffine=True).from_bytes(model.to_bytes())
    assert dtypes(again) == {torch.float32} and len(again.to_bytes()) == before
