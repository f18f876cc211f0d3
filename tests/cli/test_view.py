"""`ie view`: pages from texts and corpora."""

import json
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
import spacy
from spacy.tokens import DocBin
from typer.testing import CliRunner

from spacy_llm_ie.cli import ie_app
from spacy_llm_ie.cli.view import read_texts, view
from spacy_llm_ie.data.corpus import create_corpus_v1

DEV = Path(__file__).parents[2] / "assets" / "newswire" / "dev.jsonl"
RECORDS = [json.loads(line) for line in DEV.read_text(encoding="utf8").splitlines()]
NAMES = [record["meta"]["id"] for record in RECORDS]
FIRM = next(e for e in RECORDS[0]["entities"] if e["label"] == "ORG")


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory):
    nlp = spacy.blank("en")
    nlp.add_pipe("entity_ruler").add_patterns(
        [{"label": "ORG", "pattern": RECORDS[0]["text"][FIRM["start"] : FIRM["end"]]}, {"label": "GPE", "pattern": "Omaha"}]
    )
    path = tmp_path_factory.mktemp("pipeline") / "ruler"
    nlp.to_disk(path)
    return str(path)


def page(path):
    return ET.fromstring(path.read_text(encoding="utf8"))


def titles(path):
    return ["".join(e.itertext()) for e in page(path).iter() if e.get("class") == "ie-title"]


def labels(path, name):
    return [e.get("data-label") for e in page(path).iter() if e.get("class") == name]


def run(*args):
    return CliRunner().invoke(ie_app, ["view", *map(str, args)], catch_exceptions=False)


def test_a_text_file(pipeline, tmp_path):
    path, output = tmp_path / "texts.txt", tmp_path / "new" / "page.html"
    path.write_text("Rain in Omaha.\nSnow in Omaha <b>.\n", encoding="utf8")
    assert run(pipeline, path, "-o", output).exit_code == 0
    assert titles(output) == ["1", "2"]
    assert labels(output, "ie-entity") == ["GPE", "GPE"]
    assert run(pipeline, path, "-o", output, "--limit", 1).exit_code == 0
    assert titles(output) == ["1"]
    assert run(pipeline, path, "-o", output, "--entities", "none").exit_code == 0
    assert labels(output, "ie-entity") == []


def test_gold_without_a_pipeline(tmp_path):
    output = tmp_path / "page.html"
    assert run("-", DEV, "-o", output, "--gold", "-n", 2).exit_code == 0
    assert titles(output) == [f"{name} · gold" for name in NAMES[:2]]
    relations = sorted(r["label"] for record in RECORDS[:2] for r in record["relations"])
    events = [e["label"] for record in RECORDS[:2] for e in record["events"]]
    assert sorted(labels(output, "ie-relation")) == relations
    chosen = ("makes", "located_in")
    options = ["--relations", ", ".join(chosen), "--events", "launch"]
    assert run("-", DEV, "-o", output, "--gold", "-n", 2, *options).exit_code == 0
    assert sorted(labels(output, "ie-relation")) == [label for label in relations if label in chosen]
    assert labels(output, "ie-card") == [label for label in events if label == "launch"]


def test_gold_beside_predictions(pipeline, tmp_path):
    output = tmp_path / "page.html"
    assert run(pipeline, DEV, "-o", output, "--gold", "-n", 1).exit_code == 0
    assert titles(output) == [f"{NAMES[0]} · gold", f"{NAMES[0]} · predicted"]
    gold, predicted = (e for e in page(output).iter() if e.get("class") == "ie-doc")
    assert len([e for e in gold.iter() if e.get("class") == "ie-entity"]) == len(RECORDS[0]["entities"])
    assert len([e for e in predicted.iter() if e.get("class") == "ie-entity"]) >= 1
    assert run(pipeline, DEV, "-o", output, "-n", 1).exit_code == 0
    assert titles(output) == [f"{NAMES[0]} · predicted"]


def test_a_docbin(tmp_path):
    docs = [example.reference for example in create_corpus_v1(DEV, limit=3)(spacy.blank("en"))]
    DocBin(docs=docs, store_user_data=False).to_disk(tmp_path / "dev.spacy")
    assert view("-", tmp_path / "dev.spacy", tmp_path / "page.html", gold=True) == 3
    assert titles(tmp_path / "page.html") == ["1 · gold", "2 · gold", "3 · gold"]
    assert len(labels(tmp_path / "page.html", "ie-relation")) == sum(len(doc._.relations) for doc in docs)


def test_what_a_document_is(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes("\ufeffone\r\ntwo\r\n \r\n\r\nthree\r\n".encode())
    assert list(read_texts(path)) == ["one\ntwo", "three"]
    assert list(read_texts(path, "line")) == ["one", "two", "three"]
    assert list(read_texts(path, "file")) == ["one\ntwo\n \n\nthree"]
    path.write_text("one\ntwo\n", encoding="utf8")
    assert list(read_texts(path)) == ["one", "two"]
    with pytest.raises(ValueError, match="E616.*paragraph"):
        list(read_texts(path, "word"))
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="E174"):
        list(read_texts(path))


def test_mistakes_are_told(pipeline, tmp_path):
    path, output = tmp_path / "a.txt", tmp_path / "page.html"
    path.write_text(" \n", encoding="utf8")
    with pytest.raises(ValueError, match="E615"):
        view("-", path, output)
    with pytest.raises(ValueError, match="E615"):
        view("-", DEV, output)
    with pytest.raises(ValueError, match="E617"):
        view(pipeline, path, output, gold=True)
    with pytest.raises(ValueError, match="E177"):
        view(pipeline, path, output)
    assert not output.exists()
