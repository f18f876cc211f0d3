"""The CRF against its obvious twin: enumeration of all paths."""

import itertools

import numpy
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchcrf import CRF

from spacy_llm_ie.layers import chain, loops, spans, viterbi
from spacy_llm_ie.layers.crf import LinearChainCRF, blocks_of
from spacy_llm_ie.schemes import SCHEMES, Scheme


@pytest.fixture(params=["numpy", "numba"], autouse=True)
def loops_by(request, monkeypatch):
    """Everything here holds with numba and without."""
    if request.param == "numpy":
        monkeypatch.setattr(loops, "compiled", lambda function: None)
    elif loops.compiled(loops.best_paths) is None:
        pytest.skip("numba is not installed")


def make_crf(scheme=None, num_tags=None, seed=0):
    torch.manual_seed(seed)
    if scheme is None:
        crf = LinearChainCRF(num_tags)
    else:
        crf = LinearChainCRF(len(scheme.tags), scheme.legal(), scheme.legal_start(), scheme.legal_end())
    for parameter in crf.parameters():
        torch.nn.init.normal_(parameter)
    return crf


def random_batch(crf, lengths, seed=0, scale=2.0):
    generator = numpy.random.default_rng(seed)
    emissions = generator.normal(0, scale, (len(lengths), max(lengths, default=0), crf.num_tags)).astype("float32")
    return emissions, numpy.array(lengths, dtype=int)


def all_paths(crf, emissions, length):
    """{path: score} of the legal paths, by the definition."""
    start, end, steps = (x.detach().double().numpy() for x in crf._constrained())
    scores = {}
    for path in itertools.product(range(crf.num_tags), repeat=length):
        score = start[path[0]] + end[path[-1]] + sum(float(emissions[t, k]) for t, k in enumerate(path))
        score += sum(steps[a, b] for a, b in zip(path, path[1:]))
        if numpy.isfinite(score):
            scores[path] = score
    return scores


def log_sum(values):
    return numpy.logaddexp.reduce(list(values)) if values else -numpy.inf


CASES = [(name, n) for name in SCHEMES for n in (1, 2, 3)] + [(None, 1), (None, 3)]


@pytest.fixture(params=CASES, ids=str)
def crf_and_scheme(request):
    name, n = request.param
    scheme = Scheme(name, ["X", "Y", "Z"][:n]) if name else None
    return make_crf(scheme, n), scheme


@pytest.fixture(params=["dense", "blocks"])
def blocks(request, monkeypatch):
    """Run Viterbi once with all steps in one block and once with the legal steps only."""
    if request.param == "blocks":
        original = viterbi.transition_blocks
        monkeypatch.setattr(viterbi, "transition_blocks", lambda legal, dense_up_to: original(legal, dense_up_to=0))
    blocks_of.cache_clear()
    yield
    blocks_of.cache_clear()


def lengths_for(crf):
    return [5, 1, 3, 2, 4, 0] if crf.num_tags < 8 else [3, 1, 4, 2] if crf.num_tags < 10 else [3, 1, 2]


def test_partition_marginals_viterbi_and_n_best_agree_with_enumeration(crf_and_scheme, blocks):
    crf, _ = crf_and_scheme
    emissions, lengths = random_batch(crf, lengths_for(crf))
    p, messages = crf.messages(emissions, lengths)
    marginals = crf.marginals(emissions, lengths)
    tags, best = crf.viterbi(emissions, lengths)
    some, probabilities = crf.n_best(emissions, lengths, 4)
    for b, length in enumerate(lengths):
        assert (tags[b, length:] == -1).all()
        assert (marginals[b, length:] == 0).all()
        if length == 0:
            assert messages.log_z[b] == 0 and best[b] == 0
            continue
        paths = all_paths(crf, emissions[b], length)
        log_z = log_sum(paths.values())
        assert messages.log_z[b] == pytest.approx(log_z, abs=1e-6)
        expected = numpy.zeros((length, crf.num_tags))
        for path, score in paths.items():
            expected[numpy.arange(length), list(path)] += numpy.exp(score - log_z)
        numpy.testing.assert_allclose(marginals[b, :length], expected, atol=1e-6)
        ranked = sorted(paths, key=paths.get, reverse=True)
        assert tuple(tags[b, :length]) == ranked[0]
        assert best[b] == pytest.approx(paths[ranked[0]], abs=1e-4)
        for i in range(4):
            if i < len(ranked):
                assert tuple(some[b, i, :length]) == ranked[i]
                assert probabilities[b, i] == pytest.approx(numpy.exp(paths[ranked[i]] - log_z), abs=1e-6)
            else:
                assert (some[b, i] == -1).all() and probabilities[b, i] == 0


