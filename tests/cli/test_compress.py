"""`ie compress` on a small trained pipeline: what it writes, what it says, what it refuses."""

import json
import re
from pathlib import Path

import numpy
import pytest
import spacy
from typer.testing import CliRunner

import spacy_llm_ie.cli.compress as command
from spacy_llm_ie.cli import ie_app
from spacy_llm_ie.compress.measure import Costs, folder_size, probe, shorten
from spacy_llm_ie.compress.report import loss, plot, problems, table
from spacy_llm_ie.compress.shrink import Removal
from spacy_llm_ie.data.corpus import create_corpus_v1
from tests.util import make_tiny_bert

NEWSWIRE = Path(__file__).parents[2] / "assets" / "newswire"
COSTS = Costs(90.0, 4.0, 900.0, 1000.0, 30.0, 40.0, {"entities": 0.9, "relations": 0.6}, 0.02)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    spacy.util.fix_random_seed(0)
    folder = tmp_path_factory.mktemp("compress")
    nlp = spacy.blank("en")
    spans = {"@span_getters": "spacy-llm-ie.wordpiece_spans.v1"}
    bert = {"@architectures": "spacy-llm-ie.TransformerModel.v1", "name": make_tiny_bert(folder / "bert"), "get_spans": spans}
    nlp.add_pipe("transformer", config={"model": bert})
    listener = {"@architectures": "spacy-transformers.TransformerListener.v1", "pooling": {"@layers": "reduce_mean.v1"}}
    features = {
        "@architectures": "spacy.MultiHashEmbed.v2",
        "width": 16,
        "attrs": ["SHAPE", "NORM"],
        "rows": [200, 500],
        "include_static_vectors": False,
    }
    tagger = {"@architectures": "spacy-llm-ie.CrfTagger.v1", "tok2vec": {**listener, "grad_factor": 1.0}, "features": features}
    nlp.add_pipe("ie_ner", config={"model": tagger})
    examples = list(create_corpus_v1(NEWSWIRE / "train.jsonl", limit=20)(nlp))
    optimizer = nlp.initialize(lambda: examples)
    optimizer.learn_rate = 0.005
    for _ in range(25):
        nlp.update(examples, sgd=optimizer)
    nlp.to_disk(folder / "model")
    return folder / "model"


@pytest.fixture(scope="module")
def dev(tmp_path_factory):
    """The beginning of the training data, on which the small pipeline has some score."""
    path = tmp_path_factory.mktemp("data") / "dev.jsonl"
    lines = (NEWSWIRE / "train.jsonl").read_text(encoding="utf8").splitlines(keepends=True)[:12]
    path.write_text("".join(lines), encoding="utf8")
    return path


@pytest.fixture(autouse=True)
def few_words(monkeypatch):
    monkeypatch.setattr("spacy_llm_ie.compress.measure.LEAST_WORDS", 10)


def run(*arguments):
    return CliRunner().invoke(ie_app, ["compress", *map(str, arguments)])


def said(done):
    """What was printed, in one line."""
    return " ".join(done.output.split())


def test_a_pipeline_is_compressed_measured_and_described(model, dev, tmp_path):
    output = tmp_path / "small"
    done = run(model, output, "--dev", dev, "--precision", "int8", "--force")
    assert done.exit_code == 0, done.output
    for text in ("onnxruntime int8", "openvino int8", "chosen", "words a second", "entities", "peak memory"):
        assert text in done.output
    small, large = spacy.load(output), spacy.load(model)
    meta = json.loads((output / "meta.json").read_text(encoding="utf8"))
    numbers = meta["compression"]
    assert numbers["data"] == "dev.jsonl"
    assert numbers["settings"]["backend"] == small.config["components"]["transformer"]["model"]["backend"]
    assert numbers["before"]["scores"]["entities"] > 0.3
    assert 10 < numbers["after"]["memory"] < 20000
    assert "|words a second|" in meta["notes"]
    assert (output / "compression.png").read_bytes().startswith(b"\x89PNG")
    examples = list(create_corpus_v1(dev)(large))
    assert numbers["before"]["scores"]["entities"] == pytest.approx(large.evaluate(examples)["ents_f"])
    assert numbers["after"]["scores"]["entities"] == pytest.approx(small.evaluate(examples)["ents_f"])


