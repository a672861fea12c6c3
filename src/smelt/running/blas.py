"""The library that computes factorisations on this machine: results of methods declared ``machine`` depend on it."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from pathlib import Path

import numpy as np

# What OpenBLAS calls the function that names the processor core it has chosen, in NumPy's packages and elsewhere.
_CORE_NAMES = tuple(f"{prefix}openblas_get_corename{suffix}" for prefix in ("scipy_", "") for suffix in ("64_", ""))
UNKNOWN = "unknown"


def describe_blas() -> dict[str, str]:
    """Return ``name`` and ``version`` of the BLAS that NumPy is built with, and the ``core`` type that it chose."""
    built = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    return {
        "name": str(built.get("name", UNKNOWN)),
        "version": str(built.get("version", UNKNOWN)),
        "core": next(_find_cores(), UNKNOWN),
    }


def _find_cores() -> Iterator[str]:
    package = Path(np.__file__).parent
    for folder in (package.parent / "numpy.libs", package / ".dylibs"):  # where NumPy's packages keep the library
        for path in sorted(folder.glob("*openblas*")):
            try:
                library = ctypes.CDLL(str(path))
            except OSError:  # not for this machine; a merge does not fail over what is only recorded
                continue
            for name in _CORE_NAMES:
                if hasattr(library, name):
                    function = getattr(library, name)
                    function.restype = ctypes.c_char_p
                    yield function().decode()
