"""The grid against a walk over the rows."""

import pytest

from smelt.algebra.grid import BLOCK, block_bounds, block_count, rows_and_columns

SHAPES = [(), (1,), (7,), (BLOCK - 1,), (BLOCK,), (BLOCK + 1,), (3 * BLOCK,), (BLOCK - 1, 1), (BLOCK + 1, 1)]
SHAPES += [(5, BLOCK), (5, BLOCK + 1), (2, 3, BLOCK // 2 + 1), (1000, 768), (7, 11, 13, 500), (3, 1, BLOCK // 2)]
SHAPES += [(1, 1), (0,), (0, 5), (5, 0), (2, 0, 3)]


def bounds(shape):
    return [block_bounds(shape, number) for number in range(block_count(shape))]


def walk(shape):
    """Blocks as the definition says: whole rows while they fit, pieces of rows that do not."""
    rows, columns = rows_and_columns(shape)
    blocks = []
    for row in range(rows):
        pieces = range(0, columns, BLOCK) if columns > BLOCK else [0] * (columns > 0)
        for piece in pieces:
            start, stop = row * columns + piece, row * columns + min(columns, piece + BLOCK)
            if blocks and columns <= BLOCK and stop - blocks[-1][0] <= BLOCK:
                blocks[-1] = (blocks[-1][0], stop)
            else:
                blocks.append((start, stop))
    return blocks


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_blocks_are_the_longest_runs_of_whole_rows_or_pieces_of_a_row(shape):
    assert bounds(shape) == walk(shape)


def test_vectors_and_scalars_are_one_row():
    assert rows_and_columns(()) == (1, 1)
    assert rows_and_columns((9,)) == (1, 9)
    assert rows_and_columns((2, 3, 4)) == (6, 4)
