"""Ways to quantise an encoder for ONNX Runtime, OpenVINO and torch: error of the token vectors, F1 on development data, and time.

    python benchmarks/quantization.py training/joint/model-best corpus/dev.spacy --train corpus/train.spacy
    OMP_NUM_THREADS=1 python benchmarks/quantization.py ... --torch --only "torch|word piece|openvino"
    python benchmarks/quantization.py ... --train corpus/train.spacy --quantize-aware 200 --only "float32|trained"
    python benchmarks/quantization.py ... --train corpus/train.spacy --quantize-aware 200 --only trained --heads 0.58 --neurons 0.625 --pieces 9400

Ours are `by word piece` (a scale for each row of activations, found when it comes), `in steps` (by column, known before where that is
nearer; calibrated on texts of --train or else of the data) and `compensated`, what `ie compress --precision int8` does for ONNX
Runtime. ONNX Runtime's own: `by batch`, dynamic (weights by column, activations with one scale for a batch), and `static`, from the
smallest and largest numbers that a layer is given on the same texts.
`trained` are pipelines that first learned for some more steps, with the rounding (quantisation-aware) or, to compare, without it;
after they lost heads, neurons and word pieces, if so wished. --torch: see quantization_torch.py.
The error is the length of the difference from the given pipeline's float32 as a share of the length of the vectors, over the tokens
of the data. The time is that of one pass of the encoder over the data, of the clock and of the processor, and that of the processor
for the whole pipeline; each is the best of five in alternation.
"""

import argparse
import contextlib
import itertools
import re
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy
import onnx
import spacy
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_dynamic, quantize_static

from spacy_llm_ie.compress.backend import compile_transformer, export_encoder, find_component, save_compiled
from spacy_llm_ie.compress.calibrate import calibrate
from spacy_llm_ie.compress.measure import score
from spacy_llm_ie.compress.quantize import Known, quantize_products
from spacy_llm_ie.compress.recover import imitate, recover
from spacy_llm_ie.compress.shrink import WEIGHT, Removal, shrink
from spacy_llm_ie.compress.simulate import simulated_int8
from spacy_llm_ie.data.corpus import create_corpus_v1
from spacy_llm_ie.tasks import main_scores

CALIBRATION_TEXTS = 200
ROUNDS = 5
FORMS = ("int8, by word piece", "int8, in steps", "int8, in steps, compensated")


class Texts(CalibrationDataReader):
    """Batches of texts for ONNX Runtime's calibration, without padding beside the longest."""

    def __init__(self, tokenizer, docs, names, size=8):
        texts = sorted((doc.text for doc in docs), key=len)
        batches = (
            tokenizer(texts[i : i + size], padding=True, truncation=True, return_tensors="np")
            for i in range(0, len(texts), size)
        )
        self.batches = ({name: batch[name].astype("int64") for name in names} for batch in batches)

    def get_next(self):
        return next(self.batches, None)


def convert(weights, function):
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "float32.onnx", Path(folder) / "int8.onnx"
        onnx.save(onnx.load_from_string(weights), str(source))
        function(source, target)
        return target.read_bytes()


def quantize_by_batch(weights):
    settings = {"op_types_to_quantize": ["MatMul"], "per_channel": True, "weight_type": QuantType.QInt8}
    return convert(weights, lambda source, target: quantize_dynamic(source, target, **settings))


def quantize_by_layer(weights, tokenizer, docs):
    """ONNX Runtime's own static quantisation, of the products with stored matrices and of word embeddings, as in ours."""
    graph = onnx.load_from_string(weights).graph
    stored = {tensor.name for tensor in graph.initializer}
    nodes = [
        node.name
        for node in graph.node
        if node.op_type == "MatMul" and node.input[1] in stored or "word_embeddings" in node.name
    ]
    settings = {
        "quant_format": QuantFormat.QDQ,
        "per_channel": True,
        "activation_type": QuantType.QUInt8,
        "weight_type": QuantType.QInt8,
        "nodes_to_quantize": nodes,
    }
    reader = Texts(tokenizer, docs, [value.name for value in graph.input])
    return convert(weights, lambda source, target: quantize_static(source, target, reader, **settings))


