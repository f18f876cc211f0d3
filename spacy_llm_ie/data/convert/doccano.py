"""Doccano: JSONL exports of sequence labelling and relation projects, of its various versions."""

from pathlib import Path
from typing import Any, Dict, Iterator, List, Tuple

from spacy.language import Language
from spacy.tokens import Doc

from ...errors import Errors
from ..build import record_to_doc
from ..fields import Fields, describe
from ..jsonl import read_jsonl
from ..problems import Problems

LABELS = ("label", "labels")
TEXTS = ("text", "data")
KNOWN = (*TEXTS, *LABELS, "entities", "relations", "meta")
ENTITY = ("id", "start_offset", "end_offset", "label")
RELATION = ("id", "from_id", "to_id", "type")


def read_doccano(path: Path, nlp: Language, problems: Problems) -> Iterator[Doc]:
    """Read a JSONL export: triples under "label" or "labels", or objects under "entities" and "relations".

    Other keys ("id", "Comments", ...) go into the meta data.

    path (Path): The file.
    nlp (Language): Tokenizer and vocabulary.
    problems (Problems): Takes in what does not fit.
    YIELDS (Doc): The documents. Raises ValueError (E156-E161) for records that do not follow the format.
    """
    for number, data in read_jsonl(path):
        where = f"{path.name}:{number}"
        key = next((key for key in TEXTS if isinstance(data.get(key), str)), None)
        if key is None:
            problems.add("no_text", where, f"keys: {', '.join(data)}")
            continue
        fields = Fields(data, where, problems)
        record: Dict[str, Any] = {"text": data[key]}
        meta = {**fields.get("meta", dict, {}), **{k: v for k, v in data.items() if k not in KNOWN}}
        if meta:
            record["meta"] = meta
        objects = _objects(fields)
        if any(k in fields for k in (*LABELS, "entities")):
            record["entities"] = [*_triples(fields, problems), *(entity for _, entity in objects)]
        if "relations" in fields:
            record["relations"] = _relations(fields, dict(objects), problems)
        yield record_to_doc(record, nlp, where=where, problems=problems)


def _triples(fields: Fields, problems: Problems) -> List[Dict[str, Any]]:
    """Entities that are written as [start, end, label].

    Strings are categories of the text, and are counted.
    """
    entities = []
    for key in LABELS:
        for number, item in enumerate(fields.get(key, list, [])):
            where = f"{fields.where}, {key}[{number}]"
            if isinstance(item, str):
                problems.add("unsupported", where, f"category {item!r}")
            elif isinstance(item, list) and len(item) == 3:
                entities.append(dict(zip(("start", "end", "label"), item)))
            else:
                expected, found = "[start, end, label]", describe(item)
                raise ValueError(Errors.E157.format(where=where, key=key, expected=expected, found=found))
    return entities


def _objects(fields: Fields) -> List[Tuple[str, Dict[str, Any]]]:
    """Id, and place and label, of the entities that are written as objects."""
    entities = []
    for item in fields.objects("entities", ENTITY):
        place = {"start": item.get("start_offset", int), "end": item.get("end_offset", int)}
        entities.append((str(item.data.get("id")), {**place, "label": item.get("label", str)}))
    return entities


def _relations(fields: Fields, places: Dict[str, Dict[str, Any]], problems: Problems) -> List[Dict[str, Any]]:
    """Relations between entities, named by their place, since the ids of doccano mean nothing elsewhere."""
    records = []
    for item in fields.objects("relations", RELATION):
        ends = [str(item.data.get(key)) for key in ("from_id", "to_id")]
        for name in ends:
            if name not in places:
                known = ", ".join(list(places)[:20]) or "none"
                raise ValueError(Errors.E161.format(where=item.where, id=name, known=known))
        if not item.data.get("type"):
            problems.add("unlabelled", item.where, "a relation")
        else:
            head, tail = (places[name] for name in ends)
            records.append({"head": head, "tail": tail, "label": item.get("type", str)})
    return records
