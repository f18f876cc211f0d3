"""A student that starts from layers and heads of its teacher."""

import copy

import numpy
import pytest
import spacy
import torch
from spacy.tokens import DocBin
from spacy.util import load_config

from spacy_llm_ie.compress.distil import Settings, distil
from spacy_llm_ie.compress.parts import keep_layers
from spacy_llm_ie.compress.start import choose_layers, copy_heads, take_layers
from spacy_llm_ie.compress.teachers import plan_teaching
from tests.compress.students import write_texts
from tests.contract.test_components import FACTORIES, GOLD, TEXTS, answers, cnn_pipeline, make_examples, train, trf_pipeline


def make_student(teacher, layers, name="ie_ner"):
    """A pipeline whose own weights cannot be loaded."""
    spacy.util.fix_random_seed(1)
    nlp = trf_pipeline(name, "no/such/model")
    take_layers(teacher, nlp, layers)
    nlp.config["initialize"]["components"][name] = {"labels": teacher.get_pipe(name).label_data}
    nlp.initialize(lambda: make_examples(nlp))
    return nlp


@pytest.mark.parametrize(
    ("wanted", "available", "expected"),
    [([0, 2, 5], 6, [0, 2, 5]), ([3], 6, [0, 2, 5]), ([6], 6, [0, 1, 2, 3, 4, 5]), ([1], 6, [0]), ([4], 12, [0, 4, 7, 11])],
)
def test_layers_are_chosen_by_number_or_spaced_evenly(wanted, available, expected):
    assert choose_layers(wanted, available) == expected


def test_layers_of_a_pruned_transformer_keep_the_heads_that_they_have(teacher):
    transformer = copy.deepcopy(teacher.get_pipe("transformer").model.transformer)
    transformer.prune_heads({1: [0, 2]})
    keep_layers(transformer, [1])
    assert transformer.config.pruned_heads == {0: [0, 2]}
    again = type(transformer)(transformer.config)
    again.load_state_dict(transformer.state_dict())  # raises if a shape differs


@pytest.mark.parametrize("wanted", [[], [7], [0, 6], [2, 1], [1, 1], [-1, 2]])
def test_layers_that_are_not_there_are_refused(wanted):
    with pytest.raises(ValueError, match="IE-E546"):
        choose_layers(wanted, 6)


def test_with_all_layers_and_heads_the_student_is_the_teacher(teacher):
    student = make_student(teacher, [0, 1])
    assert answers(student, "ie_ner") != answers(teacher, "ie_ner")
    counts = copy_heads([teacher], student, plan_teaching(student, [teacher]))
    assert answers(student, "ie_ner") == answers(teacher, "ie_ner")
    assert counts == {"ie_ner": (5, 5)}  # weights and bias of the output, start, end and steps of the CRF


@pytest.mark.parametrize("factory", FACTORIES)
def test_heads_are_copied_where_shapes_agree(factory):
    spacy.util.fix_random_seed(0)
    teacher, student = cnn_pipeline(factory), cnn_pipeline(factory)
    train(teacher, steps=3)
    train(student, steps=1)
    student.get_pipe(factory).model.get_ref("tok2vec").from_bytes(teacher.get_pipe(factory).model.get_ref("tok2vec").to_bytes())
    assert student.get_pipe(factory).model.to_bytes() != teacher.get_pipe(factory).model.to_bytes()
    copied, total = copy_heads([teacher], student, plan_teaching(student, [teacher]))[factory]
    assert copied == total > 0
    assert student.get_pipe(factory).model.to_bytes() == teacher.get_pipe(factory).model.to_bytes()


def test_heads_of_other_labels_or_shapes_are_left_alone():
    spacy.util.fix_random_seed(0)
    teacher, narrow, other = (cnn_pipeline("ie_ner") for _ in range(3))
    train(teacher, steps=1)
    narrow = spacy.blank("en")
    narrow.add_pipe("ie_ner", config={"model": {"tok2vec": {"width": 32}}})
    train(narrow, steps=1)
    assert copy_heads([teacher], narrow, plan_teaching(narrow, [teacher])) == {
        "ie_ner": (4, 5)
    }  # not the weights of the output
    other.initialize(lambda: make_examples(other)[1:2])
    other.get_pipe("ie_ner").cfg["labels"] = ["GPE", "ORG", "ZZZ"]
    before = other.get_pipe("ie_ner").model.to_bytes()
    assert copy_heads([teacher], other, plan_teaching(other, [teacher])) == {"ie_ner": (0, 5)}
    assert other.get_pipe("ie_ner").model.to_bytes() == before


