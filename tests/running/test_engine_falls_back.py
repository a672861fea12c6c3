"""Where kernels cannot be compiled or kept, the same bytes come later, and one line says so."""

import os
import subprocess
import sys

import numpy as np
import pytest

import tiny

RECIPE = "merge_method: ties\nbase_model: a\nmodels: [{model: b, parameters: {weight: 0.7, density: 0.5}}]\n"
WITHOUT_NUMBA = "import sys; sys.modules['numba'] = None; "
COMMAND = "from smelt.cli import main; main(sys.argv[1:])"
COUNTING = """import sys
from smelt.algebra import kernel_cache
from smelt.cli import main
from numba.core.compiler import compile_extra
import numba.core.dispatcher as dispatcher
compiled = []
class Counted(dispatcher._FunctionCompiler):
    def compile(self, args, return_type):
        compiled.append(self.py_func.__name__)
        return super().compile(args, return_type)
dispatcher._FunctionCompiler = Counted
try:
    main(sys.argv[1:])
finally:
    print(len(compiled), file=sys.stderr)
"""


@pytest.fixture(autouse=True)
def models(here):
    for seed, name in enumerate("ab"):
        random = np.random.default_rng(seed)
        arrays = {"w": random.normal(size=(70, 900)).astype(tiny.BF16), "b": random.normal(size=5).astype("f4")}
        tiny.save(here / name, arrays, tiny.config())
        (here / name / "README.md").write_text("---\nlicense: mit\n---\n")  # no note about the licence
    (here / "recipe.yml").write_text(RECIPE)


def merge(code, out, *options, caches=None):
    """Run the command line in a process of its own; return what it said on standard error, and the tensors."""
    environment = {**os.environ, **({"XDG_CACHE_HOME": str(caches)} if caches else {})}
    arguments = [sys.executable, "-c", code, "merge", "recipe.yml", out, *options]
    done = subprocess.run(arguments, env=environment, capture_output=True, text=True, check=True)
    return done.stderr, tiny.digest(tiny.read(out))


def test_without_numba_the_interpreter_runs_and_says_so(here):
    plain, expected = merge("import sys; " + COMMAND, "reference", "--engine", "reference")
    said, found = merge(WITHOUT_NUMBA + COMMAND, "without", "--engine", "compiled")
    assert (plain, found) == ("", expected)
    (line,) = said.splitlines()
    assert line.startswith("note: merging with the slower interpreter, because ")
    assert "numba" in line
    for engine in ("reference", "auto"):  # where kernels are not wanted, or would not pay, there is nothing to say
        assert merge(WITHOUT_NUMBA + COMMAND, engine + " without", "--engine", engine) == ("", expected)


def test_filters_of_warnings_do_not_hide_the_line(here):
    code = "import warnings; warnings.simplefilter('ignore'); " + WITHOUT_NUMBA + COMMAND
    assert merge(code, "out", "--engine", "compiled")[0].startswith("note: ")


@pytest.mark.parametrize("broken", ["a file", pytest.param("another's to write", marks=pytest.mark.full)])
def test_a_cache_folder_that_cannot_be_used_changes_nothing(broken, here):
    caches = here / "caches"
    if broken == "a file":
        caches.write_text("not a folder")
    else:
        (caches / "smelt" / "kernels").mkdir(parents=True)
        (caches / "smelt" / "kernels").chmod(0o777)
    said, found = merge("import sys; " + COMMAND, "out", "--engine", "compiled", caches=caches)
    assert (said, found) == ("", merge("import sys; " + COMMAND, "reference", "--engine", "reference")[1])
    assert caches.is_file() or not list((caches / "smelt" / "kernels").iterdir())


@pytest.mark.full  # of kernels alone, tests/algebra/test_kernel_cache.py says so every time
def test_a_second_process_compiles_nothing(here):
    caches = here / "caches"
    first, expected = merge(COUNTING, "first", "--engine", "compiled", caches=caches)
    assert int(first) >= 2
    kept = sorted((caches / "smelt" / "kernels").iterdir())
    assert merge(COUNTING, "second", "--engine", "compiled", caches=caches) == ("0\n", expected)
    assert sorted((caches / "smelt" / "kernels").iterdir()) == kept


@pytest.mark.parametrize("value", ["fast", "Compiled", ""])
def test_an_unknown_engine_is_a_usage_error(value, smelt_command, here):
    answer = smelt_command("merge", "recipe.yml", "out", "--engine", value)
    assert (answer.code, answer.out) == (1, "")
    (line,) = answer.err.splitlines()
    assert "'--engine'" in line
    assert "'auto', 'compiled', 'reference'" in line
    assert not (here / "out").exists()


def test_the_option_is_hidden(smelt_command):
    assert "--engine" not in smelt_command("merge", "--help").out
