"""Write docs/licences.md: the rules of src/smelt/planning/licences.yml as a table for readers.

python tools/write_licences.py
"""

from __future__ import annotations

from pathlib import Path

from smelt.planning.licences import Licence, known_licences

PAGE = Path(__file__).resolve().parent.parent / "docs" / "licences.md"
COMMERCIAL = {True: "yes", False: "no", None: "not known"}
DERIVATIVES = {
    "free": "under any licence",
    "bound": "these terms go along",
    "same": "under this licence alone",
    "none": "may not be shared",
    None: "not known",
}
HEAD = """\
# Licences

<!-- Written by tools/write_licences.py from src/smelt/planning/licences.yml; change that and run it again. -->

Before a merge runs, `smelt plan` says under which licence each input stands, and under which the merge may be shared;
the card of the output says it again. **None of this is legal advice**: it follows from what the inputs say of
themselves and from the table below, and both may be wrong.

## What an input says

The front matter of its `README.md` (`license`, `license_name`, `license_link`; lists too), and every file with
`license`, `licence`, `copying` or `notice` in its name (`.py` and `.json` aside), which is recognised by phrases of its
text. Several licences of one input all hold at once. `other` and no more means the licence file that the card links
to, or any that does not speak of code alone. A name that is not in the table stays what it is, and nothing is assumed
about its conditions; the one licence file that is not recognised beside it is its text. *Unknown* are: a card that
speaks of its licence in a way that cannot be read, or links from a known licence to other terms; any other licence file
that is not recognised, or that has words against commercial use which the known text has not; and an input that says
nothing: then all rights are reserved.

## Under which licence a merge stands

1. If the licence of an input is unknown, so is that of the merge.
2. Else, if the conditions of one input's licence cover those of all others, the merge is under that one. It covers
   another when derivatives of that other may be under any licence, and it forbids commercial use if the other does.
3. Else all of them hold at once: `license: other`, with a name that lists them.

The duties of all inputs add up in each case. There is a warning for what is unknown, for an input that forbids sharing
derivatives (a merge is one), and for a licence that derivatives must keep beside another that cannot be dropped.

## The table

| licence | on a card | kind | commercial use | derivatives | duties | read at |
|---|---|---|---|---|---|---|
"""


def row(licence: Licence) -> str:
    """Return the line of one licence."""
    title = f"[{licence.title}]({licence.link})" if licence.link else licence.title
    names = ", ".join(f"`{name}`" for name in licence.identifiers)
    source = f"{licence.source}, {licence.read}" if licence.source else ""
    permitted = f"{COMMERCIAL[licence.commercial]} | {DERIVATIVES[licence.derivatives]}"
    return f"| {title} | {names} | {licence.family} | {permitted} | {'; '.join(licence.duties)} | {source} |\n"


def page() -> str:
    """Return the text of the page."""
    return HEAD + "".join(map(row, dict.fromkeys(known_licences().values())))


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
