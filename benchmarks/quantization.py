"""Ways to quantise an encoder for ONNX Runtime and OpenVINO: error of the token vectors, and F1 on development data.

    python benchmarks/quantization.py training/joint/model-best corpus/dev.spacy

`by word piece` is what `ie compress --precision int8` does for ONNX Runtime; `by batch` is ONNX Runtime's own dynamic quantisation
(weights by column, activations with one scale for a batch). The error is the length of the difference from float32 as a share of the
length of the vectors, over the tokens of the data.
"""

import argparse
import tempfile
from pathlib import Path

import numpy
import onnx
import spacy
from onnxruntime.quantization import QuantType, quantize_dynamic

from spacy_llm_ie.compress.backend import compile_transformer, export_encoder, find_component, save_compiled
from spacy_llm_ie.compress.measure import score
from spacy_llm_ie.data.corpus import create_corpus_v1
from spacy_llm_ie.tasks import main_scores


def quantize_by_batch(weights):
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "float32.onnx", Path(folder) / "int8.onnx"
        onnx.save(onnx.load_from_string(weights), str(source))
        quantize_dynamic(source, target, op_types_to_quantize=["MatMul"], per_channel=True, weight_type=QuantType.QInt8)
        return target.read_bytes()


def read_vectors(nlp, path):
    docs = [example.predicted for example in create_corpus_v1(path)(nlp)]
    with nlp.select_pipes(enable=["transformer"]):
        found = [doc._.trf_data.model_output.last_hidden_state[0] for doc in nlp.pipe(docs)]
    return numpy.concatenate(found)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pipeline", type=Path)
    parser.add_argument("data", type=Path)
    args = parser.parse_args()
    nlp = spacy.load(args.pipeline)
    name, pipe = find_component(nlp)
    whole = export_encoder(pipe.model, "onnxruntime", "float32")
    ways = {
        "float32": (whole, "onnxruntime", "float32"),
        "onnxruntime int8, by word piece": (export_encoder(pipe.model, "onnxruntime", "int8"), "onnxruntime", "int8"),
        "onnxruntime int8, by batch": (quantize_by_batch(whole), "onnxruntime", "int8"),
        "openvino bfloat16": (whole, "openvino", "bfloat16"),
        "openvino int8": (export_encoder(pipe.model, "openvino", "int8"), "openvino", "int8"),
    }
    exact = None
    for way, (weights, backend, precision) in ways.items():
        with tempfile.TemporaryDirectory() as folder:
            compiled = compile_transformer(pipe.model, weights, backend, precision)
            save_compiled(nlp, name, compiled, Path(folder), keep_vectors=True)
            other = spacy.load(folder)
        vectors = read_vectors(other, args.data)
        exact = vectors if exact is None else exact
        error = numpy.linalg.norm(vectors - exact) / numpy.linalg.norm(exact)
        scores = main_scores(other, score(other, args.data))
        shown = ", ".join(f"{task} {100 * value:.1f}" for task, value in scores.items())
        print(f"{way}: {len(weights) / 1e6:.1f} MB, error {error:.1%}, {shown}", flush=True)


if __name__ == "__main__":
    main()
