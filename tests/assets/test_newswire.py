"""The corpus that ships keeps the promises of assets/newswire/GUIDE.md."""

import json
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path

import pytest
import spacy

FOLDER = Path(__file__).parents[2] / "assets" / "newswire"
sys.path.insert(0, str(FOLDER))
import build  # noqa: E402

SPLITS = ("train", "dev", "test")
# Institutions that stand for no invented company and may stand in several documents.
GENERIC = {"High Court", "Supreme Court", "Labour Court", "Competition Authority", "Court of Appeal"}


@pytest.fixture(scope="module")
def corpus():
    return {s: [json.loads(x) for x in (FOLDER / f"{s}.jsonl").read_text(encoding="utf8").splitlines()] for s in SPLITS}


@pytest.fixture(scope="module")
def records(corpus):
    return [record for split in SPLITS for record in corpus[split]]


def surface(record, span):
    return record["text"][span["start"] : span["end"]]


def test_files_are_what_the_sources_say():
    done = subprocess.run([sys.executable, str(FOLDER / "build.py"), "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_size_and_variety(corpus, records):
    assert len(records) >= 400
    assert {split: len(corpus[split]) for split in SPLITS} == {"train": 755, "dev": 85, "test": 85}
    styles = Counter(record["meta"]["style"] for record in records)
    assert set(styles) == set(build.STYLES)
    assert min(styles.values()) >= 30
    assert 0.10 < sum(not record["events"] for record in records) / len(records) < 0.25
    assert sum(len(record["events"]) > 1 for record in records) > len(records) / 4
    for split in SPLITS:
        assert {e["label"] for r in corpus[split] for e in r["entities"]} == set(build.ENTITIES)
        assert {x["label"] for r in corpus[split] for x in r["relations"]} == set(build.RELATIONS)
        assert {x["label"] for r in corpus[split] for x in r["events"]} == set(build.EVENTS)


def test_spans_lie_on_token_borders_and_are_flat(records):
    nlp = spacy.blank("en")
    for record in records:
        doc = nlp.make_doc(record["text"])
        spans = [*record["entities"], *(event["trigger"] for event in record["events"])]
        for span in spans:
            assert doc.char_span(span["start"], span["end"]) is not None, (record["meta"]["id"], surface(record, span))
            assert surface(record, span).strip() == surface(record, span) != ""
        ordered = sorted((span["start"], span["end"]) for span in spans)
        assert all(a[1] <= b[0] for a, b in zip(ordered, ordered[1:])), record["meta"]["id"]


def test_ids_and_types_of_relations_and_roles(records):
    names = [record["meta"]["id"] for record in records]
    assert len(set(names)) == len(names)
    for record in records:
        labels = {entity["id"]: entity["label"] for entity in record["entities"]}
        assert len(labels) == len(record["entities"])
        for relation in record["relations"]:
            assert (labels[relation["head"]], labels[relation["tail"]]) == build.RELATIONS[relation["label"]]
            assert relation["head"] != relation["tail"]
        for event in record["events"]:
            for argument in event["arguments"]:
                assert labels[argument["entity"]] in build.EVENTS[event["label"]][argument["role"]]


def test_each_fact_stands_once_a_document(records):
    for record in records:
        text = {entity["id"]: surface(record, entity) for entity in record["entities"]}
        facts = [(text[r["head"]], r["label"], text[r["tail"]]) for r in record["relations"]]
        assert len(set(facts)) == len(facts), (record["meta"]["id"], facts)


def test_what_a_guide_implies_is_there(records):
    """An appointment or departure with an organisation implies employed_by, a launch implies makes."""
    for record in records:
        text = {entity["id"]: surface(record, entity) for entity in record["entities"]}
        linked = defaultdict(set)
        for relation in record["relations"]:
            linked[relation["label"]].update(f"{text[relation['head']]} {text[relation['tail']]}".lower().split())
        for event in record["events"]:
            roles = defaultdict(list)
            for argument in event["arguments"]:
                roles[argument["role"]].append(text[argument["entity"]])
            if event["label"] in ("appointment", "departure") and roles["org"]:
                gpe = {text[e["id"]] for e in record["entities"] if e["label"] == "GPE"}
                if not set(roles["org"]) <= gpe:
                    for person in roles["person"]:  # by whatever part of the name
                        assert linked["employed_by"].intersection(person.lower().split()), (record["meta"]["id"], dict(roles))
            if event["label"] == "launch" and roles["maker"]:
                for product in roles["product"]:
                    assert linked["makes"].intersection(product.lower().split()), (record["meta"]["id"], dict(roles))


def grams(text, n=5):
    words = text.lower().split()
    return {tuple(words[i : i + n]) for i in range(len(words) - n + 1)}


def test_no_duplicate_or_near_duplicate_texts(records):
    seen = [(record["meta"]["id"], grams(record["text"])) for record in records]
    for i, (name, some) in enumerate(seen):
        for other, more in seen[:i]:
            shared = len(some & more)
            assert shared <= 0.3 * min(len(some), len(more)), (name, other)


def test_no_invented_name_stands_in_two_splits(corpus):
    where = defaultdict(set)
    for split in SPLITS:
        for record in corpus[split]:
            for entity in record["entities"]:
                if entity["label"] in ("PERSON", "ORG") and " " in surface(record, entity):
                    where[surface(record, entity)].add(split)
    shared = {name for name, splits in where.items() if len(splits) > 1} - GENERIC
    assert not shared


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("== train flash\n[A](o1 ORG) [B](o1 ORG)", "x.txt:2: id o1 is used twice"),
        ("== train flash\n[A](o1 FIRM)", "x.txt:2: unknown label FIRM"),
        ("== train flash\n[A ](o1 ORG)", "x.txt:2: span 'A '"),
        ("== train flash\n[A](o1 ORG) and [B", "x.txt:2: a bracket is left over"),
        ("== train poem\nA", "x.txt:1: expected '== SPLIT STYLE'"),
        ("A", "x.txt:1: text before"),
        ("== train flash\n[A](o1 ORG) [B](g1 GPE)\n-- o1 makes g1", "x.txt:3: o1 makes g1 joins"),
        ("== train flash\n[A](o1 ORG)\n-- o1 owns o2", "x.txt:3: not a relation|x.txt:3: no span"),
        ("== train flash\n[A](o1 ORG) [buys](x1 !acquisition)\n-- x1 price=o1", "x.txt:3: price=o1 does not fit"),
    ],
)
def test_a_slip_in_the_mark_up_is_named_with_its_line(lines, message, tmp_path):
    (tmp_path / "x.txt").write_text(lines, encoding="utf8")
    with pytest.raises(build.MarkupError, match=message):
        build.build(tmp_path)
