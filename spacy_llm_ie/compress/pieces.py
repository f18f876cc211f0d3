"""Which pieces a smaller vocabulary must have, and the tokenizer that has it: WordPiece, BPE, Unigram."""

import json
from collections import defaultdict
from typing import Any, Callable, Dict, Iterable, List, NamedTuple, Sequence, Set, Tuple, Union

import numpy
from numpy import ndarray
from spacy.util import minibatch
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

from ..encode.frame import PROBE
from ..errors import Errors


class Plan(NamedTuple):
    """A smaller vocabulary.

    names (List[str]): Its pieces in the order of their numbers.
    sources (List[Union[int, Tuple[int, ...]]]): The old number of each; of a new piece, those of the old pieces it is made from.
    """

    names: List[str]
    sources: List[Union[int, Tuple[int, ...]]]

    def renumbered(self) -> Dict[int, int]:
        """RETURNS (Dict[int, int]): The new number of each old piece that stays."""
        return {source: i for i, source in enumerate(self.sources) if isinstance(source, int)}


def count_pieces(tokenizer: PreTrainedTokenizerFast, texts: Iterable[str]) -> ndarray:
    """Count word pieces in texts.

    tokenizer (PreTrainedTokenizerFast): A fast tokenizer; ValueError (E725) if it is a slow one.
    texts (Iterable[str]): The texts.
    RETURNS (ndarray): How often each piece occurs; shape (highest number + 1,).
    """
    if not tokenizer.is_fast:
        expected = "a fast one (tokenizer_config.use_fast = true)"
        raise ValueError(Errors.E725.format(found=f"slow ({type(tokenizer).__name__})", expected=expected))
    counts = numpy.zeros(max(tokenizer.get_vocab().values()) + 1, dtype="int64")
    for batch in minibatch(texts, 1000):
        for ids in tokenizer(batch, add_special_tokens=False, return_attention_mask=False, verbose=False)["input_ids"]:
            counts += numpy.bincount(numpy.array(ids, dtype="int64"), minlength=len(counts))
    return counts


def plan_vocabulary(tokenizer: PreTrainedTokenizerFast, wanted: ndarray, fixed: Sequence[int], extra: int) -> Plan:
    """Choose the pieces that stay.

    tokenizer (PreTrainedTokenizerFast): The tokenizer, as it is.
    wanted (ndarray): Whether each piece is wanted. Shape: (highest number + 1,).
    fixed (Sequence[int]): Numbers of pieces that the transformer needs.
    extra (int): How many to keep beyond what is wanted or needed, the lowest numbers first, but none that no text can have.
    RETURNS (Plan): The pieces, in their old order; new ones behind those of the model, before pieces added to it.
    """
    data = _read(tokenizer)
    kind = _find_kind(data["model"])
    names = {number: name for name, number in tokenizer.get_vocab().items()}
    of_model = _model_pieces(data["model"])
    added = {int(token["id"]) for token in data["added_tokens"]}
    keep = {int(i) for i in numpy.flatnonzero(wanted)} | added | set(fixed)
    keep |= set(tokenizer.all_special_ids) | set(_ids_around(data["post_processor"])) | kind.needed(data["model"])
    keep &= names.keys()
    is_possible = kind.is_possible(tokenizer, data["model"])
    others = (number for number in sorted(names) if number not in keep and is_possible(names[number]))
    keep |= {number for number, _ in zip(others, range(extra))}
    keep = kind.close(data["model"], keep)
    inside = {number: name for name, number in of_model.items() if number not in added}
    new = kind.missing(data["model"], inside)
    ordered = sorted(keep)
    first = [number for number in ordered if names[number] in of_model]
    last = [number for number in ordered if names[number] not in of_model]
    sources = [*first, *new.values(), *last]
    return Plan([*(names[i] for i in first), *new, *(names[i] for i in last)], sources)


def rewrite_tokenizer(tokenizer: PreTrainedTokenizerFast, plan: Plan) -> PreTrainedTokenizerFast:
    """Make a tokenizer with fewer pieces.

    tokenizer (PreTrainedTokenizerFast): The tokenizer; not changed.
    plan (Plan): The pieces.
    RETURNS (PreTrainedTokenizerFast): Of the general class, which is saved as tokenizer.json alone, so that no list of the old
        pieces is left over.
    RAISES (ValueError): If it does not frame a text with the same special pieces (E726).
    """
    data = _read(tokenizer)
    new_of = plan.renumbered()
    model_names = _model_pieces(data["model"])
    added = {token["content"] for token in data["added_tokens"]}
    outside = {name for name in plan.names if name in added and name not in model_names}
    _find_kind(data["model"]).write(data["model"], {n: i for i, n in enumerate(plan.names) if n not in outside}, plan)
    data["added_tokens"] = [{**token, "id": new_of[token["id"]]} for token in data["added_tokens"]]
    _renumber_around(data["post_processor"], new_of)
    if data["padding"] is not None:
        data["padding"]["pad_id"] = new_of[data["padding"]["pad_id"]]
    same = ("model_max_length", "padding_side", "truncation_side", "model_input_names", "pad_token_type_id")
    settings: Dict[str, Any] = {name: getattr(tokenizer, name) for name in same}
    settings.update(tokenizer.special_tokens_map_extended, clean_up_tokenization_spaces=tokenizer.clean_up_tokenization_spaces)
    new = PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(json.dumps(data)), **settings)
    frames = [_frame(one) for one in (tokenizer, new)]
    if frames[0] != frames[1] or new.get_vocab() != {name: i for i, name in enumerate(plan.names)}:
        raise ValueError(Errors.E726.format(found=frames[1], expected=frames[0], name=tokenizer.name_or_path))
    return new


