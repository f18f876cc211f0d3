"""The pair classifier against a slow, obvious twin: loops over documents, tokens, spans and pairs, one number after the other."""

import copy
import math

import numpy
import pytest
import torch

from spacy_llm_ie.layers import loops, pair_loops, places, products
from spacy_llm_ie.layers import pairs as layer
from spacy_llm_ie.layers.pairs import PairScorer, maxima, pair_loss, pair_probabilities, range_max

WIDTH, OUTPUTS, LABELS, HIDDEN = 3, 4, 2, 5
FEATURES = {
    "all": {},
    "no labels": {"label_size": 0},
    "no context": {"context_size": 0},
    "one token of context": {"context_size": 1},
    "no distance": {"distance_size": 0},
    "biaffine": {"biaffine": True},
    "ends only": {"label_size": 0, "context_size": 0, "distance_size": 0},
}


def make_scorer(seed=0, **settings):
    """A scorer in float64 whose parameters all differ from zero."""
    torch.manual_seed(seed)
    sizes = {"hidden_size": HIDDEN, "label_size": 2, "context_size": 3, "distance_size": 3}
    scorer = PairScorer(WIDTH, OUTPUTS, LABELS, **{**sizes, **settings}).double()
    for parameter in scorer.parameters():
        torch.nn.init.normal_(parameter, std=0.7)
    return scorer.eval()