def quantize(weights, form, known):
    """Ours, in one of `FORMS`, or float32 as it is. known: From `calibrate`."""
    if form == "float32":
        return weights
    steps = {name: Known(given.steps) for name, given in known.items()}
    return quantize_products(weights, {"int8, by word piece": None, "int8, in steps": steps}.get(form, known))


def read_vectors(nlp, path):
    """RETURNS: The vectors of all tokens; and seconds of the encoder, of the clock and of the processor."""
    docs = [example.predicted for example in create_corpus_v1(path)(nlp)]
    with nlp.select_pipes(enable=["transformer"]):
        begin = time.perf_counter(), time.process_time()
        found = [doc._.trf_data.model_output.last_hidden_state[0] for doc in nlp.pipe(docs)]
        end = time.perf_counter(), time.process_time()
        return numpy.concatenate(found), numpy.subtract(end, begin)


def clock(nlp, path):
    """RETURNS: Seconds of the encoder, of the clock and of the processor, and of the processor for the whole pipeline."""
    docs = [example.predicted for example in create_corpus_v1(path)(nlp)]
    begin = time.process_time()
    for _ in nlp.pipe(docs):
        pass
    whole = time.process_time() - begin
    return [*read_vectors(nlp, path)[1], whole]


class Ways:
    """Pipelines and what to do with their encoder, by name; each is made when its turn comes."""

    def __init__(self, args):
        self.args = args
        self.nlp = spacy.load(args.pipeline)
        self.docs = [example.reference for example in create_corpus_v1(args.train or args.data)(self.nlp)][:CALIBRATION_TEXTS]

    def untrained(self):
        model = find_component(self.nlp)[1].model
        whole = export_encoder(model, "onnxruntime", "float32")
        yield "float32", self.nlp, lambda: whole, "float32"
        yield "onnxruntime int8, by word piece", self.nlp, lambda: quantize_products(whole), "int8"
        yield "onnxruntime int8, by batch", self.nlp, lambda: quantize_by_batch(whole), "int8"
        yield (
            "onnxruntime int8, static, its own",
            self.nlp,
            lambda: quantize_by_layer(whole, model.tokenizer, self.docs),
            "int8",
        )
        for form in FORMS[1:]:
            yield f"onnxruntime {form}", self.nlp, lambda form=form: quantize(whole, form, calibrate(model, self.docs)), "int8"
        yield "openvino bfloat16", self.nlp, lambda: whole, "bfloat16"
        yield "openvino int8", self.nlp, lambda: export_encoder(model, "openvino", "int8", docs=self.docs), "int8"

    def torch(self):
        if self.args.torch:
            from quantization_torch import torch_ways

            for way, export in torch_ways(find_component(self.nlp)[1].model):
                yield way, self.nlp, export, way

    def trained(self):
        forms = {"without rounding": ("float32", *FORMS), "rounding by word piece": FORMS, "rounding in steps": FORMS[1:]}
        for how, kinds in forms.items():
            names = {form: f"trained {how}, onnxruntime {form}" for form in kinds}
            if not self.args.quantize_aware or not any(re.search(self.args.only, name) for name in names.values()):
                continue
            nlp, known = self.train(how)
            model = find_component(nlp)[1].model
            whole, known = export_encoder(model, "onnxruntime", "float32"), known or calibrate(model, self.docs)
            for form, name in names.items():
                yield name, nlp, partial(quantize, whole, form, known), form.partition(",")[0]

    def train(self, how):
        """A pipeline after some steps. RETURNS: It, with the best weights on the development data, and what its layers were given."""
        args, nlp = self.args, spacy.load(self.args.pipeline)
        train, dev = (list(create_corpus_v1(path)(nlp)) for path in (args.train, args.data))
        shrink(nlp, self.nlp, Removal(args.heads, args.neurons, pieces=args.pieces), train, dev)
        model = find_component(nlp)[1].model
        known = calibrate(model, self.docs) if how == "rounding in steps" else None
        steps = {name: given.steps for name, given in (known or {}).items()}
        begin = time.process_time()
        with contextlib.nullcontext() if how == "without rounding" else simulated_int8(model.transformer, steps):
            update = imitate(self.nlp, weight=WEIGHT)
            found = recover(nlp, train, dev, args.quantize_aware, update=update, learn_rate=args.learn_rate, progress=True)
        seconds = time.process_time() - begin
        shown = ", ".join(f"{checkpoint.step}: {checkpoint.score:.3f}" for checkpoint in found)
        print(f"# trained {how}, {seconds:.0f} CPU seconds; score on the data after steps {shown}", flush=True)
        return nlp, known


