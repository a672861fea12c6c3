"""What stands at the places of an output when a run starts: links, and every state that a stopped finish can leave."""

import os
import shutil
from contextlib import nullcontext, suppress

import pytest
from interruptible import LINEAR, contents

import smelt
import tiny
from smelt.errors import InputError, RunError
from smelt.running import output, sinks
from smelt.running.output import has_begun

SCALED = LINEAR.replace("0.5", "0.25")


class Killed(BaseException):
    """Stands for the end of the process."""


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """Two models, what is merged of them, and an output of somebody else."""
    folder = tmp_path_factory.mktemp("prepared")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for seed, name in enumerate("ab"):
            tiny.save_llama(name, seed)
        merge(LINEAR, "old")
        merge(SCALED, "new")
        merge(LINEAR.replace("0.5", "0.75"), "other")
    return folder


@pytest.fixture
def models(here, prepared):
    for name in "ab":
        shutil.copytree(prepared / name, here / name)


def merge(recipe=SCALED, into="out", **options):
    return smelt.merge(recipe, into, threads=1, **options)


def stop(monkeypatch, place, name, **options):
    """Merge, and be killed where ``place`` uses ``name``."""

    def kill(*_, **__):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(place, name, kill)
        with suppress(Killed):
            merge(**options)


def write_once_then_fail(self, *arguments):
    write_once_then_fail.write(self, *arguments)
    raise RunError("no")


write_once_then_fail.write = sinks.FileSink.write


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("target", ["thesis", "nothing", "out.partial"])
def test_a_link_in_the_place_of_the_journal(models, here, force, target):
    (here / "thesis").write_text("mine")
    (here / "out.partial.journal").symlink_to(here / target)
    with pytest.raises(
        InputError, match=r"^out: out\.partial\.journal is a link, which smelt does not follow; delete it$"
    ):
        merge(force=force)
    assert (here / "thesis").read_text() == "mine"
    assert sorted(p.name for p in here.iterdir()) == ["a", "b", "out.partial.journal", "thesis"]


@pytest.mark.parametrize("resumed", [False, True])
def test_links_in_the_draft_are_not_written_through(models, here, monkeypatch, prepared, resumed):
    monkeypatch.setattr(sinks.FileSink, "write", write_once_then_fail)
    with suppress(RunError):
        merge()
    monkeypatch.undo()
    monkeypatch.chdir(here)
    weights = here / "out.partial" / "model.safetensors"
    thesis = here / "thesis"
    thesis.write_bytes(b"\1" * weights.stat().st_size)
    before = thesis.read_bytes()
    for name in ("model.safetensors", "config.json", "provenance.json"):
        (here / "out.partial" / name).unlink(missing_ok=True)
        (here / "out.partial" / name).symlink_to(thesis)
    merge(force=not resumed)
    assert thesis.read_bytes() == before
    assert not (here / "out" / "model.safetensors").is_symlink()
    assert contents("out") == contents(prepared / "new")


def test_a_link_that_comes_into_the_draft_later_is_not_written_through(here):
    (here / "thesis").write_bytes(b"mine")
    (here / "model.safetensors").symlink_to(here / "thesis")
    with pytest.raises(OSError, match="symbolic link"):
        sinks.WeightFile(here / "model.safetensors", 4)
    assert (here / "thesis").read_bytes() == b"mine"


def test_a_file_in_the_place_of_the_draft(models, here):
    (here / "out.partial").write_text("mine")
    for force in (False, True):
        with pytest.raises(InputError, match=r"^out: out\.partial is no folder; delete it$"):
            merge(force=force)
    assert (here / "out.partial").read_text() == "mine"


# What stands at OUT.partial, OUT and OUT.old when a run is started again without --force, after one with --force was
# killed in its finish and perhaps somebody has been here: what becomes of it, and what stands at OUT and OUT.old then.
# new: the complete draft; old: what it replaces; changed: the same with a file more; other: somebody else's output.
FINISHES = [
    # as the killed run leaves it, step by step
    ("new", "old", None, "complete", "new", None),
    ("new", None, "old", "complete", "new", None),
    (None, "new", "old", "complete", "new", None),
    (None, "new", None, "complete", "new", None),
    # the draft is another one
    ("changed", "old", None, "complete", "new", None),
    ("changed", None, "old", "complete", "new", None),
    ("other", "old", None, "complete", "new", None),
    ("other", None, "old", "complete", "new", None),
    ("other", "changed", "old", "exists", "changed", "old"),
    ("link", "old", None, "link", "old", None),
    ("link", None, "old", "link", "old", None),
    # the draft is gone
    (None, "old", None, "exists", "old", None),
    (None, None, "old", "exists", "old", None),
    (None, None, None, "complete", "new", None),
    # the output is another one
    ("new", "other", "old", "exists", "other", "old"),
    ("new", "other", None, "exists", "other", None),
    (None, "other", "old", "exists", "other", "old"),
    (None, "changed", "old", "exists", "changed", "old"),
    # what stands at OUT.old is another one
    ("new", "old", "other", "complete", "new", "other"),
    ("new", None, "other", "complete", "new", "other"),
    (None, "new", "other", "complete", "new", "other"),
    (None, None, "other", "complete", "new", "other"),
    ("new", None, None, "complete", "new", None),
]

