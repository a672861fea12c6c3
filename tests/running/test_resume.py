"""Carrying on with a run that was stopped: what is believed, what is done again, and what is refused."""

import json
import shutil

import numpy as np
import pytest
from interruptible import LINEAR, TIES, contents, run, save_models

import smelt
import tiny
from smelt.errors import InputError, RunError
from smelt.running import output, runner, sinks
from smelt.running.nonfinite import NonFiniteWarning
from smelt.running.output import journal_file

WHOLE_MODEL = TIES.replace("density: 0.4", "density: 0.4, scope: model")


@pytest.fixture(autouse=True)
def models(here):
    save_models(here, large=1)


@pytest.fixture
def stop_after(monkeypatch):
    """Let the sink fail after a number of writes; without one it works again."""
    write = sinks.FileSink.write

    def stop(count, error=None):
        left = iter(range(count)) if count is not None else None

        def write_or_stop(self, *arguments):
            if left is not None and next(left, None) is None:
                raise error or RunError("no")
            write(self, *arguments)

        monkeypatch.setattr(sinks.FileSink, "write", write_or_stop)

    return stop


def merge(recipe=TIES, into="out", threads=1, **options):
    return smelt.merge(recipe, into, threads=threads, max_shard_size="1MB", **options)


def left_beside(here):
    return sorted(p.name for p in here.iterdir() if p.name.startswith("out"))


def written(monkeypatch):
    """Return the list of what is written from now on."""
    seen, write = [], sinks.FileSink.write

    def note(self, name, start, *rest):
        seen.append((name, start))
        write(self, name, start, *rest)

    monkeypatch.setattr(sinks.FileSink, "write", note)
    return seen


@pytest.mark.parametrize("error", [RunError("no"), KeyboardInterrupt()])
def test_only_what_is_missing_is_done(here, stop_after, monkeypatch, error):
    merge(into="expected")
    stop_after(7, error)
    with pytest.raises(type(error)):
        merge()
    assert left_beside(here) == ["out.partial", "out.partial.journal"]
    claims = len((here / "out.partial.journal").read_text().splitlines()) - 1
    assert claims == 7
    stop_after(None)
    seen = written(monkeypatch)
    merge()
    total = len(seen) + claims
    assert contents("out") == contents("expected")
    assert left_beside(here) == ["out"]
    shutil.rmtree("out")
    seen.clear()
    merge()
    assert len(seen) == total


def test_answers_about_the_whole_model(here, stop_after):
    merge(WHOLE_MODEL, "expected")
    for count in (1, 5, 9):
        stop_after(count)
        with pytest.raises(RunError):
            merge(WHOLE_MODEL)
    stop_after(None)
    merge(WHOLE_MODEL, threads=3)
    assert contents("out") == contents("expected")


def test_with_other_reads_threads_and_orders(here, stop_after):
    merge(into="expected")
    plan = smelt.plan(TIES, max_shard_size="1MB")
    backwards = runner.Pace(3, span=4096, tile=1024, order=lambda count: range(count)[::-1])
    stop_after(12)
    with pytest.raises(RunError):
        runner.run_plan(plan, "out", pace=backwards)
    stop_after(None)
    merge(threads=2)
    assert contents("out") == contents("expected")


@pytest.mark.parametrize("recipe", [TIES, "merge_method: passthrough\nmodels: [{model: a}]\n"])
def test_what_was_counted_in_kept_blocks_is_known(here, stop_after, monkeypatch, recipe):
    arrays = {name: array.copy() for name, array in tiny.read("a").items()}
    for name in ("model.norm.weight", "model.layers.0.mlp.up_proj.weight"):
        arrays[name].reshape(-1)[:3] = np.nan
    tiny.save("a", arrays, tiny.config(5))
    plan = smelt.plan(recipe, max_shard_size="1MB")

    def merge_it(into):
        with pytest.warns(NonFiniteWarning) as said:
            runner.run_plan(plan, into, threads=1, non_finite="report")
        return str(said[0].message)

    expected = merge_it("expected")
    for count in (20, 1):  # in the middle of the large tensor
        stop_after(count)
        with pytest.raises(RunError):
            runner.run_plan(plan, "out", threads=1, non_finite="report")
    stop_after(None)
    seen = written(monkeypatch)
    assert merge_it("out") == expected
    assert len(seen) == 1
    assert contents("out") == contents("expected")


def test_a_block_that_was_damaged_is_done_again(here, stop_after, monkeypatch):
    merge(into="expected")
    stop_after(20)
    with pytest.raises(RunError):
        merge()
    stop_after(None)
    claimed = [json.loads(line)[:2] for line in (here / "out.partial.journal").read_text().splitlines()[1:]]
    for name, start in (claimed[2], claimed[-1]):
        damage(here / "out.partial", name, start)
    seen = written(monkeypatch)
    merge(threads=2)
    assert sorted(w for w in seen if list(w) in claimed) == sorted([tuple(claimed[2]), tuple(claimed[-1])])
    assert contents("out") == contents("expected")


