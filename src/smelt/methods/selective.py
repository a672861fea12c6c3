"""Methods on task vectors that look at all models' entries together: which are active, which differ most."""

from __future__ import annotations

from math import frexp, isfinite, ldexp
from typing import Annotated

from smelt.algebra.declare import Bounds, Fraction, Positive, method
from smelt.algebra.expressions import Expr
from smelt.algebra.vocabulary import (
    absolute,
    dot,
    equal,
    floor,
    kth_largest,
    largest,
    max_models,
    minimum,
    ratio,
    same_sign,
    scalar_function,
    selected,
    size,
    sum_models,
    total,
    where,
)

# Float64 sums of squares above this are infinite, or about to be.
TOO_LARGE = 1e308

Share = Annotated[float, Bounds(0.0, 1.0, neutral=1.0)]


@method(
    "sce",
    title="SCE (FuseChat)",
    paper="arXiv:2408.07990",
    holds=("fixed point", "model order", "scale", "translation", "listed base"),
)
def sce(base: Expr, models: Expr, *, select_topk: Share | None = 1.0) -> Expr:
    """Select the entries that vary most between the models, calculate a weight per model, erase minority signs.

    Of the entries whose variance over the models is not 0 the share ``select_topk`` of largest variance is kept; each
    model is weighted, tensor by tensor, by the sum of squares of what it keeps; per entry only the models with the sign
    of the unweighted sum count, and the result is their weighted mean.

    When to use it: for chat models distilled from several sources onto one base; the paper's setting is 0.1. Where
    differences are flat the entries that vary little are most of the edit: keep the share near 1.

    Args:
        select_topk: share of the varying entries that is kept; 1 keeps everything.

    Differences: the paper's code uses the selection for the weights only; here, as in mergekit, for the merge too.
    Where nothing varies (one model, or equal ones) everything is kept, while mergekit writes a tensor of a wrong shape.
    mergekit's weights are equal for differences below 1e-3; here they are what the paper says at any size,
    and equal only where a sum of squares overflows float64 (differences above 1e150, or infinite).

    Reference: Wan et al., FuseChat: Knowledge Fusion of Chat Models, 2024.
    """
    kept = models - base
    if select_topk is not None:
        kept = where(most_varying(kept, select_topk), kept, 0.0)
    energy = dot(kept, kept)
    mass = sum_models(energy)
    weight = where((mass > 0) & (mass < TOO_LARGE), energy / where(mass > 0, mass, 1.0), 1.0 / len(kept))
    agree = same_sign(kept, sum_models(kept))
    merged = sum_models(where(agree, weight * kept, 0.0))
    return base + ratio(merged, sum_models(where(agree, weight, 0.0)))


def most_varying(deltas: Expr, share: Expr | float) -> Expr:
    """Return the mask of the ``share`` of varying entries with the largest population variance over the models."""
    count = float(len(deltas))
    scaled = deltas / power_of_two(max_models(largest(absolute(deltas))))[0]  # so that no square leaves float32
    spread = scaled - sum_models(scaled) / count
    varies = max_models(deltas) > -max_models(-deltas)  # the mean of equal numbers can be rounded away from them
    variance = where(varies, sum_models(spread * spread) / count, 0.0)
    varying = total(where(varies, 1.0, 0.0))
    wanted = where(varying > 0, floor(share * varying), size())
    return selected(variance, kth_largest(variance, wanted))


@scalar_function(returns=1)
def power_of_two(x: float) -> tuple[float]:
    """Return the largest power of two that is not above x; 1 for 0 and what is not finite."""
    return (ldexp(1.0, frexp(x)[1] - 1) if x > 0 and isfinite(x) else 1.0,)


@method(
    "ram",
    title="RAM",
    paper="arXiv:2601.13572",
    holds=("fixed point", "model order", "translation", "listed base"),
)
def ram(base: Expr, models: Expr, *, epsilon: Positive = 1e-5) -> Expr:
    """Keep in full what only one model changed, and average what several changed.

    An entry of a task vector is active where |δᵢ| > epsilon; W = θ₀ + Σ active δᵢ / (number of active models).

    When to use it: for models from reinforcement learning, whose task vectors are sparse and lie in different places.
    Of dense fine-tunes it is the mean, unless epsilon is raised to where most entries count as unchanged.

    Args:
        epsilon: the change above which an entry counts as changed. In bfloat16 1e-5 is below one step of most weights.

    Reference: Yuan et al., Behavior Knowledge Merge in Reinforced Agentic Models, 2026.
    """
    active, count = active_entries(models - base, epsilon)
    return base + ratio(sum_models(active), count)


@method(
    "ramplus_tl",
    title="RAM+ (tensor-local)",
    paper="arXiv:2601.13572",
    holds=("fixed point", "model order", "translation", "listed base"),
)
def ramplus_tl(base: Expr, models: Expr, *, epsilon: Positive = 1e-5, r: float = 0.1, alpha: Fraction = 0.2) -> Expr:
    """Like ram, with what only one model changed enlarged the more of its changes it shares with others.

    Entries that are unique to model i are multiplied by 1 + r·clip(shared/unique, 0, alpha), with the numbers of its
    shared and unique active entries in the tensor.

    When to use it: where ram leaves the skills of a model too weak because most of its changes are averaged away.
    The enlargement is at most 1 + r·alpha, 2 % with the defaults: expect little of it on dense fine-tunes.

    Args:
        epsilon: the change above which an entry counts as changed.
        r: strength of the enlargement.
        alpha: the most that shared/unique counts.

    Differences: the paper counts over the whole model; here, as in mergekit, per tensor.

    Reference: Yuan et al., Behavior Knowledge Merge in Reinforced Agentic Models, 2026.
    """
    deltas = models - base
    active, count = active_entries(deltas, epsilon)
    is_active = absolute(deltas) > epsilon
    single = equal(count, 1.0)
    unique = total(where(is_active & single, 1.0, 0.0))
    shared = total(where(is_active, 1.0, 0.0)) - unique
    factor = 1.0 + r * where(unique > 0, minimum(shared / where(unique > 0, unique, 1.0), alpha), 0.0)
    return base + where(single, sum_models(factor * active), ratio(sum_models(active), count))


def active_entries(deltas: Expr, epsilon: Expr | float) -> tuple[Expr, Expr]:
    """Return the task vectors with inactive entries set to 0, and per entry the number of active models."""
    is_active = absolute(deltas) > epsilon
    return where(is_active, deltas, 0.0), sum_models(where(is_active, 1.0, 0.0))


@method(
    "magmax",
    title="MagMax",
    paper="arXiv:2407.06322",
    holds=("fixed point", "model order", "scale", "translation", "listed base"),
)
def magmax(base: Expr, models: Expr, *, lambda_: float = 1.0) -> Expr:
    """Add, entry by entry, the task vector of largest magnitude: W = θ₀ + λ·δ with |δ| = max |δᵢ|.

    When to use it: for models that were fine-tuned one after another on a sequence of tasks. It keeps one model's
    entry and throws the others' away, also where they agree; then a sum or a mean uses more of them.

    Args:
        lambda: scale of the whole edit; the paper's default is 0.5.

    Of a positive and a negative entry of equal magnitude the positive one is taken.

    Differences: none from mergekit, which lacks it.

    Reference: Marczak et al., MagMax: Leveraging Model Merging for Seamless Continual Learning, ECCV 2024.
    """
    deltas = models - base
    highest, lowest = max_models(deltas), -max_models(-deltas)
    return base + lambda_ * where(absolute(lowest) > absolute(highest), lowest, highest)
