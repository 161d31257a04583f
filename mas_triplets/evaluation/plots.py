"""The drawings of reports, as SVG to put inside a page: same numbers, same bytes; readable without colours.

matplotlib is imported when the first drawing is made, its object-oriented part only, under settings of our own, so
that neither a user's matplotlibrc nor other drawings of the same process change anything here.
"""

from __future__ import annotations

import hashlib
import io
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING, Any, TypeAlias

from mas_triplets.evaluation.html import Html, element

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Row: TypeAlias = Sequence[float | None]
Matrix: TypeAlias = Sequence[Row]

INK, SOFT, LINE = "#1b1f24", "#57606a", "#d8dee4"
_COLOURS = ("#0b4f95", "#b3400a", "#1a7f37", "#8250a8", "#8a6d00", "#0e7c86", "#a8326b", "#57606a")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "p", "<")
_DASHES: tuple[Any, ...] = ("-", (0, (6, 2)), (0, (6, 2, 1.5, 2)), (0, (1.5, 1.5)), (0, (9, 2, 3, 2)))
_WIDTH, _FONT = 460, 11.0
_SETTINGS: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "mas-triplets",
    "text.parse_math": False,  # a `$` in the name of a task is a `$`
    "axes.formatter.use_mathtext": False,
    "font.size": _FONT,
    "axes.titlesize": _FONT + 1,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelcolor": INK,
    "axes.edgecolor": SOFT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": LINE,
    "grid.linewidth": 0.7,
    "text.color": INK,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "lines.linewidth": 1.7,
    "lines.markersize": 6,
    "legend.frameon": False,
}


@dataclass(frozen=True)
class Curve:
    """One line of a drawing of several methods.

    Attributes:
        label: the method.
        values: one a task learnt, None where not measured.
        spread: the deviation of each over runs, or None.
        role: `finetune` and `joint` are drawn as the bounds they are.
    """

    label: str
    values: Row
    spread: Row | None = None
    role: str = ""


@dataclass(frozen=True)
class Dots:
    """One line of a drawing that compares methods: the value of each run of one method."""

    label: str
    values: Row


@dataclass(frozen=True)
class LayerImportance:
    """Importance in one parameter tensor, as multiples of the mean over all parameters."""

    name: str
    mean: float
    low: float
    middle: float
    high: float
    max: float


def heat_map(R: Matrix, tasks: Sequence[str], *, title: str, scale: float | None = None, small: bool = False) -> Html:
    """Draw R with its numbers; entries that are None stay blank, and a line leads along what is learnt.

    Args:
        R: (T, T) scores.
        tasks: names of the tasks.
        title: above the drawing.
        scale: the value of the darkest colour; the largest of R if None.
        small: for one of many drawings beside each other.
    """
    count = len(tasks)
    width = 270 if small else _WIDTH
    known = [value for row in R for value in row if value is not None]
    scale = scale or max(known, default=1.0) or 1.0
    cell = (width - 70) / count
    with _drawing(width, min(cell, 62) * count + (70 if small else 86)) as (figure, finish):
        from matplotlib.colors import LinearSegmentedColormap

        colours = LinearSegmentedColormap.from_list("", ["#f4f8fc", "#9dbfe0", "#2b6cae", "#08264d"])
        axes = figure.add_subplot()
        axes.set(xlim=(0, count), ylim=(count, 0), title=title)
        axes.grid(visible=False)
        axes.spines[:].set(visible=True, color=LINE, linewidth=0.8)
        axes.tick_params(length=0)
        size = min(_FONT, 3.9 * cell / 10)
        for i, row in enumerate(R):
            for j, value in enumerate(row):
                if value is None:
                    continue
                part = min(max(value / scale, 0.0), 1.0)
                paint = colours(part)
                axes.fill((j, j + 1, j + 1, j), (i, i, i + 1, i + 1), facecolor=paint, edgecolor="white")
                weight = "bold" if j == i else "normal"
                colour = _readable_on(paint[:3])
                style: Any = {"ha": "center", "va": "center", "fontsize": size, "color": colour, "weight": weight}
                axes.text(j + 0.5, i + 0.5, _short_number(value, cell), in_layout=False, **style)
        if sum(any(value is not None for value in row) for row in R) > 1:
            stairs = [(x, y) for i in range(count) for x, y in ((i, i), (i + 1, i))] + [(count, count)]
            for colour, thick in (("white", 4.0), (INK, 1.6)):  # seen on dark cells, too
                axes.plot(*zip(*stairs, strict=True), color=colour, linewidth=thick, clip_on=False)
        ticks = [position + 0.5 for position in range(count)]
        axes.set_xticks(ticks, [str(number + 1) for number in range(count)])
        axes.set_yticks(ticks, [str(number + 1) for number in range(count)])
        axes.set_xlabel("score on task")
        axes.set_ylabel("after learning task")
        if min(cell, 62) > 24 or count < 13:
            return finish(f"{title}: matrix of scores, row i after learning task i, column j on task j")
        axes.set_xticks(ticks[::5], [str(number + 1) for number in range(0, count, 5)])
        axes.set_yticks(ticks[::5], [str(number + 1) for number in range(0, count, 5)])
        return finish(f"{title}: matrix of scores, row i after learning task i, column j on task j")


