"""The files of an output: how many are open, what room they have, and what is read back of them."""

import os
import subprocess
import sys

import numpy as np
import pytest
from interruptible import contents

import smelt
import tiny
from smelt.errors import RunError
from smelt.running.schedule import Schedule
from smelt.running.sinks import FileSink

AVERAGE = "merge_method: linear\nmodels: [{model: a}, {model: b}]\nparameters: {weight: 0.5}\n"
FEW_OPEN_FILES = """
import resource, sys
from smelt.cli import main
resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100))
main(sys.argv[1:])
"""


@pytest.fixture
def models(here):
    for seed, name in enumerate("ab"):
        tiny.save_llama(here / name, seed, layers=20)


@pytest.mark.skipif(sys.platform == "win32", reason="has no limit to set")
def test_more_files_than_may_be_open(here):
    for name in "ab":
        tiny.save(here / name, {f"x{n:03}": np.full(100, n, "f4") for n in range(200)})
    (here / "recipe.yml").write_text(AVERAGE)
    arguments = ["merge", "recipe.yml", "out", "--max-shard-size", "400"]
    done = subprocess.run([sys.executable, "-c", FEW_OPEN_FILES, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert len(list((here / "out").glob("*.safetensors"))) == 200
    smelt.merge(AVERAGE, "expected", max_shard_size="400")
    assert contents("out") == contents("expected")


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="reserves nothing")
def test_a_file_that_was_never_reserved_is_when_the_run_goes_on(models, here, monkeypatch):
    write = FileSink.write

    def fail(self, *arguments):
        write(self, *arguments)
        raise RunError("no")

    with monkeypatch.context() as patch:
        patch.setattr(FileSink, "write", fail)
        with pytest.raises(RunError):
            smelt.merge(AVERAGE, "out", threads=1)
    reserved, reserve = [], os.posix_fallocate
    monkeypatch.setattr(os, "posix_fallocate", lambda *given: reserved.append(given[1:]) or reserve(*given))
    size = (here / "out.partial" / "model.safetensors").stat().st_size
    smelt.merge(AVERAGE, "out", threads=1)
    assert (0, size) in reserved


class Several:
    """A task of several blocks."""

    name, blocks = "x", 3

    def __init__(self):
        self.done = []

    def prepare(self, reader):
        """Nothing to prepare."""

    def do_block(self, number, reader):
        self.done.append(number)

    def conclude(self, reader):
        return True


def test_a_small_task_is_done_block_by_block():
    task = Several()
    schedule = Schedule([task], 1, small={"x"})
    schedule.work(None)
    schedule.raise_error()
    assert task.done == [0, 1, 2]
