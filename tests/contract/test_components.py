"""One suite that every trainable component of ours has to pass."""

import pickle
from typing import Any, Callable, Dict, List, NamedTuple, Optional

import pytest
import spacy
import srsly
import torch
from spacy.lang.en import English
from spacy.language import Language
from spacy.tokens import Doc, DocBin, Span
from spacy.training import Example

from spacy_llm_ie import Argument, Event, Relation
from tests.util import make_tiny_bert

TEXTS = [
    ("Ada Quill joined Arlen Foods in Omaha .", [(0, 9, "PERSON"), (17, 28, "ORG"), (32, 37, "GPE")]),
    ("Bexley Grain of Lagos sued Omar Lind .", [(0, 12, "ORG"), (16, 21, "GPE"), (27, 36, "PERSON")]),
    ("Shares were flat on a quiet day .", []),
    ("Omar Lind joined Bexley Grain , said Ada Quill .", [(0, 9, "PERSON"), (17, 29, "ORG"), (37, 46, "PERSON")]),
]
# On tokens, by component, in the order of TEXTS: what overfitting has to find.
GOLD: Dict[str, List[list]] = {
    "ie_ner": [
        [(0, 2, "PERSON"), (3, 5, "ORG"), (6, 7, "GPE")],
        [(0, 2, "ORG"), (3, 4, "GPE"), (5, 7, "PERSON")],
        [],
        [(0, 2, "PERSON"), (3, 5, "ORG"), (7, 9, "PERSON")],
    ],
    "ie_relations": [
        [(0, 2, 3, 5, "employed_by"), (3, 5, 6, 7, "headquartered_in")],
        [(0, 2, 3, 4, "headquartered_in")],
        [],
        [(0, 2, 3, 5, "employed_by")],
    ],
    "ie_triggers": [[(2, 3, "appointment")], [(4, 5, "lawsuit")], [], [(2, 3, "appointment")]],
    "ie_argument_spans": [
        [(0, 2, "person"), (3, 5, "org"), (6, 7, "place")],
        [(0, 2, "plaintiff"), (5, 7, "defendant")],
        [],
        [(0, 2, "person"), (3, 5, "org")],
    ],
    "ie_arguments": [
        [(2, 3, "appointment", 0, 2, "person"), (2, 3, "appointment", 3, 5, "org"), (2, 3, "appointment", 6, 7, "place")],
        [(4, 5, "lawsuit", 0, 2, "plaintiff"), (4, 5, "lawsuit", 5, 7, "defendant")],
        [],
        [(2, 3, "appointment", 0, 2, "person"), (2, 3, "appointment", 3, 5, "org")],
    ],
}


def annotate(doc: Doc, number: int) -> None:
    """Write all gold annotation of a text on a document."""
    doc.set_ents([Span(doc, *span[:2], label=span[2]) for span in GOLD["ie_ner"][number]])
    ends = {(ent.start, ent.end): ent for ent in doc.ents}
    doc._.relations = [Relation(ends[row[:2]], ends[row[2:4]], row[4]) for row in GOLD["ie_relations"][number]]
    doc._.events = [
        Event(
            Span(doc, *span[:2]),
            span[2],
            arguments=[Argument(row[5], ends[row[3:5]]) for row in GOLD["ie_arguments"][number] if row[:3] == span],
        )
        for span in GOLD["ie_triggers"][number]
    ]


def number_of(doc: Doc) -> Optional[int]:
    texts = [text for text, _ in TEXTS]
    return texts.index(doc.text) if doc.text in texts else None


@Language.component("tests_given_entities")
def give_entities(doc: Doc) -> Doc:
    """Stands for a perfect component before the one under test."""
    if number_of(doc) is not None:
        doc.set_ents([Span(doc, *span[:2], label=span[2]) for span in GOLD["ie_ner"][number_of(doc)]])
    return doc


@Language.component("tests_given_triggers")
def give_triggers(doc: Doc) -> Doc:
    """The same, with events that have no arguments."""
    give_entities(doc)
    if number_of(doc) is not None:
        doc._.events = [Event(Span(doc, *span[:2]), span[2]) for span in GOLD["ie_triggers"][number_of(doc)]]
    return doc


