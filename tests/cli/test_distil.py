"""python -m spacy ie distil."""

import re

import pytest
import spacy
from spacy.tokens import DocBin
from typer.testing import CliRunner

from spacy_llm_ie.cli import ie_app
from spacy_llm_ie.cli.distil import distil_pipeline, folder_size, read_layers, read_pairs
from tests.compress.students import make_config, make_joint, write_texts
from tests.contract.test_components import make_examples, train


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A teacher, a rule-based one, a config, texts and data."""
    path = tmp_path_factory.mktemp("distil")
    nlp = make_joint()
    train(nlp, steps=50, rate=0.01)
    nlp.to_disk(path / "teacher")
    rules = spacy.blank("en")
    ruler = rules.add_pipe("entity_ruler")
    ruler.add_patterns([{"label": "COMPANY", "pattern": "Arlen Foods"}, {"label": "PLACE", "pattern": "Omaha"}])
    rules.to_disk(path / "rules")
    DocBin(docs=[example.reference for example in make_examples(nlp)]).to_disk(path / "dev.spacy")
    write_texts(path / "raw.jsonl")
    make_config(path / "student.cfg", extra="\n[distillation]\ntemperature = 2.0\n")
    make_config(path / "names.cfg", names=("ie_ner",), steps=20)
    return path


def invoke(*arguments):
    return CliRunner().invoke(ie_app, ["distil", *map(str, arguments)])


def test_the_command_trains_a_student_and_shows_both(folder, tmp_path):
    output = tmp_path / "out"
    texts, dev = ("--texts", folder / "raw.jsonl"), ("--paths.dev", folder / "dev.spacy")
    result = invoke(folder / "teacher", folder / "student.cfg", output, *texts, *dev, "--training.max_steps", "50")
    assert result.exit_code == 0, result.output
    for task in ("entities", "relations", "triggers", "arguments"):
        line = next(line for line in result.output.splitlines() if line.startswith(f"{task}, dev F1"))
        assert line.split()[-2:] == ["100.0", "100.0"]
    assert "the probabilities of ie_relations" in result.output
    student = spacy.load(output / "model-best")
    assert student.config["distillation"] == {"temperature": 2.0}
    assert student.evaluate(make_examples(student))["rels_micro_f"] == 1.0
    size = next(line for line in result.output.splitlines() if line.startswith("size on disk"))
    assert f"{folder_size(output / 'model-best') / 1e6:.1f}" in size


def test_hard_labels_are_counted_and_renamed(folder, tmp_path):
    options = ("--texts", folder / "raw.jsonl", "--paths.dev", folder / "dev.spacy", "-L", "COMPANY=ORG", "-L", "PLACE=")
    result = invoke(folder / "rules", folder / "names.cfg", tmp_path / "out", *options)
    assert result.exit_code == 0, result.output
    assert "Hard labels: entities in 4 texts: ORG 1; dropped: PLACE 1" in " ".join(result.output.split())
    assert spacy.load(tmp_path / "out" / "model-last").get_pipe("ie_ner").labels == ("ORG",)


def test_another_teacher_for_one_component(folder, tmp_path):
    options = ("--texts", folder / "raw.jsonl", "--paths.dev", folder / "dev.spacy", "--teacher", f"ie_ner={folder / 'rules'}")
    result = invoke(folder / "teacher", folder / "names.cfg", tmp_path / "out", *options)
    assert result.exit_code == 0, result.output
    assert spacy.load(tmp_path / "out" / "model-last").get_pipe("ie_ner").labels == ("COMPANY", "PLACE")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--layers", "0,x"], "IE-E551.*--layers"),
        (["--teacher", "ie_ner"], "IE-E551.*--teacher"),
        (["--teacher", "ie_nobody=teacher"], "IE-E545|Can't find"),
        (["--gold-weight", "2"], "IE-E550.*gold_weight"),
        (["--student-to-teacher", "ie_ner=nobody"], "IE-E545.*nobody"),
    ],
)
def test_options_that_cannot_be_used_are_refused(folder, tmp_path, options, message):
    texts = ("--texts", folder / "raw.jsonl", "--paths.dev", folder / "dev.spacy")
    result = invoke(folder / "teacher", folder / "names.cfg", tmp_path / "out", *texts, *options)
    assert result.exit_code == 1
    assert re.search(message, " ".join(result.output.split()))


def test_an_unknown_setting_of_the_config_is_refused(folder, tmp_path):
    config = make_config(tmp_path / "bad.cfg", names=("ie_ner",), extra="\n[distillation]\nheat = 2.0\n")
    with pytest.raises(ValueError, match="IE-E550.*heat"):
        distil_pipeline(str(folder / "teacher"), config, tmp_path / "out", texts=folder / "raw.jsonl")


def test_options_are_read():
    assert read_layers("0, 2,5") == [0, 2, 5]
    assert read_pairs(["a=b=c", "d="], "--label") == {"a": "b=c", "d": ""}
