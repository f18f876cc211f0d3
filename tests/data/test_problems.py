from spacy_llm_ie.data.problems import KINDS, Problems


def test_counts_and_keeps_the_first_examples():
    problems = Problems(max_examples=2)
    for line in range(1, 5):
        problems.add("repaired", f"a.tsv:{line}", "I-X after O")
    problems.add("overlap", "b.jsonl:1", count=7)
    assert problems.total == 11
    assert problems.counts == {"repaired": 4, "overlap": 7}
    assert problems.kinds() == ["overlap", "repaired"]
    assert problems.render().split("\n") == [
        "7 x overlapping entities (the longest is in doc.ents, all are in doc.spans['ie_entities'])",
        "    b.jsonl:1",
        "4 x tag that does not follow the scheme (repaired)",
        "    a.tsv:1: I-X after O",
        "    a.tsv:2: I-X after O",
        "    ...",
    ]


def test_notes_are_no_problems():
    problems = Problems()
    problems.add("not_accepted", "a.jsonl:1", "answer is reject")
    assert problems.total == 0
    assert problems.render() == ""
    assert problems.render(notes=True).startswith("1 x record that was not accepted (skipped)")


def test_kinds_of_ones_own_count():
    problems = Problems()
    problems.add("my own kind", "x:1")
    assert problems.total == 1
    assert problems.render() == "1 x my own kind\n    x:1"


def test_merge():
    one, two = Problems(max_examples=2), Problems()
    one.add("overlap", "a:1")
    for line in range(3):
        two.add("overlap", f"b:{line}")
    two.add("empty", "b:9")
    one.merge(two)
    assert one.counts == {"overlap": 4, "empty": 1}
    assert one.examples["overlap"] == ["a:1", "b:0"]
    assert two.counts["overlap"] == 3


def test_nothing_found():
    assert Problems().total == 0
    assert Problems().render() == ""
    assert all(kind.title for kind in KINDS.values())
