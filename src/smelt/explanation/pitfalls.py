"""Notes about one merge: what its text says that may not be what was meant."""

from __future__ import annotations

from collections.abc import Iterator
from math import sqrt

from smelt.algebra.printing import print_number
from smelt.explanation.kinds import adds, drops_evenly, elects, is_sum
from smelt.explanation.merges import SMALLEST_MASS, Merge, Note, print_briefly
from smelt.planning.documents import CANCELLED_SIGNS

LARGEST = 1.2  # times the size of a parent's difference, from which a sum of several is worth a note


def find_pitfalls(merge: Merge, is_linear: bool) -> Iterator[Note]:
    """Yield the notes about a merge.

    Args:
        merge: what the notes are about.
        is_linear: whether every tensor of the recipe is known to be linear in the models.
    """
    for find in (
        _find_base,
        _find_signs,
        _find_weights,
        _find_nothing,
        _find_stacking,
        _find_agreeing,
        _find_restoring,
        _find_unused,
        _find_gradients,
    ):
        yield from find(merge)
    yield from _find_great_circles(merge, is_linear)


def _find_base(merge: Merge) -> Iterator[Note]:
    method, base, listed = merge.document.method, merge.base, merge.listed
    if base is None:
        return
    if merge.drops_base and listed is not None:
        text = f"'{base}' is the base model itself: its difference is zero, so listing it changes nothing"
        yield Note(listed.line or None, text)
        given = " and ".join(f"'{name}'" for name in listed.parameters)
        if given:
            text = f"{given} of '{base}' {'have' if ' and ' in given else 'has'} no effect: it is left out as the base"
            yield Note(listed.line or None, text)
    elif not method.takes_base and listed is not None:
        yield Note(listed.line or None, f"{method.name} has no base: '{base}' counts like every other model")
    elif not method.takes_base:
        text = (
            f"{method.name} has no base: '{base}' gives configuration, tokenizer and dtypes, and takes no part itself"
        )
        yield Note(base.line or merge.document.line or None, text)


def _find_signs(merge: Merge) -> Iterator[Note]:
    """Note negative weights whose sign ``normalize`` takes away."""
    divides = is_sum(merge.document.method) and merge.value("normalize") is True
    if not (merge.normalizes_signs or divides):
        return
    negative = [s for s in merge.sources if (merge.value("weight", s) or 0.0) < 0]
    if not is_sum(merge.document.method) or len(merge.sources) == 1:
        yield from (Note(merge.line("weight", source), CANCELLED_SIGNS) for source in negative)
    elif merge.mass is not None and merge.mass < -SMALLEST_MASS:
        total = print_number(float(f"{merge.mass:.12g}"))
        text = (
            f"the weights sum to {total}, so 'normalize' turns every sign round; write 'normalize: false' to keep them"
        )
        yield Note(merge.line("weight", negative[0]), text)


def _find_weights(merge: Merge) -> Iterator[Note]:
    """Note weights that do nothing: 0, and that of a single model that is divided by itself."""
    if not (is_sum(merge.document.method) or elects(merge.document.method)):
        return
    for source in merge.sources:
        if merge.value("weight", source) == 0:
            text = f"'{source.model}' has weight 0, so it contributes nothing"
            yield Note(merge.line("weight", source), text)
    alone = merge.sources[0] if len(merge.sources) == 1 else None
    if alone is not None and merge.value("normalize") is True and (merge.value("weight", alone) or 1.0) not in (0, 1):
        text = f"the weight of '{alone.model}' has no effect: with one model 'normalize' divides it by itself"
        yield Note(merge.line("weight", alone), text)


def _find_nothing(merge: Merge) -> Iterator[Note]:
    """Note settings that leave nothing of one difference, or of all of them."""
    method = merge.document.method
    if not (adds(method) or elects(method)):
        return
    still_counts = merge.value("equalize") or (adds(method) and merge.value("normalize"))
    for source in merge.sources:
        if merge.value("density", source) == 0:
            outcome = "but it still counts in what scales the others" if still_counts else "so it contributes nothing"
            text = f"'{source.model}' has density 0: nothing of its difference is kept, {outcome}"
            yield Note(merge.line("density", source), text)
    if merge.value("lambda") == 0:
        yield Note(merge.line("lambda"), f"at lambda 0 nothing is added to '{merge.base}': it comes out as it is")


def _find_stacking(merge: Merge) -> Iterator[Note]:
    factors = merge.coefficients()
    if factors is None or sum(abs(f) >= 0.5 for f in factors) < 2:
        return
    expected, most = sqrt(sum(f * f for f in factors)), sum(map(abs, factors))
    if expected <= LARGEST:
        return
    shown = ", ".join(f"{print_number(f)}" for f in factors)
    text = (
        f"{len(factors)} differences are added to one base with the factors {shown}: equally large and at right angles "
        f"they make one {print_briefly(expected)} times as large as a parent's, √(Σ factor²), and "
        f"{print_briefly(most)} times where they agree; positive factors that sum to at most 1 stay within the parents'"
    )
    yield Note(merge.line("weight", merge.sources[0]), text)
    dropped = zip(factors, merge.values("density"), strict=True) if drops_evenly(merge.document.method) else ()
    noisy = sqrt(sum(f * f / q for f, q in dropped if q))
    if noisy > expected:
        text = f"with the noise of dropping it is {print_briefly(noisy)} times as large, √(Σ factor²/density)"
        yield Note(merge.line("density", merge.sources[0]), text)


