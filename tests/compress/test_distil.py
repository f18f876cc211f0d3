"""Whole pipelines from whole pipelines: texts and gold, several teachers, hard labels, what cannot be done."""

import json
import random

import numpy
import pytest
import spacy
from spacy.tokens import DocBin, Span
from spacy.training import Example
from spacy.util import load_config
from thinc.api import Adam

from spacy_llm_ie import Event, Relation, mark_missing
from spacy_llm_ie.compress.distil import Settings, TaughtPipeline, distil, read_texts, score_on_dev
from spacy_llm_ie.compress.teachers import ask_teachers, learn_from_documents, plan_teaching
from spacy_llm_ie.events.arguments import MARK
from tests.compress.students import NAMES, make_config, make_joint, write_texts
from tests.contract.test_components import FACTORIES, GOLD, TEXTS, make_examples, train


@pytest.fixture(scope="module")
def teacher():
    nlp = make_joint()
    train(nlp, steps=50, rate=0.01)
    assert all(facts(nlp, name) == GOLD[name] for name in NAMES)
    return nlp


@pytest.fixture
def dev(tmp_path):
    path = tmp_path / "dev.spacy"
    DocBin(docs=[example.reference for example in make_examples(spacy.blank("en"))]).to_disk(path)
    return path


def facts(nlp, name):
    return [[row[:-1] for row in FACTORIES[name].answer(doc)] for doc in nlp.pipe(text for text, _ in TEXTS)]


def config_of(path, dev, names=NAMES, train=None, **kwargs):
    overrides = {"paths.dev": str(dev), "paths.train": None if train is None else str(train)}
    return load_config(make_config(path / "student.cfg", names, **kwargs), overrides=overrides)


def test_a_student_learns_every_task_from_texts_alone(teacher, dev, tmp_path):
    config = config_of(tmp_path, dev)
    done = distil([teacher], config, tmp_path / "out", texts=write_texts(tmp_path / "raw.jsonl"))
    assert [(plan.name, plan.teacher, plan.pipe) for plan in done.plans] == [(name, 0, name) for name in NAMES]
    assert done.counts == {"gold": 0, "texts": 4}
    student = spacy.load(tmp_path / "out" / "model-last")
    for name in NAMES:
        assert facts(student, name) == GOLD[name], name
        assert student.get_pipe(name).label_data == teacher.get_pipe(name).label_data
    scores = score_on_dev(student)
    assert {scores[key] for key in ("ents_f", "rels_micro_f", "triggers_f", "args_f")} == {1.0}
    theirs = score_on_dev(student, [teacher], done.plans)
    assert {theirs[key] for key in ("ents_f", "rels_micro_f", "triggers_f", "args_f")} == {1.0}


def test_labels_in_the_texts_are_not_read(teacher, dev, tmp_path):
    """The texts say that everything is a PERSON; the teacher knows better."""
    records = [{"text": text, "entities": [{"start": 0, "end": 3, "label": "PERSON"}]} for text, _ in TEXTS]
    (tmp_path / "raw.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf8")
    config = config_of(tmp_path, dev, names=("ie_ner",))
    distil([teacher], config, tmp_path / "out", texts=tmp_path / "raw.jsonl")
    assert facts(spacy.load(tmp_path / "out" / "model-last"), "ie_ner") == GOLD["ie_ner"]


def test_gold_counts_as_much_as_its_weight(teacher, dev, tmp_path):
    """Where gold and teacher disagree, the weight decides who is believed."""
    nlp = spacy.blank("en")
    docs = [example.reference for example in make_examples(nlp)]
    for doc in docs:
        doc.set_ents([Span(doc, e.start, e.end, label="GPE") for e in doc.ents])
    DocBin(docs=docs).to_disk(tmp_path / "train.spacy")
    for weight, expected in ((0.1, GOLD["ie_ner"][0]), (0.9, [(s, e, "GPE") for s, e, _ in GOLD["ie_ner"][0]])):
        config = config_of(tmp_path, dev, names=("ie_ner",), train=tmp_path / "train.spacy")
        distil([teacher], config, tmp_path / "out", settings=Settings(gold_weight=weight))
        assert facts(spacy.load(tmp_path / "out" / "model-last"), "ie_ner")[0] == expected


# Two teachers that were trained on different corpora.

PEOPLE, FIRMS, PLACES = (
    ["Ada Quill", "Omar Lind", "Ines Rott"],
    ["Arlen Foods", "Bexley Grain", "Corda Steel"],
    ["Omaha", "Lagos"],
)
SENTENCES = {"work": "{person} joined {firm} , a firm of {place} .", "court": "{firm} of {place} sued {person} ."}


