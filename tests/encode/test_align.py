import dataclasses

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from spacy.tokens import Doc
from spacy.vocab import Vocab
from spacy_transformers.align import get_alignment_via_offset_mapping
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from spacy_llm_ie.encode.align import Rows, build_rows, split_docs
from spacy_llm_ie.encode.frame import Frame, concat_ranges, fill_rows

pytestmark = pytest.mark.usefixtures("each_way")
VOCAB = Vocab()
WORDS = st.sampled_from(
    ["the", "bank", "buying", "can", "'t", "n't", "$", "3.5", "-", "\n", "\n\n", "\u200b", "\x07", "\U0001f600"]
    + ["\u4e2d\u56fd", "\u0627\u0644", "Caf\u00e9", "e\u0301", "zzz", "[SEP]", "a-b-c", "\u00a0", "\u2028"]
)
DOCS = st.lists(st.lists(st.tuples(WORDS, st.booleans()), min_size=1, max_size=12), min_size=1, max_size=3)
PARTS = ("prefix", "suffix", "prefix_types", "suffix_types")


@pytest.fixture(scope="module")
def fast(bert):
    return AutoTokenizer.from_pretrained(bert)


@pytest.fixture(scope="module")
def slow(bert):
    return AutoTokenizer.from_pretrained(bert, use_fast=False)


def make_doc(pairs):
    words, spaces = zip(*pairs)
    return Doc(VOCAB, words=words, spaces=spaces)


def align_docs(tokenizer, docs, windows=None, size=1000):
    """One window for each document, or the windows given: document, first token, end of tokens."""
    ends = numpy.cumsum([len(doc) for doc in docs])
    windows = windows or [(i, end - len(doc), end) for i, (doc, end) in enumerate(zip(docs, ends))]
    pieces, lifted = split_docs(tokenizer, docs).lift(size)
    long_tokens = [(int(numpy.searchsorted(ends, token, side="right")), token) for token in lifted]
    rows = Rows.from_windows(windows, long_tokens)
    wordpieces, align = build_rows(Frame.from_tokenizer(tokenizer), pieces, rows, lifted, size)
    return wordpieces, [align[i].data.ravel().tolist() for i in range(len(align.lengths))]


@settings(max_examples=200, deadline=None)
@given(DOCS)
def test_same_as_spacy_transformers_but_for_bare_tokens(fast, texts):
    docs = [make_doc(pairs) for pairs in texts]
    wordpieces, found = align_docs(fast, docs)
    expected = fast([doc.text for doc in docs], return_offsets_mapping=True, padding="longest", return_tensors="np")
    numpy.testing.assert_array_equal(wordpieces.input_ids, expected["input_ids"])
    numpy.testing.assert_array_equal(wordpieces.attention_mask, expected["attention_mask"])
    numpy.testing.assert_array_equal(wordpieces.token_type_ids, expected["token_type_ids"])
    assert wordpieces.strings == [fast.convert_ids_to_tokens(row) for row in expected["input_ids"]]
    assert wordpieces.lengths == expected["attention_mask"].sum(axis=1).tolist()
    align = get_alignment_via_offset_mapping([doc[:] for doc in docs], expected["offset_mapping"])
    width = wordpieces.input_ids.shape[1]
    previous = 0
    for i, pieces in enumerate(found):
        theirs = align[i].data.ravel().tolist()
        if not theirs:
            # The piece before, at the begin of a document its [CLS].
            row = next(row for row, end in enumerate(numpy.cumsum([len(d) for d in docs])) if i < end)
            theirs = [max(previous, row * width)]
        assert pieces == theirs
        previous = pieces[-1]


@settings(max_examples=50, deadline=None)
@given(DOCS)
def test_slow_tokenizer_gives_each_token_a_piece(fast, slow, texts):
    docs = [make_doc(pairs) for pairs in texts]
    slow_rows, slow_align = align_docs(slow, docs)
    fast_rows, fast_align = align_docs(fast, docs)
    assert all(slow_align)
    assert not slow.is_fast
    numpy.testing.assert_array_equal(slow_rows.input_ids, fast_rows.input_ids)


def test_slow_tokenizer_aligns_as_the_fast_one(fast, slow):
    words = "The bank said \n\n that Brentland's can't buy 3.5 - zzz ( London ) \n".split(" ")
    docs = [Doc(VOCAB, words=words), Doc(VOCAB, words=["New", "-", "York"], spaces=[False, False, False])]
    assert align_docs(slow, docs)[1] == align_docs(fast, docs)[1]


def test_token_in_two_windows_is_aligned_to_both(fast):
    doc = Doc(VOCAB, words=["the", "bank", "buying", "\n", "london"])
    wordpieces, align = align_docs(fast, [doc], [(0, 0, 4), (0, 2, 5)])
    assert wordpieces.strings == [
        ["[CLS]", "the", "bank", "buy", "##ing", "[SEP]"],
        ["[CLS]", "buy", "##ing", "london", "[SEP]", "[PAD]"],
    ]
    assert align == [[1], [2], [3, 4, 7, 8], [4, 8], [9]]


def test_windows_side_by_side(fast):
    doc = Doc(VOCAB, words=["the", "bank", "\n", "buying", "london"])
    wordpieces, align = align_docs(fast, [doc], [(0, 0, 2), (0, 2, 5)])
    assert wordpieces.strings == [["[CLS]", "the", "bank", "[SEP]", "[PAD]"], ["[CLS]", "buy", "##ing", "london", "[SEP]"]]
    assert align == [[1], [2], [5], [6, 7], [8]]


