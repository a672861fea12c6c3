"""Merge the example family with every recipe in examples/recipes, measure every model, and print one table.

    make demo

The models are small Llamas of bytes with a million weights (examples/family). A skill's *gain* is what its expert has
over the base; a merge *keeps* a share of it. Merges stand in the order of what they keep of two skills at once. Fails
when none keeps four fifths of two.
"""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # read by NumPy on import: many small products, in two processes

import sys
import tempfile
import time
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
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
        with ProcessPoolExecutor(2, get_context("spawn")) as pool:
            figures = dict(zip(models, pool.map(evaluate, models.values()), strict=True))
    kept = {name: keep(figures, name) for name in merges}
    kept = dict(sorted(kept.items(), key=lambda item: kept_of_two(item[1]), reverse=True))
    console = Console(width=96)
    console.print(tabulate(figures, list(originals), kept))
    console.print(
        f"{len(merges)} merges in {merged_at - started:.1f} s; measured in {time.perf_counter() - merged_at:.1f} s."
    )
    return conclude(console, figures, kept)


def keep(figures: Mapping[str, Figures], name: str) -> Figures:
    """Return the share of each skill's gain that a model has: 0 for the base, 1 for the expert."""
    base = figures["base"]
    return {
        skill: (figures[name][skill] - base[skill]) / (figures[expert][skill] - base[skill])
        for skill, expert in EXPERTS.items()
    }


def kept_of_two(shares: Figures) -> float:
    """Return the share that a merge keeps of two skills at once: of the second-best one, that is."""
    return sorted(shares.values())[-2]


def tabulate(figures: Mapping[str, Figures], originals: list[str], kept: Mapping[str, Figures]) -> Table:
    """Return the table of all models: the originals, then the merges in the order of ``kept``."""
    table = Table(box=SIMPLE_HEAD, title="bits per byte of held-out text (lower is better) and sums right")
    table.add_column("model", no_wrap=True)
    for heading in ("python", "prose", "arithmetic", "sums right", "kept: python", "prose", "sums"):
        table.add_column(heading, justify="right")
    for name in [*originals, *kept]:
        row = figures[name]
        bits = [f"{row[domain]:.3f}" for domain in ("python", "prose", "arithmetic")]
        shares = [f"{share:.0%}" for share in kept.get(name, {}).values()]
        bold = name in kept and kept_of_two(kept[name]) >= WANTED
        last = name == originals[-1]
        table.add_row(name, *bits, f"{row['exact_match']:.0%}", *shares, style="bold" if bold else "", end_section=last)
    return table


def conclude(console: Console, figures: Mapping[str, Figures], kept: Mapping[str, Figures]) -> int:
    """Say which merges work best and which one fails; return 0 when one keeps two skills, else 1."""
    best, *good = [name for name, shares in kept.items() if kept_of_two(shares) >= WANTED] or [""]
    if best:
        parts = [f"{share:.0%} of the {NAMES.get(s, s)} gain" for s, share in kept[best].items() if share >= WANTED]
        others = f" At least {WANTED:.0%} of two skills also: {', '.join(good)}." if good else ""
        console.print(f"[bold]{best}[/] keeps {' and '.join(parts)}: one model, two skills.{others}")
    else:
        console.print(f"No merge keeps {WANTED:.0%} of two skills; that should not happen.")
    worst = max(kept, key=lambda name: figures[name]["python"] + figures[name]["prose"])
    console.print(
        f"[bold]{worst}[/] fails: {figures[worst]['python']:.1f} bits per byte of python, the base needs "
        f"{figures['base']['python']:.1f}."
    )
    return 0 if best else 1


if __name__ == "__main__":
    sys.exit(main())
