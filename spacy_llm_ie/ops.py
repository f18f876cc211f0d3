"""thinc's operations with quicker products of matrices: for our components, and for spaCy's CNN."""

from typing import List, Optional, TypeVar

import numpy
import torch
from numpy import ndarray
from spacy.ml.models.tok2vec import build_hash_embed_cnn_tok2vec
from spacy.tokens import Doc
from thinc.api import Model, NumpyOps
from thinc.types import Floats2d

from .embedding import embed_each_once
from .layers.products import FEW_FOR_TORCH, linear, parts_of
from .processor import ALONE_IN_NUMPY, one_thread

# Products of fewer multiplications are not shared out to threads: the encoder, or other programs, have better use for them.
ALONE = 2**26
# Products with so few columns, such as the scores of tags, are quicker by numpy, some rows at a time.
NARROW = 32
ModelT = TypeVar("ModelT", bound=Model)


class TorchProducts(NumpyOps):
    """thinc's operations on the CPU, with torch's products: three to six times as quick as those of BLIS, which thinc takes."""

    def gemm(
        self, x: ndarray, y: ndarray, *, out: Optional[ndarray] = None, trans1: bool = False, trans2: bool = False
    ) -> ndarray:
        """Multiply two matrices.

        x, y (ndarray): Shape (A, B) and (B, C), float32; with `trans1` or `trans2` the other way round.
        out (Optional[ndarray]): Where the result goes. Shape: (A, C).
        RETURNS (ndarray): Shape (A, C).
        """
        left, right = x.T if trans1 else x, y if trans2 else y.T
        if len(left) * right.size <= FEW_FOR_TORCH or len(right) <= NARROW:
            return _multiply_some(left, right, out)
        with torch.no_grad(), one_thread(len(left) * right.size < ALONE):
            result = linear(torch.from_numpy(left), torch.from_numpy(right)).numpy()
        if out is None:
            return result
        out[...] = result
        return out


def _multiply_some(left: ndarray, right: ndarray, out: Optional[ndarray]) -> ndarray:
    """As much at a time as numpy multiplies in one thread: some columns if there are few rows, otherwise some rows."""
    result = numpy.empty((len(left), len(right)), dtype=left.dtype) if out is None else out
    columns = ALONE_IN_NUMPY // max(left.size, 1)
    if columns >= NARROW:
        for part in parts_of(len(right), columns):
            numpy.matmul(left, right[part].T, out=result[:, part])
        return result
    for part in parts_of(len(left), ALONE_IN_NUMPY // max(right.size, 1)):
        numpy.matmul(left[part], right.T, out=result[part])
    return result


def use_torch_products(model: ModelT) -> ModelT:
    """Let the layers of a model that thinc's own operations compute use `TorchProducts`; those on a GPU, or of Apple's, stay.

    model (Model): Modified in place.
    RETURNS (Model): The same one.
    """
    ops = TorchProducts()
    for node in model.walk():
        if type(node.ops) is NumpyOps:
            node.ops = ops
    return model


def build_hash_embed_cnn_v1(
    width: int,
    depth: int,
    embed_size: int,
    window_size: int,
    maxout_pieces: int,
    subword_features: bool,
    pretrained_vectors: Optional[bool] = None,
) -> Model[List[Doc], List[Floats2d]]:
    """Build spaCy's `spacy.HashEmbedCNN.v2` with `TorchProducts`: the same arguments and weights, quicker on the CPU, which embeds
    tokens with the same attributes once.

    width, depth, embed_size, window_size, maxout_pieces, subword_features, pretrained_vectors: As in spaCy's.
    RETURNS (Model[List[Doc], List[Floats2d]]): Token vectors.
    """
    model = use_torch_products(
        build_hash_embed_cnn_tok2vec(
            width=width,
            depth=depth,
            embed_size=embed_size,
            window_size=window_size,
            maxout_pieces=maxout_pieces,
            subword_features=subword_features,
            pretrained_vectors=pretrained_vectors,
        )
    )
    return embed_each_once(model)
