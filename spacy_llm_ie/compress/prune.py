"""Attention heads, neurons and layers are removed from the transformer of a pipeline: smaller matrices, not zeros."""

import contextlib
from dataclasses import dataclass
from functools import partial
from typing import Any, Dict, List, Optional, Sequence, Tuple, Union

import numpy
import torch
from numpy import ndarray
from spacy.language import Language
from spacy.tokens import Doc
from spacy_transformers.layers import TransformerModel
from transformers.pytorch_utils import prune_linear_layer

from ..errors import Errors
from .importance import Importance, hooked
from .parts import Change, find_family, find_layers, find_transformer, forget_training, head_width, keep_layers, measure


def prune(
    nlp: Language,
    importance: Importance,
    *,
    heads: float = 0.0,
    neurons: float = 0.0,
    layers: Union[int, Sequence[int]] = 0,
    docs: Optional[Sequence[Doc]] = None,
) -> Change:
    """Remove the least important parts of the transformer of a pipeline, in place. What is left is saved and loaded as before.

    nlp (Language): A trained pipeline with one transformer. Unchanged if an argument cannot be used.
    importance (Importance): What `measure_importance` has measured on this transformer, as it is.
    heads (float): Share of all attention heads to remove, from 0 to below 1; the least important of all layers, but one stays in
        each layer.
    neurons (float): Share of the feed-forward neurons to remove in each layer, from 0 to below 1. Each layer loses its own.
    layers (Union[int, Sequence[int]]): Layers to remove: how many, in the order of `importance.layers`; or their numbers from 0.
    docs (Optional[Sequence[Doc]]): Some hundred texts, need not be annotated. With them, the linear map behind removed heads and
        neurons is fitted to answer what it did, from what is left (see `refit`). None: it is only cut.
    RETURNS (Change): The sizes of the transformer before and after.
    RAISES (ValueError): If an argument is out of range, or the importance that of another transformer.
    """
    model = find_transformer(nlp)
    transformer = model.transformer
    before = measure(transformer)
    found = [int(numpy.isfinite(row).sum()) for row in importance.heads]
    shape = (len(before.heads), before.neurons)
    if tuple(found) != before.heads or importance.neurons.shape != shape:
        raise ValueError(Errors.E723.format(found=(found, importance.neurons.shape), expected=(list(before.heads), shape)))
    for setting, share in (("heads", heads), ("neurons", neurons)):
        if not 0 <= share < 1:
            raise ValueError(Errors.E722.format(setting=setting, found=share, expected="a share from 0 to below 1"))
    if docs is not None and not any(len(doc) for doc in docs):
        raise ValueError(Errors.E722.format(setting="docs", found=f"{len(docs)} without text", expected="documents with text"))
    gone = _choose_layers(importance, layers, len(before.heads))
    stay = [i for i in range(len(before.heads)) if i not in gone]
    if gone:
        keep_layers(transformer, stay)
    left_heads = choose_heads(importance.heads[stay], heads)
    left_neurons = choose_neurons(importance.neurons[stay], neurons)
    moments = {} if docs is None else _measure_moments(model, docs)
    _remove_heads(transformer, left_heads, moments)
    _remove_neurons(transformer, left_neurons, moments)
    forget_training(nlp, model)
    return Change(before, measure(transformer))


def choose_heads(importance: ndarray, share: float) -> List[ndarray]:
    """Choose the attention heads that stay.

    importance (ndarray): Shape: (layers, heads); NaN where there is no head.
    share (float): Share of all heads to remove; rounded down to whole heads.
    RETURNS (List[ndarray]): Numbers of heads, rising, one array for each layer; at least one in each.
    """
    stay = numpy.isfinite(importance)
    most = int(share * stay.sum() + 1e-6)
    order = numpy.argsort(numpy.where(stay, importance, numpy.inf), axis=None, kind="stable")
    for flat in order[: stay.sum()]:
        layer, head = numpy.unravel_index(flat, importance.shape)
        if most > 0 and stay[layer].sum() > 1:
            stay[layer, head] = False
            most -= 1
    return [numpy.flatnonzero(row) for row in stay]


def choose_neurons(importance: ndarray, share: float) -> ndarray:
    """Choose the neurons that stay.

    importance (ndarray): Shape: (layers, neurons).
    share (float): Share of each layer's neurons to remove; rounded down to whole neurons.
    RETURNS (ndarray): Their numbers, rising in each layer. Shape: (layers, neurons that stay).
    """
    n_stay = importance.shape[1] - int(share * importance.shape[1] + 1e-6)
    order = numpy.argsort(-importance, axis=1, kind="stable")
    return numpy.sort(order[:, :n_stay], axis=1)


def _choose_layers(importance: Importance, layers: Union[int, Sequence[int]], n_layers: int) -> List[int]:
    """The numbers of the layers to remove; ValueError if there are not so many, or none would be left."""
    expected = f"a number below {n_layers}, or numbers of layers from 0 to {n_layers - 1}, each once and not all"
    if isinstance(layers, int):
        if layers and not 0 < layers <= len(importance.layers):
            expected = f"0 to {len(importance.layers)}, since so many layers are ranked in this importance, or their numbers"
            raise ValueError(Errors.E722.format(setting="layers", found=layers, expected=expected))
        return list(importance.layers[:layers])
    numbers = list(layers)
    if len({*numbers}) != len(numbers) or not {*numbers} < {*range(n_layers)}:
        raise ValueError(Errors.E722.format(setting="layers", found=layers, expected=expected))
    return numbers


