"""What was measured, as tables on a terminal and in docs/benchmarks.md, and as JSON."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from statistics import median
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

RESULTS = Path(__file__).resolve().parent / "results"
DOCUMENT = RESULTS.parent.parent / "docs" / "benchmarks.md"
STARTUP_S = 0.8  # what starting and ending the process may cost, of which the floor has nothing
PARTS = {
    "methods": "Methods",
    "models": "Number of models",
    "sizes": "Size of the models",
    "threads": "Threads",
    "tensors": "Twenty thousand small tensors",
    "diff": "Differences (the floor reads all models once)",
}
MEASURED: tuple[str, ...] = ("whole process", "floor", "ratio", "(whole − 0.8 s) / floor", "first run")
MEASURED += ("ns per parameter", "GB/s", "peak", "passes")
COMPARED: tuple[str, ...] = ("method", "smelt", "mergekit", "time ratio", "smelt", "mergekit", "memory ratio")
COMPARED += ("largest |x − y|", "relative", "‖x − y‖ / ‖y‖", "unequal", "remark")

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Sheet:
    """A table before it is drawn."""

    title: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def default_scratch() -> Path:
    """Return the folder for models and outputs where none is named."""
    return Path(tempfile.gettempdir()) / "smelt-benchmarks"


def tabulate(result: Mapping[str, Any]) -> list[Sheet]:
    """Return the tables of a result."""
    if result["kind"] == "peers":
        return tabulate_peers(result["rows"])
    return [tabulate_part(part, result[part]) for part in PARTS if result.get(part)]


def tabulate_part(part: str, rows: Sequence[Row]) -> Sheet:
    """Return the table of a part of a benchmark of smelt."""
    leading = {"models": "models", "sizes": "parameters", "threads": "threads"}.get(part)
    headings = ("method", *([leading] if leading else []), *MEASURED)
    return Sheet(PARTS[part], headings, tuple(row_of(row, leading) for row in rows))


def row_of(row: Row, leading: str | None) -> tuple[str, ...]:
    """Return the cells of a measured merge."""
    whole, floor = median(row["smelt_s"]), median(row["floor_s"])
    pairs = list(zip(row["smelt_s"], row["floor_s"], row["floor_inner_s"], strict=True))
    ratio = median(ours / theirs for ours, theirs, _ in pairs)
    above = median((ours - STARTUP_S) / inner for ours, _, inner in pairs)
    moved_bytes = row["input_bytes"] + row["written_bytes"]
    leader = {"parameters": f"{row['parameters'] / 1e6:,.0f} M"}.get(str(leading), str(row.get(str(leading))))
    return (
        row["case"],
        *([leader] if leading else []),
        f"{whole:.2f} s",
        f"{floor:.2f} s",
        f"{ratio:.2f}",
        f"{above:.2f}",
        f"{row['first_s']:.2f} s",
        f"{whole * 1e9 / row['parameters']:.2f}",
        f"{moved_bytes / whole / 1e9:.2f}",
        f"{row['peak_bytes'] / 1e6:.0f} MB",
        str(row["passes"]),
    )


def tabulate_peers(rows: Sequence[Row]) -> list[Sheet]:
    """Return the tables of a comparison: what each took, and how far the results lie apart, for each size and dtype."""
    sheets = []
    for size, dtype in dict.fromkeys((row["size"], row["dtype"]) for row in rows):
        chosen = [row for row in rows if (row["size"], row["dtype"]) == (size, dtype)]
        cells = [peer_row(row) for row in chosen]
        sheets.append(Sheet(f"Models of {size.upper()} parameters in {dtype}", COMPARED, tuple(cells)))
    return sheets


def peer_row(row: Row) -> tuple[str, ...]:
    """Return the cells of a recipe that both tools ran."""
    difference = row.get("difference")
    remark = "; ".join(filter(None, ["statistical" if row["random"] else "", (difference or {}).get("remark", "")]))
    if difference is None:
        return (row["case"], *[""] * 10, f"failed: {row['failed']}")
    return (
        row["case"],
        f"{row['smelt_s']:.1f} s",
        f"{row['peer_s']:.1f} s",
        f"{row['peer_s'] / row['smelt_s']:.1f}",
        f"{row['smelt_peak_bytes'] / 1e9:.2f} GB",
        f"{row['peer_peak_bytes'] / 1e9:.2f} GB",
        f"{row['peer_peak_bytes'] / row['smelt_peak_bytes']:.1f}",
        f"{difference['absolute']:.1e}",
        f"{difference['relative']:.1e}",
        f"{difference['distance']:.1e}",
        f"{difference['unequal']:.1%}",
        remark,
    )


def show(result: Mapping[str, Any], console: Console | None = None) -> None:
    """Print a result on a terminal."""
    console = console or Console(width=150)
    console.print(describe(result))
    for sheet in tabulate(result):
        table = Table(box=SIMPLE_HEAD, title=sheet.title)
        for place, heading in enumerate(sheet.headings):
            table.add_column(heading, justify="left" if place == 0 or heading == "remark" else "right")
        for cells in sheet.rows:
            table.add_row(*cells)
        console.print(table)


def describe(result: Mapping[str, Any]) -> str:
    """Return the machine and what was run on it in one line."""
    machine = result["machine"]
    versions = ", ".join(f"{name} {machine[name]}" for name in ("smelt", "numpy", "numba"))
    return (
        f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_bytes'] / 2**30:.0f} GiB, {machine['disk']}, "
        f"{machine['system']}, Python {machine['python']}, {versions}"
    )


def save(result: Mapping[str, Any], folder: Path, name: str) -> Path:
    """Write a result as ``<date>-<name>.json`` and return where."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{date.today()}-{name}.json"
    path.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def write_markdown(result: Mapping[str, Any], source: str) -> str:
    """Return the tables of a result in Markdown, under the machine and the file that they come from."""
    lines = [f"{describe(result)} ([{source}](../benchmarks/results/{source}))", ""]
    for sheet in tabulate(result):
        aligned = ["---" if place == 0 or h == "remark" else "---:" for place, h in enumerate(sheet.headings)]
        lines += [f"### {sheet.title}", ""]
        for cells in (sheet.headings, tuple(aligned), *sheet.rows):
            lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
        lines.append("")
    return "\n".join(lines)


def place_tables(document: str, kind: str, tables: str) -> str:
    """Return a document with what stands between its marks of a kind replaced.

    Raises:
        ValueError: when the marks are not there.
    """
    opening, closing = f"<!-- {kind} -->\n", f"<!-- end of {kind} -->"
    before, found, rest = document.partition(opening)
    _, ended, after = rest.partition(closing)
    if not (found and ended):
        raise ValueError(f"the document has no marks '{opening.strip()}' and '{closing}'")
    return f"{before}{opening}\n{tables}\n{closing}{after}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Print results again, and with ``--into`` render their tables into a document."""
    parser = argparse.ArgumentParser(prog="report", description="tables of results")
    parser.add_argument("results", type=Path, nargs="+", help="JSON files")
    parser.add_argument("--into", type=Path, nargs="?", const=DOCUMENT, help="document; docs/benchmarks.md by default")
    options = parser.parse_args(arguments)
    for path in options.results:
        result = json.loads(path.read_text(encoding="utf-8"))
        show(result)
        if options.into:
            text = options.into.read_text(encoding="utf-8")
            text = place_tables(text, result["kind"], write_markdown(result, path.name))
            options.into.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
