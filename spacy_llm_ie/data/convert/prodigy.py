"""Prodigy: JSONL as `prodigy db-out` writes it, from ner.manual, spans.manual, rel.manual and their kin."""

from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional

from spacy.language import Language
from spacy.tokens import Doc

from ..build import record_to_doc
from ..fields import Fields
from ..jsonl import read_jsonl
from ..problems import Problems
from .common import compare_words

KNOWN = ("text", "tokens", "spans", "relations", "meta", "answer")


def read_prodigy(path: Path, nlp: Language, problems: Problems) -> Iterator[Doc]:
    """Read the accepted examples of a Prodigy dataset.

    Tokens are kept as they are. Examples without "spans" are not annotated with entities, those without
    "relations" not with relations. In answers to a single span (ner.teach), all other tokens are missing.

    path (Path): The file.
    nlp (Language): For its vocabulary, and its tokenizer where an example has no tokens.
    problems (Problems): Takes in what does not fit, and examples that were not accepted.
    YIELDS (Doc): The documents. Raises ValueError (E156-E163) for examples that do not follow the format.
    """
    for number, example in read_jsonl(path):
        where = f"{path.name}:{number}"
        if example.get("answer", "accept") != "accept":
            problems.add("not_accepted", where, f"the answer is {example['answer']}")
        elif not isinstance(example.get("text"), str):
            problems.add("no_text", where, f"keys: {', '.join(example)}")
        else:
            record = _to_record(example, where, problems)
            yield record_to_doc(record, nlp, where=where, problems=problems)


def _to_record(example: Dict[str, Any], where: str, problems: Problems) -> Dict[str, Any]:
    own = {key: value for key, value in example.items() if not key.startswith("_")}
    fields = Fields(own, where, problems, KNOWN)
    text = fields.get("text", str)
    record: Dict[str, Any] = {"text": text}
    if fields.get("meta", dict, {}):
        record["meta"] = fields.get("meta", dict)
    if "tokens" in fields:
        tokens = fields.objects("tokens")
        record["tokens"] = [{"start": t.get("start", int), "end": t.get("end", int)} for t in tokens]
    if "spans" in fields:
        entities = [_entity(span, text, problems) for span in fields.objects("spans")]
        record["entities"] = [entity for entity in entities if entity is not None]
        if example.get("_is_binary") and text:
            record["missing"] = [{"start": 0, "end": len(text)}]
    if "relations" in fields:
        record["relations"] = _relations(fields, text, problems)
    return record


def _entity(span: Fields, text: str, problems: Problems) -> Optional[Dict[str, Any]]:
    place = {"start": span.get("start", int), "end": span.get("end", int)}
    if not span.data.get("label"):
        problems.add("unlabelled", span.where, repr(text[place["start"] : place["end"]]))
        return None
    found = compare_words(text, place, span.get("text", str, None), where=span.where, problems=problems)
    return found and {**found, "label": span.get("label", str)}


def _relations(fields: Fields, text: str, problems: Problems) -> List[Dict[str, Any]]:
    records = []
    for relation in fields.objects("relations"):
        head, tail = _end(fields, relation, "head"), _end(fields, relation, "child")
        if not relation.data.get("label"):
            problems.add("unlabelled", relation.where, "a relation")
        else:
            records.append({"head": head, "tail": tail, "label": relation.get("label", str)})
    return records


def _end(fields: Fields, relation: Fields, side: str) -> Dict[str, Any]:
    """One end of a relation. Prodigy names it by its last token; recipes since 1.10 give the span as well."""
    key = f"{side}_span"
    if key in relation:
        span = relation.object(key)
    else:
        index = relation.get(side, int)
        spans = [s for s in fields.objects("spans") if s.data.get("token_end") == index]
        tokens = fields.objects("tokens")
        span = spans[0] if spans else tokens[index] if 0 <= index < len(tokens) else relation.object(key)
    place = {"start": span.get("start", int), "end": span.get("end", int)}
    return {**place, "label": span.get("label", str)} if span.data.get("label") else place
