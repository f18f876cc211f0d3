"""Looking words up gives the pieces that the tokenizer gives for whole texts."""

import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy
import pytest
import spacy
from hypothesis import given, settings
from hypothesis import strategies as st
from spacy.tokens import Doc
from spacy.vocab import Vocab
from tokenizers import AddedToken
from transformers import AutoTokenizer

from spacy_llm_ie.encode import words
from spacy_llm_ie.encode.align import split_docs
from spacy_llm_ie.encode.words import OfTokenizer, WordSplitter, splits_words_alone

pytestmark = pytest.mark.usefixtures("each_way")
VOCAB = Vocab()
WORDS = st.sampled_from(
    [
        "the",
        "bank",
        "buying",
        "can",
        "'t",
        "n't",
        "not",
        "$",
        "3.5",
        "10",
        "km",
        "-",
        "\n",
        "\n\n",
        " ",
        "\u200b",
        "\x07",
        "\x1c",
    ]
    + [
        "\u4e2d\u56fd",
        "\u4e2d",
        "\u0627\u0644",
        "Caf\u00e9",
        "e\u0301",
        "\u0301",
        "zzz",
        "[",
        "SEP",
        "]",
        "[SEP]",
        "\U0001f600",
    ]
    + [
        "\u00a0",
        "\u2028",
        "\u037e",
        "\u1fef",
        "\u00b4",
        "x" * 120,
        "\u0130",
        "\u03a3",
        "e.g.",
        "a-b-c",
        "\u2014",
        "\ufffd",
        "\u3000",
    ]
)
DOCS = st.lists(st.lists(st.tuples(WORDS, st.booleans()), min_size=1, max_size=12), min_size=1, max_size=3)
TEXT = "Acme isn't buying 10km of e-cables; Acme cannot, says Bolt's C.E.O."


@pytest.fixture(scope="module")
def fast(bert):
    return AutoTokenizer.from_pretrained(bert)


@pytest.fixture(scope="module")
def shared(fast):
    """One that has seen all that the tests before have shown it."""
    return WordSplitter(fast)


@pytest.fixture
def tokenizer(bert):
    """One that a test may change."""
    return AutoTokenizer.from_pretrained(bert)


def make_docs(*texts):
    nlp = spacy.blank("en")
    return [nlp.make_doc(text) for text in texts]


def assert_same(found, expected):
    for name in ("ids", "first", "last", "solid", "token_first", "token_end"):
        numpy.testing.assert_array_equal(getattr(found, name), getattr(expected, name), err_msg=name)


@settings(max_examples=300, deadline=None)
@given(DOCS)
def test_words_have_the_pieces_that_they_have_in_a_text(fast, shared, texts):
    docs = [Doc(VOCAB, words=[word for word, _ in pairs], spaces=[space for _, space in pairs]) for pairs in texts]
    expected = split_docs(fast, docs)
    assert_same(shared(docs), expected)
    assert_same(WordSplitter(fast)(docs), expected)


def count_texts(monkeypatch):
    """How many words the tokenizer splits, in each call."""
    seen, encode = [], words.encode
    monkeypatch.setattr(words, "encode", lambda *args: (seen.append(len(args[1][0].split(" "))), encode(*args))[1])
    return seen


def test_words_are_split_once(fast, monkeypatch):
    splitter, docs, seen = WordSplitter(fast), make_docs(TEXT, "Bolt buying Acme; Acme buying Bolt."), count_texts(monkeypatch)
    for _ in range(2):
        assert_same(splitter(docs[:1]), split_docs(fast, docs[:1]))
    assert seen == [18, 3]  # tokens; and "isn't", "10km" and "cannot"
    assert_same(splitter(docs[1:]), split_docs(fast, docs[1:]))
    assert seen == [18, 3, 1]  # the full stop


def test_of_many_pieces_none_are_kept(fast, monkeypatch):
    splitter, docs, seen = WordSplitter(fast), make_docs(TEXT), count_texts(monkeypatch)
    monkeypatch.setattr(words, "MOST_KEPT", 10)
    for _ in range(2):
        assert_same(splitter(docs), split_docs(fast, docs))
    assert seen == [18, 3, 18, 3]


def test_text_without_marks_between_its_tokens_is_left_to_the_tokenizer(fast, monkeypatch):
    doc = Doc(VOCAB, words=list("abcdefghi"), spaces=[False] * 9)
    splitter = WordSplitter(fast)
    assert_same(splitter([doc]), split_docs(fast, [doc]))
    assert not any(isinstance(unit, tuple) for unit in splitter._units)


def test_added_tokens_are_found_across_words(tokenizer):
    splitter, docs = WordSplitter(tokenizer), make_docs("a [SEP] b", "a [ SEP ] b [1]")
    assert tokenizer.sep_token_id in splitter(docs).ids
    assert_same(splitter(docs), split_docs(tokenizer, docs))
    other = make_docs("Acme says no-go.")
    before = splitter(other).ids
    tokenizer.add_tokens([AddedToken("no-go", normalized=False)])
    assert len(splitter(other).ids) < len(before)
    assert_same(splitter(other), split_docs(tokenizer, other))
    tokenizer.add_tokens(["says no"])
    assert not splits_words_alone(tokenizer)
    assert_same(splitter(other), split_docs(tokenizer, other))


def test_other_tokenizers_split_whole_texts(bert, fast):
    assert splits_words_alone(fast)
    slow = AutoTokenizer.from_pretrained(bert, use_fast=False)
    assert not splits_words_alone(slow)
    docs = make_docs(TEXT)
    assert_same(WordSplitter(slow)(docs), split_docs(slow, docs))


def test_documents_of_several_vocabularies(fast):
    docs = [*make_docs("Acme buys Bolt"), *make_docs("Zyx buys Wvu")]
    assert_same(WordSplitter(fast)(docs), split_docs(fast, docs))


def test_several_threads_split_at_once(fast):
    splitter, docs = WordSplitter(fast), make_docs(*(f"{TEXT} Number {i} is x{i}y." for i in range(200)))
    with ThreadPoolExecutor(4) as pool:
        for i, found in enumerate(pool.map(lambda i: splitter(docs[i : i + 2]), range(199))):
            assert_same(found, split_docs(fast, docs[i : i + 2]))


def test_another_tokenizer_has_its_own_splitter(bert, fast):
    made = OfTokenizer()
    frame, splitter = made.get(fast)
    assert made.get(fast) == (frame, splitter)
    assert made.get(AutoTokenizer.from_pretrained(bert))[1] is not splitter
    copied = pickle.loads(pickle.dumps(splitter))
    assert_same(copied(make_docs(TEXT)), splitter(make_docs(TEXT)))
