"""Read public corpora with our converters and compare the counts with those known for them.

    python benchmarks/corpora.py --data DIR

DIR holds a folder for each corpus (wnut17, ncbi-disease, crossner, weibo-ner-zh, scierc, semeval2010-task8,
phee, fewfc-zh); they are not part of this repository. Exit code 1 if a count differs, 2 if a file is not there.

The counts were published with the corpora or taken with other tools. "repaired" counts tags that continue an
entity which is not there; "strict" leaves out the entities that such tags begin.

Relations, events and arguments are counted as they are in the file, so each character is a token, and what is
there twice counts twice ("twice" says how much). "off tokens" counts the spans that the tokenizer of the
language has no tokens for, which are left out.
"""

import argparse
import re
import sys
from collections import Counter
from pathlib import Path
from typing import Dict, List, NamedTuple, Optional, Tuple, Union

import spacy

from spacy_llm_ie.annotations import get_events
from spacy_llm_ie.data.convert import convert_files
from spacy_llm_ie.data.counts import Counts
from spacy_llm_ie.data.problems import Problems


class Expected(NamedTuple):
    """Known counts; None where none is known."""

    sentences: int
    tokens: Optional[int]
    entities: int
    strict: Optional[int] = None
    labels: Optional[int] = None


class Facts(NamedTuple):
    """Known counts of a file with relations or events; None where none is known."""

    documents: int
    sentences: Optional[int]
    entities: int
    relations: int
    events: int
    labels: Dict[str, int] = {}


CROSSNER = {
    "ai": ((100, 350, 431), (532, 1549, 1809), 14),
    "literature": ((100, 400, 416), (541, 2130, 2266), 12),
    "music": ((100, 380, 465), (648, 2679, 3336), 13),
    "politics": ((200, 541, 651), (1304, 3482, 4209), 9),
    "science": ((200, 450, 543), (1075, 2538, 3089), 17),
}
WEIBO = {"lang": "zh", "strip_position": True, "no_spaces": True}
RELATIONS = ("Cause-Effect", "Component-Whole", "Entity-Destination", "Product-Producer", "Entity-Origin")
RELATIONS += ("Member-Collection", "Message-Topic", "Content-Container", "Instrument-Agency")
PHEE = ("Adverse_event", "Potential_therapeutic_event", "Treatment", "Effect", "Subject")
FORMATS: Dict[str, Tuple[str, str]] = {
    "scierc": ("dygie", "en"),
    "semeval2010-task8": ("semeval2010-task8", "en"),
    "phee": ("phee", "en"),
    "fewfc-zh": ("fewfc", "zh"),
}
CORPORA: Dict[str, Dict[str, Union[Expected, Facts]]] = {
    "wnut17": {
        "wnut17train.conll": Expected(3394, 62730, 1975, labels=6),
        "emerging.dev.conll": Expected(1009, 15733, 836, labels=6),
        "emerging.test.annotated": Expected(1287, 23394, 1079, labels=6),
    },
    "ncbi-disease": {
        "train.tsv": Expected(5432, 136086, 5145, labels=1),
        "devel.tsv": Expected(923, 23969, 787, labels=1),
        "test.tsv": Expected(940, 24497, 960, labels=1),
    },
    "crossner": {
        f"{domain}/{split}.txt": Expected(sentences[i], None, entities[i], labels=labels)
        for domain, (sentences, entities, labels) in CROSSNER.items()
        for i, split in enumerate(("train", "dev", "test"))
    },
    "weibo-ner-zh": {
        "weiboNER_2nd_conll.train": Expected(1350, 73778, 1895, 1885, labels=8),
        "weiboNER_2nd_conll.dev": Expected(270, 14509, 389, 389, labels=8),
        "weiboNER_2nd_conll.test": Expected(270, 14842, 418, 414, labels=8),
    },
    "scierc": {
        "train.json": Facts(350, 1861, 5598, 3219, 0),
        "dev.json": Facts(50, 275, 811, 455, 0),
        "test.json": Facts(100, 551, 1685, 974, 0),
    },
    "semeval2010-task8": {
        "TRAIN_FILE.TXT": Facts(
            8000, None, 16000, 6590, 0, dict(zip(RELATIONS, (1003, 941, 845, 717, 716, 690, 634, 540, 504)))
        ),
        "TEST_FILE_FULL.TXT": Facts(
            2717, None, 5434, 2263, 0, dict(zip(RELATIONS, (328, 312, 292, 231, 258, 233, 261, 192, 156)))
        ),
    },
    "phee": {
        "train.json": Facts(2898, None, 0, 0, 3006, dict(zip(PHEE, (2710, 296, 3191, 2963, 1494)))),
        "dev.json": Facts(961, None, 0, 0, 1003, dict(zip(PHEE, (886, 117, 1069, 957, 526)))),
        "test.json": Facts(968, None, 0, 0, 1010, dict(zip(PHEE, (889, 121, 1069, 951, 482)))),
    },
    "fewfc-zh": {
        "train_base.json": Facts(2732, None, 0, 0, 4682),
        "test_base.json": Facts(1821, None, 0, 0, 3320),
        "train_trans.json": Facts(820, None, 0, 0, 895),
        "test_trans.json": Facts(3609, None, 0, 0, 3993),
    },
}
HEADER = ("corpus", "file", "sentences", "tokens", "entities", "repaired", "strict", "labels", "")
FACTS_HEADER = (
    "corpus", "file", "documents", "sentences", "entities", "relations", "events", "arguments", "twice", "off tokens", ""
)  # fmt: skip
TWICE = re.compile(r"(relations|events|arguments)\[\d+\]: ([\w.]*)")


