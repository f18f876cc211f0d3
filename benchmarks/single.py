"""One text at a time: a compressed pipeline with the encoder's pass in one thread, shared by threads, and as it chooses, beside
busy programs.

    python benchmarks/single.py PIPELINE [MORE ...] [--busy 0 1 2] [--repeats 7]

Milliseconds for one text of 20 words, medians of the medians, in alternation. Busy programs count for ever, and want a processor each.
Pipelines must run in ONNX Runtime, 1.27 or newer; older ones, and OpenVINO, do not share a pass.
"""

import argparse
import statistics
import subprocess
import sys
from pathlib import Path

import spacy
import torch
from speed import load_sentences

from spacy_llm_ie.compress.measure import shorten, wait_for_each


def measure(nlp, texts, repeats):
    """RETURNS (Tuple[float, float, float]): Milliseconds with one thread, with those that share the pass, and with the quicker way."""
    for text in texts[:2]:
        nlp(text)
    quicker, seconds = getattr(nlp.get_pipe("transformer").model.runtime, "_quicker", None), ([], [], [])
    if quicker is None:
        raise SystemExit("Passes of single texts are not shared here: it takes ONNX Runtime, 1.27 or newer, and two threads.")
    for _ in range(repeats):
        for way in (0, 1):
            quicker.choose = lambda _, way=way: way
            seconds[way].append(statistics.median(wait_for_each(nlp, texts)))
        del quicker.choose
        seconds[2].append(statistics.median(wait_for_each(nlp, texts)))
    return tuple(1000 * statistics.median(found) for found in seconds)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pipelines", type=Path, nargs="+")
    parser.add_argument("--busy", type=int, nargs="+", default=[0, 1, 2], help="programs beside it")
    parser.add_argument("--repeats", type=int, default=7)
    args = parser.parse_args()
    pipelines = {path.name: spacy.load(path) for path in args.pipelines}
    texts = shorten(next(iter(pipelines.values())), load_sentences(1200))
    print(f"{torch.get_num_threads()} threads\n| | busy programs | one thread, ms | shared, ms | chosen, ms |")
    print("| --- | ---: | ---: | ---: | ---: |")
    for count in args.busy:
        programs = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
        try:
            for name, nlp in pipelines.items():
                found = measure(nlp, texts, args.repeats)
                print(f"| {name} | {count} | " + " | ".join(f"{seconds:.1f}" for seconds in found) + " |", flush=True)
        finally:
            for program in programs:
                program.kill()


if __name__ == "__main__":
    main()