def test_float32_finds_the_same(model, dev, tmp_path, monkeypatch):
    monkeypatch.setattr("spacy_llm_ie.compress.measure.probe", lambda *args: {"load": 1.0, "memory": None})
    done = run(model, tmp_path / "same", "--dev", dev, "--backend", "onnxruntime", "--precision", "float32", "--force")
    assert done.exit_code == 0, done.output
    large, same = spacy.load(model), spacy.load(tmp_path / "same")
    texts = [example.reference.text for example in create_corpus_v1(NEWSWIRE / "dev.jsonl", limit=20)(large)]
    for one, other in zip(large.pipe(texts), same.pipe(texts)):
        assert [(e.start, e.end, e.label_) for e in one.ents] == [(e.start, e.end, e.label_) for e in other.ents]
        assert [e._.score for e in one.ents] == pytest.approx([e._.score for e in other.ents], abs=1e-4)


def test_an_encoder_with_fewer_parts(model, dev, tmp_path, monkeypatch):
    monkeypatch.setattr("spacy_llm_ie.compress.measure.probe", lambda *args: {"load": 1.0, "memory": None})
    backend = ("--dev", dev, "--backend", "onnxruntime", "--precision", "int8", "--force")
    parts = ("--heads", 0.25, "--neurons", 0.5, "--layers", 1, "--pieces", 20, "--steps", 2)
    with pytest.raises(ValueError, match="IE-E534.*--train"):
        command.compress(str(model), tmp_path / "x", dev, removal=Removal(heads=0.5))
    done = run(model, tmp_path / "fewer", *backend, *parts, "--train", dev)
    assert done.exit_code == 0, done.output
    assert run(model, tmp_path / "all", *backend).exit_code == 0
    assert folder_size(tmp_path / "fewer" / "transformer") < 0.8 * folder_size(tmp_path / "all" / "transformer")
    meta = json.loads((tmp_path / "fewer" / "meta.json").read_text(encoding="utf8"))
    assert meta["compression"]["settings"]["neurons"] == 0.5
    assert "neurons 0.5, layers 1, pieces 20, steps 2" in meta["notes"]
    assert spacy.load(tmp_path / "fewer")("A bank of Lagos.").has_annotation("ENT_IOB")


def test_an_encoder_that_learned_to_be_int8(model, dev, tmp_path, monkeypatch):
    monkeypatch.setattr("spacy_llm_ie.compress.measure.probe", lambda *args: {"load": 1.0, "memory": None})
    learn = ("--quantize-aware", "--steps", 2, "--train", dev)
    done = run(model, tmp_path / "aware", "--dev", dev, "--backend", "onnxruntime", "--force", *learn)
    assert done.exit_code == 0, done.output
    meta = json.loads((tmp_path / "aware" / "meta.json").read_text(encoding="utf8"))
    expected = {"backend": "onnxruntime", "precision": "int8", "steps": 2, "quantize_aware": True}
    assert meta["compression"]["settings"] == expected
    assert "steps 2, quantize_aware True" in meta["notes"]
    assert spacy.load(tmp_path / "aware")("A bank of Lagos.").has_annotation("ENT_IOB")


def test_weights_of_four_bits(model, dev, tmp_path, monkeypatch):
    monkeypatch.setattr("spacy_llm_ie.compress.measure.probe", lambda *args: {"load": 1.0, "memory": None})
    done = run(model, tmp_path / "four", "--dev", dev, "--bits", 4, "--train", dev, "--force")
    assert done.exit_code == 0, done.output
    eight = ("--dev", dev, "--backend", "onnxruntime", "--precision", "int8", "--force")
    assert run(model, tmp_path / "eight", *eight).exit_code == 0
    meta = json.loads((tmp_path / "four" / "meta.json").read_text(encoding="utf8"))
    assert meta["compression"]["settings"] == {"backend": "onnxruntime", "precision": "int8", "bits": 4}
    four, eight = (spacy.load(tmp_path / name, exclude=["ie_cleaner"]) for name in ("four", "eight"))
    vectors = [nlp("A bank of Lagos.")._.trf_data.model_output.last_hidden_state for nlp in (four, eight)]
    assert 0 < numpy.linalg.norm(vectors[0] - vectors[1]) < 0.6 * numpy.linalg.norm(vectors[1])