def count_file(path: Path, options: Dict) -> List[int]:
    """RETURNS (List[int]): Sentences, tokens, entities, repaired tags, entities without repair, labels."""
    problems, counts = Problems(), Counts()
    options = dict(options)
    nlp = spacy.blank(options.pop("lang", "en"))
    for doc in convert_files("conll", path, nlp, problems, **options):
        counts.add(doc)
    entities, repaired = counts.entities.total(), problems.counts["repaired"]
    return [counts.sentences, counts.tokens, entities, repaired, entities - repaired, len(counts.entities)]


def compare(found: List[int], expected: Expected) -> bool:
    """Whether all known counts are met."""
    sentences, tokens, entities, _, strict, labels = found
    pairs = zip((sentences, tokens, entities, strict, labels), expected)
    return all(known is None or known == ours for ours, known in pairs)


def count_facts(path: Path, name: str, lang: str) -> Tuple[List[int], Counter]:
    """RETURNS (Tuple[List[int], Counter]): Documents, sentences, entities, relations, events, arguments, what is
    there twice, and spans off the tokens of the language; and counts by label and role."""
    problems, counts = Problems(max_examples=sys.maxsize), Counts()
    labels: Counter = Counter()
    for doc in convert_files(name, path, spacy.blank("zh"), problems):
        counts.add(doc)
        labels.update(argument.role for event in get_events(doc) for argument in event.arguments)
    twice = [TWICE.search(example) for example in problems.examples.get("duplicate", [])]
    lost = Counter(match[1] for match in twice if match)
    labels.update(match[2] for match in twice if match and match[1] == "arguments")
    for counter in counts.by_layer().values():
        labels.update(counter)
    facts = (counts.relations.total() + lost["relations"], counts.events.total() + lost["events"])
    arguments = counts.arguments + lost["arguments"]
    problems = Problems()
    for _ in convert_files(name, path, spacy.blank(lang), problems):
        pass
    found = [counts.documents, counts.sentences, counts.entities.total(), *facts, arguments]
    return [*found, len(twice), problems.counts["misaligned"]], labels


def compare_facts(found: List[int], labels: Counter, expected: Facts) -> bool:
    """Whether all known counts are met."""
    good = all(known is None or known == ours for ours, known in zip(found, expected[:5]))
    return good and all(labels[label] == known for label, known in expected.labels.items())


def show(rows: List[Tuple]) -> None:
    """Print a table."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        last = len(row) - 1
        cells = [c.ljust(w) if i in (0, 1, last) else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths))]
        print("  ".join(cells).rstrip())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with the corpora")
    data = parser.parse_args().data
    missing = [data / corpus / name for corpus, files in CORPORA.items() for name in files]
    missing = [path for path in missing if not path.is_file()]
    if missing:
        print(f"not there: {', '.join(map(str, missing))}", file=sys.stderr)
        return 2
    tables: Dict[type, List[Tuple]] = {Expected: [HEADER], Facts: [FACTS_HEADER]}
    wrong = 0
    for corpus, files in CORPORA.items():
        for name, expected in files.items():
            if isinstance(expected, Facts):
                found, labels = count_facts(data / corpus / name, *FORMATS[corpus])
                good = compare_facts(found, labels, expected)
            else:
                found = count_file(data / corpus / name, WEIBO if corpus == "weibo-ner-zh" else {})
                good = compare(found, expected)
            wrong += not good
            verdict = "as expected" if good else f"DIFFERS: {expected}"
            tables[type(expected)].append((corpus, name, *(f"{n:,}" for n in found), verdict))
    for rows in tables.values():
        if len(rows) > 1:
            show(rows)
    count = sum(len(rows) - 1 for rows in tables.values())
    print(f"{wrong} of {count} files differ")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