def mean_of_seen(R: Matrix) -> list[float | None]:
    """Return, for each row i of R, the mean over the tasks learnt so far, j <= i; None where one is not measured.

    >>> mean_of_seen([[0.5, 0.0], [0.25, 0.75]])
    [0.5, 0.5]
    """
    means: list[float | None] = []
    for i, row in enumerate(R):
        seen = [value for value in row[: i + 1] if value is not None]
        means.append(fmean(seen) if len(seen) == i + 1 else None)
    return means


def task_curves(R: Matrix, tasks: Sequence[str], *, title: str, unit: str) -> Html:
    """Draw the score of each task after each task: dotted until the task is learnt, then with markers."""
    count = len(tasks)
    steps = list(range(1, count + 1))
    with _drawing(_WIDTH, 330 + 9 * max(0, count - 10)) as (figure, finish):
        axes = figure.add_subplot()
        labels = []
        for j in range(count):
            colour, marker, dash = _style(j)
            column = [row[j] for row in R]
            axes.plot(steps[: j + 1], _gaps(column[: j + 1]), color=colour, linestyle=":", linewidth=1.0)
            axes.plot(steps[j:], _gaps(column[j:]), color=colour, linestyle=dash, marker=marker)
            name = tasks[j] if tasks[j] == f"task {j + 1}" else f"{j + 1} {_shortened(tasks[j], 16)}"
            labels.append((column, name, colour))
        if count > 1:
            mean = mean_of_seen(R)
            axes.plot(steps, _gaps(mean), color=INK, linewidth=3.0, zorder=1.5)
            labels.append((mean, "mean of those learnt", INK))
        axes.set(title=title, xlabel="tasks learnt", ylabel=unit, xlim=(min(0.85, 1 - 0.02 * count), count + 0.1))
        _count_axis(axes, count)
        _from_zero(axes)
        _end_labels(axes, labels)
        return finish(f"{title}: score of each task after each task")


def mean_curves(curves: Sequence[Curve], tasks: int, *, title: str, unit: str) -> Html:
    """Draw one line a method: the mean over the tasks learnt so far, after each task, with its deviation."""
    steps = list(range(1, tasks + 1))
    with _drawing(_WIDTH, 340 + 9 * max(0, len(curves) - 10)) as (figure, finish):
        axes = figure.add_subplot()
        labels = []
        for number, curve in enumerate(curves):
            colour, marker, dash = _style(number)
            if curve.role == "joint":
                last = curve.values[-1]
                if last is not None:
                    axes.axhline(last, color=INK, linestyle=(0, (4, 3)), linewidth=1.3)
                    axes.plot(steps[-1:], [last], color=INK, marker="*", markersize=11)
                labels.append((curve.values, f"{curve.label} (all at once)", INK))
                continue
            if curve.role == "finetune":
                colour, marker, dash = SOFT, "x", (0, (2, 2))
            axes.plot(steps, _gaps(curve.values), color=colour, marker=marker, linestyle=dash)
            if curve.spread is not None:
                pairs = list(zip(_gaps(curve.values), _gaps(curve.spread), strict=True))
                low, high = [value - spread for value, spread in pairs], [value + spread for value, spread in pairs]
                axes.fill_between(steps, low, high, color=colour, alpha=0.14, linewidth=0)
            labels.append((curve.values, curve.label, colour))
        axes.set(title=title, xlabel="tasks learnt", ylabel=unit, xlim=(min(0.85, 1 - 0.02 * tasks), tasks + 0.1))
        _count_axis(axes, tasks)
        _from_zero(axes)
        _end_labels(axes, [(values, _shortened(label, 34), colour) for values, label, colour in labels])
        return finish(f"{title}: one line a method")


