"""The plots of `growth.py`, one for each question."""

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

BLUE, ORANGE, GREY = "#1f5fa8", "#d9822b", "#999999"
COLORS = ("#bbbbbb", BLUE, ORANGE, "#3a8f5c", "#8a5fa8", "#c0504d", "#444444")


def panels(count, width=4.2, height=3.4):
    figure = Figure(figsize=(width * count, height), layout="constrained")
    axes = figure.subplots(1, count)
    for one in axes if count > 1 else [axes]:
        one.grid(color="#dddddd", linewidth=0.6)
        one.set_axisbelow(True)
    return figure, axes


def number(value, _=None):
    return f"{value:,.0f}" if value >= 1 or value == 0 else f"{value:g}"


def scale(axes, values, title):
    """A logarithmic axis with a tick for each value that was measured."""
    axes.set_xscale("log")
    axes.set_xticks(values, [number(value) for value in values])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel(title)


def line(axes, x, y, title, **style):
    axes.plot(x, y, **{"marker": "o", "color": BLUE, **style})
    axes.set(ylabel=title)
    axes.set_ylim(0, None)
    axes.yaxis.set_major_formatter(FuncFormatter(number))


def draw_length(points):
    figure, (left, middle, right) = panels(3)
    lengths = [point["length"] for point in points]
    line(left, lengths, [point["speed"] for point in points], "words a second of one core")
    bottom = [0.0] * len(points)
    for name, color in zip(points[0]["shares"], COLORS):
        if max(point["shares"][name] for point in points) >= 0.5:
            heights = [point["shares"][name] for point in points]
            middle.bar(range(len(points)), heights, bottom=bottom, color=color, label=name)
            bottom = [b + h for b, h in zip(bottom, heights)]
    middle.set_xticks(range(len(points)), [number(length) for length in lengths])
    middle.set(ylabel="microseconds of one core a word", xlabel="words in a document")
    middle.set_ylim(0, 1.45 * max(bottom))
    middle.legend(frameon=False, fontsize=7.5, ncols=2, loc="upper left")
    line(right, lengths, [point["memory"] for point in points], "peak MB beyond the loaded pipeline")
    for axes in (left, right):
        scale(axes, lengths, "words in a document")
    right.set_ylim(auto=True)
    right.set_yscale("log")
    return figure


def draw_batch(points):
    figure, (left, middle, right) = panels(3)
    batches = [point["batch"] for point in points]
    line(left, batches, [point["speed"] for point in points], "words a second of one core")
    line(middle, batches, [point["first"] for point in points], "seconds until the first answer")
    middle.yaxis.set_major_formatter("{x:.1f}")
    line(right, batches, [point["memory"] for point in points], "peak MB beyond the loaded pipeline")
    for axes in (left, middle, right):
        scale(axes, batches, "sentences in a batch")
    return figure


def draw_labels(points):
    figure, axes = panels(1, 5.4, 3.8)
    labels = [point["labels"] for point in points]
    for name, color in (("ie_relations", ORANGE), ("ie_ner", BLUE), ("all", "black")):
        title = "encoder, ie_ner, ie_relations" if name == "all" else f"{name} alone"
        axes.plot(labels, [point["speed"][name] for point in points], marker="o", color=color, label=title)
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(FuncFormatter(number))
    axes.set(ylabel="words a second of one core")
    scale(axes, labels, "labels")
    axes.legend(frameon=False, fontsize=8)
    return figure


def draw_entities(points):
    figure, axes = panels(1, 5.4, 3.8)
    entities = [point["entities"] for point in points]
    for name, color in zip(points[0]["seconds"], (BLUE, ORANGE)):
        line(axes, entities, [1e3 * point["seconds"][name] for point in points], "milliseconds", color=color, label=name)
        last = points[-1]
        axes.annotate(
            f"{last['pairs'][name]:,} pairs",
            (entities[-1], 1e3 * last["seconds"][name]),
            xytext=(-8, 2),
            textcoords="offset points",
            ha="right",
            fontsize=8,
            color=color,
        )
    axes.set(xlabel="entities in a document of 2,000 words", ylabel="milliseconds of one core for the document")
    axes.legend(frameon=False, fontsize=8)
    return figure


def draw_processes(points):
    counts = sorted({point["texts"] for point in points})
    figure, rows = panels(len(counts), 3.2)
    for axes, count in zip(rows, counts):
        here = [point for point in points if point["texts"] == count]
        values = [point["words"] / point["seconds"] for point in here]
        bars = axes.bar([str(point["processes"]) for point in here], values, color=[BLUE, ORANGE], width=0.6)
        axes.bar_label(bars, [f"{point['seconds']:.1f} s" for point in here], padding=1)
        axes.set(title=f"{count:,} sentences", xlabel="n_process", ylabel="words a second")
        axes.set_ylim(0, 1.12 * max(values))
        axes.yaxis.set_major_formatter(FuncFormatter(number))
    return figure


def draw_stream(points):
    figure, (left, right) = panels(2, 4.8)
    for point, color in zip([point for point in points if "memory" in point], (BLUE, ORANGE, GREY)):
        name = {True: "in nlp.memory_zone()", False: "nlp.pipe", None: "tokenizer alone"}[point.get("zone")]
        thousands = [value / 1000 for value in point["documents"]]
        title = f"{name}: {point['slope']:.0f} KB per 1,000 in the second half"
        style = "--" if "zone" not in point else "-"
        left.plot(thousands, point["memory"], color=color, linestyle=style, label=title)
        right.plot(thousands, [value / 1000 for value in point["strings"]], color=color, linestyle=style, label=name)
    left.set(ylabel="resident memory, MB", xlabel="thousand documents read", ylim=(0, 1.25 * left.get_ylim()[1]))
    right.set(ylabel="thousand strings in nlp.vocab.strings", xlabel="thousand documents read")
    right.set_ylim(0, 1.3 * right.get_ylim()[1])
    for axes in (left, right):
        axes.legend(frameon=False, fontsize=8, loc="upper left")
    return figure


def draw(found, folder):
    """Write growth_QUESTION.png for each question that has numbers."""
    folder.mkdir(parents=True, exist_ok=True)
    for question, points in found.items():
        figure = globals()[f"draw_{question}"](points)
        figure.savefig(folder / f"growth_{question}.png", dpi=110, metadata={"Software": None})
