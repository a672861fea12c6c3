"""A plan in words: what would be read, written and needed."""

from __future__ import annotations

import os

from smelt.planning.licences import Licensing
from smelt.planning.plan import Output, Plan

SHOWN = 12  # groups of tensors that are listed


def summarize(plan: Plan, threads: int | None = None) -> str:
    """Return the plan as text for a terminal."""
    threads = threads or os.cpu_count() or 1
    method = plan.recipe.result.method
    cost = plan.cost
    lines = [
        f"{method.title} ({method.paper})",
        "",
        f"  models    {', '.join(plan.labels)}",
        f"  output    {len(plan.outputs)} tensors, {cost.parameters:,} parameters, {size(cost.written_bytes)} "
        f"in {len(plan.shards)} {'file' if len(plan.shards) == 1 else 'files'}",
        f"  reading   {size(cost.input_bytes)}, in {cost.passes} {'pass' if cost.passes == 1 else 'passes'} at most "
        f"({size(cost.read_bytes)} with repetitions)",
        f"  memory    about {size(cost.peak_bytes(threads))} with {threads} threads",
        f"  seed      {plan.recipe.seed}",
        f"  digest    {plan.digest}",
        *_describe_licensing(plan.licensing),
        "",
        f"{len(plan.templates)} {'template' if len(plan.templates) == 1 else 'templates'}:",
    ]
    groups = group_outputs(plan)
    for outputs in groups[:SHOWN]:
        first = outputs[0]
        lines.append(f"  {len(outputs):5d} × {_describe(plan, first)}")
        lines.append(f"          e.g. {first.spec.name}")
    if len(groups) > SHOWN:
        lines.append(f"  … and {len(groups) - SHOWN} more groups")
    if plan.notes:
        lines += ["", "Notes:", *(f"  - {note}" for note in plan.notes)]
    return "\n".join(lines)


def group_outputs(plan: Plan) -> list[list[Output]]:
    """Return the outputs that share template, settings and models, in order of their first tensor."""
    groups: dict[object, list[Output]] = {}
    for output in plan.outputs:
        models = tuple(tuple(e.checkpoint for e in pieces) for pieces in output.inputs)
        groups.setdefault((output.template, output.slots, models, output.precision), []).append(output)
    return list(groups.values())


def size(count: float) -> str:
    """Return a number of bytes in the largest fitting unit."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "bytes" or count >= 100 else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def _describe_licensing(licensing: Licensing) -> list[str]:
    return [
        f"  licence   {licensing.title}: {licensing.reason} (no legal advice)",
        *(f"            {stated.label}: {stated.names}" for stated in licensing.inputs),
        *(f"            warning: {warning}" for warning in licensing.warnings),
        *(f"            duty of {duty}" for duty in licensing.duties),
    ]


def _describe(plan: Plan, output: Output) -> str:
    if output.precision == "bytes":
        return f"{plan.labels[output.inputs[0][0].checkpoint]}, copied"
    return f"{plan.formula(output)}   [{output.precision}, {plan.templates[output.template].passes} passes]".replace(
        "1 passes", "1 pass"
    )
