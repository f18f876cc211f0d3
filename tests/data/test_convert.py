"""Converters: a mini-file of each format, and what does not fit into it."""

import importlib.util
import inspect
import json
from pathlib import Path

import pytest
import spacy
from hypothesis import given, settings
from hypothesis import strategies as st
from spacy.tokens import Doc, DocBin, Span

from spacy_llm_ie.annotations import Relation, is_annotated
from spacy_llm_ie.data.convert import FORMATS, convert_files, get_format
from spacy_llm_ie.data.convert.tags import SCHEMES, decode_tags, detect_scheme, split_tag
from spacy_llm_ie.data.counts import Counts
from spacy_llm_ie.data.jsonl import doc_to_record
from spacy_llm_ie.data.problems import Problems

GOLDEN = Path(__file__).parent / "golden"
BLANK = spacy.blank("en")


def read(name, path, **options):
    problems = Problems()
    docs = list(convert_files(name, GOLDEN / path, BLANK, problems, **options))
    return docs, problems


def conll(tmp_path, text, **options):
    path = tmp_path / "a.tsv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode("utf8"))
    return read("conll", path, **options)


def ents(doc):
    return [(ent.text, ent.label_) for ent in doc.ents]


def found(problems):
    """Counts of what is a problem, without the notes."""
    return {kind: problems.counts[kind] for kind in problems.kinds()}


# CoNLL


def test_conll_2003():
    docs, problems = read("conll", "conll2003.txt")
    assert [[t.text for t in doc] for doc in docs] == [
        ["EU", "rejects", "German", "call", "."],
        ["Peter", "Blackburn"],
        ["Paris", "London", "and", "Rome"],
    ]
    assert [ents(doc) for doc in docs] == [
        [("EU", "ORG"), ("German", "MISC")],
        [("Peter Blackburn", "PER")],
        [("Paris", "LOC"), ("London", "LOC"), ("Rome", "LOC")],
    ]
    assert found(problems) == {}
    assert problems.examples["scheme"] == ["conll2003.txt: iob1"]
    assert docs[2].user_data["meta"] == {"source": "conll2003.txt:14"}
    assert all(doc.has_unknown_spaces for doc in docs)


def test_conll_2003_another_column():
    for column in (3, -2):
        docs, problems = read("conll", "conll2003.txt", column=column)
        assert ents(docs[0])[:2] == [("EU", "NP"), ("rejects", "VP")]
        assert found(problems) == {}


def test_documents_kept_together():
    docs, _ = read("conll", "conll2003.txt", merge=True)
    assert [[s.text.strip() for s in doc.sents] for doc in docs] == [
        ["EU rejects German call .", "Peter Blackburn"],
        ["Paris London and Rome"],
    ]
    assert ents(docs[0])[-1] == ("Peter Blackburn", "PER")
    docs, _ = read("conll", "conll2003.txt", n_sents=5)
    assert [len(list(doc.sents)) for doc in docs] == [2, 1], "never across -DOCSTART-"
    docs, _ = read("conll", "iob2.tsv", n_sents=2)
    assert [len(list(doc.sents)) for doc in docs] == [2, 1]
    docs, _ = read("conll", "iob2.tsv", merge=True)
    assert [len(list(doc.sents)) for doc in docs] == [3], "without -DOCSTART-, the file is one document"
    for options in ({"merge": True, "n_sents": 2}, {"n_sents": 0}):
        with pytest.raises(ValueError, match="E167.*n_sents"):
            read("conll", "iob2.tsv", **options)


def test_iob2_hashtags_blank_lines_and_orphans():
    docs, problems = read("conll", "iob2.tsv")
    assert [doc[0].text for doc in docs] == ["#hashtag", "Beyonce", "U2"]
    assert ents(docs[0]) == [("New York", "location")]
    assert ents(docs[1]) == [("Beyonce", "creative-work"), ("Halo", "creative-work")]
    assert ents(docs[2]) == [("U2", "group"), ("Real", "group"), ("Madrid", "corporation")]
    assert [t.text for t in docs[2]][1] == "#"
    assert found(problems) == {"repaired": 2}
    assert problems.examples["repaired"] == [
        "iob2.tsv:13: I-group after the beginning begins an entity",
        "iob2.tsv:17: I-corporation after B-group begins an entity",
    ]


