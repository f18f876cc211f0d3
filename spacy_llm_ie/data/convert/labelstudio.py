"""Label Studio: the JSON export (not JSON-MIN) of projects with <Labels> on <Text>, and their relations."""

import json
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Tuple

from spacy.language import Language
from spacy.tokens import Doc

from ...errors import Errors
from ..build import record_to_doc
from ..fields import Fields
from ..problems import Problems
from .common import PlaceT, compare_words

LABELS = "labels"
RELATION = "relation"


def read_labelstudio(path: Path, nlp: Language, problems: Problems, *, text_key: str = "") -> Iterator[Doc]:
    """Read an export in JSON.

    Of several annotations of a task, the one marked as ground truth is used, else the first one that was not
    cancelled. If the file has a relation anywhere, all tasks count as annotated with relations.

    path (Path): The file.
    nlp (Language): Tokenizer and vocabulary.
    problems (Problems): Takes in what does not fit, and tasks without an annotation.
    text_key (str): Key of the text in "data"; "" = "text", or the only string there.
    YIELDS (Doc): The documents. Raises ValueError (E156-E161, E174) for files that do not follow the format.
    """
    tasks = _load(path)
    related = any(r.get("type") == RELATION for task in tasks for a in _annotations(task) for r in _results(a))
    for number, task in enumerate(tasks, 1):
        where = f"{path.name}, task {task.get('id', number)}"
        text = _text(task, text_key)
        annotation = _choose(task, where, problems)
        if text is None:
            problems.add("no_text", where, f"keys of data: {', '.join(map(str, task.get('data') or {}))}")
        elif annotation is not None:
            fields = Fields({"result": annotation.get("result")}, where, problems)
            record = _to_record(fields, text, problems)
            if not related:
                del record["relations"]
            meta = {key: value for key, value in task["data"].items() if value != text}
            if meta:
                record["meta"] = meta
            yield record_to_doc(record, nlp, where=where, problems=problems)


def _load(path: Path) -> List[Dict[str, Any]]:
    expected = "the JSON export of Label Studio: a list of tasks with 'data' and 'annotations'"
    try:
        tasks = json.loads(path.read_text(encoding="utf-8-sig"))
    except ValueError as error:
        raise ValueError(Errors.E174.format(path=path, expected=expected, problem=error)) from None
    whole = isinstance(tasks, list) and all(isinstance(task, dict) for task in tasks)
    if not whole or not all(isinstance(t.get("data"), dict) and "annotations" in t for t in tasks):
        problem = "it has another form. Choose 'JSON' in the export dialogue, not 'JSON-MIN' or 'CSV'"
        raise ValueError(Errors.E174.format(path=path, expected=expected, problem=problem))
    return tasks


def _annotations(task: Dict[str, Any]) -> List[Dict[str, Any]]:
    return [a for a in task["annotations"] if isinstance(a, dict)]


def _results(annotation: Dict[str, Any]) -> List[Dict[str, Any]]:
    return [r for r in annotation.get("result") or [] if isinstance(r, dict)]


def _text(task: Dict[str, Any], key: str) -> Optional[str]:
    data = task["data"]
    strings = [value for value in data.values() if isinstance(value, str)]
    text = data.get(key or "text")
    if not isinstance(text, str) and not key and len(strings) == 1:
        return strings[0]
    return text if isinstance(text, str) else None


def _choose(task: Dict[str, Any], where: str, problems: Problems) -> Optional[Dict[str, Any]]:
    done = [a for a in _annotations(task) if not a.get("was_cancelled")]
    if not done:
        problems.add("not_accepted", where, "cancelled" if task["annotations"] else "no annotation")
        return None
    if len(done) > 1:
        problems.add("extra", where, f"{len(done)} annotations", count=len(done) - 1)
    return next((a for a in done if a.get("ground_truth")), done[0])


def _to_record(fields: Fields, text: str, problems: Problems) -> Dict[str, Any]:
    regions: Dict[str, List[PlaceT]] = {}
    relations: List[Fields] = []
    for item in fields.objects("result"):
        kind = item.get("type", str)
        if kind == LABELS:
            regions[item.get("id", str)] = _region(item, text, problems)
        elif kind == RELATION:
            relations.append(item)
        else:
            problems.add("unsupported", item.where, kind)
    entities = [entity for found in regions.values() for entity in found]
    records = [record for item in relations for record in _relation(item, regions, problems)]
    return {"text": text, "entities": entities, "relations": records}


def _region(item: Fields, text: str, problems: Problems) -> List[PlaceT]:
    """The entities of a region, one for each label; none without a label or if its words do not fit."""
    value = item.object("value")
    labels = value.get(LABELS, list, [])
    place = {"start": value.get("start", int), "end": value.get("end", int)}
    if not labels:
        problems.add("unlabelled", item.where, repr(text[place["start"] : place["end"]]))
        return []
    words = value.get("text", str, None)
    found = compare_words(text, place, words, where=item.where, problems=problems)
    return [] if found is None else [{**found, "label": label} for label in labels]


def _relation(item: Fields, regions: Dict[str, List[PlaceT]], problems: Problems) -> Iterator[Dict[str, Any]]:
    """Yield the relations of an arrow: one for each of its labels, and both ways if it points both ways."""
    ends: List[str] = [item.get("from_id", str), item.get("to_id", str)]
    for name in ends:
        if name not in regions:
            known = ", ".join(list(regions)[:20]) or "none"
            raise ValueError(Errors.E161.format(where=item.where, id=name, known=known))
    labels = item.get(LABELS, list, []) or []
    if not labels:
        problems.add("unlabelled", item.where, "a relation")
    if not all(regions[name] for name in ends):
        problems.add("relation", item.where, ", ".join(map(str, labels)))
        return
    head, tail = (regions[name][0] for name in ends)
    direction = item.get("direction", str, "right")
    pairs: List[Tuple[PlaceT, PlaceT]] = [(tail, head)] if direction == "left" else [(head, tail)]
    if direction == "bi":
        pairs.append((tail, head))
    for label in labels:
        for first, second in pairs:
            yield {"head": first, "tail": second, "label": label}
