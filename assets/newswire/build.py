"""Turn the inline mark-up of source/*.txt into train.jsonl, dev.jsonl and test.jsonl.

Run `python assets/newswire/build.py` after an edit; `--check` writes nothing and exits 1 if the files are not up to date.
The mark-up, the labels and the type constraints are described in GUIDE.md.
"""

import argparse
import json
import re
import sys
from collections import Counter, defaultdict
from pathlib import Path

HERE = Path(__file__).parent
SPLITS = ("train", "dev", "test")
STYLES = ("flash", "feature", "earnings", "court", "regional", "blog", "headline")
ENTITIES = ("PERSON", "ORG", "GPE", "DATE", "MONEY", "PRODUCT", "TITLE")
RELATIONS = {
    "headquartered_in": ("ORG", "GPE"),
    "founded_by": ("ORG", "PERSON"),
    "employed_by": ("PERSON", "ORG"),
    "holds_title": ("PERSON", "TITLE"),
    "subsidiary_of": ("ORG", "ORG"),
    "makes": ("ORG", "PRODUCT"),
    "located_in": ("GPE", "GPE"),
}
ANYONE = ("PERSON", "ORG", "GPE")
EVENTS = {
    "acquisition": {"buyer": ANYONE, "target": ("ORG", "PRODUCT"), "price": ("MONEY",), "date": ("DATE",)},
    "funding": {"recipient": ("ORG",), "investor": ANYONE, "amount": ("MONEY",), "date": ("DATE",)},
    "appointment": {"person": ("PERSON",), "org": ("ORG", "GPE"), "title": ("TITLE",), "date": ("DATE",)},
    "departure": {"person": ("PERSON",), "org": ("ORG", "GPE"), "title": ("TITLE",), "date": ("DATE",)},
    "launch": {"maker": ("ORG", "PERSON"), "product": ("PRODUCT",), "date": ("DATE",), "place": ("GPE",)},
    "lawsuit": {"plaintiff": ANYONE, "defendant": ANYONE, "amount": ("MONEY",), "date": ("DATE",), "place": ("GPE",)},
    "layoff": {"org": ("ORG",), "place": ("GPE",), "date": ("DATE",)},
}
SPAN = re.compile(r"\[([^\[\]]+)\]\((\w+) (!?\w+)\)")


class MarkupError(ValueError):
    """A source line that does not follow the mark-up; the message starts with file and line."""


def parse_text(lines, where):
    """Strip the span marks. RETURNS the text and, by id, (start, end, label); trigger labels keep their '!'."""
    text, spans = "", {}
    for number, line in lines:
        text += "\n" if text else ""
        position = 0
        for match in SPAN.finditer(line):
            text += line[position : match.start()]
            words, name, label = match.groups()
            if name in spans:
                raise MarkupError(f"{where}:{number}: id {name} is used twice")
            known = EVENTS if label.startswith("!") else ENTITIES
            if label.lstrip("!") not in known:
                raise MarkupError(f"{where}:{number}: unknown label {label}")
            if words != words.strip():
                raise MarkupError(f"{where}:{number}: span {words!r} begins or ends with a space")
            spans[name] = (len(text), len(text) + len(words), label)
            text += words
            position = match.end()
        text += line[position:]
        if "[" in text or "]" in text:
            raise MarkupError(f"{where}:{number}: a bracket is left over in {line!r}")
    return text, spans


def parse_facts(lines, spans, where):
    """RETURNS relations as (head id, label, tail id) and arguments by trigger id as (role, id)."""
    relations, arguments = [], defaultdict(list)

    def label_of(name, number):
        if name not in spans:
            raise MarkupError(f"{where}:{number}: no span has the id {name}")
        return spans[name][2]

    for number, line in lines:
        for fact in filter(None, (part.split() for part in line.split(";"))):
            subject = label_of(fact[0], number)
            if subject.startswith("!"):
                for pair in fact[1:]:
                    role, _, name = pair.partition("=")
                    allowed = EVENTS[subject[1:]].get(role)
                    if allowed is None or label_of(name, number) not in allowed:
                        raise MarkupError(f"{where}:{number}: {pair} does not fit {subject[1:]} (allowed: {allowed})")
                    if (role, name) in arguments[fact[0]]:
                        raise MarkupError(f"{where}:{number}: {pair} is given twice")
                    arguments[fact[0]].append((role, name))
                continue
            if len(fact) != 3 or fact[1] not in RELATIONS:
                raise MarkupError(f"{where}:{number}: not a relation: {' '.join(fact)}")
            ends = (subject, label_of(fact[2], number))
            if ends != RELATIONS[fact[1]] or fact[0] == fact[2] or tuple(fact) in relations:
                raise MarkupError(f"{where}:{number}: {' '.join(fact)} joins {ends} or is given twice")
            relations.append(tuple(fact))
    return relations, arguments