@pytest.mark.parametrize(
    ("options", "error"),
    [
        (("--bits", 4), "IE-E534.*--train"),
        (("--bits", 3, "--train", "DEV"), "IE-E537.*8 or 4"),
        (("--bits", 4, "--train", "DEV", "--backend", "openvino"), "IE-E536.*--backend openvino"),
        (("--bits", 4, "--train", "DEV", "--precision", "float32"), "IE-E536.*--precision float32"),
    ],
)
def test_weights_of_four_bits_need_onnxruntime_and_training_data(model, dev, tmp_path, options, error):
    options = [dev if option == "DEV" else option for option in options]
    done = run(model, tmp_path / "x", "--dev", dev, *options)
    assert done.exit_code == 1
    assert re.search(error, said(done)) and not (tmp_path / "x").exists()


def test_texts_without_labels_are_learned_from_too(model, dev, tmp_path, monkeypatch):
    monkeypatch.setattr("spacy_llm_ie.compress.measure.probe", lambda *args: {"load": 1.0, "memory": None})
    raw = tmp_path / "raw.jsonl"
    raw.write_text(
        '{"text": "The bank of Lagos cut jobs."}\n{"text": "Shares zigzagged.", "entities": "none"}\n', encoding="utf8"
    )
    backend = ("--dev", dev, "--train", dev, "--backend", "onnxruntime", "--precision", "int8", "--force")
    weights = []
    for name, options in (("without", ()), ("with", ("--texts", raw))):
        done = run(model, tmp_path / name, *backend, "--neurons", 0.5, "--steps", 2, "--distil-steps", 1, *options)
        assert done.exit_code == 0, done.output
        weights.append((tmp_path / name / "transformer" / "model").read_bytes())
        used = json.loads((tmp_path / name / "meta.json").read_text(encoding="utf8"))["compression"]["settings"]
        assert used.get("texts") == {"with": "raw.jsonl"}.get(name) and used["distil_steps"] == 1
    assert weights[0] != weights[1]
    strings = [
        json.loads((tmp_path / name / "vocab" / "strings.json").read_text(encoding="utf8")) for name in ("without", "with")
    ]
    assert "zigzagged" not in strings[1] and strings[0] == strings[1]
    raw.write_text('{"text": " "}\n', encoding="utf8")
    for options, error in (
        (("--neurons", 0.5), "IE-E538.*--steps"),
        (("--neurons", 0.5, "--gold", "--learn-rate", 0.1), "IE-E538.*--texts, --gold, --learn-rate.*--steps"),
        (("--steps", 2), "IE-E538.*something to remove"),
        (("--neurons", 0.5, "--distil-steps", 2), "IE-E538.*--distil-steps.*--steps"),
        (("--neurons", 0.5, "--steps", 2, "--learn-rate", 0), "IE-E722.*learn_rate"),
    ):
        done = run(model, tmp_path / "x", *backend, *options, "--texts", raw)
        assert done.exit_code == 1 and re.search(error, said(done))
    raw.write_text("", encoding="utf8")
    done = run(model, tmp_path / "x", *backend, "--neurons", 0.5, "--steps", 2, "--texts", raw)
    assert done.exit_code == 1 and re.search("IE-E728.*0 text", said(done))


def test_learning_to_be_int8_needs_steps_and_training_data_and_int8(model, dev, tmp_path):
    for options, missing in (
        (("--train", dev), "--steps"),
        (("--steps", 5), "--train"),
        (("--steps", 5, "--train", dev, "--precision", "float32"), "--precision int8.*float32"),
    ):
        done = run(model, tmp_path / "x", "--dev", dev, "--quantize-aware", *options)
        assert done.exit_code == 1
        assert re.search(f"IE-E535.*{missing}", said(done))


