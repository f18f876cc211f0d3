"""An encoder that runs in another program than torch, in the `transformer` component of a trained pipeline.

It gives each token one vector, the mean over its word pieces, and hands that to the listeners as if the token were one piece: so
components need no change. It is for prediction; what it was made from can be trained.
"""

import os
import zlib
from collections import deque
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Lock
from typing import Any, Callable, Dict, Iterable, List, Optional, Tuple

import numpy
import srsly
import torch
from numpy import ndarray
from spacy.tokens import Doc
from spacy_transformers.data_classes import FullTransformerBatch, TransformerData, WordpieceBatch
from spacy_transformers.layers.trfs2arrays import forward as pool_pieces
from thinc.api import Model
from thinc.shims import Shim
from thinc.types import Floats2d, Ints1d, Ragged
from torch.nn import functional
from transformers import AutoTokenizer
from transformers.file_utils import ModelOutput

from ..errors import Errors
from ..layers import loops
from ..processor import one_thread
from .align import align_tokens, lay_out, leave_whole
from .batches import plan_passes
from .frame import Frame, PassOfRows, fill_rows, row_lengths
from .runtimes import RUNTIMES, Runtime
from .windows import Windows, cut_docs
from .words import OfTokenizer, WordSplitter

MAX_PIECES = 512
# A pass costs little to start here, so that rows of nearly the same length can go together, with 5% of padding or less.
FEW_PIECES = 128
FULL_ENOUGH = 0.93
NO_PIECES, NO_OUTPUT = WordpieceBatch.empty(), ModelOutput()
NO_ALIGNMENT = Ragged(numpy.zeros(0, "i"), numpy.zeros(0, "i"))
# What a forked process has of its parent's runtimes. Their threads are not there, and freeing one would wait for them for ever.
LEFT_BY_PARENT: List[Runtime] = []
# Two threads that both need the same runtime make one.
MAKING = Lock()


class TokenData(TransformerData):
    """The vectors of one document, one for each token, in the order of the tokens."""


class TokenBatch(FullTransformerBatch):
    """The vectors of a batch of documents, one for each token.

    vectors (Floats2d): Shape: (tokens, width).
    sizes (List[int]): Tokens of each document.
    """

    def __init__(self, vectors: Floats2d, sizes: List[int]) -> None:
        super().__init__([[] for _ in sizes], NO_PIECES, NO_OUTPUT, NO_ALIGNMENT)
        self.vectors, self.sizes = vectors, sizes

    def split_by_doc(self) -> List[TransformerData]:
        """RETURNS (List[TransformerData]): One for each document, in order; each token is a piece of its own."""
        numbers = numpy.arange(max(self.sizes, default=0), dtype="i")
        ones = numpy.ones_like(numbers)
        datas, start = [], 0
        for size in self.sizes:
            if not size:
                datas.append(TokenData.empty())
                continue
            output = ModelOutput(last_hidden_state=self.vectors[None, start : start + size])
            datas.append(TokenData(NO_PIECES, output, Ragged(numbers[:size], ones[:size])))
            start += size
        return datas


def pass_on(node: Model, datas: List[TransformerData], is_train: bool) -> Tuple[List[Floats2d], Callable]:
    """What `trfs2arrays` of spacy-transformers does, without the pooling where each token has one vector.

    node (Model): The layer.
    datas (List[TransformerData]): One a document.
    is_train (bool): Whether gradients are wanted; then, and for vectors of pieces, the layer works as ever.
    RETURNS (Tuple[List[Floats2d], Callable]): The vectors of the tokens of each document. Shape of each: (tokens, width).
    """
    if is_train or not all(isinstance(data, TokenData) and "last_hidden_state" in data.model_output for data in datas):
        return pool_pieces(node, datas, is_train)
    return [data.model_output.last_hidden_state[0] for data in datas], lambda gradients: datas


