"""Words per second of a trained pipeline against its transformer alone, and against spacy-transformers' own model class.

    python benchmarks/throughput.py training/joint/model-best [--texts 200] [--repeats 7] [--train 12] [--threads 1]

The texts of assets/newswire, tokenized beforehand, go through `nlp.pipe` with the transformer only, with each of our components
behind it, and with all. A single component finds on the documents what the whole pipeline wrote before, so that `ie_relations` has its
entities. Runs alternate; medians are shown. `stock` is the same weights in spacy-transformers.TransformerModel.v3 with
strided_spans(128, 96).

With `--train N` also N updates of the same batches: of the transformer alone, forward, backward (through a listener with a constant
gradient) and step, against all components of the pipeline. On busy cores give `--threads 1`: threads that wait for each other
cost more than they save, and small operations most.
"""

import argparse
import itertools
import json
import statistics
import time
from pathlib import Path

import spacy
import torch
from spacy_transformers.layers import TransformerModel
from spacy_transformers.span_getters import configure_strided_spans

from spacy_llm_ie.data.corpus import create_corpus_v1

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
    copies = [doc.copy() for doc in docs]
    start = time.perf_counter()
    with nlp.select_pipes(enable=names):
        for _ in nlp.pipe(copies):
            pass
    return sum(map(len, copies)) / (time.perf_counter() - start)


def annotate(nlp, docs):
    """Copies of documents with what the pipeline finds in them, but not the transformer's vectors."""
    found = list(nlp.pipe(doc.copy() for doc in docs))
    for doc in found:
        doc._.trf_data = None
    return found


def predict(nlp, docs, repeats):
    heads = [name for name in nlp.pipe_names if name.startswith("ie_")]
    stock, known = stock_copy(nlp), annotate(nlp, docs)
    runs = {"transformer": (nlp, docs, [])}
    if len(heads) > 1:
        runs.update({f"transformer + {name}": (nlp, known, [name]) for name in heads})
    everything = heads[0] if len(heads) == 1 else "all components"
    runs[f"transformer + {everything}"] = (nlp, docs, heads)
    runs["stock transformer"] = (stock, docs, [])
    runs[f"stock transformer + {everything}"] = (stock, docs, heads)
    rates = {name: [] for name in runs}
    for i in range(repeats + 1):
        for name, (pipeline, texts, names) in runs.items():
            value = rate(pipeline, texts, ["transformer", *names])
            if i:
                rates[name].append(value)
    events = [event for doc in known for event in doc._.events]
    counts = {
        "entities": sum(len(doc.ents) for doc in known),
        "relations": sum(len(doc._.relations) for doc in known),
        "events": len(events),
        "arguments": sum(len(event.arguments) for event in events),
    }
    found = ", ".join(f"{count} {what}" for what, count in counts.items())
    print(f"{len(docs)} documents, {sum(map(len, docs))} tokens; found: {found}")
    show(rates)


def show(rates):
    """Medians, and their ratio to the first."""
    medians = {name: statistics.median(values) for name, values in rates.items()}
    for name, value in medians.items():
        print(f"{name:<36} {value:>7.0f} words/s {value / next(iter(medians.values())):>7.1%}", flush=True)


def bare_pipeline(path):
    """The transformer alone, with the token vectors that one component would get. RETURNS: Pipeline and that layer."""
    nlp = spacy.load(path)
    transformer, head = nlp.get_pipe("transformer"), next(name for name in nlp.pipe_names if name.startswith("ie_"))
    vectors, listener = nlp.get_pipe(head).model.get_ref("tok2vec"), transformer.listener_map[head][0]
    for name in nlp.pipe_names:
        if name != "transformer":
            nlp.remove_pipe(name)
    transformer.add_listener(listener, head)  # removing components has unlinked it
    return nlp, vectors


def train(path, updates):
    """Updates of the same batches in alternation, after one to warm up."""
    bare, vectors = bare_pipeline(path)
    whole = spacy.load(path)
    batcher = spacy.registry.resolve({"batcher": whole.config.interpolate()["training"]["batcher"]})["batcher"]
    sgds = [nlp.resume_training() for nlp in (bare, whole)]

    def update_bare(examples):
        transformer = bare.get_pipe("transformer")
        transformer.update(examples, drop=0.1)
        arrays, backprop = vectors.begin_update([example.predicted for example in examples])
        backprop([array * 0 + 1e-6 for array in arrays])
        transformer.finish_update(sgds[0])

    def update_whole(examples):
        whole.update(examples, drop=0.1, sgd=sgds[1], losses={})

    rates = {}
    for name, nlp, update in (("transformer", bare, update_bare), ("transformer + all components", whole, update_whole)):
        examples = list(create_corpus_v1(ROOT / "assets" / "newswire" / "train.jsonl")(nlp))
        batches = [list(batch) for batch in itertools.islice(batcher(examples), updates + 1)]
        rates[name] = (update, batches, [])
    for i in range(updates + 1):
        for update, batches, values in rates.values():
            start = time.perf_counter()
            update(batches[i])
            if i:
                values.append(sum(len(example.predicted) for example in batches[i]) / (time.perf_counter() - start))
    print(f"training: {updates} updates")
    show({name: values for name, (_, _, values) in rates.items()})


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--texts", type=int, help="only so many")
    parser.add_argument("--repeats", type=int, default=7, help="0: do not measure prediction")
    parser.add_argument("--train", type=int, default=0, metavar="N", help="measure N updates, too")
    parser.add_argument("--threads", type=int, help="threads of torch")
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    if args.repeats:
        nlp = spacy.load(args.model)
        predict(nlp, [nlp.make_doc(text) for text in itertools.islice(load_texts(), args.texts)], args.repeats)
    if args.train:
        train(args.model, args.train)


if __name__ == "__main__":
    main()
