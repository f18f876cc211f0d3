"""spaCy's CNN with torch's products of matrices against the same one with thinc's: training and token vectors, in alternation.

    python benchmarks/cnn.py [--updates 25] [--texts 1200] [--repeats 3]

The joint pipeline of configs/joint_cnn.cfg, untrained, on assets/newswire. Seconds of the clock and of the processor.
"""

import argparse
import statistics
import time
from collections import defaultdict
from pathlib import Path

import spacy
from spacy.util import load_config, load_model_from_config
from speed import load_sentences

from spacy_llm_ie.data.corpus import create_corpus_v1

ROOT = Path(__file__).parents[1]
NAMES = ("spacy.HashEmbedCNN.v2", "spacy-llm-ie.HashEmbedCNN.v1")
BATCH = 8


def clock(found, function):
    """Call a function, and note the seconds that it took, of the clock and of the processor."""
    start, used = time.perf_counter(), time.process_time()
    function()
    found.append((time.perf_counter() - start, time.process_time() - used))


def make_pipeline(name, updates):
    """RETURNS: The pipeline with this CNN, and a function that trains it for so many updates."""
    spacy.util.fix_random_seed(0)
    config = load_config(ROOT / "configs" / "joint_cnn.cfg", overrides={"components.tok2vec.model.@architectures": name})
    nlp = load_model_from_config(config, auto_fill=True)
    examples = list(create_corpus_v1(ROOT / "assets" / "newswire" / "train.jsonl", limit=BATCH * updates)(nlp))
    optimizer = nlp.initialize(lambda: examples)

    def train():
        for i in range(0, len(examples), BATCH):
            nlp.update(examples[i : i + BATCH], sgd=optimizer)

    return nlp, train


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--updates", type=int, default=25, help="of 8 documents each")
    parser.add_argument("--texts", type=int, default=1200, help="sentences")
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    texts, pipelines = load_sentences(args.texts), {name: make_pipeline(name, args.updates) for name in NAMES}
    seconds = defaultdict(list)
    for turn in range(args.repeats + 1):  # the first turn warms up
        for name, (nlp, train) in pipelines.items():
            found = []
            clock(found, train)
            with nlp.select_pipes(enable=["tok2vec"]):
                clock(found, lambda nlp=nlp: [None for _ in nlp.pipe(texts)])
            if turn:
                seconds[name].append([x for pair in found for x in pair])
    print("| | training, s | processor, s | vectors, s | processor, s |\n| --- | ---: | ---: | ---: | ---: |")
    for name, rows in seconds.items():
        print(f"| `{name}` | " + " | ".join(f"{statistics.median(column):.2f}" for column in zip(*rows)) + " |", flush=True)


if __name__ == "__main__":
    main()
