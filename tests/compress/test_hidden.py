"""Hidden states: the student's token vectors, projected, against the teacher's."""

import numpy
import pytest
import spacy
from spacy.tokens import DocBin
from spacy.training import Example
from spacy.util import load_config
from thinc.api import Adam

from spacy_llm_ie.compress.distil import Settings, distil
from spacy_llm_ie.compress.hidden import add_hidden_states, remove_hidden_states
from tests.compress.students import make_config, write_texts
from tests.contract.test_components import GOLD, TEXTS, answers, cnn_pipeline, make_examples, train


@pytest.fixture
def student(tmp_path):
    spacy.util.fix_random_seed(0)
    config = load_config(make_config(tmp_path / "student.cfg", names=("ie_ner",)))
    nlp = spacy.util.load_model_from_config(config, auto_fill=True)
    nlp.initialize(lambda: make_examples(nlp))
    return nlp


def test_the_encoder_learns_to_say_the_teachers_vectors(teacher, student):
    """Without any other loss: vectors 32 wide of a CNN, projected to those of a transformer."""
    hidden = add_hidden_states(student, "ie_ner", teacher, "ie_ner", 1.0)
    assert hidden.model.layers[1].layers[0].get_dim("nO") == 32
    examples = [Example(student.make_doc(text), teacher(text)) for text, _ in TEXTS]
    encoder, sgd, found = student.get_pipe("tok2vec"), Adam(0.01), []
    before = encoder.model.to_bytes()
    for _ in range(60):
        encoder.update(examples, sgd=sgd)
        found.append(hidden.distill(teacher.get_pipe("ie_ner"), examples, sgd=sgd)["hidden_states"])
    assert found[-1] < found[0] / 5
    assert encoder.model.to_bytes() != before
    remove_hidden_states(student, hidden)
    assert encoder.listening_components == ["ie_ner"]


def test_the_loss_is_a_mean_of_squares_and_its_gradient_is_right(teacher, student):
    hidden = add_hidden_states(student, "ie_ner", teacher, "ie_ner", 2.0)
    rng = numpy.random.default_rng(0)
    theirs = [rng.normal(size=(3, 32)).astype("float32"), None, rng.normal(size=(1, 32)).astype("float32")]
    ours = [rng.normal(size=(n, 32)).astype("float32") for n in (3, 2, 1)]
    loss, gradient = hidden.get_teacher_student_loss(theirs, ours)
    known = [(theirs[0], ours[0]), (theirs[2], ours[2])]
    assert loss == pytest.approx(2 * sum(((a - b) ** 2).sum() for a, b in known) / (4 * 32), rel=1e-5)
    assert not gradient[1].any()
    ours[0][1, 5] += 0.01
    assert (hidden.get_teacher_student_loss(theirs, ours)[0] - loss) / 0.01 == pytest.approx(gradient[0][1, 5], abs=1e-3)


def test_hidden_states_are_no_part_of_what_is_saved(teacher, tmp_path):
    DocBin(docs=[example.reference for example in make_examples(spacy.blank("en"))]).to_disk(tmp_path / "dev.spacy")
    config = load_config(
        make_config(tmp_path / "s.cfg", names=("ie_ner",)), overrides={"paths.dev": str(tmp_path / "dev.spacy")}
    )
    texts = write_texts(tmp_path / "raw.jsonl")
    done = distil([teacher], config, tmp_path / "out", texts=texts, settings=Settings(hidden_weight=0.5))
    assert done.nlp.get_pipe("tok2vec").listening_components == ["ie_ner"]
    student = spacy.load(tmp_path / "out" / "model-last")
    assert student.pipe_names == ["tok2vec", "ie_ner"]
    assert [[row[:-1] for row in rows] for rows in answers(student, "ie_ner")] == GOLD["ie_ner"]
    plain = distil([teacher], config, tmp_path / "plain", texts=texts)
    assert plain.nlp.get_pipe("tok2vec").model.to_bytes() != done.nlp.get_pipe("tok2vec").model.to_bytes()


def test_what_cannot_be_done_is_said(teacher, tmp_path):
    alone = cnn_pipeline("ie_ner")
    train(alone, steps=1)
    with pytest.raises(ValueError, match="IE-E552.*ie_ner"):
        add_hidden_states(alone, "ie_ner", teacher, "ie_ner", 1.0)
    config = load_config(make_config(tmp_path / "s.cfg", names=("ie_ner",)))
    with pytest.raises(ValueError, match="IE-E550.*hidden_weight"):
        distil([teacher], config, tmp_path / "out", settings=Settings(hidden_weight=-1.0))
    rules = spacy.blank("en")
    rules.add_pipe("entity_ruler").add_patterns([{"label": "ORG", "pattern": "Arlen Foods"}])
    with pytest.raises(ValueError, match="IE-E553"):
        distil([rules], config, tmp_path / "out", texts=write_texts(tmp_path / "t.jsonl"), settings=Settings(hidden_weight=1.0))
