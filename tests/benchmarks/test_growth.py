"""The benchmark of growth on a tiny pipeline: numbers and plots come out, and what it sets up is what it says."""

import json
import sys
from pathlib import Path

import pytest
import spacy

from tests.contract.test_components import make_examples
from tests.contract.test_joint import joint_pipeline
from tests.util import make_tiny_bert

QUESTIONS = ["batch", "entities", "labels", "length", "processes", "stream"]
SMALL = ["--documents", "20", "--words", "40", "--repeats", "1"]


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory):
    folder = tmp_path_factory.mktemp("growth")
    nlp = joint_pipeline(make_tiny_bert(folder / "bert"))
    nlp.initialize(lambda: make_examples(nlp))
    nlp.to_disk(folder / "model")
    return folder / "model"


@pytest.fixture
def growth(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    import growth

    for name, values in {"LENGTHS": (5, 20), "BATCHES": (1, 4), "LABELS": (2, 9), "ENTITIES": (0, 6)}.items():
        monkeypatch.setattr(growth, name, values)
    monkeypatch.setattr(growth, "LONG", 60)
    yield growth
    for name in ("growth", "growth_plots"):
        sys.modules.pop(name, None)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_each_question_has_numbers_and_a_plot(growth, pipeline, tmp_path):
    nlp = spacy.load(pipeline)

    def measure(path, name, settings):  # without new processes, which take seconds to start
        if settings.get("processes") == 2:
            settings = {**settings, "processes": 1}
        return json.loads(json.dumps(getattr(growth, name)(nlp, **settings)))

    file = tmp_path / "growth.json"
    growth.main([str(pipeline), *SMALL, "--output", str(tmp_path / "images"), "--json", str(file)], measure)
    assert sorted(path.name for path in (tmp_path / "images").iterdir()) == [f"growth_{name}.png" for name in QUESTIONS]
    found = json.loads(file.read_text())
    assert sorted(found) == QUESTIONS
    assert [point["length"] for point in found["length"]] == [5, 20]
    assert all(point["speed"] > 0 for point in found["length"] + found["batch"])
    assert len(found["stream"][0]["memory"]) == 20
    file.write_text(json.dumps({"batch": found["batch"]}))
    growth.main([str(pipeline), "--only", "none", "--output", str(tmp_path / "again"), "--json", str(file)], measure)
    assert [path.name for path in (tmp_path / "again").iterdir()] == ["growth_batch.png"]


def test_texts_have_the_length_that_was_asked_for(growth):
    nlp = spacy.blank("en")
    texts = growth.make_texts(nlp, 30, 4)
    assert len(texts) == 4 and all(abs(len(nlp.make_doc(text)) - 30) <= 2 for text in texts)
    numbered = list(growth.numbered(3000))
    assert len(set(numbered)) == 3000


def test_new_labels_find_as_much_as_is_wanted(growth, pipeline):
    nlp = spacy.load(pipeline)
    docs = growth.run_pipe(nlp.get_pipe("transformer"), [nlp.make_doc(text) for text in growth.make_texts(nlp, 40, 3)])
    new = growth.relabel(nlp, docs, 12)
    ner, relations = new.get_pipe("ie_ner"), new.get_pipe("ie_relations")
    assert len(ner.labels) == len(relations.labels) == 12
    growth.calm_tagger(ner, docs, 20)
    docs = growth.run_pipe(ner, docs)
    assert 15 <= sum(len(doc.ents) for doc in docs) <= 25
    growth.calm_pairs(relations, docs, 7)
    assert 5 <= sum(len(doc._.relations) for doc in growth.run_pipe(relations, docs)) <= 9
