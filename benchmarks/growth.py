"""How what a pipeline costs grows: with the length of documents, batches, labels, entities, processes, and with time.

    python benchmarks/growth.py PIPELINE [--only length batch ...] [--documents 100000] [--output docs/images] [--json growth.json]

PIPELINE is a trained or compressed one with our components. Texts are sentences of assets/newswire, shuffled, joined and cut to length.
Each point is measured in a process of its own, after a warm-up: the median of `--repeats` runs. Seconds are those of the processor, all
threads together, which other programs hardly change; only `processes` and first answers are timed by the clock. Memory is what the
process had at its peak beyond what it had before (Linux only). `--json` keeps the numbers: questions that are not asked again stay in
it, and `--only none` draws the plots anew. No thread waits by spinning, which takes the processor from others: OMP_WAIT_POLICY=PASSIVE
and OPENBLAS_NUM_THREADS=1, unless they are set.

length: words a second, seconds of each component when it runs alone, memory. batch: the batch_size of nlp.pipe over sentences.
labels: new, untrained `ie_ner` and `ie_relations` on the encoder of the pipeline, made to find as much as the trained ones; every pair
of entities is scored for every label. entities: so many entities are set in a document of 2,000 words, and its relations and arguments
found. processes: n_process over few and many sentences. stream: resident memory while numbered sentences go by, with and without
nlp.memory_zone() and with the tokenizer alone, and what a document takes that is kept.
"""

import argparse
import itertools
import json
import os
import random
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path

NEWSWIRE = Path(__file__).parents[1] / "assets" / "newswire"
LENGTHS = (10, 100, 1_000, 10_000, 100_000)
BATCHES = (1, 8, 32, 128, 192, 512, 2048)
LABELS = (5, 20, 50, 100, 200, 500)
ENTITIES = (0, 10, 50, 100, 200, 500)
LONG = 2_000
KEPT = 2_000
SAMPLES = 100
SHORT = 10
CLEANER = "ie_cleaner"


def load_sentences():
    lines = [line for split in ("train", "dev", "test") for line in (NEWSWIRE / f"{split}.jsonl").open(encoding="utf8")]
    sentences = [sentence for line in lines for sentence in re.split(r"(?<=[.!?]) ", json.loads(line)["text"])]
    random.Random(0).shuffle(sentences)
    return sentences


def make_texts(nlp, length, count):
    """Texts of exactly so many tokens, cut from sentences one after the other; they repeat when all have been used."""
    sentences, words = itertools.cycle(load_sentences()), []
    while len(words) < length * count:
        words.extend(token.text_with_ws for token in nlp.make_doc(next(sentences) + " "))
    return ["".join(words[i * length : (i + 1) * length]) for i in range(count)]


def numbered(count):
    """Short sentences, no two alike, since each has a number. YIELDS: So many."""
    short = [sentence for sentence in load_sentences() if len(sentence.split()) <= SHORT]
    for number, sentence in zip(range(count), itertools.cycle(short)):
        yield f"{sentence[:-1]}, reference {100_000 + number}{sentence[-1]}"


