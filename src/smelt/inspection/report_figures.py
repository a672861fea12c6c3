"""The figures of a report, drawn with matplotlib: SVG that stands in the page itself, as wide as a phone.

Colours are ones that the colour-blind can tell apart: cividis, red to blue, and the palette of Okabe and Ito, whose
lines differ in their strokes too. A figure is an image and no part of the page's markup, so that no name in it can
become markup; text in it is never read as a formula.
"""

from __future__ import annotations

import base64
import io
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from smelt.errors import cut_middle, make_printable
from smelt.inspection.differences import Measure, Section
from smelt.inspection.report_grids import Grid

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

LEAST_PERCENT = 0.05  # of the entries, for an octave at an end of a distribution to be drawn

_WIDTH_INCHES = 3.7  # 355 pixels of a page
_LONGEST_LABEL = 26  # characters
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000")
_STROKES = ("-", "--", "-.", ":")
_MOST_MARKED = 40  # points of a line
_SETTINGS = {
    "font.size": 8.0,
    "font.family": "sans-serif",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "svg.fonttype": "none",  # text stays text, in a font of the reader's
    "svg.hashsalt": "smelt",  # the same page for the same numbers
    "text.parse_math": False,
    "figure.constrained_layout.use": True,
}


@dataclass(frozen=True)
class Figure:
    """An image as a data URI, and what it shows, in words."""

    title: str
    source: str