REFUSALS = {"exists": "^out: exists; choose", "link": r"^out: out\.partial is a link, which smelt does not follow"}


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize(("draft", "out", "old", "outcome", "out_then", "old_then"), FINISHES)
def test_each_state_of_a_finish(
    models, here, prepared, monkeypatch, force, draft, out, old, outcome, out_then, old_then
):
    shutil.copytree(prepared / "old", "out")
    stop(monkeypatch, output, "rename", force=True)
    assert (here / "out.partial.journal").read_text().count('"draft"') == 1
    kinds = {"new": here / "out.partial", "old": here / "out", "other": prepared / "other"}
    for kind in ("new", "old"):  # renaming keeps what a folder is known by
        kinds[kind] = kinds[kind].rename(here / f"the {kind}")
    for place, kind in (("out.partial", draft), ("out", out), ("out.old", old)):
        put(here / place, kind, kinds)
    shown = {kind: contents(path) for kind, path in {"new": prepared / "new", "old": prepared / "old"}.items()}
    shown |= {"other": contents(prepared / "other"), "changed": {**shown["new"], "more": b""}, None: None}
    if outcome == "exists" and force:
        outcome, out_then = "complete", "new"
    with pytest.raises(InputError, match=REFUSALS[outcome]) if outcome in REFUSALS else nullcontext():
        merge(force=force)
    assert look(here / "out") == shown[out_then]
    assert look(here / "out.old") == shown[old_then]


def put(place, kind, kinds):
    if kind == "other":
        shutil.copytree(kinds[kind], place)
    elif kind == "changed":
        kinds["new"].rename(place)
        (place / "more").touch()
    elif kind == "link":
        place.symlink_to(kinds["new"])
    elif kind:
        kinds[kind].rename(place)


def look(place):
    return contents(place) if place.exists() else None


@pytest.mark.parametrize("name", ["../x", "thesis", "out.old/../thesis", "out.old.."])
def test_nothing_but_an_old_output_is_deleted(models, here, monkeypatch, name):
    shutil.copytree("a", "out")
    stop(monkeypatch, output, "rename", force=True)
    (here / "thesis").mkdir()
    (here / "thesis" / "chapter").write_text("mine")
    journal = here / "out.partial.journal"
    number = os.stat(here / "thesis").st_ino
    *rest, finish = journal.read_text().splitlines(keepends=True)
    finish = finish.replace('"out.old"', f'"{name}"').replace(str(os.stat(here / "out").st_ino), str(number))
    journal.write_text("".join(rest) + finish)
    shutil.rmtree(here / "out")
    (here / "out.partial").rename(here / "out")
    with suppress(InputError):
        merge()
    assert (here / "thesis" / "chapter").read_text() == "mine"


def test_an_old_output_comes_back_where_its_renaming_fails_late(models, here, monkeypatch, prepared):
    shutil.copytree(prepared / "old", "out")
    rename = output.rename
    steps = iter((rename,))

    def rename_then_fail(*places):
        next(steps, rename)(*places)
        if places[1].name == "out.old":
            raise RunError("the folder cannot be synced")

    monkeypatch.setattr(output, "rename", rename_then_fail)
    with pytest.raises(RunError, match="synced"):
        merge(force=True)
    assert contents("out") == contents(prepared / "old")


def test_whether_a_run_has_begun(models, here, monkeypatch):
    plan, other = smelt.plan(SCALED), smelt.plan(LINEAR)
    assert not has_begun(plan, "out")
    monkeypatch.setattr(sinks.FileSink, "write", write_once_then_fail)
    with suppress(RunError):
        merge()
    assert has_begun(plan, "out")
    assert not has_begun(other, "out")
    (here / "link").symlink_to("out")
    assert has_begun(plan, "link")
    monkeypatch.undo()
    monkeypatch.chdir(here)
    merge()
    assert not has_begun(plan, "out")