class CompiledShim(Shim):
    """Holds an exported encoder and its tokenizer, and makes the program that runs it when it is first needed.

    A process that was forked makes its own, since threads do not survive a fork.
    """

    def __init__(self) -> None:
        super().__init__(None)
        self.weights = b""
        self.tokenizer: Any = None
        self.settings: Dict[str, Any] = {}
        self._runtime: Tuple[int, Optional[Runtime]] = (0, None)

    def set(self, weights: bytes, tokenizer: Any, settings: Dict[str, Any]) -> None:
        """Take in an exported encoder.

        weights (bytes): As ONNX.
        tokenizer (PreTrainedTokenizerBase): Its tokenizer.
        settings (Dict[str, Any]): `limit`, the most pieces of text it takes at once or None; and what its maker wants to keep.
        """
        if tokenizer is not None:
            leave_whole(tokenizer)  # now, as several threads will use it
        self.weights, self.tokenizer, self.settings = weights, tokenizer, dict(settings)
        self._runtime = (0, None)

    def runtime(self, backend: str, precision: str, *threads: int) -> Runtime:
        """RETURNS (Runtime): The program that runs the encoder in this process."""
        with MAKING:
            process, runtime = self._runtime
            if runtime is not None and process != os.getpid():
                LEFT_BY_PARENT.append(runtime)
                runtime = None
            if runtime is None:
                runtime = RUNTIMES[backend](self.weights, precision, *threads)
                self._runtime = (os.getpid(), runtime)
            return runtime

    def to_bytes(self) -> bytes:
        """RETURNS (bytes): What `from_bytes` reads: the ONNX model, the files of the tokenizer, compressed, and settings."""
        files: Dict[str, bytes] = {}
        if self.tokenizer is not None:
            with TemporaryDirectory() as folder:
                self.tokenizer.save_pretrained(folder)
                files = {path.name: zlib.compress(path.read_bytes(), 9) for path in sorted(Path(folder).iterdir())}
            if "tokenizer.json" in files:
                files.pop("vocab.txt", None)  # says nothing that the other does not
        return srsly.msgpack_dumps({"weights": self.weights, "tokenizer": files, "zlib": True, "settings": self.settings})

    def from_bytes(self, bytes_data: bytes) -> "CompiledShim":
        """bytes_data (bytes): What `to_bytes` has written. RETURNS (CompiledShim): This object."""
        message = srsly.msgpack_loads(bytes_data)
        tokenizer = None
        if message["tokenizer"]:
            with TemporaryDirectory() as folder:
                read = zlib.decompress if message.get("zlib") else bytes  # an older version did not compress
                for name, content in message["tokenizer"].items():
                    (Path(folder) / Path(name).name).write_bytes(read(content))
                tokenizer = AutoTokenizer.from_pretrained(folder)
        self.set(message["weights"], tokenizer, message["settings"])
        return self

    def copy(self) -> "CompiledShim":
        """RETURNS (CompiledShim): The same encoder; the program that runs it is made anew."""
        copied = CompiledShim()
        copied.set(self.weights, self.tokenizer, self.settings)
        return copied


class CompiledTransformer(Model):
    """The model of a `transformer` component whose encoder was exported. See `build_compiled_transformer_v1`."""

    def __init__(
        self, get_spans: Callable, backend: str, precision: str, threads: int, max_pieces: int, pass_threads: int
    ) -> None:
        super().__init__("transformer", forward, init=init, shims=[CompiledShim()], dims={"nO": None})
        # Not in attrs, which the saved model would override: the config of the one who runs it decides.
        self.get_spans, self.backend, self.precision = get_spans, backend, precision
        self.threads, self.max_pieces, self.pass_threads = threads, max_pieces, pass_threads
        self._of_tokenizer = OfTokenizer()

    @property
    def tokenizer(self) -> Any:
        """The Hugging Face tokenizer. None before loading."""
        return self.shims[0].tokenizer

    @property
    def frame(self) -> Frame:
        """The special pieces of the tokenizer."""
        return self._of_tokenizer.get(self.tokenizer)[0]

    @property
    def split(self) -> WordSplitter:
        """What splits documents into word pieces."""
        return self._of_tokenizer.get(self.tokenizer)[1]

    @property
    def runtime(self) -> Runtime:
        """The program that runs the encoder. RAISES (ImportError): If it is not installed (E521). Without an encoder: E524."""
        init(self)
        return self.shims[0].runtime(self.backend, self.precision, self.threads, self.pass_threads)


def init(model: CompiledTransformer, X: Optional[List[Doc]] = None, Y: Any = None) -> None:
    """RAISES (ValueError): If there is no encoder (E524): only `ie compress` makes one."""
    if not model.shims[0].weights:
        raise ValueError(Errors.E524)


