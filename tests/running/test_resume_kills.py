"""A run that is killed at any moment: what the next one makes of it is what an uninterrupted one makes."""

import random
import shutil
from contextlib import suppress
from pathlib import Path

import pytest
from interruptible import LINEAR, TIES, contents, run, save_models

import smelt
from smelt.running.output import journal_file


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Models, and a folder of what an uninterrupted run makes of them."""
    folder = tmp_path_factory.mktemp("models")
    save_models(folder, large=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert run(TIES, "expected", count_into="steps") == 0
        assert run(LINEAR, "other") == 0
    return folder


def kill_and_resume(folder, seed, force, monkeypatch):
    """Kill a run up to three times, each at a random step, and carry on with it to its end."""
    monkeypatch.chdir(folder)
    steps, choice = int((folder / "steps").read_text()), random.Random(seed)
    old = contents("other")
    if force:
        shutil.copytree("other", "out")
    for number in range(choice.randint(1, 3)):
        # A resumed run takes fewer steps; the last ones are the finish, which is to be hit often.
        step = choice.choice([choice.randint(1, steps), steps - choice.randint(0, 40)])
        code = run(TIES, "out", kill_at=step, force=force and not number)
        assert code in (0, 1, -9)
        if (folder / "out").exists():
            assert contents("out") in (old, contents("expected")), "a folder that is not complete"
    finish("out", force, old)
    assert contents("out") == contents("expected")
    left = {p.name for p in folder.iterdir()} - {"error"}
    assert left == {"base", "a", "b", "expected", "other", "steps", "out"}
    shutil.rmtree("out")


def finish(out, force, old):
    journal = journal_file(Path(out).absolute())
    unbegun = force and contents(out) == old and not (journal.exists() and b"\n" in journal.read_bytes())
    with suppress(smelt.InputError):  # it exists, complete
        smelt.merge(TIES, out, max_shard_size="1MB", threads=2, force=unbegun)


@pytest.mark.parametrize("seed", range(10))
def test_killed_at_random_moments(models, monkeypatch, seed):
    kill_and_resume(models, seed, seed % 2 == 1, monkeypatch)


@pytest.mark.full
@pytest.mark.parametrize("seed", range(10, 110))
def test_killed_at_many_random_moments(models, monkeypatch, seed):
    kill_and_resume(models, seed, seed % 2 == 1, monkeypatch)
