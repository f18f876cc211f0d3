"""The vocabulary of a pipeline's transformer is cut down to what a corpus needs, and no text becomes unknown by it."""

from typing import Iterable, List, Tuple

import torch
from spacy.language import Language
from spacy.util import SimpleFrozenDict
from spacy_transformers.data_classes import HFObjects
from transformers import PretrainedConfig

from ..errors import Errors
from .parts import Change, find_transformer, forget_training, measure
from .pieces import Plan, count_pieces, plan_vocabulary, rewrite_tokenizer


def trim_vocabulary(nlp: Language, texts: Iterable[str], *, min_count: int = 1, extra: int = 0) -> Change:
    """Remove word pieces, and their vectors, from the transformer of a pipeline, in place.

    What stays: special pieces; pieces that occur in the texts; single characters, in each form that they occur in; `extra` others.
    A text whose pieces all stay, none of them unknown, has exactly the same pieces and vectors as before. Others are
    composed of what stays. No text has an unknown piece that had none before:

    - WordPiece takes the longest piece that fits, again and again, and a word is unknown if once none fits. Each character of a
      word that was known stands in an old piece; each character of old pieces stays as a piece of its own, in the form that
      begins a word if it is the first, otherwise in the other one. So one always fits.
    - BPE begins with single characters (or bytes) and joins them. What is no result of a merge stays, so each character
      that was known is. A piece that stays keeps the merges that made it, and so does its text.
    - Unigram takes the most probable sequence. An unknown character costs 10 more than the least probable piece. Each character of
      old pieces stays as a piece of its own, and so does the least probable piece: an unknown character always costs more.

    A character that WordPiece or Unigram knew inside longer pieces only gets a piece of its own, with the mean of their vectors.

    nlp (Language): A trained pipeline with one transformer and a fast tokenizer of one of these kinds.
    texts (Iterable[str]): Texts like those that the pipeline is for: its training data, or better more.
    min_count (int): How often a piece must occur in the texts to stay, 1 or more.
    extra (int): How many pieces to keep beyond all those; the ones with the lowest numbers, which in the vocabularies
        of BERT, RoBERTa and others are the most frequent in the language. WordPiece: none that no text can have, such as [unused0].
    RETURNS (Change): The sizes of the transformer before and after.
    RAISES (ValueError): If an argument is out of range, there is no text, or the tokenizer is of another kind.
    """
    for setting, value, least in (("min_count", min_count, 1), ("extra", extra, 0)):
        if not isinstance(value, int) or value < least:
            raise ValueError(Errors.E722.format(setting=setting, found=value, expected=f"a whole number, {least} or more"))
    model = find_transformer(nlp)
    before = measure(model.transformer)
    counts = count_pieces(model.tokenizer, texts)
    if not counts.any():
        raise ValueError(Errors.E722.format(setting="texts", found="without a word", expected="texts that the pipeline is for"))
    fixed = [value for _, value in _piece_settings(model.transformer.config)]
    if model.transformer.config.pad_token_id is not None:
        # RoBERTa counts positions from the number of the padding: what is before it stays, and so does its number.
        fixed.extend(range(model.transformer.config.pad_token_id if _counts_from_padding(model.transformer) else 0))
    plan = plan_vocabulary(model.tokenizer, counts >= min_count, fixed, extra)
    tokenizer = rewrite_tokenizer(model.tokenizer, plan)
    _cut_embeddings(model.transformer, plan)
    objects = HFObjects(tokenizer, model.transformer, None, SimpleFrozenDict(), SimpleFrozenDict())
    model.layers[0].shims[0]._hfmodel = objects
    forget_training(nlp, model)
    return Change(before, measure(model.transformer))


def _piece_settings(config: PretrainedConfig) -> List[Tuple[str, int]]:
    """The settings of a transformer that are numbers of pieces."""
    names = [name for name in config.to_dict() if name.endswith("_token_id")]
    return [(name, getattr(config, name)) for name in names if isinstance(getattr(config, name), int)]


def _counts_from_padding(transformer: torch.nn.Module) -> bool:
    positions = getattr(getattr(transformer, "embeddings", None), "position_embeddings", None)
    return getattr(positions, "padding_idx", None) is not None


def _cut_embeddings(transformer: torch.nn.Module, plan: Plan) -> None:
    """Keep the rows of the pieces that stay, in their new order; a new piece has the mean of the rows that it is made of."""
    old = transformer.get_input_embeddings()
    new_of = {number: i for i, number in enumerate(plan.sources) if isinstance(number, int)}
    padding = new_of.get(old.padding_idx)
    with torch.no_grad():
        table = old.weight
        rows = [table[source] if isinstance(source, int) else table[list(source)].mean(dim=0) for source in plan.sources]
        embedding = torch.nn.Embedding.from_pretrained(torch.stack(rows), freeze=False, padding_idx=padding)
    embedding.weight.requires_grad = table.requires_grad
    transformer.set_input_embeddings(embedding)
    config = transformer.config
    for name, value in _piece_settings(config):
        if value in new_of:
            setattr(config, name, new_of[value])
    config.vocab_size = len(plan.sources)
