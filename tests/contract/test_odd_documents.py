"""All components over texts as the world writes them: nothing crashes, and what stands in the batch beside a text does not matter."""

import random

import pytest
import spacy
import torch
from spacy.language import Language
from spacy.tokens import Doc, Span
from spacy.training import Example

from spacy_llm_ie import Event
from tests.contract.test_components import FACTORIES, LISTENER, TEXTS, make_examples, trf_pipeline
from tests.util import make_tiny_bert

# Tokens that are cut, and pairs that are left out, are counted and told: that is tested elsewhere.
pytestmark = pytest.mark.filterwarnings("ignore:.*IE-W(302|501)")
MANY = "MANY"
TYPES = ("PERSON", "ORG", "GPE")
KNOWN = [text for text, _ in TEXTS]
ODD = {
    "empty": "",
    "one token": "Omaha",
    "one letter": "a",
    "one space": " ",
    "white space": " \t \n\n  \r\n\u00a0\u2003 ",
    "line breaks": "\n" * 1000,
    "line breaks around": "\n" * 500 + KNOWN[0] + "\n" * 500,
    "words on lines of their own": KNOWN[0].replace(" ", "\n\n"),
    "long token": "x" * 5000,
    "long token in a text": "Ada Quill joined " + "xylo" * 1250 + " in Omaha .",
    "punctuation": "!?.,;:" * 40,
    "one dot": ".",
    "emoji": "😀👩‍👩‍👧‍👦🇩🇪👍🏽" * 30,
    "emoji between": "Ada Quill 😀 joined 👩‍👩‍👧‍👦 Arlen Foods 🇩🇪 in Omaha 👍🏽 .",
    "arabic": "شركة أبل اشترت بيتس مقابل ثلاثة مليارات دولار .",
    "hebrew": "חברת אפל קנתה את ביטס",
    "right to left inside": "Ada Quill joined \u202bشركة أبل\u202c in Omaha .",
    "mixed scripts": "Ада Quill 加入了 Arlen 食品 in Ομάχα .",
    "chinese": "中国国家主席访问美国" * 10,
    "combining marks": "A\u0301d\u0323\u0307a Qu\u0308ill joined Z\u0361a\u0335l\u0489go .",
    "control characters": "Ada\u0000Quill\u0007 joined\u001b[31m Arlen\u0008 Foods\u007f .",
    "only control characters": "\u0000\u0001\u0002\u0007\u001b",
    "invisible characters": "\u200b\u200d\ufeff\u00ad\u2060",
    "invisible characters inside": "\ufeffAda\u200b Qui\u00adll joined\u2060 Arlen Foods",
    "line separators": "Ada Quill joined\u2028Arlen Foods\u2029in Omaha .",
    "private use": "\ue000\uf8ff\U000f0000 Omaha",
    "replacement characters": "\ufffd\ufffd Omaha \ufffd",
    "markup": "<p>Ada&nbsp;Quill <b>joined</b> <a href='x'>Arlen Foods</a></p>",
    "address": "https://example.com/" + "a/b?c=d&" * 50,
    "digits": "1234567890" * 20,
    "table": "Ada\tQuill\t1\nOmar\tLind\t2\n" * 10,
    "upper case": KNOWN[1].upper(),
    "no spaces": KNOWN[1].replace(" ", ""),
    "long text": " ".join([*KNOWN] * 10),
    "no entity": "it was said that it is as it is .",
    "special pieces": "[CLS] Ada Quill [SEP] joined [MASK] Arlen Foods [PAD] [UNK]",
    "many entities": MANY + " w" * 499,
    "two entities side by side": MANY + " w",
    "one entity": MANY,
}


@Language.component("tests_many_entities")
def set_many_entities(doc: Doc) -> Doc:
    """Every token of some texts is an entity, every tenth of them a trigger too."""
    if doc.text.startswith(MANY):
        doc.set_ents([Span(doc, i, i + 1, label=TYPES[i % 3]) for i in range(len(doc))])
    return doc


@Language.component("tests_many_triggers")
def set_many_triggers(doc: Doc) -> Doc:
    if doc.text.startswith(MANY):
        doc._.events = [Event(Span(doc, i, i + 1), "appointment") for i in range(0, len(doc), 10)]
    return doc


def texts():
    """The odd texts, and mixtures of them, 200 altogether."""
    rng = random.Random(0)
    pieces = [text for text in ODD.values() if len(text) < 200 and not text.startswith(MANY)] + KNOWN
    mixed = ["".join(rng.choice(pieces) + rng.choice(["", " ", "\n"]) for _ in range(rng.randint(1, 3))) for _ in range(157)]
    return [*KNOWN, *ODD.values(), *mixed]