def entity_answer(doc: Doc) -> list:
    return [(e.start, e.end, e.label_, round(e._.score, 5)) for e in doc.ents]


def relation_answer(doc: Doc) -> list:
    return [(r.head.start, r.head.end, r.tail.start, r.tail.end, r.label, round(r.score, 5)) for r in doc._.relations]


def trigger_answer(doc: Doc) -> list:
    events = [(e.trigger.start, e.trigger.end, e.label, round(e.score, 5)) for e in doc._.events]
    assert events == group_answer(doc, "ie_triggers")
    return events


def group_answer(doc: Doc, key: str = "ie_argument_spans") -> list:
    group = doc.spans.get(key)
    scores = group.attrs["scores"] if group is not None else []
    return [(s.start, s.end, s.label_, round(score, 5)) for s, score in zip(group or [], scores, strict=True)]


def argument_answer(doc: Doc) -> list:
    return [
        (e.trigger.start, e.trigger.end, e.label, a.span.start, a.span.end, a.role, round(a.score, 5))
        for e in doc._.events
        for a in e.arguments
    ]


class Component(NamedTuple):
    """What the suite has to know of a component.

    answer: What it has written on a document, in rows that end with a probability.
    score: The main score of `nlp.evaluate`.
    setter: The component that writes what it reads, if it reads anything.
    wrong: Settings of its own with values of the wrong type.
    """

    answer: Callable[[Doc], list]
    score: str
    setter: Optional[str]
    wrong: Dict[str, Any]


FACTORIES = {
    "ie_ner": Component(entity_answer, "ents_f", None, {"overwrite": "perhaps", "scheme": ["BIO"]}),
    "ie_relations": Component(
        relation_answer, "rels_micro_f", "tests_given_entities", {"symmetric": 3, "schema": ["makes"], "max_pairs": "all"}
    ),
    "ie_triggers": Component(trigger_answer, "triggers_f", None, {"temperature": "hot", "scheme": ["BIO"]}),
    "ie_argument_spans": Component(group_answer, "arg_spans_f", None, {"candidate_threshold": "low"}),
    "ie_arguments": Component(
        argument_answer, "args_f", "tests_given_triggers", {"schema": {"sale": ["buyer"]}, "none_weight": "light"}
    ),
}
LISTENER = {
    "@architectures": "spacy-transformers.TransformerListener.v1",
    "grad_factor": 1.0,
    "pooling": {"@layers": "reduce_mean.v1"},
}


def make_examples(nlp):
    """The texts with entities, relations and events."""
    examples = []
    for number, (text, _) in enumerate(TEXTS):
        reference = nlp.make_doc(text)
        annotate(reference, number)
        examples.append(Example(nlp.make_doc(text), reference))
    return examples


def train(nlp, steps=60, rate=0.01):
    examples = make_examples(nlp)
    sgd = nlp.initialize(lambda: examples)
    sgd.learn_rate = rate
    for _ in range(steps):
        losses = {}
        nlp.update(examples, sgd=sgd, losses=losses)
    return losses


def add_component(nlp, factory, **config):
    """Add a component, and before it what writes the annotation that it reads."""
    if FACTORIES[factory].setter is not None:
        nlp.add_pipe(FACTORIES[factory].setter)
    return nlp.add_pipe(factory, config=config)


def cnn_pipeline(factory):
    nlp = spacy.blank("en")
    add_component(nlp, factory)
    return nlp


def trf_pipeline(factory, path):
    nlp = spacy.blank("en")
    model = {
        "@architectures": "spacy-llm-ie.TransformerModel.v1",
        "name": path,
        "get_spans": {"@span_getters": "spacy-llm-ie.wordpiece_spans.v1", "window": 100, "stride": 80},
    }
    nlp.add_pipe("transformer", config={"model": model})
    add_component(nlp, factory, model={"tok2vec": LISTENER}, learn_rate_factor=3.0)
    return nlp


@pytest.fixture(scope="module")
def tiny_bert(tmp_path_factory):
    return make_tiny_bert(tmp_path_factory.mktemp("bert"))


@pytest.fixture(scope="module", params=FACTORIES)
def factory(request):
    return request.param