def parse():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pipeline", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--train", type=Path, help="training data: for calibration, and for --quantize-aware")
    parser.add_argument(
        "--quantize-aware", type=int, default=0, metavar="STEPS", help="also train for so many steps; needs --train"
    )
    parser.add_argument("--learn-rate", type=float, help="the highest one in these steps; default: that of the pipeline")
    parser.add_argument("--heads", type=float, default=0.0, help="share of the heads removed before training")
    parser.add_argument("--neurons", type=float, default=0.0, help="share of the neurons removed before training")
    parser.add_argument("--pieces", type=int, help="word pieces that stay beside those of the training data")
    parser.add_argument("--torch", action="store_true", help="also ways to run it in torch; compiling takes minutes")
    parser.add_argument("--only", default="", help="ways whose names have this regular expression, and float32")
    args = parser.parse_args()
    if args.quantize_aware and not args.train:
        parser.error("--quantize-aware needs --train")
    return args


def make_pipeline(nlp, weights, way, precision):
    """RETURNS (Language): The pipeline with the encoder of a way, and its vectors in doc._.trf_data."""
    name, pipe = find_component(nlp)
    backend = next((backend for backend in ("openvino", "torch") if way.startswith(backend)), "onnxruntime")
    with tempfile.TemporaryDirectory() as folder:
        compiled = compile_transformer(pipe.model, weights, backend, precision)
        save_compiled(nlp, name, compiled, Path(folder), keep_vectors=True)
        return spacy.load(folder)


def main():
    args = parse()
    ways, exact, pipelines, rows = Ways(args), None, {}, {}
    for way, nlp, export, precision in itertools.chain(ways.untrained(), ways.torch(), ways.trained()):
        if way != "float32" and not re.search(args.only, way):
            continue
        try:
            weights = export()
            found = make_pipeline(nlp, weights, way, precision)
            vectors, (seconds, _) = read_vectors(found, args.data)
        except RuntimeError as error:
            print(f"# {way} fails:", str(error).partition("\n")[0], flush=True)
            continue
        pipelines[way], exact = found, vectors if exact is None else exact
        error = numpy.linalg.norm(vectors - exact) / numpy.linalg.norm(exact)
        scores = main_scores(found, score(found, args.data))
        rows[way] = [f"{len(weights) / 1e6:.1f}", f"{error:.1%}", *(f"{100 * value:.1f}" for value in scores.values())]
        print(f"# {way}: {rows[way]}, first pass over the data {seconds:.1f} s", flush=True)
    rounds = [{way: clock(nlp, args.data) for way, nlp in pipelines.items()} for _ in range(ROUNDS)]
    columns = ["encoder, MB", "error of the vectors", *scores, "seconds", "CPU seconds", "CPU seconds of the pipeline"]
    print(f"| | {' | '.join(columns)} |\n| --- {'| ---: ' * len(columns)}|")
    for way, row in rows.items():
        times = (f"{min(times):.2f}" for times in zip(*(seconds[way] for seconds in rounds)))
        print(f"| {way} | {' | '.join([*row, *times])} |")


if __name__ == "__main__":
    main()
