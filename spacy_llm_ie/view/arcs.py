"""How arcs run: up from a box, along above the line, and down to another box; between lines, along the margin.

Within a line short arcs run below long ones, and no two share a height where they would touch. Between lines each arc has a
lane of its own in the left or the right margin, whichever is the shorter way.
"""

from dataclasses import dataclass
from typing import Dict, List, Sequence, Tuple

from .facts import Link
from .layout import LABEL, PAD, ROW, SLOT, TAG, WORD, Line, Segment
from .words import measure

FIRST, LEVEL = 17.0, 16.0  # height of the lowest arc above the boxes, and from arc to arc, px
LANE, MARGIN = 8.0, 120.0  # width of a lane, most of a margin, px
APART = 7.0  # between two arcs at the same height, px
RADIUS = 5.0
UNDER = 14.0  # empty space below a line of text, px
PointT = Tuple[float, float]


@dataclass
class End:
    """Where an arc meets a box."""

    segment: Segment
    toward: int = 0
    reach: float = 0.0
    x: float = 0.0


@dataclass
class Run:
    """A horizontal stretch of an arc. `low` and `high` include the label, if the arc has it here."""

    line: int
    x1: float
    x2: float
    label: float = 0.0  # its width; 0: none here
    label_x: float = 0.0
    level: int = 0
    y: float = 0.0

    @property
    def low(self) -> float:
        """RETURNS (float): Left border, px."""
        return min(self.x1, self.x2, *([self.label_x - self.label / 2] if self.label else []))

    @property
    def high(self) -> float:
        """RETURNS (float): Right border, px."""
        return max(self.x1, self.x2, *([self.label_x + self.label / 2] if self.label else []))


@dataclass
class Arc:
    """A link with its way: one run, or two and the x of the lane between them."""

    link: Link
    head: End
    tail: End
    runs: List[Run]
    side: int = 0
    lane: float = 0.0

    @property
    def labelled(self) -> Run:
        """RETURNS (Run): The run that carries the label."""
        return next(run for run in self.runs if run.label)

    @property
    def points(self) -> List[PointT]:
        """RETURNS (List[PointT]): The corners of the way, from head to tail, px."""
        first, last = self.runs[0], self.runs[-1]
        lane = [(self.lane, first.y), (self.lane, last.y)] if self.side else []
        start, end = (self.head.x, self.head.segment.y), (self.tail.x, self.tail.segment.y - 1)
        return [start, (self.head.x, first.y), *lane, (self.tail.x, last.y), end]


def route(links: Sequence[Link], segments: Sequence[Segment], left: float, right: float) -> List[Arc]:
    """Find the ways of all arcs, without heights.

    links (Sequence[Link]): The arcs.
    segments (Sequence[Segment]): Where the marks stand.
    left, right (float): Borders of the text, px.
    RETURNS (List[Arc]): One for each link, in order.
    """
    firsts = {segment.mark: segment for segment in segments if segment.first}
    arcs = []
    ends: Dict[int, List[End]] = {}
    for link in links:
        head, tail = End(firsts[link.head]), End(firsts[link.tail])
        arc = Arc(link, head, tail, [], _aim(head, tail, left, right))
        arcs.append(arc)
        ends.setdefault(link.head, []).append(head)
        ends.setdefault(link.tail, []).append(tail)
    _spread(list(ends.values()))
    for arc in arcs:
        width = measure(arc.link.label, LABEL, bold=True) + 6
        border = right + PAD if arc.side > 0 else left - PAD
        x1, x2 = arc.head.x, arc.tail.x
        if arc.side:
            arc.runs = [Run(arc.head.segment.line, x1, border), Run(arc.tail.segment.line, x2, border)]
        else:
            arc.runs = [Run(arc.head.segment.line, x1, x2)]
        longest = max(arc.runs, key=lambda run: abs(run.x1 - run.x2))
        longest.label, longest.label_x = width, (longest.x1 + longest.x2) / 2
    return arcs


