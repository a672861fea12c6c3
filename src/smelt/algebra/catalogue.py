"""The catalogue of methods in words, made from their declarations alone: for a terminal, as pages, as data."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from smelt.algebra.declare import Method, Property, Setting
from smelt.algebra.expressions import input_tensor
from smelt.algebra.formulas import describe_parts
from smelt.algebra.templates import Template, slot_count, trace

# What a declared property says of a method with a base, and of one without.
HOLDS: Mapping[Property, tuple[str, str]] = {
    "fixed point": ("Models that equal the base give the base.", "Equal models come out as they are."),
    "model order": ("The order of the models does not matter, up to rounding.",) * 2,
    "scale": ("Scaling the differences from the base scales the edit.", "Scaling all models scales the result."),
    "translation": (
        "One tensor added to the base and all models is added to the result.",
        "One tensor added to all models is added to the result.",
    ),
    "rotation": (
        "Turning the base and all models by one orthogonal matrix turns the result.",
        "Turning all models by one orthogonal matrix turns the result.",
    ),
    "listed base": ("Listing the base among the models changes nothing.",) * 2,
}
EXACT: Mapping[str, str] = {
    "everywhere": "the same bytes on every machine, with any number of threads",
    "machine": "the same bytes in every run on one machine; others may differ in the last bits",
}
INDEX = """\
# Merge methods

<!-- Written by tools/write_docs.py from the methods' declarations; change those and run it again. -->

Each page says what a method does, when to use it and when not, and where it differs from its paper and from mergekit;
`smelt methods NAME` says the same in a terminal. For a first merge take `task_arithmetic`.

{table}

*random*: whether it draws; the same seed draws the same everywhere. *passes*: how often the models are read, with the
default settings.

## How to read a formula

Settings stand at their defaults, over two models where a method takes several. `[a, b]` has one entry per model, and Σ
and max run over the models; `u₁` is the first model's. A tensor meets a tensor entry by entry. `x where c, else y` is x
for the entries where c holds; `x or 1` is x, and 1 where x is 0. `total`, `dot` and `largest` ask about a whole tensor
or, where it says so, each row; `gram` is the table of all dot products between the models. ⌊x⌋ rounds down. `elements`
is the number of entries of the tensor, `elements(row)` that of a row; `rank` is an entry's place within its row, 0 for
the smallest magnitude; `random` is drawn anew for each entry, uniform between 0 and 1.
"""


@dataclass(frozen=True)
class Words:
    """A method's docstring in its parts; those that it lacks are empty."""

    summary: str  # one line
    details: str
    when: str
    differences: str
    reference: str


def read_words(method: Method) -> Words:
    """Return the parts of a method's docstring."""
    summary, *rest = method.doc.split("\n\n")
    labelled = {"When to use it": "", "Differences": "", "Reference": "", "Args": ""}
    details = []
    for paragraph in rest:
        label, colon, text = paragraph.partition(":")
        if colon and label in labelled:
            labelled[label] = text.strip()
        else:
            details.append(paragraph)
    when, differences, reference, _ = labelled.values()
    return Words(summary, "\n\n".join(details), when, differences, reference)


def list_methods(methods: Sequence[Method]) -> str:
    """Return one line per method."""
    width = max(len(m.name) for m in methods)
    return "\n".join(f"{m.name:<{width}}  {_plain(read_words(m).summary)}" for m in methods)


def describe_method(method: Method) -> str:
    """Return what a method does, its settings with ranges and defaults, its formula and its paper, for a terminal."""
    words = read_words(method)
    link = _link(method)
    blocks = [
        f"{method.name}: {method.title}",
        words.summary,
        words.details,
        f"When to use it: {words.when}" if words.when else "",
        "\n".join(f"{name}: {text}" for name, text in _facts(method)),
        "\n".join(["Settings:", *map(_describe_setting, method.settings)]) if method.settings else "",
        f"Formula: W = {formula(method)}",
        f"Differences: {words.differences}" if words.differences else "",
        "\n".join(["What holds:", *(f"  - {text}" for text in _holds(method))]) if method.holds else "",
        "\n".join([f"Paper: {method.paper}", *(f"  {line}" for line in (words.reference, link) if line)]),
    ]
    return _plain("\n\n".join(block for block in blocks if block))


