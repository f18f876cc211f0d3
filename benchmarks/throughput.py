"""Words per second of a trained pipeline against its transformer alone, and against spacy-transformers' own model class.

    python benchmarks/throughput.py training/ner/model-best [--repeats 7]

The texts of assets/newswire, tokenized beforehand, go through `nlp.pipe` with all components, and with the transformer only. Runs
alternate; medians are shown. `stock` is the same weights in spacy-transformers.TransformerModel.v3 with strided_spans(128, 96).
"""

import argparse
import json
import statistics
import time
from pathlib import Path

import spacy
from spacy.tokens import Doc
from spacy_transformers.layers import TransformerModel
from spacy_transformers.span_getters import configure_strided_spans

ROOT = Path(__file__).parents[1]


def load_texts():
    for split in ("train", "dev", "test"):
        for line in (ROOT / "assets" / "newswire" / f"{split}.jsonl").read_text(encoding="utf8").splitlines():
            yield json.loads(line)["text"]


def stock_copy(nlp):
    """The same pipeline with spacy-transformers' own model around the same weights."""
    other = spacy.load(nlp.path)
    pipe = other.get_pipe("transformer")
    stock = TransformerModel("stock", configure_strided_spans(128, 96))
    stock.layers[0] = pipe.model.layers[0]
    stock.attrs["has_transformer"] = True
    stock.set_dim("nO", pipe.model.get_dim("nO"))
    pipe.model = stock
    return other


def rate(nlp, docs, names):
    copies = [Doc(nlp.vocab, words=[t.text for t in d], spaces=[bool(t.whitespace_) for t in d]) for d in docs]
    start = time.perf_counter()
    with nlp.select_pipes(enable=names):
        for _ in nlp.pipe(copies):
            pass
    return sum(map(len, copies)) / (time.perf_counter() - start)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--repeats", type=int, default=7)
    args = parser.parse_args()
    nlp = spacy.load(args.model)
    docs = [nlp.make_doc(text) for text in load_texts()]
    stock = stock_copy(nlp)
    runs = {
        "transformer": (nlp, ["transformer"]),
        "transformer + ie_ner": (nlp, ["transformer", "ie_ner"]),
        "stock transformer": (stock, ["transformer"]),
        "stock transformer + ie_ner": (stock, ["transformer", "ie_ner"]),
    }
    rates = {name: [] for name in runs}
    for i in range(args.repeats + 1):
        for name, (pipeline, names) in runs.items():
            value = rate(pipeline, docs, names)
            if i:
                rates[name].append(value)
    medians = {name: statistics.median(values) for name, values in rates.items()}
    print(f"{len(docs)} documents, {sum(map(len, docs))} tokens")
    for name, value in medians.items():
        print(f"{name:<28} {value:>7.0f} words/s {value / medians['transformer']:>7.1%}")


if __name__ == "__main__":
    main()
