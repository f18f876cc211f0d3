"""Swaps the encoder of a saved pipeline for one that runs in another program. The other components stay as
they are, but take half the space if the encoder is no longer float32."""

from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Tuple

import spacy
import srsly
from spacy.language import Language
from spacy.pipeline.functions import DocCleaner
from spacy.tokens import Doc
from spacy.util import split_requirement
from spacy_transformers.layers import TransformerModel
from spacy_transformers.pipeline_component import Transformer
from thinc.api import Config

from ..encode.compiled import CompiledTransformer, build_compiled_transformer_v1
from ..encode.frame import Frame
from ..encode.runtimes import RUNTIMES
from ..encode.windows import longest_text
from ..errors import Errors
from ..settings import ConfiguredPipe
from .calibrate import calibrate
from .export import export_onnx
from .pack import Packing
from .quantize import quantize_products, quantize_weights

ARCHITECTURE = "spacy-llm-ie.CompiledTransformer.v1"
FACTORY = "ie_encoder"
CLEANER = "ie_cleaner"


def find_component(nlp: Language) -> Tuple[str, Transformer]:
    """Find the component whose encoder can be swapped.

    nlp (Language): A trained pipeline.
    RETURNS (Tuple[str, Transformer]): Its name, and it.
    RAISES (ValueError): If there is not exactly one transformer that torch runs (E530), or a component pools its word pieces
        otherwise than by their mean (E531).
    """
    found = [(n, p) for n, p in nlp.pipeline if isinstance(p, Transformer) and isinstance(p.model, TransformerModel)]
    if len(found) != 1:
        raise ValueError(Errors.E530.format(found=[name for name, _ in found], pipeline=nlp.pipe_names))
    for listening in found[0][1].listening_components:
        for node in nlp.get_pipe(listening).model.walk():
            if node.name == "trfs2arrays" and node.layers[0].name != "reduce_mean":
                raise ValueError(Errors.E531.format(name=listening, pooling=node.layers[0].name))
    return found[0]


def export_encoder(
    model: TransformerModel,
    backend: str,
    precision: str,
    packing: Optional[Packing] = None,
    docs: Sequence[Doc] = (),
    compensate: bool = True,
) -> bytes:
    """Export the encoder of a transformer component for a backend.

    model (TransformerModel): The model of the component; has weights.
    backend, precision (str): See `build_compiled_transformer_v1`.
    packing (Optional[Packing]): Store weights in 4 bits and less; for int8 in ONNX Runtime.
    docs (Sequence[Doc]): Some hundred texts like those that it is for, on which int8 is calibrated. Without them its answers are
        less near, and ONNX Runtime's a tenth slower, as each word piece is measured when it comes.
    compensate (bool): Let weights make up for each other's rounding; not those that have learned to be rounded each for itself,
        which that would undo.
    RETURNS (bytes): ONNX.
    RAISES (ValueError): If weights are to be packed for another backend or precision (E536).
    """
    if packing is not None and (backend, precision) != ("onnxruntime", "int8"):
        raise ValueError(Errors.E536.format(found=f"--backend {backend} --precision {precision}"))
    weights = export_onnx(model.transformer, Frame.from_tokenizer(model.tokenizer).has_types)
    if precision == "int8":
        known = calibrate(model, docs) if len(docs) else {}
        if not compensate:
            known = {name: given._replace(products=None) for name, given in known.items()}
        return quantize_products(weights, known, packing) if backend == "onnxruntime" else quantize_weights(weights, known)
    return weights


def compile_transformer(
    model: TransformerModel, weights: bytes, backend: str, precision: str, threads: int = 0
) -> CompiledTransformer:
    """Make the model of a transformer component around an exported encoder.

    model (TransformerModel): The model whose encoder was exported.
    weights (bytes): What `export_encoder` gave.
    backend, precision, threads: See `build_compiled_transformer_v1`.
    RETURNS (CompiledTransformer): The model.
    """
    compiled = build_compiled_transformer_v1(model.attrs["get_spans"], backend, precision, threads)
    special = Frame.from_tokenizer(model.tokenizer).size
    settings = {"limit": longest_text(model.tokenizer, model.transformer, special)}
    compiled.shims[0].set(weights, model.tokenizer, settings)
    compiled.set_dim("nO", model.transformer.config.hidden_size)
    return compiled


def save_compiled(
    nlp: Language,
    name: str,
    compiled: CompiledTransformer,
    output: Path,
    keep_vectors: bool = False,
    int8_components: bool = False,
) -> None:
    """Save a pipeline with another model in its transformer component.

    nlp (Language): The pipeline. Not modified.
    name (str): The transformer component.
    compiled (CompiledTransformer): What takes the place of its model.
    output (Path): The folder, made if it is missing.
    keep_vectors (bool): Leave the vectors in doc._.trf_data. Otherwise a last component takes them out, as they are a hundred times
        larger than the text.
    int8_components (bool): If the encoder is no longer float32, pair classifiers take a quarter of the space instead of half.
    """
    output.mkdir(parents=True, exist_ok=True)
    nlp.to_disk(output, exclude=[name])
    pipe = nlp.get_pipe(name)
    model = pipe.model
    pipe.model = compiled
    try:
        pipe.to_disk(output / name, exclude=["vocab"])
    finally:
        pipe.model = model
    config = Config().from_disk(output / "config.cfg", interpolate=False)
    block = config["components"][name]
    config["components"][name] = {**block, "factory": FACTORY, "model": _compiled_block(block["model"], compiled)}
    if not keep_vectors and CLEANER not in config["components"]:
        config["nlp"]["pipeline"] = [*config["nlp"]["pipeline"], CLEANER]
        settings = {"attrs": {"_.trf_data": None}, "silent": True}
        config["components"][CLEANER] = {"factory": "doc_cleaner", **settings}
        DocCleaner(**settings).to_disk(output / CLEANER)
    config.to_disk(output / "config.cfg")
    _require(output / "meta.json", RUNTIMES[compiled.backend].requirement())
    if compiled.precision != "float32":
        _halve(output, int8_components)


def _require(meta_file: Path, requirement: str) -> None:
    """Let `spacy package` make wheels that need a package, besides those that it finds in the config."""
    meta = srsly.read_json(meta_file)
    name = split_requirement(requirement)[0]
    if name not in {split_requirement(known)[0] for known in meta.get("requirements", ())}:
        srsly.write_json(meta_file, {**meta, "requirements": [*meta.get("requirements", ()), requirement]})


def _halve(folder: Path, int8: bool) -> None:
    """Save our components of a pipeline in half the space; see `ConfiguredPipe.halve`."""
    for name, pipe in spacy.load(folder).pipeline:
        if isinstance(pipe, ConfiguredPipe):
            pipe.halve(int8)
            pipe.to_disk(folder / name, exclude=["vocab"])


def _compiled_block(block: Dict[str, Any], compiled: CompiledTransformer) -> Dict[str, Any]:
    keys: List[str] = ["get_spans"]
    settings = {"backend": compiled.backend, "precision": compiled.precision}
    limits = {key: getattr(compiled, key) for key in ("threads", "max_pieces", "pass_threads")}
    return {"@architectures": ARCHITECTURE, **settings, **limits, **{key: block[key] for key in keys}}
