"""The score of SemEval-2010 Task 8 against cases that were counted by hand from its definition."""

import runpy
from pathlib import Path

import pytest
import spacy
from spacy.tokens import Doc, Span
from spacy.training import Example

from spacy_llm_ie import Relation
from spacy_llm_ie.data.convert import convert_files
from spacy_llm_ie.data.problems import Problems
from spacy_llm_ie.relations.semeval import LABELS, example_labels, official_scores, read_labels, score_semeval

ROOT = Path(__file__).parents[2]
NAME = "spacy-llm-ie.semeval2010_task8_scorer.v1"
# Gold label, proposed label; None: skipped.
CASES = {
    1: ("Cause-Effect(e1,e2)", "Cause-Effect(e1,e2)"),
    2: ("Cause-Effect(e1,e2)", "Cause-Effect(e2,e1)"),  # wrong direction
    3: ("Cause-Effect(e2,e1)", None),
    4: ("Cause-Effect(e2,e1)", "Other"),
    5: ("Component-Whole(e1,e2)", "Component-Whole(e1,e2)"),
    6: ("Component-Whole(e2,e1)", "Cause-Effect(e2,e1)"),  # wrong relation
    7: ("Other", "Other"),
    8: ("Other", "Component-Whole(e1,e2)"),
    9: ("Other", None),
    10: ("Message-Topic(e1,e2)", "Entity-Origin(e1,e2)"),  # a relation that the key does not have
}
GOLD = {name: gold for name, (gold, _) in CASES.items()}
PROPOSED = {name: label for name, (_, label) in CASES.items() if label is not None}


def prf(correct, proposed, gold):
    p, r = correct / proposed if proposed else 0, correct / gold
    return {"p": p, "r": r, "f": 2 * p * r / (p + r) if correct else 0}


def counted(scores):
    return {name: tuple(found[k] for k in ("correct", "proposed", "gold")) for name, found in scores["per_type"].items()}


def means(scores, kind):
    return {k: scores[f"{kind}_{k}"] for k in "prf"}


def test_official_evaluation():
    """Cause-Effect: 1 right of 3 proposed (ids 1, 6, and 2 in the wrong direction) and of 4; Component-Whole: 1 of 2 and of 2."""
    scores = official_scores(GOLD, PROPOSED)["official"]
    assert counted(scores) == {
        "Cause-Effect": (1, 3, 4),
        "Component-Whole": (1, 2, 2),
        "Message-Topic": (0, 0, 1),
        "Other": (1, 2, 3),
    }
    assert {name: found["wrong_direction"] for name, found in scores["per_type"].items() if found["wrong_direction"]} == {
        "Cause-Effect": 1
    }
    for name, counts in counted(scores).items():
        assert {k: scores["per_type"][name][k] for k in "prf"} == pytest.approx(prf(*counts))
    assert means(scores, "macro") == pytest.approx({"p": 5 / 18, "r": 1 / 4, "f": 11 / 42})
    assert means(scores, "micro") == pytest.approx(prf(2, 5, 7))
    assert (scores["correct"], scores["proposed"], scores["gold"]) == (2, 5, 7)
    assert scores["accuracy"] == pytest.approx(3 / 8)
    assert scores["accuracy_skipped_wrong"] == pytest.approx(3 / 10)
    assert scores["accuracy_skipped_other"] == pytest.approx(4 / 10)
    assert scores["coverage"] == pytest.approx(8 / 10)
    assert scores["confusion"]["Cause-Effect"] == {
        "Cause-Effect": 1,
        "Component-Whole": 0,
        "Message-Topic": 0,
        "Other": 1,
        "Entity-Origin": 0,
    }


def test_evaluation_ignoring_directionality():
    scores = official_scores(GOLD, PROPOSED)["undirected"]
    assert counted(scores)["Cause-Effect"] == (2, 3, 4)
    assert scores["macro_f"] == pytest.approx((4 / 7 + 1 / 2) / 3)
    assert means(scores, "micro") == pytest.approx(prf(3, 5, 7))
    assert scores["accuracy"] == pytest.approx(4 / 8)


