"""The documentation runs: what README.md shows is executed, and no file is missing from the layout."""

import os
import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language):
    fences = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    return [text for name, text in fences if name == language]


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    """A folder that looks like the repository's root, with the README's recipe in it."""
    os.symlink(ROOT / "examples", tmp_path / "examples", target_is_directory=True)
    (recipe,) = blocks("yaml")
    (tmp_path / "recipe.yml").write_text(recipe, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_commands_of_the_readme(workplace):
    commands = [line.split("#")[0] for block in blocks("") for line in block.splitlines() if line.startswith("smelt ")]
    assert len(commands) == 3
    for command in commands:
        arguments = [sys.executable, "-m", "smelt.cli", *shlex.split(command)[1:]]
        result = subprocess.run(arguments, capture_output=True, text=True, encoding="utf-8", check=False)
        assert result.returncode == 0, (command, result.stderr)
    assert {"model.safetensors", "config.json", "tokenizer.json", "README.md", "smelt_recipe.yml"} <= {
        path.name for path in (workplace / "merged").iterdir()
    }


def test_the_python_of_the_readme(workplace):
    (code,) = blocks("python")
    exec(compile(code, "README.md", "exec"), {})
    assert (workplace / "merged" / "model.safetensors").exists()
    assert (workplace / "more-python" / "model.safetensors").exists()


def test_the_files_that_the_readme_names_are_there():
    for link in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / link).exists(), link


def test_the_layout_names_every_file_once():
    layout = (ROOT / "docs" / "layout.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| `([^`]+\.py)`", layout, re.MULTILINE)
    package = ROOT / "src" / "smelt"
    there = [p.relative_to(package).as_posix() for p in package.rglob("*.py") if p.name != "__init__.py"]
    assert sorted(name for name in listed if name != "__init__.py") == sorted(there)


def test_the_flags_of_mergekit_are_documented():
    from smelt.cli import MERGEKIT_FLAGS

    text = (ROOT / "docs" / "mergekit.md").read_text(encoding="utf-8")
    assert [flag for flag in MERGEKIT_FLAGS if f"`{flag}" not in text] == []


def test_the_methods_are_documented_for_people_who_come_from_mergekit():
    from smelt.algebra.declare import catalogue

    text = (ROOT / "docs" / "mergekit.md").read_text(encoding="utf-8")
    assert [name for name in catalogue() if name not in text] == []


def test_the_pages_of_the_methods_are_those_of_their_declarations():
    pages = runpy.run_path(str(ROOT / "tools" / "write_docs.py"))["pages"]()
    there = {p.name: p.read_text(encoding="utf-8") for p in (ROOT / "docs" / "methods").iterdir()}
    assert sorted(there) == sorted(pages)
    stale = [name for name, text in pages.items() if there[name] != text]
    assert stale == [], "run: python tools/write_docs.py"


def test_the_pages_of_the_methods_lead_somewhere():
    folder = ROOT / "docs" / "methods"
    for page in folder.glob("*.md"):
        for link in re.findall(r"\]\(([^)#:]+)[)#]", page.read_text(encoding="utf-8")):
            assert (folder / link).exists(), (page.name, link)


def test_every_page_says_when_to_use_the_method_and_shows_a_recipe():
    for page in (ROOT / "docs" / "methods").glob("*.md"):
        if page.name != "README.md":
            text = page.read_text(encoding="utf-8")
            assert [
                part for part in ("When to use it", "Formula", "Paper", "Example") if f"\n## {part}\n\n" not in text
            ] == []


def test_a_terminal_shows_no_markup():
    from smelt.algebra.catalogue import describe_method
    from smelt.algebra.declare import catalogue

    for method in catalogue().values():
        assert not re.search(r"`|\*\*|^#|\| ---", describe_method(method), re.MULTILINE), method.name
