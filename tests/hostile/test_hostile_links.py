"""Links in a model's folder that lead out of it."""

import pytest
from refusals import RECIPE, refuse, write_models

import smelt
import tiny
from smelt.errors import SmeltError
from smelt.tensors import links


def test_weights_of_ones_own_may_be_links_and_files_that_are_copied_may_not(here):
    write_models(here)
    (here / "elsewhere").mkdir()
    (here / "b" / "model.safetensors").rename(here / "elsewhere" / "w")
    (here / "b" / "model.safetensors").symlink_to(here / "elsewhere" / "w")
    (here / "b").rename(here / "real")
    (here / "b").symlink_to(here / "real")
    assert smelt.plan(RECIPE).outputs
    (here / "secret").write_text("{}")
    (here / "a" / "generation_config.json").symlink_to(here / "secret")
    with pytest.raises(SmeltError, match=r"a: generation_config.json: a link that leads out of its folder"):
        smelt.merge(RECIPE, here / "out")
    assert not (here / "out").exists()
    (here / "a" / "generation_config.json").unlink()
    (here / "a" / "config.json").rename(here / "a" / "inside.txt")
    (here / "a" / "config.json").symlink_to("inside.txt")
    assert smelt.plan(RECIPE).config
    (here / "a" / "config.json").unlink()
    (here / "a" / "config.json").symlink_to(here / "real" / "config.json")
    assert "config.json: a link that leads out of its folder" in refuse()


def write_snapshot(cache, commit="c" * 40):
    """Write a model as the hub's cache keeps it, and return the snapshot and the folder of the blobs."""
    repository = cache / "models--org--name"
    snapshot, blobs = repository / "snapshots" / commit, repository / "blobs"
    tiny.save_llama(repository / "plain", 1)
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    for number, path in enumerate(sorted((repository / "plain").iterdir())):
        path.rename(blobs / str(number))
        (snapshot / path.name).symlink_to(f"../../blobs/{number}")
    (repository / "plain").rmdir()
    return snapshot, blobs


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_snapshot_leads_into_its_own_repository_only(here, name):
    snapshot, blobs = write_snapshot(here)
    links.check_snapshot(snapshot, "org/name")
    assert smelt.Checkpoint(snapshot).config
    (here / "outside").write_bytes((blobs / "1").read_bytes())
    (snapshot / name).unlink(missing_ok=True)
    (snapshot / name).symlink_to("../../../outside")
    with pytest.raises(smelt.InputError, match=f"^org/name: {name}: a link that leads out of its folder"):
        links.check_snapshot(snapshot, "org/name")


@pytest.mark.parametrize("path", ["snapshots/m", "models--x/snapshots/m", f"x/snapshots/{'c' * 40}"])
def test_a_folder_that_only_looks_like_a_snapshot_leads_nowhere(here, path):
    tiny.save_llama(here / path, 0)
    (here / "secret").write_text("x")
    (here / path).parent.with_name("blobs").mkdir()
    ((here / path).parent.with_name("blobs") / "0").write_text("x")
    for target in (here / "secret", "../../blobs/0"):
        (here / path / "LICENSE").unlink(missing_ok=True)
        (here / path / "LICENSE").symlink_to(target)
        with pytest.raises(smelt.InputError, match="LICENSE: a link that leads out of its folder"):
            smelt.Checkpoint(here / path).read_file("LICENSE")


def test_blobs_that_are_a_link_themselves_lead_nowhere(here):
    snapshot, blobs = write_snapshot(here)
    blobs.rename(here / "elsewhere")
    blobs.symlink_to(here / "elsewhere")
    with pytest.raises(smelt.InputError, match="a link that leads out of its folder"):
        links.check_snapshot(snapshot, "org/name")


def test_a_link_to_nothing_is_an_absent_file_and_a_link_to_itself_is_refused(here):
    write_models(here)
    (here / "b" / "gone.json").symlink_to("/nowhere")
    assert smelt.Checkpoint("b").files == ("config.json",)
    assert smelt.plan(RECIPE).outputs
    (here / "b" / "loop.json").symlink_to("loop.json")
    assert "b: cannot be read: Too many levels of symbolic links" in refuse()
