"""SpERT: JSON lists of sentences with entities and relations between them, as CoNLL04 comes."""

from pathlib import Path
from typing import Any, Dict, Iterator, List

from spacy.language import Language
from spacy.tokens import Doc

from ...errors import Errors
from ..build import record_to_doc
from ..fields import Fields
from ..problems import Problems
from .common import PlaceT, read_list
from .tokens import Tokens

TOP = ("tokens", "entities", "relations", "orig_id")
IGNORED = ("pos", "dep", "pos_tags", "dep_label", "verb_indicator", "dep_head", "ltokens", "rtokens")
ENTITY = ("type", "start", "end")
RELATION = ("type", "head", "tail")


def read_spert(path: Path, nlp: Language, problems: Problems) -> Iterator[Doc]:
    """Read sentences of tokens. Entities end exclusive; head and tail of a relation are numbers of entities.

    It is not known where spaces were. Tags of words, parses and the sentences around are counted, not read.

    path (Path): The file.
    nlp (Language): For its vocabulary.
    problems (Problems): Takes in what does not fit.
    YIELDS (Doc): One for each sentence. Raises ValueError (E156-E158, E161, E174) if the file does not follow
        the format.
    """
    for where, data in read_list(path, "JSON list of SpERT"):
        for key in IGNORED:
            if isinstance(data, dict) and key in data:
                problems.add("beyond", where, key)
        own = {k: v for k, v in data.items() if k not in IGNORED} if isinstance(data, dict) else data
        fields = Fields(own, where, problems, TOP)
        tokens = Tokens(fields.get("tokens", list), where)
        record = tokens.record()
        if "orig_id" in fields:
            record["meta"] = {"id": fields.data["orig_id"]}
        if "entities" in fields:
            record["entities"] = [_entity(item, tokens) for item in fields.objects("entities", ENTITY)]
        if "relations" in fields:
            entities = record.get("entities", [])
            record["relations"] = [_relation(item, entities) for item in fields.objects("relations", RELATION)]
        yield record_to_doc(record, nlp, where=where, problems=problems)


def _entity(item: Fields, tokens: Tokens) -> PlaceT:
    place = tokens.place(item.get("start", int), item.get("end", int), item.where)
    return {**place, "label": item.get("type", str, filled=True)}


def _relation(item: Fields, entities: List[PlaceT]) -> Dict[str, Any]:
    ends = [item.get("head", int), item.get("tail", int)]
    for number in ends:
        if not 0 <= number < len(entities):
            known = f"0 to {len(entities) - 1}" if entities else "none"
            raise ValueError(Errors.E161.format(where=item.where, id=number, known=known))
    return {"head": entities[ends[0]], "tail": entities[ends[1]], "label": item.get("type", str, filled=True)}
