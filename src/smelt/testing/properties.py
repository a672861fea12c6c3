"""The properties that a method may declare in ``holds``, each as a check of one variant."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from smelt.algebra.declare import Method, Property
from smelt.testing.families import BFLOAT16, Floats, Shapes, draw_family, draw_rounded
from smelt.testing.variants import Arrays, Variant, as_method, variants_of

SHAPES: Shapes = {"matrix": (16, 16), "vector": (33,), "convolution": (3, 2, 3, 3)}
SQUARE: Shapes = {"matrix": (16, 16)}

# In float64 each rounding is 1e-16 of the largest entry; iterations and cancelling differences enlarge that.
TOLERANCE = 1e-8

# What is tried of scale, down to where an absolute threshold of any usual size shows. Beside a base that is not 0
# differences that small would be rounded away.
FACTORS = (2.0**7, 2.0**-7)
FACTORS_FROM_ZERO = (2.0**20, 2.0**-20, 2.0**-40)


def check_fixed_point(method: Method | str, settings: Mapping[str, Any] | None = None) -> None:
    """Check, where declared, that equal models (base included) come out as they are, within 2 float32 roundings.

    Without a base the weights that are tried sum to 1: what is not normalized is a fixed point for those alone.
    """
    _check_declared(method, "fixed point", settings)


def check_model_order(method: Method | str, settings: Mapping[str, Any] | None = None) -> None:
    """Check, where declared, that the models may change places, their settings with them."""
    _check_declared(method, "model order", settings)


def check_scale(method: Method | str, settings: Mapping[str, Any] | None = None) -> None:
    """Check, where declared, that scaling the differences (without a base: the models) scales the result."""
    _check_declared(method, "scale", settings)


def check_translation(method: Method | str, settings: Mapping[str, Any] | None = None) -> None:
    """Check, where declared, that adding one tensor to all models and the base adds it to the result.

    Without a base the weights that are tried sum to 1.
    """
    _check_declared(method, "translation", settings)


def check_rotation(method: Method | str, settings: Mapping[str, Any] | None = None) -> None:
    """Check, where declared, that an orthogonal matrix on either side of all models acts on the result alike."""
    _check_declared(method, "rotation", settings)


def check_listed_base(method: Method | str, settings: Mapping[str, Any] | None = None) -> None:
    """Check, where declared, that listing the base among the models changes no byte.

    That is the promise of planning, which leaves the listed base out before the method sees it; what can fail is a
    declaration for which it does not.
    """
    _check_declared(method, "listed base", settings)


def suggest_properties(method: Method | str, settings: Mapping[str, Any] | None = None) -> tuple[Property, ...]:
    """Return the properties that a method does not declare, but that every check of it finds true."""
    method = as_method(method)
    missing = []
    for name in PROPERTIES:
        if name not in method.holds and applies(method, name):
            try:
                _check(method, name, settings)
            except AssertionError:
                continue
            missing.append(name)
    return tuple(missing)


def applies(method: Method, name: Property) -> bool:
    """Say whether a property has a meaning for a method's tensors."""
    needed = {"model order": ("models",), "listed base": ("base", "models")}.get(name, ())
    return all(tensor in method.tensors for tensor in needed)


def _check_declared(method: Method | str, name: Property, settings: Mapping[str, Any] | None) -> None:
    if name in as_method(method).holds:
        _check(method, name, settings)


def _check(method: Method | str, name: Property, settings: Mapping[str, Any] | None) -> None:
    for variant in variants_of(method, settings):
        if name != "listed base" or variant.has_base:
            PROPERTIES[name](variant)


def _fix_point(variant: Variant) -> None:
    for dtype, roundings in ((np.dtype(np.float32), 2), (BFLOAT16, 0)):
        model, _ = draw_family(0, SHAPES, dtype)
        copies = [dict(model) for _ in range(variant.count)]
        found = variant.merge(dict(model) if variant.has_base else None, copies)
        for name, expected in model.items():
            step = np.finfo(np.float32).eps * np.abs(expected.astype(np.float64))
            _compare(
                variant,
                f"equal models in {dtype} do not come out as they are",
                name,
                found[name],
                expected,
                roundings * step,
            )


def _order_models(variant: Variant) -> None:
    base, models = _draw(variant)
    expected = variant.merge(base, models)
    for order in ([*range(1, variant.count), 0], [*reversed(range(variant.count))]):
        found = variant.permuted(order).merge(base, [models[i] for i in order])
        _compare_all(variant, f"the models in the order {[i + 1 for i in order]} give another result", found, expected)


