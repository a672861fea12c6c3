"""The folder that appears only when it is complete: refusals, replacement, and what an interruption leaves."""

import errno
import os
import shutil
from dataclasses import replace

import numpy as np
import pytest

import smelt
import tiny
from smelt.errors import InputError, RunError, SmeltError
from smelt.planning import plan as planning
from smelt.running import output, runner
from smelt.running.runner import Pace, run_plan
from smelt.tensors import platform

COPY = "merge_method: passthrough\nmodels: [{model: a}]\n"
SCALED = COPY + "parameters: {scale: 2}\n"


@pytest.fixture(autouse=True)
def models(here):
    tiny.save_llama(here / "a", 0)
    tiny.save_llama(here / "b", 1)


def names(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_an_output_that_exists(here):
    (here / "out").mkdir()
    smelt.merge(COPY, "out")  # an empty folder is no loss
    before = tiny.read("out")
    with pytest.raises(InputError, match=r"^out: exists; choose another folder, or replace it with --force$"):
        smelt.merge(SCALED, "out")
    (here / "file").write_text("")
    for force in (False, True):
        with pytest.raises(InputError, match="file: is a file; name a folder for the output"):
            smelt.merge(COPY, "file", force=force)
    assert tiny.digest(tiny.read("out")) == tiny.digest(before)


@pytest.mark.parametrize("into", ["a", "a/inside", ".", "link", "link/inside", "sub/../a", "x"])
def test_an_output_that_is_or_holds_or_lies_in_an_input(here, into):
    (here / "link").symlink_to(here / "a")
    text = COPY
    if into == "x":  # the partial output would take the input's place
        (here / "a").rename(here / "x.partial")
        text = COPY.replace("model: a", "model: x.partial")
    before = names(here)
    for force in (False, True):
        with pytest.raises(InputError, match=r"the output may not be, hold or lie in the input '(a|x.partial)'; name"):
            smelt.merge(text, into, force=force)
    assert names(here) == before


def test_the_folder_that_holds_a_single_input_file(here):
    for into in ("a", "a/merged"):
        with pytest.raises(InputError, match="may not be, hold or lie in"):
            smelt.merge(COPY.replace("model: a", "model: a/model.safetensors"), into, force=True)


def test_the_old_output_stays_until_the_new_one_is_complete(here, monkeypatch):
    smelt.merge(COPY, "out")
    (here / "out" / "notes.txt").write_text("mine")
    (here / "out.old").mkdir()
    (here / "out.old" / "mine").write_text("kept")
    before = {path.name: path.read_bytes() for path in (here / "out").iterdir()}
    seen = []

    def look(self):
        seen.append({path.name: path.read_bytes() for path in (here / "out").iterdir()} == before)
        return complete(self)

    complete = runner.FileSink.complete
    monkeypatch.setattr(runner.FileSink, "complete", look)
    smelt.merge(SCALED, "out", force=True)
    assert seen == [True]
    assert not (here / "out" / "notes.txt").exists()
    expected = (2 * tiny.read("a")["model.norm.weight"].astype("f4")).astype(tiny.BF16)
    assert np.array_equal(tiny.read("out")["model.norm.weight"], expected)
    assert names(here / "out.old") == ["mine"]
    assert [name for name in names(here) if "partial" in name or ".old1" in name] == []


def test_an_output_behind_a_link_replaces_what_it_points_to(here):
    smelt.merge(COPY, "real/out")
    (here / "link").symlink_to(here / "real" / "out")
    smelt.merge(SCALED, "link", force=True)
    assert (here / "link").is_symlink()
    assert tiny.digest(tiny.read("real/out")) == tiny.digest(smelt.merge(SCALED))
    assert names(here / "real") == [name for name in names(here / "real") if name.startswith("out")]


def test_a_rename_that_fails_brings_the_old_output_back(here, monkeypatch):
    smelt.merge(COPY, "out")
    before = tiny.digest(tiny.read("out"))
    rename = output.rename

    def refuse(source, target):
        if source.name == "out.partial":
            raise RunError("no")
        rename(source, target)

    monkeypatch.setattr(output, "rename", refuse)
    with pytest.raises(RunError):
        smelt.merge(SCALED, "out", force=True)
    assert tiny.digest(tiny.read("out")) == before
    monkeypatch.undo()
    monkeypatch.chdir(here)
    smelt.merge(SCALED, "out")  # carries on, and was allowed to replace what is there
    assert tiny.digest(tiny.read("out")) == tiny.digest(smelt.merge(SCALED))
    assert sorted(path.name for path in here.iterdir()) == ["a", "b", "out"]


def test_a_disk_without_room(here, monkeypatch):
    usage = shutil.disk_usage(here)._replace(free=100)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(InputError, match=r"^out: 0\.0 GB will be written, and 0\.0 GB are free$"):
        smelt.merge(COPY, "out")
    assert not (here / "out").exists()


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError, RunError("No space left on device")])
@pytest.mark.parametrize("threads", [1, 4])
def test_what_stops_a_run_before_a_block_is_written_leaves_nothing(here, monkeypatch, error, threads):
    before = names(here)
    calls = []

    def fail(self, name, *_):
        calls.append(name)
        if len(calls) == 3:
            raise error

    monkeypatch.setattr(runner.FileSink, "write", fail)
    with pytest.raises(error if isinstance(error, type) else RunError):
        run_plan(smelt.plan(SCALED), "out", pace=Pace(threads))
    assert names(here) == before


