"""What is particular to `ie_ner`: thresholds, candidates, preset entities, partial annotation, rates, errors."""

import math

import numpy
import pytest
import spacy
from spacy.tokens import Doc, Span
from spacy.training import Example
from thinc.api import Adam

from spacy_llm_ie.ner.decoding import keep_surest
from spacy_llm_ie.ner.model import get_crf
from spacy_llm_ie.ner.scorer import expected_calibration_error, reliability
from spacy_llm_ie.ner.targets import allowed_tags
from spacy_llm_ie.schemes import SCHEMES
from spacy_llm_ie.shim import parameter_keys

TEXTS = [
    ("Ada Quill joined Arlen Foods in Omaha .", [(0, 9, "PERSON"), (17, 28, "ORG"), (32, 37, "GPE")]),
    ("Bexley Grain of Lagos sued Omar Lind .", [(0, 12, "ORG"), (16, 21, "GPE"), (27, 36, "PERSON")]),
    ("Lagos rose , said Ada Lind .", [(0, 5, "GPE"), (18, 26, "PERSON")]),
]


def make_examples(nlp, texts=TEXTS):
    return [Example.from_dict(nlp.make_doc(text), {"entities": ents}) for text, ents in texts]


def make(steps=0, texts=TEXTS, seed=0, **config):
    spacy.util.fix_random_seed(seed)
    nlp = spacy.blank("en")
    nlp.add_pipe("ie_ner", config=config)
    examples = make_examples(nlp, texts)
    sgd = nlp.initialize(lambda: examples)
    for _ in range(steps):
        nlp.update(examples, sgd=sgd)
    return nlp


def ents(doc):
    return [(ent.start, ent.end, ent.label_) for ent in doc.ents]


@pytest.fixture(scope="module", params=SCHEMES)
def halfway(request):
    """A pipeline that has learned something, but is not sure."""
    return make(steps=1, scheme=request.param, spans_key="maybe", candidate_threshold=0.02)


def test_score_is_the_probability_over_all_segmentations(halfway):
    """Against n-best: the probabilities of all sets of spans that contain the entity add up to its score."""
    pipe = halfway.get_pipe("ie_ner")
    doc = halfway("Lagos sued")
    every = pipe.n_best(doc, 1000)
    assert math.fsum(p for p, _ in every) == pytest.approx(1, abs=1e-6)
    assert len(doc.spans["maybe"]) >= 2
    for span, score in zip(doc.spans["maybe"], doc.spans["maybe"].attrs["scores"]):
        key = (span.start, span.end, span.label_)
        total = math.fsum(p for p, spans in every if key in [(s.start, s.end, s.label_) for s in spans])
        assert score == pytest.approx(total, abs=1e-6)
    for ent in doc.ents:
        assert ent._.score in [pytest.approx(s) for s in doc.spans["maybe"].attrs["scores"]]


def test_threshold_null_is_the_best_path_and_numbers_trade_recall_for_precision(halfway):
    pipe = halfway.get_pipe("ie_ner")
    doc = halfway(TEXTS[0][0])
    assert ents(doc) == [(s.start, s.end, s.label_) for s in pipe.n_best(doc, 1)[0][1]]
    found = {}
    for threshold in (0.02, 0.3, 0.9, 1.0):
        pipe.cfg["threshold"] = threshold
        found[threshold] = halfway(TEXTS[0][0])
        assert all(ent._.score >= threshold for ent in found[threshold].ents)
    pipe.cfg["threshold"] = None
    counts = [len(doc.ents) for doc in found.values()]
    assert counts == sorted(counts, reverse=True) and counts[0] > counts[-1] == 0


def test_a_label_can_have_a_threshold_of_its_own(halfway):
    pipe = halfway.get_pipe("ie_ner")
    before = halfway(TEXTS[0][0])
    pipe.cfg["thresholds"] = {"PERSON": 1.0}
    after = halfway(TEXTS[0][0])
    pipe.cfg["thresholds"] = {}
    assert ents(after) == [e for e in ents(before) if e[2] != "PERSON"] != ents(before)