def test_long_token_is_lifted_out_of_the_text(fast):
    words = ["the", "a-" * 20, "\n", "bank"]
    wordpieces, align = align_docs(fast, [Doc(VOCAB, words=words), Doc(VOCAB, words=["unit"])], size=8)
    assert wordpieces.strings[0][:4] == ["[CLS]", "the", "bank", "[SEP]"]
    assert wordpieces.strings[1] == ["[CLS]", *"a-a-a-a-", "[SEP]"]
    assert wordpieces.strings[2][:3] == ["[CLS]", "unit", "[SEP]"]
    assert wordpieces.lengths == [4, 10, 3]
    assert align == [[1], list(range(11, 19)), [1], [2], [21]]


def test_nothing_but_white_space_and_long_tokens(fast):
    wordpieces, align = align_docs(fast, [Doc(VOCAB, words=["\n", "a-" * 20, "\t"])], size=8)
    assert wordpieces.strings[0][:3] == ["[CLS]", "[SEP]", "[PAD]"]
    assert align == [[0], list(range(11, 19)), [0]]


def test_a_single_row_is_framed_as_one_of_several(fast):
    frame, ids = Frame.from_tokenizer(fast), numpy.arange(20, 29)
    bare = dataclasses.replace(frame, **{name: numpy.zeros(0, "int64") for name in PARTS})
    for framed in (frame, bare):
        for begin, end in ((0, 9), (3, 5), (4, 4)):
            ends = numpy.array([[begin, end]] * 2).T
            one = fill_rows(framed, ids, *ends[:, :1], [numpy.array([0])])
            several = fill_rows(framed, ids, *ends, [numpy.array([0]), numpy.array([1])])
            assert one.shapes == several.shapes[:1] and one.offsets.tolist() == several.offsets[:1].tolist()
            for name in ("input_ids", "types", "mask"):
                found, expected = getattr(one, name), getattr(several, name)
                assert found.dtype == expected.dtype
                numpy.testing.assert_array_equal(found, expected[: len(found)])


def test_concat_ranges():
    found = concat_ranges(numpy.array([5, 0, 9, 2]), numpy.array([2, 0, 1, 3]))
    assert found.tolist() == [5, 6, 9, 2, 3, 4]
    assert concat_ranges(numpy.array([], dtype="int64"), numpy.array([], dtype="int64")).tolist() == []


def make_byte_level(**settings):
    """A tokenizer as RoBERTa's or GPT-2's: spaces belong to the pieces behind them."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {piece: i for i, piece in enumerate(["<s>", "</s>", "<pad>", *alphabet, "\u0120b", "\u0120ba", "'t"])}
    merges = [("\u0120", "b"), ("\u0120b", "a"), ("'", "t")]
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, **settings)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


@pytest.mark.parametrize("trim", [True, False])
def test_byte_level_pieces(trim):
    backend = make_byte_level(use_regex=False)
    backend.post_processor = processors.RobertaProcessing(("</s>", 1), ("<s>", 0), trim_offsets=trim, add_prefix_space=False)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>", pad_token="<pad>")
    # Piece "'t" covers one and a half token, pieces of the emoji one quarter of one.
    doc = Doc(VOCAB, words=["ba", "ba", "n'", "t", "\n", "\U0001f600"], spaces=[True, True, False, True, False, False])
    wordpieces, align = align_docs(tokenizer, [doc])
    strings = wordpieces.strings[0]
    assert strings[:9] == ["<s>", "b", "a", "\u0120ba", "\u0120", "n", "'t", "\u0120", "\u010a"]
    assert wordpieces.token_type_ids is None or not wordpieces.token_type_ids.any()
    assert align[0] == [1, 2]
    assert align[1] == [3]
    assert align[2] == [5, 6]
    assert align[3] == [6]
    assert align[4] == [8]
    assert align[5] == [9, 10, 11, 12]


def test_no_special_pieces_and_no_padding_piece():
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=make_byte_level())
    frame = Frame.from_tokenizer(tokenizer)
    assert (frame.size, frame.pad) == (0, 0)
    docs = [make_doc([("ba", True), ("ba", True)]), make_doc([("b", False)])]
    wordpieces, align = align_docs(tokenizer, docs)
    assert wordpieces.strings == [["b", "a", "\u0120ba", "\u0120"], ["b", "<s>", "<s>", "<s>"]]
    assert wordpieces.attention_mask.tolist() == [[1, 1, 1, 1], [1, 0, 0, 0]]
    assert wordpieces.lengths == [4, 1]
    assert align == [[0, 1], [2], [4]]


def make_metaspace():
    """A tokenizer as T5's or XLNet's: a mark for spaces, special pieces behind the text, pieces without characters."""
    pieces = ["<pad>", "</s>", "<unk>", "\u2581", "\u2581bank", "\u2581of", "\u2581the", "ing", *"abcdefghijklmnopqrstuvwxyz1."]
    backend = Tokenizer(models.Unigram([(piece, -2.0) for piece in pieces], unk_id=2))
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="</s>", pad_token="<pad>", unk_token="<unk>")


def test_metaspace_pieces():
    tokenizer = make_metaspace()
    frame = Frame.from_tokenizer(tokenizer)
    assert (len(frame.prefix), len(frame.suffix)) == (0, 1)
    doc = Doc(VOCAB, words=["banking", "of", "zoo", "\u200b", "\U0001f600"])
    wordpieces, align = align_docs(tokenizer, [doc])
    strings = ["\u2581bank", "ing", "\u2581of", "\u2581", "z", "o", "o", "\u2581", "<unk>", "\u2581", "<unk>", "\u2581", "</s>"]
    assert wordpieces.strings[0] == strings
    assert align == [[0, 1], [2], [4, 5, 6], [8], [10]]
    # No special piece stands before the text: a token without pieces takes the first one there is.
    assert align_docs(tokenizer, [Doc(VOCAB, words=["\u200b"])])[1] != [[]]
