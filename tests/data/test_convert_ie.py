"""Converters of corpora with relations and events: a mini-file of each format, and what does not fit into it."""

import importlib.util
import json
import shutil
from pathlib import Path

import pytest
import spacy

from spacy_llm_ie.annotations import is_annotated
from spacy_llm_ie.data.convert import convert_files
from spacy_llm_ie.data.jsonl import doc_to_record, record_to_doc
from spacy_llm_ie.data.problems import Problems

GOLDEN = Path(__file__).parent / "golden_ie"
BLANK = spacy.blank("en")


def read(name, path, lang="en", **options):
    problems = Problems()
    nlp = BLANK if lang == "en" else spacy.blank(lang)
    docs = list(convert_files(name, GOLDEN / path, nlp, problems, **options))
    for doc in docs:
        record = doc_to_record(doc)
        assert doc_to_record(record_to_doc(record, nlp, problems=Problems())) == record, "JSONL holds all of it"
    return docs, problems


def broken(tmp_path, name, content, ending=".json"):
    path = tmp_path / f"a{ending}"
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf8")
    return list(convert_files(name, path, BLANK, Problems()))


def ents(doc):
    return [(ent.text, ent.label_) for ent in doc.ents]


def rels(doc):
    return [(r.head.text, r.label, r.tail.text) for r in doc._.relations]


def events(doc):
    return [(e.trigger.text, e.label, [(a.role, a.span.text) for a in e.arguments]) for e in doc._.events]


def layers(doc):
    return [layer for layer in ("entities", "relations", "events") if is_annotated(doc, layer)]


def found(problems):
    return {kind: problems.counts[kind] for kind in problems.kinds()}


def notes(problems):
    return {kind: problems.counts[kind] for kind in problems.kinds(notes=True)}


# DyGIE++


def test_dygie():
    (first, second, third), problems = read("dygie", "dygie.jsonl")
    assert [s.text.strip() for s in first.sents] == ["Arlen Corp. hired Ada Quill in Oslo .", "She starts soon ."]
    assert first.has_unknown_spaces
    assert ents(first) == [("Arlen Corp.", "ORG"), ("Ada Quill", "PER"), ("Oslo", "GPE"), ("She", "PER")]
    assert [(s.text, s.label_) for s in first.spans["ie_entities"]][1] == ("Arlen", "PER"), "nested ones are kept"
    assert rels(first) == [("Ada Quill", "ORG-AFF", "Arlen Corp."), ("She", "PHYS", "starts soon")]
    assert [r.tail.label_ for r in first._.relations] == ["ORG", ""]
    start = "Personnel.Start-Position"
    assert events(first) == [
        ("hired", start, [("Person", "Ada Quill"), ("Entity", "Arlen Corp."), ("Place", "Oslo")]),
        ("starts soon", start, [("Person", "She"), ("Time-Within", "soon")]),
    ]
    assert first.user_data["meta"] == {"doc_key": "d1", "dataset": "ace-event"}
    assert (layers(second), layers(third)) == ([], ["entities", "relations"])
    assert found(problems) == {"overlap": 1, "duplicate": 1}
    assert notes(problems) == {"beyond": 1}