def test_one_layer_is_the_teachers(teacher):
    student = make_student(teacher, [1])
    mine, theirs = (nlp.get_pipe("transformer").model.transformer for nlp in (student, teacher))
    assert mine.config.num_hidden_layers == len(mine.encoder.layer) == 1
    assert theirs.config.num_hidden_layers == len(theirs.encoder.layer) == 2
    for name, parameter in mine.encoder.layer[0].named_parameters():
        numpy.testing.assert_array_equal(parameter.detach(), theirs.encoder.layer[0].get_parameter(name).detach())
        assert parameter is not theirs.encoder.layer[0].get_parameter(name)
    text = TEXTS[0][0]
    theirs.eval()
    with torch.no_grad():
        tokens = theirs.embeddings(student.get_pipe("transformer").model.tokenizer(text, return_tensors="pt")["input_ids"])
        expected = theirs.encoder.layer[0](tokens)[0]
    found = student(text)._.trf_data.model_output.last_hidden_state
    numpy.testing.assert_allclose(found[0], expected[0].numpy(), atol=1e-5)


def test_layers_need_a_transformer_on_both_sides(teacher, tiny_bert):
    with pytest.raises(ValueError, match="IE-E547.*teacher"):
        take_layers(cnn_pipeline("ie_ner"), trf_pipeline("ie_ner", tiny_bert), [0])
    with pytest.raises(ValueError, match="IE-E547.*student"):
        take_layers(teacher, cnn_pipeline("ie_ner"), [0])
    with pytest.raises(ValueError, match="IE-E547.*student"):
        take_layers(teacher, teacher, [0])


CONFIG = """
[paths]
train = null
dev = null

[nlp]
lang = "en"
pipeline = ["transformer", "ie_ner"]

[components]

[components.transformer]
factory = "transformer"

[components.transformer.model]
@architectures = "spacy-llm-ie.TransformerModel.v1"
name = "no/such/model"
get_spans = {"@span_getters": "spacy-llm-ie.wordpiece_spans.v1"}

[components.ie_ner]
factory = "ie_ner"
learn_rate_factor = 3.0

[components.ie_ner.model]
@architectures = "spacy-llm-ie.CrfTagger.v1"

[components.ie_ner.model.tok2vec]
@architectures = "spacy-transformers.TransformerListener.v1"
grad_factor = 1.0
pooling = {"@layers": "reduce_mean.v1"}

[corpora]

[corpora.train]
@readers = "spacy-llm-ie.Corpus.v1"
path = ${paths.train}

[corpora.dev]
@readers = "spacy-llm-ie.Corpus.v1"
path = ${paths.dev}

[training]
seed = 0
gpu_allocator = null
max_steps = 30
eval_frequency = 30
optimizer = {"@optimizers": "Adam.v1", "learn_rate": 0.003}
"""


def test_a_student_of_fewer_layers_is_trained_saved_and_loaded(teacher, tmp_path):
    DocBin(docs=[example.reference for example in make_examples(spacy.blank("en"))]).to_disk(tmp_path / "dev.spacy")
    (tmp_path / "student.cfg").write_text(CONFIG, encoding="utf8")
    config = load_config(tmp_path / "student.cfg", overrides={"paths.dev": str(tmp_path / "dev.spacy")})
    texts, settings = write_texts(tmp_path / "raw.jsonl"), Settings(layers=[1], heads=True)
    done = distil([teacher], config, tmp_path / "out", texts=texts, settings=settings)
    assert done.heads == {"ie_ner": (5, 5)}
    student = spacy.load(tmp_path / "out" / "model-last")
    assert student.get_pipe("transformer").model.transformer.config.num_hidden_layers == 1
    assert [[row[:-1] for row in rows] for rows in answers(student, "ie_ner")] == GOLD["ie_ner"]
    sizes = [sum(p.numel() for p in nlp.get_pipe("transformer").model.transformer.parameters()) for nlp in (student, teacher)]
    assert sizes[0] < sizes[1]
