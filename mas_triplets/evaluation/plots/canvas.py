"""An empty figure and how it becomes SVG: one look for all drawings, whatever a user's matplotlibrc says.

matplotlib is imported when the first drawing is made, its object-oriented part only, under settings of our own, so
that neither a user's matplotlibrc nor other drawings of the same process change anything here.
"""

from __future__ import annotations

import hashlib
import io
import math
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from mas_triplets.evaluation.averages import Row
from mas_triplets.evaluation.html import Html, element

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK, SOFT, LINE = "#1b1f24", "#57606a", "#d8dee4"
COLOURS = ("#0b4f95", "#b3400a", "#1a7f37", "#8250a8", "#8a6d00", "#0e7c86", "#a8326b", "#57606a")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "p", "<")
_DASHES: tuple[Any, ...] = ("-", (0, (6, 2)), (0, (6, 2, 1.5, 2)), (0, (1.5, 1.5)), (0, (9, 2, 3, 2)))
WIDTH, FONT = 460, 11.0
_SETTINGS: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "mas-triplets",
    "text.parse_math": False,  # a `$` in the name of a task is a `$`
    "axes.formatter.use_mathtext": False,
    "font.size": FONT,
    "axes.titlesize": FONT + 1,
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


@contextmanager
def drawing(width: float, height: float) -> Iterator[tuple[Figure, Callable[[str], Html]]]:
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


def line_style(number: int) -> tuple[str, str, Any]:
    """Colour, marker and dashes of the `number`-th line; the three repeat after different counts."""
    return COLOURS[number % 8], _MARKERS[number % 9], _DASHES[number % 5]


def readable_on(paint: Sequence[float]) -> str:
    """Return white or ink, whichever has more contrast on a colour (relative luminance of WCAG 2, gamma 2.2)."""
    luminance = sum(weight * part**2.2 for weight, part in zip((0.2126, 0.7152, 0.0722), paint, strict=True))
    return "white" if luminance < 0.2 else INK


def gaps(values: Row) -> list[float]:
    """Return what matplotlib leaves a gap at: NaN for what was not measured."""
    return [math.nan if value is None else value for value in values]
