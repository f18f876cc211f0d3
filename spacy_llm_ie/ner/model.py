"""The tagger: token vectors (and cheap lexical features) -> emissions, with a CRF beside them."""

import contextlib
from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple

import safetensors.torch
import torch
from spacy.tokens import Doc
from thinc.api import Dropout, Linear, Maxout, Model, PyTorchShim, chain, concatenate, with_array, xp2torch
from thinc.types import Floats2d

from ..layers.crf import LinearChainCRF
from ..schemes import Scheme
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
    vectors = tok2vec if features is None else concatenate(tok2vec, features)
    crf: Model = Model("crf", _no_forward, shims=[CrfShim(None)])
    model: TaggerModelT = Model(
        "crf_tagger",
        _forward,
        init=_init,
        layers=[chain(vectors, with_array(head)), crf],
        refs={"tok2vec": tok2vec, "crf": crf, "dropout": drop, "output_layer": output},
        dims={"nO": nO},
        attrs={"dropout": dropout},
    )
    return model


def get_crf(model: TaggerModelT) -> LinearChainCRF:
    """The torch module that holds the transitions. RETURNS (LinearChainCRF): None before `set_tags` or loading."""
    return model.get_ref("crf").shims[0]._model


def set_tags(model: TaggerModelT, scheme: Scheme) -> None:
    """Give a model that is not initialised yet its tags: the width of its output, and a CRF with the scheme's constraints.

    model (Model): Modified in place.
    scheme (Scheme): Tags and their legal steps.
    """
    shim = model.get_ref("crf").shims[0]
    shim._model = LinearChainCRF(len(scheme.tags), scheme.legal(), scheme.legal_start(), scheme.legal_end())
    shim._model.to(shim.device)
    model.set_dim("nO", len(scheme.tags))
    model.get_ref("output_layer").set_dim("nO", len(scheme.tags))


def encoder_keys(model: TaggerModelT) -> set:
    """The optimizer's keys of all parameters below the emissions' own layers. RETURNS (set): Pairs of id and name."""
    keys = set()
    for node in model.get_ref("tok2vec").walk():
        keys.update((node.id, name) for name in node.param_names)
        for shim in node.shims:
            if isinstance(shim, PyTorchShim) and shim._model is not None:
                keys.update((shim.id, name) for name, _ in shim._model.named_parameters())
    return keys


def _forward(model: TaggerModelT, docs: List[Doc], is_train: bool) -> Tuple[List[Floats2d], Callable]:
    if is_train and model.attrs["dropout"] is not None:
        # spaCy's set_dropout_rate has just given every node the rate of [training]; ours wins.
        model.get_ref("dropout").attrs["dropout_rate"] = model.attrs["dropout"]
    return model.layers[0](docs, is_train)


def _init(model: TaggerModelT, X: Optional[List[Doc]] = None, Y: Any = None) -> None:
    model.layers[0].initialize(X=X)


def _no_forward(model: Model, X: Any, is_train: bool) -> Tuple[Any, Callable]:
    return X, lambda dX: dX


class CrfShim(PyTorchShim):
    """Holds the CRF: made when the labels are known, saved as safetensors, averaged like any parameter of thinc."""

    def __init__(self, model: Optional[LinearChainCRF]) -> None:
        super().__init__(model, serialize_model=_crf_to_bytes, deserialize_model=_crf_from_bytes)

    @property
    def device(self) -> torch.device:
        """Where the parameters are; the default device before there are any."""
        if self._model is None:
            return torch.device("cpu")
        return next(self._model.parameters()).device

    @contextlib.contextmanager
    def use_params(self, params: Dict[Any, Any]) -> Iterator[None]:
        """Replace parameters by the given ones (moving averages, say) while the context lasts.

        thinc's own shim looks for string keys, which its optimizer no longer writes, and so leaves averages unused.
        """
        backup = {}
        if self._model is not None:
            for name, parameter in self._model.named_parameters():
                if (self.id, name) in params:
                    backup[name] = parameter.data
                    parameter.data = xp2torch(params[(self.id, name)], device=parameter.device)
        yield
        if backup:
            for name, parameter in self._model.named_parameters():
                parameter.data = backup.get(name, parameter.data)


def _crf_to_bytes(model: Optional[LinearChainCRF]) -> bytes:
    return b"" if model is None else safetensors.torch.save(model.state_dict())


def _crf_from_bytes(model: Optional[LinearChainCRF], data: bytes, device: torch.device) -> Optional[LinearChainCRF]:
    if not data:
        return None
    state = safetensors.torch.load(data)
    loaded = LinearChainCRF(len(state["legal_start"]))
    loaded.load_state_dict(state)
    return loaded.to(device)
