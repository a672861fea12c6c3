"""A finish that is stopped at any of its steps, and the start that finds it so."""

import re
import shutil
from contextlib import suppress

import pytest
from interruptible import LINEAR, contents

import smelt
import tiny
from smelt.errors import InputError
from smelt.running import output
from smelt.running.output import partial_folder

SCALED = LINEAR.replace("0.5", "0.25")


@pytest.fixture(autouse=True)
def models(here):
    for seed, name in enumerate("ab"):
        tiny.save_llama(here / name, seed)
    merge(SCALED, "same")
    merge(LINEAR, "other")


def merge(recipe=SCALED, into="out", **options):
    return smelt.merge(recipe, into, threads=1, **options)


def left_beside(here):
    return sorted(p.name for p in here.iterdir() if p.name.startswith("out"))


class Killed(BaseException):
    """Stands for the end of the process."""


STEPS = ("sync", "journal", "rename 1", "rename 2", "delete", "clear")


@pytest.mark.parametrize("replaces", [False, True])
@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("later", ["same", "other", "forced other"])
def test_stopped_at_each_step_of_the_finish(here, monkeypatch, replaces, step, later):
    expected = {name: contents(name) for name in ("same", "other")}
    (here / "out.old").mkdir()
    (here / "out.old" / "thesis").write_text("mine")
    if replaces:
        merge(LINEAR)
    reached = _stop_at(monkeypatch, step, partial_folder(here / "out"))
    try:
        merge(force=replaces)
    except Killed:
        assert reached
    monkeypatch.undo()
    monkeypatch.chdir(here)
    if later == "same":
        try:
            merge()
        except InputError:
            assert contents("out") == expected["same"]
        assert contents("out") == expected["same"]
    else:
        try:
            merge(LINEAR, force=later != "other")
            assert contents("out") == expected["other"]
        except InputError as error:
            assert later == "other"
            refused = re.search("interrupted run of another merge is in|exists", str(error))
            assert refused
            assert not (here / "out").exists() or contents("out") in expected.values()
    assert (here / "out.old" / "thesis").read_text() == "mine"
    assert not (here / "out.old1").exists()
    if later != "other":
        assert left_beside(here) == ["out", "out.old"]


def _stop_at(monkeypatch, step, partial):
    """Stop before a step of the finish; the errors of a killed process go unseen."""
    reached = []

    def stop_before(place, name, when):
        function = getattr(place, name)

        def guarded(*arguments, **options):
            if when(*arguments):
                reached.append(step)
                raise Killed
            return function(*arguments, **options)

        monkeypatch.setattr(place, name, guarded)

    renames = iter(range(1, 9))
    if step == "sync":
        stop_before(output, "sync_folder", lambda path: path == partial)
    elif step == "journal":
        stop_before(output.Journal, "begin_finish", lambda *_: True)
    elif step.startswith("rename"):
        stop_before(output, "rename", lambda *_: next(renames) == int(step[-1]))
    elif step == "delete":
        stop_before(shutil, "rmtree", lambda path, **_: ".old" in str(path))
    else:
        stop_before(output.Journal, "clear", lambda journal: journal.has_claims and not partial.exists())
    return reached


def test_an_output_that_came_after_an_interrupted_run_is_not_replaced(here, monkeypatch):
    _stop_at(monkeypatch, "rename 1", partial_folder(here / "out"))
    with suppress(Killed):
        merge(force=True)  # there is nothing to replace yet
    monkeypatch.undo()
    monkeypatch.chdir(here)
    partial_folder(here / "out").rename(here / "elsewhere")
    merge(LINEAR, force=True)
    shutil.rmtree(here / "elsewhere")
    expected = contents("out")
    with pytest.raises(InputError, match="exists"):
        merge()
    assert contents("out") == expected


def test_a_draft_that_was_deleted_in_the_finish_is_made_again(here, monkeypatch):
    merge(LINEAR)
    old = contents("out")
    _stop_at(monkeypatch, "rename 2", partial_folder(here / "out"))
    with suppress(Killed):
        merge(force=True)
    monkeypatch.undo()
    monkeypatch.chdir(here)
    shutil.rmtree(partial_folder(here / "out"))
    with pytest.raises(InputError, match="exists"):
        merge()
    assert contents("out") == old


@pytest.mark.parametrize("step", ["rename 2", "delete", "clear"])
@pytest.mark.parametrize(("first", "later"), [(False, True), (True, True), (False, False)])
def test_digests_of_inputs_that_come_too_late(here, monkeypatch, smelt_command, step, first, later):
    (here / "recipe.yml").write_text(SCALED)
    merge(LINEAR)
    _stop_at(monkeypatch, step, partial_folder(here / "out"))
    with suppress(Killed):
        merge(force=True, hash_inputs=first)
    monkeypatch.undo()
    monkeypatch.chdir(here)
    answer = smelt_command("merge", "recipe.yml", "out", *["--hash-inputs"] * later)
    assert answer.code == 0
    lacking = [line for line in answer.err.splitlines() if "--hash-inputs" in line]
    assert lacking == [
        "note: out: was complete but for its name, and made without --hash-inputs, so the sha256 of its inputs are "
        "not in its provenance; --force merges again, with them"
    ] * (later and not first)
    assert (b'"digestSource": "read"' in (here / "out" / "provenance.json").read_bytes()) == first