@pytest.fixture(scope="module", params=["cnn", "transformer"])
def trained(request, factory, tiny_bert):
    spacy.util.fix_random_seed(0)
    nlp = cnn_pipeline(factory) if request.param == "cnn" else trf_pipeline(factory, tiny_bert)
    losses = train(nlp, **({"steps": 40, "rate": 0.005} if request.param == "cnn" else {"steps": 60, "rate": 0.003}))
    return nlp, losses


def answers(nlp, factory, texts=None, **kwargs):
    texts = [text for text, _ in TEXTS] if texts is None else texts
    return [FACTORIES[factory].answer(doc) for doc in nlp.pipe(texts, **kwargs)]


def test_overfitting_IO(trained, factory, tmp_path):
    nlp, losses = trained
    assert losses[factory] < 0.05
    assert nlp.evaluate(make_examples(nlp))[FACTORIES[factory].score] == 1.0
    expected = answers(nlp, factory)
    assert [[row[:-1] for row in rows] for rows in expected] == GOLD[factory]
    assert all(0.5 < row[-1] <= 1 for rows in expected for row in rows)
    nlp.to_disk(tmp_path / "model")
    fresh = spacy.load(tmp_path / "model")
    assert answers(fresh, factory) == expected
    other = English.from_config(nlp.config)
    other.from_bytes(nlp.to_bytes())
    assert answers(other, factory) == expected