def test_a_result_that_loses_too_much_is_refused(model, dev, tmp_path, monkeypatch):
    worse = COSTS._replace(scores={"entities": 0.88, "relations": 0.6})
    monkeypatch.setattr(command, "measure", lambda *args: {"original": COSTS, "result": worse})
    arguments = (model, tmp_path / "small", "--dev", dev, "--backend", "onnxruntime", "--precision", "int8")
    done = run(*arguments)
    assert done.exit_code == 1
    assert "entities lost 2.0 points, more than --max-loss 1" in " ".join(done.output.split())
    assert not (tmp_path / "small").exists()
    assert run(*arguments, "--max-loss", 2).exit_code == 0
    monkeypatch.setattr(command.loops, "compiled", lambda function: None)
    done = run(model, tmp_path / "forced", *arguments[2:], "--force")
    assert done.exit_code == 0
    assert "entities lost 2.0 points" in " ".join(done.output.split())
    assert 'pip install "spacy-llm-ie[fast]"' in " ".join(done.output.split())
    assert spacy.load(tmp_path / "forced")("A text.").has_annotation("ENT_IOB")


def test_problems_and_losses():
    assert problems(COSTS, COSTS, 0.0) == []
    slower = COSTS._replace(speed=900.0)
    assert problems(COSTS, slower, 1.0) == ["it is slower: 900 words a second instead of 1,000"]
    gone = COSTS._replace(scores={"entities": 0.95})
    assert loss(COSTS, gone) == pytest.approx({"entities": -5.0, "relations": 60.0})
    assert problems(COSTS, gone, 1.0) == ["relations lost 60.0 points, more than --max-loss 1"]
    rows = {row[0]: row[1:] for row in table(COSTS, COSTS._replace(size=30.0, speed=6000.0, memory=None))}
    assert rows["size, MB"] == ("90.0", "30.0", "3.0 x less")
    assert rows["words a second"] == ("1,000", "6,000", "6.0 x faster")
    assert rows["peak memory, MB"] == ("900", "-", "")
    assert rows["relations"] == ("60.0", "60.0", "+0.0")


def test_nothing_is_overwritten_and_bad_settings_are_named(model, dev, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("mine", encoding="utf8")
    done = run(model, tmp_path / "full", "--dev", dev)
    assert done.exit_code == 1
    assert "not empty" in done.output
    with pytest.raises(ValueError, match="IE-E520.*bfloat16"):
        command.list_choices("onnxruntime", "bfloat16")
    with pytest.raises(ValueError, match="IE-E520"):
        command.list_choices("tensorflow", "int8")
    (tmp_path / "empty.jsonl").write_text('{"text": ""}\n', encoding="utf8")
    with pytest.raises(ValueError, match="IE-E532"):
        command.compress(str(model), tmp_path / "x", tmp_path / "empty.jsonl", backend="onnxruntime", precision="int8")


@pytest.mark.parametrize("quick", [True, False])
def test_bfloat16_is_tried_where_it_is_quick_and_where_it_is_asked_for(monkeypatch, capsys, quick):
    monkeypatch.setattr(command, "bfloat16_is_quick", lambda: quick)
    found = command.list_choices("openvino", "auto")
    assert [precision for _, precision in found] == ["float32", *["bfloat16"] * quick, "int8"]
    assert ("no quicker at bfloat16" in capsys.readouterr().out) == (not quick)
    assert command.list_choices("openvino", "bfloat16") == [("openvino", "bfloat16")]


def test_a_pipeline_that_cannot_be_run_is_told(tmp_path):
    with pytest.raises(RuntimeError, match="IE-E533.*nowhere"):
        probe(tmp_path / "nowhere", ["A text."])


def test_short_texts_have_twenty_words(model):
    nlp = spacy.blank("en")
    assert [len(nlp(text)) for text in shorten(nlp, ["word " * 30, "word " * 25 + "end", "too short"])] == [20, 20]
    assert shorten(nlp, ["too short"]) == ["too short"]


def test_the_plot_is_drawn(tmp_path):
    plot({"original": COSTS, "result": COSTS._replace(speed=5000.0)}, tmp_path / "new" / "plot.png", "speed against score")
    assert (tmp_path / "new" / "plot.png").stat().st_size > 5000
