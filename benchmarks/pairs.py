"""Memory and time of scoring pairs in one document, by its number of entities.

    python benchmarks/pairs.py [--entities 10 50 100 500 2000] [--gap 8] [--max-distance null 100]

Documents of made-up words, entities of two tokens set by hand with `--gap` tokens between; an untrained `ie_relations` over fixed
random token vectors of MiniLM's width, so that only the pairs are measured. Each row runs in a process of its own, after a short
document; shown is the growth of the process's peak, and how many pairs `max_pairs` (100,000) left out.
"""

import argparse
import resource
import subprocess
import sys
import time
import warnings

import numpy
import spacy
from spacy.tokens import Doc, Span
from spacy.training import Example
from thinc.api import Model

from spacy_llm_ie.annotations import Relation, set_relations

WIDTH = 384
LENGTH = 2
TYPES = ("ORG", "PERSON", "PRODUCT")


@spacy.registry.architectures("benchmark.RandomVectors.v1")
def random_vectors():
    def forward(model, docs, is_train):
        generator = numpy.random.default_rng(0)
        return [generator.standard_normal((len(doc), WIDTH), dtype="float32") for doc in docs], lambda gradient: docs

    return Model("random_vectors", forward, dims={"nO": WIDTH})


def make_doc(vocab, entities, gap):
    doc = Doc(vocab, words=[f"w{i % 1000}" for i in range(entities * (LENGTH + gap) + gap)])
    starts = range(gap, len(doc), LENGTH + gap)
    doc.ents = [Span(doc, start, start + LENGTH, label=TYPES[i % len(TYPES)]) for i, start in enumerate(starts)]
    return doc


def make(gap, max_distance):
    nlp = spacy.blank("en")
    pipe = nlp.add_pipe(
        "ie_relations",
        config={
            "candidates": {"@misc": "spacy-llm-ie.near_pairs.v1", "max_distance": max_distance, "max_sentences": None},
            "model": {
                "@architectures": "spacy-llm-ie.PairClassifier.v1",
                "tok2vec": {"@architectures": "benchmark.RandomVectors.v1"},
            },
            "label_filter": False,
        },
    )
    gold = make_doc(nlp.vocab, 6, gap)
    set_relations(gold, [Relation(gold.ents[0], gold.ents[1], label) for label in ("makes", "owns", "works_for")])
    nlp.initialize(lambda: [Example(gold.copy(), gold)])
    return nlp, pipe


def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def child(entities, gap, max_distance):
    warnings.simplefilter("ignore")
    nlp, pipe = make(gap, max_distance)
    pipe(make_doc(nlp.vocab, 6, gap))
    doc = make_doc(nlp.vocab, entities, gap)
    before = peak()
    start = time.perf_counter()
    pipe.predict([doc])
    seconds = time.perf_counter() - start
    grown = peak() - before
    candidates, left_out = pipe.pick(doc, pipe.spans(doc))
    pairs, distance = len(candidates.pairs), "null" if max_distance is None else max_distance
    print(
        f"{distance:>12} {entities:>8} {len(doc):>7} {pairs:>7} {left_out:>9} {seconds:>8.3f} "
        f"{seconds / max(pairs, 1) * 1e6:>8.1f} {grown:>6.0f}"
    )


def distance(text):
    return None if text == "null" else int(text)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--entities", type=int, nargs="+", default=[10, 50, 100, 500, 2000])
    parser.add_argument("--gap", type=int, default=8, help="tokens between two entities")
    parser.add_argument("--max-distance", nargs="+", default=["null", "100"])
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        child(args.entities[0], args.gap, distance(args.max_distance[0]))
        return
    print(
        f"{'max_distance':>12} {'entities':>8} {'tokens':>7} {'pairs':>7} {'left out':>9} {'seconds':>8} {'µs/pair':>8} {'MB':>6}",
        flush=True,
    )
    for setting in args.max_distance:
        for entities in args.entities:
            options = ["--entities", str(entities), "--gap", str(args.gap), "--max-distance", setting]
            subprocess.run([sys.executable, "-W", "ignore", __file__, "--child", *options], check=True)


if __name__ == "__main__":
    main()
