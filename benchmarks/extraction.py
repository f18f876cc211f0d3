"""Relations and events: configs/joint.cfg, or some of its components, on newswire, SciERC, SemEval-2010 Task 8, PHEE and FewFC.

    python benchmarks/extraction.py --corpus newswire
    python benchmarks/extraction.py --corpus scierc --data PATH/scierc --epochs 15 --bf16 --test
    python benchmarks/extraction.py --corpus semeval2010-task8 --data PATH/semeval2010-task8 --bf16 --test
    python benchmarks/extraction.py --corpus phee --data PATH/phee --bf16 --test

`--separate` trains one pipeline a task, each with an encoder of its own, the same data, epochs and rates, and scores them together.
`--set ie_relations.model.context_size=0` changes a setting, for the ablations. The best epoch on dev is kept; the test set is scored
with `--test` only. `gold` figures are those of a component when the gold answers of those before it are given.
"""

import argparse
import copy
import json
import random
import tempfile
from pathlib import Path

import spacy
from loop import fit_schedule, set_values, train_config
from spacy.scorer import Scorer
from spacy.util import load_config

from spacy_llm_ie.cli.convert import convert
from spacy_llm_ie.data.corpus import create_corpus_v1

ROOT = Path(__file__).parents[1]
JOINT = ("ie_ner", "ie_relations", "ie_triggers", "ie_arguments")
TASKS = {"ie_ner": "ents", "ie_relations": "rels_micro", "ie_triggers": "triggers", "ie_arguments": "args"}
CORPORA = {
    "newswire": {"format": "jsonl", "files": ("train.jsonl", "dev.jsonl", "test.jsonl"), "pipes": JOINT},
    "scierc": {
        "format": "dygie",
        "files": ("train.json", "dev.json", "test.json"),
        "pipes": JOINT[:2],
        "given": ["sentences"],
        "set": {
            "ie_relations.candidates.max_sentences": 0,
            "ie_relations.symmetric": ["COMPARE", "CONJUNCTION"],
        },
    },
    "semeval2010-task8": {
        "format": "semeval2010-task8",
        "files": ("TRAIN_FILE.TXT", None, "TEST_FILE_FULL.TXT"),
        "pipes": ("ie_relations",),
        "given": ["entities"],
        "set": {
            "ie_relations.scorer": {"@scorers": "spacy-llm-ie.semeval2010_task8_scorer.v1"},
            "training.score_weights": {"semeval_macro_f": 1.0},
        },
    },
    "phee": {
        "format": "phee",
        "options": {"main_arguments": True},
        "files": ("train.json", "dev.json", "test.json"),
        "pipes": ("ie_triggers", "ie_argument_spans", "ie_arguments"),
        "set": {"ie_arguments.spans_key": "ie_argument_spans"},
    },
    "fewfc": {
        "format": "fewfc",
        "files": ("train_base.json", None, "test_base.json"),
        "pipes": ("ie_triggers", "ie_argument_spans", "ie_arguments"),
        "lang": "zh",
        "set": {"ie_arguments.spans_key": "ie_argument_spans"},
    },
}
SHOWN = (
    *("ents_f", "rels_micro_f", "rels_boundary_f", "rels_macro_f", "rels_candidate_recall", "semeval_macro_f"),
    *("triggers_f", "triggers_id_f", "arg_spans_f", "args_f", "args_id_f", "args_attached_f"),
)


def read_corpus(corpus, data, folder):
    """Convert the corpus. RETURNS: paths of train, dev, test; a tenth of the training data is dev where the corpus has none."""
    paths = []
    for split, name in zip(("train", "dev", "test"), corpus["files"]):
        path = folder / f"{split}.jsonl"
        if name is not None:
            convert(corpus["format"], data / name, path, lang=corpus.get("lang", "en"), **corpus.get("options", {}))
        paths.append(path)
    if corpus["files"][1] is None:
        lines = paths[0].read_text(encoding="utf8").splitlines(keepends=True)
        paths[1].write_text("".join(lines[9::10]), encoding="utf8")
        paths[0].write_text("".join(line for i, line in enumerate(lines) if i % 10 != 9), encoding="utf8")
    return paths


def make_config(corpus, pipes, paths, args, seed):
    config = load_config(ROOT / "configs" / "joint.cfg")
    blocks = config["components"]
    if "ie_argument_spans" in corpus["pipes"]:
        blocks["ie_argument_spans"] = {**copy.deepcopy(blocks["ie_triggers"]), "factory": "ie_argument_spans"}
    config["nlp"]["lang"] = corpus.get("lang", "en")
    config["nlp"]["pipeline"] = ["transformer", *pipes]
    config["components"] = {name: block for name, block in blocks.items() if name in config["nlp"]["pipeline"]}
    values = {"paths.train": str(paths[0]), "paths.dev": str(paths[1]), "system.seed": seed}
    for key, value in {**corpus.get("set", {}), **args.set}.items():
        if key.split(".")[0] in pipes:
            key = f"components.{key}"
        elif key.split(".")[0] in TASKS:
            continue
        values[key] = value
    for split in ("train", "dev"):
        values[f"corpora.{split}.given"] = corpus.get("given", [])
    if pipes != tuple(corpus["pipes"]):  # alone: what comes before is given
        values["corpora.dev.given"] = [*corpus.get("given", []), "entities", "triggers"]
    set_values(config, values)
    examples = list(create_corpus_v1(paths[0], given=corpus.get("given", []))(spacy.blank(config["nlp"]["lang"])))
    random.Random(seed).shuffle(examples)
    fit_schedule(config, examples, args.epochs)
    return config