def test_bioes_with_tags_that_do_not_fit():
    docs, problems = read("conll", "bioes.txt")
    assert ents(docs[0]) == [("Ada B. Quill", "PER"), ("Arlen", "ORG")]
    assert ents(docs[1]) == [("Osei", "PER"), ("E.", "PER"), ("I.", "PER"), ("X", "ORG"), ("Y", "ORG")]
    assert found(problems) == {"repaired": 5}
    assert "PER is not closed after B-PER" in problems.examples["repaired"][0]


def test_bmes_and_bilou():
    docs, problems = read("conll", "bmes.txt", no_spaces=True)
    assert docs[0].text == "中华国人京"
    assert not docs[0].has_unknown_spaces
    assert ents(docs[0]) == [("中华国", "LOC"), ("京", "LOC")]
    assert problems.examples["scheme"] == ["bmes.txt: bmes"]
    docs, problems = read("conll", "bilou.txt")
    assert ents(docs[0]) == [("Ada Quill", "PER"), ("Arlen", "ORG")]
    assert [t.ent_iob_ for t in docs[0]] == ["B", "I", "O", "B", ""], "'-' is missing"
    assert found(problems) == {}


def test_weibo_positions():
    docs, problems = read("conll", "weibo.conll", strip_position=True, no_spaces=True)
    assert [doc.text for doc in docs] == ["你好北京2", "人"]
    assert ents(docs[0]) == [("北京", "GPE.NAM")]
    assert ents(docs[1]) == [("人", "PER.NOM")]
    assert found(problems) == {"repaired": 1}
    with pytest.raises(ValueError, match=r"E173.*conll2003.txt:3.*'EU'"):
        read("conll", "conll2003.txt", strip_position=True)


