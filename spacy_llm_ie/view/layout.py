"""Where each word and each box stands: the text in lines of a given width, with room for the boxes."""

from dataclasses import dataclass, field
from typing import Dict, Iterator, List, Tuple

from .facts import Mark, Scene
from .words import embedding_levels, measure, visual_order

FONT, LABEL = 15.0, 10.0  # sizes of words and labels, px
PAD = 4.0  # between the edge of a box and its words
SLOT = 7.0  # between two arcs that end at the same box
WORD, TAG, ROW = 21.0, 13.0, 16.0  # heights: of a word, of the label in a box, of a further row of boxes
SPACE = measure(" ", FONT)
TOGETHER = 0.6  # share of the line up to which a span is not broken


@dataclass
class Item:
    """A piece of a line. `kind` is text, space, open or close (the padding of mark `mark`)."""

    kind: str
    text: str
    width: float
    mark: int = -1
    level: int = 0
    x: float = 0.0


@dataclass
class Segment:
    """The part of a mark that stands on one line. `first`: the part that carries the label and the arcs."""

    mark: int
    line: int
    x1: float
    x2: float
    row: int
    first: bool
    y: float = 0.0

    @property
    def center(self) -> float:
        """RETURNS (float): The middle, px."""
        return (self.x1 + self.x2) / 2


@dataclass
class Line:
    """A line of text. `gap`: px of empty space above it; `order`: its items from left to right."""

    items: List[Item]
    gap: float = 0.0
    order: List[int] = field(default_factory=list)
    rows: int = 0
    top: float = 0.0
    text_top: float = 0.0
    bottom: float = 0.0


@dataclass
class Atom:
    """Items that stay on one line, the spaces behind them, and the number of line breaks that follow."""

    items: List[Item]
    spaces: List[Item]
    group: int
    breaks: int = 0

    @property
    def width(self) -> float:
        """RETURNS (float): Without the spaces, px."""
        return sum(item.width for item in self.items)


def rows_of(marks: List[Mark]) -> List[int]:
    """Stack overlapping marks: the shorter ones stand nearer to the text.

    marks (List[Mark]): The marks.
    RETURNS (List[int]): The row of each; 0 is around the words. Marks in one row share no token.
    """
    rows = [0] * len(marks)
    taken: Dict[int, List[int]] = {}
    order = {"entity": 0, "event": 1, "span": 2}
    for i in sorted(range(len(marks)), key=lambda i: (marks[i].end - marks[i].start, order[marks[i].kind], marks[i].start, i)):
        tokens = range(marks[i].start, marks[i].end)
        used = {rows[other] for token in tokens for other in taken.get(token, ())}
        rows[i] = next(row for row in range(len(marks)) if row not in used)
        for token in tokens:
            taken.setdefault(token, []).append(i)
    return rows


def label_of(mark: Mark) -> str:
    """The text of a box's label.

    mark (Mark): The mark.
    RETURNS (str): Its label, with the number of its event if there are several.
    """
    return f"{mark.number} {mark.label}" if mark.number else mark.label


def make_atoms(scene: Scene, width: float) -> List[Atom]:
    """Cut the text into what must not be broken.

    scene (Scene): The scene.
    width (float): Longest piece, px: a longer token is cut.
    RETURNS (List[Atom]): In the order of the text.
    """
    pads = _paddings(scene)
    opens: Dict[int, List[int]] = {}
    closes: Dict[int, List[int]] = {}
    for i in sorted(range(len(scene.marks)), key=lambda i: scene.marks[i].start - scene.marks[i].end):
        opens.setdefault(scene.marks[i].start, []).append(i)
        closes.setdefault(scene.marks[i].end - 1, []).insert(0, i)
    groups = _groups(scene)
    atoms: List[Atom] = []
    for i, (text, space) in enumerate(scene.words):
        pieces = list(_pieces(text, width)) or [("", "", 0)]
        first = len(atoms)
        for piece, blank, breaks in pieces:
            spaces = [Item("space", blank, measure(blank, FONT))] if blank else []
            items = [Item("text", piece, measure(piece, FONT))] if piece else []
            atoms.append(Atom(items, spaces, groups[i], breaks))
        atoms[first].items[:0] = [Item("open", "", pads[m], m) for m in opens.get(i, ())]
        atoms[-1].items.extend(Item("close", "", pads[m], m) for m in closes.get(i, ()))
        if space and not atoms[-1].breaks:
            atoms[-1].spaces.append(Item("space", " ", SPACE))
    return atoms


