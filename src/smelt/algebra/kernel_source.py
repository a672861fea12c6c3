"""From an expression to the source text of a function that computes it over a tile: the third reading of a method.

The text is self-contained and knows neither settings nor the number of models: every count and offset is a parameter,
so one kernel serves 2 models and 200. It stores only what is folded over the models, drawn, ranked or selected from;
folds that do not need one another share a loop, and everything between is one expression inside the loops, floats in,
floats out, in the interpreter's order of operations. The floats are float32, or float64 throughout.

The function's parameters: ``x`` (inputs, tile) floats; ``n`` elements in the tile, the first of which is element
``start`` of the tensor; ``row`` the tensor's row, where a tile is a row; ``p`` counts and offsets; ``numbers`` floats;
``rows`` (numbers, rows) and ``columns`` (numbers, columns) floats; ``keys`` of the noise streams, (streams, 1) or
(streams, rows); ``thresholds``, as integers of the floats' width, and ``cuts`` of selections; ``s`` (scratch, tile) and
``out`` (roots, tile) floats.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby
from textwrap import indent
from typing import Any

from smelt.algebra.expressions import Expr, Sort
from smelt.algebra.kernel_body import INFIX, LoopBody, first_of_run
from smelt.algebra.kernel_helpers import HELPERS, TYPES
from smelt.algebra.numbers import numbers_in, walk_elements

PARAMETERS = "x, n, start, row, p, numbers, rows, columns, keys, thresholds, cuts, s, out"

# Computed into scratch of their own; what they work on is in scratch before them.
FOLDS = {"sum_models": "{old} + {value}", "max_models": "{value} if {value} > {old} else {old}"}
STORED = (*FOLDS, "uniform", "rank")


class UnsupportedError(Exception):
    """An expression that kernels do not compute; the interpreter does."""


@dataclass
class Layout:
    """What a kernel must be told about one use of it: the values of its parameter ``p``, and how much room it needs."""

    values: list[int] = field(default_factory=list)
    scratch: int = 0
    outputs: int = 0


@dataclass
class Kernel:
    """The source text of a tile function, the numbers and selections it reads, and the layout of this use."""

    source: str
    layout: Layout
    numbers: tuple[Expr, ...]  # in the order in which ``numbers``, ``rows`` and ``columns`` hold them
    selections: tuple[Expr, ...]  # in the order of ``thresholds`` and ``cuts``
    whole_rows: bool


def write_kernel(roots: Sequence[Expr], precision: str) -> Kernel:
    """Return the kernel that computes per-element nodes.

    Args:
        roots: the nodes.
        precision: ``float32`` or ``float64``.

    Raises:
        UnsupportedError: when an operation has no compiled form.
    """
    return _Writer(roots).write(precision)


class _Writer:
    def __init__(self, roots: Sequence[Expr]) -> None:
        self._roots = list(roots)
        self._nodes = walk_elements(roots)
        self._layout = Layout()
        self._place: dict[str, str] = {}  # stored node → expression of its first row in scratch or out
        self._lines: list[str] = []
        found = numbers_in(roots)
        self._numbers = [n for n in found if n.sort is not Sort.SELECTION]
        self._selections = [n for n in found if n.sort is Sort.SELECTION]
        self._offsets: dict[str, str] = {}
        self._whole_rows = any(n.along for n in (*found, *self._nodes)) or any(n.op == "rank" for n in self._nodes)

    def write(self, precision: str) -> Kernel:
        for node in self._nodes:
            if node.op not in INFIX and node.op not in (*STORED, "input", "stack", "pick", "selected"):
                raise UnsupportedError(node.op)
        self._lay_out_numbers()
        for _, group in groupby(self._order_stored(), key=_loop_of):
            self._store(list(group))
        for root in self._roots:
            self._write_root(root)
        body = indent("\n".join(self._lines), "    ")
        head = f"def tile_of({PARAMETERS}):\n"
        source = f"import numpy as np\n{TYPES[precision]}{HELPERS}\n\n{head}{body}\n"
        return Kernel(source, self._layout, tuple(self._numbers), tuple(self._selections), self._whole_rows)

    def _parameter(self, value: int) -> str:
        """Return the name of a count or offset that the caller passes."""
        self._layout.values.append(value)
        name = f"p{len(self._layout.values) - 1}"
        self._lines.append(f"{name} = p[{len(self._layout.values) - 1}]")
        return name

    def _lay_out_numbers(self) -> None:
        used: dict[str | None, int] = {None: 0, "row": 0, "column": 0}
        for node in self._numbers:
            self._offsets[node.key] = self._parameter(used[node.along])
            used[node.along] += node.models or 1
        selections = 0
        for node in self._selections:
            self._offsets[node.key] = self._parameter(selections)
            selections += node.models or 1

    def _order_stored(self) -> list[tuple[int, Expr]]:
        """Return what has to be in scratch and how many stored nodes deep it lies, the deepest last."""
        chosen: dict[str, Expr] = {}
        for node in self._nodes:
            if node.op in STORED or (node.op == "stack" and first_of_run(node) is None):
                chosen[node.key] = node
            if node.op in ("rank", "selected"):
                chosen[node.args[0].key] = node.args[0]
        depths: dict[str, int] = {}
        for node in self._nodes:  # operands first
            below = max((depths.get(a.key, 0) for a in node.args), default=0)
            depths[node.key] = below + (node.key in chosen)
        return sorted(((depths[key], node) for key, node in chosen.items()), key=_loop_of)

    def _store(self, group: Sequence[tuple[int, Expr]]) -> None:
        """Write what computes a node, or several folds over the same models in one go."""
        nodes = [node for _, node in group]
        places = []
        for node in nodes:
            places.append(self._parameter(self._layout.scratch))
            self._layout.scratch += node.models or 1
        node, place = nodes[0], places[0]
        if node.op in FOLDS:
            self._fold(nodes, places)
        elif node.op == "uniform":
            first, draw = self._parameter(int(node.attributes[0] or 0)), int(node.attributes[1] or 0)
            count = self._parameter(node.models or 1)
            stream, begin = ("row", "0") if node.along else ("0", "start")
            self._lines.append(
                f"for m in range({count}):\n"
                f"    fill_uniform(keys[{first} + m, {stream}], {draw}, {begin}, n, s[{place} + m])"
            )
        elif node.op == "rank":
            count, source = self._parameter(node.models or 1), self._place[node.args[0].key]
            self._lines.append(f"for m in range({count}):\n    fill_ranks(s[{source} + m], n, s[{place} + m])")
        elif node.op == "stack":
            for position, part in enumerate(node.args):
                self._loop([(part, f"s[{place} + {position}]", "{value}")], None)
        else:
            self._loop([(node, f"s[{place}{' + m' if node.models is not None else ''}]", "{value}")], node.models)
        self._place.update(zip((node.key for node in nodes), places, strict=True))

    def _fold(self, nodes: Sequence[Expr], places: Sequence[str]) -> None:
        operands = [node.args[0] for node in nodes]
        targets = [f"s[{place}]" for place in places]
        updates = [FOLDS[node.op] for node in nodes]
        self._loop([(o, t, "{value}") for o, t in zip(operands, targets, strict=True)], 1)
        self._loop(list(zip(operands, targets, updates, strict=True)), operands[0].models, first=1)

    def _write_root(self, root: Expr) -> None:
        place = self._parameter(self._layout.outputs)
        self._layout.outputs += root.models or 1
        self._loop([(root, f"out[{place}{' + m' if root.models is not None else ''}]", "{value}")], root.models)

    def _loop(self, jobs: Sequence[tuple[Expr, str, str]], models: int | None, first: int = 0) -> None:
        """Write the loops that compute nodes for every element (and model), each into its row of scratch or out.

        Rows are taken out of their arrays before the loop over the elements, so that this loop becomes vector code.

        Args:
            jobs: nodes, the row where each goes, and how the ``{value}`` enters what ``{old}`` is there.
            models, first: over which models.
        """
        body = LoopBody(self, "m" if models is not None else None)
        for number, (node, row, update) in enumerate(jobs):
            value, to = body.value(node), f"to{number}"
            body.outer.append(f"{to} = {row}")
            body.inner.append(f"{to}[j] = {update.format(value=value, old=f'{to}[j]')}")
        text = "\n".join([*body.outer, "for j in range(n):", indent("\n".join(body.inner), "    ")])
        if models is not None:
            count = "1" if models == 1 and first == 0 else self._parameter(models)
            text = f"for m in range({first}, {count}):\n" + indent(text, "    ")
        self._lines.append(text)

    def place_of(self, node: Expr) -> str | None:
        """Return where a stored node is."""
        return self._place.get(node.key)

    def offset_of(self, node: Expr) -> str:
        """Return where a number or selection is."""
        return self._offsets[node.key]

    def new_parameter(self, value: int) -> str:
        """Return a parameter for a loop's body."""
        return self._parameter(value)


def _loop_of(entry: tuple[int, Expr]) -> tuple[Any, ...]:
    """Return what says which stored nodes share a loop: folds, at one depth, over as many models."""
    depth, node = entry
    return (depth, node.args[0].models, "") if node.op in FOLDS else (depth, -1, node.key)
