"""The same bytes through the fallback for systems without positional reads and writes."""

from pathlib import Path

import smelt
import tiny
from smelt.running import hashing, sinks
from smelt.tensors import folder, platform, safetensors

TIES = """
merge_method: ties
base_model: a
models: [{model: b}, {model: c}]
parameters: {weight: 0.5, density: 0.5}
"""


def test_a_lock_around_seek_and_read_gives_the_same_bytes(here, monkeypatch):
    for seed, name in enumerate("abc"):
        tiny.save_llama(here / name, seed, layers=6)
    smelt.merge(TIES, "positional", threads=4, max_shard_size="500")
    opened = []

    def open_with_a_lock(path, mode):
        file = platform.File(Path(path), open(path, mode, buffering=0), platform.threading.Lock())  # noqa: SIM115
        opened.append(mode)
        return file

    for module in (folder, safetensors, hashing, sinks):
        monkeypatch.setattr(module, "open_file", open_with_a_lock)
    smelt.merge(TIES, "locked", threads=4, max_shard_size="500")
    assert {"rb", "x+b"} <= set(opened)
    assert tiny.contents("locked") == tiny.contents("positional")


def test_a_system_that_cannot_reserve_or_sync_folders(here, monkeypatch):
    tiny.save_llama(here / "a", 0)
    text = "merge_method: passthrough\nmodels: [{model: a}]\n"
    monkeypatch.delattr(platform.os, "posix_fallocate", raising=False)
    monkeypatch.setattr(platform, "sync_folder", lambda path: None)
    smelt.merge(text, "out")
    assert tiny.digest(tiny.read("out")) == tiny.digest(tiny.read("a"))