@pytest.fixture(scope="module")
def joint(tmp_path_factory):
    spacy.util.fix_random_seed(0)
    nlp = trf_pipeline("ie_ner", make_tiny_bert(tmp_path_factory.mktemp("bert")))
    nlp.add_pipe("tests_many_entities")
    few = {"max_pairs": 2000}
    for name in list(FACTORIES)[1:]:
        if name == "ie_arguments":
            nlp.add_pipe("tests_many_triggers")
        settings = few if name in ("ie_relations", "ie_arguments") else {}
        nlp.add_pipe(name, config={"model": {"tok2vec": LISTENER}, **settings})
    sgd = nlp.initialize(lambda: make_examples(nlp))
    sgd.learn_rate = 0.003
    for _ in range(40):
        nlp.update(make_examples(nlp), sgd=sgd)
    return nlp


def answer(doc):
    """What all components have written on a document: facts, and their probabilities."""
    facts = [(e.start, e.end, e.label_) for e in doc.ents]
    scores = [e._.score or 0.0 for e in doc.ents]  # those that the setter has made have none
    for relation in doc._.relations:
        facts.append((relation.head.start, relation.head.end, relation.tail.start, relation.tail.end, relation.label))
        scores.append(relation.score)
    for event in doc._.events:
        arguments = [(a.span.start, a.span.end, a.role) for a in event.arguments]
        facts.append((event.trigger.start, event.trigger.end, event.label, arguments))
        scores += [event.score, *(a.score for a in event.arguments)]
    for key in ("ie_triggers", "ie_argument_spans"):
        facts.append((key, [(s.start, s.end, s.label_) for s in doc.spans[key]]))
        scores += doc.spans[key].attrs["scores"]
    return facts, scores


def run(nlp, found, **kwargs):
    return [answer(doc) for doc in nlp.pipe(found, **kwargs)]


def same(found, expected):
    for text, one, other in zip(texts(), found, expected, strict=True):
        assert one[0] == other[0], text[:80]
        assert one[1] == pytest.approx(other[1], abs=1e-3), text[:80]


@pytest.fixture(scope="module")
def expected(joint):
    """Each text alone."""
    return run(joint, texts(), batch_size=1)


def test_every_component_finds_something_and_nothing_in_what_is_empty(joint, expected):
    by_name = dict(zip(ODD, expected[len(KNOWN) :]))
    assert len(expected) == 200
    for name in ("empty", "one space", "white space", "line breaks"):
        assert by_name[name] == ([("ie_triggers", []), ("ie_argument_spans", [])], []), name
    lengths = {len(fact) for facts, _ in expected for fact in facts}
    assert lengths == {2, 3, 4, 5}  # groups, entities, events, relations
    many = by_name["many entities"][0]
    assert sum(len(fact) == 3 for fact in many) == 500 and sum(len(fact) == 4 for fact in many) == 50
    assert all(0 <= score <= 1 for _, scores in expected for score in scores)


@pytest.mark.parametrize("size", [7, 64])
def test_answers_do_not_depend_on_the_batch(joint, expected, size):
    same(run(joint, texts(), batch_size=size), expected)


def test_answers_do_not_depend_on_the_process(joint, expected):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # a forked process must not inherit a pool of threads
    try:
        same(run(joint, texts(), batch_size=16, n_process=2), expected)
    finally:
        torch.set_num_threads(threads)


def test_evaluation_against_the_own_answers_is_perfect(joint):
    references = list(joint.pipe(texts(), batch_size=7))
    scores = joint.evaluate([Example(joint.make_doc(doc.text), doc) for doc in references], batch_size=32)
    for name in ("ents_f", "rels_micro_f", "triggers_f", "args_f", "args_attached_f", "rels_candidate_recall"):
        assert scores[name] == 1.0, name
    assert 0 < scores["arg_spans_f"] < 1  # what is proposed is more than what becomes an argument


def test_learning_from_odd_texts(joint):
    """Gold annotation is what was found: losses are finite, and empty documents do no harm."""
    nlp = spacy.util.load_model_from_config(joint.config).from_bytes(joint.to_bytes())
    chosen = [text for text in texts()[:60] if len(text) < 3000]
    examples = [Example(nlp.make_doc(doc.text), doc) for doc in nlp.pipe(chosen)]
    sgd = nlp.resume_training()
    for start in range(0, len(examples), 8):
        losses = nlp.update(examples[start : start + 8], sgd=sgd)
        assert all(torch.isfinite(torch.tensor(float(loss))) for loss in losses.values())


@pytest.mark.slow
def test_a_document_of_50_000_tokens(joint):
    text = " ".join([*KNOWN] * 1600)
    doc = joint.make_doc(text)
    assert len(doc) > 50_000
    doc = joint(doc)
    assert len(doc.ents) > 10_000 and len(doc._.events) > 100 and len(doc._.relations) > 100
    assert all(0 <= score <= 1 for score in answer(doc)[1])