def test_nothing_that_is_saved_is_a_pickle(trained, factory, tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("a pickle was written or read")

    for place in ("pickle.dumps", "pickle.loads", "srsly.pickle_dumps", "srsly.pickle_loads", "torch.save", "torch.load"):
        monkeypatch.setattr(place, refuse)
    pipe = trained[0].get_pipe(factory)
    pipe.to_disk(tmp_path / "pipe")
    data = (tmp_path / "pipe" / "model").read_bytes()
    assert not any(sign in data for sign in (b"PK\x03\x04", b"ctorch", b"cnumpy", b"_rebuild"))
    pipe.from_disk(tmp_path / "pipe")


def test_call_equals_pipe_whatever_the_batch_size(trained, factory):
    nlp, _ = trained
    texts = [text for text, _ in TEXTS] * 3 + ["", " ", "Omaha"]
    expected = answers(nlp, factory, texts)
    assert [FACTORIES[factory].answer(nlp(text)) for text in texts] == expected
    for size in (1, 2, 7):
        assert answers(nlp, factory, texts, batch_size=size) == expected


def test_n_process_2_gives_the_same(trained, factory):
    nlp, _ = trained
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # a forked process must not inherit a pool of threads
    try:
        assert answers(nlp, factory, n_process=2, batch_size=2) == answers(nlp, factory)
    finally:
        torch.set_num_threads(threads)


def test_predict_is_pure_and_set_annotations_clears(trained, factory):
    nlp, _ = trained
    pipe = nlp.get_pipe(factory)
    doc = nlp(TEXTS[0][0])
    assert FACTORIES[factory].answer(doc)
    before = doc.to_bytes()
    predictions = pipe.predict([doc])
    assert doc.to_bytes() == before
    assert len(predictions) == 1
    empty = pipe.predict([Doc(nlp.vocab)])
    pipe.set_annotations([doc], empty)
    assert not FACTORIES[factory].answer(doc)
    assert pipe.predict([]) == []


def test_annotations_survive_copy_bytes_docbin_and_pickle(trained, factory):
    nlp, _ = trained
    doc = nlp(TEXTS[0][0])
    expected = FACTORIES[factory].answer(doc)
    if Doc.has_extension("trf_data"):
        doc._.trf_data = None  # the transformer's own output cannot be serialised by spaCy
    assert FACTORIES[factory].answer(doc.copy()) == expected
    assert FACTORIES[factory].answer(Doc(nlp.vocab).from_bytes(doc.to_bytes())) == expected
    assert FACTORIES[factory].answer(pickle.loads(pickle.dumps(doc))) == expected
    stored = DocBin(store_user_data=True, docs=[doc]).to_bytes()
    assert [FACTORIES[factory].answer(d) for d in DocBin().from_bytes(stored).get_docs(nlp.vocab)] == [expected]


def test_a_setting_of_the_wrong_type_is_refused(factory):
    nlp = spacy.blank("en")
    common = {"threshold": "high", "model": 3, "thresholds": ["ORG"], "learn_rate_factor": "fast", "loss_weight": None}
    for setting, value in {**common, **FACTORIES[factory].wrong}.items():
        with pytest.raises(Exception, match=setting):
            nlp.add_pipe(factory, config={setting: value})
    with pytest.raises(Exception, match="nonsense"):
        nlp.add_pipe(factory, config={"nonsense": 1})


def test_an_uninitialised_pipe_says_so(factory):
    nlp = spacy.blank("en")
    pipe = nlp.add_pipe(factory)
    with pytest.raises(ValueError, match="E109|initialize"):
        pipe.predict([nlp.make_doc("Omaha")])


def test_untrained_pipes_round_trip(factory):
    nlp = cnn_pipeline(factory)
    again = English.from_config(nlp.config)
    again.from_bytes(nlp.to_bytes())
    nlp.initialize(lambda: make_examples(nlp))
    again.from_bytes(nlp.to_bytes())
    assert answers(again, factory) == answers(nlp, factory)


def test_labels_file_takes_the_place_of_the_data(trained, factory, tmp_path):
    """As `spacy init labels` writes it and `spacy train` reads it, over documents that have nothing of this kind."""
    nlp, _ = trained
    pipe = nlp.get_pipe(factory)
    srsly.write_json(tmp_path / "labels.json", pipe.label_data)
    fresh = cnn_pipeline(factory)
    labels = {"@readers": "spacy.read_labels.v1", "path": str(tmp_path / "labels.json")}
    fresh.config["initialize"]["components"][factory] = {"labels": labels}
    fresh.initialize(lambda: [Example(fresh.make_doc("Omaha"), fresh.make_doc("Omaha"))])
    assert fresh.get_pipe(factory).labels == pipe.labels and pipe.labels
    assert fresh.get_pipe(factory).label_data == pipe.label_data
    losses = fresh.update(make_examples(fresh))
    assert losses[factory] > 0


def test_select_pipes_disable_and_frozen(trained, factory):
    nlp, _ = trained
    with nlp.select_pipes(disable=[factory]):
        assert not FACTORIES[factory].answer(nlp(TEXTS[0][0]))
    expected = answers(nlp, factory)
    sgd = nlp.resume_training()
    nlp.update(make_examples(nlp), sgd=sgd, exclude=nlp.pipe_names)
    assert answers(nlp, factory) == expected


def test_sourcing_gives_the_same_answers(trained, factory):
    nlp, _ = trained
    target = spacy.blank("en")
    for name in nlp.pipe_names:
        target.add_pipe(name, source=nlp)
    assert answers(target, factory) == answers(nlp, factory)


def test_replaced_listeners_give_the_same_answers(factory, tiny_bert):
    spacy.util.fix_random_seed(0)
    nlp = trf_pipeline(factory, tiny_bert)
    train(nlp, steps=20, rate=0.003)
    expected = answers(nlp, factory)
    nlp.replace_listeners("transformer", factory, ["model.tok2vec"])
    nlp.remove_pipe("transformer")
    assert answers(nlp, factory) == expected
    again = English.from_config(nlp.config)
    again.from_bytes(nlp.to_bytes())
    assert answers(again, factory) == expected


def test_resumed_training_goes_on_learning(factory):
    spacy.util.fix_random_seed(0)
    nlp = cnn_pipeline(factory)
    first = train(nlp, steps=5, rate=0.001)
    sgd = nlp.resume_training()
    examples = make_examples(nlp)
    for _ in range(5):
        later = {}
        nlp.update(examples, sgd=sgd, losses=later)
    assert later[factory] < first[factory]


def test_a_batch_without_annotation_changes_nothing_but_keeps_listeners_in_step(factory, tiny_bert):
    spacy.util.fix_random_seed(0)
    nlp = trf_pipeline(factory, tiny_bert)
    train(nlp, steps=3)
    plain = [Example(nlp.make_doc(text), nlp.make_doc(text)) for text, _ in TEXTS]
    losses = {}
    nlp.update(plain, sgd=None, losses=losses)
    assert losses[factory] == 0.0
    nlp.update(make_examples(nlp), sgd=nlp.resume_training(), losses=losses)
    assert losses[factory] > 0
