"""What goes wrong while a run is at work: one line, and a draft that is carried on with once the cause is gone."""

import errno
import os
import signal
import sys

import numpy as np
import pytest
from interruptible import TIES, contents, run, save_models

import listening
import smelt
import tiny
from smelt.errors import RunError
from smelt.running import sinks
from smelt.tensors import platform

# A merge whose blocks are written, and then one after which its worker is stuck for good.
STUCK = """
import sys, time
from smelt.cli import main
from smelt.running import sinks
write, seen = sinks.FileSink.write, []
def write_then_hang(self, *arguments):
    write(self, *arguments)
    seen.append(1)
    if len(seen) > 8:
        print("stuck", flush=True)
        time.sleep(600)
sinks.FileSink.write = write_then_hang
main(sys.argv[1:])
"""


@pytest.fixture
def models(here):
    save_models(here, large=1)
    (here / "recipe.yml").write_text(TIES)


def merge(recipe=TIES, into="out", threads=1, **options):
    return smelt.merge(recipe, into, threads=threads, max_shard_size="1MB", **options)


def errors_of(said):
    return [line for line in said.splitlines() if not line.startswith("note: ")]


def after_some(count, function, fault):
    """Return a function that does its work ``count`` times, and then meets the fault."""
    left = iter(range(count))

    def step(*arguments):
        if next(left, None) is None:
            fault(*arguments)
        return function(*arguments)

    return step


def refuse(number):
    def fault(*_):
        raise OSError(number, os.strerror(number))

    return fault


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize(("call", "count"), [("pwrite", 20), ("preadv", 60)])
def test_a_disk_that_refuses(models, here, smelt_command, number, call, count):
    merge(into="expected")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, call, after_some(count, getattr(os, call), refuse(number)))
        answer = smelt_command("merge", "recipe.yml", "out", "--max-shard-size", "1MB", "--threads", 2)
    assert answer.code == 2
    (said,) = errors_of(answer.err)
    assert said.startswith("smelt: ")
    assert said.endswith(os.strerror(number))
    assert (here / "out.partial").exists()
    merge()
    assert contents("out") == contents("expected")


def test_a_disk_that_is_full_of_the_journal(models, here, monkeypatch):
    merge(into="expected")
    with monkeypatch.context() as patch:
        patch.setattr("smelt.running.journal.append", after_some(9, platform.append, half_a_line))
        with pytest.raises(RunError, match=r"out\.partial\.journal: cannot be written: No space left on device$"):
            merge(threads=2)
    merge()
    assert contents("out") == contents("expected")


