"""Peak memory and time for one long document: our transformer model against spacy-transformers' own, MiniLM weights.

    python benchmarks/memory.py [--tokens 200000] [--system ours stock ner]

Each system runs in a process of its own; shown is the growth of the process's peak over what it needed for a short text. `ner` is
ours with an (untrained) ie_ner behind it.
"""

import argparse
import resource
import subprocess
import sys
import time

import spacy
from spacy.tokens import Doc
from spacy.training import Example

from spacy_llm_ie.encode.weights import packaged_weights, resolve_weights

WORDS = "Arlen Foods of Omaha said on Monday that third-quarter profit rose 4% to $31 million .".split()
LISTENER = {
    "@architectures": "spacy-transformers.TransformerListener.v1",
    "grad_factor": 1.0,
    "pooling": {"@layers": "reduce_mean.v1"},
}


def make(system):
    nlp = spacy.blank("en")
    ours = {
        "@architectures": "spacy-llm-ie.TransformerModel.v1",
        "get_spans": {"@span_getters": "spacy-llm-ie.wordpiece_spans.v1"},
    }
    stock = {
        "@architectures": "spacy-transformers.TransformerModel.v3",
        "get_spans": {"@span_getters": "spacy-transformers.strided_spans.v1", "window": 128, "stride": 96},
    }
    model = stock if system == "stock" else ours
    nlp.add_pipe("transformer", config={"model": {**model, "name": resolve_weights(packaged_weights())}})
    if system == "ner":
        nlp.add_pipe("ie_ner", config={"model": {"tok2vec": LISTENER}})
    text = Doc(nlp.vocab, words=WORDS, ents=["B-ORG", "I-ORG", "O", "B-GPE", *["O"] * (len(WORDS) - 4)])
    nlp.initialize(lambda: [Example(Doc(nlp.vocab, words=WORDS), text)])
    return nlp


def child(system, tokens):
    nlp = make(system)
    list(nlp.pipe([Doc(nlp.vocab, words=WORDS)]))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    doc = Doc(nlp.vocab, words=(WORDS * (tokens // len(WORDS) + 1))[:tokens])
    start = time.perf_counter()
    list(nlp.pipe([doc]))
    seconds = time.perf_counter() - start
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(f"{system:<8} {tokens:>8} tokens {seconds:>7.1f} s {grown:>8.0f} MB")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tokens", type=int, default=200_000)
    parser.add_argument("--system", nargs="+", choices=["ours", "stock", "ner"], default=["ours", "stock", "ner"])
    parser.add_argument("--child", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        child(args.child, args.tokens)
        return
    for system in args.system:
        command = [sys.executable, "-W", "ignore", __file__, "--child", system, "--tokens", str(args.tokens)]
        subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
