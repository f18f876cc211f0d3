"""`ie thresholds` on small pipelines, and spaCy's own `find-threshold`."""

import json
import shutil

import pytest
import spacy
from spacy.cli.find_threshold import find_threshold
from spacy.tokens import DocBin
from typer.testing import CliRunner

from spacy_llm_ie.cli import ie_app
from spacy_llm_ie.cli.settings import write_settings
from spacy_llm_ie.cli.thresholds import thresholds
from spacy_llm_ie.data.corpus import create_corpus_v1

from ..events import test_pipes as events
from ..relations import test_pipe as relations

WORDS = {"PERSON": ["Ada", "Omar"], "ORG": ["Arlen", "Bexley", "Cargill", "Dole"], "GPE": ["Omaha", "Lagos"]}
KEYS = {"ie_relations": "rels_micro", "ie_arguments": "args"}


def save(nlp, name, folder):
    """A pipeline that sees few facts because its threshold is much too high, and development data."""
    references = [example.reference for example in (events if name == "ie_arguments" else relations).make_examples(nlp)]
    config = {"components": {name: {"threshold": 0.9999}}}
    nlp.to_disk(folder / "sure")
    nlp = spacy.load(folder / "sure", config=config)
    ruler = nlp.add_pipe("entity_ruler", first=True)
    ruler.add_patterns([{"label": label, "pattern": word} for label, words in WORDS.items() for word in words])
    nlp.meta["performance"] = {f"{KEYS[name]}_f": 0.0, "ents_f": 0.5}
    nlp.to_disk(folder / "model")
    DocBin(docs=references * 4, store_user_data=True).to_disk(folder / "dev.spacy")
    return folder


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    return save(relations.make(steps=4), "ie_relations", tmp_path_factory.mktemp("thresholds"))


@pytest.fixture
def folder(saved, tmp_path):
    shutil.copytree(saved, tmp_path / "copy")
    return tmp_path / "copy"


def contents(path):
    return {file.relative_to(path): file.read_bytes() for file in path.rglob("*") if file.is_file()}


def evaluate(path, data):
    nlp = spacy.load(path)
    return nlp.evaluate(list(create_corpus_v1(data)(nlp)))


def test_the_threshold_is_written_and_the_scores_are_those_of_the_scorer(folder, capsys):
    before = evaluate(folder / "model", folder / "dev.spacy")
    result = thresholds(folder / "model", folder / "dev.spacy")["ie_relations"]
    after = evaluate(folder / "model", folder / "dev.spacy")
    for scores, counts in ((before, result.counts_before), (after, result.counts_after)):
        assert [scores[f"rels_micro_{k}"] for k in "prf"] == pytest.approx(counts[None].prf())
        for label, values in scores["rels_per_type"].items():
            assert list(values.values()) == pytest.approx(counts[label].prf())
    assert after["rels_micro_f"] > before["rels_micro_f"] + 0.5
    nlp = spacy.load(folder / "model")
    cfg = nlp.get_pipe("ie_relations").cfg
    assert cfg["threshold"] == result.after.threshold == nlp.config["components"]["ie_relations"]["threshold"] < 0.99
    assert cfg["given"]["threshold"] == cfg["threshold"] and cfg["thresholds"] == {}
    override = spacy.load(folder / "model", config={"components": {"ie_relations": {"threshold": 0.7}}})
    assert override.get_pipe("ie_relations").cfg["threshold"] == 0.7
    performance = json.loads((folder / "model" / "meta.json").read_text(encoding="utf8"))["performance"]
    assert performance == {"rels_micro_f": pytest.approx(after["rels_micro_f"]), "ents_f": 0.5}
    out = capsys.readouterr().out
    assert f"0.9999 -> {result.after.threshold:g}" in out
    assert "works" in out and "seat" in out


def test_a_dry_run_writes_nothing(folder):
    old = contents(folder)
    args = ["thresholds", str(folder / "model"), str(folder / "dev.spacy"), "--dry-run"]
    found = CliRunner().invoke(ie_app, args)
    assert found.exit_code == 0 and "0.9999 -> 0." in found.output
    assert contents(folder) == old