def _aim(head: End, tail: End, left: float, right: float) -> int:
    """Say where an arc leaves its boxes for. RETURNS (int): Its margin: -1 left, 1 right, 0 none."""
    a, b = head.segment, tail.segment
    if a.line == b.line:
        head.toward = 1 if a.center <= b.center else -1
        tail.toward = -head.toward
        head.reach = tail.reach = abs(a.center - b.center)
        return 0
    side = -1 if a.center + b.center - 2 * left < 2 * right - a.center - b.center else 1
    for end in (head, tail):
        end.toward = side
        end.reach = end.segment.center - left if side < 0 else right - end.segment.center
    return side


def _spread(boxes: List[List[End]]) -> None:
    """Give each end its x: those to the left stand left, and of one side the far ones stand inside, where they cross least."""
    taken: Dict[int, List[float]] = {}
    for ends in sorted(boxes, key=lambda ends: (ends[0].segment.row, ends[0].segment.x1)):
        segment = ends[0].segment
        ends.sort(key=lambda end: (end.toward, -end.toward * end.reach))
        step = min(SLOT * 1.5, (segment.x2 - segment.x1 - 4) / len(ends))
        used = taken.setdefault(segment.line, [])
        for i, end in enumerate(ends):
            end.x = segment.center + (i - (len(ends) - 1) / 2) * step
            # A box above another one: its arcs stand beside those that come from below.
            for _ in range(8):
                if any(abs(end.x - x) < 3 for x in used):
                    end.x += 4
            used.append(end.x)


def assign_levels(arcs: Sequence[Arc]) -> Dict[int, int]:
    """Give each run its height and its label a place.

    arcs (Sequence[Arc]): The arcs, modified.
    RETURNS (Dict[int, int]): How many heights each line needs.
    """
    lines: Dict[int, List[Run]] = {}
    stems: Dict[int, List[Tuple[float, Run]]] = {}
    for arc in arcs:
        for run, end in zip(arc.runs, (arc.head, arc.tail)):
            stems.setdefault(run.line, []).append((end.x, run))
            lines.setdefault(run.line, []).append(run)
        if not arc.side:
            stems[arc.runs[0].line].append((arc.tail.x, arc.runs[0]))
    levels = {}
    for number, runs in lines.items():
        placed: List[List[Run]] = []
        waiting = {id(run) for run in runs}
        for run in sorted(runs, key=lambda run: (abs(run.x1 - run.x2), run.low)):
            waiting.discard(id(run))
            _place_run(run, placed, [(x, other) for x, other in stems[number] if other is not run], waiting)
        levels[number] = len(placed)
    return levels


def _place_run(run: Run, placed: List[List[Run]], stems: List[Tuple[float, Run]], waiting: set) -> None:
    """Put a run on the lowest level that is free, its label where no stem of a higher arc passes."""
    for level in range(len(placed) + 1):
        run.level = level
        if run.label:
            passing = [x for x, other in stems if id(other) in waiting or other.level > level]
            _place_label(run, passing, placed[level] if level < len(placed) else [])
        if level == len(placed):
            placed.append([])
        if all(run.low - APART > other.high or run.high + APART < other.low for other in placed[level]):
            placed[level].append(run)
            return


def _place_label(run: Run, stems: List[float], others: List[Run]) -> None:
    """Move a label along its run, as little as possible, away from stems and from what else is at this height."""
    low, high = sorted((run.x1, run.x2))
    middle, half = (low + high) / 2, run.label / 2
    room = max(0.0, (high - low) / 2 - half - RADIUS) or max(0.0, half - 8)
    shifts = [sign * step for step in range(0, int(room) + 1, 3) for sign in (1, -1)]

    def cost(shift: float) -> Tuple[int, float]:
        a, b = middle + shift - half, middle + shift + half
        crossed = sum(a - 2 < x < b + 2 for x in stems)
        touched = sum(a - APART <= other.high and b + APART >= other.low for other in others)
        return 3 * crossed + touched, abs(shift)

    run.label_x = middle + min(shifts, key=cost)


