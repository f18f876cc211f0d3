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


@pytest.mark.parametrize("has_bfloat16", [True, False])
def test_half_the_bytes_and_nearly_the_same_scores(model, monkeypatch, has_bfloat16):
    monkeypatch.setattr(shims, "has_bfloat16", lambda: has_bfloat16)
    batch, before = make_batch(), len(model.shims[0].to_bytes())
    expected = model.predict(batch)
    model.shims[0].halve()
    assert len(model.shims[0].to_bytes()) < 0.6 * before
    assert dtypes(model) == {torch.bfloat16 if has_bfloat16 else torch.float32}
    scores = model.predict(batch)
    assert scores.dtype == numpy.float32
    numpy.testing.assert_allclose(scores, expected, atol=0.05)
    assert not numpy.array_equal(scores, expected)


@pytest.mark.parametrize("has_bfloat16", [True, False])
def test_it_is_saved_and_loaded_as_it_is(model, monkeypatch, has_bfloat16):
    model.shims[0].halve()
    monkeypatch.setattr(shims, "has_bfloat16", lambda: has_bfloat16)
    loaded = make_model(cnn(), seed=1, hidden_size=64, biaffine=True).from_bytes(model.to_bytes())
    assert loaded.to_bytes() == model.to_bytes()
    assert dtypes(loaded) == {torch.bfloat16 if has_bfloat16 else torch.float32}
    numpy.testing.assert_allclose(loaded.predict(make_batch()), model.predict(make_batch()), atol=0.05)


def test_it_learns_in_float32(model):
    model.shims[0].halve()
    scores, backprop = model.begin_update(make_batch())
    backprop(scores)
    assert dtypes(model) == {torch.float32}
    assert all(parameter.grad.dtype == torch.float32 for parameter in get_scorer(model).parameters())
    again = make_model(cnn(), seed=1, hidden_size=64, biaffine=True).from_bytes(model.to_bytes())
    assert dtypes(again) == {torch.float32}
