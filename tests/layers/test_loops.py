"""What numba compiles, as plain Python and compiled, against numpy's operations."""

import sys

import numpy
import pytest
import torch

from spacy_llm_ie.layers import chain, loops, viterbi
from spacy_llm_ie.layers.crf import LinearChainCRF
from spacy_llm_ie.layers.spans import span_probabilities
from spacy_llm_ie.schemes import SCHEMES, Scheme

LENGTHS = numpy.array([9, 0, 1, 2, 9, 4])


@pytest.fixture(params=["plain", "compiled"])
def compiled(request):
    if request.param == "plain":
        return lambda function: function
    pytest.importorskip("numba")
    return loops.compiled


@pytest.fixture
def potentials():
    return make_potentials(Scheme("BILUO", ["A", "B"]))


def make_potentials(scheme):
    torch.manual_seed(0)
    crf = LinearChainCRF(len(scheme.tags), scheme.legal(), scheme.legal_start(), scheme.legal_end())
    emissions = numpy.random.default_rng(0).normal(scale=3, size=(len(LENGTHS), 9, len(scheme.tags)))
    emissions[0, 3, 1:] = emissions[4, 8, :4] = -numpy.inf
    emissions[0, 4, 0] = -numpy.inf
    for row, length in zip(emissions, LENGTHS):
        row[length:] = numpy.nan
    return crf.potentials(emissions, LENGTHS)


def test_best_paths(potentials, compiled):
    tags, scores = viterbi.viterbi_in_loops(potentials, compiled(loops.reach), compiled(loops.best_paths))
    expected, best = viterbi.viterbi_one_by_one(potentials)
    numpy.testing.assert_array_equal(tags, expected)
    numpy.testing.assert_allclose(scores, best, atol=1e-6)


def test_of_equally_good_paths_the_same_one(compiled):
    p = chain.Potentials(numpy.zeros((3, 5, 4)), numpy.array([5, 2, 3]), numpy.zeros(4), numpy.zeros(4), numpy.zeros((4, 4)))
    tags, _ = viterbi.viterbi_in_loops(p, compiled(loops.reach), compiled(loops.best_paths))
    numpy.testing.assert_array_equal(tags, viterbi.viterbi_one_by_one(p)[0])


def test_sums(potentials, compiled, monkeypatch):
    found = []
    for way in (lambda function: None, compiled):
        monkeypatch.setattr(loops, "compiled", way)
        with numpy.errstate(invalid="ignore"):
            found.append(chain.forward_backward(potentials))
    real = chain.real_tokens(LENGTHS, 9)
    for expected, other in zip(*found):
        parts = (expected[real], other[real]) if expected.ndim == 3 else (expected, other)
        numpy.testing.assert_allclose(*parts, atol=1e-9)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_span_scores(scheme, compiled, monkeypatch):
    p, scheme = make_potentials(Scheme(scheme, ["A", "B"])), Scheme(scheme, ["A", "B"])
    spans = [(b, s, e, label) for b, n in enumerate(LENGTHS) for s in range(n) for e in range(s + 1, n + 1) for label in (0, 1)]
    spelling = [scheme.span_tags(label) for label in scheme.labels]
    found = []
    for way in (lambda function: None, compiled):
        monkeypatch.setattr(loops, "compiled", way)
        with numpy.errstate(invalid="ignore"):
            messages = chain.scaled_messages(p)
        found.append(span_probabilities(p, messages, numpy.array(scheme.closing()), spelling, spans))
    numpy.testing.assert_allclose(*found, atol=1e-9)
    assert 0 < (found[0] > 1e-3).sum() < (found[0] > 0).sum() < len(spans)


def test_sequences_without_a_legal_path(compiled, monkeypatch):
    monkeypatch.setattr(loops, "compiled", compiled)
    steps = numpy.full((2, 2), -numpy.inf)
    p = chain.Potentials(numpy.zeros((2, 3, 2)), numpy.array([3, 1]), numpy.zeros(2), numpy.zeros(2), steps)
    assert chain.forward_backward(p).log_z.tolist() == [-numpy.inf, pytest.approx(numpy.log(2))]


def test_scores_that_lie_far_apart(compiled, monkeypatch):
    emissions = numpy.array([[[0.0, 1.0], [900.0, 0.0]]])  # and the first tag may not be the last one
    end = numpy.array([-numpy.inf, 0.0])
    p = chain.Potentials(emissions, numpy.array([2]), numpy.zeros(2), end, numpy.zeros((2, 2)))
    found = []
    for way in (lambda function: None, compiled):
        monkeypatch.setattr(loops, "compiled", way)
        found.append(chain.scaled_messages(p).log_z)
    numpy.testing.assert_allclose(found, numpy.logaddexp(0, 1), atol=1e-9)


def test_many_tags_are_numpys(monkeypatch):
    monkeypatch.setattr(loops, "compiled", lambda function: function)
    assert loops.for_tags(loops.scaled_sums, 128) is not None
    assert loops.for_tags(loops.scaled_sums, 129) is None


def test_without_numba_there_is_nothing_compiled(monkeypatch):
    monkeypatch.setitem(sys.modules, "numba", None)
    loops.compiled.cache_clear()
    assert loops.compiled(loops.best_paths) is None
    loops.compiled.cache_clear()


def test_without_a_folder_for_it_nothing_is_kept(monkeypatch):
    numba = pytest.importorskip("numba")
    asked = []

    def njit(**settings):
        asked.append(settings)
        if settings.get("cache"):
            raise RuntimeError("cannot cache function")
        return lambda function: function

    monkeypatch.setattr(numba, "njit", njit)
    loops.compiled.cache_clear()
    assert loops.compiled(loops.path_spans) is loops.path_spans
    assert [settings.get("cache", False) for settings in asked] == [True, False]
    loops.compiled.cache_clear()
