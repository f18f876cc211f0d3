"""A document of 200,000 tokens, in memory that grows with its length and not faster."""

import tracemalloc

import numpy
import pytest
from spacy.tokens import Doc

from spacy_llm_ie.ner import decoding
from spacy_llm_ie.ner.decoding import Thresholds
from spacy_llm_ie.ner.model import get_crf
from tests.ner.test_pipe import make


@pytest.mark.slow
def test_a_document_of_200_000_tokens_beside_short_ones():
    nlp = make(steps=20)
    nlp.max_length = 10**8
    words = "Ada Quill joined Arlen Foods in Omaha .".split() * 25_000
    docs = [Doc(nlp.vocab, words=words[:8]), Doc(nlp.vocab, words=words), Doc(nlp.vocab, words=words[:8])]
    short, long, other = nlp.pipe(docs)
    one = [(e.start, e.end, e.label_) for e in short.ents]
    assert one == [(e.start, e.end, e.label_) for e in other.ents]
    assert len(long) == 200_000
    assert len(long.ents) == pytest.approx(25_000 * len(one), rel=0.01)
    assert all(0 <= ent._.score <= 1 for ent in long.ents)


def test_decoding_memory_is_linear_in_length():
    pipe = make().get_pipe("ie_ner")
    crf, scheme = get_crf(pipe.model), pipe.scheme
    peaks = []
    for length in (2_000, 8_000):
        emissions = [numpy.random.default_rng(0).normal(size=(length, len(scheme.tags))).astype("float32")] * 1
        emissions += [emissions[0][:5]] * 50
        tracemalloc.start()
        decoding.decode(crf, scheme, emissions, Thresholds(None, {}, 0.05))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 5 * peaks[0]
