"""Programs that run an exported encoder. Each is an extra: imported where it is used, with an error that names the pip command.

Passes run side by side, each in one thread: threads that share one pass wait for each other at each operation.
"""

import contextlib
import importlib
import importlib.metadata
import importlib.util
import io
import re
import threading
import warnings
from concurrent.futures import Future
from functools import partial
from typing import Any, Callable, ContextManager, Dict, Iterator, List, Optional, Sequence, Type

import numpy
from numpy import ndarray
from packaging.requirements import Requirement

from .. import about
from ..errors import Errors, Warnings
from ..processor import bfloat16_is_quick, count_cores
from .helping import HelpingPool, ItemT, ResultT
from .quicker import Quicker

INPUTS = ("input_ids", "attention_mask", "token_type_ids")
# Whoever has read so many single texts will read more.
FEW_SINGLES = 1
# Threads that share the pass of a single text, at most; and the microseconds that they stay awake for the next operation: on a free
# processor it is as quick as staying awake for ever, and on one that other programs want it loses less (`benchmarks/single.py`).
MOST_THREADS, SPIN = 4, 20
# The version of ONNX Runtime that can be told how long.
BRIEF_SPINNING = (1, 27)


class Runtime:
    """Runs one encoder. Subclasses import what they need when they are made.

    weights (bytes): The encoder as ONNX.
    precision (str): One of `precisions`.
    threads (int): How many threads run passes; 0 for one for each processor that the process may use.
    pass_threads (int): How many of them share one pass, which helps where single texts are sent to a large encoder.
    """

    name: str
    package: str
    precisions: Dict[str, str]

    def __init__(self, weights: bytes, precision: str, threads: int = 0, pass_threads: int = 1) -> None:
        threads = threads or count_cores()
        self.pass_threads = min(pass_threads, threads)
        self.workers = threads // self.pass_threads
        self.pool = HelpingPool(self.workers, self.name) if self.workers > 1 else None
        self.inputs = self.load(weights, precision)
        # What a library sets up at its first use is not safe in several threads: OpenVINO's two first ones wait for each other for
        # ever, one with Python's lock, the other with that of its table of types.
        first = numpy.ones((1, 1), dtype="int64")
        self.width: int = self.run({name: first for name in INPUTS} | {"token_type_ids": 0 * first}).shape[-1]

    def load(self, weights: bytes, precision: str) -> List[str]:
        """Make what runs the encoder. RETURNS (List[str]): Those of `INPUTS` that it takes."""
        raise NotImplementedError

    def run(self, inputs: Dict[str, ndarray]) -> ndarray:
        """Run the encoder over rows of one length. Several threads may do that at once.

        inputs (Dict[str, ndarray]): `INPUTS`, as int64. Shape of each: (R, P).
        RETURNS (ndarray): The vectors of the last layer, as float32. Shape: (R, P, D); until the next run in this thread.
        """
        raise NotImplementedError

    def run_single(self, inputs: Dict[str, ndarray]) -> ndarray:
        """As `run`, of all that a text needs; perhaps in several threads."""
        return self.run(inputs)

    def each(self, function: Callable[[ItemT], ResultT], items: Sequence[ItemT]) -> Iterator[ResultT]:
        """Call a function that runs a pass, in as many threads as there are for that, the one that waits for them among them.

        function (Callable): Takes an item.
        items (Sequence): One a pass.
        YIELDS: What the function returns, in order.
        """
        if self.pool is None or len(items) < 2:
            return map(function, items)
        return self.pool.map(function, items)

    def wait(self, future: Future) -> Any:
        """Wait for something that needs passes, and run passes until it is done. RETURNS: Its result."""
        return future.result() if self.pool is None else self.pool.wait(future)

    def standing_by(self) -> ContextManager[None]:
        """While the context lasts, this thread runs no passes when it waits for some."""
        return contextlib.nullcontext() if self.pool is None else self.pool.standing_by()

    @classmethod
    def is_installed(cls) -> bool:
        """Whether the runtime can be imported."""
        return importlib.util.find_spec(cls.package) is not None

    @classmethod
    def requirement(cls) -> str:
        """What pip must install so that the runtime is there. RETURNS (str): Of our extra; the package alone where ours is not
        installed itself."""
        try:
            wanted = map(Requirement, importlib.metadata.requires(about.__title__) or ())
        except importlib.metadata.PackageNotFoundError:
            return cls.package
        return next((f"{found.name}{found.specifier}" for found in wanted if found.name == cls.package), cls.package)

    @classmethod
    def load_package(cls) -> Any:
        """Import the runtime. RETURNS (Any): The module. RAISES (ImportError): E521, with the pip command."""
        try:
            return importlib.import_module(cls.package)
        except ImportError as error:
            raise ImportError(Errors.E521.format(backend=cls.name, package=cls.package)) from error