def write_sentences(nlp, kind):
    """Sentences of one kind with entities, and the relation that each firm has its seat in the place."""
    docs = []
    for person in PEOPLE:
        for firm in FIRMS:
            for place in PLACES:
                doc = nlp.make_doc(SENTENCES[kind].format(person=person, firm=firm, place=place))
                words = [token.text for token in doc]
                spans = []
                for text, label in ((person, "PERSON"), (firm, "ORG"), (place, "GPE")):
                    first = words.index(text.split()[0])
                    spans.append(Span(doc, first, first + len(text.split()), label=label))
                doc.set_ents(spans)
                doc._.relations = [Relation(spans[1], spans[2], "headquartered_in")]
                docs.append(doc)
    random.Random(0).shuffle(docs)
    return docs


def train_on(nlp, docs, steps=30):
    examples = [Example(nlp.make_doc(doc.text), doc) for doc in docs]
    sgd = nlp.initialize(lambda: examples)
    sgd.learn_rate = 0.01
    for _ in range(steps):
        nlp.update(examples, sgd=sgd)


def test_a_student_of_two_teachers_has_the_skills_of_both(tmp_path):
    """Entities from one that saw no relation, relations from one that cannot find entities, trained on other sentences."""
    spacy.util.fix_random_seed(0)
    small = {"model": {"tok2vec": {"width": 32, "depth": 2, "embed_size": 500}}}
    finder, linker = spacy.blank("en"), spacy.blank("en")
    finder.add_pipe("ie_ner", config=small)
    linker.add_pipe("ie_relations", config=small)
    work, court = write_sentences(finder, "work"), write_sentences(linker, "court")
    for doc in work:
        mark_missing(doc, "relations")
    train_on(finder, work)
    train_on(linker, court)
    assert not linker(court[0].text).ents and not linker(court[0].text)._.relations
    assert not finder(work[0].text)._.relations
    everything = [*write_sentences(finder, "work"), *write_sentences(finder, "court")]
    DocBin(docs=everything).to_disk(tmp_path / "dev.spacy")
    texts = write_texts(tmp_path / "raw.jsonl", [doc.text for doc in everything])
    config = config_of(tmp_path, tmp_path / "dev.spacy", names=("ie_ner", "ie_relations"), steps=60)
    done = distil([finder, linker], config, tmp_path / "out", texts=texts, assigned={"ie_relations": 1})
    assert [(plan.name, plan.teacher) for plan in done.plans] == [("ie_ner", 0), ("ie_relations", 1)]
    student = spacy.load(tmp_path / "out" / "model-last")
    scores = {
        kind: student.evaluate([Example(student.make_doc(d.text), d) for d in write_sentences(student, kind)])
        for kind in SENTENCES
    }
    assert scores["work"]["ents_f"] == 1.0  # the first teacher's skill
    assert scores["court"]["rels_micro_f"] > 0.9  # the second one's, on entities that the student has found itself


def test_pairs_are_made_of_what_the_student_will_have(teacher, dev, tmp_path):
    """Gold entities where the text has gold ones, and otherwise those of the teacher of entities."""
    student = make_joint()
    student.initialize(lambda: make_examples(student))
    other = make_joint()
    train(other, steps=1)  # knows nothing yet
    gold = make_examples(student)[0]
    gold.reference.set_ents([Span(gold.reference, 0, 1, label="PERSON"), Span(gold.reference, 6, 7, label="GPE")])
    mark_missing(gold.reference, "relations")
    text = Example(student.make_doc(TEXTS[1][0]), student.make_doc(TEXTS[1][0]))
    plans = plan_teaching(student, [teacher, other], {"ie_relations": 1, "ie_arguments": 1})
    labelled, plain = ask_teachers(student, [gold, text], [teacher, other], plans)
    assert labelled["ie_relations"].candidates.spans == [(0, 1, "PERSON"), (6, 7, "GPE")]
    assert plain["ie_relations"].candidates.spans == GOLD["ie_ner"][1]
    assert (4, 5, MARK + "lawsuit") in plain["ie_arguments"].candidates.spans
    assert labelled["ie_ner"].tags.shape == (len(gold.predicted), 13)


# Teachers without components of ours.


def make_ruler():
    nlp = spacy.blank("en")
    ruler = nlp.add_pipe("entity_ruler")
    patterns = (("COMPANY", "Arlen Foods"), ("COMPANY", "Bexley Grain"), ("PERSON", "Ada Quill"), ("PLACE", "Omaha"))
    ruler.add_patterns([{"label": label, "pattern": text} for label, text in patterns])
    return nlp


