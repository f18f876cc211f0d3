"""spaCy's embeddings of tokens in prediction: tokens that are alike are embedded once, and without what training needs."""

from threading import Lock
from typing import Any, Callable, Dict, List, Sequence, Tuple, TypeVar

import numpy
from numpy import ndarray
from spacy.tokens import Doc
from thinc.api import Model, NumpyOps
from thinc.layers.array_getitem import forward as forward_getitem
from thinc.layers.chain import forward as forward_chain
from thinc.layers.concatenate import forward as forward_concatenate
from thinc.layers.dropout import forward as forward_dropout
from thinc.layers.hashembed import forward as forward_hash_embed
from thinc.layers.layernorm import forward as forward_layer_norm
from thinc.layers.maxout import forward as forward_maxout
from thinc.layers.with_array import forward as forward_with_array
from thinc.types import Floats2d

from .rows import GrowingRows, distinct_rows, row_numbers, split_rows

# Leaves of an embedding that treat each token for itself.
BY_TOKEN = {"ints-getitem", "hashembed", "maxout", "layernorm", "dropout", "linear"}
# With more, what was kept is thrown away: some megabytes.
MOST_KEPT = 2**14
ModelT = TypeVar("ModelT", bound=Model)
RowsT = Callable[[ndarray], ndarray]


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


class EmbedOnce:
    """What an embedding calls in the place of its `forward`: it keeps the vectors of tokens that it has seen, some thousands.

    Parameters that are replaced, as in loading and for moving averages, are noticed. Optimizers write into them: an embedding that
    was ever trained in this process keeps nothing beyond a batch.
    """

    def __init__(self) -> None:
        self._lock, self._trained = Lock(), False
        self._embed: RowsT
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
            vectors = _make_ready(node)(attributes[first])[place]
        else:
            vectors = self._look_up(node, attributes)
        return split_rows(vectors, lengths), lambda gradients: docs

    def _look_up(self, node: Model, attributes: ndarray) -> Floats2d:
        """The vectors of tokens; those not seen before are embedded. Shape: (N, D)."""
        numbers, parameters = row_numbers(attributes).tolist(), self._parameters(node)
        with self._lock:
            if len(self._places) > MOST_KEPT or not _same(self._made_of, parameters):
                self.forget(parameters)
                self._embed = _make_ready(node)
            new = {number: i for i, number in enumerate(numbers) if number not in self._places}
            if new:
                added = attributes[list(new.values())]
                begin = self._attributes.append(added)
                self._vectors.append(self._embed(added))
                self._places.update(zip(new, range(begin, begin + len(new))))
            places = [self._places[number] for number in numbers]
            if numpy.array_equal(self._attributes.rows[places], attributes):
                return self._vectors.rows[places]
        return _make_ready(node)(attributes)  # two rows have one number: one in many billions

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


def _make_ready(node: Model) -> RowsT:
    """What embeds attributes. node (Model): The embedding, whose parameters as they are now count."""
    return _run_all([ready(layer) for layer in node.layers[2:-1]])


def ready(node: Model) -> RowsT:
    """What a layer predicts for rows, without what thinc keeps for a backward pass and asks for in each call: of a few rows, that
    takes most of the time.

    node (Model): A layer that treats each row for itself; one that is not known here predicts as ever.
    RETURNS (Callable[[ndarray], ndarray]): Takes rows of shape (N, ...), and returns rows of shape (N, D).
    """
    make = READY.get(node._func)
    return node.predict if make is None else make(node)


def _run_all(parts: Sequence[RowsT]) -> RowsT:
    def run(rows: ndarray) -> ndarray:
        for part in parts:
            rows = part(rows)
        return rows

    return run


def _concatenate(node: Model) -> RowsT:
    parts = [ready(part) for part in node.layers]
    return lambda rows: numpy.concatenate([part(rows) for part in parts], axis=1)


def _hash_embed(node: Model) -> RowsT:
    ops, table, seed = node.ops, node.get_param("E"), node.attrs["seed"]
    return lambda ids: ops.gather_add(table, ops.hash(numpy.ascontiguousarray(ids, dtype="uint64"), seed) % len(table))


def _maxout(node: Model) -> RowsT:
    ops, weight, bias = node.ops, node.get_param("W"), node.get_param("b").reshape(-1)
    matrix, shape = weight.reshape(-1, weight.shape[2]), weight.shape[:2]

    def run(rows: Floats2d) -> Floats2d:
        scores = ops.gemm(rows, matrix, trans2=True)
        scores += bias
        return ops.maxout(scores.reshape(len(rows), *shape))[0]

    return run


def _layer_norm(node: Model) -> RowsT:
    gain, bias = node.get_param("G"), node.get_param("b")

    def run(rows: Floats2d) -> Floats2d:
        width = rows.shape[1]
        centred = rows - numpy.add.reduce(rows, axis=1, keepdims=True) / width
        variance = numpy.einsum("nd,nd->n", centred, centred)[:, None] / width + 1e-8
        centred *= gain / numpy.sqrt(variance)
        centred += bias
        return centred

    return run


def _take(node: Model) -> RowsT:
    index = node.attrs["index"]
    return lambda rows: rows[index]


# What makes a layer ready, by what thinc calls in it.
READY: Dict[Callable, Callable[[Model], RowsT]] = {
    forward_with_array: lambda node: ready(node.layers[0]),  # it takes an array as it is
    forward_chain: lambda node: _run_all([ready(part) for part in node.layers]),
    forward_concatenate: _concatenate,
    forward_getitem: _take,
    forward_hash_embed: _hash_embed,
    forward_maxout: _maxout,
    forward_layer_norm: _layer_norm,
    forward_dropout: lambda node: lambda rows: rows,
}


def _same(some: Sequence[Any], others: Sequence[Any]) -> bool:
    return len(some) == len(others) and all(one is other for one, other in zip(some, others))
