"""The sha256 of the files of an output, computed while they are being written."""

import hashlib
import shutil
import subprocess
import threading
from itertools import pairwise

import numpy as np
import pytest

import smelt
import tiny
from smelt.errors import RunError
from smelt.running import hashing
from smelt.running.companions import write_checksums
from smelt.running.hashing import Follower, Prefix

AVERAGE = "merge_method: linear\nmodels: [{model: a}, {model: b}]\nparameters: {weight: 0.5}\n"


def content_of(size):
    return np.random.default_rng(size).integers(0, 256, size, np.uint8).tobytes()


@pytest.mark.parametrize("size", [0, 1, 63, 64, 1000, 4096])
@pytest.mark.parametrize("seed", range(3))
def test_parts_in_any_order_by_many_threads(tmp_path, monkeypatch, size, seed):
    monkeypatch.setattr(hashing, "STEP_BYTES", 64)
    monkeypatch.setattr(hashing, "FLUSH_BYTES", 128)
    path, content = tmp_path / "file", content_of(size)
    path.write_bytes(bytes(size))
    rng = np.random.default_rng(seed)
    cuts = sorted([0, *(int(c) for c in rng.integers(0, size + 1, 20)), size])
    parts = list(pairwise(cuts))
    rng.shuffle(parts)
    follower = Follower(path, size)

    def write(mine):
        with open(path, "r+b", buffering=0) as file:
            for start, stop in mine:
                file.seek(start)
                file.write(content[start:stop])
                follower.add(start, stop)

    threads = [threading.Thread(target=write, args=(parts[n::3],)) for n in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    follower.release()
    assert follower.finish() == hashlib.sha256(content).hexdigest()


def test_the_prefix_grows_over_what_has_no_gap():
    prefix = Prefix()
    ends = []
    for start, stop in ((4, 6), (0, 0), (2, 4), (6, 6), (0, 2), (9, 10), (6, 9)):
        prefix.add(start, stop)
        ends.append(prefix.end)
    assert ends == [0, 0, 0, 0, 6, 6, 10]


def test_a_follower_that_is_given_up_ends(tmp_path):
    (tmp_path / "file").write_bytes(bytes(10))
    before = threading.active_count()
    follower = Follower(tmp_path / "file", 10)
    follower.stop()
    follower.stop()
    assert threading.active_count() == before


def test_a_file_that_is_cut_off(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(bytes(10))
    follower = Follower(path, 20)
    follower.release()
    with pytest.raises(RunError, match="file: truncated"):
        follower.finish()


@pytest.mark.parametrize("threads", [1, 3])
def test_the_checksums_of_an_output(here, threads):
    for seed, name in enumerate("ab"):
        tiny.save_llama(here / name, seed, layers=6)
    smelt.merge(AVERAGE, "out", threads=threads, max_shard_size="500")
    own = ("checksums.sha256", "provenance.json")
    files = sorted(path for path in (here / "out").iterdir() if path.name not in own)
    assert sum(path.suffix == ".safetensors" for path in files) == 2
    expected = "".join(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in files)
    assert (here / "out" / "checksums.sha256").read_bytes() == expected.encode()


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="needs sha256sum")
def test_sha256sum_takes_them(tmp_path):
    names = ["plain", "with two  spaces", "ümlaut", "back\\slash", "line\nbreak", "\\n"]
    for name in names:
        (tmp_path / name).write_bytes(name.encode())
    write_checksums(tmp_path, {name: hashlib.sha256(name.encode()).hexdigest() for name in names})
    done = subprocess.run(["sha256sum", "-c", "--strict", "checksums.sha256"], cwd=tmp_path, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(b": OK") == len(names)


def test_a_follower_that_waits_keeps_no_file_open(tmp_path, monkeypatch):
    monkeypatch.setattr(hashing, "STEP_BYTES", 4)
    opened = []

    def open_and_note(*arguments):
        opened.append(open_file(*arguments))
        return opened[-1]

    open_file = hashing.open_file
    monkeypatch.setattr(hashing, "open_file", open_and_note)
    (tmp_path / "file").write_bytes(b"12345678")
    follower = Follower(tmp_path / "file", 8)
    assert opened == []
    follower.add(0, 8)
    assert follower.finish() == hashlib.sha256(b"12345678").hexdigest()
    assert [file.stream.closed for file in opened] == [True]