def test_evaluation_with_each_direction_as_a_label():
    scores = official_scores(GOLD, PROPOSED)["directed"]
    assert counted(scores) == {
        "Cause-Effect(e1,e2)": (1, 1, 2),
        "Cause-Effect(e2,e1)": (0, 2, 2),
        "Component-Whole(e1,e2)": (1, 2, 1),
        "Component-Whole(e2,e1)": (0, 0, 1),
        "Message-Topic(e1,e2)": (0, 0, 1),
        "Other": (1, 2, 3),
    }
    assert scores["macro_f"] == pytest.approx((2 / 3 + 0 + 2 / 3 + 0 + 0) / 5)
    assert means(scores, "micro") == pytest.approx(prf(2, 5, 7))
    assert scores["accuracy"] == pytest.approx(3 / 8)


def test_the_wrong_direction_costs_precision_and_recall():
    """A key with both directions: that it counts against both is not what an F1 over 18 labels says of either."""
    gold = {1: "Entity-Origin(e1,e2)", 2: "Entity-Origin(e1,e2)", 3: "Entity-Origin(e1,e2)", 4: "Entity-Origin(e2,e1)"}
    turned = {**gold, 3: "Entity-Origin(e2,e1)"}
    scores = official_scores(gold, turned)
    assert means(scores["official"], "macro") == pytest.approx(prf(3, 4, 4))
    assert scores["directed"]["macro_f"] == pytest.approx((prf(2, 2, 3)["f"] + prf(1, 2, 1)["f"]) / 2)
    assert scores["undirected"]["macro_f"] == 1.0
    only_turned = official_scores({1: "Entity-Origin(e1,e2)"}, {1: "Entity-Origin(e2,e1)"})["official"]
    assert counted(only_turned) == {"Entity-Origin": (0, 1, 1)}
    assert only_turned["macro_f"] == only_turned["accuracy"] == 0.0


def test_skipped_ids_score_as_other_and_the_order_does_not_matter():
    filled = {**dict.fromkeys(GOLD, "Other"), **PROPOSED}
    backwards = dict(reversed(list(PROPOSED.items())))
    for name in ("official", "undirected", "directed"):
        ours, other = official_scores(GOLD, PROPOSED)[name], official_scores(GOLD, filled)[name]
        assert means(ours, "macro") == means(other, "macro")
        assert means(ours, "micro") == means(other, "micro")
        assert ours["accuracy_skipped_other"] == other["accuracy"]
    assert official_scores(GOLD, backwards) == official_scores(GOLD, PROPOSED)


@pytest.mark.parametrize(("gold", "proposed"), [({}, {}), ({1: "Other"}, {}), ({1: "Other"}, {1: "Message-Topic(e1,e2)"})])
def test_nothing_to_divide_by_is_zero(gold, proposed):
    for scores in official_scores(gold, proposed).values():
        assert {*means(scores, "macro").values(), *means(scores, "micro").values()} == {0.0}


def test_labels_and_ids_are_checked():
    assert len(LABELS) == 19
    with pytest.raises(ValueError, match=r"\[IE-E310\].*11"):
        official_scores(GOLD, {11: "Other"})
    for label in ("Cause-Effect", "other", "Cause-Effect(e1,e1)", "Seat(e1,e2)"):
        with pytest.raises(ValueError, match="IE-E311"):
            official_scores({1: label}, {})
        with pytest.raises(ValueError, match="IE-E311"):
            official_scores({1: "Other"}, {1: label})


def write(path, text):
    path.write_text(text, encoding="utf8", newline="")
    return path


def test_files_of_labels(tmp_path):
    key = write(tmp_path / "key.txt", "7\tOther\r\n3\tCause-Effect(e2,e1)\r\n\r\n")
    assert read_labels(key) == {7: "Other", 3: "Cause-Effect(e2,e1)"}
    for text in ("1 Other\n", "1\tOthers\n", "x\tOther\n", "1\tCause-Effect\n", '1\t"No label."\n'):
        with pytest.raises(ValueError, match=r"\[IE-E312\] bad.txt:[24]"):
            read_labels(write(tmp_path / "bad.txt", "9\tOther\n" + text))
    with pytest.raises(ValueError, match=r"\[IE-E313\] bad.txt:2.*7"):
        read_labels(write(tmp_path / "bad.txt", "7\tOther\n7\tOther\n"))