def test_candidates_overlap_and_are_cleared(halfway):
    doc = halfway(TEXTS[0][0])
    group = doc.spans["maybe"]
    assert group.has_overlap and min(group.attrs["scores"]) >= 0.02
    halfway.get_pipe("ie_ner").set_annotations([doc], [halfway.get_pipe("ie_ner").predict([Doc(halfway.vocab)])[0]])
    assert not doc.ents and not doc.spans["maybe"] and not doc.spans["maybe"].attrs["scores"]


def test_keep_surest():
    spans = [(0, 2, "A", 0.4), (1, 3, "B", 0.5), (3, 4, "A", 0.1), (2, 3, "C", 0.45)]
    assert keep_surest(spans) == [(1, 3, "B", 0.5), (3, 4, "A", 0.1)]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_entities_that_are_there_are_kept_and_the_rest_is_found_given_them(scheme):
    nlp = make(steps=40, scheme=scheme, overwrite=False)
    nlp.add_pipe("entity_ruler", before="ie_ner", config={"phrase_matcher_attr": "LOWER"}).add_patterns(
        [{"label": "PERSON", "pattern": "Omaha"}, {"label": "NEW", "pattern": "joined Arlen"}]
    )
    doc = nlp(TEXTS[0][0])
    assert ents(doc)[:2] == [(0, 2, "PERSON"), (2, 4, "NEW")] and ents(doc)[-1] == (6, 7, "PERSON")
    assert doc.ents[-1]._.score is None  # not ours
    assert doc.ents[1]._.score is None
    nlp.get_pipe("ie_ner").cfg["overwrite"] = True
    assert ents(nlp(TEXTS[0][0])) == [(0, 2, "PERSON"), (3, 5, "ORG"), (6, 7, "GPE")]


def test_a_second_recogniser_keeps_the_scores_and_links_of_the_first():
    nlp = make(steps=40)
    doc = nlp(TEXTS[0][0])
    linked = [Span(doc, ent.start, ent.end, label=ent.label_, kb_id="Q1") for ent in doc.ents]
    doc.set_ents(linked)
    scores = [ent._.score for ent in doc.ents]
    pipe = nlp.get_pipe("ie_ner")
    pipe.cfg["overwrite"] = False
    pipe(doc)
    assert [ent._.score for ent in doc.ents] == scores
    assert {ent.kb_id_ for ent in doc.ents} == {"Q1"}


@pytest.mark.parametrize("scheme", SCHEMES)
def test_entities_do_not_begin_or_end_with_white_space(scheme):
    nlp = make(steps=1, scheme=scheme, spans_key="maybe", candidate_threshold=0.01)
    doc = nlp("Omaha\n\n Ada \n Quill\t\tLagos \n")
    assert len(doc.spans["maybe"]) > 2
    assert not any(span[0].is_space or span[-1].is_space for span in doc.spans["maybe"])


def test_white_space_amid_missing_tokens_is_missing():
    nlp = make()
    doc = nlp.make_doc("Ada \n Quill joined")
    doc.set_ents([], missing=[doc[0:3]], default="outside")
    allowed = allowed_tags(Example(nlp.make_doc(doc.text), doc), nlp.get_pipe("ie_ner").scheme)
    assert allowed[:3].all()
    assert allowed[3].sum() == 1


def test_get_loss_leaves_no_gradient_behind():
    nlp = make()
    pipe = nlp.get_pipe("ie_ner")
    examples = make_examples(nlp)
    scores = pipe.model.predict([eg.predicted for eg in examples])
    first, second = (pipe.get_loss(examples, scores) for _ in range(2))
    assert first[0] == second[0]
    assert all(p.grad is None or not p.grad.any() for p in get_crf(pipe.model).parameters())


def test_settings_at_load_go_before_saved_ones_and_those_before_the_config(tmp_path):
    nlp = make(steps=1)
    nlp.get_pipe("ie_ner").cfg["threshold"] = 0.4
    nlp.to_disk(tmp_path / "m")
    assert spacy.load(tmp_path / "m").get_pipe("ie_ner").cfg["threshold"] == 0.4
    override = {"components": {"ie_ner": {"threshold": 0.7, "spans_key": "maybe"}}}
    pipe = spacy.load(tmp_path / "m", config=override).get_pipe("ie_ner")
    assert (pipe.cfg["threshold"], pipe.cfg["spans_key"]) == (0.7, "maybe")
    assert pipe.labels == nlp.get_pipe("ie_ner").labels


