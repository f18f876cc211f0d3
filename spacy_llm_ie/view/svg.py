"""Text, boxes and arcs as one SVG."""

import html
import re
from dataclasses import dataclass
from typing import Dict, Iterator, List

from .arcs import Arc, assign_lanes, assign_levels, margin, path, route, set_heights, set_lanes
from .colors import ink_color
from .facts import Link, Mark, Scene, score_text
from .layout import FONT, LABEL, TAG, WORD, Item, Line, Segment, label_of, make_atoms, place, wrap
from .words import measure

EDGE = 10.0
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
BASELINE = 15.5  # of words, below the top of their line, px


@dataclass
class Drawing:
    """A scene with all its numbers, px."""

    scene: Scene
    lines: List[Line]
    segments: List[Segment]
    arcs: List[Arc]
    width: float
    height: float


def escape(text: str) -> str:
    """Make text safe within HTML and XML, in attributes too.

    text (str): Any text.
    RETURNS (str): Escaped; characters that XML does not allow become U+FFFD.
    """
    return html.escape(_NOT_XML.sub("\ufffd", text), quote=True)


def lay_out(scene: Scene, links: List[Link], width: float) -> Drawing:
    """Find a place for everything.

    scene (Scene): What to draw.
    links (List[Link]): Which of its links get an arc.
    width (float): Of the picture, px.
    RETURNS (Drawing): The numbers. Its height is 0 if there is nothing to draw.
    """
    lanes = (0, 0)
    for _ in range(6):
        left, right = EDGE + margin(lanes[0]), width - EDGE - margin(lanes[1])
        lines = wrap(make_atoms(scene, right - left), right - left)
        segments = place(lines, scene, left, right)
        arcs = route(links, segments, left, right)
        levels = assign_levels(arcs)
        needed = assign_lanes(arcs)
        if needed[0] <= lanes[0] and needed[1] <= lanes[1]:
            break
        lanes = (max(lanes[0], needed[0]), max(lanes[1], needed[1]))
    set_lanes(arcs, needed, left, right)
    height = set_heights(lines, segments, arcs, levels, [bool(label_of(mark)) for mark in scene.marks])
    return Drawing(scene, lines, segments, arcs, width, height if scene.words else 0.0)


def draw(drawing: Drawing) -> str:
    """Write the SVG.

    drawing (Drawing): The picture's numbers.
    RETURNS (str): An svg element; its styles are those of the page around it.
    """
    scene, width, height = drawing.scene, drawing.width, drawing.height
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="0 0 {width:.0f} {height:.0f}" style="min-width:{min(width, 560):.0f}px">'
    ]
    # The rows from the top down, so that an outer box lies behind an inner one.
    for segment in sorted(drawing.segments, key=lambda s: -s.row):
        parts.append(_ground(segment, scene.marks[segment.mark], drawing.lines[segment.line]))
    inks = _inks(drawing)
    for number, line in enumerate(drawing.lines):
        parts += _words(line, inks[number])
    for segment in sorted(drawing.segments, key=lambda s: -s.row):
        parts.append(_tag(segment, scene.marks[segment.mark], _passing(segment, drawing.arcs)))
    arcs = sorted(drawing.arcs, key=lambda arc: -arc.labelled.level)
    parts += [_arc(arc, scene) for arc in arcs]
    return "".join([*parts, "</svg>"])


def _title(text: str) -> str:
    return f"<title>{escape(text)}</title>"


def _data(kind: str, label: str) -> str:
    return f'class="ie-{kind}" data-label="{escape(label)}"'


def _ground(s: Segment, mark: Mark, line: Line) -> str:
    """The box behind the words; for a mark above another one, a tint of its colour down to the words."""
    x, w = s.x1 + 0.5, max(2.0, s.x2 - s.x1 - 1)
    bottom = line.text_top + WORD
    box = f'x="{x:.1f}" y="{s.y:.1f}" width="{w:.1f}" height="{bottom - s.y:.1f}" rx="4"'
    if mark.kind == "entity" and not s.row:
        return f'<rect {box} fill="{escape(mark.color)}"/>'
    if mark.kind == "entity":
        return f'<rect {box} fill="{escape(mark.color)}" fill-opacity=".3"/>'
    dash = ' stroke-dasharray="3 2"' if mark.kind == "span" else ""
    tint = ".14" if mark.kind == "event" else ".08"
    color = escape(mark.color)
    return f'<rect {box} fill="{color}" fill-opacity="{tint}" stroke="{color}" stroke-width="1.2"{dash}/>'


def _passing(s: Segment, arcs: List[Arc]) -> List[float]:
    """The x of the arcs that go through a box on their way to one below it."""
    if not s.row:
        return []
    ends = [end for arc in arcs for end in (arc.head, arc.tail)]
    return [end.x for end in ends if end.segment.line == s.line and end.segment.row < s.row]


