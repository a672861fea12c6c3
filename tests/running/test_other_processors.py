"""On a processor without what this one has beyond the plainest of its kind, merges give the same bytes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from elsewhere import digests

import golden
from smelt.algebra.declare import catalogue

EXPECTED = json.loads(golden.DIGESTS.read_text(encoding="utf-8"))
FOLDER = Path(__file__).resolve().parent
# Sums in float64, draws and an election.
FEW = ("slerp", "dare_ties")
ALL = tuple(name for name in golden.MERGES if catalogue()[name.partition("-")[0]].exact == "everywhere")
OTHERS = tuple(name for name in ALL if name not in FEW)
# Compiling the kernels of all takes minutes, so that two workers share them.
METHODS = tuple(name for name in OTHERS if "-" not in name)
VARIANTS = tuple(name for name in OTHERS if "-" in name)

merges = pytest.mark.parametrize(
    "names",
    [
        pytest.param(FEW, id="few"),
        pytest.param(METHODS, id="methods", marks=pytest.mark.full),
        pytest.param(VARIANTS, id="variants", marks=pytest.mark.full),
    ],
)


def check_elsewhere(here, names, engine, check, **environment):
    """Hold a process with other processor features to the golden bytes, and to those that this process makes."""
    code = f"import runpy, sys; {check}; sys.path[:0] = {[str(FOLDER), str(FOLDER.parent)]}; "
    code += "runpy.run_module('elsewhere', run_name='__main__')"
    arguments = [sys.executable, "-c", code, engine, *names]
    variables = {**os.environ, **environment}
    done = subprocess.run(arguments, env=variables, capture_output=True, text=True, check=False, cwd=here)
    assert done.returncode == 0, done.stderr
    golden_ones = {key: value for key, value in EXPECTED.items() if key.partition(" as ")[0] in names}
    assert json.loads(done.stdout) == digests(names, engine=False) | golden_ones


@merges
def test_kernels_for_the_plainest_processor(names, here):
    caches = here / "caches"
    check = "import numba; assert (numba.config.CPU_NAME, numba.config.CPU_FEATURES) == ('generic', '')"
    check_elsewhere(here, names, "compiled", check, NUMBA_CPU_NAME="generic", XDG_CACHE_HOME=str(caches))


@merges
def test_numpy_without_vector_instructions(names, here):
    from numpy._core._multiarray_umath import __cpu_dispatch__, __cpu_features__

    present = [feature for feature in __cpu_dispatch__ if __cpu_features__[feature]]
    if not present:
        pytest.skip("NumPy uses nothing here that it could do without")
    check = "from numpy._core._multiarray_umath import __cpu_features__ as has; "
    check += f"assert not any(has[feature] for feature in {present})"
    check_elsewhere(here, names, "interpreted", check, NPY_DISABLE_CPU_FEATURES=",".join(present))
