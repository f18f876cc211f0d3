import time

import numpy
import pytest
import spacy
from hypothesis import given, settings
from hypothesis import strategies as st
from spacy.tokens import Doc
from spacy.vocab import Vocab

from spacy_llm_ie.encode.spans import WordpieceSpans, configure_wordpiece_spans, cut_windows


def to_ranges(counts):
    end = numpy.cumsum(counts)
    return end - counts, end


@settings(max_examples=300, deadline=None)
@given(st.lists(st.integers(0, 8), max_size=60), st.integers(8, 20), st.integers(0, 20))
def test_cut_windows(counts, size, overlap):
    overlap = min(overlap, size - 1)
    first, end = to_ranges(numpy.array(counts, dtype="int64"))
    windows = cut_windows(first, end, size, overlap)
    covered = {token for start, stop in windows for token in range(start, stop)}
    assert covered == set(range(len(counts)))
    for start, stop in windows:
        assert start < stop
        assert end[stop - 1] - first[start] <= size
        # As long as can be: the next token would not have fitted.
        assert stop == len(counts) or end[stop] - first[start] > size
    for (start, stop), (next_start, next_stop) in zip(windows, windows[1:]):
        assert start < next_start <= stop < next_stop
        assert max(end[stop - 1] - first[next_start], 0) <= overlap
        assert counts[next_start] > 0


def test_one_window_if_it_fits():
    assert cut_windows(*to_ranges([3, 0, 5]), size=8, overlap=4) == [(0, 3)]
    assert cut_windows(*to_ranges([3, 0, 6]), size=8, overlap=0) == [(0, 2), (2, 3)]
    assert cut_windows(*to_ranges([0, 0]), size=8) == [(0, 2)]
    assert cut_windows(*to_ranges(numpy.array([], dtype="int64")), size=8) == []


def test_stride_is_kept_for_short_tokens():
    windows = cut_windows(*to_ranges([1] * 500), size=128, overlap=32)
    assert windows == [(0, 128), (96, 224), (192, 320), (288, 416), (384, 500)]


def test_piece_that_covers_two_tokens_is_in_both_windows():
    # Tokens 7 and 8 share piece 7.
    first = numpy.array([0, 1, 2, 3, 4, 5, 6, 7, 7, 8, 9])
    end = numpy.array([1, 2, 3, 4, 5, 6, 7, 8, 8, 9, 10])
    assert cut_windows(first, end, size=8, overlap=0) == [(0, 9), (9, 11)]
    assert cut_windows(first[1:], end[1:], size=7, overlap=0) == [(0, 8), (8, 10)]
    end[8] = 9
    first[9], end[9] = 8, 9
    assert cut_windows(first, end, size=8, overlap=0) == [(0, 8), (8, 11)]


def test_fast_for_200000_tokens():
    first, end = to_ranges(numpy.random.default_rng(0).integers(0, 4, size=200_000))
    begin = time.perf_counter()
    windows = cut_windows(first, end, size=128, overlap=32)
    assert time.perf_counter() - begin < 2
    assert len(windows) < 2 * end[-1] / 96


@pytest.mark.parametrize(
    ("window", "stride", "limit", "expected"),
    [
        (128, 96, 510, (128, 32)),
        (128, 128, 510, (128, 0)),
        (128, 96, None, (128, 32)),
        (128, None, 510, (128, 32)),
        (None, None, 510, (510, 127)),
        (None, 480, 510, (510, 30)),
        (None, 600, 510, (510, 0)),
        (128, 96, 62, (62, 15)),
    ],
)
def test_measure(window, stride, limit, expected):
    assert WordpieceSpans(window, stride).measure(limit) == expected


def test_no_size_at_all():
    with pytest.raises(ValueError, match="IE-E506"):
        WordpieceSpans(None, None).measure(None)


@pytest.mark.parametrize(
    ("window", "stride"), [(7, 7), (0, 0), (-1, 5), (128, 0), (128, 129), (128.0, 96), (True, 1), ("128", 96)]
)
def test_refuses_bad_settings(window, stride):
    with pytest.raises(ValueError, match="IE-E504"):
        configure_wordpiece_spans(window, stride)


def test_config():
    spacy.blank("en")
    settings = {"@span_getters": "spacy-llm-ie.wordpiece_spans.v1", "window": None, "stride": 50}
    spans = spacy.registry.resolve({"spans": settings})["spans"]
    assert (spans.window, spans.stride) == (None, 50)
    default = {"@span_getters": "spacy-llm-ie.wordpiece_spans.v1"}
    assert repr(spacy.registry.resolve({"spans": default})["spans"]) == "WordpieceSpans(window=128, stride=96)"
    with pytest.raises(Exception, match="window"):
        spacy.registry.resolve({"spans": {**default, "window": "many"}})


def test_needs_our_model():
    with pytest.raises(ValueError, match="IE-E505.*spacy-llm-ie.TransformerModel.v1"):
        configure_wordpiece_spans()([Doc(Vocab(), words=["a"])])
