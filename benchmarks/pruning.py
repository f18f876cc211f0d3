"""What a trained pipeline loses with parts of its transformer: F1 on development data, without and with steps of recovery.

    python benchmarks/pruning.py training/joint/model-best corpus/train.spacy corpus/dev.spacy --output metrics/pruning.jsonl
    python benchmarks/pruning.py ... --only combined --ways fitted --steps 600 --eval-every 75 --learn-rate 1e-4 --imitate 10 --save training/pruned
    python benchmarks/pruning.py ... --only nothing "in 12 MB" --ways fitted --bits 4 --steps 300 --imitate 1 --no-gold --learn-rate 3e-4 --eval-every 0
    python benchmarks/pruning.py --plot metrics/pruning.jsonl docs/images/pruning.png

Parts are chosen by importance measured on the development data (`gradient`; `fitted`: and what is left is fitted to stand for what is gone), by
the size of their weights (`magnitude`; layers: the last ones), or at `random`. With --bits, scores, errors and recovery are those of the int8
export for ONNX Runtime with so many bits a weight, each rounded for itself (as with --quantize-aware), and its size is measured.
"""

import argparse
import contextlib
import json
import tempfile
import time
from pathlib import Path

import numpy
import spacy
import torch

from spacy_llm_ie.compress.backend import export_encoder
from spacy_llm_ie.compress.distil import read_texts
from spacy_llm_ie.compress.importance import Importance, measure_importance
from spacy_llm_ie.compress.parts import find_layers, find_transformer, head_width
from spacy_llm_ie.compress.prune import prune
from spacy_llm_ie.compress.recover import imitate, recover
from spacy_llm_ie.compress.shrink import Removal, plan_packing
from spacy_llm_ie.compress.simulate import simulated_int8
from spacy_llm_ie.compress.states import relative_distance, token_vectors
from spacy_llm_ie.compress.vocabulary import trim_vocabulary
from spacy_llm_ie.data.corpus import create_corpus_v1

SHOWN = ("ents_f", "rels_micro_f", "triggers_f", "args_f")
# By name: what is removed; `pieces` beyond those of the training data.
SETTINGS = {
    "nothing": {},
    "heads 25%": {"heads": 0.25},
    "heads 50%": {"heads": 0.5},
    "neurons 25%": {"neurons": 0.25},
    "neurons 50%": {"neurons": 0.5},
    "neurons 75%": {"neurons": 0.75},
    "layers 6 to 5": {"layers": 1},
    "layers 6 to 4": {"layers": 2},
    "layers 6 to 3": {"layers": 3},
    "pieces of the corpus": {"extra": 0},
    "pieces of the corpus + 6000": {"extra": 6000},
    "combined, less": {"heads": 0.5, "neurons": 0.5, "extra": 4000},
    # In int8, 12 MB without what is beside the weights.
    "combined": {"heads": 0.584, "neurons": 0.625, "extra": 6400},
    # With --bits 4, a folder of 12 MB.
    "in 12 MB": {"heads": 0.25, "neurons": 0.125, "extra": 30000},
}


def weigh(transformer):
    """The baseline: a part is as important as its weights are large."""
    layers, width = find_layers(transformer), head_width(transformer.config)
    with torch.no_grad():
        heads = [layer.heads.weight.pow(2).sum(0).view(-1, width).sum(1).sqrt() for layer in layers]
        neurons = [layer.neurons_out.weight.norm(dim=0) * layer.neurons_in.weight.norm(dim=1) for layer in layers]
    unit = [[(row / row.norm()).numpy() for row in rows] for rows in (heads, neurons)]
    # Layers: the last first (Sajjad et al. 2020, Poor Man's BERT).
    return Importance(numpy.array(unit[0]), numpy.array(unit[1]), tuple(range(len(layers) - 1, 0, -1)))


def draw(transformer, seed):
    """The baseline: no importance at all."""
    rng = numpy.random.default_rng(seed)
    found = weigh(transformer)
    order = tuple(rng.permutation(len(found.neurons))[1:].tolist())
    return Importance(rng.random(found.heads.shape), rng.random(found.neurons.shape), order)