def write_page(method: Method, examples: Mapping[str, str]) -> str:
    """Return the documentation page of a method, in Markdown.

    Args:
        method: what the page is about.
        examples: the texts of recipes that use it, by the address that the page gives them; the first is shown.
    """
    words = read_words(method)
    sections = [
        f"# {method.name}: {method.title}",
        "<!-- Written by tools/write_docs.py from the method's declaration; change that and run it again. -->",
        words.summary,
        words.details,
        f"## When to use it\n\n{_capital(words.when)}" if words.when else "",
        "## What it takes\n\n" + _table(("", ""), _facts(method)),
        "## Settings\n\n" + _settings_table(method) if method.settings else "",
        f"## Formula\n\n```\nW = {formula(method)}\n```\n\n[How to read it](README.md#how-to-read-a-formula)",
        f"## Differences from the paper and from mergekit\n\n{_capital(words.differences)}"
        if words.differences
        else "",
        "## What holds\n\n" + "\n".join(f"- {text}" for text in _holds(method)) if method.holds else "",
        f"## Paper\n\n{words.reference} {cite_paper(method)}".replace("\n\n ", "\n\n"),
        _show_examples(examples) if examples else "",
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def write_index(methods: Sequence[Method]) -> str:
    """Return the page that lists the methods, in Markdown."""
    rows = [
        (
            f"[{m.name}]({m.name}.md)",
            read_words(m).summary,
            _models(m),
            "yes" if m.random else "no",
            str(trace_defaults(m)[0].passes),
        )
        for m in methods
    ]
    return INDEX.format(table=_table(("method", "what it does", "models", "random", "passes"), rows))


def formula(method: Method) -> str:
    """Return the formula of a method with its settings at their defaults, over two models where it takes several.

    Parts that occur more than once follow on lines of their own.
    """
    template, inputs, slots = trace_defaults(method)
    body, *parts = describe_parts(template.root, inputs, slots)
    return "\n".join([body, *(f"  {part}" for part in parts)])


def method_json(method: Method) -> dict[str, Any]:
    """Return a method's declaration as plain data."""
    return {
        "name": method.name,
        "title": method.title,
        "paper": method.paper,
        "exact": method.exact,
        "models": _models(method),
        "random": method.random,
        "passes": trace_defaults(method)[0].passes,
        "holds": list(method.holds),
        "formula": formula(method),
        "documentation": method.doc,
        "settings": [
            {
                "name": s.name,
                "per_model": s.per_model,
                "range": s.range,
                "required": s.required,
                "default": None if s.required else s.default,
                "documentation": s.doc,
            }
            for s in method.settings
        ],
    }


def trace_defaults(method: Method) -> tuple[Template, list[str], list[str]]:
    """Return the template of a method with its settings at their defaults, and the names of its inputs and slots."""
    names = {"models": ["model₁", "model₂"]}
    inputs = [n for t in sorted(method.tensors) for n in names.get(t, [t])]  # the base comes before the models
    models = 2 if "models" in method.tensors else 1
    structure = {s.parameter: None if s.default is None else s.default for s in method.settings if not _is_free(s)}
    slots = [
        s.name + ("₁₂"[i] if slot_count(method, s, models) > 1 else "")
        for s in method.settings
        if _is_free(s)
        for i in range(slot_count(method, s, models))
    ]
    return trace(method, [input_tensor(i) for i in range(len(inputs))], structure, 0, 0), inputs, slots


def _is_free(setting: Setting) -> bool:
    return setting.is_slot and setting.default is not None


def _facts(method: Method) -> list[tuple[str, str]]:
    passes = trace_defaults(method)[0].passes
    return [
        ("Models", _models(method)),
        ("Random", "yes, by the recipe's seed" if method.random else "no"),
        ("Passes", f"{passes}, with the default settings"),
        ("Exact", EXACT[method.exact]),
    ]


def _models(method: Method) -> str:
    fewest, most = method.models
    count = f"exactly {fewest}" if fewest == most else "any number" if fewest == 1 else f"{fewest} or more"
    return {
        ("models",): f"{count}; a listed base is an ordinary input",
        ("base", "models"): f"a base and {count} of others" if count == "any number" else f"a base and {count} others",
        ("models", "base"): f"{count}, and a base if their differences from it are meant",
        ("a", "b"): "exactly two, the base and one other",
        ("model",): "exactly one (per slice)",
    }[method.tensors]


def _holds(method: Method) -> list[str]:
    """Return the declared properties in words."""
    if "base" not in method.tensors:
        return [HOLDS[name][1] for name in method.holds]
    if method.needs_base:
        return [HOLDS[name][0] for name in method.holds]
    both = [dict.fromkeys(HOLDS[name]) for name in method.holds]
    return [" Without a base: ".join(texts) for texts in both]


def _describe_setting(setting: Setting) -> str:
    per_model = ", per model" if setting.per_model else ""
    default = "required" if setting.required else f"default {_shown(setting.default)}"
    return f"  {setting.name}: {setting.range}{per_model}, {default}. {setting.doc}"


def _settings_table(method: Method) -> str:
    rows = [
        (
            f"`{s.name}`",
            s.range,
            "required" if s.required else _shown(s.default),
            "yes" if s.per_model else "no",
            s.doc,
        )
        for s in method.settings
    ]
    return _table(("name", "range", "default", "per model", "meaning"), rows)


def _shown(value: Any) -> str:
    if value is None:
        return "not set"
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _show_examples(examples: Mapping[str, str]) -> str:
    (address, recipe), *others = examples.items()
    more = [f"More: {', '.join(_file_link(a) for a, _ in others)}."] if others else []
    shown = f"```yaml\n{recipe.strip()}\n```"
    return "\n\n".join(["## Example", f"{_file_link(address)}, which `make demo` runs and measures:", shown, *more])


def _file_link(address: str) -> str:
    return f"[{address.rpartition('/')[2]}]({address})"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def cite_paper(method: Method) -> str:
    """Return the name of a method's paper in Markdown, linked where its declaration says where it is."""
    link = _link(method)
    return f"[{method.paper}]({link})" if link else method.paper


def _link(method: Method) -> str:
    """Return the address of a method's paper, or nothing where its declaration does not name one."""
    found = re.fullmatch(r"arXiv:(\S+)", method.paper)
    return f"https://arxiv.org/abs/{found[1]}" if found else ""


def _plain(text: str) -> str:
    return text.replace("``", "")


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