def random_document(rng, length, count):
    """Vectors, spans sorted by start and end, and every ordered pair. Some spans are nested, some stand at the borders."""
    spans = set()
    while length and len(spans) < min(count, length * (length + 1) // 2):
        start = int(rng.integers(length))
        spans.add((start, int(rng.integers(start, min(start + 4, length))) + 1))
    if length and count > 2:
        spans.update({(0, 1), (length - 1, length), (0, length)})
    rows = [(*span, int(rng.integers(LABELS + 1))) for span in sorted(spans)]
    pairs = [(i, j) for i in range(len(rows)) for j in range(len(rows)) if i != j]
    return torch.tensor(rng.normal(size=(length, WIDTH))), rows, pairs


def random_documents(seed, sizes=((7, 4), (1, 1), (0, 0), (12, 5), (3, 0), (5, 3))):
    rng = numpy.random.default_rng(seed)
    return [random_document(rng, *size) for size in sizes]


def as_batch(documents):
    """All documents as one text, as `PairScorer.forward` takes it."""
    vectors, spans, pairs, bounds, row = [], [], [], [], 0
    for found, rows, here in documents:
        pairs += [(i + len(spans), j + len(spans)) for i, j in here]
        spans += [(start + row, end + row, label) for start, end, label in rows]
        bounds += [(row, row + len(found))] * len(rows)
        vectors += [found, torch.zeros(1, WIDTH, dtype=torch.float64)]
        row += len(found) + 1
    tables = [numpy.array(x, dtype="int64").reshape(-1, k) for x, k in ((spans, 3), (pairs, 2), (bounds, 2))]
    return (torch.cat(vectors), *tables)


def gelu(x):
    return torch.tensor([0.5 * v * (1 + math.erf(v / math.sqrt(2))) for v in x.tolist()], dtype=torch.float64)


def slow_tokens(scorer, vectors, spans):
    """What a token knows: its vector, the label of the span around it that starts last, and its two neighbours."""
    marked = []
    for t, vector in enumerate(vectors):
        parts = [vector]
        if scorer.labels is not None:
            around = [i for i, (start, end, _) in enumerate(spans) if start <= t < end]
            label = scorer.labels.weight[spans[around[-1]][2]] if around else torch.zeros(2, dtype=torch.float64)
            parts.append(label)
        marked.append(torch.cat(parts))
    tokens = []
    for t in range(len(marked)):
        total = scorer.mix.bias
        for k in (-1, 0, 1):
            if 0 <= t + k < len(marked):
                total = total + scorer.mix.weight[:, :, k + 1] @ marked[t + k]
        tokens.append(gelu(total))
    return tokens


def bucket(value, borders):
    return sum(value > border for border in borders)


def slow_span(scorer, vectors, tokens, span):
    start, end, label = span
    width = scorer.widths.weight[bucket(end - start, (1, 2, 3, 6))]
    parts = [vectors[start], vectors[end - 1], sum(tokens[start:end]) / (end - start), width]
    if scorer.labels is not None:
        parts.append(scorer.labels.weight[label])
    return gelu(scorer.span.weight @ torch.cat(parts) + scorer.span.bias)


def slow_context(scorer, tokens, head, tail):
    first, last = sorted((head, tail))
    between = tokens[min(head[1], tail[1]) : max(head[0], tail[0])]
    before = tokens[max(first[0] - scorer.context_size, 0) : first[0]]
    behind = tokens[max(head[1], tail[1]) :][: scorer.context_size]
    parts = []
    for words, nothing in zip((between, before, behind), scorer.empty):
        parts.append(torch.stack(words).max(dim=0).values if words else nothing)
    return parts


def slow_distance(scorer, spans, i, j):
    head, tail = spans[i], spans[j]
    overlap = head[0] < tail[1] and tail[0] < head[1]
    gap = 0 if overlap else max(tail[0] - head[1], head[0] - tail[1])
    order = 2 if overlap else int(head[0] > tail[0])
    between = min(abs(i - j) - 1, 4)
    place = order * 9 + bucket(gap, (0, 1, 2, 4, 8, 16, 32, 64))
    return scorer.gaps.weight[place] + scorer.between.weight[between]


def slow_scores(scorer, vectors, spans, pairs):
    """The scores of the pairs of one document. Shape: (P, K)."""
    tokens = slow_tokens(scorer, vectors, spans)
    result = []
    for i, j in pairs:
        contents = [slow_span(scorer, vectors, tokens, spans[k]) for k in (i, j)]
        head = scorer.head.weight @ contents[0] + scorer.head.bias
        tail = scorer.tail.weight @ contents[1] + scorer.tail.bias
        parts = [head, tail, head * tail]
        if scorer.context_size:
            parts += slow_context(scorer, tokens, spans[i], spans[j])
        if scorer.gaps is not None:
            parts.append(slow_distance(scorer, spans, i, j))
        joined = gelu(scorer.joined.weight @ torch.cat(parts) + scorer.joined.bias)
        scores = scorer.output.weight @ joined + scorer.output.bias
        if scorer.bilinear is not None:
            scores = scores + torch.stack([head @ table @ tail for table in scorer.bilinear])
        result.append(scores)
    return torch.stack(result) if result else torch.zeros(0, OUTPUTS, dtype=torch.float64)


def agree(found, expected):
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("settings", FEATURES.values(), ids=FEATURES)
@pytest.mark.parametrize("training", [False, True])
def test_scores_are_those_of_the_twin(settings, training):
    scorer = make_scorer(**settings).train(training)
    documents = random_documents(1)
    with torch.no_grad():
        found = scorer(*as_batch(documents))
        expected = torch.cat([slow_scores(scorer, *document) for document in documents])
    assert len(found) > 40
    agree(found, expected)


def pair_scores(scorer, vectors, spans=((4, 5, 1), (8, 9, 2)), pair=(0, 1)):
    with torch.no_grad():
        return scorer(*as_batch([(vectors, list(spans), [pair])]))


def test_labels_of_spans_are_looked_at_if_they_have_a_size():
    vectors = torch.randn(12, WIDTH, dtype=torch.float64)
    for size in (0, 2):
        scorer = make_scorer(label_size=size)
        other = pair_scores(scorer, vectors, ((4, 5, 2), (8, 9, 2)))
        assert torch.equal(other, pair_scores(scorer, vectors)) == (size == 0)


@pytest.mark.parametrize(("size", "seen"), [(0, set()), (1, {2, 6, 10}), (3, {0, 2, 6, 10, 12})])
def test_words_before_between_and_behind_are_looked_at_as_far_as_the_context_goes(size, seen):
    """The layer below the context sees one token to each side, so that the context reaches one token farther."""
    scorer = make_scorer(context_size=size)
    vectors = torch.randn(14, WIDTH, dtype=torch.float64)
    for token in (0, 2, 6, 10, 12):
        moved = vectors.clone()
        moved[token] += 100
        assert torch.equal(pair_scores(scorer, moved), pair_scores(scorer, vectors)) == (token not in seen)


def test_distance_and_spans_between_are_looked_at_if_they_have_a_size():
    """Words are all the same here, so that only the distance tells the pairs apart."""
    vectors = torch.ones(40, WIDTH, dtype=torch.float64)
    near, far = ((10, 11, 1), (14, 15, 1)), ((10, 11, 1), (24, 25, 1))
    for size in (0, 3):
        scorer = make_scorer(distance_size=size, context_size=0, label_size=0)
        same = pair_scores(scorer, vectors, near)
        between = pair_scores(scorer, vectors, ((10, 11, 1), (12, 13, 1), (14, 15, 1)), (0, 2))
        for other in (pair_scores(scorer, vectors, far), pair_scores(scorer, vectors, near, (1, 0)), between):
            assert torch.allclose(other, same) == (size == 0)


@pytest.mark.parametrize("seed", range(4))
def test_other_documents_of_the_batch_have_no_say(seed):
    scorer = make_scorer()
    documents = random_documents(seed)
    with torch.no_grad():
        alone = [scorer(*as_batch([document])) for document in documents]
        agree(scorer(*as_batch(documents)), torch.cat(alone))
        agree(scorer(*as_batch(documents[::-1])), torch.cat(alone[::-1]))


@pytest.mark.parametrize("pairs_at_once", [1, 3, 1000])
@pytest.mark.parametrize("tokens_at_once", [1, 4, 1000])
@pytest.mark.parametrize("settings", [{}, {"context_size": 0, "label_size": 0}])
def test_chunks_do_not_change_the_scores(monkeypatch, pairs_at_once, tokens_at_once, settings):
    scorer = make_scorer(**settings)
    for seed, sizes in enumerate([((30, 5), (0, 0), (4, 3), (25, 4)), ((60, 7),), ((1, 1), (2, 2), (1, 1))]):
        batch = as_batch(random_documents(seed, sizes))
        with torch.no_grad():
            expected = scorer(*batch)
            monkeypatch.setattr(layer, "CHUNK_PAIRS", pairs_at_once)
            monkeypatch.setattr(layer, "CHUNK_TOKENS", tokens_at_once)
            agree(scorer(*batch), expected)
            shuffled = numpy.random.default_rng(0).permutation(len(batch[2]))
            agree(scorer(*batch[:2], batch[2][shuffled], batch[3]), expected[torch.from_numpy(shuffled)])
            monkeypatch.undo()


def test_a_chunk_begins_inside_a_long_span_and_behind_short_ones(monkeypatch):
    """Spans that are no end of a pair in a chunk, but lie between such by their number, mark no tokens there."""
    rng = numpy.random.default_rng(0)
    spans = [(0, 70, 1), (1, 3, 2), (5, 6, 1), (50, 52, 2), (55, 56, 1), (60, 90, 2), (88, 89, 0)]
    pairs = [(3, 4), (4, 3), (3, 5), (6, 5)]
    document = (torch.tensor(rng.normal(size=(90, WIDTH))), spans, pairs)
    scorer = make_scorer()
    with torch.no_grad():
        expected = slow_scores(scorer, *document)
        monkeypatch.setattr(layer, "CHUNK_TOKENS", 10)
        agree(scorer(*as_batch([document])), expected)


def test_all_pairs_of_a_long_text_are_cut_into_few_chunks():
    spans = numpy.array([(start, start + 1, 0) for start in range(0, 400, 10)])
    pairs = numpy.array([(i, j) for i in range(40) for j in range(40) if i != j])
    chunks = places.chunks(spans, pairs, 8192, 100)
    assert len(chunks) == 4 and sorted(numpy.concatenate(chunks).tolist()) == list(range(len(pairs)))
    assert [len(part) for part in places.chunks(spans, pairs, 1000, 10**9)] == [1000, 560]


@pytest.mark.parametrize("training", [False, True])
def test_no_pairs_and_no_spans(training):
    scorer = make_scorer().train(training)
    vectors, spans, _ = random_documents(0, ((6, 3),))[0]
    for rows in (spans, []):
        assert scorer(*as_batch([(vectors, rows, [])])).shape == (0, OUTPUTS)
    scorer(*as_batch([(vectors, [], [])])).sum().backward()


@pytest.mark.parametrize("settings", FEATURES.values(), ids=FEATURES)
def test_gradients_of_the_token_vectors_by_finite_differences(settings):
    scorer = make_scorer(**settings).train()
    vectors, *rest = as_batch(random_documents(3, ((6, 3), (1, 1), (4, 2))))
    weights = torch.randn(len(rest[1]), OUTPUTS, dtype=torch.float64)

    def total(vectors):
        return (scorer(vectors, *rest) * weights).sum()

    vectors.requires_grad_()
    (found,) = torch.autograd.grad(total(vectors), [vectors])
    expected = torch.zeros_like(vectors)
    with torch.no_grad():
        for place in numpy.ndindex(*vectors.shape):
            step = torch.zeros_like(vectors)
            step[place] = 1e-6
            expected[place] = (total(vectors + step) - total(vectors - step)) / 2e-6
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_dropout_is_on_in_training_only():
    scorer = make_scorer()
    batch = as_batch(random_documents(0))
    scorer.dropout = 0.5
    agree(scorer(*batch), scorer(*batch))
    scorer.train()
    assert not torch.allclose(scorer(*batch), scorer(*batch))


@pytest.mark.parametrize("length", range(0, 12))
def test_range_max_of_all_ranges(length):
    values = torch.randn(length, 3)
    nothing = torch.tensor([[7.0, 8.0, 9.0], [4.0, 5.0, 6.0]])
    ranges = [(i, j) for i in range(length + 1) for j in range(i, length + 1)]
    start, end = numpy.array([ranges, ranges[::-1]]).T
    found = range_max(values, start, end, nothing)
    for row, both in enumerate(zip(ranges, ranges[::-1])):
        for column, (i, j) in enumerate(both):
            expected = values[i:j].max(dim=0).values if i < j else nothing[column]
            assert torch.equal(found[row, column], expected)


def test_maxima_has_the_windows_that_are_asked_for():
    values = torch.randn(9, 2)
    counts = [places.window_counts(9, longest) for longest in range(0, 10)]
    assert [len(found) for found in counts] == [1, 1, 2, 2, 3, 3, 3, 3, 4, 4]
    assert [len(windows) for windows in maxima(values, 4)] == counts[-1]
    for k, windows in enumerate(maxima(values, 4)):
        assert torch.equal(windows, torch.stack([values[i : i + 2**k].max(dim=0).values for i in range(10 - 2**k)]))


def test_range_max_at_the_borders_of_powers_of_two():
    values = torch.randn(70_000, 1)
    sizes = [2**k + d for k in range(1, 17) for d in (-1, 0, 1) if 2**k + d <= 70_000]
    start = numpy.array([(70_000 - size) // 2 for size in sizes])[:, None]
    end = start + numpy.array(sizes)[:, None]
    found = range_max(values, start, end, torch.zeros(1, 1))
    assert found[:, 0, 0].tolist() == [float(values[s:e].max()) for (s,), (e,) in zip(start.tolist(), end.tolist())]


def random_targets(seed, several, pairs=9, outputs=4):
    """Scores, gold labels and a mask that allows them."""
    rng = numpy.random.default_rng(seed)
    gold = numpy.zeros((pairs, outputs), dtype=bool)
    for row in gold:
        count = rng.integers(0, 3) if several else rng.integers(0, 2)
        row[rng.choice(numpy.arange(1, outputs), size=count, replace=False)] = True
        row[0] = not count
    allowed = (rng.random((pairs, outputs)) < 0.6) | gold
    allowed[:, 0] = True
    return rng.normal(size=(pairs, outputs)) * 3, gold, allowed


def naive_loss(scores, gold, allowed, several, none_weight):
    total = 0.0
    for row, labels, possible in zip(scores.tolist(), gold.tolist(), allowed.tolist()):
        if several:
            for k in range(1, len(row)):
                p = 1 / (1 + math.exp(-row[k]))
                total -= possible[k] * (math.log(p) if labels[k] else none_weight * math.log(1 - p))
        else:
            z = sum(math.exp(x) for x, ok in zip(row, possible) if ok)
            total -= (none_weight if labels[0] else 1.0) * math.log(math.exp(row[labels.index(True)]) / z)
    return total / len(scores)


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("none_weight", [1.0, 0.25, 0.0])
@pytest.mark.parametrize("seed", range(3))
def test_loss_by_its_formula(several, none_weight, seed):
    scores, gold, allowed = random_targets(seed, several)
    found = pair_loss(*map(torch.tensor, (scores, gold, allowed)), several=several, none_weight=none_weight)
    assert float(found) == pytest.approx(naive_loss(scores, gold, allowed, several, none_weight), rel=1e-6)


@pytest.mark.parametrize("several", [False, True])
def test_gradient_of_the_loss_is_finite_and_zero_where_a_label_is_not_allowed(several):
    scores, gold, allowed = map(torch.tensor, random_targets(5, several))
    scores.requires_grad_()
    torch.autograd.gradcheck(lambda s: pair_loss(s, gold, allowed, several, 0.5), [scores], atol=1e-4)
    pair_loss(scores, gold, allowed, several, 0.5).backward()
    assert not scores.grad[~allowed].any() and scores.grad[allowed][1:].any()


@pytest.mark.parametrize("several", [False, True])
def test_loss_without_pairs_is_zero_and_can_go_back(several):
    scores = torch.zeros(0, 4, requires_grad=True)
    none = torch.zeros(0, 4, dtype=torch.bool)
    loss = pair_loss(scores, none, none, several, 1.0)
    loss.backward()
    assert loss.item() == 0.0 and scores.grad.shape == (0, 4)
    assert pair_probabilities(scores.detach().numpy(), none.numpy(), several).shape == (0, 4)


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_probabilities_by_their_formula(several, seed):
    scores, _, allowed = random_targets(seed, several)
    found = pair_probabilities(scores, allowed, several)
    for row, possible, probabilities in zip(scores.tolist(), allowed.tolist(), found.tolist()):
        if several:
            expected = [ok / (1 + math.exp(-x)) for x, ok in zip(row, possible)]
            expected[0] = 1 - max(expected[1:])
        else:
            z = sum(math.exp(x) for x, ok in zip(row, possible) if ok)
            expected = [ok * math.exp(x) / z for x, ok in zip(row, possible)]
            assert sum(probabilities) == pytest.approx(1)
        assert probabilities == pytest.approx(expected)


def test_a_token_has_the_label_of_the_innermost_span_that_starts_last():
    spans = numpy.array([(0, 6, 1), (1, 4, 2), (2, 3, 1)])
    covered = places.Covered.by(spans)
    assert covered.token.tolist() == [*range(6), 1, 2, 3, 2] and covered.owner.tolist() == [0] * 6 + [1] * 3 + [2]
    tokens, labels = covered.labels(spans, 7)
    assert tokens.tolist() == [0, 1, 2, 3, 4, 5]
    assert labels.tolist() == [1, 2, 1, 2, 1, 1]


def make_ready(settings, seed=0):
    """A scorer in float32, documents for it, and what it says in float64."""
    scorer, (vectors, *tables) = make_scorer(seed, **settings), as_batch(random_documents(seed))
    with torch.no_grad():
        expected = scorer(vectors, *tables).float()
    return scorer.float(), (vectors.float(), *tables), expected


def predict(scorer, batch):
    return torch.from_numpy(scorer.predict(batch[0].numpy(), *batch[1:]))


@pytest.mark.parametrize("way", ["compiled", "plain", "numpy"])
@pytest.mark.parametrize("settings", FEATURES.values(), ids=FEATURES)
def test_few_pairs_are_scored_alike_by_each_way(settings, way, monkeypatch):
    if way != "compiled":
        monkeypatch.setattr(loops, "compiled", lambda function: function if way == "plain" else None)
    scorer, batch, expected = make_ready(settings)
    with torch.no_grad():
        found = predict(scorer, batch)
        assert scorer._ready is not None
        for least, block in ((0, 32), (2**22, 2)):
            monkeypatch.setattr(products, "FEW_FOR_TORCH", least)
            monkeypatch.setattr(products, "BLOCK", block)
            monkeypatch.setattr(products, "ALONE_IN_NUMPY", 5)
            scorer._ready = None
            torch.testing.assert_close(predict(scorer, batch), found, rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-4)


def test_few_pairs_are_scored_in_float32_where_many_are_in_bfloat16():
    scorer, batch, _ = make_ready({})
    with torch.no_grad():
        expected = predict(scorer.bfloat16().float(), batch)
        found = predict(scorer.bfloat16(), batch)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-4)


def test_what_is_kept_of_parameters_follows_them():
    scorer, batch, expected = make_ready({})
    with torch.no_grad():
        assert torch.allclose(predict(scorer, batch), expected, atol=1e-3)
        scorer.output.bias += 1  # written to
        torch.testing.assert_close(predict(scorer, batch), expected + 1, rtol=1e-4, atol=1e-3)
        scorer.output.bias.data = scorer.output.bias.data - 1  # replaced, as for moving averages
        torch.testing.assert_close(predict(scorer, batch), expected, rtol=1e-4, atol=1e-3)
        scorer.output.bias.data.numpy()[:] += 1  # past torch, as optimizers do
        torch.testing.assert_close(predict(scorer, batch), expected + 1, rtol=1e-4, atol=1e-3)
        again = copy.deepcopy(scorer)
        again.output.bias += 1
        torch.testing.assert_close(predict(again, batch), expected + 2, rtol=1e-4, atol=1e-3)
        torch.testing.assert_close(predict(scorer, batch), expected + 1, rtol=1e-4, atol=1e-3)


def test_training_and_many_pairs_are_torchs(monkeypatch):
    scorer, batch, _ = make_ready({})
    scorer(*batch)  # with gradients
    scorer.train()(*batch)
    with torch.no_grad():
        scorer.train()(*batch)
        scorer.eval().double()(batch[0].double(), *batch[1:])
        for name in ("FEW_PAIRS", "FEW_TOKENS"):
            monkeypatch.setattr(layer, name, 3)
            torch.testing.assert_close(predict(scorer.float(), batch), scorer(*batch))
            monkeypatch.undo()
    assert scorer._ready is None


def test_gelu_of_all_sizes():
    values = numpy.concatenate([numpy.linspace(-9, 9, 2001), [0.0, -0.0, 1e-8, -1e-8, 1e4, -1e4]]).astype("float32")
    found = values.copy()
    pair_loops.gelu(found)
    expected = [0.5 * x * math.erfc(-x * 0.5**0.5) for x in values.tolist()]
    numpy.testing.assert_allclose(found, expected, rtol=5e-7, atol=1e-6)
