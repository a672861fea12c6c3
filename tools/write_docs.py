"""Write docs/methods: a page for every method that smelt brings, and their index, from the declarations alone.

python tools/write_docs.py
"""

from __future__ import annotations

from pathlib import Path

import yaml

from smelt.algebra.catalogue import write_index, write_page
from smelt.algebra.declare import Method, catalogue

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "docs" / "methods"


def own_methods() -> list[Method]:
    """Return the methods of this package, and not those of other packages that happen to be installed."""
    return [m for m in catalogue().values() if m.function.__module__.startswith("smelt.methods.")]


def find_examples(name: str) -> dict[str, str]:
    """Return the example recipes that use a method: the one that is called like it first."""
    paths = [p for p in sorted((ROOT / "examples" / "recipes").glob("*.yml")) if uses(p, name)]
    paths.sort(key=lambda path: path.stem.replace("-", "_") != name)
    return {f"../../examples/recipes/{path.name}": path.read_text(encoding="utf-8") for path in paths}


def uses(recipe: Path, name: str) -> bool:
    """Say whether a document of a recipe is merged with a method."""
    return any(d["merge_method"] == name for d in yaml.safe_load_all(recipe.read_text(encoding="utf-8")))


def pages() -> dict[str, str]:
    """Return the text of every file of docs/methods by its name."""
    methods = own_methods()
    return {"README.md": write_index(methods)} | {f"{m.name}.md": write_page(m, find_examples(m.name)) for m in methods}


def main() -> None:
    """Write the pages, and remove those of methods that are gone."""
    FOLDER.mkdir(exist_ok=True)
    wanted = pages()
    for path in FOLDER.glob("*.md"):
        if path.name not in wanted:
            path.unlink()
    for name, text in wanted.items():
        (FOLDER / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
