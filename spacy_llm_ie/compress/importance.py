"""How much a trained pipeline needs each attention head, neuron and layer of its transformer."""

import contextlib
from dataclasses import dataclass
from functools import partial
from typing import Any, Callable, Dict, Iterator, List, Sequence, Tuple

import numpy
import torch
from numpy import ndarray
from spacy.language import Language
from spacy.training import Example
from spacy.util import minibatch
from thinc.api import Model
from tqdm import tqdm

from ..errors import Errors
from .parts import Layer, find_layers, find_transformer, head_width


@dataclass(frozen=True)
class Importance:
    """How important each part of a transformer is; comparable within each array, not between arrays. L layers.

    heads (ndarray): Shape: (L, most heads in a layer). NaN behind the heads of a layer that has fewer.
    neurons (ndarray): Shape: (L, neurons).
    layers (Tuple[int, ...]): Numbers of layers, from 0, in the order in which they should go. One is always left, so there are
        L - 1; empty if they were not ranked.
    """

    heads: ndarray
    neurons: ndarray
    layers: Tuple[int, ...] = ()


def measure_importance(
    nlp: Language, examples: Sequence[Example], *, batch_size: int = 8, rank_layers: bool = True, progress: bool = False
) -> Importance:
    """Measure importance with the losses that the pipeline is trained with, without dropout. Nothing in the pipeline changes.

    A head is as important as |its answer · the gradient of the loss there|, summed over tokens (Michel et al. 2019, Are Sixteen
    Heads Really Better than One?, equation 2). A neuron likewise with |activation · gradient|, the first-order Taylor
    expansion of what the loss would change without it (Molchanov et al. 2017, Pruning Convolutional Neural Networks for Resource
    Efficient Inference, equation 7). Each layer is divided by its Euclidean norm (ibid., section 2.3). Layers are ranked
    by the loss without them: the one without which it is lowest goes first, then the others are measured anew.

    nlp (Language): A trained pipeline with one transformer.
    examples (Sequence[Example]): Annotated documents; development data, some dozens.
    batch_size (int): Documents in one pass.
    rank_layers (bool): Also rank layers, which takes up to L² / 2 passes over the examples.
    progress (bool): Show a progress bar on a terminal.
    RETURNS (Importance): The importance of each part.
    RAISES (ValueError): If the transformer is none of those known, or if no gradient reaches it.
    """
    model = find_transformer(nlp)
    layers = find_layers(model.transformer)
    width = head_width(model.transformer.config)
    heads = [torch.zeros(layer.heads.in_features // width, dtype=torch.float64) for layer in layers]
    neurons = [torch.zeros(layer.neurons_out.in_features, dtype=torch.float64) for layer in layers]
    with contextlib.ExitStack() as stack:
        for layer, head_sums, neuron_sums in zip(layers, heads, neurons):
            stack.enter_context(hooked(layer.heads, partial(_add_products, head_sums, width)))
            stack.enter_context(hooked(layer.neurons_out, partial(_add_products, neuron_sums, 1)))
        measure_loss(nlp, examples, batch_size=batch_size)
    if not sum(float(sums.sum()) for sums in heads) > 0:
        raise ValueError(Errors.E724.format(count=len(examples), pipes=nlp.pipe_names))
    most = max(len(sums) for sums in heads)
    rows = [numpy.append(_normalize(sums), [numpy.nan] * (most - len(sums))) for sums in heads]
    order = rank(nlp, examples, batch_size=batch_size, progress=progress) if rank_layers else ()
    return Importance(numpy.array(rows), numpy.array([_normalize(sums) for sums in neurons]), order)


def rank(nlp: Language, examples: Sequence[Example], *, batch_size: int = 8, progress: bool = False) -> Tuple[int, ...]:
    """Rank layers by the loss of the pipeline without them.

    The arguments are those of `measure_importance`.
    RETURNS (Tuple[int, ...]): Numbers of layers; the first is that without which the loss is lowest, the second that without
        which it is lowest once the first is gone, and so on. One layer less than there are.
    """
    layers = find_layers(find_transformer(nlp).transformer)
    order: List[int] = []
    with contextlib.ExitStack() as gone:
        for _ in tqdm(layers[1:], desc="Ranking layers", disable=None if progress else True):
            losses = {}
            for i in set(range(len(layers))).difference(order):
                with skipped(layers[i]):
                    losses[i] = measure_loss(nlp, examples, batch_size=batch_size)
            order.append(min(losses, key=lambda i: losses[i]))
            gone.enter_context(skipped(layers[order[-1]]))
    return tuple(order)


def measure_loss(nlp: Language, examples: Sequence[Example], *, batch_size: int = 8) -> float:
    """Run forward and backward passes as in training, but without dropout, and without an update.

    nlp (Language): The pipeline. Its weights stay, its gradients are cleared.
    examples (Sequence[Example]): Annotated documents; they are copied.
    batch_size (int): Documents in one pass.
    RETURNS (float): The losses of all components but the transformer's, which is none, summed over the batches.
    """
    model = find_transformer(nlp)
    losses: Dict[str, float] = {}
    annotating = nlp.config["training"].get("annotating_components", ())
    clear_gradients(nlp)
    with without_dropout(model.transformer):
        for batch in minibatch(examples, batch_size):
            nlp.update(batch, drop=0.0, sgd=False, losses=losses, annotates=annotating)
            clear_gradients(nlp)
    shared = {name for name, pipe in nlp.pipeline if getattr(pipe, "model", None) is model}
    return sum(loss for name, loss in losses.items() if name not in shared)


def clear_gradients(nlp: Language) -> None:
    """Set the gradients of all components to zero, those of thinc's parameters and those of torch's."""
    for _, pipe in nlp.pipeline:
        model = getattr(pipe, "model", None)
        for node in model.walk() if isinstance(model, Model) else ():
            for name in node.grad_names:
                node.get_grad(name).fill(0)
            for shim in node.shims:
                module = getattr(shim, "_model", None)
                if isinstance(module, torch.nn.Module):
                    module.zero_grad(set_to_none=True)


@contextlib.contextmanager
def without_dropout(transformer: torch.nn.Module) -> Iterator[None]:
    """While the context lasts, a transformer has no dropout, whatever its shim sets it to before each pass."""
    handle = transformer.register_forward_pre_hook(lambda module, _: module.eval() and None)
    try:
        yield
    finally:
        handle.remove()


@contextlib.contextmanager
def hooked(module: torch.nn.Module, see: Callable[[torch.Tensor], None]) -> Iterator[None]:
    """While the context lasts, `see` is given each input of a module."""
    handle = module.register_forward_pre_hook(lambda _, inputs: see(inputs[0]))
    try:
        yield
    finally:
        handle.remove()


@contextlib.contextmanager
def skipped(layer: Layer) -> Iterator[None]:
    """While the context lasts, a layer gives back what it is given."""

    def pass_on(module: torch.nn.Module, inputs: Tuple[Any, ...], kwargs: Dict[str, Any], output: Any) -> Any:
        hidden = inputs[0] if inputs else kwargs.get("hidden_states", kwargs.get("x"))
        return (hidden, *output[1:]) if isinstance(output, tuple) else hidden

    handle = layer.module.register_forward_hook(pass_on, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


def _add_products(sums: torch.Tensor, width: int, values: torch.Tensor) -> None:
    """Once the gradient of these values is known, add |values · gradient| of each part of `width` numbers to the sums."""
    if not values.requires_grad:
        return

    def add(gradient: torch.Tensor) -> None:
        products = (values.detach().float() * gradient.float()).reshape(-1, len(sums), width).sum(dim=2)
        sums.add_(products.abs().sum(dim=0).double().cpu())

    values.register_hook(add)


def _normalize(sums: torch.Tensor) -> ndarray:
    return (sums / sums.norm().clamp(min=1e-30)).numpy()
