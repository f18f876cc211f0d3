"""The benchmark of quantisation, with its ways to run an encoder in torch, on a tiny pipeline."""

import sys
from pathlib import Path

import pytest
from spacy.tokens import DocBin

from spacy_llm_ie.encode.runtimes import RUNTIMES
from tests.contract.test_components import make_examples
from tests.contract.test_joint import joint_pipeline
from tests.util import make_tiny_bert


@pytest.fixture
def quantization(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    import quantization

    monkeypatch.setattr(quantization, "ROUNDS", 1)
    yield quantization
    RUNTIMES.pop("torch", None)
    for name in ("quantization", "quantization_torch"):
        sys.modules.pop(name, None)


def test_torch_stands_beside_onnx_runtime(quantization, tmp_path, monkeypatch, capsys):
    nlp = joint_pipeline(make_tiny_bert(tmp_path / "bert", width=128))
    examples = make_examples(nlp)
    nlp.initialize(lambda: examples)
    nlp.to_disk(tmp_path / "model")
    DocBin(docs=[example.reference for example in examples], store_user_data=True).to_disk(tmp_path / "dev.spacy")
    given = [str(tmp_path / "model"), str(tmp_path / "dev.spacy"), "--torch", "--only", r"torch (float32|bfloat16|.*\.ao,.*)$"]
    monkeypatch.setattr(sys, "argv", ["quantization.py", *given])
    quantization.main()
    lines = [line.strip("| ").split(" | ") for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    rows = {row[0]: dict(zip(lines[0], row[1:])) for row in lines[2:]}
    assert list(rows) == ["float32", "torch float32", "torch bfloat16", "torch int8 by torch.ao, deprecated"]
    assert rows["torch float32"]["error of the vectors"] == "0.0%"
    assert 0 < float(rows["torch bfloat16"]["error of the vectors"].rstrip("%")) < 5
    sizes = [float(rows[way]["encoder, MB"]) for way in ("torch float32", "torch bfloat16")]
    assert sizes[1] < sizes[0]
