"""The losses of distillation against enumeration and finite differences."""

import itertools

import numpy
import pytest
import torch

from spacy_llm_ie.layers import pairs as layer
from spacy_llm_ie.layers.crf import LinearChainCRF
from spacy_llm_ie.layers.pairs import pair_distance, soften
from spacy_llm_ie.schemes import Scheme

LENGTHS = numpy.array([4, 1, 3, 2])


def make_crf(seed, scheme=None):
    """A CRF with random parameters, of a scheme with one label, or without constraints over three tags."""
    torch.manual_seed(seed)
    scheme = scheme or Scheme("BILUO", ["X"])
    crf = LinearChainCRF(len(scheme.tags), scheme.legal(), scheme.legal_start(), scheme.legal_end())
    with torch.no_grad():
        for parameter in crf.parameters():
            parameter.normal_()
    return crf


def make_emissions(seed, tags):
    rng = numpy.random.default_rng(seed)
    return rng.normal(size=(len(LENGTHS), LENGTHS.max(), tags)) * (numpy.arange(4)[None, :, None] < LENGTHS[:, None, None])


def paths(crf, emissions, length, temperature):
    """The probability of each path, by enumeration."""
    start, end, steps = (x.detach().double().numpy() for x in crf._constrained())
    found = {}
    for path in itertools.product(range(crf.num_tags), repeat=int(length)):
        score = start[path[0]] + end[path[-1]] + sum(emissions[t, k] for t, k in enumerate(path))
        score += sum(steps[a, b] for a, b in zip(path, path[1:]))
        found[path] = score / temperature
    scores = numpy.array(list(found.values()))
    top = scores.max()
    probabilities = numpy.exp(scores - top) / numpy.exp(scores - top).sum()
    return dict(zip(found, probabilities))


@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_the_distance_of_two_crfs_is_that_of_their_paths(temperature):
    teacher, student = make_crf(0), make_crf(1)
    given, scores = make_emissions(0, teacher.num_tags), make_emissions(1, teacher.num_tags)
    counts = teacher.expectations(given, LENGTHS, temperature)
    found = student.cross_entropy(torch.from_numpy(scores), LENGTHS, counts, temperature).detach().numpy()
    for row, length in enumerate(LENGTHS):
        p, q = (paths(crf, e[row], length, temperature) for crf, e in ((teacher, given), (student, scores)))
        expected = sum(p[path] * numpy.log(p[path] / q[path]) for path in p if p[path] > 0)
        assert found[row] == pytest.approx(expected, rel=1e-5)
        for t in range(length):
            for k in range(teacher.num_tags):
                assert counts[row].tags[t, k] == pytest.approx(sum(v for path, v in p.items() if path[t] == k), abs=1e-6)


def test_the_distance_of_a_crf_from_itself_is_0():
    crf, scores = make_crf(0), make_emissions(0, 5)
    found = crf.cross_entropy(torch.from_numpy(scores), LENGTHS, crf.expectations(scores, LENGTHS, 2.0), 2.0)
    numpy.testing.assert_allclose(found.detach().numpy(), 0.0, atol=1e-6)


def test_an_empty_sequence_costs_nothing():
    crf, scores = make_crf(0), make_emissions(0, 5)[:2]
    lengths = numpy.array([4, 0])
    found = make_crf(1).cross_entropy(torch.from_numpy(scores), lengths, crf.expectations(scores, lengths))
    assert found[1] == 0.0 and found[0] > 0


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_gradients_of_emissions_and_parameters_are_those_of_finite_differences(temperature):
    teacher, student = make_crf(0), make_crf(1).double()
    counts = teacher.expectations(make_emissions(0, 5), LENGTHS, temperature)
    weights = torch.tensor([1.0, 0.5, 2.0, 0.0], dtype=torch.float64)
    emissions = torch.from_numpy(make_emissions(1, 5)).requires_grad_()

    def loss():
        return (student.cross_entropy(emissions, LENGTHS, counts, temperature) * weights).sum()

    found = torch.autograd.grad(loss(), [emissions, *student.parameters()])
    for tensor, gradient in zip([emissions, *student.parameters()], found):
        flat = tensor.data.view(-1)
        for i in range(0, len(flat), 3):
            values = []
            for step in (1e-5, -1e-5):
                flat[i] += step
                values.append(float(loss().detach()))
                flat[i] -= step
            assert float(gradient.reshape(-1)[i]) == pytest.approx((values[0] - values[1]) / 2e-5, abs=1e-6)


def _probabilities(scores, allowed, several):
    return torch.from_numpy(layer.pair_probabilities(scores.numpy(), allowed.numpy(), several))


def make_pairs():
    torch.manual_seed(0)
    allowed = torch.tensor([[1, 1, 1], [1, 1, 0], [1, 0, 1], [1, 1, 1]], dtype=torch.bool)
    return torch.randn(4, 3, dtype=torch.float64) * 3, torch.randn(4, 3, dtype=torch.float64) * 3, allowed


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_softened_probabilities_are_those_of_softened_scores(several, temperature):
    scores, _, allowed = make_pairs()
    found = soften(_probabilities(scores, allowed, several), several, temperature)
    torch.testing.assert_close(found, _probabilities(scores / temperature, allowed, several), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_the_distance_of_pairs_is_the_divergence_and_its_gradient_is_right(several, temperature):
    theirs, ours, allowed = make_pairs()
    p = _probabilities(theirs / temperature, allowed, several)
    q = _probabilities(ours / temperature, allowed, several)
    if several:
        p, q, mask = p[:, 1:], q[:, 1:], allowed[:, 1:]
        parts = torch.where(mask, p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log(), 0.0)
    else:
        parts = torch.where(allowed, p * (p / q).log(), 0.0)
    target = _probabilities(theirs / temperature, allowed, several)
    scores = ours.clone().requires_grad_()
    loss = pair_distance(scores, target, allowed, several, temperature)
    assert float(loss.detach()) == pytest.approx(float(parts.sum()) * temperature**2 / 4)
    assert torch.autograd.gradcheck(lambda x: pair_distance(x, target, allowed, several, temperature), [scores])
    same = pair_distance(theirs, target, allowed, several, temperature)
    assert float(same) == pytest.approx(0.0, abs=1e-9)


def test_no_pairs_cost_nothing():
    empty = torch.zeros((0, 3), requires_grad=True)
    assert float(pair_distance(empty, empty.detach(), empty > 0, False, 1.0).detach()) == 0.0
    assert soften(torch.zeros((0, 3)), True, 2.0).shape == (0, 3)
