"""The model card of an output: what it is made of, and how; under which licence; how to make it again."""

from __future__ import annotations

import yaml

from smelt.algebra.catalogue import cite_paper, read_words
from smelt.algebra.declare import Method
from smelt.planning.files import LICENCE_FILE
from smelt.planning.licences import Licensing, StatedLicences
from smelt.planning.plan import Plan
from smelt.tensors.checkpoint import Checkpoint


def model_card(plan: Plan) -> str:
    """Return the README of the output: front matter for the hub, what it is made of, its licence, and the recipe.

    The cards and licence files of the plan's checkpoints are read for it.
    """
    licensing = plan.licensing
    method = plan.recipe.result.method
    lines = [
        "---",
        yaml.safe_dump(_front_matter(plan, licensing), sort_keys=False, allow_unicode=True).rstrip(),
        "---",
        "",
        "# A merged model",
        "",
        f"Merged with smelt by {method.title} ({cite_paper(method)}), plan digest `{plan.digest[:16]}`.",
        "",
        "Made of:",
        "",
        *map(_describe_input, plan.checkpoints, licensing.inputs),
        "",
        *_describe_licensing(plan, licensing),
        *_describe_making(plan),
    ]
    return "\n".join(lines)


def _front_matter(plan: Plan, licensing: Licensing) -> dict[str, object]:
    front: dict[str, object] = {"license": licensing.identifier}
    if licensing.name is not None:
        front["license_name"] = licensing.name
    if licensing.link is not None:
        front["license_link"] = licensing.link
    on_hub = [checkpoint.repository for checkpoint in plan.checkpoints if checkpoint.repository is not None]
    if on_hub:
        front |= {"base_model": on_hub, "base_model_relation": "merge"}
    return front | {"library_name": "transformers", "tags": ["merge", "smelt"]}


def _describe_input(checkpoint: Checkpoint, stated: StatedLicences) -> str:
    commit = f" at `{checkpoint.commit}`" if checkpoint.commit else ""
    return f"- `{checkpoint.repository or stated.label}`{commit}, licence: {stated.names}"


def _describe_licensing(plan: Plan, licensing: Licensing) -> list[str]:
    lines = [
        "## Licence",
        "",
        f"{licensing.title}: {licensing.reason}. This was worked out from what the inputs say of themselves and is no "
        "legal advice.",
        "",
    ]
    warnings = [f"- Warning: {warning}." for warning in licensing.warnings]
    duties = [f"- {duty}" for duty in licensing.duties]
    files = [
        f"- `{name}` here is a copy of that of `{plan.labels[number]}` and speaks of that model alone."
        for number, name in plan.copies
        if LICENCE_FILE.fullmatch(name)
    ]
    if warnings or files:
        lines += [*warnings, *files, ""]
    if duties:
        lines += ["Whoever shares this model has duties:", "", *duties, ""]
    return lines


def _describe_making(plan: Plan) -> list[str]:
    methods = {document.method.name: document.method for document in plan.recipe.documents}
    return [
        "## Methods",
        "",
        *map(_describe_method, methods.values()),
        "",
        "## How to make it again",
        "",
        "```",
        "smelt reproduce OUT                   # OUT is this folder: merges again and compares",
        "smelt merge smelt_recipe.yml OUT      # merges again, into a new folder OUT",
        "```",
        "",
        "The resolved recipe, also in `smelt_recipe.yml`:",
        "",
        "```yaml",
        plan.resolved.rstrip(),
        "```",
        "",
    ]


def _describe_method(method: Method) -> str:
    reference = " ".join(read_words(method).reference.split())
    cited = cite_paper(method)
    return f"- {method.title}: " + (f"{reference} {cited}" if reference else cited)
