"""Refuse library calls on the data path whose bits differ between machines.

Elementary functions differ between C libraries; sums and matrix products depend on the vector width, on the BLAS and,
for ``sum``, on the version of Python. A line that ends with ``# exact: <reason>`` is let through.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

DATA_PATH = ("src/smelt/algebra/**/*.py", "src/smelt/methods/**/*.py", "src/smelt/tensors/dtypes.py")
LET_THROUGH = re.compile(r"# exact: \S")

MATH_EXACT = re.compile(
    "sqrt|isqrt|floor|ceil|trunc|fabs|fsum|frexp|ldexp|modf|fmod|remainder|copysign|nextafter|ulp|"
    "isfinite|isnan|isinf|isclose|inf|nan|pi|e|tau|prod|gcd|lcm|comb|perm|factorial"
)
NUMPY_ELEMENTARY = re.compile(
    "exp(2|m1)?|log(2|10|1p|addexp2?|space)?|geomspace|pow|power|float_power|hypot|cbrt|"
    "(a|arc)?(sin|cos|tan)h?|(a|arc)tan2|sinc|i0|angle"
)
REDUCTION = re.compile(
    "(nan)?(sum|mean|var|std|prod|cumsum|cumprod|median|quantile|percentile)|average|trace|cumulative_(sum|prod)|"
    "v?dot|inner|vecdot|matvec|vecmat|matmul|einsum|tensordot|convolve|correlate|cov|corrcoef|trapezoid|interp"
)
ARRAY_METHODS = {"sum", "mean", "var", "std", "prod", "dot", "trace", "cumsum", "cumprod"}
EXACT_UFUNC = re.compile("f?maximum|f?minimum|fmax|fmin|(logical|bitwise)_(and|or|xor)")
UFUNC_METHODS = ("reduce", "accumulate", "reduceat", "at")
BANNED_MODULES = ("cmath", "random", "statistics", "scipy", "numpy.linalg", "numpy.fft", "numpy.random")

ELEMENTARY = "use smelt.algebra.elementary"
SUM = "add in a stated order, or use math.fsum"


def find_in(source: str) -> Iterator[tuple[int, str]]:
    """Yield the line number of every refused expression, and what it is with what to do instead."""
    tree, lines = ast.parse(source), source.splitlines()
    names = _imported_names(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.expr | ast.stmt) and (finding := _refuse(node, names)):
            ends = (node.lineno, node.end_lineno or node.lineno)
            if not any(LET_THROUGH.search(lines[number - 1]) for number in ends):
                yield node.lineno, finding


def _imported_names(tree: ast.AST) -> dict[str, str]:
    """Return what each imported name stands for, dotted in full; and the builtins that are looked for."""
    names = {"sum": "builtins.sum", "pow": "builtins.pow"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            roots = ((alias, alias.name.split(".")[0]) for alias in node.names)
            names.update((alias.asname, alias.name) if alias.asname else (root, root) for alias, root in roots)
        elif isinstance(node, ast.ImportFrom):
            names.update((alias.asname or alias.name, f"{node.module}.{alias.name}") for alias in node.names)
    return names


def _refuse(node: ast.expr | ast.stmt, names: dict[str, str]) -> str | None:
    if isinstance(node, ast.ImportFrom) and node.names[0].name == "*":
        return f"from {node.module} import *: import names"
    if isinstance(node, ast.BinOp | ast.AugAssign) and isinstance(node.op, ast.MatMult):
        return f"@: {SUM}"
    if isinstance(node, ast.BinOp | ast.AugAssign) and isinstance(node.op, ast.Pow):
        return None if isinstance(node, ast.BinOp) and _is_exact_power(node) else f"**: multiply, or {ELEMENTARY}"
    if isinstance(node, ast.Attribute | ast.Name) and (dotted := _dotted(node, names)):
        return _refuse_name(dotted)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and not _dotted(node.func, names):
        return f".{node.func.attr}(): {SUM}" if node.func.attr in ARRAY_METHODS else None
    return None


def _is_exact_power(node: ast.BinOp) -> bool:
    """Say whether it is a literal power of two, or of a whole number."""
    try:
        number, exponent = ast.literal_eval(node.left), ast.literal_eval(node.right)
    except ValueError:
        return False
    return type(exponent) is int and (number == 2 or (type(number) is int and exponent >= 0))


def _refuse_name(dotted: str) -> str | None:
    module, _, name = dotted.rpartition(".")
    is_array = module.split(".")[0] in ("numpy", "builtins")
    folds = name in UFUNC_METHODS and not EXACT_UFUNC.fullmatch(module.split(".")[-1])
    if is_array and (folds or REDUCTION.fullmatch(name)):
        return f"{dotted}: {SUM}"
    if (is_array and NUMPY_ELEMENTARY.fullmatch(name)) or (module == "math" and not MATH_EXACT.fullmatch(name)):
        return f"{dotted}: {ELEMENTARY}"
    if any(f"{module}.".startswith(f"{banned}.") for banned in BANNED_MODULES):
        return f"{dotted}: write it with the vocabulary of smelt.algebra"
    return None


def _dotted(node: ast.expr, names: dict[str, str]) -> str | None:
    """Return what an attribute chain stands for, or None where its root is a variable."""
    if isinstance(node, ast.Attribute):
        root = _dotted(node.value, names)
        return f"{root}.{node.attr}" if root else None
    return names.get(node.id) if isinstance(node, ast.Name) else None


def main(root: Path) -> int:
    """Print the findings below ``root``; return 1 if there are any, or if there is nothing to look at."""
    paths = [path for pattern in DATA_PATH for path in sorted(root.glob(pattern))]
    findings = [
        f"{path.relative_to(root).as_posix()}:{line}: {finding}"
        for path in paths
        for line, finding in find_in(path.read_text(encoding="utf-8"))
    ]
    print("\n".join(findings) or f"{len(paths)} files on the data path call nothing that differs between machines")
    return 1 if findings or not paths else 0


if __name__ == "__main__":
    sys.exit(main(Path(__file__).resolve().parents[1]))