def test_an_input_that_changes_after_planning(here):
    plan = smelt.plan(SCALED)
    weights = here / "a" / "model.safetensors"
    content = weights.read_bytes()
    for changed in (content[:-40], content):
        weights.unlink()
        weights.write_bytes(changed)
        with pytest.raises(SmeltError, match="'a': its files have changed since the merge was planned"):
            smelt.run(plan, "out")
        assert sorted(path.name for path in here.iterdir()) == ["a", "b"]


def test_a_partial_folder_without_a_journal(here):
    (here / "out.partial").mkdir()
    (here / "out.partial" / "model-00001-of-00002.safetensors").write_text("half")
    with pytest.raises(InputError, match=r"^out: out\.partial exists, and no journal of an interrupted run; "):
        smelt.merge(COPY, "out")
    smelt.merge(COPY, "out", force=True)
    assert "model-00001-of-00002.safetensors" not in names(here / "out")
    assert not (here / "out.partial").exists()


def test_what_is_no_model_is_never_deleted(here):
    for place in ("out", "out.partial"):
        (here / place).mkdir()
        (here / place / "thesis.txt").write_text("mine")
        with pytest.raises(InputError, match="is no model; smelt does not delete it, choose another folder"):
            smelt.merge(COPY, "out", force=True)
        assert names(here / place) == ["thesis.txt"]
        shutil.rmtree(here / place)


def test_progress_reaches_the_total(here):
    plan = smelt.plan(SCALED)
    seen = []
    smelt.run(plan, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (plan.cost.read_bytes, plan.cost.read_bytes)
    assert all(total == plan.cost.read_bytes for _, total in seen)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    with pytest.raises(InputError, match="'threads' must be at least 1, not 0"):
        smelt.run(plan, threads=0)


@pytest.mark.parametrize("moment", ["write_checksums", "write_provenance"])
@pytest.mark.parametrize("planned", [True, False])
def test_an_input_that_changes_after_the_last_block(here, monkeypatch, moment, planned):
    plan = smelt.plan(SCALED)
    if not planned:  # as for a model that was on the hub then
        plan = replace(plan, fingerprints=({},) * len(plan.checkpoints))
    write = getattr(runner, moment)

    def change_and_write(*arguments, **options):
        tiny.save_llama(here / "a", 7)
        return write(*arguments, **options)

    monkeypatch.setattr(runner, moment, change_and_write)
    with pytest.raises(RunError, match="'a': its files have changed since the merge was planned"):
        smelt.run(plan, "out")
    assert not (here / "out").exists()


def test_a_file_beside_the_weights_that_is_lost_after_planning(here):
    tiny.save_llama(here / "a", 0, files={"tokenizer.json": tiny.tokenizer(*"abcdefgh")})
    plan = smelt.plan(SCALED)
    (here / "a" / "tokenizer.json").unlink()
    with pytest.raises(RunError, match=r"tokenizer\.json"):
        smelt.run(plan, "out")


def test_a_file_system_that_syncs_no_folders(here, monkeypatch):
    def refuse(number):
        raise OSError(next(codes), "no")

    monkeypatch.setattr(os, "fsync", refuse)
    codes = iter((errno.EINVAL, errno.ENOTSUP, errno.EBADF, errno.EIO))
    for _ in range(3):
        platform.sync_folder(here)
    with pytest.raises(RunError, match="cannot be synced: no"):
        platform.sync_folder(here)


def test_what_licences_say_is_read_once(here, monkeypatch):
    found, find = [], planning.find_licensing
    monkeypatch.setattr(planning, "find_licensing", lambda *given: found.append(given) or find(*given))
    plan = smelt.plan(SCALED)
    assert plan.licensing.inputs
    smelt.run(plan, "out")
    assert len(found) == 1
