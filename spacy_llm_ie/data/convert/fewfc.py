"""FewFC: events in Chinese financial news, with arguments that are no entities."""

from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Tuple

from spacy.language import Language
from spacy.tokens import Doc

from ...errors import Errors
from ..build import record_to_doc
from ..fields import Fields, describe
from ..jsonl import read_jsonl
from ..problems import Problems
from .common import PlaceT, compare_words

TOP = ("id", "content", "events")
EVENT = ("type", "mentions")
MENTION = ("word", "span", "role")
TRIGGER = "trigger"


def read_fewfc(path: Path, nlp: Language, problems: Problems) -> Iterator[Doc]:
    """Read texts with events. The mention with the role "trigger" is the trigger, all others are arguments.

    path (Path): The file.
    nlp (Language): Tokenizer and vocabulary; it must split Chinese text (`--lang zh`).
    problems (Problems): Takes in what does not fit.
    YIELDS (Doc): With events; not annotated with entities or relations. Raises ValueError (E156-E158) for
        lines that do not follow the format.
    """
    for number, data in read_jsonl(path):
        fields = Fields(data, f"{path.name}:{number}", problems, TOP)
        text = fields.get("content", str)
        record: Dict[str, Any] = {"text": text, "meta": {"id": fields.get("id", str, "")}}
        if "events" in fields:
            events = [_event(item, text, problems) for item in fields.objects("events", EVENT)]
            record["events"] = [event for event in events if event is not None]
        yield record_to_doc(record, nlp, where=fields.where, problems=problems)


def _event(item: Fields, text: str, problems: Problems) -> Optional[Dict[str, Any]]:
    label = item.get("type", str, filled=True)
    triggers: List[PlaceT] = []
    arguments: List[Dict[str, Any]] = []
    for mention in item.objects("mentions", MENTION):
        role = mention.get("role", str, filled=True)
        start, end = _span(mention)
        words = mention.get("word", str, None)
        place = compare_words(text, {"start": start, "end": end}, words, where=mention.where, problems=problems)
        if place is not None and role == TRIGGER:
            triggers.append(place)
        elif place is not None:
            arguments.append({"role": role, **place})
    if not triggers:
        problems.add("event", item.where, f"{label}: no trigger")
        return None
    if len(triggers) > 1:
        problems.add("second trigger of an event, the first is used", item.where, label, count=len(triggers) - 1)
    return {"trigger": triggers[0], "label": label, "arguments": arguments}


def _span(mention: Fields) -> Tuple[int, int]:
    span = mention.get("span", list)
    if [type(value) for value in span] != [int, int]:
        expected, found = "[start, end]", describe(span)
        raise ValueError(Errors.E157.format(where=mention.where, key="span", expected=expected, found=found))
    return span[0], span[1]