def test_the_scheme_can_be_given(tmp_path):
    text = "a\tI-X\nb\tI-X\n"
    assert conll(tmp_path, text)[1].examples["scheme"] == ["a.tsv: iob1"]
    docs, problems = conll(tmp_path, text, scheme="BIO")
    assert ents(docs[0]) == [("a b", "X")]
    assert problems.counts == {"repaired": 1}
    with pytest.raises(ValueError, match=r"E167.*'scheme' must be one of auto, iob1"):
        conll(tmp_path, text, scheme="xyz")
    with pytest.raises(ValueError, match=r"E171.*a.tsv:1.*'I-X' is no tag of the scheme bmes"):
        conll(tmp_path, text, scheme="bmes")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a\tB-X\nb\tE-X\nc\tL-X\n", "E172.*a.tsv: cannot tell the scheme.*B, E, L"),
        ("a\tO\nb\tPER\n", "E171.*a.tsv:2: 'PER' is no tag"),
        ("a\tB-\n", "E171.*a.tsv:1"),
        ("a\tO\nb\n", "E170.*a.tsv:2: found 1 column"),
        ("# sent_id = 1\na\tO\n", "E171.*'1' is no tag[\\s\\S]*--comment"),
        ("\tO\n", "column 1 is empty"),
        (b"a\tO\n\xff\tO\n", "a.tsv:2: not UTF-8"),
    ],
)
def test_lines_that_cannot_be_read(text, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        conll(tmp_path, text)


def test_comments_only_where_they_are_asked_for(tmp_path):
    text = "# id 1\n#tag\tO\n# id 2\nArlen\tB-ORG\n"
    docs, _ = conll(tmp_path, text, comment="# id")
    assert [[t.text for t in doc] for doc in docs] == [["#tag", "Arlen"]]


@pytest.mark.parametrize("column", [0, 1])
def test_the_column_of_the_words_is_refused(column, tmp_path):
    with pytest.raises(ValueError, match="E167.*'column' must be 2 or more"):
        conll(tmp_path, "a\tO\n", column=column)
    with pytest.raises(ValueError, match="E170.*column 5"):
        conll(tmp_path, "a\tO\n", column=5)


def test_line_ends_marks_and_odd_characters(tmp_path):
    text = "\ufeffa\u2028b\tB-X\r\n\u3000\tI-X\r\n\r\nNew York\tB-Y\r\nc d\xa0 O\r\n".encode()
    docs, problems = conll(tmp_path, text)
    assert [[t.text for t in doc] for doc in docs[:1]] == [["a\u2028b", "\u3000"]]
    assert docs[1][0].text == "New York"
    assert found(problems) == {}


def test_an_empty_file_has_no_documents(tmp_path):
    assert conll(tmp_path, "")[0] == []
    assert conll(tmp_path, "-DOCSTART- O\n\n\n")[0] == []


TAGS = {
    "iob2": lambda n, label: [("B", label)] + [("I", label)] * (n - 1),
    "bioes": lambda n, label: [("S", label)] if n == 1 else [("B", label), *[("I", label)] * (n - 2), ("E", label)],
    "bmes": lambda n, label: [("S", label)] if n == 1 else [("B", label), *[("M", label)] * (n - 2), ("E", label)],
    "bilou": lambda n, label: [("U", label)] if n == 1 else [("B", label), *[("I", label)] * (n - 2), ("L", label)],
}


def encode(pieces, scheme):
    """Tags of a sentence from its pieces: (length, label), label None = outside."""
    tags, spans = [], []
    for length, label in pieces:
        if label is None:
            tags += [("O", "")] * length
            continue
        spans.append((len(tags), len(tags) + length, label))
        if scheme == "iob1":
            adjacent = len(spans) > 1 and spans[-2][1:] == (len(tags), label)
            tags += [("B" if adjacent else "I", label), *[("I", label)] * (length - 1)]
        else:
            tags += TAGS[scheme](length, label)
    return tags, spans


PIECES = st.lists(st.tuples(st.integers(1, 4), st.sampled_from([None, "X", "Y"])), max_size=8)


@settings(max_examples=200, deadline=None)
@given(pieces=PIECES, scheme=st.sampled_from(list(SCHEMES)))
def test_decoding_inverts_encoding(pieces, scheme):
    tags, spans = encode(pieces, scheme)
    tagged = decode_tags(tags, scheme)
    assert tagged.spans == spans
    assert tagged.repairs == []


@settings(max_examples=100, deadline=None)
@given(tags=st.lists(st.sampled_from(["O", "-", "B-X", "I-X", "B-Y", "I-Y"]), max_size=8))
def test_lenient_decoding_counts_one_repair_for_each_orphan(tags):
    """Oracle: an entity begins at each B, and at each I that does not continue the same label."""
    pairs = [split_tag(tag, "x") for tag in tags]
    begins = [i for i, tag in enumerate(tags) if tag[0] == "B"]
    orphans = [
        i for i, tag in enumerate(tags) if tag[0] == "I" and not (i and tags[i - 1][0] in "BI" and tags[i - 1][2:] == tag[2:])
    ]
    tagged = decode_tags(pairs, "iob2")
    assert [span[0] for span in tagged.spans] == sorted(begins + orphans)
    assert [i for i, _ in tagged.repairs] == orphans
    assert len({i for a, b, _ in tagged.spans for i in range(a, b)}) == sum(b - a for a, b, _ in tagged.spans)


def test_detection():
    def detect(*sentences):
        return detect_scheme([[split_tag(tag, "x") for tag in s.split()] for s in sentences], "x")

    assert detect("O O", "") == "iob2"
    assert detect("B-X I-X O", "I-X") == "iob2"
    assert detect("I-X B-X O", "I-Y") == "iob1"
    assert detect("B-X B-X") == "iob2"
    assert detect("O S-X") == "bioes"
    assert detect("B-X E-X") == "bioes"
    assert detect("B-X M-X E-X") == "bmes"
    assert detect("U-X") == detect("B-X L-X") == "bilou"


# Annotation tools


def test_prodigy():
    docs, problems = read("prodigy", "prodigy.jsonl")
    first, second, third, fourth = docs
    assert [t.text for t in first] == ["Smad", "-", "binding", "of", "🙂", "Id1", "."]
    assert ents(first) == [("Smad", "GGP"), ("Id1", "GGP")]
    binds, site = first._.relations
    assert binds == Relation(first.ents[0], first.ents[1], "Binds")
    assert (site.head, site.tail.text, site.tail.label_) == (first.ents[1], "binding", "")
    assert first.user_data["meta"] == {"source": "x"}
    assert ents(second) == [("Ada Quill", "PERSON")]
    assert not is_annotated(second, "relations")
    assert [t.ent_iob_ for t in third] == ["", "B", "", "", ""], "one answer says nothing of the other tokens"
    assert not is_annotated(fourth, "entities")
    assert found(problems) == {"misaligned": 1, "unknown_key": 1, "no_text": 1}
    assert problems.counts["not_accepted"] == 2
    assert problems.examples["misaligned"][0].startswith("prodigy.jsonl:4, entities[1]: 'rlen' (16:20)")
    record = doc_to_record(first)
    assert record["tokens"][4] == {"start": 16, "end": 17}


def test_doccano():
    docs, problems = read("doccano", "doccano.jsonl")
    assert [ents(doc) for doc in docs] == [
        [("Ada Quill", "PERSON"), ("Arlen", "ORG")],
        [("Arlen", "ORG"), ("Omaha", "GPE")],
        [],
        [("Arlen", "ORG"), ("Omaha", "GPE")],
        [],
        [],
    ]
    assert docs[3]._.relations == (Relation(*docs[3].ents, "located_in"),)
    assert [is_annotated(doc, "relations") for doc in docs] == [False] * 3 + [True] + [False] * 2
    assert [is_annotated(doc, "entities") for doc in docs] == [True] * 5 + [False]
    assert docs[0].user_data["meta"] == {"id": 1, "Comments": []}
    assert found(problems) == {"unsupported": 1}


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"text": "a b", "label": [[0, 1]]}, r"E157.*a.jsonl:1, label\[0\].*\[start, end, label\]"),
        ({"text": "a b", "label": [[0, 9, "X"]]}, "E159"),
        ({"text": "a b", "label": 3}, "'label' must be a list"),
        ({"text": "a b", "relations": [{"from_id": 1, "to_id": 2, "type": "r"}]}, "E161.*'1'"),
        ({"text": "a b", "entities": [{"start_offset": 0, "label": "X"}]}, "'end_offset' is missing"),
    ],
)
def test_doccano_errors(record, message, tmp_path):
    (tmp_path / "a.jsonl").write_text(json.dumps(record))
    with pytest.raises(ValueError, match=message):
        read("doccano", tmp_path / "a.jsonl")


