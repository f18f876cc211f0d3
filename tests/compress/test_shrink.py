"""What was removed is learned again: by the encoder, and then by the components too."""

import pytest
import spacy
from spacy.tokens import Doc
from spacy.training import Example

from spacy_llm_ie.compress.distil import Settings, TaughtPipeline
from spacy_llm_ie.compress.parts import find_transformer
from spacy_llm_ie.compress.shrink import Removal, shrink
from spacy_llm_ie.compress.teachers import ask_teachers, plan_teaching
from tests.compress.helpers import SENTENCES, answers, make_examples, make_family, make_pipeline
from tests.encode.helpers import make_nlp

pytestmark = pytest.mark.filterwarnings("ignore:.*IE-W")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    make_pipeline(make_family(folder / "bert", "bert")).to_disk(folder / "nlp")
    return folder / "nlp"


def distances(nlp, teacher):
    """How far the probabilities of both are from each other, by component."""
    plans = plan_teaching(nlp, [teacher])
    examples = [Example(nlp.make_doc(text), nlp.make_doc(text)) for text in SENTENCES]
    said = ask_teachers(nlp, examples, [teacher], plans)
    pupil = TaughtPipeline(nlp, dict(zip(map(id, examples), said)), Settings(gold_weight=0.0))
    losses = pupil.update(examples)
    for parameter in find_transformer(nlp).transformer.parameters():
        parameter.grad = None
    return losses


def test_components_learn_from_the_whole_pipeline_what_the_smaller_one_lost(trained, monkeypatch):
    """From texts that are not annotated; what cannot learn so stays as it is."""
    teacher = spacy.load(trained)
    texts = [Example(teacher.make_doc(text), teacher.make_doc(text)) for text in SENTENCES]
    found, before = {}, answers(teacher)
    monkeypatch.setattr("spacy_llm_ie.compress.shrink.DISTIL_RATE", 0.0003)
    for steps in (0, 40):
        smaller = spacy.load(trained)
        smaller.add_pipe("sentencizer")
        removal = Removal(heads=0.7, neurons=0.9, steps=1, distil_steps=steps)
        shrink(smaller, teacher, removal, texts, make_examples(teacher))
        found[steps] = distances(smaller, teacher)
    names = {"ie_ner", "ie_relations", "ie_triggers", "ie_argument_spans", "ie_arguments"}
    assert all(found[40][name] < 0.5 * found[0][name] for name in names if found[0][name] > 0.01), found
    assert sum(found[0][name] > 0.01 for name in names) >= 3
    assert answers(teacher) == before


def test_a_pipeline_of_others_cannot_learn_from_probabilities(tmp_path):
    nlp = make_nlp(make_family(tmp_path / "bert", "bert"), listener=True)
    examples = [
        Example(nlp.make_doc(text), Doc(nlp.vocab, words=[token.text for token in nlp.make_doc(text)])) for text in SENTENCES
    ]
    with pytest.raises(ValueError, match="IE-E539.*tagger"):
        shrink(nlp, nlp, Removal(pieces=100, steps=1, distil_steps=1), examples, examples)
