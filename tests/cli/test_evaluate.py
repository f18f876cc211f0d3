"""`ie evaluate` and `ie calibrate` on a small pipeline."""

import json
import shutil
from pathlib import Path

import pytest
import spacy
from typer.testing import CliRunner

from spacy_llm_ie.cli.calibrate import calibrate
from spacy_llm_ie.cli.evaluate import evaluate
from spacy_llm_ie.data.corpus import create_corpus_v1
from spacy_llm_ie.ner.baseline import lookup_baseline
from spacy_llm_ie.ner.scorer import expected_calibration_error, score_pairs

NEWSWIRE = Path(__file__).parents[2] / "assets" / "newswire"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Trained on 30 documents only: it is wrong often, and too sure."""
    spacy.util.fix_random_seed(0)
    nlp = spacy.blank("en")
    nlp.add_pipe("ie_ner")
    examples = list(create_corpus_v1(NEWSWIRE / "train.jsonl", limit=30)(nlp))
    sgd = nlp.initialize(lambda: examples)
    for _ in range(12):
        for i in range(0, len(examples), 10):
            nlp.update(examples[i : i + 10], sgd=sgd)
    path = tmp_path_factory.mktemp("model") / "small"
    nlp.to_disk(path)
    return path


def test_scores_stand_beside_a_baseline(model, tmp_path, capsys):
    folder = tmp_path / "copy"
    shutil.copytree(model, folder)
    plot, output = tmp_path / "plots" / "r.png", tmp_path / "m" / "metrics.json"
    metrics = evaluate(str(folder), NEWSWIRE / "dev.jsonl", train=NEWSWIRE / "train.jsonl", output=output, plot=plot, card=True)
    assert json.loads(output.read_text(encoding="utf8"))["data"]["test"]["documents"] == 85
    assert plot.read_bytes().startswith(b"\x89PNG")
    out = capsys.readouterr().out
    assert "baseline F1" in out
    assert "PERSON" in out
    assert metrics["versions"]["spacy"] == spacy.__version__
    notes = json.loads((folder / "meta.json").read_text(encoding="utf8"))["notes"]
    assert "Trained on 755 documents" in notes
    assert f"|{100 * metrics['scores']['ents_f']:.1f}|" in notes
    direct = spacy.load(model).evaluate(list(create_corpus_v1(NEWSWIRE / "dev.jsonl")(spacy.blank("en"))))
    assert metrics["scores"]["ents_f"] == pytest.approx(direct["ents_f"])
    assert metrics["scores"]["ents_ece"] == pytest.approx(direct["ents_ece"])


def test_the_baseline_tags_what_it_has_seen_with_the_commonest_label():
    nlp = spacy.blank("en")
    train = list(create_corpus_v1(NEWSWIRE / "train.jsonl", limit=50)(nlp))
    ruler = lookup_baseline(nlp, train)
    scores = ruler.score([eg for eg in train if not setattr(eg, "predicted", ruler(eg.predicted))])
    assert scores["ents_r"] > 0.9


def test_calibration_keeps_the_entities_and_makes_their_probabilities_honest(model, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(model, folder)
    before, dev = spacy.load(model), NEWSWIRE / "dev.jsonl"
    result = calibrate(folder, dev)["ie_ner"]
    after = spacy.load(folder)
    assert result.temperature > 1
    assert result.ece_after < result.ece_before
    assert after.get_pipe("ie_ner").cfg["temperature"] == pytest.approx(result.temperature, abs=1e-4)
    assert after.config["components"]["ie_ner"]["temperature"] == after.get_pipe("ie_ner").cfg["temperature"]
    override = {"components": {"ie_ner": {"overwrite": False}}}
    kept = tmp_path / "kept"
    spacy.load(model, config=override).to_disk(kept)
    assert calibrate(kept, dev)["ie_ner"].temperature == result.temperature
    pairs = []
    for nlp in (before, after):
        examples = list(create_corpus_v1(dev)(nlp))
        for example in examples:
            example.predicted = nlp(example.predicted)
        pairs.append((score_pairs(examples), [[(e.start, e.end, e.label_) for e in eg.predicted.ents] for eg in examples]))
    assert pairs[0][1] == pairs[1][1]
    assert expected_calibration_error(pairs[1][0]) == pytest.approx(result.ece_after, abs=1e-3)


def test_what_cannot_be_done_is_said(model, tmp_path):
    nlp = spacy.blank("en")
    nlp.to_disk(tmp_path / "blank")
    with pytest.raises(ValueError, match="IE-E212"):
        calibrate(tmp_path / "blank", NEWSWIRE / "dev.jsonl")
    with pytest.raises(ValueError, match="IE-E602"):
        evaluate(str(tmp_path / "blank"), NEWSWIRE / "dev.jsonl", plot=tmp_path / "x.png")
    plain = tmp_path / "plain.jsonl"
    plain.write_text(json.dumps({"text": "Omaha rose. Lagos fell. Ada Quill bought Arlen Foods."}) + "\n", encoding="utf8")
    with pytest.raises(ValueError, match="IE-E213"):
        calibrate(model, plain)


def test_the_commands_are_there():
    from spacy_llm_ie.cli import ie_app

    for command in ("convert", "evaluate", "calibrate"):
        assert CliRunner().invoke(ie_app, [command, "--help"]).exit_code == 0
