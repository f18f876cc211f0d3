"""What the formats of annotation tools have in common."""

import json
from pathlib import Path
from typing import Any, Dict, Iterator, Optional, Tuple

from ...errors import Errors
from ..problems import Problems

PlaceT = Dict[str, Any]


def read_text(path: Path) -> str:
    """The text of a file, with its line ends as they are.

    path (Path): A file in UTF-8, with a byte order mark or without.
    RETURNS (str): The text. Raises ValueError (E156) if it is not UTF-8.
    """
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        problem = f"not UTF-8 (byte {error.start} of the file). Save the file in UTF-8"
        raise ValueError(Errors.E156.format(where=path.name, problem=problem)) from None


def read_list(path: Path, expected: str) -> Iterator[Tuple[str, Any]]:
    """Read the items of a JSON list.

    path (Path): A file that holds one list.
    expected (str): What it should be, for messages.
    YIELDS (Tuple[str, Any]): Where the item is, for messages, and the item. Raises ValueError (E156, E174) if
        the file is not UTF-8, no JSON or no list.
    """
    try:
        items = json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise ValueError(Errors.E174.format(path=path, expected=expected, problem=f"not valid JSON: {error}")) from None
    if not isinstance(items, list):
        problem = f"found {type(items).__name__}, expected a list"
        raise ValueError(Errors.E174.format(path=path, expected=expected, problem=problem))
    for number, item in enumerate(items, 1):
        yield f"{path.name}, item {number}", item


def compare_words(text: str, place: PlaceT, words: Optional[str], *, where: str, problems: Problems) -> Optional[PlaceT]:
    """Compare offsets with the words that the tool saved beside them.

    Tools that run in a browser may count UTF-16 units, in which an emoji is two.

    text (str): Text of the document.
    place (PlaceT): "start" and "end".
    words (Optional[str]): What the tool says the span is; None if it does not say.
    where (str): File and line, for messages.
    problems (Problems): Takes in offsets that were counted again, and those that do not fit.
    RETURNS (Optional[PlaceT]): "start" and "end" in characters; None if they mark other words.
    """
    start, end = place["start"], place["end"]
    if words is None or _same(text[start:end], words):
        return {"start": start, "end": end}
    units = text.encode("utf-16-le", "surrogatepass")
    first = len(units[: 2 * start].decode("utf-16-le", "ignore"))
    last = len(units[: 2 * end].decode("utf-16-le", "ignore"))
    if _same(text[first:last], words):
        problems.add("moved", where, f"{words!r}: {start}:{end} is {first}:{last}")
        return {"start": first, "end": last}
    problems.add("mismatch", where, f"{start}:{end} is {text[start:end]!r}, and not {words!r}")
    return None


def _same(one: str, other: str) -> bool:
    return one == other or one.split() == other.replace("\\n", "\n").split()