def score(pipelines, path, corpus, given=(), only=None):
    """Scores of one pipeline, or of several that were trained apart and run one after the other."""
    lang = spacy.blank(corpus.get("lang", "en"))
    examples = list(create_corpus_v1(path, given=[*corpus.get("given", []), *given])(lang))
    scores = {}
    for nlp in pipelines:
        names = [name for name in nlp.pipe_names if only is None or name in ("transformer", *only)]
        docs = [example.predicted for example in examples]
        for doc in docs:
            doc._.trf_data = None
        with nlp.select_pipes(enable=names):
            for example, doc in zip(examples, nlp.pipe(docs)):
                example.predicted = doc
            scores.update(Scorer(nlp).score(examples))
    return scores


def run(corpus, paths, args, seed):
    """RETURNS: the trained pipelines, CPU seconds of training, and scores by split."""
    groups = [(name,) for name in corpus["pipes"]] if args.separate else [tuple(corpus["pipes"])]
    trained = [train_config(make_config(corpus, group, paths, args, seed), args.show, args.bf16) for group in groups]
    pipelines, seconds = [nlp for nlp, _ in trained], sum(s for _, s in trained)
    rows = {}
    for split, path in (("dev", paths[1]), *([("test", paths[2])] if args.test else [])):
        rows[split] = score(pipelines, path, corpus)
        if "ie_relations" in corpus["pipes"] and "ie_ner" in corpus["pipes"]:
            gold = score(pipelines, path, corpus, ["entities"], ["ie_relations"])
            rows[split]["rels_gold"] = gold["rels_micro_f"]
        if "ie_arguments" in corpus["pipes"] and "ie_ner" in corpus["pipes"]:
            gold = score(pipelines, path, corpus, ["entities", "triggers"], ["ie_arguments"])
            rows[split]["args_gold"] = gold["args_f"]
    return pipelines, seconds, rows


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--corpus", choices=CORPORA, required=True)
    parser.add_argument("--data", type=Path, default=ROOT / "assets" / "newswire", help="folder of the corpus")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument(
        "--pipes", nargs="+", help="only these components; entities and triggers are given where theirs are missing"
    )
    parser.add_argument("--separate", action="store_true", help="train one pipeline a component")
    parser.add_argument("--test", action="store_true", help="score the test set")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=JSON", help="override settings of the config")
    parser.add_argument("--bf16", action="store_true", help="train with bfloat16 matrix products in the encoder")
    parser.add_argument("--show", action="store_true", help="show the training log")
    parser.add_argument("--save", type=Path, help="keep the pipeline in this folder")
    parser.add_argument("--output", type=Path, help="append results to this JSONL file")
    args = parser.parse_args()
    given = args.set
    args.set = {key: json.loads(value) for key, _, value in (item.partition("=") for item in given)}
    corpus = dict(CORPORA[args.corpus])
    if args.pipes:  # what the others would have found is given
        corpus["pipes"] = tuple(args.pipes)
        missing = [given for name, given in (("ie_ner", "entities"), ("ie_triggers", "triggers")) if name not in args.pipes]
        corpus["given"] = [*corpus.get("given", []), *missing]
    with tempfile.TemporaryDirectory() as folder:
        paths = read_corpus(corpus, args.data, Path(folder))
        for seed in args.seeds:
            pipelines, seconds, rows = run(corpus, paths, args, seed)
            for split, scores in rows.items():
                shown = {k: round(100 * scores[k], 1) for k in (*SHOWN, "rels_gold", "args_gold") if scores.get(k) is not None}
                way = "separate" if args.separate else "joint"
                print(f"{args.corpus} {way} seed {seed} {split}, {seconds:.0f} CPU s, {' '.join(given)}: {shown}", flush=True)
                if args.output:
                    row = {
                        "corpus": args.corpus,
                        "pipes": corpus["pipes"],
                        "way": way,
                        "seed": seed,
                        "split": split,
                        "seconds": seconds,
                        "set": given,
                    }
                    with args.output.open("a", encoding="utf8") as file:
                        file.write(json.dumps({**row, "epochs": args.epochs, **shown}) + "\n")
            if args.save:
                pipelines[0].to_disk(args.save)


if __name__ == "__main__":
    main()