def test_a_corpus_is_a_key_too(references, tmp_path):
    labels = read_labels(tmp_path / "TRAIN_FILE.TXT")
    assert labels == {10 + i: label for i, (_, label) in enumerate(SENTENCES)}
    with pytest.raises(ValueError, match=r"\[IE-E312\] bad.txt:2"):
        read_labels(write(tmp_path / "bad.txt", '1\t"One."\n2\t"Two."\nOther\n'))


def lines_of(labels):
    return "".join(f"{name}\t{label}\n" for name, label in labels.items())


def test_report(tmp_path, monkeypatch, capsys):
    script = str(ROOT / "benchmarks" / "semeval_scorer.py")
    key, proposed = write(tmp_path / "key.txt", lines_of(GOLD)), write(tmp_path / "proposed.txt", lines_of(PROPOSED))
    main = runpy.run_path(script)["main"]
    monkeypatch.setattr("sys.argv", [script, str(key), str(proposed)])
    assert main() == 0
    lines = capsys.readouterr().out.split("\n")
    assert lines[0].startswith("!!!WARNING!!! The proposed file contains 1 label(s) of type 'Entity-Origin(e1,e2)'")
    for line in (
        "         C-E  C-W  M-T  _O_  *EO <-- classified as",
        "  C-E |   1    0    0    1    0 |    2     1     1      4",
        " -SUM-    2    2    0    2    1      7     1     2     10",
        "Accuracy (considering all skipped examples as Other) = 4/10 = 40.00%",
        "             Cause-Effect :    P =    1/(   2 +   1) =  33.33%     R =    1/   4 =  25.00%     F1 =  28.57%",
        "P =    2/   5 =  40.00%     R =    2/   7 =  28.57%     F1 =  33.33%",
        "P =  27.78%\tR =  25.00%\tF1 =  26.19%",
    ):
        assert line in lines
    assert lines[-2].endswith("macro-averaged F1 = 26.19% >>>")
    monkeypatch.setattr("sys.argv", [script, str(proposed), str(key)])
    assert main() == 1
    assert "IE-E310" in capsys.readouterr().err


SENTENCES = [
    ("The <e1>fire</e1> came from a <e2>spark</e2> in the hay.", "Cause-Effect(e2,e1)"),
    ("The <e1>wheel</e1> of a <e2>cart</e2> broke.", "Component-Whole(e1,e2)"),
    ("A <e1>man</e1> saw the <e2>sea</e2>.", "Other"),
    ("The <e1>tea</e1>pot has a <e2>lid</e2>.", "Component-Whole(e2,e1)"),  # e1 does not end where a token does
]


@pytest.fixture
def references(tmp_path):
    """Documents 10, 11, 12, 13, read as the corpus is; the last has one nominal only."""
    text = "".join(f'{10 + i}\t"{text}"\r\n{label}\r\nComment:\r\n\r\n' for i, (text, label) in enumerate(SENTENCES))
    path = write(tmp_path / "TRAIN_FILE.TXT", text)
    return list(convert_files("semeval2010-task8", path, spacy.blank("en"), Problems()))


def predict(reference, *relations):
    """The reference's text with relations between words: (head, tail, label, probability)."""
    doc = Doc(reference.vocab, words=[t.text for t in reference], spaces=[bool(t.whitespace_) for t in reference])
    words = {token.text: Span(doc, token.i, token.i + 1, label="NOMINAL") for token in doc}
    doc._.relations = [Relation(words[head], words[tail], label, score) for head, tail, label, score in relations]
    return Example(doc, reference)


def test_documents_become_labels(references):
    fire, cart, sea, tea = references
    examples = [
        predict(
            fire,
            ("fire", "spark", "Cause-Effect", 0.6),
            ("spark", "fire", "Cause-Effect", 0.7),
            ("fire", "spark", "Message-Topic", 0.65),
            ("hay", "fire", "Component-Whole", 0.9),
        ),
        predict(cart, ("cart", "wheel", "Component-Whole", 0.2)),
        predict(sea),
        predict(tea, ("lid", "teapot", "Component-Whole", 0.9)),
    ]
    gold, proposed = example_labels(examples)
    assert gold == {10: "Cause-Effect(e2,e1)", 11: "Component-Whole(e1,e2)", 12: "Other"}
    assert proposed == {10: "Cause-Effect(e2,e1)", 11: "Component-Whole(e2,e1)", 12: "Other"}
    missing = Example(Doc(sea.vocab, words=[t.text for t in sea], spaces=[bool(t.whitespace_) for t in sea]), sea)
    assert example_labels([missing])[1] == {12: "Other"}


