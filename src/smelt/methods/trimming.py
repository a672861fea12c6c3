"""Task vectors of which entries are kept by their magnitude."""

from __future__ import annotations

from typing import Literal

from smelt.algebra.declare import Fraction, PerModel, every, method
from smelt.algebra.expressions import Expr
from smelt.algebra.vocabulary import Scope, floor, keep_largest, kth_largest, minimum, selected, size, where
from smelt.methods.task_vectors import Equalize, Restore, combined, equalized, restored

Over = Literal["row", "tensor", "model"]


@method(
    "ties",
    title="TIES-Merging",
    paper="arXiv:2306.01708",
    holds=("fixed point", "model order", "scale", "translation", "listed base"),
)
def ties(
    base: Expr,
    models: Expr,
    *,
    weight: PerModel[float],
    density: PerModel[Fraction] = every(1.0),
    normalize: bool = True,
    lambda_: float = 1.0,
    rescale: Restore = False,
    scope: Over = "tensor",
    equalize: Equalize = False,
) -> Expr:
    """Keep each task vector's largest entries, elect one sign per entry, average the entries that agree with it.

    When to use it: for several fine-tunes whose differences are heavy-tailed (the largest fifth of the entries holds
    most of the energy, as after SGD). With flat differences (short runs of Adam) the small entries matter, and trimming
    costs more than the election gains; then try a density near 1, or task arithmetic. On public fine-tunes of language
    models it brought no reliable gain (arXiv:2511.21437).

    Args:
        weight: vote and share of each task vector.
        density: share of entries kept: exactly ⌊density · entries⌋ of largest magnitude, of equal ones those with the
            lowest index.
        normalize: divide each entry by the summed weights of the models that agree (a disjoint mean), else add up.
        lambda: scale of the whole edit.
        rescale: l1 scales each trimmed task vector back to the summed magnitude it had before trimming.
        scope: over what the largest are sought: each row, each tensor, or the whole model, as in the paper.
        equalize: l2 first scales the task vectors of each tensor to their mean length.

    Differences: ``rescale: l1`` restores every tensor by itself, also where ``scope`` is the model and little is kept
    of some. The paper trims over the whole model (here, as in mergekit, per tensor), elects on unweighted
    differences and divides by a count. Where the votes cancel exactly + is elected; the paper takes the sign of the
    majority in the whole model. A NaN agrees with no sign.

    Reference: Yadav et al., TIES-Merging: Resolving Interference When Merging Models, NeurIPS 2023.
    """
    deltas = equalized(models - base, equalize)
    kept = keep_largest(deltas, density, scope)
    return base + combined(kept, weight, True, normalize, lambda_, restored(deltas, kept, rescale))


@method(
    "breadcrumbs",
    title="Model Breadcrumbs",
    paper="arXiv:2312.06795",
    holds=("fixed point", "model order", "scale", "translation", "listed base"),
)
def breadcrumbs(
    base: Expr,
    models: Expr,
    *,
    weight: PerModel[float],
    density: PerModel[Fraction] = every(1.0),
    gamma: PerModel[Fraction] = every(0.01),
    normalize: bool = False,
    lambda_: float = 1.0,
    rescale: Restore = False,
    scope: Over = "tensor",
    equalize: Equalize = False,
) -> Expr:
    """Drop the largest outliers and the smallest entries of each task vector, add up what lies between.

    When to use it: for sums of task vectors whose outliers are thought to do harm; the paper's settings are near
    density 0.15, gamma 0.006, lambda 0.2. Where differences are flat, dropping the small entries costs more than the
    outliers did. The sum grows with the number of models, and lambda has to be found anew for each.

    Args:
        weight: coefficient of each task vector.
        density: share of entries kept; at 1 nothing is dropped, whatever gamma says.
        gamma: share of the largest entries dropped; less if density leaves no room for it.
        normalize: divide by Σ wᵢ.
        lambda: scale of the whole edit.
        rescale: l1 scales what is kept back to the summed magnitude of the whole task vector.
        scope: over what entries are ranked: each row, as in the paper's code, each tensor, or the model.
        equalize: l2 first scales the task vectors of each tensor to their mean length.

    Differences: with ⌊gamma · entries⌋ = 0 (gamma 0, small tensors) mergekit drops everything; here nothing is dropped
    at the top.

    Reference: Davari and Belilovsky, Model Breadcrumbs: Scaling Multi-Task Model Merging with Sparse Masks, ECCV 2024.
    """
    deltas = equalized(models - base, equalize)
    kept = keep_between(deltas, density, gamma, scope)
    return base + combined(kept, weight, False, normalize, lambda_, restored(deltas, kept, rescale))


@method(
    "breadcrumbs_ties",
    title="Model Breadcrumbs with sign election",
    paper="arXiv:2312.06795",
    holds=("fixed point", "model order", "scale", "translation", "listed base"),
)
def breadcrumbs_ties(
    base: Expr,
    models: Expr,
    *,
    weight: PerModel[float],
    density: PerModel[Fraction] = every(1.0),
    gamma: PerModel[Fraction] = every(0.01),
    normalize: bool = False,
    lambda_: float = 1.0,
    rescale: Restore = False,
    scope: Over = "tensor",
    equalize: Equalize = False,
) -> Expr:
    """Drop the largest outliers and the smallest entries of each task vector, then elect one sign per entry.

    When to use it: like breadcrumbs, where the models pull in different directions. With normalize the edit
    does not grow with the number of models.

    Args:
        weight: vote and share of each task vector.
        density: share of entries kept; at 1 nothing is dropped, whatever gamma says.
        gamma: share of the largest entries dropped; less if density leaves no room for it.
        normalize: divide each entry by the summed weights of the models that agree.
        lambda: scale of the whole edit.
        rescale: l1 scales what is kept back to the summed magnitude of the whole task vector.
        scope: over what entries are ranked: each row, each tensor, or the model.
        equalize: l2 first scales the task vectors of each tensor to their mean length.

    Differences: the paper has no election. With ⌊gamma · entries⌋ = 0 nothing is dropped at the top, as in breadcrumbs.

    Reference: Davari and Belilovsky, Model Breadcrumbs: Scaling Multi-Task Model Merging with Sparse Masks, ECCV 2024.
    """
    deltas = equalized(models - base, equalize)
    kept = keep_between(deltas, density, gamma, scope)
    return base + combined(kept, weight, True, normalize, lambda_, restored(deltas, kept, rescale))


def keep_between(deltas: Expr, density: Expr, gamma: Expr, scope: Scope) -> Expr:
    """Return the entries that rank, by magnitude, below the gamma largest and among the next ⌊density · entries⌋."""
    entries = size(scope)
    wanted = floor(density * entries)
    above = minimum(floor(gamma * entries), entries - wanted)
    outliers = selected(deltas, kth_largest(deltas, above, scope))
    upper = selected(deltas, kth_largest(deltas, above + wanted, scope))
    return where(outliers, 0.0, where(upper, deltas, 0.0))