def _read(tokenizer: PreTrainedTokenizerFast) -> Dict[str, Any]:
    return json.loads(tokenizer.backend_tokenizer.to_str())


def _frame(tokenizer: PreTrainedTokenizerFast) -> List[str]:
    """The special pieces around one text and around two, and the padding."""
    one, two = tokenizer(PROBE)["input_ids"], tokenizer(PROBE, PROBE)["input_ids"]
    special = set(tokenizer.all_special_ids)
    return [tokenizer.convert_ids_to_tokens(i) for i in [*one, *two, tokenizer.pad_token_id or 0] if i in special]


def _model_pieces(model: Dict[str, Any]) -> Dict[str, int]:
    """The number of each piece of the model itself."""
    vocab = model["vocab"]
    return dict(vocab) if isinstance(vocab, dict) else {name: i for i, (name, _) in enumerate(vocab)}


class Kind(NamedTuple):
    """What to do for one kind of tokenizer.

    needed (Callable): The model -> numbers of pieces that must stay.
    close (Callable): The model, numbers of pieces that stay -> these, and those that they are made of.
    missing (Callable): The model, names of its pieces by number -> new pieces, with the numbers of those they are made from.
    write (Callable): The model, new numbers of pieces, the plan -> nothing; the model is modified in place.
    is_possible (Callable): The tokenizer, its model -> a function that says whether a text can have a piece of this name.
    """

    needed: Callable[[Dict[str, Any]], Set[int]]
    close: Callable[[Dict[str, Any], Set[int]], Set[int]]
    missing: Callable[[Dict[str, Any], Dict[int, str]], Dict[str, Tuple[int, ...]]]
    write: Callable[[Dict[str, Any], Dict[str, int], Plan], None]
    is_possible: Callable[[PreTrainedTokenizerFast, Dict[str, Any]], Callable[[str], bool]]


def _find_kind(model: Dict[str, Any]) -> Kind:
    kind = model.get("type")
    if kind not in KINDS or kind == "BPE" and (model.get("continuing_subword_prefix") or model.get("end_of_word_suffix")):
        found = f"{kind} with prefixes or suffixes" if kind in KINDS else f"of the kind {kind}"
        raise ValueError(Errors.E725.format(found=found, expected=f"one of the kinds {', '.join(KINDS)}"))
    return KINDS[kind]


def _split_wordpiece(model: Dict[str, Any], name: str) -> List[str]:
    """The characters of a piece, those within a word with their prefix."""
    prefix = model["continuing_subword_prefix"]
    inside = name.startswith(prefix) and len(name) > len(prefix)
    characters = list(name[len(prefix) :] if inside else name)
    return [prefix + char if i or inside else char for i, char in enumerate(characters)]


def _wordpiece_needed(model: Dict[str, Any]) -> Set[int]:
    return {i for name, i in model["vocab"].items() if len(_split_wordpiece(model, name)) == 1}


def _wordpiece_missing(model: Dict[str, Any], inside: Dict[int, str]) -> Dict[str, Tuple[int, ...]]:
    return _find_missing({number: _split_wordpiece(model, name) for number, name in inside.items()}, model["vocab"])


def _find_missing(characters: Dict[int, List[str]], known: Iterable[str]) -> Dict[str, Tuple[int, ...]]:
    """Characters of pieces that are no pieces themselves, each with the numbers of the pieces that have it."""
    found: Dict[str, List[int]] = defaultdict(list)
    known = set(known)
    for number, forms in characters.items():
        for form in dict.fromkeys(forms):
            if form not in known:
                found[form].append(number)
    return {form: tuple(numbers) for form, numbers in sorted(found.items())}


def _write_wordpiece(model: Dict[str, Any], numbers: Dict[str, int], _: Plan) -> None:
    model["vocab"] = numbers


