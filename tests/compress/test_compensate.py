"""Weights that make up for each other's rounding."""

import numpy
import pytest

from spacy_llm_ie.compress.compensate import round_compensated
from spacy_llm_ie.compress.pack import pack_rows, unpack_rows
from spacy_llm_ie.compress.quantize import round_to_int8


def make_layer(inputs=150, outputs=20, rows=2000):
    """Weights, and inputs that go together, as those of an encoder do. RETURNS: (inputs, outputs), (rows, inputs)."""
    rng = numpy.random.default_rng(0)
    given = rng.normal(size=(rows, 10)) @ rng.normal(size=(10, inputs)) + 0.2 * rng.normal(size=(rows, inputs))
    return rng.normal(size=(inputs, outputs)).astype("float32"), given.astype("float32")


def error(weights, rounded, given):
    return numpy.linalg.norm(given @ (rounded - weights)) / numpy.linalg.norm(given @ weights)


def as_int8(weights, products=None):
    whole, scale = round_to_int8(weights, 1, products)
    assert whole.dtype == numpy.int8 and whole.shape == weights.shape
    return whole * scale


def in_four_bits(weights, products=None):
    packed = pack_rows(weights.T, 4, products)
    assert packed.codes.shape == (weights.shape[1], 96) and packed.scales.shape == (weights.shape[1], 3)
    return unpack_rows(packed, 4, len(weights)).T


@pytest.mark.parametrize("store", [as_int8, in_four_bits])
def test_answers_are_nearer_though_weights_are_not(store):
    weights, given = make_layer()
    plain, compensated = store(weights), store(weights, given.T @ given / len(given))
    assert error(weights, compensated, given) < 0.5 * error(weights, plain, given)
    assert numpy.linalg.norm(compensated - weights) > numpy.linalg.norm(plain - weights)


def test_inputs_that_have_nothing_in_common_compensate_nothing():
    weights, _ = make_layer()
    one = numpy.eye(150, dtype="float32")
    numpy.testing.assert_array_equal(as_int8(weights, one), as_int8(weights))
    plain, compensated = (numpy.linalg.norm(in_four_bits(weights, given) - weights) for given in (None, one))
    assert compensated == pytest.approx(plain, rel=0.01)


def test_inputs_that_never_come_are_rounded_for_themselves():
    weights, given = make_layer()
    given[:, 7] = 0
    found = as_int8(weights, given.T @ given)
    numpy.testing.assert_array_equal(found[7], as_int8(weights)[7])
    nothing = numpy.zeros((150, 150), dtype="float32")
    numpy.testing.assert_array_equal(as_int8(weights, nothing), as_int8(weights))


def test_each_block_is_prepared_when_its_turn_comes():
    weights, given = make_layer(inputs=130)
    seen = []

    def make(block):
        seen.append(block.copy())
        return numpy.rint

    found = round_compensated(weights, given.T @ given, make)
    assert [len(block) for block in seen] == [64, 64, 2]
    numpy.testing.assert_array_equal(seen[0], weights[:64].astype("float64"))
    assert not numpy.allclose(seen[2], weights[128:])  # changed by what was rounded before
    numpy.testing.assert_array_equal(found, numpy.rint(found))