def to_record(name, style, text, spans, relations, arguments):
    """One document in the JSONL format of spacy-llm-ie; spans in the order of the text."""
    order = sorted(spans, key=lambda key: spans[key][0])
    entities = [key for key in order if not spans[key][2].startswith("!")]
    ids = {key: f"T{i}" for i, key in enumerate(entities, 1)}
    events = []
    for key in order:
        start, end, label = spans[key]
        if label.startswith("!"):
            found = [{"role": role, "entity": ids[other]} for role, other in arguments[key]]
            events.append({"trigger": {"start": start, "end": end}, "label": label[1:], "arguments": found})
    return {
        "text": text,
        "entities": [{"id": ids[k], "start": spans[k][0], "end": spans[k][1], "label": spans[k][2]} for k in entities],
        "relations": [{"head": ids[h], "tail": ids[t], "label": label} for h, label, t in relations],
        "events": events,
        "meta": {"id": name, "style": style},
    }


def parse_file(path):
    """Yield (split, record) for each document of a source file; raise MarkupError with the line that is wrong."""
    blocks = []
    for number, line in enumerate(path.read_text(encoding="utf8").splitlines(), 1):
        if line.startswith("=="):
            blocks.append((number, line[2:].split(), []))
        elif line.strip():
            if not blocks:
                raise MarkupError(f"{path.name}:{number}: text before the first '==' line")
            blocks[-1][2].append((number, line.strip()))
    for index, (number, head, lines) in enumerate(blocks, 1):
        if len(head) != 2 or head[0] not in SPLITS or head[1] not in STYLES:
            raise MarkupError(f"{path.name}:{number}: expected '== SPLIT STYLE', found '== {' '.join(head)}'")
        text, spans = parse_text([(n, x) for n, x in lines if not x.startswith("--")], path.name)
        facts = [(n, x[2:]) for n, x in lines if x.startswith("--")]
        relations, arguments = parse_facts(facts, spans, path.name)
        yield head[0], to_record(f"{path.stem}-{index:03d}", head[1], text, spans, relations, arguments)


def build(source=HERE / "source"):
    """RETURNS {split: [record]} of all source files, in the order of file names."""
    corpus = {split: [] for split in SPLITS}
    for path in sorted(source.glob("*.txt")):
        for split, record in parse_file(path):
            corpus[split].append(record)
    return corpus


def summary(corpus):
    """A table of counts by split, as text."""
    rows = []
    for split, records in corpus.items():
        labels = Counter(e["label"] for r in records for e in r["entities"])
        relations = Counter(e["label"] for r in records for e in r["relations"])
        events = Counter(e["label"] for r in records for e in r["events"])
        roles = sum(len(e["arguments"]) for r in records for e in r["events"])
        words = sum(len(r["text"].split()) for r in records)
        rows.append(f"{split}: {len(records)} documents, {words} words, {roles} arguments")
        rows += [f"  {dict(sorted(counts.items()))}" for counts in (labels, relations, events)]
    return "\n".join(rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a file is not up to date")
    arguments = parser.parse_args()
    try:
        corpus = build()
    except MarkupError as error:
        sys.exit(str(error))
    stale = []
    for split, records in corpus.items():
        text = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
        path = HERE / f"{split}.jsonl"
        if not path.exists() or path.read_text(encoding="utf8") != text:
            stale.append(path.name)
            if not arguments.check:
                path.write_text(text, encoding="utf8")
    sys.stdout.write(summary(corpus) + "\n")
    if arguments.check and stale:
        sys.exit(f"not up to date: {', '.join(stale)}; run python assets/newswire/build.py")


if __name__ == "__main__":
    main()
