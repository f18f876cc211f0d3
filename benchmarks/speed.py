"""Compressed pipelines against spacy-transformers + spaCy's `ner` with the same encoder, in one run, in alternation.

    python -m spacy ie compress PIPELINE int8 --dev corpus/dev.spacy --precision int8 --backend onnxruntime
    python benchmarks/speed.py PIPELINE int8 [MORE ...] [--repeats 5] [--threads 2] [--output speed.json]

PIPELINE is a trained one, as `bash scripts/all` makes it; the others are what `ie compress` or `ie distil` made of it. Measured for
each, from raw text: words a second over the sentences of assets/newswire in steady state (each reads all of them once before it is
timed, and then forgets the words that it keeps, as if it had not); milliseconds for one text of 20 words, after all other sentences,
whose words it then knows; megabytes on disk. For a compressed pipeline also the share of its bare encoder: the same word pieces in
the same passes, without anything around them. Peers in the same run, with the same encoder: the baseline, and those of
`speed_peers.py`.
"""

import argparse
import gc
import json
import re
import statistics
import tempfile
import time
from pathlib import Path

import spacy
import torch
from speed_peers import make_peers

from spacy_llm_ie.compress.measure import MOST_SHORT, count_words, folder_size, forget_words, shorten, wait_for_each
from spacy_llm_ie.data.corpus import create_corpus_v1
from spacy_llm_ie.encode.weights import packaged_weights, resolve_weights

NEWSWIRE = Path(__file__).parents[1] / "assets" / "newswire"
BASELINE = "spacy-transformers + ner"


def load_sentences(most):
    lines = (NEWSWIRE / "train.jsonl").read_text(encoding="utf8").splitlines()
    sentences = (sentence for line in lines for sentence in re.split(r"(?<=[.!?]) ", json.loads(line)["text"]))
    return [sentence for sentence, _ in zip(sentences, range(most))]


def make_baseline(updates):
    """What spaCy's quickstart writes for transformers, in float32, trained for some updates so that it finds entities."""
    spacy.util.fix_random_seed(0)
    nlp = spacy.blank("en")
    spans = {"@span_getters": "spacy-transformers.strided_spans.v1", "window": 128, "stride": 96}
    model = {"@architectures": "spacy-transformers.TransformerModel.v3", "name": resolve_weights(packaged_weights())}
    nlp.add_pipe("transformer", config={"model": {**model, "get_spans": spans}})
    listener = {"@architectures": "spacy-transformers.TransformerListener.v1", "grad_factor": 1.0}
    parser = {
        "@architectures": "spacy.TransitionBasedParser.v2",
        "state_type": "ner",
        "extra_state_tokens": False,
        "hidden_width": 64,
        "maxout_pieces": 2,
        "use_upper": False,
        "tok2vec": {**listener, "pooling": {"@layers": "reduce_mean.v1"}},
    }
    nlp.add_pipe("ner", config={"model": parser})
    examples = list(create_corpus_v1(NEWSWIRE / "train.jsonl")(nlp))
    optimizer = nlp.initialize(lambda: examples)
    optimizer.learn_rate = 2e-4
    for i in range(updates):
        nlp.update([examples[(8 * i + k) % len(examples)] for k in range(8)], sgd=optimizer)
    return nlp


def record_passes(nlp, texts):
    """The inputs of all passes of a compressed encoder. RETURNS: Its runtime, and them."""
    pipe = nlp.get_pipe("transformer")
    runtime, passes = pipe.model.runtime, []
    run = runtime.run
    runtime.run = lambda inputs: (passes.append(inputs), run(inputs))[1]
    with nlp.select_pipes(enable=["transformer"]):
        for _ in nlp.pipe(texts):
            pass
    del runtime.run
    return runtime, passes


def make_runners(pipelines, texts, folder):
    """What is timed, by name: reads all texts once. Peers keep their files in the folder."""
    runners = {name: (lambda nlp=nlp: [None for _ in nlp.pipe(texts)]) for name, nlp in pipelines.items()}
    longest_first = sorted(texts, key=len, reverse=True)
    for name, peer in make_peers(pipelines["original"], folder, texts).items():
        runners[name] = lambda peer=peer: peer(longest_first)
    for name, nlp in pipelines.items():
        if "transformer" in nlp.pipe_names and hasattr(nlp.get_pipe("transformer").model, "runtime"):
            runtime, passes = record_passes(nlp, texts)
            real, whole = (
                sum(f(p["attention_mask"]) for p in passes) for f in (lambda mask: mask.sum(), lambda mask: mask.size)
            )
            print(f"{name}: {len(passes)} passes, {1 - real / whole:.1%} of their pieces are padding")
            runners[f"{name}, bare encoder"] = lambda runtime=runtime, passes=passes: list(
                runtime.each(lambda inputs: runtime.run(inputs)[0, 0, 0], passes)
            )
    return runners


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("original", type=Path)
    parser.add_argument("compressed", type=Path, nargs="+")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--texts", type=int, default=1200, help="sentences")
    parser.add_argument("--updates", type=int, default=60, help="of the baseline before it is timed")
    parser.add_argument("--batch-size", type=int, default=None, help="documents; what each pipeline says, if not given")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--output", type=Path)
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    texts = load_sentences(args.texts)
    pipelines = {BASELINE: make_baseline(args.updates), "original": spacy.load(args.original)}
    pipelines.update({path.name: spacy.load(path) for path in args.compressed})
    if args.batch_size:
        for nlp in pipelines.values():
            nlp.batch_size = args.batch_size
    words, short = count_words(pipelines["original"], texts), shorten(pipelines["original"], texts)
    others = list(dict.fromkeys(texts))[MOST_SHORT:]
    folder = tempfile.TemporaryDirectory()
    runners = make_runners(pipelines, texts, Path(folder.name))
    gc.freeze()  # so that the garbage collection during a run does not walk over all the other pipelines
    seconds = {name: [] for name in runners}
    waits = {name: [] for name in pipelines}
    for _ in range(args.repeats):
        for name, run in runners.items():
            run()  # so that caches and memory are its own, and no longer those of the one before
            gc.collect()
            for nlp in pipelines.values():
                forget_words(nlp)
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)
        for name, nlp in pipelines.items():
            waits[name].extend(wait_for_each(nlp, short, others))
    sizes = {path.name: folder_size(path) / 1e6 for path in args.compressed}
    sizes["original"] = folder_size(args.original) / 1e6
    speed = {name: words / statistics.median(found) for name, found in seconds.items()}
    rows = []
    for name in speed:
        wait = statistics.median(waits[name]) * 1000 if name in waits else None
        bare = speed.get(f"{name}, bare encoder")
        rows.append(
            {
                "name": name,
                "words_per_second": round(speed[name]),
                "times_baseline": round(speed[name] / speed[BASELINE], 2),
                "share_of_bare": bare and round(speed[name] / bare, 3),
                "p50_ms": wait and round(wait, 2),
                "mb": name in sizes and round(sizes[name], 1) or None,
            }
        )
        shown = [rows[-1][key] for key in list(rows[-1])[1:]]
        print("| " + " | ".join([name, *("" if value is None else f"{value:,}" for value in shown)]) + " |", flush=True)
    if args.output:
        args.output.write_text(
            json.dumps({"words": words, "texts": len(texts), "rows": rows}, indent=1) + "\n", encoding="utf8"
        )


if __name__ == "__main__":
    main()
