"""The block grid: where a tensor is cut. It follows from the shape alone, for every method, dtype and machine."""

from __future__ import annotations

from math import prod

# Raised, with a line in CHANGELOG.md, by every change that moves a bit of any result.
NUMERICS_VERSION = 1

BLOCK = 2**18  # elements; a block's bytes and partial sums are fixed by it, so it is part of the numerics
LANES = 256  # float64 accumulators per block


def rows_and_columns(shape: tuple[int, ...]) -> tuple[int, int]:
    """Return the tensor as rows × last dimension; vectors and scalars are one row."""
    if len(shape) < 2:
        return 1, prod(shape)
    return prod(shape[:-1]), shape[-1]


def sizes_of(shape: tuple[int, ...]) -> dict[str, int]:
    """Return the number of elements of the ``tensor``, and of one ``row`` of it."""
    rows, columns = rows_and_columns(shape)
    return {"tensor": rows * columns, "row": columns}


def block_count(shape: tuple[int, ...]) -> int:
    """Return how many blocks the tensor has; 0 for an empty one."""
    rows, columns = rows_and_columns(shape)
    if rows * columns == 0:
        return 0
    if columns > BLOCK:
        return rows * -(-columns // BLOCK)
    return -(-rows // (BLOCK // columns))


def block_bounds(shape: tuple[int, ...], number: int) -> tuple[int, int]:
    """Return the first element of a block and the one after its last.

    A block is the longest run of whole rows of up to 2^18 elements, or a 2^18-element piece of a longer row.
    """
    rows, columns = rows_and_columns(shape)
    if columns > BLOCK:
        row, piece = divmod(number, -(-columns // BLOCK))
        start = row * columns + piece * BLOCK
        return start, min(start + BLOCK, (row + 1) * columns)
    length = (BLOCK // columns) * columns
    return number * length, min((number + 1) * length, rows * columns)
