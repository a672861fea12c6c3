"""The benchmarks run, at toy size; what they compare and compute is right. No time is asserted."""

import hashlib
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

import tiny

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from benchmarks.measure import Measured  # noqa: E402

from benchmarks import bench, cases, compare, floor, models, report  # noqa: E402
from smelt.algebra.declare import catalogue  # noqa: E402

pytestmark = pytest.mark.skipif(os.name == "nt", reason="processes are measured by what only POSIX systems tell")


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scratch")
    models.make_family(folder, "1m", 3)
    return folder


@pytest.fixture(scope="module")
def family(scratch):
    return models.family_of(scratch, "1m", 3)


def test_the_large_shape_has_the_parameters_of_a_llama_of_1_1_billion():
    layer = 2 * 2048 * 2048 + 2 * 256 * 2048 + 3 * 2048 * 5632 + 2 * 2048
    assert models.SHAPES["1100m"].parameters == 22 * layer + 2 * 32000 * 2048 + 2048


@pytest.mark.parametrize("size", models.SHAPES)
def test_a_size_is_what_its_name_says(size):
    if size == "experts":
        assert len(models.SHAPES[size].tensors) == pytest.approx(20_000, rel=0.02)
        return
    assert models.SHAPES[size].parameters / (float(size[:-1]) * 1e6) == pytest.approx(1, abs=0.06)


def test_a_family_is_two_files_each_and_differs_a_little(family):
    base, tuned = (tiny.read(folder) for folder in (family.base, family.models[0]))
    assert list(base) == list(tuned)
    assert {name: array.shape for name, array in base.items()} == models.SHAPES["1m"].tensors
    assert len(list(family.base.glob("*.safetensors"))) == 2
    index = json.loads((family.base / "model.safetensors.index.json").read_text())
    assert sorted(index["weight_map"]) == sorted(base)
    x = base["lm_head.weight"].astype(np.float32).ravel()
    change = tuned["lm_head.weight"].astype(np.float32).ravel() - x
    assert x.std() == pytest.approx(0.02, rel=0.3)
    assert np.sqrt(np.mean(change**2)) == pytest.approx(0.001, rel=0.3)
    assert len(np.unique(np.abs(change))) < len(change) / 10  # heavy ties


def test_a_family_is_made_once_and_the_same_again(family, scratch, tmp_path):
    before = family.base.stat().st_mtime_ns
    models.make_family(scratch, "1m", 3)
    assert family.base.stat().st_mtime_ns == before
    again = models.make_family(tmp_path, "1m", 1)
    assert tiny.digest(tiny.read(again.models[0])) == tiny.digest(tiny.read(family.models[0]))


def test_other_sizes_make_room_and_too_little_room_is_told(tmp_path, monkeypatch):
    old = models.make_family(tmp_path, "1m", 1, "float32")
    monkeypatch.setattr(models, "SCRATCH_BYTES", 12_000_000)
    models.make_family(tmp_path, "1m", 1)
    assert not old.base.exists()
    with pytest.raises(OSError, match="GB are needed"):
        models.make_family(tmp_path, "1m", 9)


def test_every_method_has_a_recipe(family):
    assert {case.method.name for case in cases.list_cases()} == set(catalogue())
    assert [case.name for case in cases.list_cases("sce, ties")] == ["sce", "sce, half", "ties"]
    slerp, ties, linear = (cases.recipe_of(cases.make_case(name), family) for name in ("slerp", "ties", "linear"))
    assert [entry["model"] for entry in slerp["models"]] == [slerp["base_model"], str(family.models[0])]
    assert [entry["parameters"]["weight"] for entry in ties["models"]] == [0.5237, 0.4129, 0.3071]
    assert len(linear["models"]) == 4
    assert "base_model" not in linear


def test_the_floor_reads_everything_and_hashes_what_it_writes(tmp_path, monkeypatch):
    for number, size in enumerate((10_000_001, 5)):
        (tmp_path / f"in{number}").write_bytes(np.random.default_rng(number).bytes(size))
    digests, real = [], hashlib.sha256

    class Recorded:
        def __init__(self):
            self.digest = real()
            digests.append(self.digest)

        def update(self, data):
            self.digest.update(data)

    monkeypatch.setattr(hashlib, "sha256", Recorded)
    floor.run_floor(2, tmp_path / "out", [9_000_000, 3], [tmp_path / "in0", tmp_path / "in1"])
    written = [(tmp_path / "out" / f"{n}.bin").read_bytes() for n in (0, 1)]
    assert [len(content) for content in written] == [9_000_000, 3]
    assert sorted(d.hexdigest() for d in digests) == sorted(real(content).hexdigest() for content in written)


def test_reads_are_spread_over_the_output_and_each_is_there_once():
    parts = floor.pace([3 * floor.STEP, 1], [5 * floor.STEP + 1, floor.STEP])
    assert len(parts) == 4
    assert [read for part in parts for read in part] == [
        *((0, n * floor.STEP, min((n + 1) * floor.STEP, 5 * floor.STEP + 1)) for n in range(6)),
        (1, 0, floor.STEP),
    ]


def test_differences_of_two_checkpoints(tmp_path):
    x = {"a": np.array([1, -2, 0, np.nan], "f4"), "b": np.zeros((2, 2), "f4"), "c": np.ones(3, "f4")}
    y = {"a": np.array([1, 2, 0, np.nan], "f4"), "b": np.zeros((2, 2), ml_dtypes.bfloat16), "d": np.ones(3, "f4")}
    found = compare.compare(tiny.save(tmp_path / "x", x), tiny.save(tmp_path / "y", y))
    assert (found.absolute, found.relative, found.unequal, found.worst) == (4.0, 2.0, 1 / 8, "a")
    assert "2 tensors differ in name or shape" in found.remark
    assert "1 tensors are F32/BF16" in found.remark