def _remove_heads(transformer: torch.nn.Module, stay: List[ndarray], moments: Dict[Any, "Moments"]) -> None:
    config = transformer.config
    width = head_width(config)
    n_made = getattr(config, find_family(config).head_count)
    doomed = {}
    for i, (layer, numbers) in enumerate(zip(find_layers(transformer), stay)):
        if len(numbers) * width == layer.heads.in_features:
            continue
        # transformers counts heads as they were when the transformer was made.
        made = sorted({*range(n_made)}.difference(config.pruned_heads.get(i, ())))
        doomed[i] = sorted(made[j] for j in {*range(len(made))}.difference(numbers.tolist()))
        if layer.heads in moments:
            columns = (numbers[:, None] * width + numpy.arange(width)).ravel()
            refit(layer.heads, columns, moments[layer.heads])
    transformer.prune_heads(doomed)
    config.pruned_heads = {i: sorted(int(head) for head in heads) for i, heads in sorted(config.pruned_heads.items())}


def _remove_neurons(transformer: torch.nn.Module, stay: ndarray, moments: Dict[Any, "Moments"]) -> None:
    family = find_family(transformer.config)
    if stay.shape[1] == getattr(transformer.config, family.neuron_count):
        return
    for layer, numbers in zip(find_layers(transformer), stay):
        if layer.neurons_out in moments:
            refit(layer.neurons_out, numbers, moments[layer.neurons_out])
        index = torch.from_numpy(numbers).to(layer.neurons_in.weight.device)
        names = {layer.neurons_in: (family.neurons_in, 0), layer.neurons_out: (family.neurons_out, 1)}
        for linear, (name, dim) in names.items():
            parent, _, last = name.rpartition(".")
            setattr(layer.module.get_submodule(parent), last, prune_linear_layer(linear, index, dim=dim))
    setattr(transformer.config, family.neuron_count, int(stay.shape[1]))


@dataclass
class Moments:
    """Weighted sums over the word pieces that a linear map has read: of the weights, of their vectors, and of the products of
    these. N inputs.

    weight (float): The sum of the weights.
    total (torch.Tensor): Shape: (N,).
    products (torch.Tensor): Shape: (N, N).
    """

    weight: float
    total: torch.Tensor
    products: torch.Tensor


def refit(linear: torch.nn.Linear, stay: ndarray, moments: Moments, ridge: float = 1e-3) -> None:
    """Fit a linear map to answer from some of its inputs what it answers from all: least squares with an intercept.

    With the inputs' covariance C and mean m, S the inputs that stay and R those that go: D = W_R C[R, S] (C[S, S] + λI)⁻¹ is added
    to W_S, and W_R m_R - D m_S to the bias: the ridge regression, on what stays, of what the removed inputs contributed.
    Kwon et al. 2022, A Fast Post-Training Pruning Framework for Transformers, section 4.3, fit only a factor for each input.

    linear (torch.nn.Linear): Its weights of the inputs that stay, and its bias, are set; the others are to be cut away.
    stay (ndarray): Numbers of inputs, rising.
    moments (Moments): Of its inputs.
    ridge (float): λ as a share of the mean variance of the inputs that stay.
    """
    index = torch.from_numpy(stay)
    mean = moments.total / moments.weight
    covariance = moments.products / moments.weight - torch.outer(mean, mean)
    inner = covariance[index][:, index]
    inner = inner + (ridge * inner.diagonal().mean() + 1e-12) * torch.eye(len(stay), dtype=inner.dtype)
    weight = linear.weight.detach().double().cpu()
    missing = torch.ones(len(mean), dtype=torch.bool)
    missing[index] = False
    extra = torch.linalg.solve(inner, covariance[index][:, missing] @ weight[:, missing].T).T
    with torch.no_grad():
        linear.weight[:, index.to(linear.weight.device)] += extra.to(linear.weight)
        linear.bias += (weight[:, missing] @ mean[missing] - extra @ mean[index]).to(linear.bias)


def _measure_moments(model: TransformerModel, docs: Sequence[Doc]) -> Dict[Any, Moments]:
    """What the linear maps behind heads and neurons read in these documents; padding is left out.

    A word piece has the weight 1 / |W x|², so that errors count relative to the answer. Otherwise the few pieces with huge answers
    decide, such as [SEP], to which heads attend in order to do nothing; the fit is then worse than none.
    """
    transformer = model.transformer
    masks: List[torch.Tensor] = []
    moments: Dict[Any, Moments] = {}

    def note_mask(_: Any, args: Tuple[Any, ...], kwargs: Dict[str, Any]) -> None:
        masks[:] = [kwargs["attention_mask"].bool()]

    def add(linear: torch.nn.Linear, values: torch.Tensor) -> None:
        rows = values.detach()[masks[0].to(values.device)].float()
        answers = (rows @ linear.weight.float().T).norm(dim=1, keepdim=True)
        scales = 1 / answers.clamp(min=0.01 * float(answers.mean()) + 1e-12)
        sums, scaled = moments[linear], rows * scales
        sums.weight += float((scales**2).sum())
        sums.total += (scaled * scales).sum(dim=0).double().cpu()
        sums.products += (scaled.T @ scaled).double().cpu()

    with contextlib.ExitStack() as stack:
        handle = transformer.register_forward_pre_hook(note_mask, with_kwargs=True)
        stack.callback(handle.remove)
        for layer in find_layers(transformer):
            for linear in (layer.heads, layer.neurons_out):
                n = linear.in_features
                moments[linear] = Moments(0.0, torch.zeros(n).double(), torch.zeros(n, n).double())
                stack.enter_context(hooked(linear, partial(add, linear)))
        model.predict(list(docs))
    return moments