def forward(model: CompiledTransformer, docs: Iterable[Doc], is_train: bool) -> Tuple[FullTransformerBatch, Callable]:
    """Run the encoder over the windows of documents.

    model (CompiledTransformer): The model.
    docs (Iterable[Doc]): The documents; empty ones are allowed. Not modified.
    is_train (bool): Must be False.
    RETURNS (Tuple[FullTransformerBatch, Callable]): A vector for each token; and what stands for a backward pass.
    RAISES (ValueError): If there is no encoder (E524), or if it is to be trained (E525).
    """
    if is_train:
        raise ValueError(Errors.E525)
    init(model)
    docs = list(docs)
    if not any(len(doc) for doc in docs):
        return FullTransformerBatch.empty(len(docs)), lambda gradient: docs
    runtime = model.runtime  # first, as OpenVINO forks, and tokenizers that ran before warn of that
    limit = model.shims[0].settings["limit"]
    windows = cut_docs(model.split, limit, model.frame, model.get_spans, docs)
    vectors = encode_windows(runtime, model.frame, windows, model.max_pieces)
    return TokenBatch(vectors, [len(doc) for doc in docs]), lambda gradient: docs


def encode_windows(runtime: Runtime, frame: Frame, windows: Windows, max_pieces: int) -> Floats2d:
    """Run the encoder over windows, and average over the pieces of each token.

    runtime (Runtime): Runs the encoder.
    frame (Frame): The special pieces.
    windows (Windows): The windows of a batch.
    max_pieces (int): Most pieces in a pass, padding included.
    RETURNS (Floats2d): Shape: (tokens, width). Zeros for tokens in no window.
    """
    ids, begin, end = lay_out(windows.pieces, windows.rows, windows.lifted, windows.size)
    passes = plan_passes(row_lengths(frame, begin, end), max_pieces, FEW_PIECES, FULL_ENOUGH)
    filled = fill_rows(frame, ids, begin, end, passes)
    flat = numpy.empty((len(filled.mask), runtime.width), dtype="float32")
    run = runtime.run_single if len(filled.shapes) == 1 else runtime.run

    def read(part: PassOfRows) -> None:
        inputs = {"input_ids": part.input_ids, "attention_mask": part.mask.astype("int64"), "token_type_ids": part.types}
        flat[part.place] = run(inputs).reshape(-1, runtime.width)  # at once, while it is in the processor's cache

    deque(runtime.each(read, filled.passes()), maxlen=0)
    target, counts = align_tokens(frame, windows.pieces, windows.rows, begin, end, filled.offsets)
    return mean_over(flat, target, counts)


def mean_over(vectors: ndarray, target: Ints1d, counts: Ints1d) -> Floats2d:
    """Average over groups of rows.

    vectors (ndarray): Shape: (P, D).
    target (Ints1d): The rows of the first group, then those of the second, and so on. Shape: (sum of counts,).
    counts (Ints1d): Rows of each group; a group without rows has zeros. Shape: (T,).
    RETURNS (Floats2d): Shape: (T, D).
    """
    if not len(target):
        return numpy.zeros((len(counts), vectors.shape[1]), dtype="float32")
    loop = loops.compiled(loops.mean_rows)
    if loop is not None:
        means = numpy.zeros((len(counts), vectors.shape[1]), dtype="float32")
        loop(vectors, target, counts, means)
        return means
    first = numpy.cumsum(counts, dtype=target.dtype) - counts.astype(target.dtype)
    with torch.no_grad(), one_thread():
        return functional.embedding_bag(*map(torch.from_numpy, (target, vectors, first)), mode="mean").numpy()


def build_compiled_transformer_v1(
    get_spans: Callable,
    backend: str,
    precision: str,
    threads: int = 0,
    max_pieces: int = MAX_PIECES,
    pass_threads: int = 1,
) -> Model[List[Doc], FullTransformerBatch]:
    """Build the model of a `transformer` component whose encoder was exported by `python -m spacy ie compress`.

    get_spans (Callable): How documents are cut into windows; as the pipeline was trained.
    backend (str): "onnxruntime" or "openvino", the program that runs the encoder.
    precision (str): "float32", "bfloat16" (openvino) or "int8".
    threads (int): Threads that run passes; 0: one for each processor that the process may use, or OMP_NUM_THREADS.
    max_pieces (int): Most word pieces, padding included, in one pass. Bounds the memory.
    pass_threads (int): How many of the threads share one pass. With 1, as many passes run side by side as there are threads, which
        is quickest for many texts and for long ones; ONNX Runtime from 1.27 on shares the pass of a single short text all the same.
    RETURNS (Model[List[Doc], FullTransformerBatch]): The model. It cannot be trained.
    RAISES (ValueError): If the backend or the precision is not known (E520).
    """
    if backend not in RUNTIMES or precision not in RUNTIMES[backend].precisions:
        known = ", ".join(f"{name} ({', '.join(runtime.precisions)})" for name, runtime in RUNTIMES.items())
        raise ValueError(Errors.E520.format(backend=backend, precision=precision, known=known))
    return CompiledTransformer(get_spans, backend, precision, threads, max_pieces, pass_threads)
