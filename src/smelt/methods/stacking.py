"""Carrying tensors over unmixed: layer stacks."""

from __future__ import annotations

from smelt.algebra.declare import Factor, PerModel, method
from smelt.algebra.expressions import Expr


@method("passthrough", title="Passthrough (layer stacking)", paper="arXiv:2312.15166", holds=("scale", "rotation"))
def passthrough(model: Expr, *, scale: PerModel[Factor] | None = None) -> Expr:
    """Take each tensor from one model, as it is; with ``slices`` this stacks layers of several models.

    When to use it: to build a deeper model from layers of others (depth up-scaling), or to copy and scale single
    tensors. A stack is a start for further training, as in the paper; without it, expect less than its parts can do.

    Args:
        scale: factor; at 1 the tensor's bytes are copied. 0 on o_proj and down_proj makes a layer the identity.

    Reference: Kim et al., SOLAR 10.7B: Scaling Large Language Models with Simple yet Effective Depth Up-Scaling, 2023.
    """
    return model if scale is None else scale * model