def assign_lanes(arcs: Sequence[Arc]) -> Tuple[int, int]:
    """Give each arc between lines a lane in its margin; `lane` holds its number, 0 next to the text.

    arcs (Sequence[Arc]): The arcs, modified.
    RETURNS (Tuple[int, int]): How many lanes the left and the right margin need.
    """
    count = {-1: 0, 1: 0}
    for side in count:
        lanes: List[List[Tuple[PointT, PointT]]] = []
        ways = []
        for arc in arcs:
            if arc.side == side:
                a, b = sorted((float(run.line), -float(run.level)) for run in arc.runs)
                ways.append(((b[0] - a[0], b[1] - a[1]), a, b, arc))
        for _, a, b, arc in sorted(ways, key=lambda way: way[:3]):
            free = (i for i, lane in enumerate(lanes) if all(b < other[0] or a > other[1] for other in lane))
            number = next(free, len(lanes))
            if number == len(lanes):
                lanes.append([])
            lanes[number].append((a, b))
            arc.lane = float(number)
        count[side] = len(lanes)
    return count[-1], count[1]


def margin(lanes: int) -> float:
    """RETURNS (float): The width of a margin with so many lanes, px."""
    return min(MARGIN, lanes * LANE + PAD if lanes else 0.0)


def set_heights(
    lines: List[Line], segments: List[Segment], arcs: List[Arc], levels: Dict[int, int], labelled: List[bool]
) -> float:
    """Give lines, boxes and runs their y.

    lines (List[Line]): Modified, as are segments and arcs.
    segments (List[Segment]): The boxes.
    arcs (List[Arc]): The arcs, with levels.
    levels (Dict[int, int]): How many heights of arcs each line needs.
    labelled (List[bool]): For each mark, whether its box has a label.
    RETURNS (float): The height of all lines, px.
    """
    tags = {s.line for s in segments if s.row == 0 and labelled[s.mark] and s.first}
    y = 0.0
    for number, line in enumerate(lines):
        line.top = y + line.gap
        count = levels.get(number, 0)
        y = line.top + (FIRST + (count - 1) * LEVEL + 9 if count else 0)
        y += max(0, line.rows - 1) * ROW + (TAG if number in tags else 0) + 3
        line.text_top = y
        line.bottom = y + WORD
        y = line.bottom + UNDER
    for s in segments:
        text_top = lines[s.line].text_top
        base = text_top - (TAG if s.line in tags else 0)
        s.y = base - s.row * ROW if s.row else text_top - (TAG if labelled[s.mark] and s.line in tags else 0)
    for arc in arcs:
        for run in arc.runs:
            line = lines[run.line]
            base = line.text_top - (TAG if run.line in tags else 0) - max(0, line.rows - 1) * ROW
            run.y = base - FIRST - run.level * LEVEL
    return y


def set_lanes(arcs: Sequence[Arc], counts: Tuple[int, int], left: float, right: float) -> None:
    """Turn the numbers of lanes into px.

    arcs (Sequence[Arc]): Modified.
    counts (Tuple[int, int]): Lanes in the left and in the right margin.
    left, right (float): Borders of the text, px.
    """
    for arc in arcs:
        if arc.side:
            count = counts[arc.side > 0]
            step = min(LANE, (MARGIN - PAD) / max(count, 1))
            edge = right + PAD if arc.side > 0 else left - PAD
            arc.lane = edge + arc.side * (arc.lane + 0.5) * step


def path(points: Sequence[PointT], radius: float = RADIUS) -> str:
    """A line with round corners.

    points (Sequence[PointT]): Its corners, px.
    radius (float): Of the corners, px.
    RETURNS (str): The data of an SVG path.
    """
    parts = [f"M{points[0][0]:.1f} {points[0][1]:.1f}"]
    for before, here, after in zip(points, points[1:], points[2:]):
        a, b = _toward(here, before, radius), _toward(here, after, radius)
        parts.append(f"L{a[0]:.1f} {a[1]:.1f}Q{here[0]:.1f} {here[1]:.1f} {b[0]:.1f} {b[1]:.1f}")
    parts.append(f"L{points[-1][0]:.1f} {points[-1][1]:.1f}")
    return "".join(parts)


def _toward(start: PointT, end: PointT, most: float) -> PointT:
    dx, dy = end[0] - start[0], end[1] - start[1]
    length = abs(dx) + abs(dy)
    share = min(most / length, 0.5) if length else 0.0
    return start[0] + share * dx, start[1] + share * dy