def test_span_probabilities_agree_with_enumeration(crf_and_scheme):
    crf, scheme = crf_and_scheme
    if scheme is None:
        pytest.skip("spans need a scheme")
    emissions, lengths = random_batch(crf, lengths_for(crf), seed=1)
    p, messages = crf.messages(emissions, lengths)
    closing = numpy.array(scheme.closing())
    tags = [scheme.span_tags(label) for label in scheme.labels]
    wanted = [
        (b, i, j, k)
        for b, n in enumerate(lengths)
        for i in range(n)
        for j in range(i + 1, n + 1)
        for k in range(len(scheme.labels))
    ]
    found = spans.span_probabilities(p, messages, closing, tags, wanted)
    expected = {}
    for b, length in enumerate(lengths):
        paths = all_paths(crf, emissions[b], length) if length else {}
        log_z = log_sum(paths.values())
        for path, score in paths.items():
            for i, j, label in scheme.decode([scheme.tags[t] for t in path]):
                key = (b, i, j, scheme.labels.index(label))
                expected[key] = expected.get(key, 0.0) + numpy.exp(score - log_z)
    numpy.testing.assert_allclose(found, [expected.get(key, 0.0) for key in wanted], atol=1e-6)
    scaled = spans.span_probabilities(p, chain.scaled_messages(p), closing, tags, wanted)
    numpy.testing.assert_allclose(scaled, found, atol=1e-6)
    likely = spans.likely_spans(p, messages, closing, tags, 0.05)
    got = dict(zip(zip(likely.sequence, likely.start, likely.end, likely.label), likely.score))
    assert got.keys() == {key for key, value in expected.items() if value >= 0.05}
    assert list(got) == sorted(got)
    for key, value in got.items():
        assert value == pytest.approx(expected[key], abs=1e-6)


def test_loss_with_partial_annotation_agrees_with_enumeration(crf_and_scheme):
    crf, _ = crf_and_scheme
    emissions, lengths = random_batch(crf, lengths_for(crf), seed=2)
    allowed = numpy.random.default_rng(3).random(emissions.shape) < 0.6
    losses = crf.nll(torch.from_numpy(emissions), lengths, allowed)
    for b, length in enumerate(lengths):
        if length == 0:
            assert losses[b] == 0
            continue
        paths = all_paths(crf, emissions[b], length)
        some = [score for path, score in paths.items() if all(allowed[b, t, k] for t, k in enumerate(path))]
        assert float(losses[b].detach()) == pytest.approx(log_sum(paths.values()) - log_sum(some), abs=1e-5)
    everything = crf.nll(torch.from_numpy(emissions), lengths, numpy.ones_like(allowed))
    assert float(everything.detach().abs().max()) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("num_tags", [1, 2, 5])
def test_loss_and_decode_are_those_of_pytorch_crf_without_constraints(num_tags):
    crf = make_crf(None, num_tags)
    emissions, lengths = random_batch(crf, [7, 3, 1])
    tags = torch.from_numpy(numpy.random.default_rng(0).integers(0, num_tags, emissions.shape[:2]))
    mask = torch.from_numpy(chain.real_tokens(lengths, emissions.shape[1]))
    allowed = torch.nn.functional.one_hot(tags, num_tags).bool().numpy()
    ours = crf.nll(torch.from_numpy(emissions), lengths, allowed)
    theirs = -crf.crf(torch.from_numpy(emissions), tags, mask, reduction="none")
    torch.testing.assert_close(ours.float(), theirs, atol=1e-4, rtol=1e-5)
    decoded, _ = crf.viterbi(emissions, lengths)
    assert [[k for k in row if k >= 0] for row in decoded.tolist()] == crf.crf.decode(torch.from_numpy(emissions), mask)
    ours.sum().backward()
    gradients = [p.grad.clone() for p in crf.parameters()]
    crf.zero_grad()
    theirs.sum().backward()
    for gradient, parameter in zip(gradients, crf.parameters()):
        torch.testing.assert_close(gradient, parameter.grad, atol=1e-4, rtol=1e-4)


