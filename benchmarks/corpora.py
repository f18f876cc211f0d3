"""Read public corpora with our converters and compare the counts with those known for them.

    python benchmarks/corpora.py --data DIR

DIR holds a folder for each corpus (wnut17, ncbi-disease, crossner, weibo-ner-zh); they are not part of this
repository. Exit code 1 if a count differs, 2 if a file is not there.

The counts were published with the corpora or taken with other tools. "repaired" counts tags that continue an
entity which is not there; "strict" leaves out the entities that such tags begin.
"""

import argparse
import sys
from pathlib import Path
from typing import Dict, List, NamedTuple, Optional

import spacy

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


CROSSNER = {
    "ai": ((100, 350, 431), (532, 1549, 1809), 14),
    "literature": ((100, 400, 416), (541, 2130, 2266), 12),
    "music": ((100, 380, 465), (648, 2679, 3336), 13),
    "politics": ((200, 541, 651), (1304, 3482, 4209), 9),
    "science": ((200, 450, 543), (1075, 2538, 3089), 17),
}
WEIBO = {"lang": "zh", "strip_position": True, "no_spaces": True}
CORPORA: Dict[str, Dict[str, Expected]] = {
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
}
HEADER = ("corpus", "file", "sentences", "tokens", "entities", "repaired", "strict", "labels", "")


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


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with the corpora")
    data = parser.parse_args().data
    missing = [data / corpus / name for corpus, files in CORPORA.items() for name in files]
    missing = [path for path in missing if not path.is_file()]
    if missing:
        print(f"not there: {', '.join(map(str, missing))}", file=sys.stderr)
        return 2
    rows, wrong = [HEADER], 0
    for corpus, files in CORPORA.items():
        for name, expected in files.items():
            found = count_file(data / corpus / name, WEIBO if corpus == "weibo-ner-zh" else {})
            good = compare(found, expected)
            wrong += not good
            verdict = "as expected" if good else f"DIFFERS: {expected}"
            rows.append((corpus, name, *(f"{n:,}" for n in found), verdict))
    widths = [max(len(row[i]) for row in rows) for i in range(len(HEADER))]
    for row in rows:
        cells = [c.ljust(w) if i < 2 or i == 8 else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths))]
        print("  ".join(cells).rstrip())
    print(f"{wrong} of {len(rows) - 1} files differ")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
