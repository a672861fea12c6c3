"""The command line: exit codes, one line per error, JSON, silence where nobody looks."""

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest

import smelt
import tiny
from smelt import cli
from smelt.mergekit_flags import MERGEKIT_FLAGS
from smelt.running.progress import shown_progress

RECIPE = """
merge_method: ties
base_model: a
models:
  - {model: b, parameters: {weight: 1, density: 0.5}}
  - {model: a}
"""


@pytest.fixture(autouse=True)
def recipe(here):
    tiny.save_llama(here / "a", 0)
    tiny.save_llama(here / "b", 1)
    (here / "recipe.yml").write_text(RECIPE)


def test_merge_says_in_one_line_what_it_wrote(smelt_command):
    answer = smelt_command("merge", "recipe.yml", "out", "--threads", 1)
    assert answer.code == 0
    assert answer.out == f"out: 9 tensors, plan digest {smelt.plan('recipe.yml').digest[:16]}\n"
    listed, unlicensed = answer.err.splitlines()
    assert listed == "note: 'a' is the base model itself: its difference is zero, so listing it changes nothing"
    assert unlicensed.startswith("note: the licence of a and b is not known")
    assert unlicensed.endswith("ask their authors before sharing the merge")


def test_merge_says_one_thing_about_licences(here, smelt_command):
    (here / "a" / "README.md").write_text("---\nlicense: other\nlicense_name: mine\n---\n")
    answer = smelt_command("merge", "recipe.yml", "out")
    (unlicensed,) = [line for line in answer.err.splitlines() if "licence" in line]
    assert unlicensed.endswith("('smelt plan' lists 1 more)")


def test_json(smelt_command):
    merged = smelt_command("merge", "recipe.yml", "out", "--json", "--max-shard-size", "200")
    plan = smelt_command("plan", "recipe.yml", "--json", "--max-shard-size", "200")
    decided = json.loads(plan.out)
    assert json.loads(merged.out) == {
        "output": "out",
        "digest": decided["digest"],
        "files": [file["name"] for file in decided["files"]],
    }
    assert len(decided["files"]) == len(list(Path("out").glob("*.safetensors"))) == 2
    assert [c["name"] for c in decided["checkpoints"]] == ["a", "b"]
    assert decided["cost"]["written_bytes"] == 312
    assert decided["cost"]["read_bytes"] == 4 * 312
    listed = json.loads(smelt_command("methods", "--json").out)
    assert [method["name"] for method in listed] == sorted(method["name"] for method in listed)
    assert json.loads(smelt_command("methods", "slerp", "--json").out)[0]["name"] == "slerp"


def test_plan_and_methods_in_words(smelt_command):
    text = smelt_command("plan", "recipe.yml", "--seed", 3, "--threads", 2).out
    for words in (
        "TIES-Merging (arXiv:2306.01708)",
        "models    a, b",
        "9 tensors, 156 parameters, 312 bytes in 1 file",
        "reading   624 bytes, in 2 passes at most (1.2 kB with repetitions)",
        "seed      3",
        "1 template:",
        "'a' is the base model itself",
    ):
        assert words in text
    assert "task_arithmetic" in smelt_command("methods").out
    assert "density" in smelt_command("methods", "ties").out
    answer = smelt_command("methods", "tise")
    assert (answer.code, answer.out) == (1, "")
    assert "did you mean 'ties'?" in answer.err


def test_a_recipe_from_standard_input(smelt_command, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(RECIPE.encode())))
    assert smelt_command("merge", "-", "out").code == 0


