"""The JSONL format: one document a line, offsets in characters, end exclusive.

    {"text": "Apple bought Beats for $3 billion.",
     "entities":  [{"id": "T1", "start": 0, "end": 5, "label": "ORG"}, ...],
     "relations": [{"head": "T1", "tail": "T2", "label": "owns"}],
     "events":    [{"trigger": {"start": 6, "end": 12}, "label": "acquisition",
                    "arguments": [{"role": "buyer", "entity": "T1"}, {"role": "price", "start": 23, "end":
                    33}]}],
     "meta": {"source": "..."}}

Absent key: not annotated. Empty list: annotated, there are none. docs/data.md has all keys. This module reads
and writes; `build` turns records into documents.
"""

import json
from pathlib import Path
from typing import Any, Dict, Iterable, Iterator, List, Tuple, Union

from spacy.tokens import Doc, Span

from ..annotations import get_events, get_relations, is_annotated
from ..carry import entities_of
from ..errors import Errors
from .build import META, TOKENS, record_to_doc

__all__ = ["doc_to_record", "read_jsonl", "record_to_doc", "write_jsonl"]


def read_jsonl(path: Union[str, Path]) -> Iterator[Tuple[int, Dict[str, Any]]]:
    """Read the objects of a JSONL file, one a line. Empty lines are passed over.

    path (Union[str, Path]): A file in UTF-8.
    YIELDS (Tuple[int, Dict[str, Any]]): Line number, from 1, and object. Raises ValueError (E156) with file
        and line where a line is not UTF-8, not JSON, no object, or gives a key twice.
    """
    path = Path(path)
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if number == 1:
                line = line.removeprefix(b"\xef\xbb\xbf")
            if line.strip():
                yield number, _parse(line, f"{path.name}:{number}")


def write_jsonl(path: Union[str, Path], records: Iterable[Dict[str, Any]]) -> int:
    """Write records, one a line, in UTF-8.

    path (Union[str, Path]): The file to write.
    records (Iterable[Dict[str, Any]]): The records, as `doc_to_record` makes them.
    RETURNS (int): How many were written. Raises ValueError (E178) for a record that JSON cannot hold.
    """
    count = 0
    with Path(path).open("w", encoding="utf8", newline="\n") as file_:
        for count, record in enumerate(records, 1):
            try:
                line = json.dumps(record, ensure_ascii=False, allow_nan=False)
            except (TypeError, ValueError) as error:
                raise ValueError(Errors.E178.format(where=f"document {count}", problem=error)) from None
            file_.write(line + "\n")
    return count


def doc_to_record(doc: Doc) -> Dict[str, Any]:
    """Turn a document into a record of the JSONL format; the inverse of `record_to_doc`.

    Keys of annotation that the document does not carry are left out. Tokens are written where they were given
    and do not come from a tokenizer, sentences where their borders are known, scores where they are not 1.0.

    doc (Doc): The document, not modified.
    RETURNS (Dict[str, Any]): The record, with entities in the order of the text.
    """
    record: Dict[str, Any] = {"text": doc.text}
    if doc.has_unknown_spaces or doc.user_data.get(TOKENS):
        record["tokens"] = [{"start": token.idx, "end": token.idx + len(token)} for token in doc]
    if doc.has_unknown_spaces and all(token.whitespace_ for token in doc[:-1]):
        record["unknown_spaces"] = True
        record["text"] = doc.text.removesuffix(" ")
    if len(doc) > 1 and doc.has_annotation("SENT_START"):
        record["sentences"] = [_offsets(sent) for sent in doc.sents]
    ids: Dict[Tuple[int, int, str], str] = {}
    if is_annotated(doc, "entities"):
        record["entities"] = _entity_records(doc, ids)
        missing = missing_records(doc)
        if missing:
            record["missing"] = missing
    if is_annotated(doc, "relations"):
        record["relations"] = _relation_records(doc, ids)
    if is_annotated(doc, "events"):
        record["events"] = _event_records(doc, ids)
    if isinstance(doc.user_data.get(META), dict):
        record["meta"] = _plain(doc.user_data[META])
    return record


