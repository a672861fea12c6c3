"""smelt and mergekit on the same recipes: time, memory, and how far the results lie apart.

    make bench-peers                               every method of mergekit, 1.1 billion parameters
    make bench-peers PEER_METHODS="ties linear"    only these

Two tables. The first one has whole processes on large models in bfloat16, once each. The second one compares the
results on small models in float32, where both tools compute in float32 and no magnitudes are equal, so that they differ
by rounding only, unless they compute different things. Random methods keep different entries: of them only the
expectation can agree.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.cases import MODELS, Case, list_cases, write_recipe
from benchmarks.measure import describe_machine, run_process
from benchmarks.models import Family, family_of
from benchmarks.report import RESULTS, default_scratch, save, show

MERGEKIT = "mergekit==0.1.5"
TORCH = "torch==2.13.0"
# Nothing is looked up on a network, and the order of its sets is the same in every run.
VARIABLES = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "PYTHONHASHSEED": "0"}
OURS_ALONE = ("geometric_median", "magmax")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print and save."""
    options = parse(arguments)
    environment = options.environment or options.scratch / "mergekit"
    install(environment)
    cases = [case for case in list_cases(options.methods) if case.method.name not in OURS_ALONE]
    sizes = {options.size: "bfloat16", options.agreement_size: "float32"}
    rows: list[dict[str, Any]] = []
    for size, dtype in {k: v for k, v in sizes.items() if k != "none"}.items():
        run_process([sys.executable, "-m", "benchmarks.models", str(options.scratch), size, str(MODELS), dtype])
        family = family_of(options.scratch, size, MODELS, dtype)
        for case in cases:
            row = meet(case, family, options.scratch, environment)
            rows.append(row)
            print(f"{size} {dtype} {case.name}: {row}", file=sys.stderr, flush=True)
    result = {"kind": "peers", "machine": describe_machine(options.scratch), "peer": MERGEKIT, "rows": rows}
    show(result)
    save(result, options.results, options.name)
    return 0


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="peers", description="smelt and mergekit on the same recipes")
    parser.add_argument("--methods", help="methods, separated by commas or spaces; all without it")
    parser.add_argument("--size", default="1100m", help="models whose merges are timed, in bfloat16; none: skip")
    parser.add_argument("--agreement-size", default="7m", help="float32 models whose merges are compared; none: skip")
    parser.add_argument("--scratch", type=Path, default=default_scratch(), help="folder for models and outputs")
    parser.add_argument("--environment", type=Path, help="virtual environment of mergekit; made where it is missing")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder for the JSON")
    parser.add_argument("--name", default="peers", help="how the JSON is called after the date")
    return parser.parse_args(arguments)


def install(environment: Path) -> None:
    """Make a virtual environment with mergekit, unless it is there."""
    if not (environment / "bin" / "mergekit-yaml").exists():
        subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)
        for package in (TORCH, MERGEKIT):
            subprocess.run([str(environment / "bin" / "pip"), "install", "--quiet", package], check=True)


def meet(case: Case, family: Family, scratch: Path, environment: Path) -> dict[str, Any]:
    """Merge with both tools, and return what each took and how far the results lie apart."""
    recipe, ours, theirs = scratch / "recipes" / f"{case.method.name}.yml", scratch / "ours", scratch / "theirs"
    write_recipe(recipe, case, family)
    row: dict[str, Any] = {"case": case.name, "size": family.size, "dtype": family.dtype, "random": case.method.random}
    try:
        smelt = [sys.executable, "-m", "smelt.cli", "merge", str(recipe), str(ours), "--force"]
        mine = run_process(smelt)
        row |= {"smelt_s": mine.seconds, "smelt_peak_bytes": mine.peak_bytes}
        peer = [str(environment / "bin" / "mergekit-yaml"), str(recipe), str(theirs), "--random-seed", "0"]
        other = run_process(peer, VARIABLES)
        row |= {"peer_s": other.seconds, "peer_peak_bytes": other.peak_bytes}
        # In a process of its own, so that the one that measures stays small.
        compared = run_process([sys.executable, "-m", "benchmarks.compare", str(ours), str(theirs)])
        row |= {"difference": json.loads(compared.output)}
    except RuntimeError as error:
        row["failed"] = str(error).strip().splitlines()[-1]
    finally:
        for folder in (ours, theirs):
            shutil.rmtree(folder, ignore_errors=True)
    return row


if __name__ == "__main__":
    sys.exit(main())