def test_labelstudio():
    docs, problems = read("labelstudio", "labelstudio.json")
    first, second, nothing, other = docs
    assert first.text.startswith("🙂 Ada Quill")
    assert [e.text for e in first.ents] == ["Ada Quill", "Arlen"], "offsets of the browser were counted again"
    assert {s.label_ for s in first.spans["ie_entities"]} == {"PERSON", "ORG", "BRAND"}
    assert [(r.head.text, r.label, r.tail.text) for r in first._.relations] == [("Ada Quill", "employed_by", "Arlen")]
    assert first.user_data["meta"] == {"source": "x"}
    pairs = [(r.head.text, r.tail.text) for r in second._.relations]
    assert pairs == [("Arlen", "Bexley"), ("Bexley", "Arlen")]
    assert is_annotated(nothing, "entities")
    assert is_annotated(nothing, "relations")
    assert (other.text, other.ents) == ("Other words.", ())
    assert found(problems) == {"moved": 2, "overlap": 1, "extra": 1, "unsupported": 1, "mismatch": 1}
    assert problems.counts["not_accepted"] == 2


def test_labelstudio_without_relations_is_not_annotated_with_them(tmp_path):
    task = {"data": {"body": "Arlen."}, "annotations": [{"result": []}]}
    (tmp_path / "a.json").write_text(json.dumps([task]))
    docs, _ = read("labelstudio", tmp_path / "a.json")
    assert not is_annotated(docs[0], "relations")
    two = {**task, "data": {"one": "Arlen.", "two": "Bexley."}}
    (tmp_path / "a.json").write_text(json.dumps([two]))
    docs, problems = read("labelstudio", tmp_path / "a.json")
    assert (docs, found(problems)) == ([], {"no_text": 1})
    assert read("labelstudio", tmp_path / "a.json", text_key="two")[0][0].text == "Bexley."


