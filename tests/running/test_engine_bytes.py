"""The compiled engine gives the interpreter's bytes, for every method."""

import pytest
from engine_families import (
    LARGE,
    OUT_DTYPES,
    PLAIN,
    SMALL,
    add_spares,
    check_same,
    draw,
    draw_outliers,
    draw_special,
    draw_ties,
    few_storages,
    few_variants,
    model_count,
    plan_variant,
    storages_for,
)

from smelt.algebra.declare import catalogue
from smelt.algebra.grid import BLOCK
from smelt.running.runner import Pace
from smelt.tensors.dtypes import dtype_of_array
from smelt.testing.variants import variants_of

# Odd reads: a lane's width, none that divides a block, several tiles and a part of one.
PACES = (Pace(1), Pace(2, span=256), Pace(2, span=256 * 7, window=1))
SELECTING = ("breadcrumbs", "breadcrumbs_ties", "ram", "sce", "ties", "arcee_fusion")


def few(names):
    """Return the few variants of methods; all but the first of each method are for the full suite."""
    cases = []
    for name in names:
        for place, variant in enumerate(few_variants(name)):
            marks = [pytest.mark.full] if place else []
            cases.append(pytest.param(variant, id=f"{name}-{place}", marks=marks))
    return cases


@pytest.mark.parametrize("variant", few(catalogue()))
def test_dtypes_and_awkward_sizes(variant):
    models = draw(model_count(variant), SMALL, few_storages(variant))
    check_same(plan_variant(variant, models), *PACES)  # stored as the first model is


@pytest.mark.parametrize("out_dtype", OUT_DTYPES)
@pytest.mark.parametrize("name", ["linear", "ties", "della"])
def test_all_pairs_of_dtypes(name, out_dtype):
    variant = variants_of(name)[0]
    models = draw(model_count(variant), SMALL, storages_for(variant))
    check_same(plan_variant(variant, models, out_dtype=out_dtype), *PACES)


@pytest.mark.parametrize("variant", few(catalogue()))
def test_special_values(variant):
    models = draw_special(model_count(variant), SMALL, few_storages(variant))
    turn = dtype_of_array(list(models[-1].values())[-1].dtype).recipe_name  # where infinities may be an error
    for out_dtype in ("bfloat16", "float32", turn):
        check_same(plan_variant(variant, models, out_dtype=out_dtype))


@pytest.mark.parametrize("variant", few(catalogue()))
def test_ties(variant):
    models = add_spares(variant, draw_ties(model_count(variant), SMALL))
    check_same(plan_variant(variant, models))


@pytest.mark.full
@pytest.mark.parametrize("name", list(catalogue()))
def test_every_variant(name):
    for place, variant in enumerate(variants_of(name)):
        # All dtypes in one text take seconds to compile, so of each method one variant meets them all; the others meet
        # the plain ones, which are in every text, and take the dtypes of outputs by turns.
        models = draw(model_count(variant), SMALL, PLAIN if place else storages_for(variant))
        for out_dtype in OUT_DTYPES[place % len(OUT_DTYPES) :][:1] if place else OUT_DTYPES:
            check_same(plan_variant(variant, models, out_dtype=out_dtype))


@pytest.mark.parametrize("variant", few(catalogue()))
def test_several_blocks(variant):
    sizes = {name: LARGE[name] for name in ("blocks of rows", "block and one")}
    models = add_spares(variant, draw(model_count(variant), sizes, ["bfloat16"]))
    check_same(plan_variant(variant, models), Pace(2))


@pytest.mark.full
@pytest.mark.parametrize("variant", few(catalogue()))
def test_all_large_sizes(variant):
    is_first = variant == few_variants(variant.method.name)[0]
    for storage in ("bfloat16", "float32", few_storages(variant)[-1]) if is_first else ("bfloat16",):
        models = add_spares(variant, draw(model_count(variant), LARGE, [storage]))
        check_same(plan_variant(variant, models), Pace(2), Pace(1, span=2**16 + 256))


@pytest.mark.parametrize("variant", few(SELECTING))
def test_ties_at_the_threshold_of_several_blocks(variant):
    models = draw_ties(model_count(variant), {name: LARGE[name] for name in ("blocks", "blocks of rows")})
    check_same(plan_variant(variant, add_spares(variant, models)), Pace(2))


@pytest.mark.parametrize("variant", few(SELECTING))
def test_brackets_that_miss(variant):
    """A sample of runs overlooks a stretch of large differences, so that its bracket does not hold the threshold."""
    models = draw_outliers(model_count(variant), 6 * BLOCK + 5)
    check_same(plan_variant(variant, add_spares(variant, models)), Pace(2))
