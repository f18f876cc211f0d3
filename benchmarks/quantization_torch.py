"""Ways to run an encoder in torch itself, for quantization.py: bfloat16, int8 by torchao, and both compiled by torch.compile.

The encoder takes the place of ONNX Runtime's in a compressed pipeline, so that it reads the same word pieces in the same passes.
Its size is that of its tensors as safetensors, with whole numbers, scales and zero points as tensors of their own.
"""

import copy
import importlib.util
import warnings

import safetensors.torch
import torch
from torch import nn

from spacy_llm_ie.compress.export import LastLayer
from spacy_llm_ie.encode.frame import Frame
from spacy_llm_ie.encode.runtimes import INPUTS, RUNTIMES, Runtime


class Torch(Runtime):
    """Runs the encoder that belongs to a way; what a file would hold is there for its size only."""

    name = package = "torch"
    precisions = {}
    encoders = {}

    def load(self, weights, precision):
        self.encoder, inputs = self.encoders[precision]
        return inputs

    @torch.inference_mode()
    def run(self, inputs):
        return self.encoder(*(torch.from_numpy(inputs[name]) for name in self.inputs)).float().numpy()


RUNTIMES[Torch.name] = Torch


def list_ways():
    """RETURNS (Dict[str, Callable]): By name: makes of a float32 encoder, which it may change, the one that is run."""
    ways = {
        "float32": lambda encoder: encoder,
        "bfloat16": lambda encoder: encoder.to(torch.bfloat16),
        "float32, autocast to bfloat16": lambda encoder: encoder,
        "int8 by torch.ao, deprecated": quantize_by_torch,
        "float32, compiled": lambda encoder: encoder,
        "bfloat16, compiled": lambda encoder: encoder.to(torch.bfloat16),
    }
    if importlib.util.find_spec("torchao") is None:
        print("# torchao is not installed (pip install torchao): its int8 is left out", flush=True)
        return ways
    from torchao.quantization import Int8DynamicActivationInt8WeightConfig, Int8WeightOnlyConfig, quantize_

    def quantize(config, dtype=torch.float32, filter_fn=None):
        def change(encoder):
            encoder = encoder.to(dtype)
            quantize_(encoder, config(), filter_fn=filter_fn)
            return encoder

        return change

    weights, both = Int8WeightOnlyConfig, Int8DynamicActivationInt8WeightConfig
    return {
        **ways,
        "int8 by torchao, weights": quantize(weights),
        "int8 by torchao, weights and embeddings": quantize(weights, filter_fn=has_table),
        "int8 by torchao, weights, bfloat16": quantize(weights, torch.bfloat16),
        "int8 by torchao, weights and activations": quantize(both),
        "int8 by torchao, weights and activations, bfloat16": quantize(both, torch.bfloat16),
        "int8 by torchao, weights, compiled": quantize(weights),
        "int8 by torchao, weights and activations, compiled": quantize(both),
    }


def has_table(module, name):
    return isinstance(module, (nn.Linear, nn.Embedding))


def quantize_by_torch(encoder):
    from torch.ao import quantization

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return quantization.quantize_dynamic(encoder, {nn.Linear: quantization.per_channel_dynamic_qconfig})


def torch_ways(model):
    """Ways as in `quantization.Ways`. model (TransformerModel): The float32 one. YIELDS: Name, and what makes the weights."""
    inputs = list(INPUTS if Frame.from_tokenizer(model.tokenizer).has_types else INPUTS[:2])
    for name, change in list_ways().items():
        way = f"torch {name}"
        Torch.precisions[way] = way
        yield way, lambda way=way, change=change: prepare(way, model.transformer, change, inputs)


def prepare(way, encoder, change, inputs):
    """Make the encoder of a way, for the runtime. RETURNS (bytes): As a file would hold it."""
    encoder = copy.deepcopy(encoder).eval()
    if hasattr(encoder, "pooler"):
        encoder.pooler = None  # nothing reads it, and ONNX files do not have it
    encoder = change(encoder)
    weights = safetensors.torch.save(dict(flatten(encoder.state_dict().items())))
    run = LastLayer(encoder, inputs).eval()
    if "autocast" in way:
        run = torch.autocast("cpu", torch.bfloat16)(run)
    elif "compiled" in way:
        run = compile_frozen(run)
    Torch.encoders[way] = run, inputs
    return weights


def compile_frozen(module):
    """RETURNS (Callable): The module compiled when it is first called, for shapes of any size, with its weights as constants."""
    import torch._dynamo.config
    import torch._inductor.config

    compiled = torch.compile(module, dynamic=True)

    def run(*inputs):
        # Here, as settings hold for a thread, and the encoder has one of its own; torch.compile's own option comes too late.
        torch._inductor.config.freezing = True
        torch._dynamo.config.recompile_limit = 64  # all ways share the 8 that a function has, and later ones run uncompiled
        return compiled(*inputs)

    return run


def flatten(items):
    """YIELDS (Tuple[str, Tensor]): The plain tensors that tensors consist of, of torchao and of torch.ao as well."""
    for name, value in items:
        if isinstance(value, tuple):
            yield from flatten((f"{name}.{i}", part) for i, part in enumerate(value))
        elif hasattr(value, "__tensor_flatten__"):
            yield from flatten((f"{name}.{part}", getattr(value, part)) for part in value.__tensor_flatten__()[0])
        elif isinstance(value, torch.Tensor) and value.is_quantized:
            scales = {"scales": value.q_per_channel_scales(), "zeros": value.q_per_channel_zero_points()}
            yield from flatten((f"{name}.{part}", tensor) for part, tensor in {"values": value.int_repr(), **scales}.items())
        elif isinstance(value, torch.Tensor):
            yield name, value.detach().contiguous()
