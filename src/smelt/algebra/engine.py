"""The third reading of a method: its expression compiled, between compiled loops over the stored bytes.

It gives the bits that the interpreter gives; a test holds every method to that. What it does not compute (sines,
rows longer than a block) the interpreter does.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from smelt.algebra.driver_source import write_driver
from smelt.algebra.expressions import Expr, input_tensor
from smelt.algebra.grid import NUMERICS_VERSION
from smelt.algebra.kernel_cache import KernelUnavailable, load_kernel
from smelt.algebra.kernel_source import Kernel, write_kernel
from smelt.algebra.numbers import Value, walk_elements
from smelt.tensors.dtypes import DTYPES, DType, dtype_of_array

TILE = 1024  # elements; a few tiles fit into the first cache, and lanes start at their multiples

_COMMON_TYPES = (
    "uint8[::1], uint16[::1], uint32[::1], uint64[::1], int64[::1], int64[::1], int64, int64, int64, int64, "
    "int64[::1], {float}[::1], {float}[:,::1], {float}[:,::1], uint64[:,::1], {word}[:,::1], int64[:,::1], "
    "{float}[:,::1], {float}[:,::1], {float}[:,::1]"
)
_LOOP_TYPES = {
    "write": "int64, uint8[::1], uint16[::1], uint32[::1], uint64[::1], int64[::1]",
    "values": "{float}[:,::1]",
    "sums": "int64[::1], int64[::1], float64[:,::1]",
    "counts": "int64[::1], {word}[::1], {word}[::1], int64[:,::1], {word}[:,::1], {word}[:,::1]",
}


@dataclass(frozen=True)
class Packed:
    """The numbers and selections of one use of a program, as its kernel takes them."""

    p: NDArray[np.int64]
    numbers: NDArray[np.floating]
    rows: NDArray[np.floating]
    columns: NDArray[np.floating]
    thresholds: NDArray[np.unsignedinteger]
    cuts: NDArray[np.int64]


class CompiledProgram:
    """What ``TileProgram`` is to the interpreter: the steps that compute given nodes, compiled.

    Args:
        roots: the nodes.
        precision: float32 or float64, the type of tiles.

    Raises:
        UnsupportedError: when an operation has no compiled form.
        KernelUnavailableError: when there is no working compiler.
    """

    def __init__(self, roots: Sequence[Expr], precision: np.dtype[np.floating]) -> None:
        distinct = {root.key: root for root in roots}
        kernel: Kernel = write_kernel(list(distinct.values()), precision.name)
        self.precision = precision
        self.numbers = kernel.numbers
        self.selections = kernel.selections
        self.whole_rows = kernel.whole_rows
        # Whether an element's value does not depend on where in the tensor it is.
        self.is_local = not kernel.whole_rows and all(n.op not in ("uniform", "selected") for n in walk_elements(roots))
        self.asks = any(node.depth for node in self.numbers)  # whether these hang on answers about the tensor
        self.rows_out = kernel.layout.outputs
        rows = accumulate((root.models or 1 for root in distinct.values()), initial=0)
        self.row_of = dict(zip(distinct, rows, strict=False))  # the first row of each root in the result
        self.rows_scratch = max(kernel.layout.scratch, 1)
        self._kernel = kernel
        self._p = np.array([*kernel.layout.values, 0], np.int64)

    def loop(self, name: str, dtypes: Collection[DType]) -> Callable[..., None]:
        """Return the kernel of one of the loops around the program.

        Args:
            name: ``write``, ``values``, ``sums`` or ``counts``.
            dtypes: how inputs and the result may be stored. A kernel is made for all dtypes of a merge.
        """
        own = dtype_of_array(self.precision)  # of inputs that are joined from several tensors
        return _load(self._kernel.source, name, self.precision.name, tuple(d for d in DTYPES if d in (own, *dtypes)))

    def pack(self, values: Mapping[str, Value]) -> Packed:
        """Return the values of ``numbers`` as arrays, rounded to the type of tiles; no selections yet."""
        precision = self.precision
        along: dict[str | None, list[NDArray[np.floating]]] = {None: [], "row": [], "column": []}
        with np.errstate(all="ignore"):
            for node in self._kernel.numbers:
                value = np.asarray(values[node.key], precision)
                width = value.shape[-1] if node.along else 1
                along[node.along].append(np.ascontiguousarray(value.reshape(node.models or 1, width)))
        return Packed(
            self._p,
            np.concatenate([v[:, 0] for v in along[None]] or [np.zeros(1, precision)]),
            np.concatenate(along["row"] or [np.zeros((1, 1), precision)]),
            np.concatenate(along["column"] or [np.zeros((1, 1), precision)]),
            np.zeros((1, 1), f"u{precision.itemsize}"),
            np.zeros((1, 1), np.int64),
        )

    def add_selections(self, packed: Packed, values: Mapping[str, Value]) -> Packed:
        """Return the packed numbers together with the values of ``selections``."""
        found = [values[node.key] for node in self.selections]
        width = max(threshold.shape[-1] if threshold.ndim > 1 else 1 for threshold, _ in found)
        thresholds, cuts = (
            np.concatenate([np.broadcast_to(v.reshape(len(v), -1), (len(v), width)) for v in part])
            for part in zip(*found, strict=True)
        )
        return replace(packed, thresholds=thresholds, cuts=cuts)


@cache
def find_fault() -> str | None:
    """Return why kernels cannot be used here, ``None`` when they can.

    To be called before threads start: Numba does not bear being imported by several of them at once.
    """
    try:
        CompiledProgram([input_tensor(0)], np.dtype(np.float32)).loop("write", ())
    except KernelUnavailable as error:
        return str(error)
    return None


@cache
def _load(tile: str, loop: str, precision: str, dtypes: tuple[DType, ...]) -> Callable[..., None]:
    types = f"{_COMMON_TYPES}, {_LOOP_TYPES[loop]}".format(float=precision, word=precision.replace("float", "uint"))
    return load_kernel(tile + write_driver(loop, dtypes, precision), loop, f"void({types})", version=NUMERICS_VERSION)
