"""The project as a user runs it."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import spacy
from spacy.util import load_config, load_model_from_config

from spacy_llm_ie.data.corpus import create_corpus_v1

ROOT = Path(__file__).parents[2]
CONFIGS = sorted((ROOT / "configs").glob("*.cfg"))


def run(*command, cwd=ROOT):
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_a_shipped_config_fills_loads_and_learns(path):
    spacy.util.fix_random_seed(0)
    config = load_config(path, overrides={"paths.train": "x", "paths.dev": "x"})
    nlp = load_model_from_config(config, auto_fill=True, validate=True)
    assert nlp.config.interpolate()["training"]["seed"] == 0
    examples = list(create_corpus_v1(ROOT / "assets" / "newswire" / "dev.jsonl", limit=8)(nlp))
    sgd = nlp.initialize(lambda: examples)
    sgd.learn_rate = 1e-4 if "transformer" in nlp.pipe_names else 1e-3
    losses = [nlp.update(examples, sgd=sgd) for _ in range(4)]
    for name in nlp.pipe_names:
        assert losses[-1][name] < losses[0][name] or not name.startswith("ie_")
    doc = next(nlp.pipe(["Arlen Foods of Omaha rose ."]))
    assert doc.has_annotation("ENT_IOB")


def test_the_whole_flow_is_analyzed_without_a_problem():
    nlp = spacy.blank("en")
    for name in ("ie_ner", "ie_relations", "ie_triggers", "ie_arguments"):
        nlp.add_pipe(name)
    assert not any(nlp.analyze_pipes()["problems"].values())


@pytest.mark.slow
def test_all_commands_of_the_project_in_a_fresh_clone(tmp_path):
    """corpus, train, evaluate, package, try: with a CNN and few epochs."""
    clone = tmp_path / "clone"
    shutil.copytree(ROOT, clone, ignore=shutil.ignore_patterns(".venv*", ".git", "training", "corpus", "packages", "metrics"))
    out = run(
        sys.executable,
        "-m",
        "spacy",
        "project",
        "run",
        "all",
        ".",
        "--vars.config",
        "joint_cnn",
        "--vars.epochs",
        "15",
        cwd=clone,
    )
    metrics = json.loads((clone / "metrics" / "joint_cnn.json").read_text(encoding="utf8"))
    for key in ("ents_f", "rels_micro_f", "triggers_f", "args_f"):
        assert metrics["scores"][key] > metrics["baseline"][key] > 0.1, key
    assert metrics["given_gold"]["rels_micro_f"] > metrics["scores"]["rels_micro_f"]
    assert metrics["data"]["test"]["documents"] == 85
    assert (clone / "metrics" / "joint_cnn_reliability.png").stat().st_size > 5000
    card = next(clone.glob("packages/*/README.md")).read_text(encoding="utf8")
    assert "How it was trained, and how it scores" in card
    assert "755 documents" in card
    assert "Cupertino" in out
    assert "probability" in out
    assert "relation" in out


@pytest.mark.slow
@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_spacy_commands_work_on_a_shipped_config(path, tmp_path):
    data = ROOT / "assets" / "newswire"
    for split, limit in (("train", 130), ("dev", 20)):
        lines = (data / f"{split}.jsonl").read_text(encoding="utf8").splitlines(keepends=True)[:limit]
        (tmp_path / f"{split}.jsonl").write_text("".join(lines), encoding="utf8")
        run(
            sys.executable,
            "-m",
            "spacy",
            "ie",
            "convert",
            "jsonl",
            str(tmp_path / f"{split}.jsonl"),
            str(tmp_path / f"{split}.spacy"),
        )
    paths = ["--paths.train", str(tmp_path / "train.spacy"), "--paths.dev", str(tmp_path / "dev.spacy")]
    filled = tmp_path / "config.cfg"
    run(sys.executable, "-m", "spacy", "init", "fill-config", str(path), str(filled))
    run(sys.executable, "-m", "spacy", "init", "labels", str(filled), str(tmp_path / "labels"), *paths)
    assert json.loads((tmp_path / "labels" / "ie_ner.json").read_text()) == sorted(
        ["DATE", "GPE", "MONEY", "ORG", "PERSON", "PRODUCT", "TITLE"]
    )
    run(sys.executable, "-m", "spacy", "debug", "data", str(filled), *paths, "--ignore-warnings")
    with filled.open("a", encoding="utf8") as file:
        file.write(
            f'\n[initialize.components.ie_ner]\n\n[initialize.components.ie_ner.labels]\n@readers = "spacy.read_labels.v1"\npath = "{tmp_path}/labels/ie_ner.json"\n'
        )
    short = ["--training.max_epochs", "2", "--training.eval_frequency", "5"]
    run(sys.executable, "-m", "spacy", "train", str(filled), "--output", str(tmp_path / "out"), *paths, *short)
    best = str(tmp_path / "out" / "model-best")
    run(sys.executable, "-m", "spacy", "evaluate", best, str(tmp_path / "dev.spacy"), "--output", str(tmp_path / "m.json"))
    assert "ents_f" in json.loads((tmp_path / "m.json").read_text())
    out = run(
        *(sys.executable, "-m", "spacy", "find-threshold", best, str(tmp_path / "dev.spacy")),
        *("ie_ner", "threshold", "ents_f", "--n_trials", "4"),
    )
    assert "Best threshold" in out