def _find_agreeing(merge: Merge) -> Iterator[Note]:
    """Note full-strength differences that an election adds up where they agree, when nothing averages them."""
    if not elects(merge.document.method) or merge.value("normalize") is not False or merge.value("equalize"):
        return
    weights, scale = merge.values("weight"), merge.value("lambda")
    if None in weights or scale is None:
        return
    densities = merge.values("density")
    factors = [scale * weight if q != 0 else 0.0 for weight, q in zip(weights, densities, strict=True)]
    most = sum(map(abs, factors))
    if sum(abs(f) >= 0.5 for f in factors) < 2 or most <= LARGEST:
        return
    shown = ", ".join(print_number(f) for f in factors)
    text = (
        f"differences that agree in sign are added up with the factors {shown}: where all do and are equally large, to "
        f"{print_briefly(most)} times a parent's; 'normalize: true' averages them"
    )
    yield Note(merge.line("weight", merge.sources[0]), text)


def _find_great_circles(merge: Merge, is_linear: bool) -> Iterator[Note]:
    """Note what an interpolation on the great circle comes to; nothing is known of angles without the weights."""
    method = merge.document.method.name
    names = [str(source.model) for source in merge.sources]
    if method == "slerp":
        names = [str(merge.base), *(name for name in names if name != str(merge.base))]
        share, line = merge.value("t"), merge.line("t")
        text = (
            "slerp takes the straight line where |cos Ω| > 0.9995 (angles below 1.8°), as those between "
            "fine-tunes of one base may be (`smelt diff` shows how far they are apart): that is linear with the "
            "weights 1 − t and t"
        )
    elif method == "nuslerp" and merge.base is None and len(names) == 2 and None not in merge.values("weight"):
        first, second = merge.values("weight")
        mass = first + second
        share, line = second / mass if abs(mass) >= 1e-6 else 0.5, merge.line("weight", merge.sources[0])
        text = (
            "without a base nuslerp turns the models, and fine-tunes of one base may be so nearly parallel that it is "
            "linear in effect (`smelt diff` shows how far they are apart); with 'base_model' it turns their differences"
        )
    else:
        return
    if share in (0.0, 1.0):
        text = f"{method} at t = {print_number(share)} is '{names[int(share)]}' itself, whatever the angle"
    elif is_linear:
        return
    yield Note(line, text)


def _find_restoring(merge: Merge) -> Iterator[Note]:
    """Note settings that act on what is dropped where nothing is."""
    if "density" not in merge.document.method.setting:
        return
    densities = merge.values("density")
    for name in ("rescale", "scope"):
        given = merge.find(name)
        if given is not None and given.line and densities and all(q == 1.0 for q in densities):
            yield Note(given.line, f"'{name}' has no effect: at density 1 nothing is dropped")
    for name, extremes in (("epsilon", (0.0, 1.0)), ("gamma", (1.0,))):
        for source, density in zip(merge.sources, densities, strict=True):
            given = merge.find(name, source)
            if given is not None and given.line and density in extremes:
                outcome = "everything" if density else "nothing"
                yield Note(given.line, f"'{name}' has no effect: at density {print_number(density)} {outcome} is kept")


def _find_unused(merge: Merge) -> Iterator[Note]:
    given = merge.find("nuslerp_row_wise")
    if given is not None and given.line and merge.value("nuslerp_flatten") is not False:
        yield Note(given.line, "'nuslerp_row_wise' has no effect unless 'nuslerp_flatten' is false")
    given = merge.find("equalize")
    if given is not None and given.line and merge.value("equalize") and len(merge.sources) == 1:
        yield Note(given.line, "'equalize' has no effect: a single model has the mean length already")


def _find_gradients(merge: Merge) -> Iterator[Note]:
    """Note each setting that is a gradient, at the first line that gives it."""
    lines: dict[str, int] = {}
    for level in (*(source.parameters for source in merge.sources), *merge.outer):
        for parameter in level.values():
            if any(isinstance(rule.value, tuple) for rule in parameter.rules):
                lines[parameter.name] = min(parameter.line, lines.get(parameter.name, parameter.line))
    for name, line in lines.items():
        text = (
            f"the gradient of '{name}' runs over the layers of each slice; tensors outside the layers (embeddings, "
            "final norm, head) take its first value, a slice of one layer its last"
        )
        yield Note(line or None, text)
