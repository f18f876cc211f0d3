"""`ie_ner` against spaCy's `ner` on the same data, encoder, epochs, batches and schedule, in one run.

    python benchmarks/ner.py --corpus wnut17 --data PATH/wnut17
    python benchmarks/ner.py --corpus ncbi-disease --data PATH/ncbi-disease
    python benchmarks/ner.py --corpus newswire --system ie_ner
    python benchmarks/ner.py --corpus wnut17 --data PATH/wnut17 --training-speed --system spacy_ner ie_ner ie_ner_bf16

`ie_ner_bf16` is `ie_ner` with `bfloat16_training = true`, as configs/ner.cfg has it; the switch is left out of `ie_ner` so that `--bf16`,
which trains every system in bfloat16, compares like with like.

Each system is trained once a seed by spaCy's own training loop; the epoch with the best dev F1 is kept, and its test F1 is shown
only with `--test`: choose settings without it. `spacy_ner` is what `spacy init config --pipeline ner --gpu` recommends
(spacy-transformers' TransformerModel.v3, TransitionBasedParser.v2, 5e-5, batches of 2,000 padded words in 3 parts), with warm-up and decay
fitted to the epochs; `spacy_ner_ours` is the same parser with our batches and rates. `ie_ner` is what configs/ner.cfg ships: our CRF behind
our TransformerModel.v1, with the same weights. Training time is CPU time of the process, which neighbours on a shared machine disturb less
than the clock's, evaluation left out. Speeds are medians of alternating runs of the trained pipelines over the test texts.
"""

import argparse
import itertools
import json
import random
import statistics
import time
from pathlib import Path

import spacy
from loop import fit_schedule, set_values, train_config, use_bf16
from spacy.tokens import Doc
from spacy.training import Example
from spacy.training.initialize import init_nlp
from spacy.training.loop import subdivide_batch
from spacy.util import load_model_from_config, registry
from thinc.api import Config

from spacy_llm_ie.encode.weights import packaged_weights, resolve_weights

ROOT = Path(__file__).parents[1]
FILES = {
    "wnut17": ("wnut17train.conll", "emerging.dev.conll", "emerging.test.annotated"),
    "ncbi-disease": ("train.tsv", "devel.tsv", "test.tsv"),
    "crossner": ("train.txt", "dev.txt", "test.txt"),
    "newswire": ("train.jsonl", "dev.jsonl", "test.jsonl"),
}

BASE = """
[paths]
train = null
dev = null
[system]
seed = 0
[nlp]
lang = "en"
pipeline = ["transformer", "ner"]
[components]
[components.transformer]
factory = "transformer"
[components.transformer.model]
@architectures = "spacy-transformers.TransformerModel.v3"
name = ""
[components.transformer.model.get_spans]
@span_getters = "spacy-transformers.strided_spans.v1"
window = 128
stride = 96
[corpora]
[corpora.train]
@readers = "benchmark_corpus"
path = ${paths.train}
[corpora.dev]
@readers = "benchmark_corpus"
path = ${paths.dev}
[training]
seed = ${system.seed}
dropout = 0.1
max_steps = 0
patience = 0
[training.batcher]
@batchers = "spacy.batch_by_padded.v1"
discard_oversize = false
size = 2000
buffer = 256
[training.optimizer]
@optimizers = "Adam.v1"
[training.optimizer.learn_rate]
@schedules = "warmup_linear.v1"
warmup_steps = 1
total_steps = 2
initial_rate = 5e-5
"""
LISTENER = """
[components.ner.model.tok2vec]
@architectures = "spacy-transformers.TransformerListener.v1"
grad_factor = 1.0
[components.ner.model.tok2vec.pooling]
@layers = "reduce_mean.v1"
"""
SPACY_NER = """
[components.ner]
factory = "ner"
[components.ner.model]
@architectures = "spacy.TransitionBasedParser.v2"
state_type = "ner"
extra_state_tokens = false
hidden_width = 64
maxout_pieces = 2
use_upper = false
"""
OUR_TRANSFORMER = """
[components]
[components.transformer]
[components.transformer.model]
@architectures = "spacy-llm-ie.TransformerModel.v1"
name = ""
[components.transformer.model.get_spans]
@span_getters = "spacy-llm-ie.wordpiece_spans.v1"
window = 192
stride = 144
"""
IE_NER = """
[components.ner]
factory = "ie_ner"
learn_rate_factor = 20
[components.ner.model]
@architectures = "spacy-llm-ie.CrfTagger.v1"
[components.ner.model.features]
@architectures = "spacy.MultiHashEmbed.v2"
width = 32
attrs = ["SHAPE", "PREFIX", "SUFFIX", "NORM"]
rows = [1000, 1000, 1000, 2500]
include_static_vectors = false
"""
# settings that differ between systems: accumulated batches, encoder's learning rate
SYSTEMS = {
    "ie_ner": (IE_NER, {"training.accumulate_gradient": 1, "training.optimizer.learn_rate.initial_rate": 1e-4}),
    "ie_ner_bf16": (
        IE_NER,
        {
            "training.accumulate_gradient": 1,
            "training.optimizer.learn_rate.initial_rate": 1e-4,
            "components.transformer.model.bfloat16_training": True,
        },
    ),
    "spacy_ner": (SPACY_NER, {"training.accumulate_gradient": 3, "training.optimizer.learn_rate.initial_rate": 5e-5}),
    "spacy_ner_ours": (SPACY_NER, {"training.accumulate_gradient": 1, "training.optimizer.learn_rate.initial_rate": 1e-4}),
}


