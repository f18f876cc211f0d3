"""Where the layers, attention heads and neurons of a transformer are, family by family; what a transformer measures."""

from dataclasses import dataclass
from typing import Dict, List, NamedTuple, Sequence, Tuple

import torch
from spacy.language import Language
from spacy_transformers.layers import TransformerModel
from transformers import PretrainedConfig

from ..encode.transformer import renumber
from ..errors import Errors


@dataclass(frozen=True)
class Family:
    """Names of modules and settings in a family of transformers.

    layers (str): The list of layers.
    heads (str): In a layer: the linear map that reads what all heads answer, side by side.
    neurons_in, neurons_out (str): In a layer: the linear maps into and out of the feed-forward neurons.
    head_count, neuron_count (str): Settings of its config.
    """

    layers: str = "encoder.layer"
    heads: str = "attention.output.dense"
    neurons_in: str = "intermediate.dense"
    neurons_out: str = "output.dense"
    head_count: str = "num_attention_heads"
    neuron_count: str = "intermediate_size"


BERT = Family()
DISTILBERT = Family(
    "transformer.layer", "attention.out_lin", "ffn.lin1", "ffn.lin2", head_count="n_heads", neuron_count="hidden_dim",
)  # fmt: skip
# By `model_type` of the config. Others are left out where heads share something (MPNet: position biases), layers do (ALBERT),
# or transformers does not rebuild them from `pruned_heads` (DeBERTa).
FAMILIES: Dict[str, Family] = {
    **dict.fromkeys(("bert", "roberta", "xlm-roberta", "camembert", "electra"), BERT),
    "distilbert": DISTILBERT,
}


class Layer(NamedTuple):
    """The parts of one layer: see Family. `neurons_out` reads the neurons as `heads` reads the heads, in their order."""

    module: torch.nn.Module
    heads: torch.nn.Linear
    neurons_in: torch.nn.Linear
    neurons_out: torch.nn.Linear


class Size(NamedTuple):
    """What a transformer measures.

    parameters, bytes (int): All of its weights.
    heads (Tuple[int, ...]): Attention heads, layer by layer.
    neurons (int): Feed-forward neurons of each layer.
    pieces (int): Word pieces in its vocabulary.
    """

    parameters: int
    bytes: int
    heads: Tuple[int, ...]
    neurons: int
    pieces: int


class Change(NamedTuple):
    """What a transformer measured before and after something was removed."""

    before: Size
    after: Size


def find_transformer(nlp: Language) -> TransformerModel:
    """Find the transformer that the components of a pipeline share.

    nlp (Language): The pipeline.
    RETURNS (TransformerModel): The thinc model that holds the torch model and its tokenizer.
    RAISES (ValueError): If there is none, several, or one without weights.
    """
    found = {}
    for name, pipe in nlp.pipeline:
        for node in pipe.model.walk() if hasattr(getattr(pipe, "model", None), "walk") else ():
            if isinstance(node, TransformerModel):
                found[name] = node
    if len(found) != 1:
        raise ValueError(Errors.E720.format(count=len(found), found=sorted(found), pipes=nlp.pipe_names))
    (model,) = found.values()
    if model.transformer is None:
        raise ValueError(Errors.E509)
    return model


def find_family(config: PretrainedConfig) -> Family:
    """RETURNS (Family): Of a transformer with this config. ValueError (E721) if its parts are not known."""
    if config.model_type not in FAMILIES:
        raise ValueError(Errors.E721.format(found=config.model_type, known=sorted(FAMILIES)))
    return FAMILIES[config.model_type]


def find_layers(transformer: torch.nn.Module) -> List[Layer]:
    """RETURNS (List[Layer]): The layers of a transformer from the input on. ValueError (E721) if its parts are not known."""
    family = find_family(transformer.config)
    names = (family.heads, family.neurons_in, family.neurons_out)
    return [Layer(m, *(m.get_submodule(name) for name in names)) for m in transformer.get_submodule(family.layers)]


def find_stack(transformer: torch.nn.Module) -> Tuple[str, torch.nn.ModuleList]:
    """The list of a transformer's layers, of any family that has them in one.

    RETURNS (Tuple[str, torch.nn.ModuleList]): Its dotted name, and the list. ValueError (E548) if there is not exactly one.
    """
    count = getattr(transformer.config, "num_hidden_layers", None)
    lists = [(name, part) for name, part in transformer.named_modules() if isinstance(part, torch.nn.ModuleList)]
    found = [(name, part) for name, part in lists if len(part) == count]
    if len(found) != 1:
        lengths = {name: len(part) for name, part in lists}
        raise ValueError(Errors.E548.format(kind=type(transformer).__name__, count=count, found=lengths))
    return found[0]


def keep_layers(transformer: torch.nn.Module, stay: Sequence[int]) -> None:
    """Remove all layers but some, in place; its config says what is left.

    transformer (torch.nn.Module): ValueError (E548) if its layers are not in one list.
    stay (Sequence[int]): Numbers of the layers that stay, rising.
    """
    name, stack = find_stack(transformer)
    parent, _, last = name.rpartition(".")
    setattr(transformer.get_submodule(parent), last, torch.nn.ModuleList(stack[i] for i in stay))
    config = transformer.config
    config.num_hidden_layers = len(stay)
    # Heads that are gone are known by their layer's number.
    gone = getattr(config, "pruned_heads", None) or {}
    config.pruned_heads = {new: gone[old] for new, old in enumerate(stay) if gone.get(old)}


def head_width(config: PretrainedConfig) -> int:
    """RETURNS (int): How many numbers one attention head answers; the same after heads were removed."""
    return config.hidden_size // getattr(config, find_family(config).head_count)


def measure(transformer: torch.nn.Module) -> Size:
    """Measure a transformer; of a family that is not known, heads and neurons are not counted. RETURNS (Size): Its size."""
    weights = list(transformer.parameters())
    layers = find_layers(transformer) if transformer.config.model_type in FAMILIES else []
    width = head_width(transformer.config) if layers else 1
    return Size(
        parameters=sum(weight.numel() for weight in weights),
        bytes=sum(weight.numel() * weight.element_size() for weight in weights),
        heads=tuple(layer.heads.in_features // width for layer in layers),
        neurons=layers[0].neurons_out.in_features if layers else 0,
        pieces=transformer.get_input_embeddings().num_embeddings,
    )


def forget_training(nlp: Language, model: TransformerModel) -> None:
    """Let optimizers begin anew with weights whose shape has changed: what they know of the old ones does not fit.

    nlp (Language): The pipeline; the optimizer it made for itself is dropped.
    model (TransformerModel): Its transformer; its parameters are new ones for any other optimizer.
    """
    nlp._optimizer = None
    renumber(model.layers[0].shims[0])