def test_dygie_two_labels_on_a_span(tmp_path):
    record = {"sentences": [["a", "b"]], "ner": [[[0, 0, "X"], [0, 0, "Y"]]], "relations": [[[0, 0, 1, 1, "r"]]]}
    (tmp_path / "a.json").write_text(json.dumps(record))
    docs, problems = read("dygie", tmp_path / "a.json")
    assert docs[0]._.relations[0].head.label_ == "X"
    assert {s.label_ for s in docs[0].spans["ie_entities"]} == {"X", "Y"}
    assert found(problems) == {"overlap": 1, "ambiguous": 1}


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({}, "E158.*a.json:1.*'sentences' is missing"),
        ({"sentences": [["a"], []]}, r"E157.*'sentences\[1\]' must be a list of tokens, not empty"),
        ({"sentences": [["a", 1]]}, "E157.*'token 1' must be a string"),
        ({"sentences": [["a"]], "ner": [[], []]}, "one list for each of the 1 sentences.*2 lists"),
        ({"sentences": [["a"]], "ner": [[[0, 1, "X"]]]}, r"E156.*ner\[0\]\[0\].*tokens 0 to 2"),
        ({"sentences": [["a"]], "ner": [[["0", 0, "X"]]]}, r"E157.*\[start, end, label\]"),
        ({"sentences": [["a"]], "ner": [3]}, r"E157.*'ner\[0\]' must be a list"),
        ({"sentences": [["a"]], "relations": [[[0, 0, "r"]]]}, r"E157.*relations\[0\]\[0\]"),
        ({"sentences": [["a"]], "events": [[[0, "X"]]]}, r"E157.*events\[0\]\[0\]"),
        ({"sentences": [["a"]], "events": [[[]]]}, r"E157.*events\[0\]\[0\]"),
        ({"sentences": [["a"]], "events": [[[[0, "X"], [-1, 0, "r"]]]]}, "E156.*tokens -1 to 1"),
    ],
)
def test_dygie_errors(record, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        broken(tmp_path, "dygie", record)


# SemEval-2010 Task 8


def test_semeval():
    (first, other, joined, untold, turned), problems = read("semeval2010-task8", "semeval2010.TXT")
    assert first.text == "The leak was caused by a burst pipe."
    assert ents(first) == [("leak", "NOMINAL"), ("pipe", "NOMINAL")]
    assert [t.ent_iob_ for t in first][:3] == ["", "B", ""], "nobody looked for other nominals"
    assert rels(first) == [("pipe", "Cause-Effect", "leak")], "e2 is the head"
    assert other.text == 'A boat and its "owner".'
    assert layers(other) == ["entities", "relations"]
    assert rels(other) == []
    assert (ents(joined), rels(joined)) == ([], []), "coffeecups is one token"
    assert layers(untold) == ["entities"]
    assert ents(turned) == [("here", "NOMINAL"), ("it", "NOMINAL")]
    assert [doc.user_data["meta"]["id"] for doc in (first, turned)] == [1, 5]
    assert found(problems) == {"misaligned": 2, "relation": 1}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('1\t"a <e1>b</e1> c"\nOther', r"E156.*a.txt:1.*one <e2>"),
        ('1\t"<e1>b</e1> <e2></e2>"\nOther', "E156.*not empty"),
        ('1\t"<e1>b <e2>c</e2></e1>"\nOther', "E156.*beside each other"),
        ('1\t"<e1>b</e1> <e2>c</e2>"\nCause-Effect', "E156.*a.txt:2.*Cause-Effect'"),
        ('1\t"<e1>b</e1> <e2>c</e2>"\nCause-Effect(e1,e1)', "E156.*a.txt:2"),
        ('1\t"<e1>b</e1> <e2>c</e2>"\nOther\nOther', "E156.*a.txt:3.*found 'Other'"),
        ("8001\tMessage-Topic(e1,e2)", "E156.*a.txt:1"),
        ("Other", "E156.*a.txt:1"),
    ],
)
def test_semeval_errors(text, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        broken(tmp_path, "semeval2010-task8", text, ".txt")


# PHEE


def test_phee():
    (first, second), problems = read("phee", "phee.json")
    assert layers(first) == ["events"]
    assert first.user_data["meta"] == {"id": "1_1"}
    (event,) = events(first)
    assert event[:2] == ("had", "Adverse_event")
    assert event[2] == [
        ("Subject", "A woman"),
        ("Subject.Gender", "woman"),
        ("Treatment", "aspirin and ibuprofen"),
        ("Treatment.Drug", "aspirin"),
        ("Treatment.Drug", "ibuprofen"),
        ("Treatment.Combination.Drug", "aspirin"),
        ("Treatment.Combination.Drug", "ibuprofen"),
        ("Effect", "rash"),
        ("Effect", "on the arms"),
    ]
    assert events(second) == [("set", "Adverse_event", [])]
    assert found(problems) == {"pieces": 1, "discontinuous": 1, "event": 1, "mismatch": 1}
    assert notes(problems) == {"beyond": 2}
    (first, _), _ = read("phee", "phee.json", main_arguments=True)
    assert [role for role, _ in events(first)[0][2]] == ["Subject", "Treatment", "Effect", "Effect"]


@pytest.mark.parametrize(
    ("trigger", "message"),
    [
        ({"text": [["a"]], "start": [0]}, "E157.*Trigger: 'text'"),
        ({"text": [["a"]], "start": [["0"]]}, "E157"),
        ({"text": [["a"]], "start": [[]]}, "E157"),
        ({"text": [["a"]]}, "E158.*'start'"),
    ],
)
def test_phee_errors(trigger, message, tmp_path):
    event = {"event_type": "X", "Trigger": trigger}
    with pytest.raises(ValueError, match=message):
        broken(tmp_path, "phee", {"context": "a", "annotations": [{"events": [event]}]})


# FewFC


def test_fewfc():
    (first, second), problems = read("fewfc", "fewfc.json", lang="zh")
    assert events(first) == [("收购", "收购", [("sub-org", "甲公司"), ("proportion", "30%")]), ("收购", "投资", [])]
    assert (layers(first), layers(second), events(second)) == (["events"], ["events"], [])
    assert found(problems) == {"mismatch": 1, "event": 1}
    assert "no trigger" in problems.examples["event"][0]


def test_fewfc_with_a_tokenizer_that_does_not_split_chinese():
    docs, problems = read("fewfc", "fewfc.json")
    assert events(docs[0]) == []
    assert problems.counts["event"] == 3


def test_fewfc_errors(tmp_path):
    mention = {"word": "a", "span": [0], "role": "trigger"}
    with pytest.raises(ValueError, match=r"E157.*mentions\[0\].*\[start, end\]"):
        broken(tmp_path, "fewfc", {"content": "a", "events": [{"type": "X", "mentions": [mention]}]})


# SpERT


def test_spert():
    (first, second), problems = read("spert", "spert.json")
    assert ents(first) == [("Ada Quill", "Peop"), ("Oslo", "Loc"), ("Arlen", "Org")]
    assert rels(first) == [("Ada Quill", "Live_In", "Oslo"), ("Ada Quill", "Work_For", "Arlen")]
    assert first.user_data["meta"] == {"id": 17}
    assert layers(second) == ["entities", "relations"]
    assert (found(problems), notes(problems)) == ({}, {"beyond": 1})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "E174.*a.json.*not valid JSON"),
        ("{}", "E174.*found dict, expected a list"),
        ("[3]", "E157.*item 1.*an object"),
        ([{"tokens": ["a"], "entities": [{"type": "X", "start": 0, "end": 2}]}], r"E156.*entities\[0\]"),
        ([{"tokens": ["a"], "entities": [], "relations": [{"type": "r", "head": 0, "tail": 0}]}], "E161.*none"),
    ],
)
def test_spert_errors(content, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        broken(tmp_path, "spert", content)


# OneIE and TextEE


def test_oneie():
    (first, second), problems = read("oneie", "oneie.jsonl")
    assert first.text == "Arlen's Ada Quill joined a\nU.S.-led firm."
    assert not first.has_unknown_spaces
    assert ents(first) == [("Arlen", "ORG"), ("Ada Quill", "PER"), ("U.S.-led", "GPE")]
    assert rels(first) == [("Ada Quill", "ORG-AFF", "Arlen")], "Arg-1 is the head"
    assert events(first) == [("joined", "Personnel:Start-Position", [("Person", "Ada Quill")])]
    assert second.has_unknown_spaces, "-LRB- is not in the text"
    assert layers(second) == ["entities", "relations", "events"]
    assert found(problems) == {"grown": 1, "mismatch": 1, "relation": 1, "argument": 1}
    assert first.user_data["meta"] == {"doc_id": "d1", "sent_id": "d1-0"}


def test_textee():
    (first, second), problems = read("oneie", "textee.json")
    assert events(first) == [("followed", "Adverse_event", [("Treatment", "aspirin"), ("Effect", "A rash")])]
    assert (layers(first), layers(second)) == (["events"], ["events"]), "UNK is no entity, in no line"
    assert (found(problems), notes(problems)) == ({}, {"untyped": 1})


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ({"entity_mentions": [{"id": "E1", "entity_type": "X", "start": 0, "end": 1}] * 2}, "E160.*'E1'"),
        ({"relation_mentions": [{"relation_type": "r", "arguments": []}]}, "E156.*2 arguments"),
        ({"event_mentions": [{"event_type": "X", "trigger": {"start": 0, "end": 9}}]}, "E156.*tokens 0 to 9"),
        (
            {
                "event_mentions": [
                    {
                        "event_type": "X",
                        "trigger": {"start": 0, "end": 1},
                        "arguments": [{"role": "r", "entity_id": "E9"}],
                    }
                ]
            },
            "E161.*'E9'",
        ),
    ],
)
def test_oneie_errors(extra, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        broken(tmp_path, "oneie", {"tokens": ["a"], **extra})


# JMEE


def test_jmee():
    (first, second), problems = read("jmee", "jmee.json")
    assert first.text == "The firm Arlen hired Ada Quill, its chief, on Monday."
    assert ents(first) == [("Arlen", "ORG"), ("Ada Quill", "PER"), ("Monday", "TIM")], "heads, not extents"
    arguments = [("Person", "Ada Quill"), ("Entity", "Arlen"), ("Position", "chief")]
    assert events(first) == [("hired", "Personnel:Start-Position", arguments)]
    assert [a.span.label_ for a in first._.events[0].arguments] == ["PER", "ORG", ""]
    assert (second.text, layers(second)) == ("( None ) ", ["entities", "events"])
    assert (found(problems), notes(problems)) == ({"mismatch": 1, "argument": 1}, {"beyond": 1})


# brat


def test_brat():
    (first, second), problems = read("brat", "brat")
    assert ents(first) == [("Ada Quill", "PER"), ("Arlen\nFoods", "ORG"), ("3 mg", "DOSE"), ("Osei", "PER")]
    missing = [token.text for token in first if not token.ent_iob_]
    assert missing == ["2"], "the pieces that are in no other entity"
    assert rels(first) == [("Ada Quill", "works_for", "Arlen\nFoods")]
    assert events(first) == [
        ("sold", "SALE", [("Seller", "Ada Quill"), ("Goods", "3 mg")]),
        ("learned", "LEARN", [("Who", "Osei"), ("What", "sold")]),
        ("sale", "SALE", []),
    ]
    assert second.text == "Nothing 🙂 Arlen."
    assert ents(second) == [("Arlen", "ORG")], "offsets in UTF-16"
    assert layers(second) == ["entities", "relations", "events"], "others in the folder have some"
    assert found(problems) == {"discontinuous": 1, "relation": 1, "argument": 1, "nested_event": 1, "moved": 1}
    assert notes(problems) == {"beyond": 3}


def test_brat_without_facts_is_not_annotated_with_them(tmp_path):
    (tmp_path / "b.txt").write_text("Arlen.")
    (tmp_path / "b.ann").write_text("T1\tORG 0 5\tArlen\n")
    (tmp_path / "c.txt").write_text("Alone.")
    docs, problems = read("brat", tmp_path)
    assert [layers(doc) for doc in docs] == [["entities"]]
    assert problems.examples["other_file"] == ["c.txt"]
    assert ents(read("brat", tmp_path / "b.txt")[0][0]) == [("Arlen", "ORG")]
    (tmp_path / "c.ann").write_text("R1\tr Arg1:T1 Arg2:T1\nT1\tX 0 5\tAlone\n")
    assert [layers(doc) for doc in read("brat", tmp_path)[0]] == [["entities", "relations"]] * 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("T1 ORG 0 5 Arlen", "E156.*a.ann:1.*a tab"),
        ("T1\tORG 0 9\tArlen", "E159.*a.ann:1"),
        ("T1\tORG 3 3\t", "E159"),
        ("T1\tX 0 1\tA\nT1\tX 0 1\tA", "E160.*a.ann:2"),
        ("R1\tr Arg1:T1 Arg2:T2", "E161.*a.ann:1.*'T1'"),
        ("R1\tr T1 T2", "E156.*Arg1:T1"),
        ("T1\tX 0 1\tA\nE1\tX:T1 Role:T9", "E161.*'T9'"),
        ("E1\tX:E1", "E161"),
        ("X1\twhat", "E156.*begins with T, R, E"),
    ],
)
def test_brat_errors(text, message, tmp_path):
    (tmp_path / "a.txt").write_text("Arlen")
    (tmp_path / "a.ann").write_text(text)
    with pytest.raises(ValueError, match=message):
        read("brat", tmp_path)