def dot_plot(methods: Sequence[Dots], *, title: str, unit: str) -> Html:
    """Draw the mean of each method with its deviation, and each run as a small circle."""
    with _drawing(_WIDTH, 84 + 30 * len(methods)) as (figure, finish):
        axes = figure.add_subplot()
        for place, method in enumerate(methods):
            values = [value for value in method.values if value is not None]
            if not values:
                style: Any = {"xytext": (6, 0), "textcoords": "offset points", "va": "center", "color": SOFT}
                axes.annotate("not defined", (0, place), **style)
                continue
            mean, spread = fmean(values), deviation(values)
            axes.hlines(place, 0, mean, color=LINE, linewidth=5, zorder=1)
            if len(values) > 1:
                axes.plot(values, [place + 0.27] * len(values), "o", color=SOFT, fillstyle="none", markersize=4.5)
            axes.errorbar(mean, place, xerr=spread, fmt="D", color=_COLOURS[0], capsize=4, markersize=6, zorder=4)
            text = f"{mean:.3f}" + (f" ± {spread:.3f}" if spread is not None else "")
            axes.annotate(text, (1.01, place), xycoords=axes.get_yaxis_transform(), va="center", annotation_clip=False)
        axes.axvline(0, color=SOFT, linewidth=1)
        axes.set_yticks(range(len(methods)), [_shortened(method.label, 30) for method in methods])
        axes.set(title=title, xlabel=unit, ylim=(len(methods) - 0.4, -0.6))
        axes.tick_params(axis="y", length=0)
        axes.grid(visible=False, axis="y")
        axes.spines["left"].set_visible(False)
        return finish(f"{title}: one line a method")


def importance_bars(layers: Sequence[LayerImportance], *, title: str) -> Html:
    """Draw the mean importance of each tensor as a bar from 1, the mean over all parameters, on a log scale."""
    top = max(layer.max for layer in layers)
    positive = [value for layer in layers for value in (layer.mean, layer.middle, layer.low) if value > 0]
    floor = max(min(positive, default=1.0), top * 1e-7) / 1.6
    with _drawing(_WIDTH, 100 + 21 * len(layers)) as (figure, finish):
        axes = figure.add_subplot()
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(_plain)
        axes.xaxis.set_minor_formatter("")
        for place, layer in enumerate(layers):
            low, mean, middle, high, most = (
                max(value, floor) for value in (layer.low, layer.mean, layer.middle, layer.high, layer.max)
            )
            axes.barh(place, mean - 1, left=1, height=0.62, color="#9dbfe0", edgecolor=_COLOURS[0], linewidth=0.8)
            axes.hlines(place, low, high, color=INK, linewidth=1.2)
            axes.plot(middle, place, "|", color=INK, markersize=9, markeredgewidth=1.6)
            axes.plot(most, place, "d", color=INK, fillstyle="none", markersize=5.5)
        axes.axvline(1, color=INK, linewidth=1)
        axes.set_yticks(range(len(layers)), [_shortened(layer.name, 30, keep="end") for layer in layers])
        axes.set(title=title, xlabel="times the mean over all parameters (log scale)")
        axes.set(ylim=(len(layers) - 0.4, -0.6), xlim=(floor, max(top, 1.0) * 1.6))
        axes.tick_params(axis="y", length=0)
        axes.grid(visible=False, axis="y")
        return finish(f"{title}: mean, quantiles and maximum of each parameter tensor")


