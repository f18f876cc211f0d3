"""How quickly this processor multiplies matrices: in torch, float32 by MKL and by oneDNN, bfloat16, and int8 by oneDNN; in ONNX
Runtime (where it and onnx are installed), float32 and int8; in one thread and in two.

    python benchmarks/products.py [--rows 384] [--width 384] [--outputs 1536]

Billions of operations a second, medians of half a second; with two threads, each multiplies matrices of its own, and the sum is shown.
"""

import argparse
import threading
import time

import numpy
import torch
from torch.nn import functional

from spacy_llm_ie.layers.products import find_one_dnn, quick_one_dnn
from spacy_llm_ie.processor import bfloat16_is_quick


def rate(multiply, operations, seconds=0.5):
    """RETURNS (float): Billions of operations a second, the median of what fits into some time, in this thread alone."""
    torch.set_num_threads(1)  # each thread has its own number
    rates, end = [], time.perf_counter() + seconds
    with torch.no_grad():
        while time.perf_counter() < end:
            start = time.perf_counter()
            multiply()
            rates.append(operations / (time.perf_counter() - start))
    return sorted(rates)[len(rates) // 2]


def side_by_side(multiply, operations, threads):
    found = []
    workers = [threading.Thread(target=lambda: found.append(rate(multiply, operations))) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return sum(found)


def int8_by_one_dnn(values, weight):
    """What torch's compiler writes for quantised linear layers; not in its documentation. RETURNS: None where torch has it not."""
    try:
        multiply, pack = torch.ops.onednn.qlinear_pointwise.default, torch.ops.onednn.qlinear_prepack.default
        rows, packed, columns = values.to(torch.uint8), pack(weight.to(torch.int8), None), torch.ones(len(weight))
        zeros = torch.zeros(len(weight), dtype=torch.int64)
        run = lambda: multiply(rows, 1.0, 0, packed, columns, zeros, None, 1.0, 0, torch.float32, "none", [], "")  # noqa: E731
        run()
    except (AttributeError, RuntimeError):
        return None
    return run


def by_onnx_runtime(values, weight, int8):
    """A model of one product. RETURNS (Callable): Runs it; None without ONNX Runtime."""
    try:
        import onnx
        import onnxruntime
    except ImportError:
        return None
    kind = "uint8" if int8 else "float32"
    stored = {"matrix": weight.T.numpy().astype("int8" if int8 else "float32")}
    if int8:
        stored.update(scale=numpy.float32(1), scales=numpy.ones(len(weight), "float32"), zero=numpy.uint8(0))
        node = onnx.helper.make_node(
            "MatMulIntegerToFloat", ["rows", "matrix", "scale", "scales", "zero"], ["found"], domain="com.microsoft"
        )
    else:
        node = onnx.helper.make_node("MatMul", ["rows", "matrix"], ["found"])
    tensors = [onnx.numpy_helper.from_array(numpy.asarray(array), name) for name, array in stored.items()]
    given = onnx.helper.make_tensor_value_info("rows", getattr(onnx.TensorProto, "UINT8" if int8 else "FLOAT"), values.shape)
    found = onnx.helper.make_tensor_value_info("found", onnx.TensorProto.FLOAT, [len(values), len(weight)])
    graph = onnx.helper.make_graph([node], "product", [given], [found], tensors)
    domains = [onnx.helper.make_opsetid("", 17), onnx.helper.make_opsetid("com.microsoft", 1)]
    model = onnx.helper.make_model(graph, opset_imports=domains, ir_version=9)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    rows = {"rows": values.numpy().astype(kind)}
    return lambda: session.run(None, rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, number in (("rows", 384), ("width", 384), ("outputs", 1536)):
        parser.add_argument(f"--{name}", type=int, default=number)
    args = parser.parse_args()
    torch.set_num_threads(1)
    values, weight = torch.ones(args.rows, args.width), torch.ones(args.outputs, args.width)
    halves, one_dnn = (values.bfloat16(), weight.bfloat16()), find_one_dnn()
    ways = {"float32, MKL": lambda: functional.linear(values, weight), "bfloat16": lambda: functional.linear(*halves)}
    if one_dnn is not None:
        ways["float32, oneDNN"] = lambda: one_dnn(values, weight, None, "none", [], "")
    ways["int8, oneDNN"] = int8_by_one_dnn(values, weight)
    ways["float32, ONNX Runtime"] = by_onnx_runtime(values, weight, False)
    ways["int8, ONNX Runtime"] = by_onnx_runtime(values, weight, True)
    ways = {name: multiply for name, multiply in ways.items() if multiply is not None}
    operations = 2 * args.rows * args.width * args.outputs / 1e9
    print("| | one thread | two threads |\n| --- | ---: | ---: |")
    for name, multiply in ways.items():
        print(f"| {name} | " + " | ".join(f"{side_by_side(multiply, operations, threads):.0f}" for threads in (1, 2)) + " |")
    print(f"Taken here: bfloat16 {bfloat16_is_quick()}, oneDNN for float32 {quick_one_dnn() is not None}")


if __name__ == "__main__":
    main()