def _pieces(text: str, width: float) -> Iterator[Tuple[str, str, int]]:
    """A token as (text without whitespace at its end, that whitespace, line breaks behind it), none wider than a line."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n").replace("\u2028", "\n").replace("\u2029", "\n").split("\n")
    for number, line in enumerate(lines):
        line = line.replace("\t", "    ")
        last = number == len(lines) - 1
        start, used = 0, 0.0
        for end, char in enumerate(line):
            used += measure(char, FONT)
            if used > width and end > start:
                yield line[start:end], "", 0
                start, used = end, measure(char, FONT)
        body = line[start:].rstrip()
        if body or not last or line[start:]:
            yield body, line[start + len(body) :] if last else "", 0 if last else 1


def _paddings(scene: Scene) -> List[float]:
    """Half of what each box needs beyond its words: for its edge, its label, and the arcs that end there."""
    arcs = [0] * len(scene.marks)
    for link in scene.links:
        arcs[link.head] += 1
        arcs[link.tail] += 1
    pads = []
    for mark, count in zip(scene.marks, arcs):
        words = scene.words[mark.start : mark.end]
        natural = sum(measure(text, FONT) + (SPACE if space else 0.0) for text, space in words)
        natural -= SPACE if words[-1][1] else 0.0
        need = max(measure(label_of(mark), LABEL, bold=True) + 8, count * SLOT + 6)
        pads.append(max(PAD, (need - natural) / 2))
    return pads


def _groups(scene: Scene) -> List[int]:
    """For each token, the number of the stretch of overlapping marks that it is in; -1 for none."""
    groups, end = [-1] * len(scene.words), -1
    number = -1
    for mark in sorted(scene.marks, key=lambda mark: mark.start):
        number += mark.start >= end
        end = max(end, mark.end) if mark.start < end else mark.end
        for token in range(mark.start, mark.end):
            groups[token] = number
    return groups


def wrap(atoms: List[Atom], width: float) -> List[Line]:
    """Fill lines with atoms.

    atoms (List[Atom]): The text.
    width (float): Of a line, px.
    RETURNS (List[Line]): At least one line; wider only where a single atom is.
    """
    lines = [Line([])]
    used, blanks, waiting = 0.0, 0.0, []
    for unit, breaks in _units(atoms, width):
        need = sum(a.width + sum(s.width for s in a.spaces) for a in unit) - sum(s.width for s in unit[-1].spaces)
        if used and used + blanks + need > width:
            lines.append(Line([]))
            used, blanks, waiting = 0.0, 0.0, []
        for atom in unit:
            if used and used + blanks + atom.width > width:
                lines.append(Line([]))
                used, blanks, waiting = 0.0, 0.0, []
            lines[-1].items += [*waiting, *atom.items]
            used += blanks + atom.width
            waiting, blanks = list(atom.spaces), sum(s.width for s in atom.spaces)
        if breaks:
            gap = 9.0 * min(breaks - 1, 2)
            if not lines[-1].items:
                lines[-1].gap = max(lines[-1].gap, 9.0)
            else:
                lines.append(Line([], gap))
            used, blanks, waiting = 0.0, 0.0, []
    if len(lines) > 1 and not lines[-1].items:
        lines.pop()
    return lines


def _units(atoms: List[Atom], width: float) -> Iterator[Tuple[List[Atom], int]]:
    """Atoms that stay together, with the line breaks behind them: no space between them, or within a span that is short
    enough."""
    unit: List[Atom] = []
    for i, atom in enumerate(atoms):
        unit.append(atom)
        after = atoms[i + 1] if i + 1 < len(atoms) else None
        inside = after is not None and atom.group >= 0 and atom.group == after.group
        if atom.breaks or after is None or (atom.spaces and not inside):
            yield from _split_unit(unit, width)
            unit = []


def _split_unit(unit: List[Atom], width: float) -> Iterator[Tuple[List[Atom], int]]:
    """A unit, or, where it is too long, its parts between spaces."""
    breaks = unit[-1].breaks
    if sum(atom.width for atom in unit) <= TOGETHER * width:
        yield unit, breaks
        return
    part: List[Atom] = []
    for i, atom in enumerate(unit):
        part.append(atom)
        if atom.spaces or i == len(unit) - 1:
            yield part, breaks if i == len(unit) - 1 else 0
            part = []


def place(lines: List[Line], scene: Scene, left: float, right: float) -> List[Segment]:
    """Give each item its x, and find where the marks come to stand.

    lines (List[Line]): The lines, modified.
    scene (Scene): The scene.
    left, right (float): Borders of the text, px.
    RETURNS (List[Segment]): The parts of all marks, line by line.
    """
    rows = rows_of(scene.marks)
    segments: List[Segment] = []
    open_marks: List[int] = []
    seen = set()
    for number, line in enumerate(lines):
        _set_levels(line, scene.rtl)
        line.order = visual_order([item.level for item in line.items])
        x = right - sum(item.width for item in line.items) if scene.rtl else left
        for i in line.order:
            line.items[i].x = x
            x += line.items[i].width
        members: Dict[int, List[Item]] = {mark: [] for mark in open_marks}
        for item in line.items:
            if item.kind == "open":
                open_marks.append(item.mark)
                members[item.mark] = []
            for mark in open_marks:
                members[mark].append(item)
            if item.kind == "close":
                open_marks.remove(item.mark)
        for mark, items in members.items():
            for x1, x2 in _extents(items):
                segments.append(Segment(mark, number, x1, x2, rows[mark], mark not in seen))
                line.rows = max(line.rows, rows[mark] + 1)
                seen.add(mark)
    return segments


def _set_levels(line: Line, rtl: bool) -> None:
    """Embedding levels of a line's items. Padding takes the lower level of what is on its two sides, so that it stands at the
    outer edge of a box and does not part a run of words."""
    real = [i for i, item in enumerate(line.items) if item.kind in ("text", "space")]
    for i, level in zip(real, embedding_levels([line.items[i].text for i in real], rtl)):
        line.items[i].level = level
    before = int(rtl)
    for i, item in enumerate(line.items):
        if item.kind in ("text", "space"):
            before = item.level
            continue
        after = next((other.level for other in line.items[i:] if other.kind in ("text", "space")), int(rtl))
        item.level = min(before, after)


def _extents(items: List[Item]) -> List[Tuple[float, float]]:
    """Where the items of a mark stand: one stretch, or several where words of both directions mix."""
    found: List[List[float]] = []
    solid = [item for item in items if item.kind != "space"]
    inner = items[: items.index(solid[-1]) + 1] if solid else []
    for item in sorted(inner, key=lambda item: item.x):
        if found and item.x - found[-1][1] < 0.5:
            found[-1][1] = max(found[-1][1], item.x + item.width)
        elif item.kind != "space":
            found.append([item.x, item.x + item.width])
    # Of several stretches, the one with the first word comes first: it takes the label.
    start = solid[0].x if solid else 0.0
    return sorted(((a, b) for a, b in found), key=lambda pair: not pair[0] <= start <= pair[1])
