"""A pipeline that has lost parts is trained on, for some steps, to do without them."""

import copy
import random
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Sequence, Set

import torch
from spacy.language import Language
from spacy.schemas import ConfigSchemaTraining
from spacy.training import Example
from spacy.util import registry
from thinc.api import Model, Optimizer, fix_random_seed
from tqdm import tqdm

from ..errors import Errors
from .importance import clear_gradients
from .parts import find_transformer
from .states import relative_distance, token_vectors

# The dropout rate with which components learn.
DROP = 0.1
# Leaves the gradients of a batch in the pipeline's parameters. The pipeline, the batch -> losses by name.
UpdateT = Callable[[Language, List[Example]], Dict[str, float]]


class Checkpoint(NamedTuple):
    """A pipeline on held-out data, after some steps: `score` is weighted as [training.score_weights] says."""

    step: int
    score: float
    scores: Dict[str, Any]


def recover(
    nlp: Language,
    train: Sequence[Example],
    dev: Sequence[Example],
    steps: int,
    *,
    texts: Optional[Sequence[Example]] = None,
    update: Optional[UpdateT] = None,
    learn_rate: Optional[float] = None,
    frozen: Sequence[str] = (),
    eval_every: int = 50,
    seed: int = 0,
    progress: bool = False,
) -> List[Checkpoint]:
    """Train for a number of steps with the training settings of the pipeline (optimizer, batcher, dropout), a warm-up and a decay
    of the learning rate that end with the steps; then go back to the weights with the best score on held-out data.

    nlp (Language): The pipeline. Its weights are modified in place.
    train (Sequence[Example]): Training data; shuffled for each pass.
    dev (Sequence[Example]): Held-out data, on which the best weights are chosen; those before the first step are among them.
    steps (int): How many updates.
    texts (Optional[Sequence[Example]]): More text, without annotation, for an `update` that learns from text: each step learns
        from a batch of the training data and from one of these.
    update (Optional[Callable]): Leaves the gradients of a batch in the parameters, and returns losses by name; see `imitate`.
        None: `nlp.update` with the gold annotation.
    learn_rate (Optional[float]): The highest learning rate. None: that of the settings.
    frozen (Sequence[str]): Components that stay as they are, beside those that the settings freeze.
    eval_every (int): Steps between two evaluations.
    seed (int): Of the order of the data, and of dropout.
    progress (bool): Show a progress bar on a terminal.
    RETURNS (List[Checkpoint]): All evaluations; the first is that before the first step.
    RAISES (ValueError): If there is no data (E728), or a number is out of range (E722).
    """
    _check(train, dev, texts, {"steps": steps, "eval_every": eval_every})
    fix_random_seed(seed)
    settings = _fit_settings(nlp, steps, learn_rate)
    optimizer: Optimizer = settings["optimizer"]
    update = update or _make_update(settings)
    checkpoints = [_evaluate(nlp, dev, 0, optimizer, settings)]
    best, weights = checkpoints[0].score, _copy_weights(nlp)
    clear_gradients(nlp)
    batches = [_cycle(source, settings["batcher"], seed) for source in (train, texts) if source is not None]
    for step in tqdm(range(1, steps + 1), desc="Recovering", disable=None if progress else True):
        for source in batches:
            update(nlp, next(source))
        _finish_update(nlp, optimizer, {*settings["frozen_components"], *frozen})
        if step % eval_every == 0 or step == steps:
            checkpoints.append(_evaluate(nlp, dev, step, optimizer, settings))
            if checkpoints[-1].score >= best:  # the later ones, which have learned more, if they do as well
                best, weights = checkpoints[-1].score, _copy_weights(nlp, optimizer.averages)
    _set_weights(nlp, weights)
    return checkpoints


def imitate(teacher: Language, *, weight: float = 1.0, gold: bool = True, drop: float = DROP) -> UpdateT:
    """Make an `update` for `recover` that brings the vectors of the transformer back to what they were.

    The loss is added to that of the gold annotation: weight · the squared difference of each token's vector from the teacher's,
    summed over tokens, relative to the squares of the teacher's. Removing parts keeps the width, so vectors can be compared
    as they are (Romero et al. 2015, FitNets, equation 3, without the regressor). Texts need not be annotated for that, and there
    is no dropout in this part.

    teacher (Language): The pipeline as it was; not changed. Its tokenizer must be the same, its vocabulary need not.
    weight (float): Of this loss.
    gold (bool): Also learn from gold annotation. False: from the teacher's vectors alone.
    drop (float): Dropout rate with which the components learn from gold annotation.
    RETURNS (Callable): For the `update` of `recover`.
    """
    old = find_transformer(teacher)

    def update(nlp: Language, batch: List[Example]) -> Dict[str, float]:
        losses: Dict[str, float] = nlp.update(batch, drop=drop, sgd=False) if gold else {}
        # Made with the teacher's vocabulary: words of texts that are only learned from are not to be saved with the pipeline.
        docs = [teacher.make_doc(example.reference.text) for example in batch if example.reference.text.strip()]
        if not docs:
            return losses
        with torch.no_grad():
            target = token_vectors(old, docs)
        loss = weight * relative_distance(token_vectors(find_transformer(nlp), docs), target)
        loss.backward()
        return {**losses, "vectors": float(loss.detach())}

    return update


