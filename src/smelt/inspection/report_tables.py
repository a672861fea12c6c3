"""The tables of a report: what was measured, as rows of text under columns that name their unit."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from html import escape
from itertools import accumulate

from smelt.errors import make_printable
from smelt.inspection.differences import QUANTILES, TOP_SHARE, Differences, Measure, Section, Shares

MOST_BYTES = 700_000  # of a table's rows in the page, which has five such tables and figures in at most 5 MB

_CELL_BYTES = 9  # of markup
_NONE = "–"
_MEDIAN, _HIGH = QUANTILES.index(0.5), QUANTILES.index(0.99)


@dataclass(frozen=True)
class Column:
    """A column: its head with the unit, what it means, and whether it is sorted as numbers."""

    label: str
    meaning: str = ""
    is_number: bool = True


@dataclass(frozen=True)
class Table:
    """Rows of text, one cell per column, under a key that no other table of the page has."""

    key: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""


def _words(label: str) -> Column:
    return Column(label, is_number=False)


_MEASURES = (
    Column("relative [%]", "norm of the difference over the norm of the base"),
    Column("rms", "root mean square of the difference, in units of the weights"),
    Column("largest", "largest magnitude of the difference, in units of the weights"),
    Column("median", "median magnitude of the difference, in units of the weights"),
    Column("99 %", "magnitude below which 99 % of the entries are, in units of the weights"),
    Column("zeros [%]", "entries that are exactly those of the base"),
    Column("kurtosis", "about zero: 3 for a normal distribution, more for heavier tails"),
    Column(f"top {TOP_SHARE:.0%} energy [%]", f"share of the sum of squares in the largest {TOP_SHARE:.0%} of entries"),
    Column("rounding [%]", "rms of the rounding of the stored dtype over the rms of the difference"),
)
_RANK = Column("rank", "effective rank: e to the entropy of the singular values")
_PAIRS = (
    Column("cosine", "of the angle between the differences, from −1 to 1"),
    Column("conflicts [%]", "entries of opposite sign, of those in which both differ from the base"),
    Column("overlap [%]", f"how many of the largest {TOP_SHARE:.0%} of the one are among those of the other"),
    Column("by chance [%]", "what the overlap would be for places drawn at random"),
)


def tabulate_models(found: Differences) -> Table:
    """Return a row per model and result, over all tensors."""
    rows = []
    for measure in found.whole.measures:
        identical = str(len(found.identical(measure.model)))
        rows.append((measure.model, *_measure_cells(measure, found.whole.elements), identical))
    identical_tensors = Column("identical", "tensors whose values are all those of the base")
    return Table("models", (_words("model"), *_MEASURES, identical_tensors), tuple(rows))


def tabulate_sections(found: Differences) -> Table:
    """Return a row per role or layer, and model."""
    rows = [
        (kind, section.label, measure.model, *_measure_cells(measure, section.elements))
        for kind, section in _sections(found)
        for measure in section.measures
    ]
    return _cut("sections", (_words("kind"), _words("tensors"), _words("model"), *_MEASURES), rows)


def tabulate_tensors(found: Differences) -> Table:
    """Return a row per tensor and model, those of the largest relative size where they are too many."""
    measured = [(t, measure) for t in found.tensors for measure in t.section.measures]
    has_rank = any(measure.effective_rank is not None for _, measure in measured)
    rows = [
        (
            t.name,
            " × ".join(map(str, t.shape)),
            t.role,
            measure.model,
            *_measure_cells(measure, t.section.elements),
            *([_number(measure.effective_rank)] if has_rank else []),
        )
        for t, measure in measured
    ]
    head = (_words("tensor"), _words("shape"), _words("role"), _words("model"), *_MEASURES)
    return _cut("tensors", (*head, _RANK) if has_rank else head, rows, [one.relative or 0.0 for _, one in measured])


def tabulate_pairs(found: Differences) -> Table:
    """Return a row per pair of models, over all tensors, each role and each layer."""
    rows = [
        (
            kind,
            section.label,
            pair.first,
            pair.second,
            _number(pair.cosine),
            *map(_percent, (pair.conflicts, pair.overlap, pair.chance)),
        )
        for kind, section in _sections(found)
        for pair in section.pairs
    ]
    return _cut("pairs", (*map(_words, ("kind", "tensors", "first", "second")), *_PAIRS), rows)


def tabulate_shares(found: Differences) -> Table:
    """Return a row per result, over all tensors, each role and each layer: what it took from its parents."""
    rows = [
        (kind, section.label, shares.result, *_share_cells(shares, len(found.models)))
        for kind, section in _sections(found)
        for shares in section.shares
    ]
    parents = (Column(model, "how much of its difference to the base is in the result") for model in found.models)
    base = Column("the base", "1 − the sum of the others: the weight of the base itself")
    rest = Column("unexplained [%]", "norm of what is left over the norm of the result's difference")
    return _cut("shares", (*map(_words, ("kind", "tensors", "result")), *parents, base, rest), rows)


def tabulate_mismatches(found: Differences) -> Table:
    """Return a row per tensor that could not be compared."""
    rows = [(one.name, one.model, one.reason) for one in found.mismatches]
    return _cut("mismatches", (_words("tensor"), _words("model"), _words("why")), rows)


def _sections(found: Differences) -> Iterator[tuple[str, Section]]:
    yield "all", found.whole
    yield from (("role", section) for section in found.roles)
    yield from (("layer", section) for section in found.layers)


def _cut(key: str, columns: Iterable[Column], rows: Sequence[tuple[str, ...]], sizes: Sequence[float] = ()) -> Table:
    """Return a table of as many rows as there is room for: the first, or those of the largest ``sizes``."""
    order = sorted(range(len(rows)), key=lambda at: -sizes[at]) if sizes else range(len(rows))
    ends = accumulate(_measure_bytes(rows[at]) for at in order)
    kept = [at for at, end in zip(order, ends, strict=True) if end <= MOST_BYTES]
    which = "of largest relative size" if sizes else "that come first"
    note = f"{len(kept):,} of {len(rows):,} rows: those {which}." if len(kept) < len(rows) else ""
    return Table(key, tuple(columns), tuple(rows[at] for at in sorted(kept)), note)


def _measure_bytes(row: tuple[str, ...]) -> int:
    return sum(len(escape(make_printable(cell)).encode(errors="replace")) + _CELL_BYTES for cell in row)


def _measure_cells(measure: Measure, elements: int) -> list[str]:
    quantiles = measure.quantiles
    return [
        _percent(measure.relative),
        _number(measure.rms),
        _number(measure.largest),
        _number(quantiles[_MEDIAN] if quantiles else None),
        _number(quantiles[_HIGH] if quantiles else None),
        _percent(measure.zeros / elements if elements else None),
        _number(measure.kurtosis),
        _percent(measure.top_energy),
        _percent(measure.rounding_rms / measure.rms if measure.rms else None),
    ]


def _share_cells(shares: Shares, models: int) -> list[str]:
    coefficients = shares.coefficients or (None,) * models
    return [*map(_number, coefficients), _number(shares.base), _percent(shares.unexplained)]


def _number(value: float | None) -> str:
    return _NONE if value is None else f"{value:.3g}"


def _percent(value: float | None) -> str:
    return _number(None if value is None else 100 * value)
