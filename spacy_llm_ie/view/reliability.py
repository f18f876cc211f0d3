"""A reliability plot: how often predictions of each probability are right."""

from pathlib import Path
from typing import List, Tuple

from ..errors import Errors
from ..ner.scorer import BINS, expected_calibration_error, reliability


def plot_reliability(pairs: List[Tuple[float, bool]], path: Path, title: str) -> None:
    """Draw the share of right predictions against their probability, with the number of predictions below.

    pairs (List[Tuple[float, bool]]): Probability and rightness of each prediction; ValueError if there are none.
    path (Path): Where to write; the ending decides the format (.png, .svg, .pdf).
    title (str): Stands above the plot.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(Errors.E601) from error
    table = reliability(pairs)
    if not table:
        raise ValueError(Errors.E602)
    figure = Figure(figsize=(5, 5.4), layout="constrained")
    top, below = figure.subplots(2, 1, sharex=True, height_ratios=[4, 1])
    means, right, counts = zip(*table)
    top.plot([0, 1], [0, 1], color="#999999", linestyle="--", linewidth=1, label="perfectly calibrated")
    top.plot(means, right, marker="o", color="#1f5fa8", label=f"ECE {expected_calibration_error(pairs):.3f}")
    top.set(ylabel="share of right entities", xlim=(0, 1), ylim=(0, 1.02), title=title)
    top.legend(loc="upper left", frameon=False)
    edges = [i / BINS for i in range(BINS + 1)]
    below.hist([score for score, _ in pairs], bins=edges, color="#7fa8d9", edgecolor="white")
    below.set(xlabel="probability", ylabel="entities", yscale="log")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120, metadata={"Software": None} if path.suffix == ".png" else None)
