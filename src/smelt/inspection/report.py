"""What ``smelt diff`` found, as one page that loads nothing: figures, advice, and tables that sort and filter.

Every name in it was written by somebody else, so all text goes through Jinja's escaping, and the page's own policy lets
no script run but the one that stands here. Needs the extra ``report``.
"""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from smelt.errors import InputError, RunError, make_printable
from smelt.inspection.differences import Advice, Differences
from smelt.inspection.report_figures import LEAST_PERCENT, Figure, draw_cosines, draw_grid, draw_octaves, draw_shares
from smelt.inspection.report_grids import fill_cosines, find_stacks, follow_shares, grid_layers, grid_outside
from smelt.inspection.report_tables import (
    Table,
    tabulate_mismatches,
    tabulate_models,
    tabulate_pairs,
    tabulate_sections,
    tabulate_shares,
    tabulate_tensors,
)

_NEEDED = ("matplotlib", "jinja2")
_MOST_MODELS = 12  # that are drawn; tables hold all
_MOST_RESULTS = 4  # whose parents are drawn, likewise
_MOST_STACKS = 4  # of layers, likewise
_MOST_ORDERS = 1e3  # between the ends of the colours of relative sizes


@dataclass(frozen=True)
class Section:
    """A part of the page under a heading; empty ones are left out."""

    key: str
    title: str
    text: str = ""
    advice: tuple[Advice, ...] = ()
    figures: tuple[Figure, ...] = ()
    tables: tuple[Table, ...] = ()


def check_report(path: str | os.PathLike[str]) -> None:
    """Check that a report can be made and written there, before anything is measured for it.

    Raises:
        InputError: when the extra ``report`` is not installed, or there is no such folder to write into.
    """
    if not all(find_spec(name) for name in _NEEDED):
        raise InputError("--html needs matplotlib and Jinja2; install them with: pip install 'smelt[report]'")
    if os.path.isdir(path):
        raise InputError(f"{path}: is a folder; name the file to write, such as report.html")
    if not Path(path).absolute().parent.is_dir():
        raise InputError(f"{path}: there is no folder '{Path(path).parent}' to write into")


def write_report(found: Differences, path: str | os.PathLike[str]) -> None:
    """Write the report of what was found.

    Args:
        found: what was measured.
        path: the file, which is replaced.

    Raises:
        InputError: as ``check_report``.
        RunError: when it cannot be written.
    """
    check_report(path)
    page = render_report(found)
    try:
        Path(path).write_bytes(page.encode(errors="backslashreplace"))  # a name on disk may be no text
    except OSError as error:
        raise RunError(f"{path}: cannot be written: {error.strerror}") from error


def render_report(found: Differences) -> str:
    """Return the page as HTML, the same for the same numbers; under 5 MB for any number of tensors."""
    from jinja2 import Environment

    from smelt import __version__

    page = files("smelt.inspection").joinpath("page")
    template, style, script = (
        page.joinpath(name).read_text(encoding="utf-8") for name in ("page.html", "page.css", "page.js")
    )
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters["printable"] = make_printable
    return environment.from_string(template).render(
        title=f"What differs from {found.base}",
        introduction=_introduce(found),
        sections=[one for one in _sections(found) if one.advice or one.figures or one.tables],
        style=style,
        script=script,
        style_hash=_hash(style),
        script_hash=_hash(script),
        version=__version__,
    )


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _introduce(found: Differences) -> str:
    counts = f"{found.whole.tensors:,} tensors, {found.whole.elements:,} entries"
    results = f"; results of merges: {', '.join(found.results)}" if found.results else ""
    return f"Base: {found.base}. Models: {', '.join(found.models)}{results}. Compared: {counts} of each."


def _sections(found: Differences) -> Iterator[Section]:
    labels = found.compared[:_MOST_MODELS]
    limit = f" The first {_MOST_MODELS} models are drawn." if len(labels) < len(found.compared) else ""
    yield Section("overview", "Overview", tables=(tabulate_models(found),))
    yield Section("advice", "Advice", advice=found.advice)
    yield Section(
        "sizes",
        "Where they differ",
        "The norm of each difference over the norm of the base, on one scale for all models. White is where nothing "
        f"differs, or the base is zero; the darkest colour stands for less, too.{limit}",
        figures=tuple(_draw_sizes(found, labels)),
    )
    yield Section(
        "distributions",
        "How the differences are distributed",
        "The share of the entries whose difference lies in each octave, from one power of 2 to the next; ends with "
        f"less than {LEAST_PERCENT} % are cut. Zeros have no place on this axis and stand in the legend.{limit}",
        figures=tuple(
            draw_octaves(title, section, labels)
            for title, section in [("All tensors", found.whole), *((f"Role: {one.label}", one) for one in found.roles)]
        ),
    )
    if len(found.compared) > 1:
        yield _compare_pairs(found, labels, limit)
    if found.results:
        yield _explain_results(found)
    yield Section("groups", "By role and layer", tables=(tabulate_sections(found),))
    yield Section("by-tensor", "By tensor", tables=(tabulate_tensors(found),))
    if found.mismatches:
        yield Section("not-compared", "Not compared", tables=(tabulate_mismatches(found),))


def _draw_sizes(found: Differences, labels: Sequence[str]) -> Iterator[Figure]:
    grids = [
        (f"{label}: {stack}", grid_layers(found, stack, at))
        for stack in find_stacks(found)[:_MOST_STACKS]
        for at, label in enumerate(labels)
    ]
    outside = grid_outside(found, labels)
    if outside is not None:
        grids.append(("Outside the layers", outside))
    sizes = np.concatenate([grid.values.ravel() for _, grid in grids] or [np.zeros(0)])
    sizes = sizes[np.isfinite(sizes) & (sizes > 0)]
    largest = float(sizes.max(initial=0.0)) or 1.0
    lowest = max(min(float(sizes.min(initial=largest)), largest / 2), largest / _MOST_ORDERS)
    for title, grid in grids:
        yield draw_grid(title, grid, lowest, largest)


def _compare_pairs(found: Differences, labels: Sequence[str], limit: str) -> Section:
    return Section(
        "pairs-of-models",
        "How they stand to one another",
        f"The cosine of the angle between two differences: 1 for the same direction, 0 for unrelated ones.{limit}",
        figures=(draw_cosines("Cosines over all tensors", labels, fill_cosines(found, len(labels))),),
        tables=(tabulate_pairs(found),),
    )


def _explain_results(found: Differences) -> Section:
    labels = (*found.models[:_MOST_MODELS], "the base")
    figures = [
        draw_shares(f"{result}: {stack}", *follow_shares(found, stack, at, labels))
        for at, result in enumerate(found.results[:_MOST_RESULTS])
        for stack in find_stacks(found)[:_MOST_STACKS]
    ]
    return Section(
        "parents",
        "What the results took from their parents",
        "Least squares of each result's difference on those of the models: the coefficients that explain most of it, "
        "and the share of its norm that they leave unexplained.",
        figures=tuple(figures),
        tables=(tabulate_shares(found),),
    )
