"""What the benchmarks that train share: spaCy's own loop, its CPU time, a schedule that fits the data."""

import io
import sys
import tempfile
import time
from pathlib import Path

import spacy
import torch
from spacy.training.initialize import init_nlp
from spacy.training.loop import train
from spacy.util import load_model_from_config, registry


def use_bf16(nlp):
    """Run the encoder's matrix products in bfloat16: the same for every system, about twice as fast where the CPU has it."""
    module = nlp.get_pipe("transformer").model.transformer
    forward = module.forward

    def cast(*args, **kwargs):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            output = forward(*args, **kwargs)
        return type(output)(**{name: value.float() for name, value in output.items()})

    module.forward = cast


def fit_schedule(config, examples, epochs):
    """End the learning rate's schedule with the training, evaluate once an epoch. `examples` in the order of the corpus."""
    batcher = registry.resolve({"batcher": config["training"]["batcher"]})["batcher"]
    per_epoch = sum(1 for _ in batcher(examples))  # accumulating gradients divides a batch, and takes no fewer steps
    rate = config["training"]["optimizer"]["learn_rate"]
    rate["total_steps"], rate["warmup_steps"] = per_epoch * epochs, max(1, per_epoch * epochs // 10)
    config["training"]["max_epochs"] = epochs
    config["training"]["eval_frequency"] = per_epoch


def set_values(config, values):
    """Set dotted keys of a config."""
    for key, value in values.items():
        *path, last = key.split(".")
        node = config
        for name in path:
            node = node.setdefault(name, {})
        node[last] = value


def train_config(config, show, bf16):
    """Train. RETURNS: the pipeline with the best dev weights, CPU seconds of training without evaluation."""
    nlp = init_nlp(load_model_from_config(config, auto_fill=True, validate=True).config)
    if bf16:
        use_bf16(nlp)
    evaluate, evaluating = nlp.evaluate, []

    def timed(*args, **kwargs):
        start = time.process_time()
        result = evaluate(*args, **kwargs)
        evaluating.append(time.process_time() - start)
        return result

    nlp.evaluate = timed
    with tempfile.TemporaryDirectory() as folder:
        start = time.process_time()
        log = sys.stderr if show else io.StringIO()
        train(nlp, Path(folder), stdout=log, stderr=sys.stderr)
        seconds = time.process_time() - start - sum(evaluating)
        return spacy.load(Path(folder) / "model-best"), seconds
