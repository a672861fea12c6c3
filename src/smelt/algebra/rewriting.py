"""Changing expressions: node by node, and what a template's inputs, slots and noise streams are called."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from smelt.algebra.expressions import Expr, input_tensor, walk


def rewrite(root: Expr, change: Callable[[Expr], Expr]) -> Expr:
    """Return ``root`` with ``change`` applied to every node, arguments first."""
    done: dict[str, Expr] = {}
    for node in walk(root):
        args = tuple(done[a.key] for a in node.args)
        same = all(x is y for x, y in zip(args, node.args, strict=True))
        moved = node if same else replace(node, args=args)
        done[node.key] = change(moved)
    return done[root.key]


def renumber(root: Expr, inputs: Sequence[int], first_slot: int, first_key: int) -> Expr:
    """Return ``root`` with input ``inputs[i]`` for input ``i``, and slots and noise streams counted from the given."""

    def change(node: Expr) -> Expr:
        if node.op == "input":
            return input_tensor(inputs[int(node.attributes[0] or 0)])
        first = {"slot": first_slot, "slots": first_slot, "uniform": first_key}.get(node.op)
        if not first:
            return node
        attributes = (int(node.attributes[0] or 0) + first, *node.attributes[1:])
        return replace(node, attributes=attributes)

    return rewrite(root, change)
