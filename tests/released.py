"""Which of the methods in this tree are released: those in the index of docs/methods, which tools/write_docs.py writes.

A method that is being written is held to smelt.testing alone; a released one also to its page, example and so on.
"""

import re
from pathlib import Path

from smelt.algebra.declare import catalogue

INDEX = Path(__file__).resolve().parent.parent / "docs" / "methods" / "README.md"


def released_methods():
    """Return the names of the released methods, in alphabetical order."""
    names = re.findall(r"^\| \[(\w+)\]\(\1\.md\)", INDEX.read_text(encoding="utf-8"), re.MULTILINE)
    assert [name for name in names if name not in catalogue()] == [], "run: python tools/write_docs.py"
    return names


def unfinished_methods():
    """Return the methods of this package that are not released yet, by name."""
    names = released_methods()
    own = {n: m for n, m in catalogue().items() if m.function.__module__.startswith("smelt.methods.")}
    return {name: method for name, method in own.items() if name not in names}