def test_brat_needs_both_files(tmp_path):
    (tmp_path / "a.ann").write_text("")
    with pytest.raises(ValueError, match="E156.*a.ann.*expected a.txt beside it, with the text"):
        read("brat", tmp_path)


# ACE


def test_ace():
    (doc,), problems = read("ace", "ace")
    assert doc.text == "The firm A&B hired Ada Quill on Monday.\n\nShe leads sales."
    assert ents(doc) == [
        ("A&B", "ORG"),
        ("Ada Quill", "PER"),
        ("Monday", "TIME"),
        ("She", "PER"),
        ("sales", "Job-Title"),
    ]
    assert rels(doc) == [("Ada Quill", "ORG-AFF", "A&B")]
    arguments = [("Person", "Ada Quill"), ("Entity", "A&B"), ("Time-Within", "Monday")]
    assert events(doc) == [("hired", "Personnel:Start-Position", arguments)]
    assert doc.user_data["meta"] == {"id": "s1"}
    assert found(problems) == {"outside": 3, "relation": 1, "event": 1, "argument": 1}
    assert notes(problems) == {"beyond": 1}


def test_ace_entities_only():
    (doc,), problems = read("ace", "ace/s1.sgm", only_entities=True)
    assert {label for _, label in ents(doc)} == {"ORG", "PER"}
    assert [role for role, _ in events(doc)[0][2]] == ["Person", "Entity"]
    assert notes(problems) == {"beyond": 3}


