"""Differences in words and tables, for a terminal or a pipe."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from smelt.inspection.differences import QUANTILES, Differences, Measure, Section

SHOWN_LAYERS = 40
SHOWN_FAULTS = 8


def describe_differences(found: Differences) -> str:
    """Return the differences as text of a few dozen lines."""
    lines = [
        f"{found.base}: {found.whole.tensors} tensors, {found.whole.elements:,} parameters, "
        f"compared with {', '.join(found.compared)}",
        *_titled("Differences from the base", _measure_table(found)),
    ]
    if found.whole.pairs:
        lines += _titled("Between them", _pair_table(found.whole))
    if found.results:
        lines += _titled("What the results took (weights by least squares)", _share_table(found, [found.whole]))
    lines += _titled("By role: size of the differences over the base", _section_table(found, found.roles))
    layers = found.layers
    if len(layers) > SHOWN_LAYERS:
        layers = tuple(sorted(layers, key=_largest_relative, reverse=True)[:SHOWN_LAYERS])
        lines += _titled(
            f"The {SHOWN_LAYERS} of {len(found.layers)} layers that differ most", _section_table(found, layers)
        )
    else:
        lines += _titled("By layer", _section_table(found, layers))
    lines += ["", "What follows"]
    for advice in found.advice:
        lines += [f"  - {advice.verdict}", f"    ({advice.evidence})"]
    lines += _describe_mismatches(found)
    return "\n".join(lines)


def align(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return rows as lines of equal columns, the first one left-aligned, the others right-aligned."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for first, *others in rows:
        cells = (cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True))
        lines.append("  ".join([first.ljust(widths[0]), *cells]).rstrip())
    return lines


def _titled(title: str, rows: Sequence[Sequence[str]]) -> list[str]:
    return ["", title, *(f"  {line}" for line in align(rows))]


def _measure_table(found: Differences) -> list[list[str]]:
    heading = ["", "relative", "norm", "rms", "median", "99 %", "largest", "kurtosis", "top 20 %", "zeros", "identical"]
    rows = [heading]
    for measure in found.whole.measures:
        levels = dict(zip(QUANTILES, measure.quantiles or (), strict=False))
        rows.append(
            [
                measure.model,
                _percent(measure.relative),
                *(_number(value) for value in (measure.norm, measure.rms, levels.get(0.5), levels.get(0.99))),
                _number(measure.largest),
                _number(measure.kurtosis),
                _percent(measure.top_energy),
                _percent(measure.zeros / found.whole.elements if found.whole.elements else None),
                f"{len(found.identical(measure.model))} of {len(found.tensors)}",
            ]
        )
    return rows


def _pair_table(section: Section) -> list[list[str]]:
    rows = [["", "cosine", "sign conflicts", "common top 20 %", "by chance"]]
    for pair in section.pairs:
        cosine = "–" if pair.cosine is None else f"{pair.cosine:.3f}"
        shares = (pair.conflicts, pair.overlap, pair.chance)
        rows.append([f"{pair.first} · {pair.second}", cosine, *map(_percent, shares)])
    return rows


def _share_table(found: Differences, sections: Sequence[Section]) -> list[list[str]]:
    rows = [["", found.base, *found.models, "left over"]]
    for section in sections:
        for shares in section.shares:
            weights = [f"{weight:.3f}" for weight in (shares.base, *shares.coefficients)]
            rows.append([shares.result, *weights, _percent(shares.unexplained)])
    return rows


def _section_table(found: Differences, sections: Iterable[Section]) -> list[list[str]]:
    """Return a row per section: the relative sizes, and what each result has of the base."""
    rows = [["", "tensors", "parameters", *found.compared, *(f"{r}: base, rest" for r in found.results)]]
    for section in sections:
        took = [f"{shares.base:.3f}, {_percent(shares.unexplained)}" for shares in section.shares]
        sizes = [_percent(measure.relative) for measure in section.measures]
        rows.append([section.label, str(section.tensors), f"{section.elements:,}", *sizes, *took])
    return rows


def _describe_mismatches(found: Differences) -> list[str]:
    if not found.mismatches:
        return []
    lines = ["", f"Not compared: {len(found.mismatches)}"]
    lines += [f"  - '{m.name}' of {m.model}: {m.reason}" for m in found.mismatches[:SHOWN_FAULTS]]
    more = len(found.mismatches) - SHOWN_FAULTS
    return [*lines, f"  … and {more} more"] if more > 0 else lines


def _largest_relative(section: Section) -> float:
    return max(_relative(measure) for measure in section.measures)


def _relative(measure: Measure) -> float:
    return measure.relative or 0.0


def _percent(share: float | None) -> str:
    if share is None:
        return "–"
    return f"{share:.2%}" if abs(share) < 0.1 else f"{share:.1%}"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}"