def _scale(variant: Variant) -> None:
    base, models = _draw(variant)
    zero = {name: np.zeros(shape) for name, shape in SHAPES.items()}
    if base is not None:
        _scale_about(variant, base, models, FACTORS)
        models = [_subtract(model, base) for model in models]
    _scale_about(variant, zero, models, (*FACTORS, *FACTORS_FROM_ZERO))


def _scale_about(variant: Variant, origin: Arrays, models: Sequence[Arrays], factors: Sequence[float]) -> None:
    base = origin if variant.has_base else None
    merged = variant.merge(base, models)
    what = "the differences from the base" if base else "the models"
    for factor in factors:
        words = f"{what} times {factor:g} do not give the result times {factor:g}"
        scaled = [_stretch(model, origin, factor) for model in models]
        _compare_all(variant, words, variant.merge(base, scaled), _stretch(merged, origin, factor))


def _translate(variant: Variant) -> None:
    base, models = _draw(variant)
    draws = np.random.default_rng(2)
    shift = {name: draw_rounded(draws, shape) for name, shape in SHAPES.items()}
    moved = [_add(model, shift) for model in models]
    found = variant.merge(_add(base, shift) if base else None, moved)
    expected = _add(variant.merge(base, models), shift)
    _compare_all(variant, "one tensor added to all models is not added to the result", found, expected)


def _rotate(variant: Variant) -> None:
    base, models = _draw(variant, SQUARE)
    turn = np.linalg.qr(np.random.default_rng(3).standard_normal(SQUARE["matrix"]))[0]
    merged = variant.merge(base, models)["matrix"]
    sides: Mapping[str, Callable[[Floats], Floats]] = {"right": lambda x: x @ turn, "left": lambda x: turn @ x}
    for side, rotate in sides.items():
        turned = [{"matrix": rotate(model["matrix"])} for model in models]
        found = variant.merge({"matrix": rotate(base["matrix"])} if base else None, turned)
        words = f"models turned by an orthogonal matrix from the {side} do not turn the result"
        _compare_all(variant, words, found, {"matrix": rotate(merged)})


def _list_base(variant: Variant) -> None:
    base, models = draw_family(variant.count, SHAPES, np.float32)
    expected = variant.merge(base, models)
    for place in (0, variant.count):
        listed = [*models[:place], base, *models[place:]]
        found = variant.with_listed_base(place).merge(base, listed)
        words = f"the base listed in place {place + 1} changes bytes"
        _compare_all(variant, words, found, expected, tolerance=0.0)


PROPERTIES: Mapping[Property, Callable[[Variant], None]] = {
    "fixed point": _fix_point,
    "model order": _order_models,
    "scale": _scale,
    "translation": _translate,
    "rotation": _rotate,
    "listed base": _list_base,
}


def _draw(variant: Variant, shapes: Shapes = SHAPES) -> tuple[Arrays | None, list[Arrays]]:
    base, models = draw_family(variant.count, shapes, np.float64)
    return base if variant.has_base else None, models


def _stretch(model: Arrays, origin: Arrays, factor: float) -> Arrays:
    return {name: origin[name] + factor * (x - origin[name]) for name, x in model.items()}


def _subtract(model: Arrays, origin: Arrays) -> Arrays:
    return {name: x - origin[name] for name, x in model.items()}


def _add(model: Arrays, shift: Arrays) -> Arrays:
    return {name: x + shift[name] for name, x in model.items()}


def _compare_all(variant: Variant, words: str, found: Arrays, expected: Arrays, tolerance: float = TOLERANCE) -> None:
    for name, array in expected.items():
        _compare(variant, words, name, found[name], array, tolerance * np.max(np.abs(array)))


def _compare(variant: Variant, words: str, name: str, found: Any, expected: Any, tolerance: Any) -> None:
    """Raise when ``found`` is further from ``expected`` than ``tolerance``, or not a number."""
    error = np.abs(found.astype(np.float64) - expected.astype(np.float64))
    wrong = ~(error <= tolerance)
    if wrong.any():
        place = tuple(int(i[0]) for i in np.nonzero(wrong))
        values = f"{float(found[place])!r}, not {float(expected[place])!r}"
        raise AssertionError(f"{variant}: {words}: '{name}' at {place} is {values}")