def importance_by_task(names: Sequence[str], means: Matrix, *, title: str) -> Html:
    """Draw the mean importance of each tensor (rows) measured after each task (columns), darker = more important."""
    count = len(means[0])
    known = [math.log10(value) for row in means for value in row if value]
    low, high = min(known, default=0.0), max(known, default=1.0)
    cell = (_WIDTH - 190) / count
    with _drawing(_WIDTH, 86 + 21 * len(names)) as (figure, finish):
        axes = figure.add_subplot()
        axes.set(xlim=(0, count), ylim=(len(names), 0), title=title, xlabel="measured after task")
        axes.grid(visible=False)
        axes.spines[:].set_visible(False)
        axes.tick_params(length=0)
        for i, row in enumerate(means):
            for j, value in enumerate(row):
                if value is None:
                    continue
                part = (math.log10(value) - low) / (high - low or 1.0) if value > 0 else 0.0
                grey = 0.97 - 0.75 * part
                axes.fill((j, j + 1, j + 1, j), (i, i, i + 1, i + 1), facecolor=str(grey), edgecolor="white")
                colour = _readable_on((grey, grey, grey))
                text = f"{value:.2g}" if cell > 22 else ""
                axes.text(j + 0.5, i + 0.5, text, ha="center", va="center", fontsize=9, color=colour, in_layout=False)
        axes.set_xticks([j + 0.5 for j in range(count)], [str(j + 1) for j in range(count)])
        axes.set_yticks([i + 0.5 for i in range(len(names))], [_shortened(name, 30, keep="end") for name in names])
        return finish(f"{title}: times the mean over all parameters")


def training_curves(records: Sequence[Mapping[str, Any]], *, key: str, title: str, unit: str) -> Html:
    """Draw one number of log.jsonl over the epochs of the whole run, one piece a task.

    Args:
        records: with `task` and the number, in the order of training.
        key: which number.
        title: above the drawing.
        unit: at its axis.
    """
    with _drawing(_WIDTH, 230) as (figure, finish):
        axes = figure.add_subplot()
        tasks = sorted({int(record["task"]) for record in records})
        start = 0
        for number, task in enumerate(tasks):
            values = [float(record[key]) for record in records if int(record["task"]) == task]
            colour, marker, _ = _style(number)
            steps = range(start + 1, start + len(values) + 1)
            axes.plot(steps, values, color=colour, marker=marker if len(records) < 120 else "", markersize=4)
            if number:
                axes.axvline(start + 0.5, color=SOFT, linewidth=0.8, linestyle=(0, (2, 2)))
            if len(tasks) > 1:
                place = (start + 0.5 + len(values) / 2, 0.97)
                name = f"task {task}" if len(tasks) < 8 else str(task)
                axes.text(*place, name, transform=axes.get_xaxis_transform(), ha="center", va="top", fontsize=9)
            start += len(values)
        every = [float(record[key]) for record in records]
        if min(every) > 0 and max(every) > 50 * min(every):
            axes.set_yscale("log")
            axes.yaxis.set_major_formatter(_plain)
            axes.yaxis.set_minor_formatter("")
            unit += ", log scale"
        else:
            _from_zero(axes, room=0.14)
        axes.set(title=title, xlabel="epoch of the whole run", ylabel=unit, xlim=(0.5, start + 0.5))
        axes.locator_params(axis="x", integer=True)
        return finish(f"{title} over the epochs of the run")


def deviation(values: Sequence[float]) -> float | None:
    """Return the standard deviation (n - 1 below); None for fewer than two values.

    >>> deviation([1.0, 3.0])
    1.4142135623730951
    """
    if len(values) < 2:
        return None
    mean = fmean(values)
    return math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))


@contextmanager
def _drawing(width: float, height: float) -> Iterator[tuple[Figure, Callable[[str], Html]]]:
    """Yield an empty figure of so many pixels and what turns it into SVG, given a description for screen readers."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_SETTINGS)
        figure = Figure(figsize=(width / 72, height / 72), layout="constrained")
        yield figure, lambda description: _svg(figure, description)


_TAG, _BREAK = re.compile(r"<[^>]*>"), re.compile(r">\s*\n\s*<")
_FAMILY = re.compile(r'font-family: [^;"]*')


def _svg(figure: Figure, description: str) -> Html:
    """Return the figure as SVG for use inside HTML: names that are its own alone, the page's fonts, any width."""
    buffer = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    figure.savefig(buffer, format="svg", metadata=nothing, transparent=True)
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    prefix = hashlib.sha256((description + text).encode()).hexdigest()[:10]
    used = set(re.findall(r'(?:url\(#|href="#)([^")]+)', text))
    box = re.search(r'viewBox="[^"]*"', text)

    def tidy(tag: re.Match[str]) -> str:
        found = tag.group()
        if found.startswith("<svg"):
            return f'<svg {box.group() if box else ""} role="img">'
        if found.startswith("<!--"):
            return ""
        found = re.sub(r' id="([^"]*)"', lambda m: f' id="{prefix}-{m[1]}"' if m[1] in used else "", found)
        found = re.sub(r'(url\(#|href="#)', rf"\g<1>{prefix}-", found)
        return _FAMILY.sub("font-family: inherit", found)

    text = _TAG.sub(tidy, text)
    head, _, rest = text.partition(">")
    return Html(f"{head}>{element('title', description)}{_BREAK.sub('><', rest).strip()}")