class OnnxRuntime(Runtime):
    """Microsoft's ONNX Runtime: quick in float32 on any processor, and in int8 on those with VNNI."""

    name = "onnxruntime"
    package = "onnxruntime"
    precisions = {"float32": "float32", "int8": "int8"}

    def load(self, weights: bytes, precision: str) -> List[str]:
        """As `Runtime.load`."""
        self.session = self._start(weights, self.pass_threads)
        self._weights, self._singles, self._turn = weights, 0, threading.Lock()
        self._quicker: Optional[Quicker[Dict[str, ndarray], ndarray]] = None
        self._spins_briefly = _can_spin_briefly(self.load_package().__version__)
        return [item.name for item in self.session.get_inputs()]

    def _start(self, weights: bytes, threads: int, spin: int = 0) -> Any:
        """What runs the encoder. threads (int): How many share a pass. spin (int): Microseconds that they stay awake for the next
        operation. RETURNS (onnxruntime.InferenceSession): It.
        """
        package = self.load_package()
        options = package.SessionOptions()
        options.intra_op_num_threads = threads
        # Threads that wait by spinning take the processor from whoever runs beside them, such as the rest of the pipeline.
        options.add_session_config_entry("session.intra_op.allow_spinning", str(int(spin > 0)))
        if spin:
            options.add_session_config_entry("session.intra_op.spin_duration_us", str(spin))
            options.add_session_config_entry("session.force_spinning_stop", "1")
        # Memory that is kept for the longest batch so far would stay taken for good.
        options.enable_mem_pattern = False
        options.log_severity_level = 3
        return package.InferenceSession(weights, options, providers=["CPUExecutionProvider"])

    def run(self, inputs: Dict[str, ndarray]) -> ndarray:
        """As `Runtime.run`."""
        return self._run_in(self.session, inputs)

    def _run_in(self, session: Any, inputs: Dict[str, ndarray]) -> ndarray:
        return session.run(None, {name: inputs[name] for name in self.inputs})[0]

    def run_single(self, inputs: Dict[str, ndarray]) -> ndarray:
        """As `Runtime.run_single`: where single texts are read again and again, by threads that share a pass, and have weights of
        their own, as long as that is quicker: it is not where other programs want the processors. Not while they run another one,
        nor in the threads that read a stream, which are enough by themselves.
        """
        alone = self.pool is not None and not self.pool.stands_by() and self._spins_briefly
        if not alone or not self._turn.acquire(blocking=False):
            return self.run(inputs)
        try:
            self._singles += 1
            if self._singles <= FEW_SINGLES:
                return self.run(inputs)
            if self._quicker is None:
                shared = self._start(self._weights, min(self.workers * self.pass_threads, MOST_THREADS), SPIN)
                self._quicker = Quicker(self.run, partial(self._run_in, shared))
            return self._quicker(inputs, inputs["input_ids"].size)
        finally:
            self._turn.release()


def _can_spin_briefly(version: str) -> bool:
    found = re.match(r"(\d+)\.(\d+)", version)
    return found is not None and tuple(map(int, found.groups())) >= BRIEF_SPINNING


class OpenVino(Runtime):
    """Intel's OpenVINO, which runs on AMD too: the quickest one in bfloat16."""

    name = "openvino"
    package = "openvino"
    precisions = {"float32": "f32", "bfloat16": "bf16", "int8": "bf16"}

    def load(self, weights: bytes, precision: str) -> List[str]:
        """As `Runtime.load`."""
        package = self.load_package()
        core = package.Core()
        hint = self.precisions[precision]
        if hint == "bf16" and not bfloat16_is_quick():
            hint = "f32"
            if precision == "bfloat16":
                warnings.warn(Warnings.W520, stacklevel=2)
        settings = {
            "INFERENCE_PRECISION_HINT": hint,
            "INFERENCE_NUM_THREADS": self.workers * self.pass_threads,
            "NUM_STREAMS": self.workers,
            "ENABLE_CPU_PINNING": False,
        }
        self.compiled = core.compile_model(core.read_model(io.BytesIO(weights)), "CPU", settings)
        self.mine = threading.local()  # a request serves one thread at a time
        return [item.get_any_name() for item in self.compiled.inputs]

    def run(self, inputs: Dict[str, ndarray]) -> ndarray:
        """As `Runtime.run`."""
        if not hasattr(self.mine, "request"):
            self.mine.request = self.compiled.create_infer_request()
        result = self.mine.request.infer({name: inputs[name] for name in self.inputs}, share_inputs=True)
        return result[0]


RUNTIMES: Dict[str, Type[Runtime]] = {runtime.name: runtime for runtime in (OnnxRuntime, OpenVino)}
