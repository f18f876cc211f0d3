"""Processes that are forked from one in which torch has used several threads: `nlp.pipe(..., n_process=2)` as users call it."""

import subprocess
import sys

import pytest

from spacy_llm_ie.compress.backend import compile_transformer, export_encoder, find_component, save_compiled
from tests.contract.test_components import TEXTS, make_examples, trf_pipeline
from tests.util import make_tiny_bert

SCRIPT = """
import sys
import spacy
import torch

torch.set_num_threads(2)
nlp = spacy.load(sys.argv[1])
texts = sys.argv[2:] * 20
torch.ones(2000, 2000) @ torch.ones(2000, 2000)
torch.ones(2000, 2000).exp()

def read(**settings):
    return [[(e.text, e.label_) for e in doc.ents] for doc in nlp.pipe(texts, batch_size=10, **settings)]

assert read() == read(n_process=2)
assert torch.get_num_threads() == 2
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("processes")
    nlp = trf_pipeline("ie_ner", make_tiny_bert(folder / "bert"))
    nlp.initialize(lambda: make_examples(nlp))
    return nlp


@pytest.mark.parametrize("backend", [None, "onnxruntime", "openvino"])
def test_two_processes_behind_two_threads_say_the_same(trained, backend, tmp_path):
    trained.to_disk(tmp_path / "model")
    if backend is not None:
        name, pipe = find_component(trained)
        compiled = compile_transformer(
            pipe.model, export_encoder(pipe.model, backend, "float32"), backend, "float32", threads=2
        )
        save_compiled(trained, name, compiled, tmp_path / "model")
    command = [sys.executable, "-W", "ignore", "-c", SCRIPT, str(tmp_path / "model"), *(text for text, _ in TEXTS)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
