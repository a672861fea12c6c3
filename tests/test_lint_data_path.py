"""The lint on small snippets."""

import importlib.util
from pathlib import Path

import pytest

TOOL = Path(__file__).parents[1] / "tools" / "lint_data_path.py"


@pytest.fixture(scope="module")
def lint():
    spec = importlib.util.spec_from_file_location("lint_data_path", TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("code", "what"),
    [
        ("import math\nmath.exp(x)", "math.exp"),
        ("import math as m\nm.hypot(x, y)", "math.hypot"),
        ("from math import exp\n\ny = exp(x)", "math.exp"),
        ("from math import log as ln\nln(x)", "math.log"),
        ("from math import *", "from math import *"),
        ("import math\nf = math.tanh", "math.tanh"),
        ("import numpy as np\nnp.log1p(x)", "numpy.log1p"),
        ("import numpy as xp\nxp.arccos(x)", "numpy.arccos"),
        ("import numpy\nnumpy.power(x, 3)", "numpy.power"),
        ("from numpy import cbrt\ncbrt(x)", "numpy.cbrt"),
        ("import numpy as np\nnp.sum(x)", "numpy.sum"),
        ("import numpy as np\nnp.nanmean(x)", "numpy.nanmean"),
        ("import numpy as np\nnp.add.reduce(x)", "numpy.add.reduce"),
        ("import numpy as np\nnp.einsum('i,i', x, y)", "numpy.einsum"),
        ("import numpy as np\nnp.linalg.norm(x)", "numpy.linalg.norm"),
        ("from numpy.linalg import svd\nsvd(x)", "numpy.linalg.svd"),
        ("from numpy import linalg as la\nla.qr(x)", "numpy.linalg.qr"),
        ("import numpy.random as npr\nnpr.default_rng(0)", "numpy.random.default_rng"),
        ("import numpy as np\nnp.fft.rfft(x)", "numpy.fft.rfft"),
        ("import random\nrandom.random()", "random.random"),
        ("from scipy.special import expit\nexpit(x)", "scipy.special.expit"),
        ("def f():\n    import numpy as inner\n    return inner.exp(x)", "numpy.exp"),
        ("(x * y).sum()", ".sum()"),
        ("x.reshape(-1).dot(y)", ".dot()"),
        ("self.values.mean(axis=0)", ".mean()"),
        ("x @ y", "@"),
        ("x @= y", "@"),
        ("x ** 2", "**"),
        ("x ** 0.5", "**"),
        ("x **= 2", "**"),
        ("2 ** x", "**"),
        ("10.0 ** -3", "**"),
        ("pow(x, 3)", "builtins.pow"),
        ("sum(w * x for w, x in pairs)", "builtins.sum"),
    ],
)
def test_what_differs_between_machines_is_refused(lint, code, what):
    ((line, finding),) = lint.find_in(code)
    assert finding.startswith(f"{what}: ")
    lines = code.splitlines()
    lines[line - 1] += "  # exact: whole numbers below 2^53"
    assert not list(lint.find_in("\n".join(lines)))


@pytest.mark.parametrize(
    "code",
    [
        "import math\nmath.sqrt(x) + math.floor(y) * math.inf - math.fsum(z)",
        "from math import isfinite, ldexp\nldexp(x, 3) if isfinite(x) else 0",
        "import numpy as np\nnp.sqrt(np.where(x > 0, x, 0)) + np.abs(x) - np.argsort(x)",
        "import numpy as np\nnp.maximum.reduce(x) + x.max() + np.logical_or.reduce(x)",
        "from smelt.algebra.elementary import exp, log\nexp(x) + log(x)",
        "from smelt.algebra import elementary, vocabulary\nelementary.acos(vocabulary.dot(a, b))",
        "2.0**-24 + 2**32 + 10**6",
        "def f(*args, **kwargs):\n    return g(**kwargs)",
        "summed = total",
    ],
)
def test_what_is_exact_is_let_through(lint, code):
    assert not [finding for _, finding in lint.find_in(code)]


def test_the_mark_needs_a_reason_and_may_stand_at_the_end_of_a_long_call(lint):
    assert list(lint.find_in("sum(x)  # exact:"))
    assert not list(lint.find_in("(\n    x * y\n).sum()  # exact: counts"))
    assert [line for line, _ in lint.find_in("a = 1  # exact: one\nb = sum(x)")] == [2]


def test_it_looks_at_the_data_path_only_and_says_where(lint, tmp_path, capsys):
    for name in ("algebra/deep/a.py", "methods/m.py", "tensors/dtypes.py", "tensors/other.py", "cli.py"):
        path = tmp_path / "src" / "smelt" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("import math\nx = 1\ny = math.exp(x)\n")
    assert lint.main(tmp_path) == 1
    lines = capsys.readouterr().out.splitlines()
    expected = ["algebra/deep/a.py", "methods/m.py", "tensors/dtypes.py"]
    assert lines == [f"src/smelt/{name}:3: math.exp: use smelt.algebra.elementary" for name in expected]
    for name in expected:
        (tmp_path / "src" / "smelt" / name).write_text("x = 1\n")
    assert lint.main(tmp_path) == 0
    assert lint.main(tmp_path / "nowhere") == 1