def test_scores_go_along_with_parts_of_documents():
    nlp = make(steps=40)
    doc = nlp(TEXTS[0][0])
    part = doc[3:8].as_doc(copy_user_data=True)
    assert [ent._.score for ent in part.ents] == [ent._.score for ent in doc.ents[1:]]
    both = Doc.from_docs([doc, nlp(TEXTS[1][0])])
    assert all(ent._.score is not None for ent in both.ents)


def missing(nlp, text, known, unknown):
    doc = nlp.make_doc(text)
    doc.set_ents(
        [Span(doc, *span[:2], label=span[2]) for span in known],
        missing=[Span(doc, *span) for span in unknown],
        default="outside",
    )
    return Example(nlp.make_doc(text), doc)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_missing_tokens_allow_every_tag_but_do_not_lengthen_a_span(scheme):
    nlp = make(scheme=scheme)
    tags = nlp.get_pipe("ie_ner").scheme
    example = missing(nlp, "Ada Quill joined Arlen Foods", [(0, 2, "PERSON")], [(2, 4)])
    allowed = allowed_tags(example, tags)
    assert allowed[0].sum() == allowed[1].sum() == allowed[4].sum() == 1
    assert allowed[3].all()
    assert allowed[2].sum() == len(tags.tags) - (scheme == "BIO")


def test_learning_from_documents_that_are_annotated_in_part():
    """PERSON is annotated in one document and ORG in another, everything else there is missing: both are learned."""
    spacy.util.fix_random_seed(0)
    nlp = spacy.blank("en")
    nlp.add_pipe("ie_ner")
    text = TEXTS[0][0]
    examples = [missing(nlp, text, [(0, 2, "PERSON")], [(2, 8)]), missing(nlp, text, [(3, 5, "ORG")], [(0, 3), (5, 8)])]
    sgd = nlp.initialize(lambda: examples)
    for _ in range(40):
        losses = nlp.update(examples, sgd=sgd)
    assert losses["ie_ner"] < 0.05
    assert {(0, 2, "PERSON"), (3, 5, "ORG")} <= set(ents(nlp(text)))


def test_learn_rate_factor_scales_the_head_only():
    moved = {}
    for factor in (1.0, 10.0):
        nlp = make(learn_rate_factor=factor)
        model = nlp.get_pipe("ie_ner").model
        keys = parameter_keys(model.get_ref("tok2vec"))
        assert keys
        before = {(n.id, p): n.get_param(p).copy() for n in model.walk() for p in n.param_names if n.has_param(p)}
        crf = get_crf(model).crf.transitions.detach().clone()
        nlp.update(make_examples(nlp), sgd=Adam(1e-4, grad_clip=0.0, L2=0.0))
        steps = {"encoder": [], "head": [float((get_crf(model).crf.transitions.detach() - crf).abs().max())]}
        for node in model.walk():
            for name in node.param_names:
                if node.has_param(name):
                    change = float(numpy.abs(node.get_param(name) - before[node.id, name]).max())
                    steps["encoder" if (node.id, name) in keys else "head"].append(change)
        moved[factor] = {part: max(values) for part, values in steps.items()}
    assert moved[10.0]["head"] == pytest.approx(10 * moved[1.0]["head"], rel=0.05)
    assert moved[10.0]["encoder"] == pytest.approx(moved[1.0]["encoder"], rel=0.2)


@pytest.mark.parametrize("hidden", [None, 32])
def test_dropout_of_the_head_reaches_the_layer_and_is_off_in_prediction(hidden):
    config = {"dropout": 0.9, "hidden_size": hidden}
    nlp = make(steps=1, model=config)
    model = nlp.get_pipe("ie_ner").model
    docs = [nlp.make_doc(TEXTS[0][0])]
    model.attrs["dropout"] = 0.9
    outputs = [model.begin_update(docs)[0][0] for _ in range(2)]
    assert not numpy.allclose(*outputs)
    assert model.get_ref("dropout").attrs["dropout_rate"] == 0.9
    numpy.testing.assert_array_equal(model.predict(docs)[0], model.predict(docs)[0])