def test_without_an_id_each_positions_count(references):
    fire, cart, sea, _ = references
    assert list(example_labels([predict(fire), predict(cart), predict(fire)])[0]) == [0, 1, 2]
    del cart.user_data["meta"]
    assert example_labels([predict(sea), predict(cart)])[0] == {0: "Other", 1: "Component-Whole(e1,e2)"}


def test_documents_not_annotated_with_relations_are_left_out(references):
    fire, cart, _, _ = references
    del cart.spans["ie_relations"]
    assert list(example_labels([predict(cart), predict(fire)])[0]) == [10]


def test_a_reference_with_other_relations_is_an_error(references):
    fire = references[0]
    first, second = fire.ents
    other = Span(fire, 0, 1)
    for relations in (
        [Relation(first, second, "Cause-Effect"), Relation(second, first, "Cause-Effect")],
        [Relation(first, other, "Cause-Effect")],
    ):
        fire._.relations = relations
        with pytest.raises(ValueError, match="IE-E314"):
            example_labels([predict(fire)])


def test_scores_of_documents(references):
    """Cause-Effect is right; Component-Whole is in the wrong direction; sea is rightly Other; tea has no pair to score."""
    fire, cart, sea, tea = references
    scores = score_semeval(
        [
            predict(fire, ("spark", "fire", "Cause-Effect", 0.7)),
            predict(cart, ("cart", "wheel", "Component-Whole", 0.9)),
            predict(sea),
            predict(tea),
        ],
        unknown="setting",
    )
    assert scores["semeval_macro_f"] == pytest.approx(1 / 2)
    assert scores["semeval_micro_f"] == pytest.approx(1 / 2)
    assert scores["semeval_accuracy"] == pytest.approx(2 / 3)
    assert scores["semeval_undirected_macro_f"] == 1.0
    assert scores["semeval_directed_macro_f"] == pytest.approx(1 / 2)
    assert scores["semeval_per_type"] == {"Cause-Effect": prf(1, 1, 1), "Component-Whole": prf(0, 1, 1)}
    assert scores["semeval_left_out"] == 1
    assert scores["rels_micro_p"] == pytest.approx(1 / 2)
    with pytest.raises(ValueError, match="IE-E311"):
        score_semeval([predict(fire, ("spark", "fire", "starts", 0.7))])


def test_without_gold_relations_there_is_no_score(references):
    for examples in ([], [predict(references[2])]):
        scores = score_semeval(examples)
        assert {name for name, value in scores.items() if name.startswith("semeval") and value is not None} == {
            "semeval_left_out"
        }


def test_as_the_scorer_of_the_component(references):
    spacy.util.fix_random_seed(0)
    nlp = spacy.blank("en")
    nlp.add_pipe("ie_relations", config={"scorer": {"@scorers": NAME}})
    assert nlp.config["components"]["ie_relations"]["scorer"] == {"@scorers": NAME}
    train = [Example(doc.copy(), doc) for doc in references[:3]]
    sgd = nlp.initialize(lambda: train)
    sgd.learn_rate = 0.003
    for _ in range(25):
        nlp.update(train, sgd=sgd)
    examples = []
    for doc in references[:3]:
        given = Doc(nlp.vocab, words=[t.text for t in doc], spaces=[bool(t.whitespace_) for t in doc])
        given.set_ents([Span(given, ent.start, ent.end, label=ent.label_) for ent in doc.ents])
        examples.append(Example(given, doc))
    scores = nlp.evaluate(examples)
    assert scores["semeval_macro_f"] == scores["semeval_accuracy"] == 1.0
    assert scores["rels_micro_f"] == scores["rels_candidate_recall"] == 1.0
