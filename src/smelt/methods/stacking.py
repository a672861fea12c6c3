"""Carrying tensors over unmixed: layer stacks."""

from __future__ import annotations

from smelt.algebra.declare import Factor, PerModel, method
from smelt.algebra.expressions import Expr


@method("passthrough", title="Passthrough (layer stacking)", paper="arXiv:2312.15166")
def passthrough(model: Expr, *, scale: PerModel[Factor] | None = None) -> Expr:
    """Take each tensor from one model, as it is; with ``slices`` this stacks layers of several models.

    Args:
        scale: factor; at 1 the tensor's bytes are copied. 0 on ``o_proj`` and ``down_proj`` makes a layer the identity.
    """
    return model if scale is None else scale * model
