"""The vectors of tokens as torch has them, so that one encoder can learn from another's."""

import contextlib
from typing import Sequence

import torch
from spacy.tokens import Doc
from torch import Tensor

from ..encode.transformer import WindowTransformer, cut_into_windows
from .importance import without_dropout


def token_vectors(model: WindowTransformer, docs: Sequence[Doc]) -> Tensor:
    """The mean of the pieces of each token, as components read it; without dropout.

    model (WindowTransformer): A transformer with weights. Gradients flow to them unless torch is told otherwise.
    docs (Sequence[Doc]): Documents; at least one has tokens.
    RETURNS (Tensor): Shape: (tokens, width).
    """
    _, wordpieces, align = cut_into_windows(model, docs)
    transformer, shim = model.transformer, model.layers[0].shims[0]
    given = {"input_ids": wordpieces.input_ids, "attention_mask": wordpieces.attention_mask}
    inputs = {name: torch.as_tensor(values, device=transformer.device).long() for name, values in given.items()}
    is_bfloat16 = shim.bfloat16 and transformer.device.type == "cpu"
    low = torch.autocast("cpu", dtype=torch.bfloat16) if is_bfloat16 else contextlib.nullcontext()
    with without_dropout(transformer), low:
        rows = transformer(**inputs).last_hidden_state
    lengths = torch.as_tensor(align.lengths, device=transformer.device).long()
    pieces = torch.as_tensor(align.dataXd, device=transformer.device).long().flatten()
    tokens = torch.repeat_interleave(torch.arange(len(lengths), device=lengths.device), lengths)
    rows = rows.float().flatten(0, 1)[pieces]
    return rows.new_zeros(len(lengths), rows.shape[1]).index_add(0, tokens, rows) / lengths[:, None]


def relative_distance(vectors: Tensor, target: Tensor) -> Tensor:
    """How far vectors are from what they should be: the squared distance, relative to the squares of the target.

    vectors, target (Tensor): Shape of both: (tokens, width).
    RETURNS (Tensor): Shape: ().
    """
    return ((vectors - target) ** 2).sum() / ((target**2).sum() + 1e-12)
