"""Files for brat, and back."""

from pathlib import Path

import pytest
import spacy
from spacy.cli._util import app
from spacy.tokens import DocBin
from typer.testing import CliRunner

import spacy_llm_ie.cli  # noqa: F401  (spaCy imports it through the entry point)
from spacy_llm_ie.annotations import Argument, Event, Relation
from spacy_llm_ie.cli.convert import convert
from spacy_llm_ie.data.brat import write_brat
from spacy_llm_ie.data.convert import convert_files
from spacy_llm_ie.data.jsonl import doc_to_record, record_to_doc
from spacy_llm_ie.data.problems import Problems

GOLDEN = Path(__file__).parent / "golden_ie"
NLP = spacy.blank("en")
TEXT = "Ada Quill of Arlen\nFoods sold Bexley and Osei."
RECORD = {
    "text": TEXT,
    "entities": [
        {"id": "T1", "start": 0, "end": 9, "label": "PERSON"},
        {"id": "T2", "start": 4, "end": 9, "label": "NAME"},
        {"id": "T3", "start": 13, "end": 24, "label": "ORG"},
        {"id": "T4", "start": 30, "end": 36, "label": "ORG"},
        {"id": "T5", "start": 41, "end": 45, "label": "PERSON"},
    ],
    "relations": [{"head": "T1", "tail": "T3", "label": "employed_by"}],
    "events": [
        {
            "trigger": {"start": 25, "end": 29},
            "label": "sale",
            "arguments": [
                {"role": "seller", "entity": "T1"},
                {"role": "goods", "entity": "T4"},
                {"role": "goods", "entity": "T5"},
            ],
        }
    ],
    "meta": {"id": "a"},
}


def to_docs(*records):
    return [record_to_doc(record, NLP, problems=Problems()) for record in records]


def write(folder, docs):
    problems = Problems()
    folder.mkdir()
    assert write_brat(folder, docs, problems) == len(docs)
    return {kind: problems.counts[kind] for kind in problems.kinds()}


def test_lines(tmp_path):
    assert write(tmp_path / "out", to_docs(RECORD)) == {}
    assert (tmp_path / "out" / "a.txt").read_bytes().decode("utf8") == TEXT
    assert (tmp_path / "out" / "a.ann").read_text().splitlines() == [
        "T1\tPERSON 0 9\tAda Quill",
        "T2\tNAME 4 9\tQuill",
        "T3\tORG 13 18;19 24\tArlen Foods",
        "T4\tORG 30 36\tBexley",
        "T5\tPERSON 41 45\tOsei",
        "T6\tsale 25 29\tsold",
        "R1\temployed_by Arg1:T1 Arg2:T3\t",
        "E1\tsale:T6 seller:T1 goods:T4 goods2:T5",
    ]


def test_there_and_back(tmp_path):
    none = {"text": "Nothing 🙂 here.", "entities": [], "relations": [], "events": [], "meta": {"id": "b"}}
    emoji = {**none, "text": "🙂 Arlen.", "entities": [{"id": "T1", "start": 2, "end": 7, "label": "ORG"}]}
    records = [RECORD, none, {**emoji, "meta": {"id": "c"}}]
    docs = to_docs(*records)
    write(tmp_path / "out", docs)
    problems = Problems()
    back = list(convert_files("brat", tmp_path / "out", NLP, problems))
    assert [doc_to_record(doc) for doc in back] == records
    assert dict(problems.counts) == {"overlap": 1}, "as when it was read first"


def test_what_brat_does_not_hold(tmp_path):
    doc = NLP("Ada left Arlen .")
    ada = doc.char_span(0, 3, label="PER SON")
    doc.set_ents([ada], missing=[doc[2:3]], default="outside")
    doc._.relations = [Relation(ada, doc[2:3], "left:it", score=0.5)]
    doc._.events = [Event(doc[1:2], "Life:Move", arguments=[Argument("a1", doc[2:3])])]
    assert write(tmp_path / "out", [doc]) == {"renamed": 3, "not_in_brat": 3, "as_entity": 1}
    assert (tmp_path / "out" / "doc000001.ann").read_text().splitlines() == [
        "T1\tPER_SON 0 3\tAda",
        "T2\tSPAN 9 14\tArlen",
        "T3\tLife_Move 4 8\tleft",
        "R1\tleft_it Arg1:T1 Arg2:T2\t",
        "E1\tLife_Move:T3 a1:T2",
    ]


def test_names_of_files(tmp_path):
    docs = to_docs(*({"text": "a", "meta": {"id": name}} for name in ("../x/y", "A", "a", "...", 7)), {"text": "b"})
    write(tmp_path / "out", docs)
    names = sorted(path.name for path in (tmp_path / "out").glob("*.txt"))
    assert names == ["7.txt", "A.txt", "a_3.txt", "doc000004.txt", "doc000006.txt", "x_y.txt"]
    assert {path.name for path in tmp_path.iterdir()} == {"out"}


def test_the_command(tmp_path):
    DocBin(docs=to_docs(RECORD), store_user_data=True).to_disk(tmp_path / "a.spacy")
    counts, problems = convert("spacy", tmp_path / "a.spacy", tmp_path / "new" / "out")
    assert (counts.documents, problems.total) == (1, 0)
    assert {path.name for path in (tmp_path / "new" / "out").iterdir()} == {"a.txt", "a.ann"}
    with pytest.raises(ValueError, match="E180.*is there already"):
        convert("spacy", tmp_path / "a.spacy", tmp_path / "new" / "out")
    with pytest.raises(ValueError, match=r"E175.*must end in .spacy or .jsonl"):
        convert("spacy", tmp_path / "a.spacy", tmp_path / "a.txt")
    convert("brat", tmp_path / "new", tmp_path / "back.jsonl")
    convert("oneie", GOLDEN / "oneie.jsonl", tmp_path / "strict", strict=True)
    (tmp_path / "bad.jsonl").write_text("{broken\n")
    with pytest.raises(ValueError, match="E156"):
        convert("jsonl", tmp_path / "bad.jsonl", tmp_path / "none")
    assert {path.name for path in tmp_path.iterdir()} == {"a.spacy", "new", "back.jsonl", "bad.jsonl"}


def test_options_of_the_command(tmp_path):
    output = CliRunner().invoke(
        app, ["ie", "convert", "phee", str(GOLDEN / "phee.json"), str(tmp_path / "a.spacy"), "--main-arguments"]
    )
    assert output.exit_code == 0, output.output
    assert "arguments" in output.output
    assert (tmp_path / "a.spacy").exists()
    output = CliRunner().invoke(
        app, ["ie", "convert", "ace", str(GOLDEN / "ace"), str(tmp_path / "b.jsonl"), "--only-entities"]
    )
    assert output.exit_code == 0, output.output
    assert "TIME" not in (tmp_path / "b.jsonl").read_text()
