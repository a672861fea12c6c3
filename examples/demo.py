"""Merge the example family with every recipe in examples/recipes, measure every model, and print one table.

    make demo

The models are small Llamas of bytes with a million weights (examples/family). A skill's *gain* is what its expert has
over the base; a merge *keeps* a share of it. Fails when no merge keeps four fifths of two skills.
"""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # read by NumPy on import: many small products, two models at a time

import sys
import tempfile
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

import smelt

EXAMPLES = Path(__file__).resolve().parent
sys.path.insert(0, str(EXAMPLES / "family"))

from evaluate import evaluate  # noqa: E402  (the family's own module, found through the line above)

EXPERTS = {"python": "python", "prose": "prose", "exact_match": "arithmetic"}  # a skill's figure: who learned it
NAMES = {"exact_match": "sums"}
WANTED = 0.8  # share of a gain that counts as kept

Figures = Mapping[str, float]


def main() -> int:
    os.chdir(EXAMPLES.parent)  # the paths in the recipes start there
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        originals = {name: EXAMPLES / "family" / name for name in ("base", *EXPERTS.values())}
        merges = {path.stem: Path(folder) / path.stem for path in sorted(EXAMPLES.glob("recipes/*.yml"))}
        for name, into in merges.items():
            smelt.merge(EXAMPLES / "recipes" / f"{name}.yml", into, force=True)
        merged_at = time.perf_counter()
        models = originals | merges
        with ThreadPoolExecutor(2) as pool:
            figures = dict(zip(models, pool.map(evaluate, models.values()), strict=True))
    kept = {name: keep(figures, name) for name in models}
    console = Console(width=92)
    console.print(tabulate(figures, kept, list(merges)))
    console.print(
        f"{len(merges)} merges in {merged_at - started:.1f} s; measured in {time.perf_counter() - merged_at:.1f} s."
    )
    return conclude(console, figures, {name: kept[name] for name in merges})


def keep(figures: Mapping[str, Figures], name: str) -> Figures:
    """Return the share of each skill's gain that a model has: 0 for the base, 1 for the expert."""
    base = figures["base"]
    return {
        skill: (figures[name][skill] - base[skill]) / (figures[expert][skill] - base[skill])
        for skill, expert in EXPERTS.items()
    }


def tabulate(figures: Mapping[str, Figures], kept: Mapping[str, Figures], merges: list[str]) -> Table:
    """Return the table of all models; ``merges`` are those that recipes made."""
    table = Table(box=SIMPLE_HEAD, title="bits per byte of held-out text (lower is better) and sums right")
    table.add_column("model")
    for heading in ("python", "prose", "arithmetic", "sums right", "kept: python", "prose", "sums"):
        table.add_column(heading, justify="right")
    for name, row in figures.items():
        bits = [f"{row[domain]:.3f}" for domain in ("python", "prose", "arithmetic")]
        shares = [f"{share:.0%}" if name in merges else "" for share in kept[name].values()]
        bold = name in merges and len(kept_well(kept[name])) > 1
        table.add_row(
            name,
            *bits,
            f"{row['exact_match']:.0%}",
            *shares,
            style="bold" if bold else "",
            end_section=name == "arithmetic",
        )
    return table


def kept_well(shares: Figures) -> list[str]:
    return [skill for skill, share in shares.items() if share >= WANTED]


def conclude(console: Console, figures: Mapping[str, Figures], kept: Mapping[str, Figures]) -> int:
    """Say which merge works best and which one fails; return 0 when one keeps two skills, else 1."""
    good = {name: shares for name, shares in kept.items() if len(kept_well(shares)) > 1}
    worst = max(kept, key=lambda name: figures[name]["python"] + figures[name]["prose"])
    for name, shares in good.items():
        parts = " and ".join(
            f"{shares[skill]:.0%} of the {NAMES.get(skill, skill)} gain" for skill in kept_well(shares)
        )
        console.print(f"[bold]{name}[/] keeps {parts}: one model, two skills.")
    console.print(
        f"[bold]{worst}[/] fails: {figures[worst]['python']:.1f} bits per byte of python, the base needs "
        f"{figures['base']['python']:.1f}."
    )
    if not good:
        console.print(f"No merge keeps {WANTED:.0%} of two skills; that should not happen.")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