def draw_grid(title: str, grid: Grid, lowest: float, largest: float) -> Figure:
    """Draw relative sizes, rows by columns; white is where there is no tensor or nothing differs.

    Args:
        title: what is shown.
        grid: norm of the difference over that of the base.
        lowest, largest: what the darkest and the brightest colour stand for, from above 0; what is less is as dark.
    """
    from matplotlib.colors import LogNorm

    rows, columns = grid.values.shape
    labels = [_shorten(label) for label in grid.columns]
    height = 0.8 + 0.075 * max(map(len, labels), default=0) + max(0.12 * rows, 0.6)
    with _canvas(height) as canvas:
        axes = canvas.subplots()
        shown = np.ma.masked_less_equal(np.nan_to_num(grid.values, nan=0.0), 0.0)
        image = axes.imshow(shown, norm=LogNorm(lowest, largest), cmap="cividis", aspect="auto", interpolation="none")
        axes.set_xticks(range(columns), labels, rotation=90)
        step = max(1, rows // 32) if grid.is_numbered else 1
        axes.set_yticks(range(0, rows, step), [_shorten(label) for label in grid.rows[::step]])
        axes.set_ylabel("layer" if grid.is_numbered else "")
        _frame(axes)
        _add_scale(canvas, image, axes, lowest, largest)
        return _finish(canvas, title)


def draw_octaves(title: str, section: Section, labels: Sequence[str]) -> Figure:
    """Draw how the magnitudes of the differences are distributed, an octave a step, a line per model.

    Args:
        title: what is shown.
        section: what was measured.
        labels: of those of its models that are drawn, from the first on.
    """
    with _canvas(2.3 + 0.15 * len(labels)) as canvas:
        axes = canvas.subplots()
        for label, measure, style in zip(labels, section.measures, _styles(), strict=False):
            exponents, shares = _fill_octaves(measure, section.elements)
            zeros = f"{100 * measure.zeros / max(section.elements, 1):.2g} % zeros"
            axes.step(exponents, shares, where="post", label=f"{_shorten(label)} ({zeros})", **style)
        axes.set_xlabel("|difference|, in units of the weights")
        axes.set_ylabel("entries per octave [%]")
        axes.xaxis.set_major_formatter(lambda exponent, _: f"{2.0**exponent:.0e}")
        axes.locator_params(axis="x", nbins=5)
        axes.set_ylim(bottom=0)
        _add_legend(canvas)
        return _finish(canvas, title)


def draw_cosines(title: str, labels: Sequence[str], values: NDArray[np.float64]) -> Figure:
    """Draw the cosines of all pairs, with their numbers.

    Args:
        title: what is shown.
        labels: of the models.
        values: of shape (models, models), from −1 to 1; NaN where there is none.
    """
    count = len(labels)
    short = [_shorten(label) for label in labels]
    with _canvas(1.2 + 0.06 * max(map(len, short)) + 0.3 * count) as canvas:
        axes = canvas.subplots()
        image = axes.imshow(values, cmap="RdBu", vmin=-1, vmax=1, aspect="auto", interpolation="none")
        axes.set_xticks(range(count), short, rotation=90)
        axes.set_yticks(range(count), short)
        for (i, j), value in np.ndenumerate(values):
            text = "–" if np.isnan(value) else f"{value:.2f}"
            axes.text(j, i, text, ha="center", va="center", color="white" if abs(value) > 0.6 else "black")
        _frame(axes)
        scale = canvas.colorbar(image, ax=axes, location="bottom", ticks=[-1, -0.5, 0, 0.5, 1], aspect=40)
        scale.ax.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        scale.set_label("cosine")
        return _finish(canvas, title)


def draw_shares(title: str, rows: Sequence[str], lines: Mapping[str, Sequence[float]], rest: Sequence[float]) -> Figure:
    """Draw what a result took from its parents, layer by layer, above what that leaves unexplained.

    Args:
        title: what is shown.
        rows: the numbers of the layers.
        lines: the coefficients by parent, one per layer; NaN where there is none.
        rest: the unexplained share of each layer, from 0 to 1; likewise.
    """
    places = [int(row) for row in rows]
    marker = "." if len(rows) <= _MOST_MARKED else ""
    with _canvas(3.3 + 0.15 * len(lines)) as canvas:
        upper, lower = canvas.subplots(2, sharex=True, height_ratios=(2, 1))
        for (label, values), style in zip(lines.items(), _styles(), strict=False):
            upper.plot(places, values, label=_shorten(label), marker=marker, **style)
        upper.axhline(0, color="#999999", linewidth=0.6)
        upper.set_ylabel("coefficient")
        lower.bar(places, [100 * value for value in rest], color="#888888")
        lower.set_ylabel("unexplained [%]")
        lower.set_xlabel("layer")
        lower.xaxis.get_major_locator().set_params(integer=True)
        for axes in (upper, lower):
            axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        _add_legend(canvas)
        return _finish(canvas, title)


@contextmanager
def _canvas(height_inches: float) -> Iterator[Canvas]:
    """Give an empty figure; matplotlib's settings are smelt's inside and the user's again afterwards."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure as Canvas

    with rc_context(_SETTINGS), warnings.catch_warnings():  # type: ignore[arg-type]
        warnings.simplefilter("ignore")  # of letters that the font lacks here; the reader's may have them
        yield Canvas(figsize=(_WIDTH_INCHES, height_inches))


def _finish(canvas: Canvas, title: str) -> Figure:
    content = io.BytesIO()
    canvas.savefig(content, format="svg", metadata={"Date": None, "Creator": None})
    return Figure(title, f"data:image/svg+xml;base64,{base64.b64encode(content.getvalue()).decode()}")


def _frame(axes: Axes) -> None:
    axes.tick_params(length=0)
    axes.spines[:].set_visible(True)


def _add_scale(canvas: Canvas, image: Any, axes: Axes, lowest: float, largest: float) -> None:
    ticks = [lowest * (largest / lowest) ** (step / 3) for step in range(4)]
    scale = canvas.colorbar(image, ax=axes, location="bottom", ticks=ticks, aspect=40)
    scale.ax.minorticks_off()
    scale.ax.xaxis.set_major_formatter(lambda value, _: f"{100 * value:.2g} %")
    scale.set_label("size relative to the base")


def _add_legend(canvas: Canvas) -> None:
    canvas.legend(loc="outside upper left", frameon=False, handlelength=3)


def _styles() -> Iterator[dict[str, Any]]:
    for number, colour in enumerate(cycle(_COLOURS)):
        yield {"color": colour, "linestyle": _STROKES[number % len(_STROKES)], "linewidth": 1.3}


def _fill_octaves(measure: Measure, elements: int) -> tuple[list[int], list[float]]:
    """Return the octaves from the first that shows to the last, one more on each side, and their shares in percent."""
    shares = {exponent: 100 * count / elements for exponent, count in measure.octaves}
    shown = [exponent for exponent, share in shares.items() if share >= LEAST_PERCENT]
    if not shown:
        return [], []
    exponents = list(range(shown[0] - 1, shown[-1] + 2))
    return exponents, [shares.get(exponent, 0.0) for exponent in exponents]


def _shorten(label: str) -> str:
    return make_printable(cut_middle(label, _LONGEST_LABEL))
