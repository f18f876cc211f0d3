"""The tagger: token vectors (and cheap lexical features) -> emissions, with a CRF beside them."""

from typing import Any, Callable, List, Optional, Tuple

from spacy.tokens import Doc
from thinc.api import Dropout, Linear, Maxout, Model, chain, with_array
from thinc.types import Floats2d

from ..embedding import embed_each_once
from ..layers.crf import LinearChainCRF
from ..ops import use_torch_products
from ..rows import join_rows
from ..schemes import Scheme
from ..shim import ModuleShim
from ..types import TaggerModelT, Tok2VecModelT


def build_crf_tagger_v1(
    tok2vec: Tok2VecModelT,
    features: Optional[Tok2VecModelT] = None,
    hidden_size: Optional[int] = None,
    dropout: Optional[float] = None,
    nO: Optional[int] = None,
) -> TaggerModelT:
    """Build the model of `ie_ner`: emissions from token vectors, and a CRF that the component decodes them with.

    tok2vec (Model[List[Doc], List[Floats2d]]): Token vectors: a transformer listener, spaCy's CNN, or any other.
    features (Optional[Model[List[Doc], List[Floats2d]]]): Lexical features put beside the vectors, such as spaCy's
        MultiHashEmbed over SHAPE, PREFIX and SUFFIX. They tell an uncased encoder about capitals. None: no features.
    hidden_size (Optional[int]): Width of a maxout layer between vectors and emissions. None: no hidden layer.
    dropout (Optional[float]): Dropout before the hidden layer and the emissions in training. None: the rate of
        `[training] dropout`.
    nO (Optional[int]): Number of tags; set by the component from its labels.
    RETURNS (Model[List[Doc], List[Floats2d]]): One array of shape (tokens, tags) a document.
    """
    drop, output = Dropout(0.0), Linear(nO=nO)
    head: Model = chain(drop, output)
    if hidden_size is not None:
        hidden = Maxout(nO=hidden_size, nP=2, normalize=True)
        head = chain(drop, hidden, output)
    vectors = tok2vec if features is None else put_beside(tok2vec, features)
    crf: Model = Model("crf", _no_forward, shims=[ModuleShim(LinearChainCRF)])
    model: TaggerModelT = Model(
        "crf_tagger",
        _forward,
        init=_init,
        layers=[chain(vectors, with_array(head)), crf],
        refs={"tok2vec": tok2vec, "crf": crf, "dropout": drop, "output_layer": output},
        dims={"nO": nO},
        attrs={"dropout": dropout},
    )
    return embed_each_once(use_torch_products(model))


def get_crf(model: TaggerModelT) -> LinearChainCRF:
    """The torch module that holds the transitions. RETURNS (LinearChainCRF): None before `set_tags` or loading."""
    return model.get_ref("crf").shims[0].module


def set_tags(model: TaggerModelT, scheme: Scheme) -> None:
    """Give a model that is not initialised yet its tags: the width of its output, and a CRF with the scheme's constraints.

    model (Model): Modified in place.
    scheme (Scheme): Tags and their legal steps.
    """
    tables = {"legal": scheme.legal(), "legal_start": scheme.legal_start(), "legal_end": scheme.legal_end()}
    model.get_ref("crf").shims[0].build(num_tags=len(scheme.tags), **tables)
    model.set_dim("nO", len(scheme.tags))
    model.get_ref("output_layer").set_dim("nO", len(scheme.tags))


def _forward(model: TaggerModelT, docs: List[Doc], is_train: bool) -> Tuple[List[Floats2d], Callable]:
    if is_train and model.attrs["dropout"] is not None:
        # spaCy's set_dropout_rate has just given every node the rate of [training]; ours wins.
        model.get_ref("dropout").attrs["dropout_rate"] = model.attrs["dropout"]
    return model.layers[0](docs, is_train) if is_train else (_predict(model, docs), lambda gradients: docs)


def _predict(model: TaggerModelT, docs: List[Doc]) -> List[Floats2d]:
    """What the layers do, over the tokens of all documents at once, and with one copy of their vectors at most."""
    vectors, head = model.layers[0].layers[0], model.layers[0].layers[-1].layers[0]
    parts = vectors.layers if vectors.name == "put_beside" else [vectors]
    flat = [join_rows(model.ops, part.predict(docs)) for part in parts]
    if len(head.layers) == 2:  # dropout and the output layer: its scores are a sum over what stands side by side
        scores = _add_scores(model.get_ref("output_layer"), flat)
    else:
        scores = head.predict(flat[0] if len(flat) == 1 else model.ops.xp.hstack(flat))
    return model.ops.unflatten(scores, [len(doc) for doc in docs]) if len(docs) > 1 else [scores]


def _add_scores(output: Model[Floats2d, Floats2d], parts: List[Floats2d]) -> Floats2d:
    weight, start = output.get_param("W"), 0
    scores = output.get_param("b")
    for part in parts:
        end = start + part.shape[1]
        scores = output.ops.gemm(part, weight[:, start:end], trans2=True) + scores
        start = end
    return scores


def _init(model: TaggerModelT, X: Optional[List[Doc]] = None, Y: Any = None) -> None:
    model.layers[0].initialize(X=X)


def put_beside(tok2vec: Tok2VecModelT, features: Tok2VecModelT) -> Tok2VecModelT:
    """Join two models of token vectors side by side, as thinc's `concatenate` does.

    That one adds up what the backward passes return, and a listener that is not the last one of its transformer returns nothing.

    tok2vec, features (Model[List[Doc], List[Floats2d]]): Models over the same documents.
    RETURNS (Model[List[Doc], List[Floats2d]]): Vectors as wide as both together.
    """
    return Model("put_beside", _beside_forward, init=_beside_init, layers=[tok2vec, features])


def _beside_forward(model: Tok2VecModelT, docs: List[Doc], is_train: bool) -> Tuple[List[Floats2d], Callable]:
    (first, backprop_first), (second, backprop_second) = (layer(docs, is_train) for layer in model.layers)
    width = first[0].shape[1] if first else 0

    def backprop(gradients: List[Floats2d]) -> List[Doc]:
        backprop_second([gradient[:, width:] for gradient in gradients])
        backprop_first([gradient[:, :width] for gradient in gradients])
        return docs

    whole = model.ops.xp.hstack([model.ops.flatten(first), model.ops.flatten(second)])
    return model.ops.unflatten(whole, [len(rows) for rows in first]), backprop


def _beside_init(model: Tok2VecModelT, X: Optional[List[Doc]] = None, Y: Any = None) -> None:
    for layer in model.layers:
        layer.initialize(X=X)


def _no_forward(model: Model, X: Any, is_train: bool) -> Tuple[Any, Callable]:
    return X, lambda dX: dX
