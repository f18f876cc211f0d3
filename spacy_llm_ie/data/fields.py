"""Checked access to the JSON objects of a record: every error names file, line and key."""

import math
from typing import Any, List, Optional, Sequence, Tuple, Type, Union

from ..errors import Errors
from .problems import Problems

_NAMES = {str: "a string", int: "a whole number", float: "a number", list: "a list", dict: "an object"}
_NAMES[bool] = "true or false"


def describe(value: Any) -> str:
    """A value as it is shown in an error.

    value (Any): Any JSON value.
    RETURNS (str): Its type and its text, shortened.
    """
    names = {str: "the string ", type(None): "", bool: "", int: "the number ", float: "the number "}
    kind = names.get(type(value), f"a {type(value).__name__}: ")
    text = repr(value) if value is not None else "null"
    return kind + (text if len(text) <= 60 else text[:57] + "...")


class Fields:
    """One JSON object of a record.

    data (Any): The object. Raises ValueError (E157) if it is something else.
    where (str): Where it stands: "train.jsonl:3, entities[2]".
    problems (Problems): Takes in keys that are not in `known`.
    known (Sequence[str]): The keys that the format has; () = all.
    name (str): Key under which the object stands, for messages.
    """

    def __init__(self, data: Any, where: str, problems: Problems, known: Sequence[str] = (), name: str = "record") -> None:
        if not isinstance(data, dict):
            raise ValueError(Errors.E157.format(where=where, key=name, expected="an object", found=describe(data)))
        self.data = data
        self.where = where
        self.problems = problems
        for key in data:
            if known and key not in known:
                problems.add("unknown_key", where, f"{key!r} (the format has {', '.join(known)})")

    def __contains__(self, key: str) -> bool:
        return key in self.data

    def get(self, key: str, kind: Type, default: Any = ..., *, filled: bool = False) -> Any:
        """Look up a value and check its type.

        key (str): The key.
        kind (Type): str, int, float (whole numbers too), bool, list or dict.
        default (Any): What to return where the key is absent; without it, absence is an error.
        filled (bool): Refuse "" and [].
        RETURNS (Any): The value. Raises ValueError (E157, E158) if it is absent or of another type.
        """
        if key not in self.data and default is not ...:
            return default
        expected = _NAMES[kind] + (", not empty" if filled else "")
        if key not in self.data:
            raise ValueError(Errors.E158.format(where=self.where, key=key, expected=expected))
        value = self.data[key]
        accepted: Union[Type, Tuple[Type, ...]] = (int, float) if kind is float else kind
        fits = isinstance(value, accepted) and (kind is bool or not isinstance(value, bool))
        if not fits or (filled and not value) or (kind is float and not math.isfinite(value)):
            raise ValueError(Errors.E157.format(where=self.where, key=key, expected=expected, found=describe(value)))
        return value

    def objects(self, key: str, known: Sequence[str] = ()) -> List["Fields"]:
        """The objects in the list under a key.

        key (str): The key; absent counts as an empty list.
        known (Sequence[str]): The keys that these objects may have; () = any.
        RETURNS (List[Fields]): One for each. Raises ValueError (E157) if it is no list of objects.
        """
        items = self.get(key, list, [])
        return [
            Fields(item, f"{self.where}, {key}[{number}]", self.problems, known, f"{key}[{number}]")
            for number, item in enumerate(items)
        ]

    def object(self, key: str, known: Sequence[str] = ()) -> "Fields":
        """The object under a key. RETURNS (Fields). Raises ValueError (E157, E158) if there is none."""
        return Fields(self.get(key, dict), f"{self.where}, {key}", self.problems, known, key)

    def offsets(self, text: str) -> Tuple[int, int]:
        """The characters that "start" and "end" mark, compared with "text" where that is given.

        text (str): The text of the document.
        RETURNS (Tuple[int, int]): Start and end, exclusive. Raises ValueError (E157-E159, E162) if they
            mark nothing, lie outside of the text, or mark other words than "text".
        """
        start, end = self.get("start", int), self.get("end", int)
        if not 0 <= start < end <= len(text):
            raise ValueError(Errors.E159.format(where=self.where, start=start, end=end, length=len(text)))
        words: Optional[str] = self.get("text", str, None)
        if words is not None and words != text[start:end]:
            found = text[start:end]
            message = Errors.E162.format(where=self.where, start=start, end=end, found=found, expected=words)
            raise ValueError(message)
        return start, end
