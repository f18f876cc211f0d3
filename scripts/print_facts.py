"""Print the entities, relations and events of a text file, paragraph by paragraph, with their probabilities.

python scripts/print_facts.py en_newswire assets/try.txt
"""

import sys
from pathlib import Path

import spacy
from wasabi import msg


def table(header, rows):
    if rows:
        msg.table(rows, header=header)


nlp = spacy.load(sys.argv[1])
lines = [line for line in Path(sys.argv[2]).read_text(encoding="utf8").splitlines() if line.strip()]
for doc in nlp.pipe(lines):
    msg.text(doc.text, spaced=True)
    table(("entity", "label", "probability"), [(ent.text, ent.label_, f"{ent._.score:.2f}") for ent in doc.ents])
    table(
        ("head", "relation", "tail", "probability"),
        [(r.head.text, r.label, r.tail.text, f"{r.score:.2f}") for r in getattr(doc._, "relations", ())],
    )
    for event in getattr(doc._, "events", ()):
        rows = [("trigger", event.trigger.text, f"{event.score:.2f}")]
        rows += [(a.role, a.span.text, f"{a.score:.2f}") for a in event.arguments]
        table((event.label, "", "probability"), rows)