def size_in_int8(nlp):
    """Bytes of the pipeline's folder if each number among its weights took one byte."""
    numbers = 0
    for _, pipe in nlp.pipeline:
        for node in pipe.model.walk():
            numbers += sum(node.get_param(name).size for name in node.param_names if node.has_param(name))
            modules = [shim._model for shim in node.shims if isinstance(getattr(shim, "_model", None), torch.nn.Module)]
            numbers += sum(parameter.numel() for module in modules for parameter in module.parameters())
    with tempfile.TemporaryDirectory() as folder:
        nlp.to_disk(folder)
        return sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file()) - 3 * numbers


class Rounding:
    """A pipeline as its int8 export will be; without --bits, as it is."""

    def __init__(self, args, nlp, teacher, train, dev):
        self.bits, self.nlp, self.teacher = args.bits, nlp, teacher
        self.packing = plan_packing(nlp, Removal(bits=args.bits), train) if args.bits else None
        self.docs = [example.reference for example in dev]

    def __enter__(self):
        transformer = find_transformer(self.nlp).transformer
        self.context = simulated_int8(transformer, packing=self.packing) if self.bits else contextlib.nullcontext()
        return self.context.__enter__()

    def __exit__(self, *error):
        return self.context.__exit__(*error)

    def costs(self):
        if not self.bits:
            return {}
        with torch.no_grad(), self:
            vectors = [token_vectors(find_transformer(one), self.docs) for one in (self.nlp, self.teacher)]
        weights = export_encoder(find_transformer(self.nlp), "onnxruntime", "int8", self.packing)
        error = float(relative_distance(*vectors)) ** 0.5
        return {"bits": self.bits, "error": round(100 * error, 1), "encoder_bytes": len(weights)}


def show(nlp, dev, **about):
    scores = nlp.evaluate(dev)
    row = {**about, **{name: round(100 * scores[name], 1) for name in SHOWN if scores.get(name) is not None}}
    row["mean"] = round(float(numpy.mean([row[name] for name in SHOWN if name in row])), 1)
    transformer = find_transformer(nlp).transformer
    row["parameters"] = sum(parameter.numel() for parameter in transformer.parameters())
    row["int8_bytes"] = size_in_int8(nlp)
    print(json.dumps(row), flush=True)
    return row


def run(args, name, setting, way, importance):
    nlp, teacher = spacy.load(args.pipeline), spacy.load(args.pipeline)
    train, dev = (list(create_corpus_v1(path)(nlp)) for path in (args.train, args.dev))
    docs = [example.reference for example in train[: args.fit_on]] if way == "fitted" else None
    parts = {key: value for key, value in setting.items() if key in ("heads", "neurons", "layers")}
    if "extra" in setting:
        texts = [example.reference.text for example in train]
        trim_vocabulary(nlp, texts, min_count=setting.get("min_count", 1), extra=setting["extra"])
    rows = []
    for number in range(args.rounds):
        # In rounds, each removes the same share of what is left, by an importance that is measured anew.
        shares = {key: value if key == "layers" else 1 - (1 - value) ** (1 / args.rounds) for key, value in parts.items()}
        if parts:
            prune(nlp, importance if number == 0 else measure_importance(nlp, dev, rank_layers=False), **shares, docs=docs)
        about = {"name": name, "way": way, "rounds": args.rounds, "round": number + 1, "seed": args.seed}
        rounding = Rounding(args, nlp, teacher, train, dev)
        costs = rounding.costs()
        with rounding:
            rows.append(show(nlp, dev, **about, **costs, steps=0))
        if args.steps:
            start, steps = time.process_time(), args.steps // args.rounds
            update = imitate(teacher, weight=args.imitate, gold=not args.no_gold) if args.imitate else None
            settings = {"learn_rate": args.learn_rate, "eval_every": args.eval_every or steps, "seed": args.seed}
            texts = read_texts(nlp, args.texts) if args.texts else None
            with rounding:
                found = recover(nlp, train, dev, steps, texts=texts, update=update, **settings)
            about.update(cpu_seconds=round(time.process_time() - start), learn_rate=args.learn_rate, imitate=args.imitate)
            about["by_step"] = {one.step: round(100 * one.score, 1) for one in found}
            costs = rounding.costs()
            with rounding:
                rows.append(show(nlp, dev, **about, **costs, steps=steps))
    if args.save:
        nlp.to_disk(args.save)
    return rows