def test_weights_interchange_with_pytorch_crf():
    crf, other = make_crf(None, 4, seed=1), CRF(4, batch_first=True)
    other.load_state_dict(crf.crf.state_dict())
    again = LinearChainCRF(4)
    again.crf.load_state_dict(other.state_dict())
    emissions, lengths = random_batch(crf, [5, 2])
    numpy.testing.assert_array_equal(crf.viterbi(emissions, lengths)[0], again.viterbi(emissions, lengths)[0])


@pytest.mark.parametrize("name", SCHEMES)
def test_gradients_agree_with_finite_differences(name):
    scheme = Scheme(name, ["X", "Y"])
    crf = make_crf(scheme).double()
    emissions, lengths = random_batch(crf, [4, 2, 1, 0], seed=4)
    emissions = torch.from_numpy(emissions.astype("float64")).requires_grad_()
    allowed = numpy.random.default_rng(5).random(emissions.shape) < 0.7
    allowed[:, :, 0] = True  # "O" everywhere is a legal path
    weights = torch.tensor([1.0, 0.3, 2.0, 1.0], dtype=torch.float64)

    def loss():
        return (crf.nll(emissions, lengths, allowed) * weights).sum()

    loss().backward()
    for tensor in (emissions, *crf.parameters()):
        gradient, flat = tensor.grad.view(-1), tensor.data.view(-1)
        for i in range(0, len(flat), max(1, len(flat) // 25)):
            kept = flat[i].item()
            values = []
            for step in (1e-4, -1e-4):
                flat[i] = kept + step
                values.append(float(loss().detach()))
            flat[i] = kept
            assert gradient[i].item() == pytest.approx((values[0] - values[1]) / 2e-4, abs=1e-5)


@settings(deadline=None, max_examples=60)
@given(
    name=st.sampled_from(sorted(SCHEMES)),
    lengths=st.lists(st.integers(0, 40), min_size=1, max_size=4),
    seed=st.integers(0, 10**6),
    scale=st.sampled_from([0.0, 1.0, 30.0]),
)
def test_every_decoded_path_is_legal_and_scores_what_is_said(name, lengths, seed, scale):
    scheme = Scheme(name, ["X", "Y"])
    crf = make_crf(scheme, seed=seed)
    emissions, lengths = random_batch(crf, lengths, seed, scale)
    tags, scores = crf.viterbi(emissions, lengths)
    _, messages = crf.messages(emissions, lengths)
    many, probabilities = crf.n_best(emissions, lengths, 3)
    start, end, steps = (x.detach().numpy() for x in crf._constrained())
    for b, length in enumerate(lengths):
        for path in [tags[b, :length], *many[b, probabilities[b] > 0, :length]]:
            assert scheme.decode([scheme.tags[k] for k in path]) is not None
        if length:
            path = tags[b, :length]
            total = start[path[0]] + end[path[-1]] + emissions[b, numpy.arange(length), path].sum()
            assert scores[b] == pytest.approx(total + steps[path[:-1], path[1:]].sum(), abs=1e-2)
            assert messages.log_z[b] >= scores[b] - 1e-2


def test_numbers_stay_exact_where_probabilities_are_extreme():
    scheme = Scheme("BILUO", ["X"])
    crf = make_crf(scheme)
    emissions, lengths = random_batch(crf, [4, 3], scale=100.0)
    _, messages = crf.messages(emissions, lengths)
    for b, length in enumerate(lengths):
        assert messages.log_z[b] == pytest.approx(log_sum(all_paths(crf, emissions[b], length).values()), rel=1e-9)


def test_an_annotation_that_no_legal_path_fits_has_infinite_loss():
    scheme = Scheme("BILUO", ["X"])
    crf = make_crf(scheme)
    emissions, lengths = random_batch(crf, [2])
    allowed = numpy.zeros(emissions.shape, dtype=bool)
    allowed[:, :, scheme.index["I-X"]] = True
    assert torch.isinf(crf.nll(torch.from_numpy(emissions), lengths, allowed)).all()


def test_empty_batches_and_sequences():
    crf = make_crf(Scheme("BIO", ["X"]))
    for shape in ((0, 0, 3), (0, 5, 3), (2, 0, 3)):
        emissions = numpy.zeros(shape, dtype="float32")
        lengths = numpy.zeros(shape[0], dtype=int)
        assert crf.viterbi(emissions, lengths)[0].shape == shape[:2]
        assert crf.marginals(emissions, lengths).shape == shape
        assert crf.n_best(emissions, lengths, 2)[0].shape == (shape[0], 2, shape[1])
        assert crf.nll(torch.from_numpy(emissions), lengths, numpy.ones(shape, dtype=bool)).tolist() == [0.0] * shape[0]


def test_blocks_cover_every_legal_step_once():
    for name in SCHEMES:
        scheme = Scheme(name, ["X", "Y", "Z"])
        legal = numpy.array(scheme.legal())
        covered = numpy.zeros_like(legal, dtype=int)
        for block in viterbi.transition_blocks(legal, dense_up_to=0):
            for previous, following in zip(block.previous, block.following):
                covered[numpy.ix_(previous, following)] += 1
        numpy.testing.assert_array_equal(covered, legal.astype(int))


def test_a_table_of_the_wrong_shape_is_refused():
    with pytest.raises(ValueError, match=r"IE-E201.*legal_end.*\(2,\).*\(3,\)"):
        LinearChainCRF(3, legal_end=[True, True])


@pytest.mark.parametrize("rows", [1, 3, 16])
def test_sums_do_not_depend_on_how_many_sequences_are_multiplied_at_once(monkeypatch, rows):
    rng = numpy.random.default_rng(0)
    p = chain.Potentials(rng.normal(size=(20, 6, 9)), rng.integers(0, 7, 20), *(rng.normal(size=s) for s in (9, 9, (9, 9))))
    expected = chain.forward_backward(p)
    monkeypatch.setattr(chain, "ALONE_IN_NUMPY", rows * 81)
    for least in (1, 16):
        monkeypatch.setattr(chain, "FEW_ROWS", least)
        for found, whole in zip(chain.forward_backward(p), expected):
            numpy.testing.assert_allclose(found, whole, atol=1e-12)


def test_viterbi_of_tags_that_fall_into_separate_groups():
    """One block of several groups has as many predecessors as there are tags, but is not the block of all steps."""
    legal = numpy.kron(numpy.eye(3, dtype=bool), numpy.ones((2, 2), dtype=bool))
    blocks = viterbi.transition_blocks(legal, dense_up_to=0)
    assert [block.previous.shape for block in blocks] == [(3, 2)]
    random = numpy.random.default_rng(0)
    steps = numpy.where(legal, random.normal(size=(6, 6)), -numpy.inf)
    p = chain.Potentials(random.normal(size=(4, 5, 6)), numpy.array([5, 3, 1, 4]), numpy.zeros(6), numpy.zeros(6), steps)
    (tags, scores), (expected, best) = (viterbi.viterbi(p, found) for found in (blocks, viterbi.transition_blocks(legal, 99)))
    numpy.testing.assert_array_equal(tags, expected)
    numpy.testing.assert_allclose(scores, best, atol=1e-5)


def test_viterbi_of_sequences_one_by_one():
    scheme = Scheme("BILUO", ["A", "B"])
    torch.manual_seed(0)
    crf = LinearChainCRF(len(scheme.tags), scheme.legal(), scheme.legal_start(), scheme.legal_end())
    lengths = numpy.array([12, 1, 0, 2, 7])
    emissions = numpy.random.default_rng(0).normal(scale=3, size=(5, 12, len(scheme.tags))).astype("float32")
    tags, scores = crf.viterbi(emissions, lengths)  # of five, side by side
    p = crf.potentials(emissions, lengths)
    alone, their_scores = viterbi.viterbi_one_by_one(p)
    numpy.testing.assert_array_equal(alone, tags)
    numpy.testing.assert_allclose(their_scores, scores, atol=1e-5)
    few, _ = crf.viterbi(emissions[:2], lengths[:2])
    numpy.testing.assert_array_equal(few, tags[:2])


@pytest.mark.parametrize("labels", [2, 7, 12])
@pytest.mark.parametrize("size", [1, 5])
def test_equally_good_paths_are_told_apart_alike_however_many_sequences_there_are(labels, size):
    scheme = Scheme("BILUO", [f"L{i}" for i in range(labels)])
    crf = LinearChainCRF(len(scheme.tags), scheme.legal(), scheme.legal_start(), scheme.legal_end())
    for parameter in crf.parameters():
        torch.nn.init.zeros_(parameter)
    emissions = numpy.random.default_rng(0).integers(0, 2, size=(40, 9, len(scheme.tags))).astype("float32") / 10
    lengths = numpy.full(40, 9)
    tags, _ = crf.viterbi(emissions, lengths)
    for row in range(0, 40, size):
        few, _ = crf.viterbi(emissions[row : row + size], lengths[:size])
        numpy.testing.assert_array_equal(few, tags[row : row + size])
