"""All components in one pipeline: learning from several corpora, freezing, and adding one to a pipeline that is trained."""

import itertools

import numpy
import pytest
import spacy
import srsly
from spacy.tokens import DocBin
from spacy.training.initialize import init_nlp
from spacy.training.loop import train as spacy_train
from thinc.api import Config

from spacy_llm_ie import mark_missing
from spacy_llm_ie.data.corpus import create_corpus_v1
from tests.contract.test_components import LISTENER, TEXTS, make_examples, train, trf_pipeline
from tests.util import make_tiny_bert

NAMES = ["ie_ner", "ie_relations", "ie_triggers", "ie_argument_spans", "ie_arguments"]
# What each component learns from.
LAYER = {
    "ie_ner": "entities",
    "ie_relations": "relations",
    "ie_triggers": "events",
    "ie_argument_spans": "events",
    "ie_arguments": "events",
}
LAYERS = sorted(set(LAYER.values()))


def joint_pipeline(transformer=None):
    """Each component with vectors of its own, or all on one transformer. Arguments need no entities."""
    spacy.util.fix_random_seed(0)
    nlp = spacy.blank("en") if transformer is None else trf_pipeline("ie_ner", transformer)
    for name in NAMES[nlp.has_pipe("ie_ner") :]:
        tok2vec = {"width": 32, "depth": 1, "embed_size": 200} if transformer is None else LISTENER
        config = {"model": {"tok2vec": tok2vec}}
        if name == "ie_arguments":
            config["spans_key"] = "ie_argument_spans"
        nlp.add_pipe(name, config=config)
    return nlp


@pytest.fixture(scope="module")
def tiny_bert(tmp_path_factory):
    """Without dropout, so that gradients can be compared."""
    path = make_tiny_bert(tmp_path_factory.mktemp("bert"))
    config = srsly.read_json(f"{path}/config.json")
    srsly.write_json(f"{path}/config.json", {**config, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0})
    return path


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """A folder with one file of documents with entities only, one with relations only, one with events only."""
    folder = tmp_path_factory.mktemp("corpus")
    nlp = spacy.blank("en")
    for layer in LAYERS:
        docs = [example.reference for example in make_examples(nlp)]
        for doc in docs:
            for other in set(LAYERS) - {layer}:
                mark_missing(doc, other)
        DocBin(docs=docs).to_disk(folder / f"{layer}.spacy")
    return folder


def read(nlp, path):
    return list(create_corpus_v1(path=path)(nlp))


@pytest.fixture(scope="module", params=["cnn", "transformer"])
def joint(request, corpus, tiny_bert):
    nlp = joint_pipeline(tiny_bert if request.param == "transformer" else None)
    nlp.initialize(lambda: read(nlp, corpus))
    return nlp


def gradients(model):
    """The gradients of a model's own parameters, by name; what is shared (listened to) is not among them."""
    found = {}
    for number, node in enumerate(model.walk()):
        found.update({(number, name): node.get_grad(name).copy() for name in node.grad_names})
        for shim in node.shims:
            module = getattr(shim, "_model", None)
            for name, parameter in [] if module is None else module.named_parameters():
                if parameter.grad is not None:
                    found[number, name] = parameter.grad.numpy().copy()
    return found


def clear_gradients(nlp):
    for _, pipe in nlp.pipeline:
        for node in pipe.model.walk():
            for name in node.grad_names:
                node.set_grad(name, numpy.zeros_like(node.get_grad(name)))
            for shim in node.shims:
                if getattr(shim, "_model", None) is not None and hasattr(shim._model, "parameters"):
                    for parameter in shim._model.parameters():
                        parameter.grad = None


def learn(nlp, examples):
    """One backward pass, without an update. RETURNS: Losses and gradients by component."""
    clear_gradients(nlp)
    losses = nlp.update(examples, sgd=False)
    return losses, {name: gradients(nlp.get_pipe(name).model) for name in NAMES}


def test_labels_come_from_all_corpora(joint):
    labels = {name: joint.get_pipe(name).labels for name in NAMES}
    assert labels == {
        "ie_ner": ("GPE", "ORG", "PERSON"),
        "ie_relations": ("employed_by", "headquartered_in"),
        "ie_triggers": ("appointment", "lawsuit"),
        "ie_argument_spans": ("defendant", "org", "person", "place", "plaintiff"),
        "ie_arguments": ("defendant", "org", "person", "place", "plaintiff"),
    }


@pytest.mark.parametrize("layer", LAYERS)
def test_each_component_learns_from_its_own_documents_only(joint, corpus, layer):
    losses, found = learn(joint, read(joint, corpus / f"{layer}.spacy"))
    for name in NAMES:
        if LAYER[name] == layer:
            assert losses[name] > 0 and any(array.any() for array in found[name].values()), name
        else:
            assert losses[name] == 0.0 and not any(array.any() for array in found[name].values()), name
    if joint.has_pipe("transformer"):  # the listeners that have nothing to learn do not keep it from learning
        assert any(array.any() for array in gradients(joint.get_pipe("transformer").model).values())