def test_lexical_features_tell_capitals_apart():
    features = {
        "@architectures": "spacy.MultiHashEmbed.v2",
        "width": 16,
        "attrs": ["SHAPE"],
        "rows": [50],
        "include_static_vectors": False,
    }
    nlp = make(model={"features": features})
    emissions = nlp.get_pipe("ie_ner").emissions([nlp.make_doc("Omaha omaha")])[0]
    assert emissions.shape == (2, 13) and not numpy.allclose(emissions[0], emissions[1])


def test_averaged_weights_are_used_where_spacy_uses_them():
    nlp = make()
    crf = get_crf(nlp.get_pipe("ie_ner").model).crf
    sgd = Adam(0.1, use_averages=True)
    for _ in range(5):
        nlp.update(make_examples(nlp), sgd=sgd)
    current = crf.transitions.detach().clone()
    with nlp.use_params(sgd.averages):
        inside = crf.transitions.detach().clone()
    assert not numpy.allclose(inside, current)
    numpy.testing.assert_array_equal(crf.transitions.detach(), current)


def test_predictions_follow_an_update_that_documents_were_read_in():
    """Whatever is kept of parameters to predict with: `annotating_components` predict before the optimizer writes to them."""
    features = {"@architectures": "spacy.MultiHashEmbed.v2", "width": 16, "attrs": ["NORM"], "rows": [50]}
    model = {"features": {**features, "include_static_vectors": False}}
    nlp = make(model=model)
    pipe, examples, sgd = nlp.get_pipe("ie_ner"), make_examples(nlp), Adam(0.05)
    docs = [nlp.make_doc(text) for text, _ in TEXTS]

    def read(pipe):
        emissions = pipe.emissions(docs)
        p = [get_crf(pipe.model).potentials(array[None], numpy.array([len(array)])) for array in emissions]
        return [numpy.concatenate(emissions), p[0].transitions[numpy.isfinite(p[0].transitions)]]

    for _ in range(3):
        pipe.update(examples)
        before = read(pipe)
        pipe.finish_update(sgd)
        after = read(pipe)
        for old, new, loaded in zip(before, after, read(make(model=model).get_pipe("ie_ner").from_bytes(pipe.to_bytes()))):
            assert abs(new - old).max() > 1e-3
            numpy.testing.assert_allclose(loaded, new, atol=1e-5)


def test_calibration_error_by_its_definition():
    pairs = [(0.95, True), (0.97, False), (0.55, True), (0.51, True), (0.0, False), (1.0, True)]
    table = reliability(pairs)
    assert [count for _, _, count in table] == [1, 2, 3]
    expected = (1 * 0.0 + 2 * (1 - 0.53) + 3 * abs(2 / 3 - (0.95 + 0.97 + 1) / 3)) / 6
    assert expected_calibration_error(pairs) == pytest.approx(expected)
    assert expected_calibration_error([]) is None


def test_documents_without_gold_entities_are_not_scored():
    nlp = make(steps=40)
    plain = nlp.make_doc(TEXTS[0][0])
    scores = nlp.evaluate([*make_examples(nlp), Example(nlp.make_doc(TEXTS[0][0]), plain)])
    assert scores["ents_f"] == 1.0 and scores["ents_ece"] < 0.2
    nothing = nlp.evaluate([Example(nlp.make_doc("Omaha"), nlp.make_doc("Omaha"))])
    assert nothing["ents_f"] is None and nothing["ents_ece"] is None


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"scheme": "IOB9"}, "IE-E101"),
        ({"threshold": 1.5}, "IE-E207.*threshold.*1.5"),
        ({"thresholds": {"ORG": -1.0}}, "IE-E207.*thresholds.ORG"),
        ({"learn_rate_factor": 0.0}, "IE-E208"),
        ({"thresholds": {"NOPE": 0.5}}, "IE-E209.*NOPE.*ORG"),
    ],
)
def test_bad_settings_are_refused(config, message):
    with pytest.raises(ValueError, match=message):
        make(**config)


def test_training_data_without_an_entity_is_refused():
    with pytest.raises(ValueError, match="IE-E205.*ie convert"):
        make(texts=[("Nothing here .", [])])