def run_bench(scratch, results, *arguments):
    command = [sys.executable, "-m", "benchmarks.bench", "--size", "1m", "--methods", "linear", "--repeat", "1"]
    command += ["--scratch", str(scratch), "--results", str(results), "--name", "toy", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (path,) = results.glob("*-toy.json")
    assert not (scratch / "merged").exists()
    assert str(scratch) not in path.read_text(encoding="utf-8")
    return json.loads(path.read_text(encoding="utf-8"))


def test_a_benchmark_measures_and_its_tables_reach_the_document(scratch, tmp_path):
    result = run_bench(scratch, tmp_path, "--parts", "methods")
    (row,) = result["methods"]
    assert row["parameters"] == models.SHAPES["1m"].parameters
    assert row["models"] == 4
    assert row["input_bytes"] == 4 * 2 * row["parameters"]
    assert row["peak_bytes"] > 10e6
    marked = "a\n<!-- smelt -->\nold\n<!-- end of smelt -->\nz"
    document = report.place_tables(marked, "smelt", report.write_markdown(result, "x.json"))
    assert "| linear |" in document
    assert "old" not in document


@pytest.mark.full
def test_a_benchmark_measures_every_part(scratch, tmp_path):
    small = ("--models-size", "1m", "--sizes", "1m", "--counts", "2", "--threads", "2")
    result = run_bench(scratch, tmp_path, *small)
    rows = {"methods": 1, "threads": 4, "models": 2, "sizes": 2, "diff": 3 if hasattr(os, "posix_fadvise") else 2}
    assert {part: len(result[part]) for part in rows} == rows


def test_a_benchmark_measures_differences(scratch, tmp_path):
    one, *cold, two = run_bench(scratch, tmp_path, "--parts", "diff")["diff"]
    assert (one["models"], one["passes"], two["models"], two["passes"]) == (2, 1, 3, 2)
    assert one["input_bytes"] == pytest.approx(2 * 2 * one["parameters"], rel=0.01)
    assert [row["case"] for row in cold] == (["diff, 2 models, from the disk"] if hasattr(os, "posix_fadvise") else [])
    assert len(report.row_of(one, None)) == len(report.MEASURED) + 1


def test_models_leave_the_page_cache_before_every_run_from_the_disk(family, scratch, monkeypatch):
    order = []
    monkeypatch.setattr(bench, "forget", lambda path: order.append(path.name))
    monkeypatch.setattr(bench, "run_process", lambda command: order.append("run") or Measured(1.0, 1, '{"inner_s": 1}'))
    measured = bench.Bench(scratch, 1, 2)
    files = [path.name for folder in (family.base, family.models[0]) for path in sorted(folder.glob("*.safetensors"))]
    pair = replace(family, models=family.models[:1])
    measured.diff(pair, from_disk=True)
    assert order == [*files, "run"] * 2
    order.clear()
    measured.diff(pair)
    assert order == ["run"] * 2


class Recording:
    """Stands in for a ``Bench`` and only says what it was asked to measure."""

    threads = 3

    def family(self, size, count):
        return models.family_of(Path("s"), size, count)

    def merge(self, case, family, threads=None):
        return case.name, family.size, 1 + len(family.models), threads


def test_what_grows():
    def pairs(rows):
        return [row for row in rows if row[0] == "ties"]

    assert pairs(bench.over_threads(Recording(), "1m")) == [("ties", "1m", 4, n) for n in (1, 2, 3)]
    assert pairs(bench.over_models(Recording(), "1m", (2, 4))) == [("ties", "1m", n, None) for n in (2, 4)]
    assert pairs(bench.over_sizes(Recording(), ("1m", "7m"))) == [("ties", s, 2, None) for s in ("1m", "7m")]


def test_clean_deletes_the_scratch_folder(tmp_path):
    (tmp_path / "s" / "models").mkdir(parents=True)
    assert bench.main(["--clean", "--scratch", str(tmp_path / "s")]) == 0
    assert not (tmp_path / "s").exists()


def test_tables_of_a_benchmark_have_medians_of_ratios():
    row = {"case": "ties", "models": 4, "threads": 2, "parameters": 10**9, "passes": 2, "first_s": 9.0}
    row |= {"smelt_s": [2.8, 4.8, 3.8], "floor_s": [2.0, 2.0, 4.0], "floor_inner_s": [1.0, 2.0, 3.0]}
    row |= {"input_bytes": 8 * 10**9, "written_bytes": 2 * 10**9, "peak_bytes": 2 * 10**8}
    cells = ("ties", "3.80 s", "2.00 s", "1.40", "2.00", "9.00 s", "3.80", "2.63", "200 MB", "2")
    assert report.row_of(row, None) == cells


def test_tables_of_a_comparison():
    took = {"smelt_s": 2.0, "peer_s": 20.0, "smelt_peak_bytes": 1e9, "peer_peak_bytes": 4e9}
    same = {"absolute": 1e-8, "relative": 1e-7, "distance": 1e-8, "unequal": 0.5, "worst": "w", "remark": ""}
    common = {"size": "1m", "dtype": "float32", "random": True}
    rows = [{"case": "dare_ties", **common, **took, "difference": same}, {"case": "ram", **common, "failed": "why"}]
    (sheet,) = report.tabulate_peers(rows)
    cells = ("2.0 s", "20.0 s", "10.0", "1.00 GB", "4.00 GB", "4.0", "1.0e-08", "1.0e-07", "1.0e-08", "50.0%")
    assert sheet.rows[0] == ("dare_ties", *cells, "statistical")
    assert sheet.rows[1][-1] == "failed: why"