def _wordpiece_possible(tokenizer: PreTrainedTokenizerFast, model: Dict[str, Any]) -> Callable[[str], bool]:
    """What is taken apart before words are looked up cannot be found, such as BERT's [unused0]."""
    normalizer, splitter = tokenizer.backend_tokenizer.normalizer, tokenizer.backend_tokenizer.pre_tokenizer
    prefix = model["continuing_subword_prefix"]

    def is_possible(name: str) -> bool:
        text = name[len(prefix) :] if name.startswith(prefix) else name
        normal = text if normalizer is None else normalizer.normalize_str(text)
        parts = [(normal, ())] if splitter is None else splitter.pre_tokenize_str(normal)
        return [part for part, _ in parts] == [text]

    return is_possible


def _all_possible(tokenizer: PreTrainedTokenizerFast, model: Dict[str, Any]) -> Callable[[str], bool]:
    return lambda name: True


def _bpe_merges(model: Dict[str, Any]) -> List[Tuple[str, str]]:
    return [tuple(merge.split(" ")) if isinstance(merge, str) else tuple(merge) for merge in model["merges"]]


def _bpe_needed(model: Dict[str, Any]) -> Set[int]:
    made = {a + b for a, b in _bpe_merges(model)}
    return {number for name, number in model["vocab"].items() if name not in made}


def _bpe_close(model: Dict[str, Any], keep: Set[int]) -> Set[int]:
    """Add what the pieces that stay go through while they are made: merges in their order, as in encoding."""
    ranks = {merge: i for i, merge in enumerate(_bpe_merges(model))}
    vocab = model["vocab"]
    closed = set(keep)
    for name in [name for name, number in vocab.items() if number in keep]:
        parts = list(name)
        while len(parts) > 1:
            pairs = [ranks.get(pair, len(ranks)) for pair in zip(parts, parts[1:])]
            best = min(pairs)
            if best == len(ranks):
                break
            i = pairs.index(best)
            parts[i : i + 2] = [parts[i] + parts[i + 1]]
            closed.add(vocab[parts[i]])
    return closed


def _write_bpe(model: Dict[str, Any], numbers: Dict[str, int], _: Plan) -> None:
    model["vocab"] = numbers
    model["merges"] = [[a, b] for a, b in _bpe_merges(model) if a in numbers and b in numbers and a + b in numbers]


def _unigram_needed(model: Dict[str, Any]) -> Set[int]:
    vocab = model["vocab"]
    single = {i for i, (name, _) in enumerate(vocab) if len(name) == 1 or model.get("byte_fallback") and name.startswith("<0x")}
    lowest = min(range(len(vocab)), key=lambda i: vocab[i][1])
    return single | {lowest} | ({model["unk_id"]} if model["unk_id"] is not None else set())


def _unigram_missing(model: Dict[str, Any], inside: Dict[int, str]) -> Dict[str, Tuple[int, ...]]:
    special = {model["unk_id"]}
    forms = {number: list(name) for number, name in inside.items() if number not in special}
    return _find_missing(forms, (name for name, _ in model["vocab"]))


def _write_unigram(model: Dict[str, Any], numbers: Dict[str, int], plan: Plan) -> None:
    """A new piece costs what an unknown character cost: no sequence that won before loses to one that has it."""
    scores = dict(model["vocab"])
    least = min(scores.values())
    if model["unk_id"] is not None:
        model["unk_id"] = plan.renumbered()[model["unk_id"]]
    model["vocab"] = [[name, scores.get(name, least - 10.0)] for name in numbers]


def _nothing(model: Dict[str, Any], inside: Dict[int, str]) -> Dict[str, Tuple[int, ...]]:
    return {}


def _as_is(model: Dict[str, Any], keep: Set[int]) -> Set[int]:
    return keep


KINDS = {
    "WordPiece": Kind(_wordpiece_needed, _as_is, _wordpiece_missing, _write_wordpiece, _wordpiece_possible),
    "BPE": Kind(_bpe_needed, _bpe_close, _nothing, _write_bpe, _all_possible),
    "Unigram": Kind(_unigram_needed, _as_is, _unigram_missing, _write_unigram, _all_possible),
}


def _ids_around(processor: Any) -> List[int]:
    """The numbers of pieces in a post-processor."""
    found: Dict[int, int] = defaultdict(int)
    _renumber_around(processor, found)
    return list(found)


def _renumber_around(processor: Any, new_of: Dict[int, int]) -> None:
    """Renumber the pieces that a post-processor puts around a text. The processor is modified in place."""
    if processor is None:
        return
    for part in processor.get("processors", ()):
        _renumber_around(part, new_of)
    if processor["type"] == "TemplateProcessing":
        for token in processor["special_tokens"].values():
            token["ids"] = [new_of[i] for i in token["ids"]]
    for name in ("sep", "cls"):
        if name in processor:
            processor[name] = [processor[name][0], new_of[processor[name][1]]]
