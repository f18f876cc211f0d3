"""Tiny transformers of each family, and a pipeline that is trained on one of them."""

import json
from pathlib import Path

import spacy
import srsly
import torch
from spacy.training import Example
from thinc.api import Adam
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import CONFIG_MAPPING, AutoModel, AutoTokenizer, PreTrainedTokenizerFast

from tests.contract.test_components import TEXTS, annotate
from tests.contract.test_joint import joint_pipeline
from tests.util import make_tiny_bert

SPECIAL = {"unk_token": "[UNK]", "pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]"}
LINES = [text for text, _ in TEXTS] + [
    "The bank of Lagos cut jobs in July, and the bank said so.",
    "naïve façade 中国 αβγ 12 %",
] * 5

SENTENCES = ["The bank of Lagos cut jobs.", "Ada Quill joined Arlen Foods in Omaha .", "shares"]


def make_examples(nlp):
    examples = []
    for number, (text, _) in enumerate(TEXTS):
        reference = spacy.tokens.Doc(nlp.vocab, words=text.split())
        annotate(reference, number)
        examples.append(Example(nlp.make_doc(text), reference))
    return examples


def make_pipeline(path, steps=60):
    """All components on one transformer, trained on the four texts of the contract until they know most of them."""
    nlp = joint_pipeline(str(path))
    examples = make_examples(nlp)
    nlp.initialize(lambda: examples)
    optimizer = Adam(0.002)
    for _ in range(steps):
        nlp.update(examples, sgd=False)
        for _, pipe in nlp.pipeline:
            if hasattr(pipe, "finish_update"):
                pipe.finish_update(optimizer)
    return nlp


def answers(nlp, texts=tuple(text for text, _ in TEXTS)):
    """Everything that the pipeline says about texts, with probabilities to five digits."""
    found = []
    for doc in nlp.pipe(texts):
        found.append(
            (
                [(ent.start, ent.end, ent.label_, round(ent._.score, 5)) for ent in doc.ents],
                [(r.head.start, r.tail.start, r.label, round(r.score, 5)) for r in doc._.relations],
                [
                    (e.trigger.start, e.label, round(e.score, 5), [(a.role, a.span.start) for a in e.arguments])
                    for e in doc._.events
                ],
            )
        )
    return found


def make_family(path, model_type, tokenizer=None):
    """A random transformer of a family, with 3 layers of 4 heads and 48 neurons, 32 wide; the tiny BERT's vocabulary, or another."""
    make_tiny_bert(path)
    if tokenizer is not None:
        (Path(path) / "vocab.txt").unlink()
        tokenizer.save_pretrained(path)
    tokenizer = AutoTokenizer.from_pretrained(path)
    names = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 48}
    if model_type == "distilbert":
        names = {"dim": 32, "n_layers": 3, "n_heads": 4, "hidden_dim": 48}
        settings = srsly.read_json(Path(path) / "tokenizer_config.json")
        settings = {**settings, "model_input_names": ["input_ids", "attention_mask"], "tokenizer_class": "DistilBertTokenizer"}
        srsly.write_json(Path(path) / "tokenizer_config.json", settings)
    names.update({"embedding_size": 16} if model_type == "electra" else {})
    if model_type in ("roberta", "xlm-roberta", "camembert"):
        names.update(pad_token_id=tokenizer.pad_token_id, bos_token_id=2, eos_token_id=3, type_vocab_size=2)
    config = CONFIG_MAPPING[model_type](**names, vocab_size=len(tokenizer), max_position_embeddings=130, initializer_range=0.2)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        AutoModel.from_config(config).save_pretrained(path)
    return str(path)


def train_tokenizer(kind, size=220, **settings):
    """A small fast tokenizer of a kind, trained on LINES, with the special pieces of BERT."""
    special = list(SPECIAL.values())
    if kind == "BPE":
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(), decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=size + 256,
            special_tokens=special,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
    elif kind == "Unigram":
        tokenizer = Tokenizer(models.Unigram())
        tokenizer.normalizer, tokenizer.pre_tokenizer = normalizers.NFKC(), pre_tokenizers.Metaspace()
        trainer = trainers.UnigramTrainer(vocab_size=size, special_tokens=special, unk_token="[UNK]", show_progress=False)
    else:
        tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]", **settings))
        tokenizer.normalizer, tokenizer.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
        trainer = trainers.WordPieceTrainer(vocab_size=size, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator(LINES, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(name, tokenizer.token_to_id(name)) for name in ("[CLS]", "[SEP]")],
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=126, **SPECIAL)


def pieces(tokenizer, text):
    return tokenizer.convert_ids_to_tokens(tokenizer(text, add_special_tokens=False)["input_ids"])


def with_vocab(tokenizer, change):
    """The same tokenizer with its JSON changed."""
    data = json.loads(tokenizer.backend_tokenizer.to_str())
    change(data)
    return PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(json.dumps(data)), model_max_length=126, **SPECIAL)
