"""The model card of an output: what it is made of, and how."""

from __future__ import annotations

from collections.abc import Sequence

import yaml

from smelt.planning.plan import Plan


def model_card(plan: Plan, recipe: str) -> str:
    """Return the README of the output: front matter for the hub, what it is made of, and the recipe."""
    made_of = [
        (c.repository or label, c.repository is not None, c.commit)
        for c, label in zip(plan.checkpoints, plan.labels, strict=True)
    ]
    front: dict[str, object] = {}
    on_hub = [name for name, is_hub, _ in made_of if is_hub]
    if on_hub:
        front["base_model"] = on_hub
        front["base_model_relation"] = "merge"
    front |= {"library_name": "transformers", "tags": ["merge", "smelt"]}
    method = plan.recipe.result.method
    lines = [
        "---",
        yaml.safe_dump(front, sort_keys=False, allow_unicode=True).rstrip(),
        "---",
        "",
        "# A merged model",
        "",
        f"Merged with smelt by {method.title} ({_cite(method.paper)}), plan digest `{plan.digest[:16]}`.",
        "",
        "Made of:",
        "",
        *_list_models(made_of),
        "",
        "The resolved recipe, also in `smelt_recipe.yml`:",
        "",
        "```yaml",
        recipe.rstrip(),
        "```",
        "",
    ]
    return "\n".join(lines)


def _list_models(made_of: Sequence[tuple[str, bool, str | None]]) -> list[str]:
    return [f"- `{name}`" + (f" at `{commit}`" if commit else "") for name, _, commit in made_of]


def _cite(paper: str) -> str:
    if paper.startswith("arXiv:"):
        return f"[{paper}](https://arxiv.org/abs/{paper.removeprefix('arXiv:')})"
    return paper
