"""The third reading of a method: its expression compiled, between compiled loops over the stored bytes.

It gives the bits that the interpreter gives; a test holds every method to that. What it does not compute (float64,
exponentials, rows longer than a block) the interpreter does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.typing import NDArray

from smelt.algebra.driver_source import COMMON, SOURCE
from smelt.algebra.expressions import Expr
from smelt.algebra.grid import NUMERICS_VERSION
from smelt.algebra.kernel_cache import load_kernel
from smelt.algebra.kernel_source import Kernel, write_kernel
from smelt.algebra.numbers import Value

TILE = 1024  # elements; a few tiles fit into the first cache, and lanes start at their multiples

_TILE_TYPES = (
    "float32[:,::1], int64, int64, int64, int64[::1], float32[::1], float32[:,::1], float32[:,::1], uint64[::1], "
    "uint32[:,::1], int64[:,::1], float32[:,::1], float32[:,::1]"
)
_COMMON_TYPES = (
    "{function}, uint8[::1], int64[::1], int64[::1], int64, int64, int64, int64, int64[::1], float32[::1], "
    "float32[:,::1], float32[:,::1], uint64[::1], uint32[:,::1], int64[:,::1], float32[:,::1], float32[:,::1], "
    "float32[:,::1]"
)
_DRIVERS = {
    "write": "int64, uint16[::1], uint32[::1]",
    "values": "float32[:,::1]",
    "sums": "int64[::1], int64[::1], float64[:,::1]",
    "counts": "boolean[::1], uint32[::1], uint32[::1], int64[:,::1], uint32[:,::1]",
}


@dataclass(frozen=True)
class Packed:
    """The numbers and selections of one use of a program, as its kernel takes them."""

    p: NDArray[np.int64]
    numbers: NDArray[np.float32]
    rows: NDArray[np.float32]
    columns: NDArray[np.float32]
    thresholds: NDArray[np.uint32]
    cuts: NDArray[np.int64]


class CompiledProgram:
    """What ``TileProgram`` is to the interpreter: the steps that compute given nodes, compiled.

    Raises:
        UnsupportedError: when an operation has no compiled form.
        KernelUnavailableError: when there is no working compiler.
    """

    def __init__(self, roots: Sequence[Expr]) -> None:
        distinct = {root.key: root for root in roots}
        kernel: Kernel = write_kernel(list(distinct.values()))
        self.numbers = (*kernel.numbers, *kernel.selections)
        self.whole_rows = kernel.whole_rows
        self.rows_out = kernel.layout.outputs
        rows = accumulate((root.models or 1 for root in distinct.values()), initial=0)
        self.row_of = dict(zip(distinct, rows, strict=False))  # the first row of each root in the result
        self.rows_scratch = max(kernel.layout.scratch, 1)
        self.function = _load_tile(kernel.source)
        self._kernel = kernel
        self._p = np.array([*kernel.layout.values, 0], np.int64)

    def pack(self, values: Mapping[str, Value]) -> Packed:
        """Return the values of ``numbers`` as arrays; numbers are rounded to float32 here."""
        along: dict[str | None, list[NDArray[np.float32]]] = {None: [], "row": [], "column": []}
        with np.errstate(all="ignore"):
            for node in self._kernel.numbers:
                value = np.asarray(values[node.key], np.float32)
                width = value.shape[-1] if node.along else 1
                along[node.along].append(np.ascontiguousarray(value.reshape(node.models or 1, width)))
        selections = [values[node.key] for node in self._kernel.selections]
        return Packed(
            self._p,
            np.concatenate([v[:, 0] for v in along[None]] or [np.zeros(1, np.float32)]),
            np.concatenate(along["row"] or [np.zeros((1, 1), np.float32)]),
            np.concatenate(along["column"] or [np.zeros((1, 1), np.float32)]),
            np.concatenate([t.reshape(len(t), -1) for t, _ in selections] or [np.zeros((1, 1), np.uint32)]),
            np.concatenate([c.reshape(len(c), -1) for _, c in selections] or [np.zeros((1, 1), np.int64)]),
        )


@cache
def driver(name: str) -> Callable[..., None]:
    """Return one of the compiled loops: ``write``, ``values``, ``sums`` or ``counts``."""
    from numba import types

    function = types.FunctionType(_signature(f"void({_TILE_TYPES})"))
    common = [function, *_signature(f"void({_COMMON_TYPES.replace('{function}, ', '')})").args]
    arguments = (*common, *_signature(f"void({_DRIVERS[name]})").args)
    assert len(common) == len(COMMON.split(","))
    return load_kernel(SOURCE, name, types.void(*arguments), version=NUMERICS_VERSION)


@cache
def _load_tile(source: str) -> Callable[..., None]:
    return load_kernel(source, "tile", _signature(f"void({_TILE_TYPES})"), version=NUMERICS_VERSION)


def _signature(text: str) -> Any:
    from numba.core import sigutils

    return sigutils.normalize_signature(text)[1](*sigutils.normalize_signature(text)[0])
