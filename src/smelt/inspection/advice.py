"""What follows from the numbers for whoever wants to merge, with the evidence.

The thresholds are other people's findings, or ours where that is said; each advice names them. ``docs/diff.md`` says
where they come from.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

from smelt.inspection.differences import QUANTILES, Advice, Differences, Measure

DROPS = (0.5, 0.9, 0.99)  # of DARE
FREE_WITHIN, ONCE_SAID_WITHIN = 0.002, 0.005  # of arXiv 2311.03099, in its last and in its first version
HEAVY, FLAT = 0.8, 0.65  # share of energy in the top 20 %; of a normal distribution it is 0.65
SAME_TASK_COSINE, BASE_COSINE = 0.3, 0.05
SAME_NORM, UNEQUAL_NORMS = 1.1, 2.0
NOTABLE_ROUNDING = 0.1


def advise(found: Differences) -> Differences:
    """Return the differences together with what follows from them."""
    models = [m for m in found.whole.measures[: len(found.models)] if m.norm > 0]
    advice = [
        *_advise_on_faults(found),
        *(advice for m in models for advice in (_advise_on_dare(m), _advise_on_trimming(m))),
        *(_advise_on_rounding(m) for m in models),
        *_advise_on_model_stock(found, models),
        *_advise_on_norms(models),
        *_report_retention(found),
    ]
    return replace(found, advice=tuple(advice))


def _advise_on_faults(found: Differences) -> Iterator[Advice]:
    for model, measure in zip(found.compared, found.whole.measures, strict=True):
        if measure.nonfinite:
            names = [t.name for t in found.tensors if t.section.measures[found.compared.index(model)].nonfinite]
            yield Advice(
                "nonfinite",
                f"{model}: {measure.nonfinite:,} differences are NaN or infinite, and are left out of all numbers",
                f"in {len(names)} tensors, the first of them '{names[0]}'",
            )
        identical = len(found.identical(model))
        if identical:
            yield Advice(
                "identical",
                f"{model}: all values are the base's; as a component it contributes nothing"
                if identical == len(found.tensors)
                else f"{model}: {identical} of {len(found.tensors)} tensors are those of the base",
                "no entry differs in them",
            )


def _advise_on_dare(measure: Measure) -> Advice:
    errors = [math.sqrt(drop / (1 - drop)) for drop in DROPS]
    within = measure.quantiles[QUANTILES.index(0.99)] if measure.quantiles else 0.0
    if within <= FREE_WITHIN:
        verdict = "small enough for DARE: in the range where dropping 90 % was found to cost nothing"
    elif within <= ONCE_SAID_WITHIN:
        verdict = "at the edge for DARE: drop less than 90 %, and measure"
    else:
        verdict = "too large for DARE at high drop rates: prune by magnitude, or drop little"
    parts = [
        f"drop {drop}: {error:.0%} of the difference"
        + (f", {error * measure.relative:.2%} of the weights" if measure.relative is not None else "")
        for drop, error in zip(DROPS, errors, strict=True)
    ]
    return Advice(
        "dare",
        f"{measure.model}: {verdict}",
        f"99 % of the differences are within {within:.2g} (free within about {FREE_WITHIN}, arXiv 2311.03099); "
        f"expected error √(p/(1 − p)) at {'; '.join(parts)}",
    )


def _advise_on_trimming(measure: Measure) -> Advice:
    top, kurtosis = measure.top_energy or 0.0, measure.kurtosis or 0.0
    if top >= HEAVY:
        verdict = "heavy-tailed: trimming small entries (TIES, DELLA at low density) keeps most of the difference"
    elif top <= FLAT:
        verdict = "flat: small entries are not redundant, so trimming (TIES, DELLA at low density) loses much"
    else:
        verdict = "between flat and heavy-tailed: whether trimming pays has to be tried"
    return Advice(
        "trimming",
        f"{measure.model}: {verdict}",
        f"the top 20 % hold {top:.0%} of the energy, kurtosis {kurtosis:.3g} (normal: 65 %, 3; in our pilots trimming "
        "won at 85–89 %, 7–9, and lost at 56–60 %, 2.1–2.4)",
    )


def _advise_on_rounding(measure: Measure) -> Advice:
    share = measure.rounding_rms / measure.rms
    verdict = "notable" if share >= NOTABLE_ROUNDING else "small"
    return Advice(
        "rounding",
        f"{measure.model}: the rounding that its storage put into the differences is {verdict}: {share:.1%} of them",
        f"rms {measure.rounding_rms:.2g} from the last bits of the stored values, against rms {measure.rms:.2g}; "
        f"{share * math.sqrt(2):.1%} if the base was rounded on its own",
    )


def _advise_on_model_stock(found: Differences, models: list[Measure]) -> Iterator[Advice]:
    if len(models) < 2:
        return
    names = [m.model for m in models]
    cosines = [p.cosine for p in found.whole.pairs if p.first in names and p.second in names and p.cosine is not None]
    cosine, count = math.fsum(cosines) / len(cosines), len(models)
    divisor = 1 + (count - 1) * cosine
    weight = min(max(count * cosine / divisor, 0.0), 1.0) if divisor > 0 else 0.0
    spread = max(m.norm for m in models) / min(m.norm for m in models)
    if cosine < BASE_COSINE:
        verdict = "Model Stock would nearly return the base: the differences are at right angles"
    elif cosine >= SAME_TASK_COSINE and spread <= SAME_NORM:
        verdict = "Model Stock applies: equal norms and angles well below 90°, as of runs on the same task"
    else:
        verdict = "Model Stock is made for runs on the same task, which these do not look like"
    yield Advice(
        "model_stock",
        verdict,
        f"mean cosine {cosine:.3f}, norms within a factor of {spread:.3g}; it would take {weight:.0%} of the mean "
        "difference, N·cos/(1 + (N − 1)·cos) (arXiv 2403.19522, by tensor; here for all)",
    )


def _advise_on_norms(models: list[Measure]) -> Iterator[Advice]:
    if len(models) < 2:
        return
    ordered = sorted(models, key=lambda m: m.norm)
    ratio = ordered[-1].norm / ordered[0].norm
    if ratio >= UNEQUAL_NORMS:
        yield Advice(
            "norms",
            f"with equal weights {ordered[-1].model} dominates {ordered[0].model}: equalise the norms, or weight them",
            f"its difference is {ratio:.2g} times as long",
        )


def _report_retention(found: Differences) -> Iterator[Advice]:
    for shares in found.whole.shares:
        if shares.unexplained is None:
            yield Advice("retention", f"{shares.result}: the base itself", "no value differs from it")
            continue
        parts = zip(found.models, shares.coefficients, strict=True)
        yield Advice(
            "retention",
            f"{shares.result} is {shares.base:.3g} of the base, "
            + ", ".join(f"{coefficient:.3g} of {model}" for model, coefficient in parts),
            f"least squares over all tensors; {shares.unexplained:.1%} of its difference from the base is left over",
        )
