import numpy
import spacy
from spacy.tokens import Doc

OURS = "spacy-llm-ie.TransformerModel.v1"
STOCK = "spacy-transformers.TransformerModel.v3"
OUR_SPANS = {"@span_getters": "spacy-llm-ie.wordpiece_spans.v1"}
STOCK_SPANS = {"@span_getters": "spacy-transformers.strided_spans.v1", "window": 128, "stride": 96}


def make_nlp(name, *, architecture=OURS, spans=OUR_SPANS, listener=False, initialize=True, **settings):
    nlp = spacy.blank("en")
    model = {"@architectures": architecture, "name": name, "get_spans": dict(spans), **settings}
    nlp.add_pipe("transformer", config={"model": model})
    if listener:
        add_tagger(nlp)
    if initialize:
        nlp.initialize()
    return nlp


def add_tagger(nlp):
    tok2vec = {
        "@architectures": "spacy-transformers.TransformerListener.v1",
        "grad_factor": 1.0,
        "pooling": {"@layers": "reduce_mean.v1"},
    }
    model = {"@architectures": "spacy.Tagger.v2", "tok2vec": tok2vec}
    tagger = nlp.add_pipe("tagger", config={"model": model})
    for label in ("A", "B"):
        tagger.add_label(label)


def get_vectors(doc):
    """The mean of the pieces of each token, as pooling makes it; NaN for tokens without pieces."""
    data = doc._.trf_data
    hidden = data.model_output.last_hidden_state
    rows = hidden.reshape(-1, hidden.shape[-1])[data.align.dataXd]
    ends = numpy.cumsum(data.align.lengths)
    parts = [rows[end - n : end] for end, n in zip(ends, data.align.lengths)]
    return numpy.array([part.mean(axis=0) if len(part) else part.sum(axis=0) * numpy.nan for part in parts])


def find_bare(doc):
    """The tokens without pieces."""
    return [i for i, n in enumerate(doc._.trf_data.align.lengths) if n == 0]


def run(nlp, words):
    """Run the transformer over a document of these tokens, or of the tokens of a text."""
    doc = nlp.make_doc(words) if isinstance(words, str) else Doc(nlp.vocab, words=words)
    return nlp.get_pipe("transformer")(doc)