def test_any_pipeline_that_sets_entities_teaches_by_them(dev, tmp_path):
    config = config_of(tmp_path, dev, names=("ie_ner",))
    settings = Settings(label_map={"COMPANY": "ORG", "PLACE": ""})
    done = distil([make_ruler()], config, tmp_path / "out", texts=write_texts(tmp_path / "raw.jsonl"), settings=settings)
    assert done.plans[0].pipe is None
    found = done.found["entities"]
    assert (dict(found.copied), dict(found.dropped), found.texts) == ({"ORG": 3, "PERSON": 2}, {"PLACE": 1}, 4)
    student = spacy.load(tmp_path / "out" / "model-last")
    assert student.get_pipe("ie_ner").labels == ("ORG", "PERSON")
    assert facts(student, "ie_ner")[0] == [(0, 2, "PERSON"), (3, 5, "ORG")]
    teachers = score_on_dev(student, [make_ruler()], done.plans, settings.label_map)
    assert teachers["ents_p"] == 1.0
    assert teachers["ents_r"] == 5 / 9


def test_hard_labels_do_not_replace_gold():
    student = make_joint()
    gold, text = make_examples(student)[0], Example(student.make_doc(TEXTS[1][0]), student.make_doc(TEXTS[1][0]))
    ruler = make_ruler()
    found = learn_from_documents([gold, text], [ruler], plan_teaching(student, [ruler]))
    assert [ent.label_ for ent in gold.reference.ents] == ["PERSON", "ORG", "GPE"]
    assert [ent.label_ for ent in text.reference.ents] == ["COMPANY"]
    assert [found[layer].texts for layer in ("entities", "relations", "events")] == [1, 0, 0]
    assert not found["relations"].copied and not found["events"].copied
    with pytest.raises(ValueError, match=r"IE-E554.*ie_relations.*wrote no relations on the 1 .*entity_ruler"):
        learn_from_documents([text], [ruler], plan_teaching(student, [ruler]))


def test_hard_labels_of_relations_and_events_count_too(teacher):
    """A teacher whose components are of another make, but which writes relations and events."""

    @spacy.Language.component("tests_facts_of_another_make")
    def write(doc):
        found = teacher(doc.text)
        doc.set_ents([Span(doc, e.start, e.end, label=e.label_) for e in found.ents])
        relations = [(Span(doc, r.head.start, r.head.end, label=r.head.label_), r) for r in found._.relations]
        doc._.events = [Event(Span(doc, e.trigger.start, e.trigger.end), e.label) for e in found._.events]
        doc._.relations = [Relation(h, Span(doc, r.tail.start, r.tail.end, label=r.tail.label_), r.label) for h, r in relations]
        return doc

    other, student = spacy.blank("en"), make_joint()
    other.add_pipe("tests_facts_of_another_make")
    examples = [Example(student.make_doc(text), student.make_doc(text)) for text, _ in TEXTS]
    plans = plan_teaching(student, [other])
    found = learn_from_documents(examples, [other], plans, {"GPE": "PLACE"})
    assert dict(found["relations"].copied) == {"employed_by": 2, "headquartered_in": 2}
    assert dict(found["events"].copied) == {"appointment": 2, "lawsuit": 1}
    assert [event.label for event in examples[1].reference._.events] == ["lawsuit"]
    assert {r.tail.label_ for r in examples[0].reference._.relations} == {"ORG", "PLACE"}
    again = [Example(student.make_doc(TEXTS[0][0]), student.make_doc(TEXTS[0][0]))]
    dropped = learn_from_documents(again, [other], plans, {"GPE": ""})
    assert dict(dropped["relations"].dropped) == {"headquartered_in": 1}


# The loop.


def test_without_lessons_an_update_is_that_of_spacy():
    first, second = make_joint(), make_joint()
    for nlp in (first, second):
        nlp.initialize(lambda: make_examples(make_joint()))
    second.from_bytes(first.to_bytes())
    losses = [{}, {}]
    first.update(make_examples(first), losses=losses[0], sgd=False)
    TaughtPipeline(second, {}, Settings()).update(make_examples(second), losses=losses[1])
    assert losses[0] == pytest.approx(losses[1])
    for nlp in (first, second):
        for _, pipe in nlp.pipeline:
            pipe.finish_update(Adam(0.01))
    for name in NAMES:
        assert first.get_pipe(name).model.to_bytes() == second.get_pipe(name).model.to_bytes()


def test_frozen_and_annotating_components_are_those_of_the_config(teacher):
    student = make_joint()
    train(student, steps=2)
    examples = make_examples(student)
    said = ask_teachers(student, examples, [teacher], plan_teaching(student, [teacher]))
    lessons = {id(example): scores for example, scores in zip(examples, said)}
    losses = {}
    seen = []
    student.get_pipe("ie_relations").update = lambda examples, **_: seen.extend(len(eg.predicted.ents) for eg in examples)
    TaughtPipeline(student, lessons, Settings()).update(examples, losses=losses, exclude=["ie_ner"], annotates=["ie_ner"])
    assert "ie_ner" not in losses and losses["ie_triggers"] > 0
    expected = [len(doc.ents) for doc in student.get_pipe("ie_ner").pipe([student.make_doc(text) for text, _ in TEXTS])]
    assert seen == expected
    assert not any(example.predicted.has_annotation("ENT_IOB") for example in examples)