def _style(number: int) -> tuple[str, str, Any]:
    """Colour, marker and dashes of the `number`-th line; the three repeat after different counts."""
    return _COLOURS[number % 8], _MARKERS[number % 9], _DASHES[number % 5]


def _readable_on(paint: Sequence[float]) -> str:
    """Return white or ink, whichever has more contrast on a colour (relative luminance of WCAG 2, gamma 2.2)."""
    luminance = sum(weight * part**2.2 for weight, part in zip((0.2126, 0.7152, 0.0722), paint, strict=True))
    return "white" if luminance < 0.2 else INK


def _plain(value: float, place: object) -> str:
    """Return the text of a tick on a log axis: 0.01, 1, 100."""
    del place
    return f"{value:g}"


def _gaps(values: Row) -> list[float]:
    return [math.nan if value is None else value for value in values]


def _short_number(value: float, cell: float) -> str:
    if cell > 42:
        return f"{value:.3f}"
    return f"{value:.2f}" if cell > 27 else f"{value:.2f}".replace("0.", ".", 1)


def _shortened(text: str, length: int, keep: str = "start") -> str:
    text = " ".join(text.split())
    if len(text) <= length:
        return text
    return text[: length - 1] + "…" if keep == "start" else "…" + text[-length + 1 :]


def _count_axis(axes: Axes, count: int) -> None:
    axes.set_xticks(range(1, count + 1, max(1, math.ceil(count / 12))))


def _from_zero(axes: Axes, room: float = 0.05) -> None:
    """Let the vertical axis begin at 0, unless something is below, and leave some room above."""
    low, high = axes.dataLim.intervaly
    axes.set_ylim(min(0.0, low * 1.05), (high if high > 0 else 1.0) * (1 + room))


def _end_labels(axes: Axes, labels: Sequence[tuple[Row, str, str]]) -> None:
    """Write each line's name and last value at the right, moved apart where they would touch."""
    low, high = axes.get_ylim()
    ends = sorted(
        (next(value for value in reversed(values) if value is not None), label, colour)
        for values, label, colour in labels
        if any(value is not None for value in values)
    )
    gap = (high - low) * min(0.058, 0.98 / max(1, len(ends)))
    places = spread_apart([value for value, _, _ in ends], gap, low, high - gap / 2)
    for (value, label, colour), place in zip(ends, places, strict=True):
        axes.annotate(
            f"{label}  {value:.3f}",
            (1.0, value),
            (1.045, place),
            xycoords=axes.get_yaxis_transform(),
            textcoords=axes.get_yaxis_transform(),
            va="center",
            color=colour,
            fontsize=_FONT - 1,
            annotation_clip=False,
            arrowprops={
                "arrowstyle": "-",
                "color": colour,
                "linewidth": 0.6,
                "shrinkA": 1,
                "shrinkB": 0,
                "relpos": (0, 0.5),
            },
        )


def spread_apart(places: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Return ascending `places` moved so that neighbours are at least `gap` apart, within low and high if they fit.

    >>> spread_apart([1.0, 1.0, 5.0], 1.0, 0.0, 10.0)
    [1.0, 2.0, 5.0]
    >>> spread_apart([9.5, 10.0], 1.0, 0.0, 10.0)
    [9.0, 10.0]
    """
    moved: list[float] = []
    for place in places:
        moved.append(max(place, moved[-1] + gap if moved else low))
    ceiling = high
    for index in range(len(moved) - 1, -1, -1):
        moved[index] = min(moved[index], ceiling)
        ceiling = moved[index] - gap
    return moved