def _parse(line: bytes, where: str) -> Dict[str, Any]:
    try:
        record = json.loads(line.decode("utf8"), object_pairs_hook=_unique)
    except UnicodeDecodeError as error:
        problem = f"not UTF-8 (byte {error.start} of the line). Save the file in UTF-8"
        raise ValueError(Errors.E156.format(where=where, problem=problem)) from None
    except ValueError as error:
        raise ValueError(Errors.E156.format(where=where, problem=f"not valid JSON: {error}")) from None
    if not isinstance(record, dict):
        problem = f"expected one JSON object a line, found {type(record).__name__}"
        raise ValueError(Errors.E156.format(where=where, problem=problem))
    return record


def _unique(pairs: List[Tuple[str, Any]]) -> Dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key {next(key for key in keys if keys.count(key) > 1)!r} is given twice")
    return found


def _offsets(span: Span) -> Dict[str, Any]:
    return {"start": span.start_char, "end": span.end_char}


def _key(span: Span) -> Tuple[int, int, str]:
    return (span.start, span.end, span.label_)


def _entity_records(doc: Doc, ids: Dict[Tuple[int, int, str], str]) -> List[Dict[str, Any]]:
    """RETURNS (List[Dict[str, Any]]): The records of all entities. Fills in `ids` by start, end and label."""
    entities = entities_of(doc)
    taken = {own for _, own, _ in entities}
    number = 0
    records = []
    for span, own, score in entities:
        while not own:
            number += 1
            own = f"T{number}" if f"T{number}" not in taken else ""
        ids[_key(span)] = own
        record = {"id": own, **_offsets(span), "label": span.label_}
        if span.kb_id_:
            record["kb_id"] = span.kb_id_
        if score is not None:
            record["score"] = float(score)
        records.append(record)
    return records


def missing_records(doc: Doc) -> List[Dict[str, Any]]:
    """The stretches of tokens of which it is not known whether they are entities.

    doc (Doc): The document.
    RETURNS (List[Dict[str, Any]]): "start" and "end" of each, in characters.
    """
    runs: List[List[int]] = []
    for token in doc:
        if token.ent_iob == 0 and runs and runs[-1][1] == token.i:
            runs[-1][1] += 1
        elif token.ent_iob == 0:
            runs.append([token.i, token.i + 1])
    return [_offsets(doc[start:end]) for start, end in runs]


def _end(span: Span, ids: Dict[Tuple[int, int, str], str]) -> Union[str, Dict[str, Any]]:
    """A span that a fact refers to: the id of the entity, or its place and label if it is none."""
    if _key(span) in ids:
        return ids[_key(span)]
    return {**_offsets(span), "label": span.label_} if span.label_ else _offsets(span)


def _scored(record: Dict[str, Any], score: float) -> Dict[str, Any]:
    return record if score == 1.0 else {**record, "score": score}


def _relation_records(doc: Doc, ids: Dict[Tuple[int, int, str], str]) -> List[Dict[str, Any]]:
    return [
        _scored({"head": _end(r.head, ids), "tail": _end(r.tail, ids), "label": r.label}, r.score) for r in get_relations(doc)
    ]


def _event_records(doc: Doc, ids: Dict[Tuple[int, int, str], str]) -> List[Dict[str, Any]]:
    records = []
    for event in get_events(doc):
        trigger = _offsets(event.trigger)
        if event.trigger.label_ not in ("", event.label):
            trigger["label"] = event.trigger.label_
        arguments = []
        for argument in event.arguments:
            end = _end(argument.span, ids)
            place = {"entity": end} if isinstance(end, str) else end
            arguments.append(_scored({"role": argument.role, **place}, argument.score))
        record = {"trigger": trigger, "label": event.label, "arguments": arguments}
        records.append(_scored(record, event.score))
    return records


def _plain(value: Any) -> Any:
    """The value with lists instead of the tuples that a DocBin makes of them."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value
