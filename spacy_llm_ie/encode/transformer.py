"""A spacy-transformers model that gives every token a vector, whatever the text, in bounded memory.

Drop-in for spacy-transformers' own TransformerModel in the `transformer` component: its listeners,
`replace_listeners`, serialization and training work as they do there.
"""

from typing import Any, Callable, Dict, Iterable, List, NoReturn, Optional, Sequence, Tuple

import srsly
import torch
from spacy.tokens import Doc, Span
from spacy.util import SimpleFrozenDict
from spacy_transformers.data_classes import FullTransformerBatch, WordpieceBatch
from spacy_transformers.layers import TransformerModel, split_trf_batch, trfs2arrays
from spacy_transformers.layers.hf_shim import HFShim
from spacy_transformers.layers.transformer_model import huggingface_from_pretrained
from spacy_transformers.util import maybe_flush_pytorch_cache
from thinc.api import ArgsKwargs, Model, chain
from thinc.shims import Shim
from thinc.types import Floats2d, Ragged
from transformers import CONFIG_MAPPING, PretrainedConfig

from ..errors import Errors
from ..layers.products import quick_layers
from ..processor import bfloat16_is_quick
from .batches import WindowBatch, predict_rows, train_rows
from .frame import Frame
from .weights import resolve_weights
from .windows import longest_text, split_into_windows
from .words import OfTokenizer, WordSplitter

NO_SETTINGS: Dict[str, Any] = SimpleFrozenDict()
MAX_PIECES = 4096


class PortableShim(HFShim):
    """The torch model inside, as spacy-transformers holds it, but copied, saved and loaded exactly.

    `bfloat16` is True where training on the CPU runs matrix products in bfloat16; predictions are always in full precision.
    """

    bfloat16 = False

    def begin_update(self, inputs: ArgsKwargs) -> Tuple[Any, Callable]:
        """Run the torch model in training. RETURNS: Its output, in full precision, and the backward pass."""
        if not self.bfloat16 or self.device.type != "cpu":
            return super().begin_update(inputs)
        model = self._model
        self._model = Bfloat16(model)
        try:
            return super().begin_update(inputs)
        finally:
            self._model = model

    def predict(self, inputs: ArgsKwargs) -> Any:
        """Run the torch model without gradients. RETURNS (Any): Its output."""
        with quick_layers(self._model):
            return super().predict(inputs)

    def copy(self) -> "PortableShim":
        """Copy the torch model.

        RETURNS (PortableShim): The copy, with a number of its own, by which optimizers tell parameters apart.
        """
        copied = super().copy()
        renumber(copied)
        copied.bfloat16 = self.bfloat16
        return copied

    def to_bytes(self) -> bytes:
        """Serialize the torch model and its tokenizer.

        RETURNS (bytes): What `from_bytes` reads. It does not say from which path the weights once came.
        """
        if self._hfmodel.transformer is not None:
            self._hfmodel.transformer.config.name_or_path = ""
        return super().to_bytes()

    def from_bytes(self, bytes_data: bytes) -> "PortableShim":
        """Load the torch model and its tokenizer.

        bytes_data (bytes): What `to_bytes` has written.
        RETURNS (PortableShim): This object.
        """
        config_cls = self.config_cls
        self.config_cls = SavedConfig(srsly.msgpack_loads(bytes_data)["config"])
        try:
            return super().from_bytes(bytes_data)
        finally:
            self.config_cls = config_cls


def renumber(shim: Shim) -> None:
    """Give a shim a number of its own, so that an optimizer takes its parameters for new ones. Modified in place."""
    with Shim.global_id_lock:
        Shim.global_id += 1
        shim.id = Shim.global_id


