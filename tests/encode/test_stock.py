"""What spacy-transformers' own model does with difficult text: the reason for ours. Each test shows both."""

import warnings

import pytest

from tests.encode.helpers import OUR_SPANS, STOCK, STOCK_SPANS, find_bare, get_vectors, make_nlp, run
from tests.util import make_tiny_bert

NEWS = "the company said on monday that it had agreed to buy a bank in ohio yesterday .".split() * 10


@pytest.fixture(scope="module")
def bert512(tmp_path_factory):
    return make_tiny_bert(tmp_path_factory.mktemp("bert512"), max_positions=512)


@pytest.fixture(scope="module")
def stock(bert512):
    return make_nlp(bert512, architecture=STOCK, spans=STOCK_SPANS)


@pytest.fixture(scope="module")
def ours(bert512):
    return make_nlp(bert512, spans={**OUR_SPANS, "window": 128, "stride": 96})


N = len(NEWS)
EMOJI = "\U0001f600\U0001f44d\U0001f3fd"
DIFFICULT = {
    # case: tokens, and which of them the stock model leaves without a vector
    "plain": (NEWS, []),
    "emoji": ([*NEWS, *[EMOJI * 300] * 5, *NEWS], []),
    "5000 characters": ([*NEWS, "a-" * 2500, *NEWS], range(N + 1, 2 * 96)),
    "line breaks, one token": ([*NEWS, "\n" * 1000, *NEWS], [N]),
    "line breaks, 1000 tokens": ([*NEWS, *["\n"] * 1000, *NEWS], range(N, N + 1000)),
    "control characters": ([*NEWS, "\x07", "\x00", "\u200b", "\u202e", "\u200d", *NEWS], range(N, N + 5)),
}


@pytest.mark.parametrize("case", DIFFICULT)
def test_stock_leaves_tokens_without_vector(stock, case):
    words, bare = DIFFICULT[case]
    assert find_bare(run(stock, words)) == list(bare)


@pytest.mark.parametrize("case", DIFFICULT)
def test_ours_leaves_no_token_without_vector(ours, case):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        doc = run(ours, DIFFICULT[case][0])
    assert find_bare(doc) == []
    assert (abs(get_vectors(doc)).sum(axis=1) > 0).all()


def test_equal_on_plain_text(stock, ours):
    words = NEWS[:50]
    assert get_vectors(run(ours, words)) == pytest.approx(get_vectors(run(stock, words)), abs=1e-6)


def test_stock_runs_long_document_in_one_pass(stock, ours, monkeypatch):
    words = NEWS * 30
    sizes = {}
    for name, nlp in (("stock", stock), ("ours", ours)):
        sizes[name] = []
        shim = nlp.get_pipe("transformer").model.layers[0].shims[0]
        monkeypatch.setattr(
            shim._model, "forward", spy(shim._model.forward, lambda ids, name=name: sizes[name].append(ids.numel()))
        )
        run(nlp, words)
    assert len(sizes["stock"]) == 1
    assert len(sizes["ours"]) > 1
    assert max(sizes["ours"]) <= 4096 < sizes["stock"][0]


def spy(function, record):
    def call(*args, **kwargs):
        record(kwargs["input_ids"])
        return function(*args, **kwargs)

    return call
