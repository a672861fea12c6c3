"""How long smelt's merges take beside the least that any merge must do.

    make bench           everything on models of 1.1 billion parameters
    make bench-quick     the methods on models of 100 million, once each

For each merge smelt and the floor (``floor.py``) run in turn, each as a process of its own on inputs in the page cache,
and the medians of the ratios count. Beside the methods: growth with the number of models, with their size and with
threads; and ``smelt diff``, also of models that left the page cache.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.cases import MODELS, Case, list_cases, write_recipe
from benchmarks.measure import describe_machine, run_process
from benchmarks.models import SHAPES, Family, family_of
from benchmarks.report import PARTS, RESULTS, default_scratch, save, show

GROWING = "task_arithmetic ties"  # one method of a single pass, one that selects
COUNTS = (2, 4, 8, 16, 32, 64)


@dataclass(frozen=True)
class Bench:
    """Where and how measurements are made."""

    scratch: Path
    repeat: int
    threads: int

    def family(self, size: str, count: int) -> Family:
        """Make models in a process of their own: the one that measures must stay small."""
        run_process([sys.executable, "-m", "benchmarks.models", str(self.scratch), size, str(count), "bfloat16"])
        return family_of(self.scratch, size, count)

    def merge(self, case: Case, family: Family, threads: int | None = None) -> dict[str, Any]:
        """Measure a merge and its floor in turn; the first run is told, and counted only if there is no other.

        Args:
            case: what to do.
            family: with which models.
            threads: of smelt and of the floor; those of all measurements by default.
        """
        number = str(threads or self.threads)
        recipe, out = self.scratch / "recipes" / f"{case.method.name}.yml", self.scratch / "merged"
        write_recipe(recipe, case, family)
        planned = run_process([sys.executable, "-m", "smelt.cli", "plan", str(recipe), "--json"])
        plan = json.loads(planned.output)
        models = {label.rstrip("/").split("/")[-1] for label in (c["name"] for c in plan["checkpoints"])}
        inputs = [path for name in sorted(models) for path in sorted((family.base.parent / name).glob("*.safetensors"))]
        sizes = ",".join(str(file["bytes"]) for file in plan["files"])
        merge = [sys.executable, "-m", "smelt.cli", "merge", str(recipe), str(out), "--threads", number, "--force"]
        floor = [sys.executable, "-m", "benchmarks.floor", number, str(out), sizes, *map(str, inputs)]
        row: dict[str, Any] = {"case": case.name, "models": len(models), "size": family.size, "threads": int(number)}
        row |= {key: plan["cost"][key] for key in ("passes", "parameters", "input_bytes", "read_bytes")}
        row |= {"written_bytes": sum(file["bytes"] for file in plan["files"])}
        return row | self.alternate(merge, floor)

    def diff(self, family: Family, from_disk: bool = False) -> dict[str, Any]:
        """Measure ``smelt diff`` of a base and fine-tunes, and the floor, which reads them once, in turn."""
        folders = [family.base, *family.models]
        inputs = [path for folder in folders for path in sorted(folder.glob("*.safetensors"))]
        diff = [sys.executable, "-m", "smelt.cli", "diff", *map(str, folders), "--threads", str(self.threads)]
        floor = [sys.executable, "-m", "benchmarks.reading", str(self.threads), *map(str, inputs)]
        passes, read = 1 if len(folders) == 2 else 2, sum(path.stat().st_size for path in inputs)
        case = f"diff, {len(folders)} models{', from the disk' if from_disk else ''}"
        row: dict[str, Any] = {"case": case, "models": len(folders), "size": family.size}
        row |= {"threads": self.threads, "passes": passes, "parameters": SHAPES[family.size].parameters}
        row |= {"input_bytes": read, "read_bytes": passes * read, "written_bytes": 0}
        return row | self.alternate(diff, floor, inputs if from_disk else ())

    def alternate(self, merge: Sequence[str], floor: Sequence[str], cold: Sequence[Path] = ()) -> dict[str, Any]:
        """Measure a command of smelt's and its floor in turn, each with the files of ``cold`` out of the page cache."""
        row: dict[str, Any] = {"first_s": None, "smelt_s": [], "floor_s": [], "floor_inner_s": [], "peak_bytes": 0}
        if self.repeat > 1:  # it may compile, and it fills the page cache; for a single one the floor does that
            row["first_s"] = self.run(merge, cold).seconds
        for _ in range(self.repeat):
            least, ours = self.run(floor, cold), self.run(merge, cold)
            row["first_s"] = row["first_s"] or ours.seconds
            row["floor_s"].append(least.seconds)
            row["floor_inner_s"].append(json.loads(least.output)["inner_s"])
            row["smelt_s"].append(ours.seconds)
            row["peak_bytes"] = max(row["peak_bytes"], ours.peak_bytes)
        return row

    def run(self, command: Sequence[str], cold: Sequence[Path] = ()) -> Any:
        """Run a program that may write an output, and delete that."""
        os.sync()  # what others wrote is on the disk before the clock starts
        for path in cold:
            forget(path)
        try:
            return run_process(command)
        finally:
            shutil.rmtree(self.scratch / "merged", ignore_errors=True)