def test_named_components_teach(teacher):
    student = make_joint()
    teacher.rename_pipe("ie_ner", "names")
    try:
        assert plan_teaching(student, [teacher])[0].pipe == "names"  # the only one of its factory
        assert plan_teaching(student, [teacher], None, {"ie_ner": "names"})[0].pipe == "names"
        for names, match in (({"ie_ner": "nobody"}, "IE-E545.*'nobody'.*names"), ({"ner": "names"}, "IE-E545.*'ner'.*ie_ner")):
            with pytest.raises(ValueError, match=match):
                plan_teaching(student, [teacher], None, names)
        assert plan_teaching(student, [teacher], None, {"ie_ner": "ie_triggers"})[0].pipe is None
    finally:
        teacher.rename_pipe("names", "ie_ner")


def test_a_component_may_be_left_to_gold_alone(teacher, dev, tmp_path):
    config = config_of(tmp_path, dev, names=("ie_ner", "ie_triggers"), train=dev)
    settings = Settings(student_to_teacher={"ie_triggers": ""})
    done = distil([teacher], config, tmp_path / "out", texts=write_texts(tmp_path / "raw.jsonl"), settings=settings)
    assert [plan.name for plan in done.plans] == ["ie_ner"]
    student = spacy.load(tmp_path / "out" / "model-last")
    for name in ("ie_ner", "ie_triggers"):
        assert facts(student, name) == GOLD[name]
    assert not (tmp_path / "out" / "labels" / "ie_triggers.json").exists()


def test_what_cannot_be_done_is_said(teacher, dev, tmp_path):
    config = config_of(tmp_path, dev)
    for settings, match in (
        (Settings(temperature=0), "IE-E550.*temperature"),
        (Settings(gold_weight=1.5), "IE-E550.*gold_weight"),
        (Settings(), "IE-E549"),
    ):
        with pytest.raises(ValueError, match=match):
            distil([teacher], config, tmp_path / "out", settings=settings)
    with pytest.raises(ValueError, match="IE-E547"):
        distil([teacher], config, tmp_path / "out", texts=write_texts(tmp_path / "t.jsonl"), settings=Settings(layers=[1]))


def test_labels_that_the_config_gives_are_the_students(teacher, dev, tmp_path):
    given = '\n[initialize]\n\n[initialize.components]\n\n[initialize.components.ie_ner]\nlabels = ["ORG"]\n'
    config = config_of(tmp_path, dev, names=("ie_ner",), extra=given)
    distil([teacher], config, tmp_path / "out", texts=write_texts(tmp_path / "raw.jsonl"))
    student = spacy.load(tmp_path / "out" / "model-last")
    assert student.get_pipe("ie_ner").labels == ("ORG",)
    assert facts(student, "ie_ner") == [[row for row in rows if row[2] == "ORG"] for rows in GOLD["ie_ner"]]


def test_texts_are_read_from_both_formats_and_split_as_the_training_corpus(dev, tmp_path):
    nlp = spacy.blank("en")
    nlp.config["corpora"] = {"train": {"@readers": "spacy-llm-ie.Corpus.v1", "path": None, "max_length": 5}}
    folder = tmp_path / "raw"
    folder.mkdir()
    write_texts(folder / "a.jsonl", ["Ada Quill joined Arlen Foods .", "", "Omaha"])
    dev.rename(folder / "b.spacy")
    found = read_texts(nlp, folder)
    assert [example.reference.text for example in found[:3]] == ["Ada Quill joined Arlen Foods ", ".", "Omaha"]
    assert "".join(e.reference.text for e in found[3:]).replace(" ", "") == "".join(t for t, _ in TEXTS).replace(" ", "")
    assert not any(example.reference.has_annotation("ENT_IOB") or example.reference.spans for example in found)
    assert read_texts(nlp, None) == []
    with pytest.raises(ValueError, match="IE-E165"):
        read_texts(nlp, tmp_path / "nowhere.jsonl")


def test_the_same_seed_gives_the_same_student(teacher, dev, tmp_path):
    vectors = []
    for name in ("one", "two"):
        config = config_of(tmp_path, dev, names=("ie_ner",), steps=5)
        distil([teacher], config, tmp_path / name, texts=write_texts(tmp_path / "raw.jsonl"))
        nlp = spacy.load(tmp_path / name / "model-last")
        vectors.append(numpy.concatenate(nlp.get_pipe("ie_ner").emissions(list(nlp.pipe(text for text, _ in TEXTS)))))
    numpy.testing.assert_array_equal(*vectors)
