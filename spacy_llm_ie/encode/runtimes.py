"""Programs that run an exported encoder. Each is an extra: imported where it is used, with an error that names the pip command."""

import importlib
import importlib.util
import io
import warnings
from typing import Any, Dict, List, Type

from numpy import ndarray

from ..errors import Errors, Warnings
from .processor import count_cores, has_bfloat16

INPUTS = ("input_ids", "attention_mask", "token_type_ids")


class Runtime:
    """Runs one encoder. Subclasses import what they need when they are made.

    weights (bytes): The encoder as ONNX.
    threads (int): Threads for one pass; 0 for what the machine has.
    """

    name: str
    package: str
    precisions: Dict[str, str]

    def __init__(self, weights: bytes, precision: str, threads: int) -> None:
        self.inputs: List[str] = []
        raise NotImplementedError

    def run(self, inputs: Dict[str, ndarray]) -> ndarray:
        """Run the encoder over rows of one length.

        inputs (Dict[str, ndarray]): Those of `INPUTS` that the encoder takes, as int64. Shape of each: (R, P).
        RETURNS (ndarray): The vectors of the last layer, as float32. Shape: (R, P, D).
        """
        raise NotImplementedError

    @classmethod
    def is_installed(cls) -> bool:
        """Whether the runtime can be imported."""
        return importlib.util.find_spec(cls.package) is not None

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

    def __init__(self, weights: bytes, precision: str, threads: int) -> None:
        package = self.load_package()
        options = package.SessionOptions()
        options.intra_op_num_threads = threads or count_cores()
        # Threads that wait by spinning take the processor from whoever runs beside them, such as the rest of the pipeline.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # Memory that is kept for the longest batch so far would stay taken for good.
        options.enable_mem_pattern = False
        options.log_severity_level = 3
        self.session = package.InferenceSession(weights, options, providers=["CPUExecutionProvider"])
        self.inputs = [item.name for item in self.session.get_inputs()]

    def run(self, inputs: Dict[str, ndarray]) -> ndarray:
        """As `Runtime.run`."""
        return self.session.run(None, {name: inputs[name] for name in self.inputs})[0]


class OpenVino(Runtime):
    """Intel's OpenVINO, which runs on AMD too: the quickest one in bfloat16."""

    name = "openvino"
    package = "openvino"
    precisions = {"float32": "f32", "bfloat16": "bf16", "int8": "bf16"}

    def __init__(self, weights: bytes, precision: str, threads: int) -> None:
        package = self.load_package()
        core = package.Core()
        hint = self.precisions[precision]
        if hint == "bf16" and not has_bfloat16():
            hint = "f32"
            if precision == "bfloat16":
                warnings.warn(Warnings.W520, stacklevel=2)
        settings = {
            "INFERENCE_PRECISION_HINT": hint,
            "INFERENCE_NUM_THREADS": threads or count_cores(),
            "NUM_STREAMS": 1,
            "ENABLE_CPU_PINNING": False,
        }
        compiled = core.compile_model(core.read_model(io.BytesIO(weights)), "CPU", settings)
        self.inputs = [item.get_any_name() for item in compiled.inputs]
        self.request = compiled.create_infer_request()

    def run(self, inputs: Dict[str, ndarray]) -> ndarray:
        """As `Runtime.run`. The next run overwrites what this one gave."""
        result = self.request.infer({name: inputs[name] for name in self.inputs}, share_inputs=True)
        return result[0]


RUNTIMES: Dict[str, Type[Runtime]] = {runtime.name: runtime for runtime in (OnnxRuntime, OpenVino)}
