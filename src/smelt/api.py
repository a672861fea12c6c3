"""The Python API: the same verbs as the command line."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from smelt.checking.reproduce import Reproduction, reproduce
from smelt.checking.verify import Verification, verify
from smelt.explanation.explain import Explanation, explain_recipe
from smelt.explanation.finding import find_recipe
from smelt.inspection.comparing import diff
from smelt.inspection.differences import Differences
from smelt.inspection.model import Inspection, inspect
from smelt.planning.plan import Plan
from smelt.planning.planner import DEFAULT_SHARD_SIZE, plan_recipe
from smelt.recipes.build import combine
from smelt.recipes.nouns import Recipe
from smelt.recipes.reading import read
from smelt.running.runner import Progress, run_plan
from smelt.tensors.checkpoint import Checkpoint
from smelt.tensors.combination import Combination, as_combination

__all__ = [
    "Checkpoint",
    "Differences",
    "Explanation",
    "Inspection",
    "Reproduction",
    "Verification",
    "diff",
    "explain",
    "inspect",
    "merge",
    "plan",
    "read",
    "reproduce",
    "run",
    "verify",
]


def plan(
    recipe: Recipe | Combination | Checkpoint | str | Path,
    *,
    seed: int | None = None,
    max_shard_size: str | int = DEFAULT_SHARD_SIZE,
    lenient: bool = False,
) -> Plan:
    """Decide everything about a merge from headers alone; no weight is read.

    Args:
        recipe: a recipe, what ``smelt.methods`` builds, algebra on checkpoints (``2 * math - base``), or what
            ``read`` takes.
        seed: in place of the recipe's own.
        max_shard_size: the most bytes of tensors per output file, as a number or as in ``5GB``.
        lenient: for a path or text: pass over what mergekit ignores, with a note for each.

    Raises:
        InputError: when the recipe is wrong, or the models do not fit it or one another.
    """
    if isinstance(recipe, Checkpoint | Combination):
        recipe = combine(as_combination(recipe).terms)
    if not isinstance(recipe, Recipe):
        recipe = read(recipe, lenient=lenient)
    return plan_recipe(recipe, seed=seed, max_shard_size=max_shard_size)


def explain(recipe: Recipe | Combination | Checkpoint | str | Path, *, lenient: bool = False) -> Explanation:
    """Say what a recipe computes, and what is odd about it; no weight is read.

    Models that cannot be reached are explained from the recipe's text alone.

    Args:
        recipe: as for ``plan``; or a model card, or a folder or hub id that holds ``mergekit_config.yml``,
            ``smelt_recipe.yml`` or a model card with a recipe in a fenced block.
        lenient: for a path, hub id or text: pass over what mergekit ignores, with a note for each.

    Raises:
        InputError: when there is no recipe, it is wrong, or it does not fit its models.
    """
    if isinstance(recipe, Checkpoint | Combination):
        recipe = combine(as_combination(recipe).terms)
    if not isinstance(recipe, Recipe):
        recipe = find_recipe(recipe, lenient=lenient)
    return explain_recipe(recipe)


def run(
    plan: Plan,
    into: str | os.PathLike[str] | None = None,
    *,
    threads: int | None = None,
    force: bool = False,
    non_finite: str = "auto",
    hash_inputs: bool = False,
    progress: Progress | None = None,
) -> Mapping[str, NDArray[Any]] | None:
    """Carry out a plan.

    Args:
        plan: what to do.
        into: the folder to write; without it the result is returned as arrays in memory.
        threads: number of workers, by default one per core; the result does not depend on it.
        force: whether to start again, and replace an existing folder, which stays until the new one is complete.
            Without it, what an interrupted run of the same plan has left is carried on with.
        non_finite: what becomes of NaN and infinities in the result: ``report`` them in a ``NonFiniteWarning``, make
            them an ``error``, or (``auto``) that only in tensors whose inputs are all finite.
        hash_inputs: whether the contents of the inputs are read once more, for their sha256 in ``provenance.json``.
        progress: called now and then with the bytes read so far and in all.

    Returns:
        name → array without ``into`` (bfloat16 and float8 as ``ml_dtypes``), else ``None``.

    Raises:
        InputError: when the output exists, or is or holds an input; when another run writes it, or an interrupted run
            of another plan has left its draft there.
        RunError: when an input or the output cannot be read or written, or holds what must not be there.
    """
    return run_plan(
        plan,
        into,
        threads=threads,
        force=force,
        non_finite=non_finite,
        hash_inputs=hash_inputs,
        progress=progress,
    )


def merge(
    recipe: Recipe | Combination | Checkpoint | str | Path,
    into: str | os.PathLike[str] | None = None,
    *,
    threads: int | None = None,
    seed: int | None = None,
    max_shard_size: str | int = DEFAULT_SHARD_SIZE,
    force: bool = False,
    lenient: bool = False,
    non_finite: str = "auto",
    hash_inputs: bool = False,
) -> Mapping[str, NDArray[Any]] | None:
    """Plan and run: ``smelt.merge("recipe.yml", "merged")``.

    Arguments, result and errors are those of ``plan`` and ``run``.
    """
    decided = plan(recipe, seed=seed, max_shard_size=max_shard_size, lenient=lenient)
    return run(decided, into, threads=threads, force=force, non_finite=non_finite, hash_inputs=hash_inputs)
