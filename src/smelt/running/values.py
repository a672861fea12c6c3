"""The values of an output's expressions on a run of its elements: by a kernel where there is one, else interpreted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from smelt.algebra.expressions import Expr
from smelt.algebra.grid import sizes_of
from smelt.algebra.interpreter import TileProgram, meet
from smelt.algebra.numbers import Value, solve
from smelt.algebra.templates import Template
from smelt.planning.plan import Output
from smelt.running.compiled import Compiled, ready
from smelt.running.nonfinite import count_nonfinite
from smelt.running.sources import Reader
from smelt.tensors.dtypes import encode

Array = NDArray[np.generic]


class Values:
    """What computes the values of expressions for one output.

    Args:
        output, template: what is computed.
        programs: prepared expressions and numbers, shared by the outputs of a run.
        engine: whether compiled kernels do what they can.
    """

    def __init__(self, output: Output, template: Template, programs: dict[Any, Any], engine: bool) -> None:
        self.precision: np.dtype[np.floating] = np.dtype(output.precision)
        self._answers: dict[str, Value] = {}  # to the questions asked so far
        self._kernels: dict[tuple[str, ...], Compiled | None] = {}  # with the numbers that these answers make
        self._output = output
        self._template = template
        self._programs = programs
        self._engine = engine
        self._sizes = sizes_of(output.spec.shape)
        # One key for the tensor, or one for each of its rows.
        self._keys = np.array(output.keys or (0,), np.uint64).reshape(max(template.keys, 1), -1)
        # Bit for bit: a weight of -0.0 equals one of 0.0 and gives another result.
        self._case = (np.array(output.slots, np.float64).tobytes(), output.spec.shape)

    def learn(self, answers: Mapping[str, Value]) -> None:
        """Take answers to questions, by content key."""
        self._answers.update(answers)
        self._kernels.clear()

    def solve(self, nodes: Sequence[Expr], **sizes: int) -> dict[str, Value]:
        """Compute numbers, as ``numbers.solve``; ``sizes`` are further ones than those of the tensor.

        Tensors of one shape under one setting share what does not hang on answers.
        """
        if sizes:
            return solve(nodes, self._output.slots, {**self._sizes, **sizes}, self._answers)
        key = ("numbers", tuple(node.key for node in nodes), self._case)
        known = self._programs.get(key)
        if known is None:
            fixed = [node for node in nodes if not node.depth]
            known = self._programs[key] = solve(fixed, self._output.slots, self._sizes, {})
        asking = [node for node in nodes if node.depth]
        if not asking:
            return known
        return known | solve(asking, self._output.slots, self._sizes, self._answers)

    def compile(self, roots: Sequence[Expr]) -> Compiled | None:
        """Return the kernel for some nodes with its numbers, ``None`` where the interpreter computes them."""
        if not self._engine or not self._output.spec.elements:
            return None
        key = tuple(root.key for root in roots)
        if key not in self._kernels:
            self._kernels[key] = self._compile(roots)
        return self._kernels[key]

    def _compile(self, roots: Sequence[Expr]) -> Compiled | None:
        columns = self._sizes["row"]
        program = ready(roots, self._output, columns, self._programs)
        if program is None:
            return None
        key = ("packed", tuple(root.key for root in roots), self._case, self.precision)
        packed = None if program.asks else self._programs.get(key)
        if packed is None:
            packed = program.pack(self.solve(program.numbers))
            if not program.asks:
                self._programs[key] = packed
        if program.selections:
            packed = program.add_selections(packed, self.solve(program.selections))
        return Compiled(program, packed, self._output, columns, self._template.needs_rows, self._keys)

    def of(self, node: Expr, start: int, stop: int, reader: Reader) -> Array:
        """Return elements [start, stop) of an expression, shape (…, stop − start)."""
        parts = [values[0] for _, values in self.on([node], start, stop, reader)]
        return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=-1)

    def runs(self, node: Expr, starts: Sequence[int], length: int, reader: Reader) -> Array:
        """Return runs of elements one after the other, at once where a kernel can take them for one."""
        kernel = self.compile([node])
        if kernel is not None and kernel.program.is_local:
            values = kernel.runs(reader, starts, length)
            return values if node.models is not None else values[0]
        return np.concatenate([self.of(node, s, s + length, reader) for s in starts], axis=-1)

    def on(self, roots: Sequence[Expr], start: int, stop: int, reader: Reader) -> Iterator[tuple[int, list[Array]]]:
        """Yield the values of some nodes on elements [start, stop), run by run, with the first element of each."""
        compiled = self.compile(roots)
        if compiled is None:
            yield from self._tiles(start, stop, reader, *self._interpreted(roots))
            return
        low, high = self._widen(start, stop) if compiled.program.whole_rows else (start, stop)
        for first, found in compiled.values(reader, low, high):
            begin, end = max(start, first), min(stop, first + found.shape[1])
            if begin < end:
                cut = found[:, begin - first : end - first]
                rows = [compiled.program.row_of[r.key] for r in roots]
                yield (
                    begin,
                    [cut[p] if r.models is None else cut[p : p + r.models] for p, r in zip(rows, roots, strict=True)],
                )

    def write(self, root: Expr, start: int, stop: int, reader: Reader, found: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Return the encoded bytes of a block by the interpreter.

        Args:
            root: what is written.
            start, stop: the elements of the block.
            found: is added to: the values that are not finite in each input, and at its end in the block.

        Raises:
            OverflowError: when a magnitude is too large for a float8 format.
        """
        dtype = self._output.spec.dtype
        block = np.empty(stop - start, self.precision)
        for first, (values,) in self._tiles(start, stop, reader, *self._interpreted([root]), found):
            block[first - start : first - start + len(values)] = values
        raw = encode(block, dtype)
        found[-1] += count_nonfinite(raw, dtype)
        return raw

    def _interpreted(self, roots: Sequence[Expr]) -> tuple[TileProgram, Mapping[str, Value]]:
        key = (tuple(r.key for r in roots), self.precision)
        program = self._programs.get(key)
        if program is None:
            program = self._programs[key] = TileProgram(roots, self.precision)
        return program, meet(program.numbers, self.solve(program.numbers), self.precision)

    def _widen(self, start: int, stop: int) -> tuple[int, int]:
        """Return the whole rows that a run of elements touches."""
        columns = self._sizes["row"]
        return start // columns * columns, -(-stop // columns) * columns

    def _tiles(
        self,
        start: int,
        stop: int,
        reader: Reader,
        program: TileProgram,
        numbers: Mapping[str, Value],
        found: NDArray[np.int64] | None = None,
    ) -> Iterator[tuple[int, list[Array]]]:
        """Yield the values of a program on elements [start, stop), tile by tile, with the first element of each."""
        output, columns = self._output, self._sizes["row"]
        # Ranks need whole rows, however long, and whatever part of them is wanted.
        low, high = self._widen(start, stop) if self._template.ranks else (start, stop)
        for tile in reader.tiles(
            output.inputs, low, high, self.precision, numbers, self._keys, columns, self._template.needs_rows
        ):
            first, last = max(start, tile.start), min(stop, tile.start + tile.length)
            if first < last:
                cut = slice(first - tile.start, last - tile.start)
                if found is not None:
                    found[: len(tile.inputs)] += [np.count_nonzero(~np.isfinite(x[cut])) for x in tile.inputs]
                yield first, [v[..., cut] for v in program(tile)]
