"""Arrays of many documents as one, and tokens that are alike computed once."""

from functools import lru_cache
from typing import Any, Callable, List, Sequence, Tuple, TypeVar

import numpy
from numpy import ndarray
from spacy.tokens import Doc
from thinc.api import Model, NumpyOps, Ops
from thinc.layers.chain import forward as forward_chain
from thinc.types import Floats2d, Ints1d, Ragged

# Leaves of an embedding that treat each token for itself.
BY_TOKEN = {"ints-getitem", "hashembed", "maxout", "layernorm", "dropout", "linear"}
# Fewer tokens are embedded sooner than compared.
FEW_TOKENS = 128
ModelT = TypeVar("ModelT", bound=Model)


def join_rows(ops: Ops, arrays: Sequence[Floats2d]) -> Floats2d:
    """Put arrays one below the other; where they lie so in memory already, as the vectors of a batch do, without copying.

    ops (Ops): Those that the arrays belong to.
    arrays (Sequence[Floats2d]): At least one with rows. Shape of each: (tokens, width); without rows, any.
    RETURNS (Floats2d): Shape: (all tokens, width).
    """
    full = [array for array in arrays if len(array)]
    first = full[0]
    if not isinstance(first, ndarray):
        return ops.flatten(full)
    address = first.__array_interface__["data"][0]
    for array in full:
        if array.base is not first.base or array.__array_interface__["data"][0] != address or not array.flags.c_contiguous:
            return numpy.concatenate(full)
        address += array.nbytes
    if first.base is None:
        return first if len(full) == 1 else numpy.concatenate(full)
    rows = sum(map(len, full))
    return numpy.lib.stride_tricks.as_strided(first, (rows, first.shape[1]), first.strides)


def embed_each_once(model: ModelT) -> ModelT:
    """Let spaCy's `MultiHashEmbed`, wherever it is in a model, predict once for tokens of a batch with the same attributes.

    Most words of a text are repeated, and shapes and suffixes more so. Training, static vectors and GPUs stay as they are.

    model (Model): Modified in place.
    RETURNS (Model): The same one.
    """
    for node in model.walk():
        if _is_embedding(node):
            node._func = _forward_once
    return model


def _is_embedding(node: Model) -> bool:
    names = [layer.name for layer in node.layers]
    if len(names) < 4 or names[:2] != ["extract_features", "list2ragged"] or names[-1] != "ragged2list":
        return False
    parts = [part for layer in node.layers[2:-1] for part in layer.walk()]
    return all(part.layers or part.name in BY_TOKEN for part in parts)


def _forward_once(node: Model, docs: List[Doc], is_train: bool) -> Tuple[List[Floats2d], Callable[[Any], Any]]:
    lengths = [len(doc) for doc in docs]
    if is_train or not isinstance(node.ops, NumpyOps) or sum(lengths) < FEW_TOKENS:
        return forward_chain(node, docs, is_train)
    attributes = numpy.concatenate(node.layers[0].predict(docs))
    first, place = distinct_rows(attributes)
    rows = Ragged(attributes[first], numpy.array([len(first)], dtype="int32"))
    for layer in node.layers[2:-1]:
        rows = layer.predict(rows)
    return node.ops.unflatten(rows.dataXd[place], lengths), lambda gradients: docs


def distinct_rows(rows: ndarray) -> Tuple[Ints1d, Ints1d]:
    """Find the rows that are different, by a number for each row.

    rows (ndarray): Shape: (N, F), uint64.
    RETURNS (Tuple[Ints1d, Ints1d]): Indices of M rows, each different; and for each of the N rows, which one of them it is.
    """
    _, first, place = numpy.unique((rows * _factors(rows.shape[1])).sum(axis=1), return_index=True, return_inverse=True)
    if not numpy.array_equal(rows[first[place]], rows):  # two rows have one number: one in many billions
        _, first, place = numpy.unique(rows, axis=0, return_index=True, return_inverse=True)
    return first, place.reshape(-1)


@lru_cache
def _factors(count: int) -> ndarray:
    return numpy.random.default_rng(0).integers(2**63, size=count, dtype="uint64") * 2 + 1
