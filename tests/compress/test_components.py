"""Every trainable component learns from a teacher: the contract of `distill`."""

import inspect

import numpy
import pytest
import spacy
from spacy.training import Example
from thinc.api import Adam

from spacy_llm_ie.settings import Lesson
from tests.contract.test_components import FACTORIES, GOLD, TEXTS, add_component, answers, cnn_pipeline, make_examples, train
from tests.contract.test_components import trf_pipeline as make_trf
from tests.util import make_tiny_bert


@pytest.fixture(scope="module")
def tiny_bert(tmp_path_factory):
    return make_tiny_bert(tmp_path_factory.mktemp("bert"))


@pytest.fixture(scope="module", params=FACTORIES)
def factory(request):
    return request.param


@pytest.fixture(scope="module")
def teacher(factory):
    spacy.util.fix_random_seed(0)
    nlp = cnn_pipeline(factory)
    train(nlp, steps=40, rate=0.005)
    return nlp


def make_student(teacher, factory, seed=1, labels=None):
    """A smaller pipeline that knows the labels, and nothing else."""
    spacy.util.fix_random_seed(seed)
    nlp = spacy.blank("en")
    add_component(nlp, factory, model={"tok2vec": {"width": 32, "depth": 2, "embed_size": 500}})
    nlp.config["initialize"]["components"][factory] = {"labels": labels or teacher.get_pipe(factory).label_data}
    nlp.initialize(lambda: [Example(doc, doc) for doc in [nlp.make_doc(TEXTS[0][0])]])
    return nlp


def lessons(teacher, student):
    """References that the teacher has read, without gold annotation, and the student's documents."""
    return [Example(student.make_doc(text), teacher(text)) for text, _ in TEXTS]


def scores(pipe, examples):
    return pipe.model.predict(
        pipe._batch(
            [eg.predicted for eg in examples], [pipe.pick(eg.predicted, pipe.spans(eg.reference))[0] for eg in examples]
        )[0]
        if hasattr(pipe, "pick")
        else [eg.predicted for eg in examples]
    )


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_the_student_comes_to_say_what_the_teacher_says(teacher, factory, temperature):
    student = make_student(teacher, factory)
    pipe, examples = student.get_pipe(factory), lessons(teacher, student)
    assert [[row[:-1] for row in rows] for rows in answers(student, factory)] != GOLD[factory]
    sgd, found = Adam(0.01), []
    for _ in range(50):
        found.append(pipe.distill(teacher.get_pipe(factory), examples, sgd=sgd, temperature=temperature)[factory])
    assert found[-1] < found[0] / 20
    expected, learned = answers(teacher, factory), answers(student, factory)
    assert (
        [[row[:-1] for row in rows] for rows in learned] == [[row[:-1] for row in rows] for rows in expected] == GOLD[factory]
    )
    for ours, theirs in zip(learned, expected):
        numpy.testing.assert_allclose([row[-1] for row in ours], [row[-1] for row in theirs], atol=0.1)


def test_a_teacher_has_nothing_to_teach_itself(teacher, factory):
    pipe, examples = teacher.get_pipe(factory), lessons(teacher, teacher)
    given = pipe.get_teacher_scores(pipe, examples, 2.0)
    loss, gradient = pipe.get_teacher_student_loss(given, scores(pipe, examples), 2.0)
    assert loss == pytest.approx(0.0, abs=1e-5)
    assert all(abs(array).max() < 1e-5 for array in (gradient if isinstance(gradient, list) else [gradient]) if len(array))


def test_the_gradient_of_scores_is_that_of_finite_differences(teacher, factory):
    student = make_student(teacher, factory)
    pipe, examples = student.get_pipe(factory), lessons(teacher, student)
    given = pipe.get_teacher_scores(teacher.get_pipe(factory), examples, 2.0)
    rows = scores(pipe, examples)
    _, gradient = pipe.get_teacher_student_loss(given, rows, 2.0)
    arrays = list(zip(rows, gradient)) if isinstance(rows, list) else [(rows, gradient)]
    checked = 0
    for array, slope in arrays:
        for place in [(i, (3 * i) % array.shape[1]) for i in range(0, len(array), 2)]:
            before = array[place]
            values = []
            for step in (0.02, -0.02):
                array[place] = before + step
                values.append(pipe.get_teacher_student_loss(given, rows, 2.0)[0])
            array[place] = before
            assert slope[place] == pytest.approx((values[0] - values[1]) / 0.04, abs=2e-3)
            checked += abs(slope[place]) > 1e-3
    assert checked


def test_the_signatures_are_those_of_spacy_4(teacher, factory):
    pipe = teacher.get_pipe(factory)
    names = list(inspect.signature(pipe.distill).parameters)
    assert names[:5] == ["teacher_pipe", "examples", "drop", "sgd", "losses"]
    assert list(inspect.signature(pipe.get_teacher_student_loss).parameters)[:2] == ["teacher_scores", "student_scores"]


def test_labels_are_aligned_by_name_whatever_their_order(teacher, factory):
    """A student that has one of the labels only: what the teacher says of the others is `none` to it."""
    labels = teacher.get_pipe(factory).label_data
    first = teacher.get_pipe(factory).labels[-1]
    if isinstance(labels, dict):
        fewer = {**labels, "labels": [first], "learned_schema": {first: labels["learned_schema"][first]}}
    else:
        fewer = [first]
    student = make_student(teacher, factory, labels=fewer)
    pipe, examples = student.get_pipe(factory), lessons(teacher, student)
    sgd = Adam(0.01)
    for _ in range(50):
        pipe.distill(teacher.get_pipe(factory), examples, sgd=sgd)
    expected = [[row[:-1] for row in rows if first in row] for rows in answers(teacher, factory)]
    assert [[row[:-1] for row in rows] for rows in answers(student, factory)] == expected
    assert any(expected)