def draw_plot(source, target):
    from matplotlib import pyplot

    rows = [json.loads(line) for line in Path(source).read_text(encoding="utf8").splitlines()]
    figure, axes = pyplot.subplots(figsize=(6, 4), layout="constrained")
    labels = {
        "random": "at random",
        "magnitude": "by size of weights",
        "gradient": "by gradients",
        "fitted": "by gradients, fitted",
    }
    for way, label in labels.items():
        kept = [
            row for row in rows if row["way"] == way and row["steps"] == 0 and row["name"].startswith(("nothing", "neurons"))
        ]
        kept += [row for row in rows if row["name"] == "nothing" and not any(one["name"] == "nothing" for one in kept)][:1]
        kept.sort(key=lambda row: row["parameters"])
        axes.plot([row["parameters"] / 1e6 for row in kept], [row["mean"] for row in kept], marker="o", label=label)
    axes.set_xlabel("parameters of the transformer, millions (neurons removed)")
    axes.set_ylabel("mean F1 of the four tasks, dev, no recovery")
    axes.legend()
    figure.savefig(target, dpi=120)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pipeline", nargs="?")
    parser.add_argument("train", type=Path, nargs="?")
    parser.add_argument("dev", type=Path, nargs="?")
    parser.add_argument("--only", nargs="*", help="names of settings: " + ", ".join(SETTINGS))
    parser.add_argument("--set", type=json.loads, help="another setting, as JSON: heads, neurons, layers, extra, min_count")
    parser.add_argument("--ways", nargs="*", default=["fitted", "gradient", "magnitude", "random"])
    parser.add_argument("--steps", type=int, default=0, help="steps of recovery")
    parser.add_argument("--learn-rate", type=float)
    parser.add_argument("--eval-every", type=int, default=50, help="0: before and after recovery only")
    parser.add_argument("--fit-on", type=int, default=120, help="training texts for the fit")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--imitate", type=float, default=0.0, help="weight of the difference from the vectors of the unpruned pipeline"
    )
    parser.add_argument("--no-gold", action="store_true", help="with --imitate: from these vectors alone, as ie compress does")
    parser.add_argument("--texts", type=Path, help="more text to learn these vectors from")
    parser.add_argument("--bits", type=int, choices=[4, 8], help="of a weight in the int8 export")
    parser.add_argument("--rounds", type=int, default=1, help="remove and recover in so many rounds, which share the steps")
    parser.add_argument("--save", type=Path, help="keep the last pipeline in this folder")
    parser.add_argument("--output", type=Path, help="append the figures to this JSONL file")
    parser.add_argument(
        "--plot", type=Path, nargs=2, metavar=("JSONL", "IMAGE"), help="draw the figures of such a file, and end"
    )
    args = parser.parse_args()
    if args.plot:
        draw_plot(*args.plot)
        return
    settings = {json.dumps(args.set): args.set} if args.set else {name: SETTINGS[name] for name in args.only or SETTINGS}
    nlp = spacy.load(args.pipeline)
    transformer = find_transformer(nlp).transformer
    chosen = {"magnitude": weigh(transformer), "random": draw(transformer, args.seed)}
    by_layers = any(isinstance(setting.get("layers"), int) for setting in settings.values())
    dev = list(create_corpus_v1(args.dev)(nlp))
    chosen["gradient"] = chosen["fitted"] = measure_importance(nlp, dev, rank_layers=by_layers, progress=True)
    print("layers in the order in which they go:", chosen["gradient"].layers, flush=True)
    for name, setting in settings.items():
        chooses = {"heads", "neurons", "layers"}.intersection(setting)
        fits = {"heads", "neurons"}.intersection(setting)
        for way in args.ways:
            if way == "fitted" and not fits and chooses or not chooses and way != args.ways[0]:
                continue
            for row in run(args, name, setting, way, chosen[way]):
                if args.output:
                    args.output.parent.mkdir(parents=True, exist_ok=True)
                    with args.output.open("a", encoding="utf8") as file:
                        file.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