def forget(path: Path) -> None:
    """Let a file leave the page cache, so that the next one who reads it waits for the disk."""
    with path.open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print and save."""
    options = parse(arguments)
    if options.clean:
        shutil.rmtree(options.scratch, ignore_errors=True)
        return 0
    bench = Bench(options.scratch, options.repeat, options.threads)
    result: dict[str, Any] = {"kind": "smelt", "repeated": options.repeat}
    options.scratch.mkdir(parents=True, exist_ok=True)
    result |= {"machine": describe_machine(options.scratch)}
    result |= {"startup_s": run_process([sys.executable, "-m", "smelt.cli", "--help"]).seconds}
    measured: dict[str, Callable[[], Iterator[dict[str, Any]]]] = {
        "methods": lambda: over_methods(bench, options.size, options.methods),
        "threads": lambda: over_threads(bench, options.size),
        "models": lambda: over_models(bench, options.models_size, options.counts),
        "sizes": lambda: over_sizes(bench, options.sizes),
        "tensors": lambda: over_tensors(bench),
        "diff": lambda: over_differences(bench, options.size),
    }
    for part, measure in measured.items():
        if part in options.parts:
            result[part] = []
            for row in measure():
                result[part].append(row)
                print(f"{part}: {row['case']}: {min(row['smelt_s']):.2f} s", file=sys.stderr, flush=True)
    show(result)
    print(save(result, options.results, options.name).name)
    return 0


def over_methods(bench: Bench, size: str, methods: str | None) -> Iterator[dict[str, Any]]:
    """Measure every method, or those that are named."""
    family = bench.family(size, MODELS)
    for case in list_cases(methods):
        yield bench.merge(case, family)


def over_threads(bench: Bench, size: str) -> Iterator[dict[str, Any]]:
    """Measure with one thread, two, and so on by doubling up to all."""
    family = bench.family(size, MODELS)
    counts = [n for n in (2**power for power in range(10)) if n < bench.threads] + [bench.threads]
    for case in list_cases(GROWING):
        for threads in counts:
            yield bench.merge(case, family, threads)


def over_models(bench: Bench, size: str, counts: Sequence[int]) -> Iterator[dict[str, Any]]:
    """Measure a base and more and more fine-tunes; the base counts as a model."""
    family = bench.family(size, max(counts) - 1)
    for case in list_cases(GROWING):
        for count in counts:
            yield bench.merge(case, replace(family, models=family.models[: count - 1]))


def over_sizes(bench: Bench, sizes: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Measure two models, a base and a fine-tune, of each size."""
    for size in sizes:
        family = bench.family(size, 1)
        for case in list_cases(GROWING):
            yield bench.merge(case, family)


def over_tensors(bench: Bench) -> Iterator[dict[str, Any]]:
    """Measure a mixture of experts: a base and two fine-tunes of 20,000 small tensors."""
    family = bench.family("experts", 2)
    for case in list_cases(GROWING):
        yield bench.merge(case, family)


def over_differences(bench: Bench, size: str) -> Iterator[dict[str, Any]]:
    """Measure the differences of one fine-tune to its base, from memory and from the disk, and those of two."""
    yield bench.diff(bench.family(size, 1))
    if hasattr(os, "posix_fadvise"):
        yield bench.diff(bench.family(size, 1), from_disk=True)
    yield bench.diff(bench.family(size, 2))


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="bench", description="smelt's merges beside the floor")
    parser.add_argument("--methods", help="methods, separated by commas or spaces; all without it")
    parser.add_argument("--parts", type=words, default=tuple(PARTS), help=f"of {', '.join(PARTS)}")
    parser.add_argument("--size", choices=SHAPES, default="1100m", help="models of the parts methods, threads and diff")
    parser.add_argument("--models-size", choices=SHAPES, default="35m", help="models of the part models")
    parser.add_argument("--counts", type=numbers, default=COUNTS, help="numbers of models")
    parser.add_argument("--sizes", type=words, default=("275m", "1100m", "2200m"), help="models of the part sizes")
    parser.add_argument("--repeat", type=int, default=3, help="runs of which the median counts")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="workers of smelt and of the floor")
    parser.add_argument("--scratch", type=Path, default=default_scratch(), help="folder for models and outputs")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder for the JSON")
    parser.add_argument("--name", default="bench", help="how the JSON is called after the date")
    parser.add_argument("--clean", action="store_true", help="delete the scratch folder and leave")
    return parser.parse_args(arguments)


def words(text: str) -> tuple[str, ...]:
    """Split what is separated by commas or spaces."""
    return tuple(text.replace(",", " ").split())


def numbers(text: str) -> tuple[int, ...]:
    """Split numbers that are separated by commas or spaces."""
    return tuple(int(word) for word in words(text))


if __name__ == "__main__":
    sys.exit(main())
