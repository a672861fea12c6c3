"""An explanation as text for a terminal."""

from __future__ import annotations

from smelt.algebra.printing import print_number
from smelt.errors import listing
from smelt.explanation.closed_forms import ClosedForm, Expectation, Share, print_values
from smelt.explanation.expectation import SAME
from smelt.explanation.explain import Explanation, Passage
from smelt.explanation.groups import EVERYTHING

MOST_GROUPS = 40


def describe_explanation(explanation: Explanation) -> str:
    """Return the explanation as lines: the groups of tensors with their formulas, then notes."""
    recipe, method = explanation.recipe, explanation.recipe.result.method
    count = len(recipe.documents)
    last = f", the last of {count} merges" if count > 1 else ""
    lines = [f"{recipe.origin}: {method.title} ({method.paper}){last}"]
    if explanation.unreached:
        lines += ["", "Explained from the text alone, because these models cannot be opened:"]
        lines += [
            f"  - {model}: {reason.removeprefix(f'{model}: ')}" for model, reason in explanation.unreached.items()
        ]
        lines += ["Not checked: " + "; ".join(explanation.unchecked) + "."]
    for passage in explanation.passages[:MOST_GROUPS]:
        lines += ["", _title(passage), *(f"  {line}" for line in _describe(passage.closed))]
    if len(explanation.passages) > MOST_GROUPS:
        lines += ["", f"… and {len(explanation.passages) - MOST_GROUPS} more groups; --json has them all"]
    if explanation.notes:
        lines += ["", "Notes:"]
        lines += [f"  - {f'line {n.line}: ' if n.line else ''}{n.text}" for n in explanation.notes]
    return "\n".join(lines)


def _title(passage: Passage) -> str:
    if passage.count is None:
        return passage.tensors
    if passage.tensors == EVERYTHING:
        return f"all {passage.count} tensors"
    return f"{passage.tensors} ({passage.count} {'tensor' if passage.count == 1 else 'tensors'})"


def _describe(closed: ClosedForm) -> list[str]:
    lines = [f"W = {closed.formula}", *(f"    {part}" for part in closed.parts)]
    if closed.expectation is not None:
        lines += _describe_mean(closed.expectation)
    if closed.underivable is not None:
        lines.append(f"E[W] is not given: {closed.underivable}")
    return lines


def _describe_mean(mean: Expectation) -> list[str]:
    name = "E[W]" if mean.noise or mean.cancelled else "W"
    agreed = ", for entries whose weighted differences do not conflict in sign" if mean.assumes_agreement else ""
    lines = [f"{name} = {mean.formula}{agreed}"]
    if mean.assumes_agreement:
        lines.append(f"for the others {name} is not linear: signs and sizes decide, entry by entry, who takes part")
    if mean.spans_layers:
        lines.append("ranges hold the values of all layers and of all entries of a row")
    elif mean.hangs_on_rank:
        lines.append("ranges run from the smallest to the largest entry of a row")
    if mean.noise:
        shown = _list_shares(mean.noise, mean.reference, "is") + _name_dare(mean)
        together = "; their errors go together" if mean.shares_draws else ""
        lines.append(f"noise: the relative squared error per parameter {shown}{together}")
    if mean.cancelled:
        lines.append(
            f"on average the difference of {listing(mean.cancelled)} cancels; what is left of it is noise alone"
        )
    if mean.amplification:
        lines += _describe_amplification(mean)
    return lines


def _name_dare(mean: Expectation) -> str:
    """Return where the noise comes from, if it is that of dropping and rescaling at one density."""
    q = mean.probability
    if not q or any(abs(v * q - (1.0 - q)) > SAME for share in mean.noise for v in share.values):
        return ""
    return f" = (1 − q)/q at density q = {print_number(q)}"


def _describe_amplification(mean: Expectation) -> list[str]:
    each = f"dropping multiplies the share {_list_shares(mean.amplification, mean.reference, 'by')}, against density 1"
    if mean.law is None:
        return [each]
    q, count = mean.law
    factor = print_number((1.0 - (1.0 - q) ** count) / q)
    law = f"A(q, N) = (1 − (1 − q)^N)/q = {factor} for q = {print_number(q)}, N = {count}"
    return [each, f"dropping before a disjoint mean enlarges the edit: {law}"]


def _list_shares(shares: tuple[Share, ...], reference: str, word: str) -> str:
    """Return one number for all models, or one for each."""
    texts = [print_values(share.values) for share in shares]
    if len(texts) > 1 and all(text == texts[0] for text in texts):
        return f"of each difference {word} {texts[0]}"
    return ", ".join(f"of {s.model} − {reference} {word} {t}" for t, s in zip(texts, shares, strict=True))
