"""Peers of `speed.py`: other ways to tag entities with the encoder of a trained pipeline, each as its own documentation does it.

Heads are not trained: they say "no entity" nearly always, which costs the least. Missing packages are left out:

    pip install "optimum[onnxruntime]" flair
"""

import functools
import importlib.util
import logging
import warnings
from pathlib import Path
from unittest import mock

import torch
from transformers import BertForTokenClassification, TokenClassificationPipeline

BATCH = 32
TAGS = ["O", *(f"{place}-{label}" for label in "ABCDEFG" for place in "BILU")]


def make_tagger(nlp):
    """Hugging Face's token classification model with the encoder of a trained pipeline. RETURNS: It, and the tokenizer."""
    model = nlp.get_pipe("transformer").model
    config = model.transformer.config
    config.num_labels, config.id2label = len(TAGS), dict(enumerate(TAGS))
    tagger = BertForTokenClassification(config).eval()
    tagger.bert.load_state_dict(model.transformer.state_dict(), strict=False)
    with torch.no_grad():
        tagger.classifier.bias[0] += 10
    return tagger, model.tokenizer


def make_hugging_face(tagger, tokenizer):
    """RETURNS (Callable): Reads texts with Hugging Face's pipeline in torch."""
    return TokenClassificationPipeline(model=tagger, tokenizer=tokenizer, aggregation_strategy="simple", batch_size=BATCH)


def make_optimum(folder, int8):
    """RETURNS (Callable): Reads texts with Hugging Face's pipeline over optimum's ONNX model, in float32 or in int8."""
    from optimum.onnxruntime import ORTModelForTokenClassification, ORTQuantizer
    from optimum.onnxruntime.configuration import AutoQuantizationConfig
    from transformers import AutoTokenizer

    model = ORTModelForTokenClassification.from_pretrained(folder, export=True)
    if int8:
        quantizer = ORTQuantizer.from_pretrained(model)
        settings = AutoQuantizationConfig.avx512_vnni(is_static=False, per_channel=True)
        quantizer.quantize(save_dir=folder / "int8", quantization_config=settings)
        model = ORTModelForTokenClassification.from_pretrained(folder / "int8", file_name="model_quantized.onnx")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    return TokenClassificationPipeline(model=model, tokenizer=tokenizer, aggregation_strategy="simple", batch_size=BATCH)


def make_flair(folder, texts, int8):
    """RETURNS (Callable): Reads texts with Flair's sequence tagger (linear layer and CRF) over its ONNX embeddings."""
    from flair.data import Dictionary, Sentence
    from flair.embeddings import TransformerWordEmbeddings
    from flair.models import SequenceTagger

    logging.getLogger("flair").setLevel(logging.ERROR)
    embeddings = TransformerWordEmbeddings(str(folder), layers="-1", subtoken_pooling="mean", fine_tune=False)
    tags = Dictionary(add_unk=False)
    for tag in TAGS:
        tags.add_item(tag)
    tagger = SequenceTagger(embeddings, tags, "ner", use_rnn=False, use_crf=True, reproject_embeddings=False)
    with torch.no_grad():
        tagger.linear.bias[0] += 10
    path = str((folder / "flair.onnx").resolve())
    older = functools.partial(
        torch.onnx.export, dynamo=False
    )  # torch's new exporter, now its default, fails on what Flair gives it
    with mock.patch("torch.onnx.export", older):
        onnx = embeddings.export_onnx(path, [Sentence(text) for text in texts[:4]], providers=["CPUExecutionProvider"])
    if int8:
        onnx.quantize_model(str((folder / "flair_int8.onnx").resolve()))
    tagger.embeddings = onnx
    return lambda given: tagger.predict([Sentence(text) for text in given], mini_batch_size=BATCH)


def make_peers(nlp, folder: Path, texts):
    """RETURNS (Dict[str, Callable]): By name; each takes a list of texts."""
    tagger, tokenizer = make_tagger(nlp)
    peers = {"Hugging Face pipeline": make_hugging_face(tagger, tokenizer)}
    tagger.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if importlib.util.find_spec("optimum") is not None:
            peers["optimum, ONNX Runtime float32"] = make_optimum(folder, False)
            peers["optimum, ONNX Runtime int8"] = make_optimum(folder, True)
        if importlib.util.find_spec("flair") is not None:
            peers["Flair, ONNX float32"] = make_flair(folder, texts, False)
            peers["Flair, ONNX int8"] = make_flair(folder, texts, True)
    return peers