def _tag(s: Segment, mark: Mark, stems: List[float]) -> str:
    """The label of a box, on its first line, with a title to read when the mouse rests on it."""
    if not s.first:
        return ""
    label, color = label_of(mark), escape(mark.color)
    x, w = s.x1 + 0.5, max(2.0, s.x2 - s.x1 - 1)
    hover = _title(" ".join(filter(None, [mark.text, "·", mark.label or "span", score_text(mark.score)])))
    area = f'<rect x="{x:.1f}" y="{s.y:.1f}" width="{w:.1f}" height="{TAG + (0 if s.row else WORD):.1f}" rx="4"'
    bar = f'{area} fill="{color if s.row and mark.kind == "entity" else "transparent"}"/>'
    text = ""
    if label:
        ink = f' fill="{ink_color(mark.color)}"' if mark.kind == "entity" else ""
        half = measure(label, LABEL, bold=True) / 2
        places = [s.center, s.x1 + half + 5, s.x2 - half - 5]
        free = (x for x in places if not any(abs(x - stem) < half + 2 for stem in stems))
        text = _label(label, next(free, s.center), s.y + 10.5, ink)
    return f"<g {_data(mark.kind, mark.label)}>{hover}{bar}{text}</g>"


def _label(label: str, x: float, y: float, more: str = "") -> str:
    width = measure(label, LABEL, bold=True)
    return (
        f'<text class="ie-label" x="{x:.1f}" y="{y:.1f}" text-anchor="middle" textLength="{width:.1f}" '
        f'lengthAdjust="spacingAndGlyphs"{more}>{escape(label)}</text>'
    )


def _inks(drawing: Drawing) -> List[Dict[int, str]]:
    """For each line, the colour of the words in it that stand on the box of an entity, by the place of the item."""
    inks: List[Dict[int, str]] = [{} for _ in drawing.lines]
    for s in drawing.segments:
        mark = drawing.scene.marks[s.mark]
        if mark.kind == "entity" and not s.row:
            for i, item in enumerate(drawing.lines[s.line].items):
                if item.kind == "text" and s.x1 <= item.x and item.x + item.width <= s.x2 + 0.1:
                    inks[s.line][i] = ink_color(mark.color)
    return inks


def _words(line: Line, inks: Dict[int, str]) -> Iterator[str]:
    """The words of a line, in as few pieces as the boxes allow, in the order in which they are read."""
    run: List[Item] = []
    ink = ""
    for i, item in enumerate(line.items):
        color = inks.get(i, "") if item.kind == "text" else ink
        plain = item.kind == "text" or (item.kind == "space" and item.text == " ")
        if run and not (plain and item.level == run[-1].level and color == ink):
            yield _text(run, line, ink)
            run = []
        if plain and (run or item.kind == "text"):
            run.append(item)
        ink = color
    yield _text(run, line, ink)


def _text(run: List[Item], line: Line, ink: str) -> str:
    while run and run[-1].kind == "space":
        run = run[:-1]
    if not run:
        return ""
    low, high = min(item.x for item in run), max(item.x + item.width for item in run)
    rtl = run[0].level % 2
    where = f'x="{(low + high) / 2:.1f}" text-anchor="middle" direction="rtl"' if rtl else f'x="{low:.1f}"'
    length = f' textLength="{high - low:.1f}" lengthAdjust="spacingAndGlyphs"' if high - low > 0 else ""
    fill = f' fill="{ink}"' if ink else ""
    text = escape("".join(item.text for item in run))
    return f'<text {where} y="{line.text_top + BASELINE:.1f}"{length}{fill}>{text}</text>'


def _arc(arc: Arc, scene: Scene) -> str:
    """A way with its arrow head and its label."""
    link, points = arc.link, arc.points
    head, tail = scene.marks[link.head], scene.marks[link.tail]
    hover = _title(f"{head.text} — {link.label} → {tail.text} · {score_text(link.score)}")
    x, y = points[-1]
    stem = [*points[:-1], (x, y - 4)]
    run = arc.labelled
    ground = (
        f'<rect class="ie-ground" x="{run.label_x - run.label / 2:.1f}" y="{run.y - 6:.1f}" '
        f'width="{run.label:.1f}" height="12" rx="3"/>'
    )
    way = path(stem)
    color = escape(link.color)
    return (
        f'<g {_data(link.kind, link.label)} stroke="{color}">{hover}<path class="ie-reach" d="{way}"/>'
        f'<path class="ie-way" d="{way}"/><circle cx="{points[0][0]:.1f}" cy="{points[0][1] - 2:.1f}" r="1.8" fill="{color}"/>'
        f'<path d="M{x:.1f} {y:.1f}l-3.2 -6h6.4z" fill="{color}" stroke="none"/>'
        f"{ground}{_label(link.label, run.label_x, run.y + 3.5)}</g>"
    )


__all__ = ["FONT", "Drawing", "draw", "escape", "lay_out"]
