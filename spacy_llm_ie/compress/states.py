"""The vectors of tokens after each layer of a transformer, so that one encoder can learn from another's layers."""

import contextlib
from typing import List, Sequence

import torch
from spacy.tokens import Doc
from torch import Tensor

from ..encode.transformer import WindowTransformer, cut_into_windows
from .importance import without_dropout


def token_states(model: WindowTransformer, docs: Sequence[Doc]) -> List[Tensor]:
    """The mean of the pieces of each token, as components read it, but of all layers; without dropout.

    model (WindowTransformer): A transformer with weights. Gradients flow to them unless torch is told otherwise.
    docs (Sequence[Doc]): Documents; at least one has tokens.
    RETURNS (List[Tensor]): One for the embeddings, then one for each layer; the last is the answer. Shape of each: (tokens, width).
    """
    _, wordpieces, align = cut_into_windows(model, docs)
    transformer, shim = model.transformer, model.layers[0].shims[0]
    given = {"input_ids": wordpieces.input_ids, "attention_mask": wordpieces.attention_mask}
    inputs = {name: torch.as_tensor(values, device=transformer.device).long() for name, values in given.items()}
    is_bfloat16 = shim.bfloat16 and transformer.device.type == "cpu"
    low = torch.autocast("cpu", dtype=torch.bfloat16) if is_bfloat16 else contextlib.nullcontext()
    with without_dropout(transformer), low:
        states = transformer(**inputs, output_hidden_states=True).hidden_states
    lengths = torch.as_tensor(align.lengths, device=transformer.device).long()
    pieces = torch.as_tensor(align.dataXd, device=transformer.device).long().flatten()
    tokens = torch.repeat_interleave(torch.arange(len(lengths), device=lengths.device), lengths)
    return [_sum_over(state.float().flatten(0, 1)[pieces], tokens, len(lengths)) / lengths[:, None] for state in states]


def _sum_over(rows: Tensor, groups: Tensor, count: int) -> Tensor:
    return rows.new_zeros(count, rows.shape[1]).index_add(0, groups, rows)


def relative_distance(states: Sequence[Tensor], targets: Sequence[Tensor]) -> List[Tensor]:
    """How far vectors are from what they should be: for each layer, the squared distance, relative to the squares of the targets.

    states, targets (Sequence[Tensor]): The layers' vectors. Shape of each: (tokens, width).
    RETURNS (List[Tensor]): A number for each layer.
    """
    return [((one - other) ** 2).sum() / ((other**2).sum() + 1e-12) for one, other in zip(states, targets)]
