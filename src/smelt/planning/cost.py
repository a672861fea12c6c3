"""What carrying out a plan takes, from shapes alone; and how large a bite a thread takes at a time."""

from __future__ import annotations

from collections.abc import Sequence

from smelt.algebra.grid import BLOCK, LANES
from smelt.algebra.templates import Template
from smelt.planning.plan import Cost, Output
from smelt.tensors.checkpoint import Checkpoint

# What one thread may hold of the stored bytes of all inputs at a time.
READ_BUDGET_BYTES = 16 * 2**20
# Elements of all inputs together that the interpreter works on at a time.
TILE_BUDGET = 2**16
# Float tiles that the interpreter holds at a time, per input, as seen with the methods at hand.
TILES_PER_INPUT = 8


def span_elements(inputs: int, widest_bytes: int) -> int:
    """Return how many elements of each input a thread reads at a time: whole blocks unless there are many inputs."""
    span = READ_BUDGET_BYTES // (max(inputs, 1) * max(widest_bytes, 1))
    return max(LANES, min(BLOCK, span // LANES * LANES))


def tile_elements(inputs: int) -> int:
    """Return how many elements the interpreter works on at a time; the engine's tiles are to stay in L1."""
    return max(4 * LANES, min(2**14, TILE_BUDGET // max(inputs, 1) // LANES * LANES))


def estimate(outputs: Sequence[Output], templates: Sequence[Template], checkpoints: Sequence[Checkpoint]) -> Cost:
    """Return the cost of the outputs."""
    widths = [{name: spec.dtype.size_bytes for name, spec in c.specs.items()} for c in checkpoints]
    inputs: dict[tuple[int, str, int, int], int] = {}
    read = written = parameters = computed = thread = 0
    passes = 1
    for output in outputs:
        depth = 1 if output.precision == "bytes" else templates[output.template].passes
        passes = max(passes, depth)
        size, widest = 0, 1
        for extent in (e for i in (*output.inputs, *output.equal) for e in i):
            width = widths[extent.checkpoint][extent.tensor]
            widest = max(widest, width)
            size += extent.count * width
            inputs[extent.checkpoint, extent.tensor, extent.start, extent.count] = extent.count * width
        read += depth * size
        written += output.spec.size_bytes
        parameters += output.spec.elements
        computed += output.spec.elements if output.precision != "bytes" else 0
        thread = max(thread, _working_bytes(output, widest))
    return Cost(read, sum(inputs.values()), written, passes, thread, parameters, computed)


def _working_bytes(output: Output, widest: int) -> int:
    count = max(len(output.inputs), 1)
    span = min(span_elements(count, widest), max(output.spec.elements, 1))
    tiles = tile_elements(count) * count * TILES_PER_INPUT * (8 if output.precision == "float64" else 4)
    return span * count * widest + BLOCK * output.spec.dtype.size_bytes + tiles
