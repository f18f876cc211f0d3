"""SemEval-2010 Task 8: sentences with two marked nominals and the relation between them."""

import re
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Tuple

from spacy.language import Language
from spacy.tokens import Doc

from ...errors import Errors
from ..build import record_to_doc
from ..problems import Problems
from .common import read_text

NOMINAL = "NOMINAL"
OTHER = "Other"
SENTENCE = re.compile(r"(\d+)\t(.*)")
LABEL = re.compile(r"(.+)\(e([12]),e([12])\)")
MARK = re.compile(r"(</?e[12]>)")
MARKS = ["<e1>", "</e1>", "<e2>", "</e2>"]


def read_semeval(path: Path, nlp: Language, problems: Problems) -> Iterator[Doc]:
    """Read sentences with `<e1>` and `<e2>`, the relation in the line below, and a comment, which is left out.

    Both nominals are entities, label NOMINAL; of all other tokens it is not known whether they are one. In
    `Cause-Effect(e2,e1)`, e2 is the head. `Other` is no relation: annotated, there is none. Sentences without
    a line for the relation are not annotated with relations.

    path (Path): TRAIN_FILE.TXT, TEST_FILE_FULL.TXT or TEST_FILE.txt.
    nlp (Language): Tokenizer and vocabulary.
    problems (Problems): Takes in nominals that are not on the borders of tokens.
    YIELDS (Doc): One for each sentence, its number in doc.user_data["meta"]["id"]. Raises ValueError (E156)
        with file and line for what does not follow the format.
    """
    for where, number, sentence, label in _read(path):
        text, places = _places(sentence, where)
        entities = [{**place, "label": NOMINAL} for place in places]
        record: Dict[str, Any] = {"text": text, "entities": entities, "meta": {"id": number}}
        record["missing"] = [{"start": 0, "end": len(text)}]
        if label is not None:
            record["relations"] = _relations(label[0], label[1], entities)
        yield record_to_doc(record, nlp, where=where, problems=problems)


def _read(path: Path) -> Iterator[Tuple[str, int, str, Optional[Tuple[str, str]]]]:
    """YIELDS (Tuple): Where it is, number, sentence, and where and what the relation is, if it is there."""
    current: List[Any] = []
    for line_number, line in enumerate(read_text(path).split("\n"), 1):
        where, line = f"{path.name}:{line_number}", line.strip()
        match = SENTENCE.fullmatch(line)
        if match:
            if current:
                yield tuple(current)
            current = [where, int(match[1]), match[2].strip(), None]
        elif line and not line.startswith("Comment"):
            if not current or current[3] is not None:
                problem = f"expected a number, a tab and a sentence, a relation below it, or 'Comment:', found {line!r}"
                raise ValueError(Errors.E156.format(where=where, problem=problem))
            current[3] = (where, line)
    if current:
        yield tuple(current)


def _places(sentence: str, where: str) -> Tuple[str, List[Dict[str, int]]]:
    """RETURNS (Tuple): The text without quotes and marks, and the places of e1 and e2."""
    if len(sentence) > 1 and sentence[0] == sentence[-1] == '"':
        sentence = sentence[1:-1]
    parts = MARK.split(sentence.strip())
    marks = parts[1::2]
    paired = marks in (MARKS, MARKS[2:] + MARKS[:2])
    if not paired or not all(parts[i].strip() for i in (2, 6)):
        problem = f"expected one <e1>...</e1> and one <e2>...</e2>, not empty, beside each other, found {sentence!r}"
        raise ValueError(Errors.E156.format(where=where, problem=problem))
    text, borders = "", []
    for i, part in enumerate(parts):
        if i % 2:
            borders.append(len(text))
        else:
            text += part
    places = [{"start": borders[i], "end": borders[i + 1]} for i in (0, 2)]
    return text, places if marks == MARKS else places[::-1]


def _relations(where: str, label: str, entities: List[Dict[str, Any]]) -> List[Dict[str, Any]]:
    if label == OTHER:
        return []
    match = LABEL.fullmatch(label)
    if not match or match[2] == match[3]:
        problem = f"expected a relation such as Cause-Effect(e1,e2), or Other, found {label!r}"
        raise ValueError(Errors.E156.format(where=where, problem=problem))
    return [{"head": entities[int(match[2]) - 1], "tail": entities[int(match[3]) - 1], "label": match[1]}]
