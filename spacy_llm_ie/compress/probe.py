"""python -m spacy_llm_ie.compress.probe PIPELINE TEXTS.json: seconds to the first answer and peak memory, as a line of JSON."""

import json
import sys
import time
from pathlib import Path

import spacy

from .measure import peak_memory


def main(path: str, texts: str) -> None:
    """path (str): Folder of a pipeline. texts (str): A JSON list of texts."""
    given = json.loads(Path(texts).read_text(encoding="utf8"))
    start = time.perf_counter()
    nlp = spacy.load(path)
    nlp(given[0])
    load = time.perf_counter() - start
    for _ in nlp.pipe(given):
        pass
    sys.stdout.write(json.dumps({"load": load, "memory": peak_memory()}) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
