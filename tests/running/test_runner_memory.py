"""Resident memory is set by threads × block, and not by the model."""

import json
import subprocess
import sys

import numpy as np
import pytest

LAYERS = 6
TENSORS = {
    "model.embed_tokens.weight": (128 * 1024, 2048),  # 537 MB by itself
    **{f"model.layers.{n}.mlp.up_proj.weight": (8192, 2048) for n in range(LAYERS)},
    **{f"model.layers.{n}.mlp.down_proj.weight": (2048, 8192) for n in range(LAYERS)},
    **{f"model.layers.{n}.norm.weight": (2048,) for n in range(LAYERS)},
    "lm_head.weight": (32 * 1024, 2048),
}
RECIPE = """
merge_method: METHOD
base_model: base
models: [{model: x}, {model: y}]
parameters: {weight: 0.6, density: 0.5}
"""
# On Linux ru_maxrss starts at what the parent process had, here pytest with torch; VmHWM is the process's own.
RUN = """
import os, resource, sys
import smelt
plan = smelt.plan("recipe.yml")
smelt.run(plan, "out", threads=2)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
if os.path.exists("/proc/self/status"):
    with open("/proc/self/status") as lines:
        peak = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
print(peak, plan.cost.written_bytes, plan.cost.peak_bytes(2))
"""


def write_sparse(folder, tensors, seed):
    """Write a bfloat16 checkpoint that is all holes but for a run of numbers in each tensor."""
    folder.mkdir()
    table, position = {}, 0
    for name, shape in tensors.items():
        end = position + 2 * int(np.prod(shape))
        table[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [position, end]}
        position = end
    header = json.dumps(table).encode()
    header += b" " * (-len(header) % 8)
    numbers = np.random.default_rng(seed).normal(size=4096).astype("f4").view("u2")[1::2].tobytes()
    with open(folder / "model.safetensors", "wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        file.truncate(8 + len(header) + position)
        for entry in table.values():
            file.seek(8 + len(header) + entry["data_offsets"][0])
            file.write(numbers[: entry["data_offsets"][1] - entry["data_offsets"][0]])
    return position


def peak_of(here, method, tensors):
    """Merge in a process of its own; return its peak, the bytes written and what the plan announced."""
    for seed, name in enumerate(("base", "x", "y")):
        write_sparse(here / name, tensors, seed)
    (here / "recipe.yml").write_text(RECIPE.replace("METHOD", method))
    done = subprocess.run([sys.executable, "-c", RUN], capture_output=True, text=True, check=True, cwd=here)
    return map(int, done.stdout.split())


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no resource module")
def test_a_tensor_of_a_hundred_megabytes(here):
    peak, written, announced = peak_of(here, "dare_linear", {"model.embed_tokens.weight": (12 * 1024, 4096)})
    assert written > 100e6
    assert peak < 250e6
    assert announced < 250e6


@pytest.mark.full
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no resource module")
def test_a_model_of_more_than_a_gigabyte(here):
    peak, written, announced = peak_of(here, "ties", TENSORS)
    assert written > 1e9
    assert peak < 600e6
    assert announced < 600e6