@pytest.mark.parametrize("flag", MERGEKIT_FLAGS)
def test_every_option_of_mergekit_is_answered_by_name(flag, smelt_command, here):
    for value in ([], ["4"]):
        answer = smelt_command("merge", "recipe.yml", "out", flag, *value)
        assert (answer.code, answer.out) == (1, "")
        assert answer.err == f"smelt: {flag} is an option of mergekit; {MERGEKIT_FLAGS[flag]}\n"
    assert not (here / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["merge"], "Missing argument 'RECIPE'"),
        (["merge", "recipe.yml"], "Missing argument 'OUT'"),
        (["merge", "recipe.yml", "out", "more"], "unexpected extra argument"),
        (["merge", "recipe.yml", "out", "--thread", "2"], "No such option: --thread (Possible options: --threads)"),
        (["merge", "recipe.yml", "out", "--threads", "two"], "Invalid value for '--threads': "),
        (["merge", "recipe.yml", "out", "--threads", "0"], "Invalid value for '--threads': "),
        (["merge", "recipe.yml", "out", "--max-shard-size", "5XB"], "'5XB' is not a size; write for example 5GB"),
        (["merge", "a\nb", "out"], "RECIPE is the name of a file; - reads a recipe from standard input"),
        (["mrge", "recipe.yml"], "No such command 'mrge'"),
        (["--cuda"], "--cuda is an option of mergekit; a merge runs on the processor"),
    ],
)
def test_usage_errors_are_one_line_and_exit_code_1(arguments, words, smelt_command, here):
    before = sorted(here.rglob("*"))
    answer = smelt_command(*arguments)
    assert (answer.code, answer.out) == (1, "")
    (line,) = answer.err.splitlines()
    assert line.startswith("smelt: ")
    assert words in line
    assert sorted(here.rglob("*")) == before


def test_help_and_version(smelt_command):
    assert smelt_command().out == smelt_command("--help").out
    assert smelt_command().code == 0
    for command in ("merge", "plan", "methods"):
        assert command in smelt_command("--help").out
        assert smelt_command(command, "--help").code == 0
    assert smelt_command("--version").out == f"smelt {smelt.__version__}\n"


@pytest.mark.parametrize("arguments", [["--help"], ["merge", "--help"], ["--version"]])
def test_help_imports_nothing_that_takes_time(arguments):
    code = f"""
import sys
from smelt.cli import main
try:
    main({arguments!r})
except SystemExit:
    slow = ("numpy", "yaml", "ml_dtypes", "huggingface_hub", "tokenizers", "rich.progress", "torch")
    print([name for name in slow if name in sys.modules], file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == "[]\n"


def test_an_interruption_leaves_nothing(smelt_command, monkeypatch, here):
    before = sorted(here.rglob("*"))

    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("smelt.running.sinks.FileSink.write", interrupt)
    answer = smelt_command("merge", "recipe.yml", "out")
    assert answer.code == 130
    assert answer.err.splitlines()[-1] == "smelt: interrupted"
    assert sorted(here.rglob("*")) == before


def test_a_defect_says_so_and_debug_shows_where(smelt_command, monkeypatch):
    def fail(*_, **__):
        raise ZeroDivisionError("oh")

    monkeypatch.setattr(smelt.api, "plan_recipe", fail)
    answer = smelt_command("plan", "recipe.yml")
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.startswith("smelt: ZeroDivisionError: oh (this is a defect of smelt; run again with --debug")
    with pytest.raises(ZeroDivisionError):
        cli.main(["plan", "recipe.yml", "--debug"])


def test_lenient_passes_over_what_mergekit_ignores(smelt_command, here):
    (here / "recipe.yml").write_text(RECIPE + "colour: red\n")
    refused = smelt_command("merge", "recipe.yml", "out")
    assert refused.code == 1
    assert "recipe.yml:7: " in refused.err
    assert "--lenient" in refused.err
    answer = smelt_command("merge", "recipe.yml", "out", "--lenient")
    assert answer.code == 0
    assert "note: recipe.yml:7: ignored: " in answer.err


def test_progress_draws_on_a_terminal_only(monkeypatch):
    with shown_progress(10) as progress:
        assert progress is None
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", terminal)
    with shown_progress(10, quiet=True) as progress:
        assert progress is None
    assert terminal.getvalue() == ""
    with shown_progress(10) as progress:
        progress(4, 10)
        progress(12, 10)
    assert "bytes" in terminal.getvalue()
