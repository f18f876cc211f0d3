"""Where the time of a pipeline goes: microseconds a word in each component, one after the other, and altogether in `nlp.pipe`.

    python benchmarks/parts.py PIPELINE [MORE ...] [--texts 1200] [--repeats 5] [--batch 128]

Sentences of assets/newswire, as if their words had not been seen before, in batches of 128 documents; with `--batch 1`, one at a
time. Wall clock and processor time differ where a component uses several threads. `nlp.pipe`, in batches of its own, takes less than
its parts where the pipeline is compressed, since the encoder runs beside the other components.
"""

import argparse
import statistics
import time
from collections import defaultdict
from pathlib import Path

import spacy
from spacy.util import minibatch
from speed import load_sentences

from spacy_llm_ie.compress.measure import forget_words


def clock(found, name, function, *args):
    """Call a function, and note the seconds that it took, of the clock and of the processor. RETURNS: What it returns."""
    start, used = time.perf_counter(), time.process_time()
    result = function(*args)
    found[name].append((time.perf_counter() - start, time.process_time() - used))
    return result


def run_components(nlp, docs, size, found):
    """Run each component over batches."""
    for batch in minibatch(docs, size):
        batch = list(batch)
        for name, pipe in nlp.pipeline:
            if hasattr(pipe, "predict"):
                predictions = clock(found, name, pipe.predict, batch)
                clock(found, f"{name}, writing", pipe.set_annotations, batch, predictions)
            else:
                clock(found, name, lambda pipe=pipe, batch=batch: [pipe(doc) for doc in batch])


def measure(nlp, texts, repeats, size):
    """RETURNS (Dict[str, Tuple[float, float]]): Microseconds a word by part: wall clock and processor, medians of the repeats."""
    turns = []
    for turn in range(repeats + 1):  # the first turn warms up
        found = defaultdict(list)
        forget_words(nlp)
        docs = clock(found, "tokenizer", lambda: [nlp.make_doc(text) for text in texts])
        run_components(nlp, docs, size, found)
        forget_words(nlp)
        clock(found, "nlp.pipe", lambda: [None for _ in nlp.pipe(texts)])
        if turn:
            turns.append({name: [sum(column) for column in zip(*pairs)] for name, pairs in found.items()})
    words = sum(map(len, docs))
    return {name: [1e6 * statistics.median(turn[name][i] for turn in turns) / words for i in (0, 1)] for name in turns[0]}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pipelines", type=Path, nargs="+")
    parser.add_argument("--texts", type=int, default=1200)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--batch", type=int, default=128, help="documents")
    args = parser.parse_args()
    texts = load_sentences(args.texts)
    for path in args.pipelines:
        print(f"\n{path}\n| | wall clock, us a word | processor, us a word |\n| --- | ---: | ---: |")
        for name, (wall, used) in measure(spacy.load(path), texts, args.repeats, args.batch).items():
            print(f"| {name} | {wall:.1f} | {used:.1f} |", flush=True)


if __name__ == "__main__":
    main()
