"""Merges in processes of their own that end where a test wants it, and what a folder holds in the end."""

import json
import multiprocessing
import os
import resource
import signal
from pathlib import Path

import numpy as np

import smelt
import tiny
from smelt.running import journal, runner

TIES = """\
merge_method: ties
base_model: base
models: [{model: a}, {model: b}]
parameters: {density: 0.4, weight: 0.7}
dtype: float32
out_dtype: bfloat16
"""
LINEAR = "merge_method: linear\nmodels: [{model: a}, {model: b}]\nparameters: {weight: 0.5}\n"

_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload(["smelt.api"])


def save_models(here, large=2):
    """Write three models with small tensors, integers to copy, and ``large`` tensors of three blocks."""
    random = np.random.default_rng(5)
    positions = np.arange(12, dtype="i8")
    for seed, name in enumerate(("base", "a", "b")):
        arrays = tiny.llama(seed, layers=5)
        for number in range(large):
            values = random.standard_normal((600, 1000), np.float32)
            arrays[f"model.layers.{number}.mlp.up_proj.weight"] = values.astype(tiny.BF16)
        arrays["model.positions"] = positions
        tiny.save(here / name, arrays, tiny.config(5))


def contents(folder):
    """Return every file of an output by name; times are left out of the provenance."""
    files = {str(p.relative_to(folder)): p.read_bytes() for p in sorted(Path(folder).rglob("*")) if p.is_file()}
    if "provenance.json" in files:
        files["provenance.json"] = _without_times(json.loads(files["provenance.json"]))
    return files


def _without_times(value):
    if isinstance(value, dict):
        return {k: _without_times(v) for k, v in value.items() if k not in ("startedOn", "finishedOn")}
    return [_without_times(v) for v in value] if isinstance(value, list) else value


def run(*arguments, **options):
    """Merge in a process of its own, and return its exit code: 0, 1 or 2, and negative where a signal ended it."""
    process = _PROCESSES.Process(target=_merge, args=(os.getcwd(), *arguments), kwargs=options)
    process.start()
    process.join(60)
    assert process.exitcode is not None
    return process.exitcode


def _merge(folder, recipe, out, kill_at=None, count_into=None, file_limit_bytes=None, open_files=None, force=False):
    os.chdir(folder)
    if file_limit_bytes:
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_limit_bytes, resource.RLIM_INFINITY))
    if open_files:
        resource.setrlimit(resource.RLIMIT_NOFILE, (open_files, open_files))
    steps = _count_steps(kill_at)
    try:
        runner.run_plan(smelt.plan(recipe, max_shard_size="1MB"), out, threads=2, force=force)
    except smelt.SmeltError as error:
        Path("error").write_text(str(error))
        os._exit(1 if isinstance(error, smelt.InputError) else 2)
    if count_into:
        Path(count_into).write_text(str(next(steps)))
    os._exit(0)


def _count_steps(kill_at):
    """Count the steps that change the disk; at one of them half of it is done, and the process is killed."""
    steps = iter(range(1, 10**9))

    def watch(function, half=None):
        def step(*arguments, **options):
            if next(steps) == kill_at:
                if half:
                    half(*arguments)
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*arguments, **options)

        return step

    pwrite, append = os.pwrite, journal.append
    os.pwrite = watch(pwrite, lambda number, data, place: pwrite(number, data[: len(data) // 2], place))
    journal.append = watch(append, lambda file, data: append(file, data[: len(data) // 2]))
    for name in ("replace", "fsync", "unlink", "rmdir", "mkdir", "truncate", "posix_fallocate"):
        setattr(os, name, watch(getattr(os, name)))
    return steps
