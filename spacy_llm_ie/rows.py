"""Arrays of many documents as one, and tokens that are alike computed once."""

from functools import lru_cache
from threading import Lock
from typing import Any, Callable, List, Sequence, Tuple, TypeVar

import numpy
from numpy import ndarray
from spacy.tokens import Doc
from thinc.api import Model, NumpyOps, Ops
from thinc.layers.chain import forward as forward_chain
from thinc.types import Floats2d, Ints1d

# Leaves of an embedding that treat each token for itself.
BY_TOKEN = {"ints-getitem", "hashembed", "maxout", "layernorm", "dropout", "linear"}
# With more, what was kept is thrown away: some megabytes.
MOST_KEPT = 2**14
ModelT = TypeVar("ModelT", bound=Model)


def join_rows(ops: Ops, arrays: Sequence[Floats2d]) -> Floats2d:
    """Put arrays one below the other; where they lie so in memory already, as the vectors of a batch do, without copying.

    ops (Ops): Those that the arrays belong to.
    arrays (Sequence[Floats2d]): At least one with rows. Shape of each: (tokens, width); without rows, any.
    RETURNS (Floats2d): Shape: (all tokens, width).
    """
    full = [array for array in arrays if len(array)]
    first = full[0]
    if len(full) == 1:
        return first
    if not isinstance(first, ndarray):
        return ops.flatten(full)
    address = first.__array_interface__["data"][0]
    for array in full:
        if array.base is not first.base or array.__array_interface__["data"][0] != address or not array.flags.c_contiguous:
            return numpy.concatenate(full)
        address += array.nbytes
    if first.base is None:
        return numpy.concatenate(full)
    rows = sum(map(len, full))
    return numpy.lib.stride_tricks.as_strided(first, (rows, first.shape[1]), first.strides)


def embed_each_once(model: ModelT) -> ModelT:
    """Let spaCy's `MultiHashEmbed`, wherever it is in a model, predict once for tokens with the same attributes.

    Most words of a text are repeated, and shapes and suffixes more so. Training, static vectors and GPUs stay as they are.

    model (Model): Modified in place.
    RETURNS (Model): The same one.
    """
    for node in model.walk():
        if _is_embedding(node):
            node._func = EmbedOnce()
    return model


def _is_embedding(node: Model) -> bool:
    names = [layer.name for layer in node.layers]
    if len(names) < 4 or names[:2] != ["extract_features", "list2ragged"] or names[-1] != "ragged2list":
        return False
    parts = [part for layer in node.layers[2:-1] for part in layer.walk()]
    return all(part.layers or part.name in BY_TOKEN for part in parts)


class GrowingRows:
    """An array to which rows are added, with room for more, so that adding a few does not copy all of them.

    rows (ndarray): Its rows; behind them may be others that mean nothing.
    count (int): How many there are.
    """

    def __init__(self) -> None:
        self.rows, self.count = numpy.zeros(0), 0

    def append(self, rows: ndarray) -> int:
        """rows (ndarray): All of one shape and type, in all calls. RETURNS (int): The index of the first of them."""
        begin, end = self.count, self.count + len(rows)
        if end > len(self.rows) or not begin:
            whole = numpy.empty((2 * end, *rows.shape[1:]), dtype=rows.dtype)
            whole[:begin] = self.rows[:begin].reshape(begin, *rows.shape[1:])
            self.rows = whole
        self.rows[begin:end], self.count = rows, end
        return begin