class Bfloat16:
    """Calls a torch model with autocast to bfloat16 on the CPU, and gives back what it answers in full precision.

    model (torch.nn.Module): The model.
    """

    def __init__(self, model: torch.nn.Module) -> None:
        self.model = model

    def train(self) -> None:
        """Set the model to training."""
        self.model.train()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the model. RETURNS (Any): Its output."""
        with torch.autocast("cpu", dtype=torch.bfloat16):
            output = self.model(*args, **kwargs)
        full = {name: value.float() if isinstance(value, torch.Tensor) else value for name, value in output.items()}
        return type(output)(**full)


class SavedConfig:
    """Answers HFShim in the place of AutoConfig, which would read small numbers as 0.0.

    HFShim writes the settings to a file with few decimals, so that the 1e-12 of BERT's layer norm is lost.

    settings (Dict[str, Any]): The settings of the torch model, as saved.
    """

    def __init__(self, settings: Dict[str, Any]) -> None:
        self.settings = settings

    def from_pretrained(self, path: Any) -> PretrainedConfig:
        """Make the config of the torch model.

        path (Any): The file. Not read.
        RETURNS (PretrainedConfig): The config.
        """
        return CONFIG_MAPPING[self.settings["model_type"]].from_dict(self.settings)


class WindowTransformer(TransformerModel):
    """A transformer over windows of documents.

    name (str): Name or path of a Hugging Face model, or what `packaged_weights` returns.
    get_spans (Callable): A span getter; see `build_transformer_model_v1`.
    max_pieces (int): Most word pieces, padding included, in one forward pass at prediction.
    RAISES (ValueError): If a setting cannot be used.
    """

    def __init__(
        self,
        name: str,
        get_spans: Callable,
        tokenizer_config: Dict[str, Any] = NO_SETTINGS,
        transformer_config: Dict[str, Any] = NO_SETTINGS,
        mixed_precision: bool = False,
        grad_scaler_config: Dict[str, Any] = NO_SETTINGS,
        max_pieces: int = MAX_PIECES,
        bfloat16_training: bool = False,
    ) -> None:
        if not isinstance(name, str) or not name:
            _refuse("name", name, "a name or path, as text")
        if not callable(get_spans):
            _refuse("get_spans", get_spans, "a span getter")
        if not isinstance(max_pieces, int) or max_pieces < 1:
            _refuse("max_pieces", max_pieces, "a whole number of pieces, 1 or more")
        # Copies, because spacy-transformers writes into these.
        super().__init__(name, get_spans, dict(tokenizer_config), dict(transformer_config), grad_scaler_config={})
        self.layers[0].shims[0] = PortableShim(
            self.layers[0].shims[0]._hfmodel,
            mixed_precision=mixed_precision,
            grad_scaler_config=dict(grad_scaler_config),
        )
        self.layers[0].shims[0].bfloat16 = bfloat16_training and bfloat16_is_quick()
        self._func = forward
        self.init = init
        self.attrs["replace_listener_cfg"] = replace_listener_cfg
        # Not in attrs, which the saved model would override: the config of the one who runs it decides.
        self.max_pieces = max_pieces
        self._of_tokenizer = OfTokenizer()

    @property
    def frame(self) -> Frame:
        """Get the special pieces of the tokenizer.

        RETURNS (Frame): Made anew if the tokenizer has been replaced, as it is when a pipeline is loaded.
        """
        return self._of_tokenizer.get(self.tokenizer)[0]

    @property
    def split(self) -> WordSplitter:
        """What splits documents into word pieces."""
        return self._of_tokenizer.get(self.tokenizer)[1]

    def copy(self) -> "WindowTransformer":
        """Copy the model with its weights.

        RETURNS (WindowTransformer): The copy; neither parameters nor optimizer state are shared.
        """
        copied = WindowTransformer(self.attrs["name"], self.attrs["get_spans"], max_pieces=self.max_pieces)
        copied.attrs.update(self.attrs)
        copied._dims = dict(self._dims)
        copied.layers[0] = self.layers[0].copy()
        return copied


def init(model: WindowTransformer, X: Optional[List[Doc]] = None, Y: Any = None) -> None:
    """Load the weights, unless the model has some.

    model (WindowTransformer): The model. Modified in place.
    X (Optional[List[Doc]]): Sample documents, run once to find settings that cannot work.
    RAISES (ValueError): If the weights are to come from a package that is not installed.
    """
    if model.attrs["has_transformer"]:
        return
    path = resolve_weights(model.attrs["name"])
    hf_model = huggingface_from_pretrained(path, model._init_tokenizer_config, model._init_transformer_config)
    model.attrs["set_transformer"](model, hf_model)
    if X:
        model.predict(X)


def forward(model: WindowTransformer, docs: Iterable[Doc], is_train: bool) -> Tuple[FullTransformerBatch, Callable]:
    """Run the transformer over the windows of documents.

    model (WindowTransformer): The model.
    docs (Iterable[Doc]): The documents; empty ones are allowed. Not modified.
    is_train (bool): Keep what the backward pass needs; otherwise passes are of bounded size.
    RETURNS (Tuple[FullTransformerBatch, Callable]): The output, with a vector for each token, and the
        backward pass.
    RAISES (ValueError): If the model has no weights.
    """
    if model.tokenizer is None:
        raise ValueError(Errors.E509)
    docs = list(docs)
    if not any(len(doc) for doc in docs):
        return FullTransformerBatch.empty(len(docs)), lambda d_output: docs
    maybe_flush_pytorch_cache(chance=model.attrs.get("flush_cache_chance", 0))
    spans, wordpieces, align = cut_into_windows(model, docs)
    layer = model.layers[0]
    if not is_train:
        model_output = predict_rows(layer, wordpieces, model.max_pieces)
        return WindowBatch(spans, wordpieces, model_output, align), lambda d_output: docs
    model_output, backprop_layer = train_rows(layer, wordpieces)

    def backprop(d_output: FullTransformerBatch) -> List[Doc]:
        backprop_layer(d_output.model_output)
        return docs

    return WindowBatch(spans, wordpieces, model_output, align), backprop


def cut_into_windows(model: WindowTransformer, docs: Sequence[Doc]) -> Tuple[List[List[Span]], WordpieceBatch, Ragged]:
    """Cut documents into rows of word pieces.

    model (WindowTransformer): Has weights.
    docs (Sequence[Doc]): The documents. Not modified.
    RETURNS (Tuple[List[List[Span]], WordpieceBatch, Ragged]): The windows of each document, the rows, and the numbers of the
        pieces of each token, where all rows together are one.
    """
    limit = longest_text(model.tokenizer, model.transformer, model.frame.size)
    return split_into_windows(model.split, limit, model.frame, model.attrs["get_spans"], docs)


def replace_listener_cfg(transformer_cfg: Dict[str, Any], listener_cfg: Dict[str, Any]) -> Dict[str, Any]:
    """Write the config of a listener that was replaced by a copy of our transformer.

    transformer_cfg (Dict[str, Any]): The [components.transformer.model] block.
    listener_cfg (Dict[str, Any]): The block of the listener.
    RETURNS (Dict[str, Any]): The block that takes the listener's place.
    """
    result = dict(transformer_cfg)
    if "TransformerListener" in listener_cfg["@architectures"]:
        result["@architectures"] = "spacy-llm-ie.Tok2VecTransformer.v1"
        result.update({key: listener_cfg[key] for key in ("pooling", "grad_factor") if key in listener_cfg})
    return result


def build_transformer_model_v1(
    name: str,
    get_spans: Callable,
    tokenizer_config: Dict[str, Any] = NO_SETTINGS,
    transformer_config: Dict[str, Any] = NO_SETTINGS,
    mixed_precision: bool = False,
    grad_scaler_config: Dict[str, Any] = NO_SETTINGS,
    max_pieces: int = MAX_PIECES,
    bfloat16_training: bool = False,
) -> Model[List[Doc], FullTransformerBatch]:
    """Build the model of a `transformer` component: `@architectures = "spacy-llm-ie.TransformerModel.v1"`.

    It differs from spacy-transformers.TransformerModel.v3 in this: every token of a window has a vector, also
    white space and control characters (that of the piece before them); windows that are longer than the
    transformer takes are divided, not truncated; a token with more pieces than a window holds is lifted out
    of the text into a window of its own; a long document needs memory for its vectors, not for one pass.

    name (str): Name or path of a Hugging Face encoder, or @misc = "spacy-llm-ie.packaged_weights.v1".
    get_spans (Callable): How documents are cut into windows. @span_getters =
        "spacy-llm-ie.wordpiece_spans.v1" counts word pieces; spacy-transformers' own span getters count
        tokens and work too. Tokens that a span getter leaves out have a vector of zeros.
    tokenizer_config (Dict[str, Any]): Settings passed to the tokenizer when it is loaded.
    transformer_config (Dict[str, Any]): Settings passed to the transformer when it is loaded.
    mixed_precision (bool): Run in half precision on a GPU.
    grad_scaler_config (Dict[str, Any]): Settings of the gradient scaling that goes with it.
    max_pieces (int): Most word pieces, padding included, in one forward pass at prediction. Bounds the
        memory; does not change the results. In training only the batch bounds it.
    bfloat16_training (bool): Train with matrix products in bfloat16 on a CPU that is quicker at them than at float32, which is
        tried (AMX; AVX512-BF16 on AMD, where it takes half the time); on any other, and in prediction, nothing changes.
    RETURNS (Model[List[Doc], FullTransformerBatch]): The model.
    RAISES (ValueError): If a setting cannot be used.
    """
    return WindowTransformer(
        *(name, get_spans, tokenizer_config, transformer_config, mixed_precision, grad_scaler_config),
        max_pieces=max_pieces,
        bfloat16_training=bfloat16_training,
    )


def build_tok2vec_transformer_v1(
    name: str,
    get_spans: Callable,
    pooling: Model[Ragged, Floats2d],
    tokenizer_config: Dict[str, Any] = NO_SETTINGS,
    transformer_config: Dict[str, Any] = NO_SETTINGS,
    mixed_precision: bool = False,
    grad_scaler_config: Dict[str, Any] = NO_SETTINGS,
    max_pieces: int = MAX_PIECES,
    grad_factor: float = 1.0,
    bfloat16_training: bool = False,
) -> Model[List[Doc], List[Floats2d]]:
    """Build the transformer of one component: `@architectures = "spacy-llm-ie.Tok2VecTransformer.v1"`.

    This is what `nlp.replace_listeners` puts in the place of a listener.

    pooling (Model[Ragged, Floats2d]): Makes one vector of the vectors of a token's pieces.
    grad_factor (float): Multiplies the gradient that reaches the transformer; 0.0 freezes it.
    name, get_spans, ...: As in `build_transformer_model_v1`.
    RETURNS (Model[List[Doc], List[Floats2d]]): One row a token.
    RAISES (ValueError): If a setting cannot be used.
    """
    transformer = build_transformer_model_v1(
        *(name, get_spans, tokenizer_config, transformer_config, mixed_precision, grad_scaler_config),
        max_pieces=max_pieces,
        bfloat16_training=bfloat16_training,
    )
    # Nested as a replaced listener is, so that either can read what the other has saved.
    return chain(chain(transformer, split_trf_batch()), trfs2arrays(pooling, grad_factor))


def _refuse(setting: str, value: Any, expected: str) -> NoReturn:
    raise ValueError(Errors.E508.format(setting=setting, value=value, expected=expected))