def test_a_label_that_the_teacher_does_not_know_is_refused(teacher, factory):
    labels = teacher.get_pipe(factory).label_data
    if isinstance(labels, dict):
        schema = {**labels["learned_schema"], "zzz": next(iter(labels["learned_schema"].values()))}
        more = {**labels, "labels": [*labels["labels"], "zzz"], "learned_schema": schema}
    else:
        more = [*labels, "zzz"]
    student = make_student(teacher, factory, labels=more)
    with pytest.raises(ValueError, match=r"IE-E542.*zzz"):
        student.get_pipe(factory).distill(teacher.get_pipe(factory), lessons(teacher, student))


def test_a_component_of_another_kind_is_refused(teacher, factory):
    student = make_student(teacher, factory)
    other = spacy.blank("en").add_pipe("ner")
    with pytest.raises(ValueError, match=r"IE-E540.*EntityRecognizer"):
        student.get_pipe(factory).distill(other, lessons(teacher, student))


def test_other_tokens_are_refused(teacher, factory):
    student = make_student(teacher, factory)
    example = Example(student.make_doc("Ada Quill joined"), teacher("Ada-Quill joined"))
    with pytest.raises(ValueError, match="IE-E544"):
        student.get_pipe(factory).distill(teacher.get_pipe(factory), [example])


def test_nothing_to_read_teaches_nothing(teacher, factory):
    student = make_student(teacher, factory)
    before = student.get_pipe(factory).model.to_bytes()
    losses = student.get_pipe(factory).distill(
        teacher.get_pipe(factory), [Example(student.make_doc(""), teacher(""))], sgd=Adam(0.1)
    )
    assert losses == {factory: 0.0}
    assert student.get_pipe(factory).model.to_bytes() == before


def test_gold_and_teacher_are_mixed_by_their_weights(teacher, factory):
    """Both losses of one batch, each alone and together."""
    student = make_student(teacher, factory)
    pipe = student.get_pipe(factory)
    given = pipe.get_teacher_scores(teacher.get_pipe(factory), lessons(teacher, student))
    gold = make_examples(student)
    found = {}
    for weight in (0.0, 0.25, 1.0):
        found[weight] = pipe.update(gold, sgd=False, lesson=Lesson(given, 1.0, weight))[factory]
    assert found[1.0] == pytest.approx(pipe.update(gold, sgd=False)[factory], rel=1e-5)
    assert found[0.25] == pytest.approx(0.25 * found[1.0] + 0.75 * found[0.0], rel=1e-5)
    silent = pipe.update(gold, sgd=False, lesson=Lesson([None] * len(gold), 1.0, 0.25))[factory]
    assert silent == pytest.approx(0.25 * found[1.0], rel=1e-5)


def test_a_shared_transformer_learns_too(teacher, factory, tiny_bert):
    spacy.util.fix_random_seed(0)
    student = make_trf(factory, tiny_bert)
    student.config["initialize"]["components"][factory] = {"labels": teacher.get_pipe(factory).label_data}
    student.initialize(lambda: [Example(doc, doc) for doc in [student.make_doc(TEXTS[0][0])]])
    examples, sgd, found = lessons(teacher, student), Adam(0.003), []
    before = student.get_pipe("transformer").model.to_bytes()
    for _ in range(50):
        losses = {}
        student.get_pipe("transformer").update(examples, sgd=sgd, losses=losses)
        student.get_pipe(factory).distill(teacher.get_pipe(factory), examples, sgd=sgd, losses=losses)
        found.append(losses[factory])
    assert found[-1] < found[0] / 5
    assert student.get_pipe("transformer").model.to_bytes() != before
    assert [[row[:-1] for row in rows] for rows in answers(student, factory)] == GOLD[factory]


def test_schemes_must_be_the_same():
    spacy.util.fix_random_seed(0)
    teacher, student = cnn_pipeline("ie_ner"), spacy.blank("en")
    train(teacher, steps=2)
    student.add_pipe("ie_ner", config={"scheme": "BIO"})
    student.initialize(lambda: make_examples(student))
    with pytest.raises(ValueError, match=r"IE-E541.*BILUO"):
        student.get_pipe("ie_ner").distill(teacher.get_pipe("ie_ner"), lessons(teacher, student))


def test_a_teacher_of_several_labels_a_pair_needs_a_student_of_several():
    spacy.util.fix_random_seed(0)
    teacher, student = cnn_pipeline("ie_relations"), cnn_pipeline("ie_relations")
    for nlp, several in ((teacher, True), (student, False)):
        train(nlp, steps=2)
        nlp.get_pipe("ie_relations").cfg["several"] = several
    with pytest.raises(ValueError, match="IE-E543"):
        student.get_pipe("ie_relations").distill(teacher.get_pipe("ie_relations"), lessons(teacher, student))
    losses = teacher.get_pipe("ie_relations").distill(student.get_pipe("ie_relations"), lessons(student, teacher))
    assert losses["ie_relations"] > 0
