"""Small pipelines and configs for distillation."""

import json

import spacy
from thinc.api import Config

from tests.contract.test_components import TEXTS

NAMES = ("ie_ner", "ie_relations", "ie_triggers", "ie_arguments")
CONFIG = """
[paths]
train = null
dev = null

[nlp]
lang = "en"
pipeline = {pipeline}

[components]

[components.tok2vec]
factory = "tok2vec"

[components.tok2vec.model]
@architectures = "spacy.HashEmbedCNN.v2"
pretrained_vectors = null
width = 32
depth = 2
embed_size = 500
window_size = 1
maxout_pieces = 2
subword_features = true

{components}

[corpora]

[corpora.train]
@readers = "spacy-llm-ie.Corpus.v1"
path = ${{paths.train}}

[corpora.dev]
@readers = "spacy-llm-ie.Corpus.v1"
path = ${{paths.dev}}

[training]
seed = 0
gpu_allocator = null
dropout = 0.0
max_steps = {steps}
eval_frequency = {steps}
optimizer = {{"@optimizers": "Adam.v1", "learn_rate": 0.01}}
batcher = {{"@batchers": "spacy.batch_by_sequence.v1", "size": 8}}
"""
LISTENER = {"@architectures": "spacy.Tok2VecListener.v1", "width": 32, "upstream": "tok2vec"}


def make_config(path, names=NAMES, steps=50, extra=""):
    """Write the config of a CNN student. RETURNS: Its path."""
    components = {}
    for name in names:
        kind = "CrfTagger" if name in ("ie_ner", "ie_triggers") else "PairClassifier"
        model = {"@architectures": f"spacy-llm-ie.{kind}.v1", "tok2vec": LISTENER}
        components[name] = {"factory": name, "model": model}
    text = Config({"components": components}).to_str().replace("[components]\n", "")
    pipeline = json.dumps(["tok2vec", *names])
    path.write_text(CONFIG.format(pipeline=pipeline, components=text, steps=steps) + extra, encoding="utf8")
    return path


def write_texts(path, texts=tuple(text for text, _ in TEXTS)):
    """Write texts without labels. RETURNS: The path."""
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf8")
    return path


def make_joint():
    """All components, each with token vectors of its own."""
    spacy.util.fix_random_seed(0)
    nlp = spacy.blank("en")
    for name in NAMES:
        nlp.add_pipe(name, config={"model": {"tok2vec": {"width": 32, "depth": 2, "embed_size": 500}}})
    return nlp
