"""Colours: those that displaCy knows for entities, and fixed ones for every other label."""

import re
import zlib
from typing import Dict, Iterable, Mapping, Optional

from spacy import registry
from spacy.displacy.render import DEFAULT_LABEL_COLORS

# Light, for dark words on them.
_FILLS = (
    "#b9d7f7 #f9c6c6 #c9e8b4 #f7e29a #dccbf5 #a9e5db #fbcfa3 #e3d3c0 #c5cff9 #f5bfe0 #bfe7f2 #dfe39a #e8c0c8 #b7ddc3".split()
)
# Of middle brightness, for lines on a white or black ground.
_LINES = "#2f7ed8 #d9480f #2b8a3e #ae3ec9 #c98a00 #0c8599 #e03177 #5f6fe0 #74902a #a8664a".split()
NEUTRAL = "#8b929b"
_PLAIN = re.compile(r"#[0-9a-fA-F]{3,8}\b|(?:rgb|hsl)a?\([\d\s.,%/a-z-]*\)", flags=re.I)
_NAME = re.compile(r"[a-zA-Z]+")


def _pick(palette: Iterable[str], label: str) -> str:
    colors = list(palette)
    return colors[zlib.crc32(label.encode("utf8")) % len(colors)]


def _plain_color(color: str) -> Optional[str]:
    """A colour that SVG can fill with: of a gradient, which displaCy allows, the first one."""
    found = _PLAIN.search(color)
    if found:
        return found.group()
    return color if _NAME.fullmatch(color) else None


def entity_colors(colors: Mapping[str, str]) -> Dict[str, str]:
    """The colours of entity labels: displaCy's, those in the registry `displacy_colors`, and those given here.

    colors (Mapping[str, str]): Overrides the others.
    RETURNS (Dict[str, str]): By label in capitals, as displaCy compares them.
    """
    found = dict(DEFAULT_LABEL_COLORS)
    for registered in registry.displacy_colors.get_all().values():
        found.update(registered() if callable(registered) else registered)
    found.update(colors)
    return {label.upper(): color for label, color in found.items()}


def fill_color(label: str, colors: Mapping[str, str]) -> str:
    """The colour of an entity's box.

    label (str): Its label.
    colors (Mapping[str, str]): As `entity_colors` gives them.
    RETURNS (str): A CSS colour; for a label without one always the same, here and in every other process.
    """
    return _plain_color(colors.get(label.upper(), "")) or _pick(_FILLS, label)


def ink_color(fill: str) -> str:
    """The colour of words on a box.

    fill (str): The colour of the box.
    RETURNS (str): Nearly black; white on a dark box, where that can be told.
    """
    digits = fill.removeprefix("#")
    if not fill.startswith("#") or len(digits) not in (3, 6):
        return "#16191d"
    if len(digits) == 3:
        digits = "".join(2 * digit for digit in digits)
    red, green, blue = (int(digits[i : i + 2], 16) for i in (0, 2, 4))
    return "#ffffff" if 0.299 * red + 0.587 * green + 0.114 * blue < 115 else "#16191d"


def line_colors(labels: Iterable[str], colors: Mapping[str, str]) -> Dict[str, str]:
    """The colours of relations and events.

    labels (Iterable[str]): All labels of a picture. Two share a colour only if there are more labels than colours.
    colors (Mapping[str, str]): Colours that the caller gave, by label.
    RETURNS (Dict[str, str]): By label.
    """
    given = {label.upper(): _plain_color(color) for label, color in colors.items()}
    found: Dict[str, str] = {}
    for label in sorted(set(labels)):
        free = [color for color in _LINES if color not in found.values()]
        color = _pick(_LINES, label)
        if color not in free:
            color = _pick(free or _LINES, label)
        found[label] = given.get(label.upper()) or color
    return found