def damage(folder, name, start):
    """Change a bit of a tensor's byte ``start``."""
    for path in folder.glob("*.safetensors"):
        content = bytearray(path.read_bytes())
        data = 8 + int.from_bytes(content[:8], "little")
        entry = json.loads(content[8:data]).get(name)
        if entry:
            content[data + entry["data_offsets"][0] + start] ^= 1
            path.write_bytes(content)


def test_files_that_are_missing_or_have_another_size(here, stop_after):
    merge(into="expected")
    stop_after(15)
    with pytest.raises(RunError):
        merge()
    stop_after(None)
    files = sorted((here / "out.partial").glob("*.safetensors"))
    assert len(files) > 1
    files[0].unlink()
    files[1].write_bytes(b"short")
    (here / "out.partial" / "sub").mkdir()
    (here / "out.partial" / "stray.txt").write_text("no file of this merge")
    merge()
    assert contents("out") == contents("expected")


def test_a_draft_that_is_gone(here, stop_after):
    merge(into="expected")
    stop_after(5)
    with pytest.raises(RunError):
        merge()
    stop_after(None)
    shutil.rmtree("out.partial")
    merge(LINEAR)
    merge(force=True)
    assert contents("out") == contents("expected")


def test_another_merge_in_the_same_place(here, stop_after):
    stop_after(5)
    with pytest.raises(RunError):
        merge()
    stop_after(None)
    before = contents("out.partial")
    with pytest.raises(InputError, match=r"^out: an interrupted run of another merge is in out\.partial: its plan is"):
        merge(LINEAR)
    with pytest.raises(InputError, match=r"its files are laid out otherwise .*; carry on with that one, choose"):
        smelt.merge(TIES, "out")
    arrays = (here / "a" / "model.safetensors").read_bytes()
    (here / "a" / "model.safetensors").unlink()
    (here / "a" / "model.safetensors").write_bytes(arrays)
    with pytest.raises(InputError, match=r"its input 'a' is not the same any more \(model\.safetensors\); carry on"):
        merge()
    assert contents("out.partial") == before
    merge(LINEAR, force=True)
    assert left_beside(here) == ["out"]
    merge(LINEAR, "expected")
    assert contents("out") == contents("expected")


def test_who_started_with_force_carries_on_without_it(here, stop_after):
    merge(into="expected")
    merge(LINEAR)
    old = contents("out")
    stop_after(5)
    with pytest.raises(RunError):
        merge(force=True)
    stop_after(None)
    assert contents("out") == old
    merge()
    assert contents("out") == contents("expected")
    with pytest.raises(InputError, match="out: exists; choose another"):
        merge()


def test_two_runs_at_once(here, stop_after, monkeypatch):
    refusals, write = [], sinks.FileSink.write

    def run_another(self, *arguments):
        if not refusals:
            for force in (False, True):
                with pytest.raises(InputError) as refusal:
                    merge(force=force)
                refusals.append(str(refusal.value))
            assert run(TIES, "out") == 1
        write(self, *arguments)

    monkeypatch.setattr(sinks.FileSink, "write", run_another)
    merge()
    assert refusals == ["out: another run is writing it; wait for its end, or choose another folder"] * 2
    assert left_beside(here) == ["out"]


def test_arrays_in_memory_start_again(here, stop_after):
    arrays = {f"x{n}": np.full(10, n, np.float32) for n in range(9)}
    plan = smelt.plan(2 * smelt.Checkpoint(arrays))
    stop_after(4)
    with pytest.raises(RunError):
        smelt.run(plan, "out", threads=1)
    assert left_beside(here) == []


def test_a_mount_point_is_refused_before_the_run(here, monkeypatch):
    (here / "out").mkdir()
    ismount = output.os.path.ismount
    monkeypatch.setattr(output.os.path, "ismount", lambda p: str(p).endswith("/out") or ismount(p))
    with pytest.raises(InputError, match=r"^out: is a mount point, whose place no folder can take; name a folder ins"):
        merge(force=True)
    assert left_beside(here) == ["out"]


def test_room_that_the_draft_has_already_is_not_asked_for_again(here, stop_after, monkeypatch):
    stop_after(5)
    with pytest.raises(RunError):
        merge()
    stop_after(None)
    usage = shutil.disk_usage(here)._replace(free=100)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    merge()
    assert left_beside(here) == ["out"]


def test_a_journal_without_its_draft_is_no_hindrance(here):
    journal_file(here / "out").write_text("torn")
    merge()
    assert left_beside(here) == ["out"]


def test_what_came_in_the_place_of_the_output_is_not_deleted(here, monkeypatch):
    merge()
    complete = sinks.FileSink.complete

    def complete_meanwhile(self):
        (here / "out").rename("kept")
        (here / "out").mkdir()
        (here / "out" / "thesis.txt").write_text("the only copy")
        return complete(self)

    monkeypatch.setattr(sinks.FileSink, "complete", complete_meanwhile)
    with pytest.raises(RunError, match="out: came while the merge ran; move it away"):
        merge(force=True)
    assert (here / "out" / "thesis.txt").read_text() == "the only copy"