@pytest.mark.parametrize("content", ["", "{}", '[{"text": "a", "label": []}]', '[{"data": {"text": "a"}}]', "[1]"])
def test_other_exports_of_labelstudio(content, tmp_path):
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(ValueError, match="E174.*a.json.*JSON export of Label Studio"):
        read("labelstudio", tmp_path / "a.json")


# Our own


def test_spacy_marks_tokens_of_its_own(tmp_path):
    plain = BLANK.make_doc("Can't stop.")
    plain.ents = [Span(plain, 2, 3, label="X")]
    special = Doc(BLANK.vocab, words=["Can't", "stop"], spaces=[True, False])
    DocBin(docs=[plain, special]).to_disk(tmp_path / "a.spacy")
    docs, problems = read("spacy", tmp_path / "a.spacy")
    assert ["tokens" in doc_to_record(doc) for doc in docs] == [False, True]
    assert found(problems) == {}


def test_jsonl(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "a b", "relations": []}\n')
    docs, _ = read("jsonl", tmp_path)
    assert is_annotated(docs[0], "relations")


# The table


def test_all_formats_have_one_signature():
    for name, format_ in FORMATS.items():
        parameters = list(inspect.signature(format_.read).parameters.values())
        assert [p.name for p in parameters[:3]] == ["path", "nlp", "problems"], name
        assert all(p.kind is p.KEYWORD_ONLY and p.default is not p.empty for p in parameters[3:])
        assert all(ending.startswith(".") for ending in format_.endings)
        assert format_.help
    assert FORMATS["conll"].options["column"] == -1
    assert FORMATS["jsonl"].options == {}


def test_unknown_formats_and_options():
    with pytest.raises(ValueError, match=r"E168.*'conl'.*conll, doccano.*jsonl.*Did you mean 'conll'\?"):
        get_format("conl")
    with pytest.raises(ValueError, match=r"E169.*'jsonl' has no option column\. Its options: none"):
        read("jsonl", "prodigy.jsonl", column=2)


def test_folders(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "b.tsv").write_text("b\tO\n")
    (tmp_path / "sub" / "a.conll").write_text("a\tO\n")
    (tmp_path / "notes.md").write_text("x")
    docs, problems = read("conll", tmp_path)
    assert [doc[0].text for doc in docs] == ["b", "a"]
    assert problems.examples["other_file"] == ["notes.md"]
    with pytest.raises(ValueError, match=r"E166.*\.json.*b\.tsv"):
        read("labelstudio", tmp_path)
    assert [doc[0].text for doc in read("conll", tmp_path, skip=[tmp_path / "b.tsv"])[0]] == ["a"]


def test_counts():
    counts = Counts()
    for doc in read("prodigy", "prodigy.jsonl")[0]:
        counts.add(doc)
    assert (counts.documents, counts.with_sentences) == (4, 0)
    assert counts.entities == {"GGP": 2, "PERSON": 1, "ORG": 1}
    assert counts.relations == {"Binds": 1, "Site": 1}
    assert counts.annotated == {"entities": 3, "relations": 1}
    assert list(counts.by_layer()) == ["entities", "relations"]


def test_the_benchmark_of_corpora_finds_differences(capsys, monkeypatch):
    spec = importlib.util.spec_from_file_location("corpora", GOLDEN.parents[2] / "benchmarks" / "corpora.py")
    corpora = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(corpora)
    monkeypatch.setattr("sys.argv", ["corpora.py", "--data", str(GOLDEN.parent)])
    monkeypatch.setattr(corpora, "CORPORA", {"golden": {"iob2.tsv": corpora.Expected(3, 14, 6, 4, 4)}})
    assert corpora.main() == 0, capsys.readouterr().out
    monkeypatch.setattr(corpora, "CORPORA", {"golden": {"iob2.tsv": corpora.Expected(3, None, 7)}})
    assert corpora.main() == 1
    assert "DIFFERS" in capsys.readouterr().out
    monkeypatch.setattr(corpora, "CORPORA", {"golden": {"none.tsv": corpora.Expected(3, None, 7)}})
    assert corpora.main() == 2
