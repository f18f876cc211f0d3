"""The pair classifier as a thinc model: documents with spans and pairs -> scores."""

from typing import Any, Callable, List, NamedTuple, Optional, Sequence, Tuple

import numpy
from numpy import ndarray
from spacy.tokens import Doc
from thinc.api import ArgsKwargs, Model, xp2torch
from thinc.types import Floats2d

from ..layers.pairs import PairScorer
from ..layers.products import filled
from ..shim import ModuleShim
from ..types import Tok2VecModelT


class PairBatch(NamedTuple):
    """What the model scores: documents, their spans as rows of (start, end, label id), and pairs of rows, head first."""

    docs: List[Doc]
    spans: List[ndarray]
    pairs: List[ndarray]


PairModelT = Model[PairBatch, Floats2d]


def build_pair_classifier_v1(
    tok2vec: Tok2VecModelT,
    hidden_size: int = 128,
    label_size: int = 32,
    context_size: int = 12,
    distance_size: int = 32,
    biaffine: bool = False,
    dropout: Optional[float] = None,
) -> PairModelT:
    """Build the model of `ie_relations` and `ie_arguments`: scores of labels for pairs of spans.

    tok2vec (Model[List[Doc], List[Floats2d]]): Token vectors: a transformer listener, spaCy's CNN, or any other.
    hidden_size (int): Width of the layers above the token vectors.
    label_size (int): Width of the vectors for the labels of spans; 0: labels are not looked at.
    context_size (int): Tokens before and behind the pair that are looked at, beside those between; 0: none, nor between.
    distance_size (int): Width of the vectors for distance and direction; 0: not looked at.
    biaffine (bool): Add a bilinear score of head and tail.
    dropout (Optional[float]): Dropout in training. None: the rate of `[training] dropout`.
    RETURNS (Model[PairBatch, Floats2d]): One row a pair, in the order of the batch.
    """
    settings = {
        "hidden_size": hidden_size,
        "label_size": label_size,
        "context_size": context_size,
        "distance_size": distance_size,
        "biaffine": biaffine,
    }
    return Model(
        "pair_classifier",
        _forward,
        init=_init,
        layers=[tok2vec],
        shims=[ModuleShim(PairScorer, can_be_half=True)],
        refs={"tok2vec": tok2vec},
        attrs={"dropout": dropout, "dropout_rate": 0.0, "settings": settings, "sizes": None},
    )


def get_scorer(model: PairModelT) -> Optional[PairScorer]:
    """The torch module. RETURNS (Optional[PairScorer]): None before initialisation or loading."""
    return model.shims[0].module


def set_sizes(model: PairModelT, outputs: int, span_labels: int) -> None:
    """Tell a model that is not initialised yet how many scores a pair has, and how many labels there are for spans."""
    model.attrs["sizes"] = {"outputs": outputs, "span_labels": span_labels}


def _init(model: PairModelT, X: Optional[List[Doc]] = None, Y: Any = None) -> None:
    """Initialise the token vectors, and the module for their width. X (Optional[List[Doc]]): Documents, not a batch."""
    tok2vec = model.layers[0]
    tok2vec.initialize(X=X)
    if get_scorer(model) is None:
        width = tok2vec.maybe_get_dim("nO") or tok2vec.predict(X)[0].shape[1]
        model.shims[0].build(width=width, **model.attrs["sizes"], **model.attrs["settings"])


def _forward(model: PairModelT, batch: PairBatch, is_train: bool) -> Tuple[Floats2d, Callable]:
    shim, rate = model.shims[0], model.attrs["dropout"]
    if is_train:
        shim.module.dropout = model.attrs["dropout_rate"] if rate is None else rate
    vectors, backprop_vectors = model.layers[0](batch.docs, is_train)
    offsets = _offsets(vectors)
    flat, device = _one_text(model, vectors, offsets, is_train), shim.module.device
    if not is_train and isinstance(flat, ndarray) and device.type == "cpu":
        return shim.get_evaluated().predict(flat, *_rows(batch, offsets)), lambda gradient: batch.docs
    inputs = xp2torch(flat, requires_grad=is_train, device=device)
    arguments = ArgsKwargs((inputs, *_rows(batch, offsets)), {})
    scores, backprop_scores = shim(arguments, is_train)

    def backprop(gradient: Floats2d) -> List[Doc]:
        like = xp2torch(gradient, device=device)
        if scores.requires_grad:
            backprop_scores(ArgsKwargs(((scores,),), {"grad_tensors": (like,)}))
        whole = flat * 0 if inputs.grad is None else model.ops.asarray(inputs.grad.cpu().numpy())
        return backprop_vectors([whole[o : o + len(array)] for array, o in zip(vectors, offsets)])

    return model.ops.asarray(scores.detach().cpu().numpy()), backprop


def _one_text(model: PairModelT, vectors: Sequence[Floats2d], offsets: ndarray, is_train: bool) -> Floats2d:
    """The vectors of all documents one below the other, with a row of zeros behind each; of one document, those that it has."""
    if len(vectors) == 1 and not is_train and isinstance(vectors[0], ndarray):
        if vectors[0].dtype == numpy.float32 and vectors[0].flags.carray:
            return vectors[0]
    flat = model.ops.alloc2f(filled(int(offsets[-1])), model.shims[0].module.settings["width"])
    for array, offset in zip(vectors, offsets):
        if len(array):  # an empty document may come without width
            flat[offset : offset + len(array)] = array
    return flat


def _offsets(vectors: Sequence[Floats2d]) -> ndarray:
    """Row of the first token of each document, with a row between documents, and the number of rows. Shape: (docs + 1,)."""
    return numpy.cumsum([0, *(len(array) + 1 for array in vectors)])


def _rows(batch: PairBatch, offsets: ndarray) -> Tuple[ndarray, ...]:
    """Spans, pairs and document borders of the whole batch, as rows of what is one long text. As `PairScorer` takes them."""
    sizes, begin, end = [len(rows) for rows in batch.spans], offsets[:-1], offsets[1:] - 1
    if len(sizes) == 1:
        return batch.spans[0], batch.pairs[0], numpy.full((sizes[0], 2), (0, end[0]))
    spans = numpy.concatenate(batch.spans)
    spans[:, :2] += numpy.repeat(begin, sizes)[:, None]
    before = numpy.cumsum(sizes) - sizes
    pairs = numpy.concatenate(batch.pairs) + numpy.repeat(before, [len(rows) for rows in batch.pairs])[:, None]
    bounds = numpy.repeat(numpy.stack([begin, end], axis=1), sizes, axis=0)
    return tuple(x.astype("int64", copy=False) for x in (spans, pairs, bounds))