class EmbedOnce:
    """What an embedding calls in the place of its `forward`: it keeps the vectors of tokens that it has seen, some thousands.

    Parameters that are replaced, as in loading and for moving averages, are noticed. Optimizers write into them: an embedding that
    was ever trained in this process keeps nothing beyond a batch.
    """

    def __init__(self) -> None:
        self._lock, self._trained = Lock(), False
        self._with_parameters: Tuple[Any, List[Tuple[Model, str]]] = (None, [])
        self.forget()

    def __reduce__(self) -> Any:
        return (EmbedOnce, ())

    def __call__(self, node: Model, docs: List[Doc], is_train: bool) -> Tuple[List[Floats2d], Callable[[Any], Any]]:
        """As `chain` of thinc. node (Model): The embedding. docs (List[Doc]): Any. RETURNS: Vectors, and the backward pass."""
        self._trained |= is_train
        lengths = [len(doc) for doc in docs]
        if is_train or not isinstance(node.ops, NumpyOps) or not any(lengths):
            return forward_chain(node, docs, is_train)
        attributes = numpy.concatenate(node.layers[0].predict(docs))
        if self._trained:
            first, place = distinct_rows(attributes)
            vectors = _embed(node, attributes[first])[place]
        else:
            vectors = self._look_up(node, attributes)
        return node.ops.unflatten(vectors, lengths), lambda gradients: docs

    def _look_up(self, node: Model, attributes: ndarray) -> Floats2d:
        """The vectors of tokens; those not seen before are embedded. Shape: (N, D)."""
        numbers, parameters = row_numbers(attributes).tolist(), self._parameters(node)
        with self._lock:
            if len(self._places) > MOST_KEPT or not _same(self._made_of, parameters):
                self.forget(parameters)
            new = {number: i for i, number in enumerate(numbers) if number not in self._places}
            if new:
                added = attributes[list(new.values())]
                begin = self._attributes.append(added)
                self._vectors.append(_embed(node, added))
                self._places.update(zip(new, range(begin, begin + len(new))))
            places = [self._places[number] for number in numbers]
            if numpy.array_equal(self._attributes.rows[places], attributes):
                return self._vectors.rows[places]
        return _embed(node, attributes)  # two rows have one number: one in many billions

    def _parameters(self, node: Model) -> List[Any]:
        """All arrays that vectors are computed with."""
        if self._with_parameters[0] is not node:
            parts = [part for layer in node.layers[2:-1] for part in layer.walk()]
            self._with_parameters = (node, [(part, name) for part in parts for name in part.param_names])
        return [part.get_param(name) for part, name in self._with_parameters[1]]

    def forget(self, parameters: Sequence[Any] = ()) -> None:
        """Forget all tokens. parameters (Sequence[Any]): Those that the next ones are embedded with."""
        self._made_of, self._places = parameters, {}
        self._attributes, self._vectors = GrowingRows(), GrowingRows()


def _embed(node: Model, attributes: ndarray) -> Floats2d:
    rows = attributes
    for layer in node.layers[2:-1]:  # `with_array`, all of them, which takes an array as it is
        rows = layer.predict(rows)
    return rows


def _same(some: Sequence[Any], others: Sequence[Any]) -> bool:
    return len(some) == len(others) and all(one is other for one, other in zip(some, others))


def row_numbers(rows: ndarray) -> ndarray:
    """A number for each row, the same for equal rows, and hardly ever for others. Shape: (N,), uint64."""
    return (rows * _factors(rows.shape[1])).sum(axis=1)


def distinct_rows(rows: ndarray) -> Tuple[Ints1d, Ints1d]:
    """Find the rows that are different, by a number for each row.

    rows (ndarray): Shape: (N, F), uint64.
    RETURNS (Tuple[Ints1d, Ints1d]): Indices of M rows, each different; and for each of the N rows, which one of them it is.
    """
    _, first, place = numpy.unique(row_numbers(rows), return_index=True, return_inverse=True)
    if not numpy.array_equal(rows[first[place]], rows):  # two rows have one number: one in many billions
        _, first, place = numpy.unique(rows, axis=0, return_index=True, return_inverse=True)
    return first, place.reshape(-1)


@lru_cache
def _factors(count: int) -> ndarray:
    return numpy.random.default_rng(0).integers(2**63, size=count, dtype="uint64") * 2 + 1
