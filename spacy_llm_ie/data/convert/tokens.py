"""What the formats that come as tokens have in common."""

from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

from ...errors import Errors
from ..fields import Fields, describe
from ..problems import Problems
from .common import PlaceT


class Tokens:
    """The text of a document that comes as tokens, and the places of its spans.

    words (Sequence[Any]): The tokens. Raises ValueError (E157) for one that is no string or empty.
    where (str): File and line, for messages.
    text (Optional[str]): The text, if the format has it. Without it, and where it is not the tokens with
        whitespace between them, it is not known where spaces were.
    """

    def __init__(self, words: Sequence[Any], where: str, text: Optional[str] = None) -> None:
        for number, word in enumerate(words):
            if not isinstance(word, str) or not word:
                expected, key = "a string, not empty", f"token {number}"
                raise ValueError(Errors.E157.format(where=where, key=key, expected=expected, found=describe(word)))
        self.where = where
        found = None if text is None else _find(words, text)
        self.unknown_spaces = found is None
        self.text = " ".join(words) if found is None else str(text)
        self.places = found if found is not None else _joined(words)

    def record(self) -> Dict[str, Any]:
        """RETURNS (Dict[str, Any]): A record of the JSONL format with the text and its tokens."""
        tokens = [{"start": start, "end": end} for start, end in self.places]
        record: Dict[str, Any] = {"text": self.text, "tokens": tokens}
        if self.unknown_spaces and tokens:
            record["unknown_spaces"] = True
        return record

    def place(self, start: int, end: int, where: str) -> PlaceT:
        """The characters of a span of tokens.

        start (int): First token.
        end (int): Behind the last token.
        where (str): File, line and key, for messages.
        RETURNS (PlaceT): "start" and "end" in characters. Raises ValueError (E156) if there are no such
            tokens.
        """
        if not 0 <= start < end <= len(self.places):
            count = len(self.places)
            problem = f"tokens {start} to {end} (exclusive) are no span of the {count} tokens of this document"
            raise ValueError(Errors.E156.format(where=where, problem=problem))
        return {"start": self.places[start][0], "end": self.places[end - 1][1]}

    def mention(self, fields: Fields, problems: Problems) -> Optional[PlaceT]:
        """The place of an object with "start" and "end" (exclusive), compared with its "text".

        fields (Fields): The object.
        problems (Problems): Takes in words that do not fit, and words inside a token.
        RETURNS (Optional[PlaceT]): None if the words are others.
        """
        place = self.place(fields.get("start", int), fields.get("end", int), fields.where)
        words = fields.get("text", str, None)
        found = self.text[place["start"] : place["end"]]
        if words is None or _bare(words) == _bare(found):
            return place
        if _bare(words) and _bare(words) in _bare(found):
            problems.add("grown", fields.where, f"{words!r} is inside {found!r}")
            return place
        problems.add("mismatch", fields.where, f"the tokens are {found!r}, and not {words!r}")
        return None

    def event(self, item: Fields, find: Callable[[Fields], Optional[PlaceT]], problems: Problems) -> Optional[Dict[str, Any]]:
        """Read an event as OneIE and the nlpcl-lab JSON write it: event_type, trigger, arguments with roles.

        item (Fields): The event.
        find (Callable): Where an argument stands; None if it has no place.
        problems (Problems): Takes in triggers and arguments without a place.
        RETURNS (Optional[Dict[str, Any]]): As in our JSONL format; None without a trigger.
        """
        label = item.get("event_type", str, filled=True)
        trigger = self.mention(item.object("trigger"), problems)
        if trigger is None:
            problems.add("event", item.where, label)
            return None
        arguments: List[Dict[str, Any]] = []
        for argument in item.objects("arguments"):
            role, place = argument.get("role", str, filled=True), find(argument)
            if place is None:
                problems.add("argument", argument.where, role)
            else:
                arguments.append({"role": role, **place})
        return {"trigger": trigger, "label": label, "arguments": arguments}


def _bare(text: str) -> str:
    return "".join(text.split())


def _joined(words: Sequence[str]) -> List[Tuple[int, int]]:
    places, position = [], 0
    for word in words:
        places.append((position, position + len(word)))
        position += len(word) + 1
    return places


def _find(words: Sequence[str], text: str) -> Optional[List[Tuple[int, int]]]:
    """RETURNS (Optional[List[Tuple[int, int]]]): The words in the text; None if more than whitespace is left."""
    places, position = [], 0
    for word in words:
        while not text.startswith(word, position):
            if position >= len(text) or not text[position].isspace():
                return None
            position += 1
        places.append((position, position + len(word)))
        position += len(word)
    return None if text[position:].strip() else places
