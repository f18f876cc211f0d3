"""This version of the code against another one, in turns of a second or so, so that what else the machine does hits both alike.

    git worktree add ../before COMMIT
    python benchmarks/alternate.py PIPELINE --before ../before [--rounds 25] [--batch]

PIPELINE is a compressed one. Both versions run in a process of their own. In each round, each reads some hundred sentences of
assets/newswire, whose words it then knows, and then short texts of others one by one: milliseconds for a text, of each component
(medians); of the encoder's pass; and of all the rest. With `--batch`: seconds for 1,200 sentences by `nlp.pipe`, and those of the
processor. Ratios are medians over rounds.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path

import spacy
from speed import load_sentences

import spacy_llm_ie
from spacy_llm_ie.compress.measure import MOST_SHORT, forget_words, shorten

HERE = Path(__file__).resolve()
OTHERS = 400


def read_singly(nlp, texts, passes):
    """RETURNS (Dict[str, float]): Milliseconds for a text, by part."""
    passes.clear()
    times = defaultdict(list)

    def note(part, start):
        times[part].append(time.perf_counter() - start)

    for text in texts:
        whole = time.perf_counter()
        doc = nlp.make_doc(text)
        for name, pipe in nlp.pipeline:
            start = time.perf_counter()
            doc = pipe(doc)
            note(name, start)
        note("all", whole)
    found = {part: 1000 * statistics.median(seconds) for part, seconds in times.items()}
    found["the encoder's pass"] = 1000 * statistics.median(passes)
    return {**found, "all but the pass": found["all"] - found["the encoder's pass"]}


def read_all(nlp, texts):
    """RETURNS (Dict[str, float]): Seconds for all texts."""
    forget_words(nlp)
    clock, processor = time.perf_counter(), time.process_time()
    for _ in nlp.pipe(texts):
        pass
    return {"clock": time.perf_counter() - clock, "processor": time.process_time() - processor}


def work(path, batch):
    """Measure once for each line that comes in, and print what was found."""
    if not Path(spacy_llm_ie.__file__).is_relative_to(Path.cwd()):
        raise SystemExit(f"measured would be {spacy_llm_ie.__file__}, not what is in {Path.cwd()}")
    nlp = spacy.load(path)
    sentences, passes = load_sentences(1200), []
    texts = shorten(nlp, sentences)
    runtime = nlp.get_pipe("transformer").model.runtime
    run = runtime.run_single

    def timed(inputs):
        start = time.perf_counter()
        found = run(inputs)
        passes.append(time.perf_counter() - start)
        return found

    runtime.run_single = timed
    for _ in sys.stdin:
        if batch:
            found = read_all(nlp, sentences)
        else:
            read_all(nlp, sentences[MOST_SHORT : MOST_SHORT + OTHERS])
            found = read_singly(nlp, texts, passes)
        print(json.dumps(found), flush=True)


def start(root, args):
    """RETURNS (subprocess.Popen): A process that measures with the code in a folder."""
    command = [sys.executable, "-W", "ignore", str(HERE), str(args.pipeline.resolve()), "--work"]
    settings = {**os.environ, "PYTHONPATH": str(root)}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    return subprocess.Popen(command + ["--batch"] * args.batch, cwd=root, env=settings, **pipes)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pipeline", type=Path)
    parser.add_argument("--before", type=Path, help="a checkout of another commit")
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--batch", action="store_true")
    parser.add_argument("--work", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.work:
        return work(args.pipeline, args.batch)
    if args.before is None or not (args.before / "spacy_llm_ie").is_dir():
        parser.error(f"--before must be a checkout of this project, found: {args.before}")
    processes = [start(root.resolve(), args) for root in (args.before, HERE.parents[1])]
    rounds = []
    try:
        for i in range(args.rounds + 1):
            found = {}
            for which in (0, 1) if i % 2 else (1, 0):
                processes[which].stdin.write("\n")
                processes[which].stdin.flush()
                line = processes[which].stdout.readline()
                if not line:
                    raise SystemExit("One of the two processes failed; its last lines are above.")
                found[which] = json.loads(line)
            rounds += [(found[0], found[1])] * (i > 0)  # the first one warms up
    finally:
        for process in processes:
            process.kill()
    print("| | before | now | ratio |\n| --- | ---: | ---: | ---: |")
    for part in rounds[0][0]:
        before, now = ([found[which][part] for found in rounds] for which in (0, 1))
        ratio = statistics.median(b / a for a, b in zip(before, now))
        print(f"| {part} | {statistics.median(before):.3f} | {statistics.median(now):.3f} | {ratio:.2f} |")


if __name__ == "__main__":
    main()