def read_columns(path, vocab):
    """Sentences of `token<TAB>tag` lines as documents."""
    words, tags = [], []
    for line in [*path.read_text(encoding="utf8").split("\n"), ""]:
        fields = line.rstrip("\r").split("\t")
        if line.strip():
            words.append(fields[0])
            tags.append(fields[-1])
        elif words:
            yield Doc(vocab, words=words, ents=tags)
            words, tags = [], []


def read_json_lines(path, nlp):
    for line in path.read_text(encoding="utf8").splitlines():
        record = json.loads(line)
        doc = nlp.make_doc(record["text"])
        doc.set_ents([doc.char_span(e["start"], e["end"], label=e["label"]) for e in record["entities"]])
        yield doc


@registry.readers("benchmark_corpus")
def create_reader(path):
    def read(nlp):
        file = Path(path)
        docs = read_json_lines(file, nlp) if file.suffix == ".jsonl" else read_columns(file, nlp.vocab)
        for doc in docs:
            yield Example(Doc(nlp.vocab, words=[t.text for t in doc], spaces=[bool(t.whitespace_) for t in doc]), doc)

    return read


def make_config(system, files, epochs, seed, overrides):
    text, settings = SYSTEMS[system]
    base = Config().from_str(BASE + text + LISTENER, interpolate=False)
    if system.startswith("ie_ner"):
        base["components"]["transformer"]["model"] = Config().from_str(OUR_TRANSFORMER)["components"]["transformer"]["model"]
    settings = {**settings, "paths.train": str(files[0]), "paths.dev": str(files[1]), "system.seed": seed, **overrides}
    settings["components.transformer.model.name"] = resolve_weights(packaged_weights())
    config = base.merge({})
    set_values(config, settings)
    examples = list(create_reader(files[0])(spacy.blank("en")))
    random.Random(0).shuffle(examples)
    fit_schedule(config, examples, epochs)
    return config


def run(system, files, epochs, seed, overrides, show, bf16):
    """Train one system. RETURNS: the pipeline with the best dev weights, CPU seconds of training without evaluation, dev F1."""
    config = make_config(system, files, epochs, seed, overrides)
    trained, seconds = train_config(config, show, bf16)
    return trained, seconds, trained.meta["performance"]["ents_f"]


