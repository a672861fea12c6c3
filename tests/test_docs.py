"""The documentation runs: what README.md and CONTRIBUTING.md show is executed, and the layout misses no file."""

import os
import re
import runpy
import shlex
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from released import released_methods, unfinished_methods
from smelt.algebra.declare import find

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


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
    assert len(commands) == 8
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
    released = {find(name).function.__module__ for name in released_methods()}
    unfinished = {m.function.__module__ for m in unfinished_methods().values()} - released
    new = [module.removeprefix("smelt.").replace(".", "/") + ".py" for module in unfinished]
    assert sorted(name for name in listed if name != "__init__.py") == sorted(p for p in there if p not in new)


def test_the_flags_of_mergekit_are_documented():
    from smelt.mergekit_flags import MERGEKIT_FLAGS

    text = (ROOT / "docs" / "mergekit.md").read_text(encoding="utf-8")
    assert [flag for flag in MERGEKIT_FLAGS if f"`{flag}" not in text] == []


def test_the_methods_are_documented_for_people_who_come_from_mergekit():
    text = (ROOT / "docs" / "mergekit.md").read_text(encoding="utf-8")
    assert [name for name in released_methods() if name not in text] == []


def test_the_pages_of_the_methods_are_those_of_their_declarations():
    pages = runpy.run_path(str(ROOT / "tools" / "write_docs.py"))["pages"]()
    for name in unfinished_methods():
        del pages[f"{name}.md"]
        pages["README.md"] = re.sub(rf"^\| \[{name}\].*\n", "", pages["README.md"], flags=re.MULTILINE)
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


def test_the_method_of_contributing_passes_the_suite_and_merges(tmp_path):
    (code,) = [
        textwrap.dedent(c) for c in re.findall(r"^ *```python\n(.*?)```", CONTRIBUTING, re.M | re.S) if "@method(" in c
    ]
    (tmp_path / "agreement.py").write_text(code, encoding="utf-8")
    check = """
        import numpy as np, smelt, smelt.methods, smelt.testing
        smelt.methods.__path__.append(".")
        import smelt.methods.agreement
        smelt.testing.check_method("unanimous")
        assert smelt.testing.suggest_properties("unanimous") == ()
        base, one, two = (smelt.Checkpoint({"w": np.float32(x)}) for x in ([1, 1, 1], [2, 0, 3], [4, 2, 1]))
        merged = smelt.merge(smelt.methods.unanimous(base, [one, two], lambda_=0.5))
        assert merged["w"].tolist() == [2.0, 1.0, 1.0], merged["w"]
    """
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(check)], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