def test_a_label_that_the_model_lacks_is_named_with_its_text():
    nlp = make()
    late = Example.from_dict(nlp.make_doc("Omaha sells Crisp"), {"entities": [(12, 17, "PRODUCT")]})
    with pytest.raises(ValueError, match="IE-E203.*PRODUCT.*Omaha sells.*init labels"):
        nlp.update([late], sgd=nlp.create_optimizer())
    with pytest.raises(ValueError, match="IE-E204.*PRODUCT"):
        nlp.get_pipe("ie_ner").add_label("PRODUCT")
    assert nlp.get_pipe("ie_ner").add_label("ORG") == 0


def test_spans_that_do_not_fit_the_tokens_are_counted():
    nlp = spacy.blank("en")
    nlp.add_pipe("ie_ner")
    reference = Doc(nlp.vocab, words=["Omaha", "based", "rose"], spaces=[False, True, False], ents=["B-GPE", "O", "O"])
    predicted = Doc(nlp.vocab, words=["Omahabased", "rose"], spaces=[True, False])
    with pytest.warns(UserWarning, match="IE-W201.*1 of 9.*'Omaha' \\(GPE\\)"):
        nlp.initialize(lambda: [Example(predicted, reference), *make_examples(nlp)])


def test_a_model_cannot_be_initialised_again_for_other_labels():
    nlp = make(steps=40)
    pipe = nlp.get_pipe("ie_ner")
    expected = ents(nlp(TEXTS[0][0]))
    with pytest.raises(ValueError, match="IE-E214.*PRODUCT.*add_pipe"):
        pipe.initialize(lambda: make_examples(nlp), labels=[*pipe.labels, "PRODUCT"])
    assert ents(nlp(TEXTS[0][0])) == expected
    pipe.initialize(lambda: make_examples(nlp))


def test_labels_that_were_added_stay():
    nlp = spacy.blank("en")
    assert nlp.add_pipe("ie_ner").add_label("ZZ") == 1
    nlp.get_pipe("ie_ner").initialize(lambda: make_examples(nlp), labels=["PERSON", "ORG", "GPE"])
    assert nlp.get_pipe("ie_ner").labels == ("GPE", "ORG", "PERSON", "ZZ")


def test_a_threshold_that_is_mistyped_at_run_time_is_refused():
    nlp = make()
    nlp.get_pipe("ie_ner").cfg["thresholds"] = {"PERSN": 0.9}
    with pytest.raises(ValueError, match="IE-E209.*PERSN"):
        nlp("Omaha")


def test_divergence_is_said_plainly():
    nlp = make()
    model = nlp.get_pipe("ie_ner").model
    output = model.get_ref("output_layer")
    output.set_param("W", numpy.full_like(output.get_param("W"), numpy.nan))
    with pytest.raises(ValueError, match="IE-E210.*learning rate"):
        nlp.update(make_examples(nlp), sgd=nlp.create_optimizer())
    with pytest.raises(ValueError, match="IE-E210"):
        nlp("Omaha")


def test_a_transformer_that_did_not_run_is_an_error(tmp_path):
    from tests.contract.test_components import train, trf_pipeline
    from tests.util import make_tiny_bert

    nlp = trf_pipeline("ie_ner", make_tiny_bert(tmp_path / "bert"))
    train(nlp, steps=1)
    with nlp.select_pipes(disable=["transformer"]), pytest.raises(ValueError, match="IE-E206.*transformer"):
        nlp("Omaha")
    assert not nlp("").ents


ODD = ["", " ", "\n" * 1000, "x" * 5000, "😀👩‍👩‍👧‍👦🇩🇪" * 50, "شركة أبل", "a\u0000b", "Omaha\r\n" * 30]


def test_strange_texts_are_tagged_and_do_not_disturb_their_neighbours():
    nlp = make(steps=30)
    alone = ents(nlp(TEXTS[0][0]))
    docs = list(nlp.pipe([*ODD, TEXTS[0][0], *ODD], batch_size=50))
    assert len(docs) == 2 * len(ODD) + 1
    assert ents(docs[len(ODD)]) == alone


def test_a_long_document_is_tagged_like_its_parts():
    nlp = make(steps=30)
    text = TEXTS[0][0] + " "
    doc = nlp(text * 500)
    one = [(label) for _, _, label in ents(nlp(text))]
    assert [e[2] for e in ents(doc)] == one * 500
