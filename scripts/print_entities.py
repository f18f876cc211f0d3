"""Print the entities of a text file, line by line, with their probabilities.

python scripts/print_entities.py en_newswire_ner assets/try.txt
"""

import sys
from pathlib import Path

import spacy
from wasabi import msg

nlp = spacy.load(sys.argv[1])
lines = [line for line in Path(sys.argv[2]).read_text(encoding="utf8").splitlines() if line.strip()]
for doc in nlp.pipe(lines):
    msg.text(doc.text, spaced=True)
    msg.table([(ent.text, ent.label_, f"{ent._.score:.2f}") for ent in doc.ents], header=("entity", "label", "probability"))