def _check(
    train: Sequence[Example], dev: Sequence[Example], texts: Optional[Sequence[Example]], numbers: Dict[str, Any]
) -> None:
    for name, value in numbers.items():
        if not isinstance(value, int) or value < 1:
            raise ValueError(Errors.E722.format(setting=name, found=value, expected="a whole number, 1 or more"))
    if not train or not dev or texts is not None and not texts:
        found = f"{len(train)} training example(s), {len(dev)} held-out example(s)"
        found += "" if texts is None else f", {len(texts)} text(s)"
        raise ValueError(Errors.E728.format(found=found, expected="some of each"))


def _finish_update(nlp: Language, optimizer: Optimizer, frozen: Set[str]) -> None:
    for name, pipe in nlp.pipeline:
        if name not in frozen and hasattr(pipe, "finish_update") and isinstance(getattr(pipe, "model", None), Model):
            pipe.finish_update(optimizer)
    optimizer.step_schedules()


def _fit_settings(nlp: Language, steps: int, learn_rate: Optional[float]) -> Dict[str, Any]:
    """The settings of [training], resolved; a schedule with an end ends with the steps."""
    config = copy.deepcopy(nlp.config.interpolate()["training"])
    optimizer = config["optimizer"]
    rate = optimizer.get("learn_rate")
    if learn_rate is not None or isinstance(rate, dict) and "total_steps" in rate:
        highest = rate.get("initial_rate", 1e-4) if isinstance(rate, dict) else rate
        optimizer["learn_rate"] = {
            "@schedules": "warmup_linear.v1",
            "warmup_steps": max(1, steps // 10),
            "total_steps": steps,
            "initial_rate": highest if learn_rate is None else learn_rate,
        }
    return registry.resolve(config, schema=ConfigSchemaTraining)


def _make_update(settings: Dict[str, Any]) -> UpdateT:
    def update(nlp: Language, batch: List[Example]) -> Dict[str, float]:
        given = {"exclude": settings["frozen_components"], "annotates": settings["annotating_components"]}
        return nlp.update(batch, drop=settings["dropout"], sgd=False, **given)

    return update


def _cycle(train: Sequence[Example], batcher: Callable, seed: int) -> Iterator[List[Example]]:
    """Batches of the data, shuffled anew for each pass, without end."""
    order = random.Random(seed)
    examples = list(train)
    while True:
        order.shuffle(examples)
        found = 0
        for batch in batcher(examples):
            found += 1
            yield list(batch)
        if not found:
            raise ValueError(Errors.E728.format(found="no batch", expected="a [training.batcher] that lets examples through"))


def _evaluate(nlp: Language, dev: Sequence[Example], step: int, optimizer: Optimizer, settings: Dict[str, Any]) -> Checkpoint:
    with nlp.use_params(optimizer.averages or {}):
        scores = nlp.evaluate(dev)
    weights = {name: weight for name, weight in settings["score_weights"].items() if weight}
    score = sum(weight * (scores.get(name) or 0.0) for name, weight in weights.items())
    return Checkpoint(step, score, scores)


def _nodes(nlp: Language) -> Iterator[Model]:
    for _, pipe in nlp.pipeline:
        model = getattr(pipe, "model", None)
        if isinstance(model, Model):
            yield from model.walk()


def _copy_weights(nlp: Language, averages: Optional[Dict[Any, Any]] = None) -> List[Any]:
    """All weights, thinc's and torch's, in the order of the models; moving averages in the place of those that have some."""
    weights: List[Any] = []
    with nlp.use_params(averages or {}):
        for node in _nodes(nlp):
            weights.extend(node.get_param(name).copy() if node.has_param(name) else None for name in node.param_names)
            for shim in node.shims:
                module = getattr(shim, "_model", None)
                is_torch = isinstance(module, torch.nn.Module)
                weights.append({k: v.clone() for k, v in module.state_dict().items()} if is_torch else None)
    return weights


def _set_weights(nlp: Language, weights: List[Any]) -> None:
    left = iter(weights)
    for node in _nodes(nlp):
        for name in node.param_names:
            value = next(left)
            if value is not None:
                node.set_param(name, value)
        for shim in node.shims:
            value = next(left)
            if value is not None:
                shim._model.load_state_dict(value)