def test_ace_errors(tmp_path):
    for name in ("s1.sgm", "s1.apf.xml"):
        shutil.copy(GOLDEN / "ace" / name, tmp_path)
    apf = tmp_path / "s1.apf.xml"
    text = apf.read_text()
    apf.write_text(text.replace('REFID="s1-E2-1" ROLE="Person"', 'REFID="s1-E9" ROLE="Person"'))
    with pytest.raises(ValueError, match="E161.*s1-EV1-1.*'s1-E9'"):
        read("ace", tmp_path)
    apf.write_text(text.replace('ID="s1-E2-2" TYPE', 'ID="s1-E2-1" TYPE'))
    with pytest.raises(ValueError, match="E160.*'s1-E2-1'"):
        read("ace", tmp_path)
    apf.write_text(text.replace('START="', 'START="x'))
    with pytest.raises(ValueError, match="E156.*START and END must be numbers"):
        read("ace", tmp_path)
    apf.write_text("<source_file>")
    with pytest.raises(ValueError, match="E174.*s1.apf.xml"):
        read("ace", tmp_path)
    (tmp_path / "s1.sgm").unlink()
    with pytest.raises(ValueError, match="E156.*expected s1.sgm beside it"):
        read("ace", tmp_path)


# The counts of corpora


def test_the_benchmark_counts_facts_as_they_are_in_the_file(capsys, monkeypatch):
    spec = importlib.util.spec_from_file_location("corpora", GOLDEN.parents[2] / "benchmarks" / "corpora.py")
    corpora = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(corpora)
    monkeypatch.setattr("sys.argv", ["corpora.py", "--data", str(GOLDEN.parent)])
    monkeypatch.setattr(corpora, "FORMATS", {"golden_ie": ("dygie", "en")})
    for relations, labels, code in ((3, {"ORG": 1}, 0), (2, {}, 1), (3, {"ORG": 2}, 1)):
        expected = corpora.Facts(3, 4, 5, relations, 2, labels)
        monkeypatch.setattr(corpora, "CORPORA", {"golden_ie": {"dygie.jsonl": expected}})
        assert corpora.main() == code, capsys.readouterr().out
    assert "DIFFERS" in capsys.readouterr().out
