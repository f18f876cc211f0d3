"""What the formats of annotation tools have in common."""

from typing import Any, Dict, Optional

from ..problems import Problems

PlaceT = Dict[str, Any]


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