def test_a_batch_of_all_corpora_gives_each_component_the_gradient_of_its_own_documents(joint, corpus):
    mixed, found = learn(joint, read(joint, corpus))
    for layer in LAYERS:
        losses, expected = learn(joint, read(joint, corpus / f"{layer}.spacy"))
        for name in (name for name in NAMES if LAYER[name] == layer):
            assert mixed[name] == pytest.approx(losses[name], rel=1e-4)
            for key, array in expected[name].items():
                numpy.testing.assert_allclose(found[name][key], array, rtol=1e-3, atol=1e-5)


def parameters(nlp, name):
    return nlp.get_pipe(name).model.to_bytes()


def test_freezing_any_subset_changes_nothing_of_the_frozen(corpus, tiny_bert):
    nlp = joint_pipeline(tiny_bert)
    sgd = nlp.initialize(lambda: read(nlp, corpus))
    examples = read(nlp, corpus)
    names = nlp.pipe_names
    before = {name: parameters(nlp, name) for name in names}
    for size in range(len(names) + 1):
        for frozen in itertools.combinations(names, size):
            annotating = [name for name in frozen if name == "transformer"]  # what listens to it still needs its vectors
            nlp.update(examples, sgd=sgd, exclude=list(frozen), annotates=annotating)
            after = {name: parameters(nlp, name) for name in names}
            assert [name for name in frozen if after[name] != before[name]] == []
            learned = [name for name in names if after[name] != before[name]]
            assert set(NAMES) - set(frozen) <= set(learned)
            before = after


# Adding a component to a pipeline that is trained, as `spacy train` does it.

ADD = """
[nlp]
lang = "en"
pipeline = {names}

[components]

{sources}

[components.ie_relations]
factory = "ie_relations"
train_on = {train_on}

[components.ie_relations.model]
@architectures = "spacy-llm-ie.PairClassifier.v1"

[components.ie_relations.model.tok2vec]
{tok2vec}

[corpora]
train = {{"@readers": "spacy-llm-ie.Corpus.v1", "path": "{path}"}}
dev = {{"@readers": "spacy-llm-ie.Corpus.v1", "path": "{path}"}}

[training]
seed = 0
gpu_allocator = null
frozen_components = {frozen}
annotating_components = {frozen}
max_steps = 25
eval_frequency = 25
optimizer = {{"@optimizers": "Adam.v1", "learn_rate": 0.003}}
logger = {{"@loggers": "tests.silent_logger.v1"}}
"""
CNN = """
@architectures = "spacy.HashEmbedCNN.v2"
width = 32
depth = 1
embed_size = 500
window_size = 1
maxout_pieces = 3
subword_features = true
pretrained_vectors = null
"""
LISTENS = """
@architectures = "spacy-transformers.TransformerListener.v1"
grad_factor = 1.0
pooling = {"@layers": "reduce_mean.v1"}
"""


@spacy.registry.loggers("tests.silent_logger.v1")
def silent_logger():
    return lambda nlp, stdout=None, stderr=None: (lambda info: None, lambda: None)


def save_trained(kind, path, tiny_bert):
    """A pipeline that finds entities, on disk. RETURNS: Its components."""
    spacy.util.fix_random_seed(0)
    if kind == "transformer":
        nlp = trf_pipeline("ie_ner", tiny_bert)
    else:
        nlp = spacy.blank("en")
        nlp.add_pipe(kind)
    train(nlp, steps=40, rate=0.003)
    nlp.to_disk(path)
    return nlp.pipe_names


def entities(nlp):
    texts = [text for text, _ in TEXTS] + ["Omar Lind of Omaha rose", "", "Ada"]
    return [[(e.start, e.end, e.label_, e._.score) for e in doc.ents] for doc in nlp.pipe(texts)]


@pytest.mark.parametrize(
    ("kind", "train_on"), [("ie_ner", "gold"), ("ie_ner", "predicted"), ("ner", "predicted"), ("transformer", "predicted")]
)
def test_adding_relations_to_a_trained_pipeline_leaves_its_answers_alone(kind, train_on, tmp_path, tiny_bert):
    names = save_trained(kind, tmp_path / "base", tiny_bert)
    expected = entities(spacy.load(tmp_path / "base"))
    assert len(expected[0]) == 3
    DocBin(docs=[example.reference for example in make_examples(spacy.blank("en"))]).to_disk(tmp_path / "train.spacy")
    config = ADD.format(
        names=str([*names, "ie_relations"]).replace("'", '"'),
        sources="\n".join(f'[components.{name}]\nsource = "{tmp_path / "base"}"\n' for name in names),
        train_on=f'"{train_on}"',
        tok2vec=LISTENS if kind == "transformer" else CNN,
        path=tmp_path / "train.spacy",
        frozen=str(names).replace("'", '"'),
    )
    nlp = init_nlp(Config().from_str(config))
    assert entities(nlp) == expected
    (tmp_path / "out").mkdir()
    spacy_train(nlp, tmp_path / "out")
    for trained in (nlp, spacy.load(tmp_path / "out" / "model-last")):
        assert entities(trained) == expected
        scores = trained.evaluate(make_examples(trained))
        assert scores["rels_micro_f"] == scores["ents_f"] == 1.0
