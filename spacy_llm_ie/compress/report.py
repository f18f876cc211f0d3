"""What compressing a pipeline has gained and lost: a table, a plot, a verdict, and the model card."""

from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

import srsly

from ..errors import Errors
from .measure import Costs

RowT = Tuple[str, str, str, str]
HEADER = ("", "original", "result", "")


def table(before: Costs, after: Costs) -> List[RowT]:
    """RETURNS (List[RowT]): A row for each cost and each task: name, value before and after, ratio or difference."""
    rows = [
        ("size, MB", f"{before.size:.1f}", f"{after.size:.1f}", _ratio(before.size, after.size)),
        ("peak memory, MB", _whole(before.memory), _whole(after.memory), _ratio(before.memory, after.memory)),
        ("load to first answer, s", f"{before.load:.2f}", f"{after.load:.2f}", _ratio(before.load, after.load)),
        ("words a second", f"{before.speed:,.0f}", f"{after.speed:,.0f}", _ratio(after.speed, before.speed, "faster")),
        ("20 words, p50, ms", f"{before.p50:.1f}", f"{after.p50:.1f}", _ratio(before.p50, after.p50)),
        ("20 words, p95, ms", f"{before.p95:.1f}", f"{after.p95:.1f}", _ratio(before.p95, after.p95)),
    ]
    for task, value in before.scores.items():
        rows.append(
            (task, _points(value), _points(after.scores.get(task)), f"{0.0 - round(loss(before, after)[task], 1):+.1f}")
        )
    if before.ece is not None and after.ece is not None:
        rows.append(("calibration error", f"{before.ece:.3f}", f"{after.ece:.3f}", f"{after.ece - before.ece:+.3f}"))
    return rows


def loss(before: Costs, after: Costs) -> Dict[str, float]:
    """RETURNS (Dict[str, float]): Points (of 100) that each task lost; a task whose score is gone lost all of it."""
    return {task: 100 * (value - after.scores.get(task, 0.0)) for task, value in before.scores.items()}


def problems(before: Costs, after: Costs, max_loss: float) -> List[str]:
    """Say why a result is not worth having.

    max_loss (float): Most points that a task may lose.
    RETURNS (List[str]): Nothing if it is.
    """
    found = [
        f"{task} lost {points:.1f} points, more than --max-loss {max_loss:g}"
        for task, points in loss(before, after).items()
        if points > max_loss + 1e-9
    ]
    if after.speed < before.speed:
        found.append(f"it is slower: {after.speed:,.0f} words a second instead of {before.speed:,.0f}")
    return found


def write_card(folder: Path, before: Costs, after: Costs, settings: Dict[str, Any], data: str) -> None:
    """Put the report into meta.json: as numbers under "compression", and as text into the notes, which become the README.

    folder (Path): The compressed pipeline.
    settings (Dict[str, Any]): How it was made; JSON can hold it.
    data (str): Name of the development set.
    """
    path = folder / "meta.json"
    meta = srsly.read_json(path)
    numbers = {"settings": settings, "data": data, "before": before._asdict(), "after": after._asdict()}
    meta["compression"] = numbers
    how = ", ".join(f"{key} {value}" for key, value in settings.items() if value not in (None, "", [], 0))
    rows = [HEADER, ("---", "---:", "---:", "---:"), *table(before, after)]
    lines = ["|" + "|".join(row) + "|" for row in rows]
    text = f"### Compressed ({how})\n\nMeasured on {data}, original and result in alternation; scores are F1 on that set.\n\n"
    notes = meta.get("notes") or ""
    meta["notes"] = "\n\n".join(filter(None, [notes, text + "\n".join(lines)]))
    srsly.write_json(path, meta)


def plot(costs: Dict[str, Costs], path: Path, title: str) -> None:
    """Draw speed against score, a point for each pipeline and task.

    costs (Dict[str, Costs]): By name; the first is the original.
    path (Path): Where to write; the ending decides the format.
    title (str): Stands above the plot.
    RAISES (ImportError): If matplotlib is not installed (E601).
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(Errors.E601) from error
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.subplots()
    tasks = list(dict.fromkeys(task for found in costs.values() for task in found.scores))
    for task in tasks:
        points = [(found.speed, 100 * found.scores[task]) for found in costs.values() if task in found.scores]
        axes.plot(*zip(*points), marker="o", label=task)
    for name, found in costs.items():
        best = max(found.scores.values(), default=0)
        axes.annotate(name, (found.speed, 100 * best), xytext=(0, 7), textcoords="offset points", ha="center", fontsize=8)
    axes.set(xlabel="words a second", ylabel="score", title=title, xlim=(0, None))
    axes.margins(x=0.15, y=0.15)
    axes.legend(frameon=False, fontsize=8)
    axes.grid(color="#dddddd", linewidth=0.6)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120, metadata={"Software": None} if path.suffix == ".png" else None)


def _ratio(large: Optional[float], small: Optional[float], what: str = "less") -> str:
    """How many times one value is another. RETURNS (str): Empty if one is missing."""
    return f"{large / small:.1f} x {what}" if large and small else ""


def _whole(value: Optional[float]) -> str:
    return "-" if value is None else f"{value:,.0f}"


def _points(value: Optional[float]) -> str:
    return "-" if value is None else f"{100 * value:.1f}"
