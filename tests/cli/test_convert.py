"""python -m spacy ie convert."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import spacy
from spacy.cli._util import app
from spacy.tokens import Doc, DocBin, Span
from typer.testing import CliRunner

import spacy_llm_ie.cli  # noqa: F401  (spaCy imports it through the entry point)
from spacy_llm_ie.cli.convert import convert
from spacy_llm_ie.data.jsonl import read_jsonl

GOLDEN = Path(__file__).parents[1] / "data" / "golden"
RECORDS = [
    {
        "text": "Apple bought Beats.",
        "entities": [
            {"id": "T1", "start": 0, "end": 5, "label": "ORG"},
            {"id": "T2", "start": 13, "end": 18, "label": "ORG"},
        ],
        "relations": [{"head": "T1", "tail": "T2", "label": "owns", "score": 0.5}],
        "events": [
            {
                "trigger": {"start": 6, "end": 12},
                "label": "acquisition",
                "arguments": [{"role": "buyer", "entity": "T1"}, {"role": "target", "entity": "T2"}],
            }
        ],
        "meta": {"source": "x"},
    },
    {"text": "Nothing known."},
]


def run(*arguments, code=0):
    """Call the command as the command line does. RETURNS its output without colours and line breaks."""
    environment = {"ANSI_COLORS_DISABLED": "1"}
    result = CliRunner().invoke(app, ["ie", "convert", *map(str, arguments)], env=environment)
    assert result.exit_code == code, result.output
    return result.output


@pytest.fixture
def jsonl(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in RECORDS))
    return path


def read_docs(path):
    return list(DocBin().from_disk(path).get_docs(spacy.blank("en").vocab))


def test_help_through_the_entry_point():
    command = [sys.executable, "-m", "spacy", "ie", "--help"]
    result = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "COLUMNS": "120"})
    assert result.returncode == 0, result.stderr
    assert "convert" in result.stdout
    assert "python -m spacy ie" in result.stdout


def test_help_lists_formats_and_options():
    output = " ".join(run("--help").split())
    for name in ("conll", "doccano", "jsonl", "labelstudio", "prodigy", "spacy"):
        assert f"{name}: " in output
    for option in ("--strict", "--column", "--scheme", "--merge", "--n-sents", "--strip-position", "--no-spaces", "--lang"):
        assert option in output


def test_jsonl_to_spacy_and_back(jsonl, tmp_path):
    output = run("jsonl", jsonl, tmp_path / "a.spacy")
    for row in ("documents 2", "tokens 7", "entities 2", "ORG 2", "relations 1", "owns 1", "events 1", "arguments 2"):
        assert row in " ".join(output.split()), output
    first, second = read_docs(tmp_path / "a.spacy")
    assert first._.relations[0].score == 0.5
    assert first.user_data["meta"] == {"source": "x"}, "user data is stored"
    run("spacy", tmp_path / "a.spacy", tmp_path / "b.jsonl", "--strict")
    assert [record for _, record in read_jsonl(tmp_path / "b.jsonl")] == RECORDS


def test_conll_with_options_and_repairs(tmp_path):
    output = run("conll", GOLDEN / "weibo.conll", tmp_path / "a.spacy", "--lang", "zh", "--strip-position", "--no-spaces")
    assert "1 problem(s)" in output
    assert "1 x tag that does not follow the scheme (repaired)\n    weibo.conll:7: I-PER.NOM after the beginning" in output
    assert "weibo.conll: iob2" in output
    assert [doc.text for doc in read_docs(tmp_path / "a.spacy")] == ["你好北京2", "人"]
    output = run("conll", GOLDEN / "conll2003.txt", tmp_path / "b.spacy", "--merge", "--column", "3", "--scheme", "iob1")
    assert "documents" in output and "problem" not in output
    assert len(read_docs(tmp_path / "b.spacy")) == 2
    run("conll", GOLDEN / "iob2.tsv", tmp_path / "c.spacy", "--n-sents", "2")
    assert len(read_docs(tmp_path / "c.spacy")) == 2


def test_strict_writes_nothing_and_fails(tmp_path):
    target = tmp_path / "a.spacy"
    output = run("conll", GOLDEN / "iob2.tsv", target, "--strict", code=1)
    assert "iob2.tsv:13" in output
    assert "was not written" in " ".join(output.split())
    assert list(tmp_path.iterdir()) == []
    run("conll", GOLDEN / "conll2003.txt", target, "--strict")
    assert target.exists()


def test_notes_are_no_reason_to_fail(tmp_path):
    lines = (GOLDEN / "prodigy.jsonl").read_text(encoding="utf8").split("\n")
    (tmp_path / "a.jsonl").write_text("\n".join(lines[:3]), encoding="utf8")
    output = run("prodigy", tmp_path / "a.jsonl", tmp_path / "a.spacy", "--strict")
    assert "2 x record that was not accepted (skipped)" in output


def test_folders_and_parents(tmp_path):
    target = tmp_path / "corpus" / "sub" / "train.spacy"
    output = run("labelstudio", GOLDEN, target)
    assert target.exists()
    assert "file with another ending" in output


def test_the_output_in_the_input_folder_is_not_read(jsonl, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in (tmp_path, "."):
        run("jsonl", folder, tmp_path / "all.jsonl")
    assert len(list(read_jsonl(tmp_path / "all.jsonl"))) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["conl", "IN", "OUT.spacy"], "IE-E168.*Unknown format 'conl'.*conll, doccano.*jsonl.*Did you mean 'conll'"),
        (["jsonl", "IN", "OUT.txt"], "IE-E175.*must end in .spacy or .jsonl"),
        (["jsonl", "NONE", "OUT.spacy"], "IE-E165.*neither a file nor a folder"),
        (["jsonl", "IN", "IN"], "IE-E176.*also the input"),
        (["jsonl", "IN", "OUT.spacy", "--column", "2"], "IE-E169.*no option column"),
        (["conll", "IN", "OUT.spacy", "--column", "0"], "IE-E167"),
        (["conll", "IN", "OUT.spacy"], "IE-E17"),
        (["jsonl", "EMPTY", "OUT.spacy"], "IE-E177.*No documents"),
        (["jsonl", "IN", "OUT.spacy", "--lang", "qq"], "E048"),
    ],
)
def test_errors_are_one_message_and_leave_no_file(arguments, message, jsonl, tmp_path):
    (tmp_path / "empty.jsonl").write_text("\n")
    places = {"IN": jsonl, "NONE": tmp_path / "none", "EMPTY": tmp_path / "empty.jsonl"}
    before = jsonl.read_text()
    arguments = [places.get(a, tmp_path / a if a.startswith("OUT") else a) for a in arguments]
    output = " ".join(run(*arguments, code=1).split())
    assert "Traceback" not in output
    assert re.search(message, output), output
    assert {path.name for path in tmp_path.iterdir()} == {"a.jsonl", "empty.jsonl"}
    assert jsonl.read_text() == before


def test_an_error_half_way_leaves_the_old_output(jsonl, tmp_path):
    target = tmp_path / "out.spacy"
    target.write_text("old")
    with jsonl.open("a") as file_:
        file_.write("{broken\n")
    output = run("jsonl", jsonl, target, code=1)
    assert "a.jsonl:3" in output
    assert target.read_text() == "old"
    assert not list(tmp_path.glob("*.part"))


def test_what_jsonl_does_not_hold_is_counted(tmp_path):
    vocab = spacy.blank("en").vocab
    doc = Doc(vocab, words=["Apple", "eats"], tags=["NN", "V"])
    doc.spans["sc"] = [Span(doc, 0, 1, label="X")]
    doc.user_data["own"] = 1
    doc.cats = {"a": 1.0}
    DocBin(store_user_data=True, docs=[doc]).to_disk(tmp_path / "a.spacy")
    output = run("spacy", tmp_path / "a.spacy", tmp_path / "a.jsonl")
    assert "document 1: TAG, cats, spans['sc'], user_data['own']" in output
    assert "not known" in output, "sentences"


def test_convert_is_silent_and_returns_what_it_found(jsonl, tmp_path, capsys):
    counts, problems = convert("jsonl", jsonl, tmp_path / "a.spacy")
    assert (counts.documents, counts.relations.total(), problems.total) == (2, 1, 0)
    assert capsys.readouterr() == ("", "")
