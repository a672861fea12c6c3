import os
from pathlib import Path

import pytest

from smelt.errors import InputError
from smelt.tensors.locating import Location, locate


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "home"))
    (tmp_path / "home" / "mine").mkdir(parents=True)


@pytest.mark.parametrize(
    ("text", "location"),
    [
        ("org/name", Location(repository="org/name")),
        ("gpt2", Location(repository="gpt2")),
        ("01-ai/Yi-1.5_x", Location(repository="01-ai/Yi-1.5_x")),
        ("org/name@v1.0", Location(repository="org/name", revision="v1.0")),
        ("org/name@refs/pr/1", Location(repository="org/name", revision="refs/pr/1")),
        ("org/name+o/lora", Location(repository="org/name", adapter="o/lora")),
        ("org/name@a+o/lora@b", Location(repository="org/name", revision="a", adapter="o/lora@b")),
        ("~/mine", Location(path=Path("home/mine"))),
        ("~/mine+o/lora", Location(path=Path("home/mine"), adapter="o/lora")),
    ],
)
def test_references(text, location, tmp_path):
    found = locate(text)
    if location.path is not None:
        assert found == Location(path=tmp_path / location.path, adapter=location.adapter)
    else:
        assert found == location


@pytest.mark.parametrize(
    "name",
    ["org/name", "a+b", "a@b", "a@b+c@d", "C:\\models\\x", "C:/x", "with blank", "~strange", "é", "a/b/c", "x++", "@"],
)
def test_what_exists_on_disk_wins(name):
    os.makedirs(name)
    assert locate(name) == Location(path=Path(name))
    assert locate(f"./{name}").path == Path(f"./{name}")
    assert locate(f"{name}+o/lora") == Location(path=Path(name), adapter="o/lora")


def test_the_longest_path_on_disk_is_the_model_and_the_rest_the_adapter():
    for name in ("base", "base+x"):
        os.mkdir(name)
    assert locate("base+x+y") == Location(path=Path("base+x"), adapter="y")
    assert locate("base+lo+ra") == Location(path=Path("base"), adapter="lo+ra")


def test_a_revision_beside_the_text():
    assert locate("org/name", "v1") == Location(repository="org/name", revision="v1")
    assert locate("org/name@v1", "v1") == Location(repository="org/name", revision="v1")
    with pytest.raises(InputError, match="names the revision 'v1', and 'v2' is given as well"):
        locate("org/name@v1", "v2")


def test_a_local_path_has_no_revision():
    os.mkdir("model")
    message = r"^'model' is a local path and cannot have a revision \('v1'\)$"
    for arguments in (("model", "v1"), ("model@v1",), ("model@v1+o/lora",)):
        with pytest.raises(InputError, match=message):
            locate(*arguments)


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "./x", "../x", "a/b/c", "/x", "x/", "org/", "C:\\x", "C:/x", "a b", "a--b/c", "a..b", "org/name@",
        "./x+o/lora", "a/b/c@v1", "org/.x", "-x", "é/x", "a\0b", "@v1", "+o/lora",
    ],
)  # fmt: skip
def test_what_can_only_be_local_and_is_not_there(text):
    with pytest.raises(InputError, match="no such file or folder"):
        locate(text)


def test_the_nearest_sibling_is_named():
    os.makedirs("models/mistral-instruct")
    with pytest.raises(InputError, match=r"folder; did you mean 'models/mistral-instruct'\?$"):
        locate("models/mistral-instrct/")
    with pytest.raises(InputError, match=r"folder \('modles' does not exist either\)\.$"):
        locate("./modles/mistral-instruct")
