"""One suite that every trainable component of ours has to pass."""

import pickle

import pytest
import spacy
import torch
from spacy.lang.en import English
from spacy.tokens import Doc, DocBin
from spacy.training import Example

from tests.util import make_tiny_bert

TEXTS = [
    ("Ada Quill joined Arlen Foods in Omaha .", [(0, 9, "PERSON"), (17, 28, "ORG"), (32, 37, "GPE")]),
    ("Bexley Grain of Lagos sued Omar Lind .", [(0, 12, "ORG"), (16, 21, "GPE"), (27, 36, "PERSON")]),
    ("Shares were flat on a quiet day .", []),
]
FACTORIES = {
    "ie_ner": lambda doc: [(e.start, e.end, e.label_, round(e._.score, 5)) for e in doc.ents],
}
LISTENER = {
    "@architectures": "spacy-transformers.TransformerListener.v1",
    "grad_factor": 1.0,
    "pooling": {"@layers": "reduce_mean.v1"},
}


def make_examples(nlp):
    return [Example.from_dict(nlp.make_doc(text), {"entities": ents}) for text, ents in TEXTS]


def train(nlp, steps=60, rate=0.01):
    examples = make_examples(nlp)
    sgd = nlp.initialize(lambda: examples)
    sgd.learn_rate = rate
    for _ in range(steps):
        losses = {}
        nlp.update(examples, sgd=sgd, losses=losses)
    return losses


def cnn_pipeline(factory):
    nlp = spacy.blank("en")
    nlp.add_pipe(factory)
    return nlp


def trf_pipeline(factory, path):
    nlp = spacy.blank("en")
    model = {
        "@architectures": "spacy-llm-ie.TransformerModel.v1",
        "name": path,
        "get_spans": {"@span_getters": "spacy-llm-ie.wordpiece_spans.v1", "window": 100, "stride": 80},
    }
    nlp.add_pipe("transformer", config={"model": model})
    nlp.add_pipe(factory, config={"model": {"tok2vec": LISTENER}, "learn_rate_factor": 3.0})
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
    losses = train(nlp, rate=0.01 if request.param == "cnn" else 0.003)
    return nlp, losses


def answers(nlp, factory, texts=None, **kwargs):
    texts = [text for text, _ in TEXTS] if texts is None else texts
    return [FACTORIES[factory](doc) for doc in nlp.pipe(texts, **kwargs)]


def test_overfitting_IO(trained, factory, tmp_path):
    nlp, losses = trained
    assert losses[factory] < 0.05
    scores = nlp.evaluate(make_examples(nlp))
    assert scores["ents_f"] == 1.0
    expected = answers(nlp, factory)
    assert expected[0] and not expected[2]
    nlp.to_disk(tmp_path / "model")
    fresh = spacy.load(tmp_path / "model")
    assert answers(fresh, factory) == expected
    other = English.from_config(nlp.config)
    other.from_bytes(nlp.to_bytes())
    assert answers(other, factory) == expected


def test_nothing_that_is_saved_is_a_pickle(trained, factory, tmp_path):
    trained[0].get_pipe(factory).to_disk(tmp_path / "pipe")
    data = (tmp_path / "pipe" / "model").read_bytes()
    assert b"PK\x03\x04" not in data and b"\x80\x02" not in data[:10000]


def test_call_equals_pipe_whatever_the_batch_size(trained, factory):
    nlp, _ = trained
    texts = [text for text, _ in TEXTS] * 3 + ["", " ", "Omaha"]
    expected = answers(nlp, factory, texts)
    assert [FACTORIES[factory](nlp(text)) for text in texts] == expected
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
    assert FACTORIES[factory](doc)
    before = doc.to_bytes()
    predictions = pipe.predict([doc])
    assert doc.to_bytes() == before
    assert len(predictions) == 1
    empty = pipe.predict([Doc(nlp.vocab)])
    pipe.set_annotations([doc], empty)
    assert not FACTORIES[factory](doc)
    assert pipe.predict([]) == []


def test_annotations_survive_copy_bytes_docbin_and_pickle(trained, factory):
    nlp, _ = trained
    doc = nlp(TEXTS[0][0])
    expected = FACTORIES[factory](doc)
    if Doc.has_extension("trf_data"):
        doc._.trf_data = None  # the transformer's own output cannot be serialised by spaCy
    assert FACTORIES[factory](doc.copy()) == expected
    assert FACTORIES[factory](Doc(nlp.vocab).from_bytes(doc.to_bytes())) == expected
    assert FACTORIES[factory](pickle.loads(pickle.dumps(doc))) == expected
    stored = DocBin(store_user_data=True, docs=[doc]).to_bytes()
    assert [FACTORIES[factory](d) for d in DocBin().from_bytes(stored).get_docs(nlp.vocab)] == [expected]


def test_a_setting_of_the_wrong_type_is_refused(factory):
    for setting, value in (("threshold", "high"), ("model", 3), ("overwrite", "perhaps")):
        with pytest.raises(Exception, match=setting):
            spacy.blank("en").add_pipe(factory, config={setting: value})


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


def test_labels_file_takes_the_place_of_the_data(trained, factory):
    nlp, _ = trained
    pipe = nlp.get_pipe(factory)
    fresh = cnn_pipeline(factory)
    fresh.get_pipe(factory).initialize(lambda: make_examples(fresh), nlp=fresh, labels=pipe.label_data)
    assert fresh.get_pipe(factory).labels == pipe.labels


def test_select_pipes_disable_and_frozen(trained, factory):
    nlp, _ = trained
    with nlp.select_pipes(disable=[factory]):
        assert not FACTORIES[factory](nlp(TEXTS[0][0]))
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
