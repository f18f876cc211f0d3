"""Distillation on newswire: half of the training documents with labels, of the other half the texts only.

    python benchmarks/distil.py split WORK
    python scripts/train.py WORK/teacher.cfg WORK/teacher          # the teacher sees the labelled half only
    python benchmarks/distil.py run WORK --student cnn --steps 1000 --way gold
    python benchmarks/distil.py run WORK --student cnn --steps 1000 --way teacher --temperature 2

The ways differ in what the student learns from, and in nothing else: `gold` the labelled half, `teacher` that and what the teacher
says of both halves, `all` the labels of both halves (what labelling the other half would have given). `--student 3` is a MiniLM that
starts from three of the teacher's layers and from its heads, whatever the way. Same steps, batches and rates; the best evaluation on
dev counts. Lines are added to WORK/results.jsonl.
"""

import argparse
import json
import random
import time
from pathlib import Path

import spacy
import srsly
from spacy.util import load_config

from spacy_llm_ie.compress.distil import Settings, distil, score_on_dev
from spacy_llm_ie.compress.measure import folder_size
from spacy_llm_ie.data.jsonl import read_jsonl, write_jsonl

ROOT = Path(__file__).parents[1]
NEWSWIRE = ROOT / "assets" / "newswire"
KEYS = ("ents_f", "rels_micro_f", "triggers_f", "args_f")


def split(work: Path) -> None:
    """Write the halves, and the teacher's config."""
    records = [record for _, record in read_jsonl(NEWSWIRE / "train.jsonl")]
    random.Random(0).shuffle(records)
    half = len(records) // 2
    write_jsonl(work / "gold.jsonl", records[:half])
    write_jsonl(work / "texts.jsonl", [{"text": record["text"]} for record in records[half:]])
    write_jsonl(work / "all.jsonl", records)
    paths = {"paths.train": str(work / "gold.jsonl"), "paths.dev": str(NEWSWIRE / "dev.jsonl")}
    load_config(ROOT / "configs" / "joint.cfg", overrides=paths).to_disk(work / "teacher.cfg")


def words_per_second(path: Path, dev: Path) -> float:
    """Words a second of processor time, which other jobs on the machine do not count in: the development texts, best of three."""
    nlp = spacy.load(path)
    texts = [record["text"] for _, record in read_jsonl(dev)]
    words = sum(len(nlp.make_doc(text)) for text in texts)
    seconds = []
    for _ in range(3):
        start = time.process_time()
        list(nlp.pipe(texts))
        seconds.append(time.process_time() - start)
    return words / min(seconds)


def run(work: Path, student: str, way: str, steps: int, temperature: float, gold_weight: float, seed: int) -> None:
    """Train one student, and add its scores to the results."""
    cnn = student == "cnn"
    overrides = {
        "paths.train": str(work / ("all.jsonl" if way == "all" else "gold.jsonl")),
        "paths.dev": str(NEWSWIRE / "dev.jsonl"),
        "system.seed": seed,
        "training.max_epochs": 0,
        "training.max_steps": steps,
        "training.eval_frequency": 50,
    }
    if not cnn:
        rate = "training.optimizer.learn_rate."
        overrides.update({f"{rate}total_steps": steps, f"{rate}warmup_steps": steps // 10})
    config = load_config(ROOT / "configs" / ("joint_cnn.cfg" if cnn else "joint.cfg"), overrides=overrides)
    settings = Settings(
        temperature=temperature,
        gold_weight=gold_weight if way == "teacher" else 1.0,
        layers=() if cnn else [int(x) for x in student.split(",")],
        heads=not cnn,
    )
    name = f"{student.replace(',', '_')}_{way}_{temperature:g}_{gold_weight:g}_{seed}"
    teacher = spacy.load(work / "teacher" / "model-best")
    start = time.perf_counter()
    done = distil([teacher], config, work / name, texts=work / "texts.jsonl" if way == "teacher" else None, settings=settings)
    best = work / name / "model-best"
    row = {
        "student": student, "way": way, "steps": steps, "temperature": temperature, "gold_weight": settings.gold_weight, "seed": seed,
        **{key: round(100 * value, 1) for key, value in score_on_dev(spacy.load(best)).items() if key in KEYS},
        "seconds": round(time.perf_counter() - start), "mb": round(folder_size(best) / 1e6, 1),
        "words_per_second": round(words_per_second(best, NEWSWIRE / "dev.jsonl")),
        "teacher": {key: round(100 * value, 1) for key, value in score_on_dev(done.nlp, [teacher], done.plans).items() if key in KEYS},
    }  # fmt: skip
    with (work / "results.jsonl").open("a", encoding="utf8") as file:
        file.write(json.dumps(row) + "\n")
    srsly.write_json(work / name / "result.json", row)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["split", "run"])
    parser.add_argument("work", type=Path)
    parser.add_argument("--student", default="cnn", help="cnn, or layers of the teacher's transformer: 3 or 0,2,5")
    parser.add_argument("--way", default="teacher", choices=["gold", "teacher", "all"])
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--temperature", type=float, default=1.0)
    parser.add_argument("--gold-weight", type=float, default=0.5)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    if args.what == "split":
        args.work.mkdir(parents=True, exist_ok=True)
        split(args.work)
    else:
        run(args.work, args.student, args.way, args.steps, args.temperature, args.gold_weight, args.seed)
