"""Questions that are asked of the whole model: what must be equal in all its tensors for them to have one answer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from smelt.algebra.expressions import Expr, walk
from smelt.algebra.grid import sizes_of
from smelt.algebra.numbers import solve
from smelt.algebra.templates import Template
from smelt.errors import InputError
from smelt.planning.plan import Output

ANY_SIZE = 2**40  # stands for the number of elements of the model, which does not matter for being equal


def check_model_questions(outputs: Sequence[Output], templates: Sequence[Template]) -> None:
    """Check that every tensor asks the same of the whole model.

    Raises:
        InputError: when a setting that decides how much is selected differs between tensors, or their precision does.
    """
    questions = [[n for n in walk(t.root) if n.op == "select" and n.attributes] for t in templates]
    first: dict[object, tuple[object, str]] = {}
    for output in outputs:
        for node in questions[output.template]:
            asked = (_wanted(node, output), node.models, output.precision)
            there, name = first.setdefault(node.attributes, (asked, output.spec.name))
            if there != asked:
                raise InputError(
                    "'scope: model' selects from all tensors together, so its settings cannot differ between tensors, "
                    f"as they do between '{name}' and '{output.spec.name}': no gradients or filters for density and "
                    "gamma, and the same models and precision throughout"
                )


def _wanted(node: Expr, output: Output) -> tuple[float, ...]:
    sizes = {**sizes_of(output.spec.shape), "model": ANY_SIZE}
    try:
        value = solve([node.args[1]], output.slots, sizes, {})[node.args[1].key]
    except LookupError:  # it depends on an answer that only the run knows
        return ()
    return tuple(np.atleast_1d(value).tolist())