def half_a_line(file, data):
    file.stream.write(data[: len(data) // 2])
    raise RunError(f"{file.path}: cannot be written: {os.strerror(errno.ENOSPC)}")


def test_without_room_at_the_start_nothing_stays(models, here, monkeypatch):
    before = sorted(here.rglob("*"))
    monkeypatch.setattr(os, "posix_fallocate", refuse(errno.ENOSPC))
    with pytest.raises(RunError, match=r"cannot be reserved at \d+ bytes: No space left on device$"):
        merge()
    assert sorted(here.rglob("*")) == before


@pytest.mark.parametrize("limit_bytes", [200_000, 1_100_000])
def test_under_a_limit_of_file_size_and_then_without(models, here, limit_bytes):
    assert run(TIES, "expected", count_into="steps") == 0
    assert run(TIES, "out", kill_at=int((here / "steps").read_text()) // 2) == -signal.SIGKILL
    for path in (here / "out.partial").glob("*.safetensors"):
        path.unlink()  # so that it has to be made anew, under the limit
    assert run(TIES, "out", file_limit_bytes=limit_bytes) == 2
    assert (here / "error").read_text().endswith("File too large")
    assert run(TIES, "out") == 0
    assert contents("out") == contents("expected")


def test_an_input_that_shrinks_and_comes_back(models, here, monkeypatch):
    merge(into="expected")
    path = here / "b" / "model.safetensors"
    content, times = path.read_bytes(), path.stat()
    write = after_some(8, sinks.FileSink.write, lambda *_: os.truncate(path, 5000))
    with monkeypatch.context() as patch:
        patch.setattr(sinks.FileSink, "write", lambda *arguments: write(*arguments))
        with pytest.raises(RunError, match=r"model\.safetensors: truncated|its files have changed"):
            merge()
    path.write_bytes(content)
    with pytest.raises(smelt.InputError, match="its input 'b' is not the same any more"):
        merge()
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    merge()
    assert contents("out") == contents("expected")


def test_an_input_that_may_not_be_opened_any_more(models, here, monkeypatch):
    merge(into="expected")

    def refuse_weights(path, *arguments):
        if path.parent.name == "b" and path.suffix == ".safetensors":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return open_file(path, *arguments)

    open_file = platform.open_file
    with monkeypatch.context() as patch:
        patch.setattr("smelt.tensors.folder.open_file", refuse_weights)
        with pytest.raises(RunError, match=r"model\.safetensors: cannot be opened any more: Permission denied$"):
            merge()
    merge()
    assert contents("out") == contents("expected")


def test_an_input_that_is_gone_at_the_end(models, here, monkeypatch):
    complete = sinks.FileSink.kept
    weights = here / "b" / "model.safetensors"

    def remove(self, *arguments):
        weights.unlink(missing_ok=True)
        return complete(self, *arguments)

    monkeypatch.setattr(sinks.FileSink, "kept", remove)
    with pytest.raises(RunError, match=r"model\.safetensors"):
        merge()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_run_whose_workers_are_stuck(models, here, number):
    merge(into="expected")
    command = [sys.executable, "-c", STUCK, "merge", "recipe.yml", "out", "--max-shard-size", "1MB", "--threads", "2"]
    process = listening.start(command)
    assert process.stdout.readline() == "stuck\n"
    process.send_signal(number)
    _, said = process.communicate(timeout=60)  # far below what the workers sleep
    assert process.returncode == 128 + number
    assert errors_of(said) == ["smelt: interrupted; the same command carries on where it stopped"]
    assert len((here / "out.partial.journal").read_text().splitlines()) >= 9
    merge()
    assert contents("out") == contents("expected")


def interrupt(*_, **__):
    raise KeyboardInterrupt


@pytest.mark.parametrize("arguments", [(), ("--force",)])
def test_what_an_interrupted_command_says(models, here, smelt_command, monkeypatch, arguments):
    command = ("merge", "recipe.yml", "out", *arguments)
    same = "the same command without --force" if arguments else "the same command"
    write = sinks.FileSink.write
    monkeypatch.setattr("smelt.running.sinks.FileSink.write", interrupt)
    answer = smelt_command(*command)
    assert (answer.code, errors_of(answer.err)) == (130, ["smelt: interrupted"])  # nothing was written
    assert not [p.name for p in here.iterdir() if p.name.startswith("out")]
    write = after_some(3, write, interrupt)
    monkeypatch.setattr("smelt.running.sinks.FileSink.write", lambda *given: write(*given))
    answer = smelt_command(*command)
    assert (answer.code, errors_of(answer.err)) == (130, [f"smelt: interrupted; {same} carries on where it stopped"])
    monkeypatch.setattr("smelt.running.output.describe_run", interrupt)
    (here / "recipe.yml").write_text(TIES.replace("0.7", "0.6"))
    answer = smelt_command(*command)
    assert errors_of(answer.err) == ["smelt: interrupted"]  # what is there is another merge's


@pytest.mark.parametrize("command", [("plan", "recipe.yml"), ("merge", "recipe.yml", "out")])
def test_what_a_command_says_that_is_interrupted_while_it_plans(models, smelt_command, monkeypatch, command):
    monkeypatch.setattr("smelt.api.plan_recipe", interrupt)
    answer = smelt_command(*command)
    assert (answer.code, answer.err) == (130, "smelt: interrupted\n")


def test_many_models_of_many_files_under_a_low_limit(here):
    for number in range(200):
        tiny.save(here / f"m{number}", {f"x{n}": np.full(50, number + n, "f4") for n in range(4)}, shards=4)
    recipe = f"merge_method: linear\nparameters: {{weight: 1}}\nmodels: {[{'model': f'm{n}'} for n in range(200)]}\n"
    assert run(recipe, "out", open_files=256) == 0
    for n, values in enumerate(tiny.read("out").values()):
        assert np.allclose(values, 99.5 + n, rtol=1e-6)


def test_files_are_kept_open_where_there_is_room(here):
    for number in range(3):
        tiny.save(here / f"m{number}", {f"x{n}": np.ones(8, "f4") for n in range(4)}, shards=4)
    checkpoint = smelt.Checkpoint("m0")

    for limit, kept in ((1024, 4), (4, 0)):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("smelt.tensors.folder.count_allowed_files", lambda limit=limit: limit)
            for name in checkpoint.specs:
                buffer = np.zeros(8, "f4")
                checkpoint.read(name, 0, buffer)
                assert buffer.tolist() == [1] * 8
        assert len(checkpoint._opened._open) == kept
        checkpoint.close()
