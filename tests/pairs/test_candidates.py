"""Which pairs are scored: against a double loop over all spans."""

import numpy
import pytest
import spacy
from hypothesis import given, settings
from hypothesis import strategies as st
from spacy.tokens import Doc

from spacy_llm_ie.pairs.candidates import check_generator, closest, create_near_pairs_v1

VOCAB = spacy.blank("en").vocab
LENGTH = 20


def make_doc(starts, length=LENGTH):
    """A document whose sentences begin at the given tokens; none are set if that is None."""
    first = None if starts is None else [i == 0 or i in starts for i in range(length)]
    return Doc(VOCAB, words=["w"] * length, sent_starts=first)


def tokens_between(one, other):
    """Tokens between two spans; 0 if they overlap."""
    return max(max(one[0], other[0]) - min(one[1], other[1]), 0)


def slow_pairs(starts, spans, heads, tails, max_distance, max_sentences):
    result = []
    for i in sorted(heads):
        for j in sorted(tails):
            near = max_distance is None or tokens_between(spans[i], spans[j]) <= max_distance
            if max_sentences is not None and starts is not None:
                first, last = sorted((spans[i][0], spans[j][0]))
                near &= sum(first < start <= last for start in starts) <= max_sentences
            if near and i != j:
                result.append((i, j))
    return result


@st.composite
def spans_of_a_document(draw):
    """Spans sorted by start and end, some nested, some equal (of two labels), and which may be heads and tails."""
    spans = []
    for _ in range(draw(st.integers(0, 9))):
        start = draw(st.integers(0, LENGTH - 1))
        spans.append((start, draw(st.integers(start + 1, LENGTH))))
    indices = list(range(len(spans)))
    subset = st.one_of(st.just(indices), st.lists(st.sampled_from(indices), unique=True) if indices else st.just([]))
    return sorted(spans), sorted(draw(subset)), sorted(draw(subset))


@settings(max_examples=400, deadline=None)
@given(
    found=spans_of_a_document(),
    starts=st.one_of(st.none(), st.sets(st.integers(1, LENGTH - 1))),
    max_distance=st.sampled_from([None, 0, 1, 3, 100]),
    max_sentences=st.sampled_from([None, 0, 1]),
)
def test_near_pairs_are_those_of_a_double_loop(found, starts, max_distance, max_sentences):
    spans, heads, tails = found
    generate = create_near_pairs_v1(max_distance, max_sentences)
    arrays = (numpy.array(x, dtype="int64") for x in (heads, tails))
    pairs = generate(make_doc(starts), numpy.array(spans, dtype="int64").reshape(-1, 2), *arrays)
    assert pairs.shape == (len(pairs), 2)
    assert list(map(tuple, pairs.tolist())) == slow_pairs(starts, spans, heads, tails, max_distance, max_sentences)


def test_overlapping_spans_are_near_but_no_span_is_paired_with_itself():
    spans, every = numpy.array([(0, 5), (1, 2), (4, 6)]), numpy.arange(3)
    for distance in (0, None):
        pairs = create_near_pairs_v1(distance)(make_doc(None), spans, every, every).tolist()
        assert ([0, 1] in pairs and [2, 0] in pairs) and not any(i == j for i, j in pairs)
    assert [1, 2] not in create_near_pairs_v1(1)(make_doc(None), spans, every, every).tolist()
    assert [1, 2] in create_near_pairs_v1(2)(make_doc(None), spans, every, every).tolist()


def test_without_sentence_borders_a_document_is_one_sentence():
    spans, every = numpy.array([(0, 1), (19, 20)]), numpy.arange(2)
    generate = create_near_pairs_v1(None, 0)
    assert len(generate(make_doc(None), spans, every, every)) == 2
    assert len(generate(make_doc({10}), spans, every, every)) == 0


@settings(max_examples=200, deadline=None)
@given(found=spans_of_a_document(), most=st.integers(0, 20))
def test_closest_keeps_those_with_the_fewest_tokens_between(found, most):
    spans, every = found[0], range(len(found[0]))
    pairs = [(i, j) for i in every for j in every if i != j]
    kept = closest(*(numpy.array(x, dtype="int64").reshape(-1, 2) for x in (spans, pairs)), most).tolist()
    kept = [tuple(pair) for pair in kept]
    assert kept == [pair for pair in pairs if pair in set(kept)]  # their order
    gaps = sorted(tokens_between(spans[i], spans[j]) for i, j in pairs)
    assert sorted(tokens_between(spans[i], spans[j]) for i, j in kept) == gaps[:most]


@pytest.mark.parametrize("setting", ["max_distance", "max_sentences"])
def test_negative_limits_are_refused(setting):
    with pytest.raises(ValueError, match=f"IE-E301.*{setting}.*-1"):
        create_near_pairs_v1(**{setting: -1})


def test_what_is_no_function_is_refused():
    with pytest.raises(ValueError, match="IE-E302.*relations.*near_pairs"):
        check_generator("relations", 3)
    with pytest.raises(ValueError, match="IE-E302.*ie_relations"):
        spacy.blank("en").add_pipe("ie_relations", config={"candidates": {"@misc": "spacy-llm-ie.packaged_weights.v1"}})