def training_speed(systems, files, overrides, bf16, updates=12):
    """CPU milliseconds a word of training, by system: updates of the same batches in alternation, after one to warm up."""
    pipes, times, words = {}, {name: 0.0 for name in systems}, 0
    for name in systems:
        config = make_config(name, files, 6, 0, overrides)
        nlp = init_nlp(load_model_from_config(config, auto_fill=True, validate=True).config)
        if bf16:
            use_bf16(nlp)
        examples = list(create_reader(files[0])(nlp))
        random.Random(0).shuffle(examples)
        batcher = registry.resolve({"batcher": config["training"]["batcher"]})["batcher"]
        batches = [list(batch) for batch in itertools.islice(batcher(examples), updates + 1)]
        pipes[name] = (nlp, nlp.resume_training(), config["training"]["accumulate_gradient"], batches)
    for i in range(updates + 1):
        for name, (nlp, sgd, parts, batches) in pipes.items():
            start = time.process_time()
            for part in subdivide_batch(batches[i], parts):
                nlp.update(part, drop=0.1, sgd=False, losses={})
            for _, pipe in nlp.pipeline:
                pipe.finish_update(sgd)
            if i:
                times[name] += time.process_time() - start
        words += sum(len(eg.predicted) for eg in batches[i]) if i else 0
    return {name: 1000 * seconds / words for name, seconds in times.items()}


def speed(pipelines, docs, repeats=3):
    """Words per second of each pipeline over the same texts, in alternation; the median."""
    words = sum(len(doc) for doc in docs)
    rates = {name: [] for name in pipelines}
    for _ in range(repeats):
        for name, nlp in pipelines.items():
            copies = [Doc(nlp.vocab, words=[t.text for t in d], spaces=[bool(t.whitespace_) for t in d]) for d in docs]
            start = time.perf_counter()
            for _doc in nlp.pipe(copies, batch_size=256):
                pass
            rates[name].append(words / (time.perf_counter() - start))
    return {name: statistics.median(values) for name, values in rates.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--corpus", choices=FILES, required=True)
    parser.add_argument("--data", type=Path, default=ROOT / "assets" / "newswire", help="folder of the corpus")
    parser.add_argument("--system", nargs="+", choices=SYSTEMS, default=["spacy_ner", "spacy_ner_ours", "ie_ner"])
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--test", action="store_true", help="score the test set")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=JSON", help="override settings of the config")
    parser.add_argument("--bf16", action="store_true", help="train every system with bfloat16 matrix products")
    parser.add_argument("--show", action="store_true", help="show the training log")
    parser.add_argument("--training-speed", action="store_true", help="only compare the cost of updates, in alternation")
    parser.add_argument("--output", type=Path, help="append results to this JSONL file")
    args = parser.parse_args()
    files = [args.data / name for name in FILES[args.corpus]]
    overrides = {key: json.loads(value) for key, _, value in (item.partition("=") for item in args.set)}
    if args.training_speed:
        for name, cost in training_speed(args.system, files, overrides, args.bf16).items():
            print(f"{name:<16} {cost:.3f} CPU ms a word")
        return
    pipelines = {}
    print(
        f"{'system':<16} {'seed':>4} {'CPU s':>8} {'dev F1':>7} {'test F1':>8} {'test P':>7} {'test R':>7} {'ECE':>6}",
        flush=True,
    )
    for seed in args.seeds:
        for system in args.system:
            nlp, seconds, dev = run(system, files, args.epochs, seed, overrides, args.show, args.bf16)
            pipelines[system] = nlp
            row = {
                "corpus": args.corpus,
                "system": system,
                "seed": seed,
                "epochs": args.epochs,
                "seconds": seconds,
                "dev_f": dev,
            }
            if args.test:
                scores = nlp.evaluate(list(create_reader(files[2])(nlp)), batch_size=256)
                row.update({key: scores.get(key) for key in ("ents_f", "ents_p", "ents_r", "ents_ece")})
            shown = [f"{100 * row[k]:.2f}" if row.get(k) is not None else "-" for k in ("dev_f", "ents_f", "ents_p", "ents_r")]
            ece = f"{row['ents_ece']:.3f}" if row.get("ents_ece") is not None else "-"
            print(
                f"{system:<16} {seed:>4} {seconds:>8.0f} {shown[0]:>7} {shown[1]:>8} {shown[2]:>7} {shown[3]:>7} {ece:>6}",
                flush=True,
            )
            if args.output:
                with args.output.open("a", encoding="utf8") as file:
                    file.write(json.dumps({**row, "set": args.set}) + "\n")
    docs = [eg.reference for eg in create_reader(files[2])(spacy.blank("en"))]
    for name, rate in speed(pipelines, docs).items():
        print(f"{name:<16} {rate:>8.0f} words/s")


if __name__ == "__main__":
    main()