def test_label_wise_thresholds_are_written(folder):
    """The general threshold of the folder is right for one label; the other has one that is too high."""
    path = folder / "model"
    write_settings(path, "ie_relations", {"threshold": 0.5, "thresholds": {"works": 0.9999}})
    rare = thresholds(path, folder / "dev.spacy", component="ie_relations", per_label=True, least_gold=100)["ie_relations"]
    assert rare.after == rare.before
    result = thresholds(path, folder / "dev.spacy", per_label=True)["ie_relations"]
    assert result.after.threshold == 0.5 and list(result.after.thresholds) == ["works"]
    nlp = spacy.load(path)
    assert nlp.get_pipe("ie_relations").cfg["thresholds"] == result.after.thresholds
    assert nlp.config["components"]["ie_relations"]["thresholds"] == result.after.thresholds
    again = contents(folder)
    assert thresholds(path, folder / "dev.spacy", per_label=True)["ie_relations"].after == result.after
    assert contents(folder) == again


def test_labels_that_a_config_cannot_hold_are_saved_with_the_component(tmp_path):
    texts = [(text, ents, [(h, t, f"per:{r}") for h, t, r in rels]) for text, ents, rels in relations.TEXTS]
    nlp = relations.make(texts=texts)
    nlp.to_disk(tmp_path / "model")
    with pytest.warns(UserWarning, match="IE-W320"):
        write_settings(tmp_path / "model", "ie_relations", {"threshold": 0.4, "thresholds": {"per:works": 0.2}})
    for _ in range(2):  # also of what was loaded and saved again
        nlp = spacy.load(tmp_path / "model")
        cfg = nlp.get_pipe("ie_relations").cfg
        assert (cfg["threshold"], cfg["thresholds"]) == (0.4, {"per:works": 0.2})
        assert nlp.config["components"]["ie_relations"]["threshold"] == 0.4
        nlp.to_disk(tmp_path / "model")


def test_arguments_behind_triggers(tmp_path):
    nlp = events.make("ie_arguments", steps=2)
    other = events.make("ie_triggers", steps=30)
    nlp.add_pipe("ie_triggers", source=other, before="ie_arguments")
    save(nlp, "ie_arguments", tmp_path)
    path, data = tmp_path / "model", tmp_path / "dev.spacy"
    nlp = spacy.load(path)
    docs = list(create_corpus_v1(data)(nlp))
    before = nlp.evaluate(docs)
    result = thresholds(path, data)["ie_arguments"]
    assert [before[f"args_{k}"] for k in "prf"] == pytest.approx(result.counts_before[None].prf())
    after = evaluate(path, data)
    assert [after[f"args_{k}"] for k in "prf"] == pytest.approx(result.counts_after[None].prf())
    assert after["args_f"] > before["args_f"] + 0.3
    for role, values in after["args_per_type"].items():
        assert list(values.values()) == pytest.approx(result.counts_after[role].prf())


def test_what_cannot_be_done_is_said(folder, tmp_path):
    spacy.blank("en").to_disk(tmp_path / "blank")
    with pytest.raises(ValueError, match="IE-E320"):
        thresholds(tmp_path / "blank", folder / "dev.spacy")
    with pytest.raises(ValueError, match="IE-E321"):
        thresholds(folder / "model", folder / "dev.spacy", component="entity_ruler")
    plain = tmp_path / "plain.jsonl"
    plain.write_text(json.dumps({"text": "Ada joined Arlen"}) + "\n", encoding="utf8")
    with pytest.raises(ValueError, match="IE-E322"):
        thresholds(folder / "model", plain)


@pytest.mark.slow
def test_find_threshold_of_spacy_works(folder):
    """It sees the same scores, so that none of its eleven values is better than what our search has found."""
    best, score, scores = find_threshold(folder / "model", folder / "dev.spacy", "ie_relations", "threshold", "rels_micro_f")
    assert len(scores) == 11 and scores[1.0] == 0 and best < 1
    result = thresholds(folder / "model", folder / "dev.spacy")["ie_relations"]
    assert result.counts_after[None].prf()[2] >= score - 1e-9
    write_settings(folder / "model", "ie_relations", {"threshold": float(best)})
    assert evaluate(folder / "model", folder / "dev.spacy")["rels_micro_f"] == pytest.approx(score)