def resident():
    """Megabytes that this process has in memory, now and at most since `forget_peak`."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text(encoding="utf8").splitlines())
    return [float(status[key].split()[0]) / 1e3 for key in ("VmRSS", "VmHWM")]


def forget_peak():
    Path("/proc/self/clear_refs").write_text("5", encoding="utf8")
    return resident()[0]


def repeat(function, repeats, clock=time.process_time):
    """RETURNS: The median of the seconds that it took the processor, or by another clock."""
    seconds = []
    for _ in range(repeats):
        start = clock()
        function()
        seconds.append(clock() - start)
    return statistics.median(seconds)


def read(nlp, texts, **settings):
    for _ in nlp.pipe(texts, **settings):
        pass


def wait(stream):
    """RETURNS: Seconds by the clock until the first document comes."""
    start = time.perf_counter()
    next(iter(stream))
    return time.perf_counter() - start


def run_pipe(pipe, docs):
    return list(pipe.pipe(docs, batch_size=128)) if hasattr(pipe, "pipe") else [pipe(doc) for doc in docs]


def shares(nlp, texts):
    """Microseconds a word of each component when it runs alone, over all texts."""
    found, start = {}, time.process_time()
    docs = [nlp.make_doc(text) for text in texts]
    words = sum(map(len, docs))
    found["tokenizer"] = (time.process_time() - start) / words * 1e6
    for name, pipe in nlp.pipeline:
        start = time.process_time()
        docs = run_pipe(pipe, docs)
        found[name] = (time.process_time() - start) / words * 1e6
    return found


def measure_length(nlp, length, words, repeats):
    texts = make_texts(nlp, length, max(1, words // length))
    read(nlp, [text[:1000] for text in texts[:64]])
    before = forget_peak()
    seconds = repeat(lambda: read(nlp, texts), repeats)
    memory = resident()[1] - before
    runs = [shares(nlp, texts) for _ in range(repeats if len(texts) > 1 else 1)]
    parts = {name: statistics.median(run[name] for run in runs) for name in runs[0]}
    return {"speed": length * len(texts) / seconds, "memory": memory, "shares": parts}


def measure_batch(nlp, batch, texts, repeats):
    sentences = list(itertools.islice(itertools.cycle(load_sentences()), texts))
    words = sum(len(nlp.make_doc(sentence)) for sentence in sentences)
    read(nlp, sentences[:256], batch_size=min(batch, 32))
    before = forget_peak()
    seconds = repeat(lambda: read(nlp, sentences, batch_size=batch), repeats)
    memory = resident()[1] - before
    first = statistics.median(wait(nlp.pipe(sentences, batch_size=batch)) for _ in range(repeats))
    return {"speed": words / seconds, "memory": memory, "first": first}


def calm_tagger(pipe, docs, wanted):
    """Shift the score of O until about so many entities are found."""
    bias, place = pipe.model.get_ref("output_layer").get_param("b"), pipe.scheme.index["O"]
    low, high = 0.0, 40.0
    for _ in range(12):
        bias[place] = (low + high) / 2
        found = sum(len(spans.ents) for spans in pipe.predict(docs))
        low, high = (bias[place], high) if found > wanted else (low, bias[place])


def calm_pairs(pipe, docs, wanted):
    """Shift the score of no relation until so many are found."""
    import numpy
    import torch

    from spacy_llm_ie.pairs.model import get_scorer

    scores = numpy.log(numpy.concatenate([found for _, found in pipe.probabilities(docs)]))
    margins = numpy.sort(scores[:, 1:].max(axis=1) - scores[:, 0])
    if len(margins):
        with torch.no_grad():
            get_scorer(pipe.model).output.bias[0] += float(margins[-min(wanted + 1, len(margins))])


def relabel(nlp, docs, labels):
    """A pipeline on the same encoder with new components that have so many labels."""
    from spacy.training import Example

    new = type(nlp)(vocab=nlp.vocab)
    if "transformer" in nlp.pipe_names:
        new.add_pipe("transformer", source=nlp)
    names = [f"L{i:03}" for i in range(labels)]
    pairs = {"labels": names, "span_labels": names, "learned_schema": {}, "several": False}
    examples = [Example(doc, doc) for doc in docs]
    for name, known, settings in (("ie_ner", names, {}), ("ie_relations", pairs, {"label_filter": False})):
        model = nlp.get_pipe_config(name)["model"] if name in nlp.pipe_names else {}
        new.add_pipe(name, config={"model": model, **settings}).initialize(lambda: examples, nlp=new, labels=known)
    return new


def measure_labels(nlp, labels, words, repeats):
    import spacy

    spacy.util.fix_random_seed(0)
    texts = make_texts(nlp, 100, max(1, words // 100))
    wanted = [(len(doc.ents), len(doc._.relations)) for doc in nlp.pipe(texts[:5])]
    encoder = [pipe for name, pipe in nlp.pipeline if name == "transformer"]
    docs = [nlp.make_doc(text) for text in texts]
    for pipe in encoder:
        docs = run_pipe(pipe, docs)
    new = relabel(nlp, docs[:2], labels)
    ner, relations = new.get_pipe("ie_ner"), new.get_pipe("ie_relations")
    calm_tagger(ner, docs[:5], sum(ents for ents, _ in wanted))
    run_pipe(ner, docs[:5])
    calm_pairs(relations, docs[:5], sum(relations for _, relations in wanted))
    total = 100 * len(texts)
    found = {"ie_ner": total / repeat(lambda: run_pipe(ner, docs), repeats)}
    found["ie_relations"] = total / repeat(lambda: run_pipe(relations, docs), repeats)
    found["all"] = total / repeat(lambda: read(new, texts), repeats)
    counts = {"entities": sum(len(doc.ents) for doc in docs), "relations": sum(len(doc._.relations) for doc in docs)}
    counts["pairs"] = sum(len(relations.pick(doc, relations.spans(doc))[0].pairs) for doc in docs)
    return {"speed": found, "words": total, **counts}


def measure_entities(nlp, entities, repeats):
    """Entities of two tokens at equal distances, the labels in turn; events are those that the pipeline finds."""
    from spacy.tokens import Span

    doc = nlp.make_doc(make_texts(nlp, LONG, 1)[0])
    labels = nlp.get_pipe("ie_ner").labels
    for name in ("transformer", "ie_ner", "ie_triggers"):
        doc = run_pipe(nlp.get_pipe(name), [doc])[0] if name in nlp.pipe_names else doc
    starts = [i * LONG // max(entities, 1) for i in range(entities)]
    found = {"seconds": {}, "pairs": {}, "events": len(doc._.events)}
    for name in ("ie_relations", "ie_arguments"):
        if name in nlp.pipe_names:
            pipe = nlp.get_pipe(name)
            run_pipe(pipe, [doc])
            doc.set_ents([Span(doc, start, start + 2, label=labels[i % len(labels)]) for i, start in enumerate(starts)])
            found["seconds"][name] = repeat(lambda pipe=pipe: run_pipe(pipe, [doc]), 3 * repeats)
            found["pairs"][name] = len(pipe.pick(doc, pipe.spans(doc))[0].pairs)
    return found


def measure_processes(nlp, processes, texts, repeats):
    texts = list(numbered(texts))
    words = sum(len(nlp.make_doc(text)) for text in texts)
    read(nlp, texts[:64])
    repeats = repeats if len(texts) <= 1000 else 1
    return {"seconds": repeat(lambda: read(nlp, texts, n_process=processes), repeats, time.perf_counter), "words": words}


def measure_words(nlp, documents, repeats):
    """As `measure_stream`, with the tokenizer alone: what the vocabulary takes."""
    with nlp.select_pipes(enable=[]):
        return measure_stream(nlp, documents, False, repeats)


def measure_stream(nlp, documents, zone, repeats):
    """Memory each hundredth of the way. With a zone, words that came in such a stretch are forgotten behind it."""
    texts, step = numbered(documents), max(1, documents // SAMPLES)
    read(nlp, list(itertools.islice(numbered(documents), 256)))
    found = {"documents": [], "memory": [], "strings": []}
    start = time.perf_counter()
    stream = None if zone else nlp.pipe(texts)
    for number in range(step, documents + 1, step):
        if zone:
            with nlp.memory_zone():
                read(nlp, itertools.islice(texts, step))
        else:
            for _ in itertools.islice(stream, step):
                pass
        for key, value in (("documents", number), ("memory", resident()[0]), ("strings", len(nlp.vocab.strings))):
            found[key].append(value)
    half = len(found["memory"]) // 2
    slope = statistics.linear_regression(found["documents"][half:], found["memory"][half:]).slope
    return {**found, "slope": slope * 1e6, "seconds": time.perf_counter() - start}


def measure_kept(nlp, documents, vectors, repeats):
    """Kilobytes that a document takes which is kept, with its token vectors or without."""
    with nlp.select_pipes(disable=[name for name in nlp.pipe_names if name == CLEANER and vectors]):
        read(nlp, numbered(min(documents, 256)))
        before = resident()[0]
        kept = list(nlp.pipe(numbered(documents)))
        return {"kb": (resident()[0] - before) * 1e3 / len(kept), "words": sum(map(len, kept)) / len(kept)}


def plan(args):
    """The points of each question: what is measured, and the settings."""
    many, few = max(2, args.documents // 5), max(2, args.documents // 500)
    sentences = min(BATCHES[-1] + 512, args.documents)
    fewer = {n: max(args.words // 20, min(args.words // 4, 5 * args.words // n)) for n in LABELS}
    return {
        "length": [(measure_length, {"length": n, "words": args.words}) for n in LENGTHS],
        "batch": [(measure_batch, {"batch": n, "texts": sentences}) for n in BATCHES],
        "labels": [(measure_labels, {"labels": n, "words": fewer[n]}) for n in LABELS],
        "entities": [(measure_entities, {"entities": n}) for n in ENTITIES],
        "processes": [(measure_processes, {"processes": n, "texts": texts}) for texts in (few, many) for n in (1, 2)],
        "stream": [
            *((measure_stream, {"documents": args.documents, "zone": zone}) for zone in (False, True)),
            (measure_words, {"documents": args.documents}),
            *((measure_kept, {"documents": min(KEPT, args.documents), "vectors": vectors}) for vectors in (True, False)),
        ],
    }


def measure_here(path, name, settings):
    import spacy

    return globals()[name](spacy.load(path), **settings)


def measure_in_process(path, name, settings):
    command = [sys.executable, "-W", "ignore", __file__, str(path), "--child", name, json.dumps(settings)]
    environment = {"OMP_WAIT_POLICY": "PASSIVE", "OPENBLAS_NUM_THREADS": "1", **os.environ}
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
    return json.loads(done.stdout.splitlines()[-1])


def main(argv=None, measure=measure_in_process):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pipeline", type=Path)
    parser.add_argument("--only", nargs="+", default=["length", "batch", "labels", "entities", "processes", "stream"])
    parser.add_argument("--documents", type=int, default=100_000, help="of the stream; a fifth of them for processes")
    parser.add_argument("--words", type=int, default=20_000, help="of each length; a quarter of them for labels")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--output", type=Path, default=Path("docs/images"))
    parser.add_argument("--json", type=Path)
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.child:
        print(json.dumps(measure_here(args.pipeline, args.child[0], json.loads(args.child[1]))))
        return
    from growth_plots import draw

    found = json.loads(args.json.read_text(encoding="utf8")) if args.json and args.json.exists() else {}
    for question, points in plan(args).items():
        if question not in args.only:
            continue
        found[question] = []
        for function, settings in points:
            result = measure(args.pipeline, function.__name__, {**settings, "repeats": args.repeats})
            shown = {key: value for key, value in result.items() if not isinstance(value, list)}
            print(question, json.dumps({**settings, **shown}), flush=True)
            found[question].append({**settings, **result})
        if args.json:
            args.json.write_text(json.dumps(found) + "\n", encoding="utf8")
    draw(found, args.output)


if __name__ == "__main__":
    main()
