"""Schemes: spans -> tags -> spans is the identity, and legality is what the scheme's definition says."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spacy_llm_ie.schemes import SCHEMES, Scheme

LABELS = ("ORG", "PER", "B-A D")


@st.composite
def flat_spans(draw):
    length = draw(st.integers(0, 12))
    spans, position = [], 0
    while position < length:
        if draw(st.booleans()):
            end = draw(st.integers(position + 1, length))
            spans.append((position, end, draw(st.sampled_from(LABELS))))
            position = end
        else:
            position += 1
    return length, spans


@pytest.mark.parametrize("name", SCHEMES)
@given(case=flat_spans())
def test_spans_to_tags_and_back_is_the_identity(name, case):
    length, spans = case
    scheme = Scheme(name, LABELS)
    tags = scheme.encode(spans, length)
    assert len(tags) == length
    assert scheme.decode(tags) == spans
    legal, index = scheme.legal(), scheme.index
    assert all(legal[index[a]][index[b]] for a, b in zip(tags, tags[1:]))
    assert not tags or (scheme.legal_start()[index[tags[0]]] and scheme.legal_end()[index[tags[-1]]])


@pytest.mark.parametrize("name", SCHEMES)
@pytest.mark.parametrize("length", [1, 2, 3, 4])
def test_the_legal_paths_are_exactly_the_encodings_of_span_sets(name, length):
    scheme = Scheme(name, ("X", "Y"))
    legal, start, end = scheme.legal(), scheme.legal_start(), scheme.legal_end()
    paths = {
        path
        for path in itertools.product(range(len(scheme.tags)), repeat=length)
        if start[path[0]] and end[path[-1]] and all(legal[a][b] for a, b in zip(path, path[1:]))
    }
    decoded = {tuple(scheme.decode([scheme.tags[i] for i in path])) for path in paths}
    assert len(decoded) == len(paths)  # one path a set of spans
    for spans in decoded:
        assert tuple(scheme.index[tag] for tag in scheme.encode(spans, length)) in paths


def test_biluo_is_the_one_that_spacy_writes():
    scheme = Scheme("BILUO", ["ORG"])
    assert scheme.encode([(0, 3, "ORG"), (4, 5, "ORG")], 5) == ["B-ORG", "I-ORG", "L-ORG", "O", "U-ORG"]
    assert Scheme("BIO", ["ORG"]).from_biluo(["B-ORG", "L-ORG", "O", "U-ORG"]) == ["B-ORG", "I-ORG", "O", "B-ORG"]


def test_closing_steps_end_a_span():
    bio = Scheme("BIO", ["X", "Y"])
    closing = bio.closing()
    assert closing[bio.index["B-X"]][bio.index["B-X"]]
    assert closing[bio.index["I-X"]][bio.index["O"]]
    assert not closing[bio.index["B-X"]][bio.index["I-X"]]
    assert not any(closing[bio.index["O"]])
    biluo = Scheme("BILUO", ["X"])
    assert biluo.closing()[biluo.index["L-X"]] == biluo.legal()[biluo.index["L-X"]]
    assert not any(biluo.closing()[biluo.index["B-X"]])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Scheme("IOB9", ["X"]), r"IE-E101.*IOB9.*BILUO"),
        (lambda: Scheme("BIO", [""]), "IE-E102"),
        (lambda: Scheme("BIO", ["X", "X"]), "IE-E102.*twice"),
        (lambda: Scheme("BIO", ["X"]).encode([(0, 2, "X"), (1, 3, "X")], 3), r"IE-E103.*\(0, 2, 'X'\).*\(1, 3, 'X'\)"),
        (lambda: Scheme("BIO", ["X"]).encode([(1, 1, "X")], 3), "IE-E104"),
        (lambda: Scheme("BIO", ["X"]).encode([(1, 4, "X")], 3), "IE-E104"),
        (lambda: Scheme("BIO", ["X"]).decode(["I-X"]), "IE-E105"),
        (lambda: Scheme("BILUO", ["X"]).decode(["O", "B-X"]), "IE-E105"),
        (lambda: Scheme("BILUO", ["X"]).decode(["U-Z"]), "IE-E105.*U-Z"),
    ],
)
def test_bad_input_is_refused_with_what_was_found(call, message):
    with pytest.raises(ValueError, match=message):
        call()
