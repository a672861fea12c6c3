"""Tokenizers and the rows of embeddings: what can be carried out, and what is refused by name.

Until tokens can be aligned, a result has the tokenizer of one of its models, byte for byte. Models whose vocabulary is
the same need nothing; where one vocabulary is a prefix of the other, ``tokenizer_source: base`` cuts or lengthens the
embeddings of the others to the rows of the base.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import prod

from smelt.arch.roles import Role, role
from smelt.arch.tokenizers import Relation, compare, vocabulary
from smelt.errors import InputError, listing
from smelt.planning.plan import Extent, Input
from smelt.planning.views import Bound, View
from smelt.recipes.nouns import Reference, Tokenizer
from smelt.tensors.checkpoint import Checkpoint
from smelt.tensors.weights import read_json

TOKENIZER = "tokenizer.json"


class Vocabularies:
    """The vocabularies of a plan's checkpoints, each read once."""

    def __init__(self, checkpoints: Sequence[Checkpoint]) -> None:
        self._checkpoints = checkpoints
        self._read: dict[int, dict[str, int] | None] = {}

    def of(self, view: View) -> dict[str, int] | None:
        """Return token → id, or ``None`` for a model without ``tokenizer.json``."""
        if view.tokenizer not in self._read:
            home = self._checkpoints[view.tokenizer]
            found = TOKENIZER in home.files
            self._read[view.tokenizer] = vocabulary(home.read_file(TOKENIZER)) if found else None
        return self._read[view.tokenizer]

    def relation(self, lead: View, other: View) -> tuple[Relation | None, Sequence[str], Sequence[str]]:
        """Compare two models: how the first stands to the second, tokens that the larger adds, disagreements."""
        if lead.tokenizer == other.tokenizer:
            return Relation.SAME, (), ()
        ours, theirs = self.of(lead), self.of(other)
        if ours is None or theirs is None:
            return None, (), ()
        found = compare(ours, theirs)
        return found.relation, found.added, found.disagreements


def align_rows(view: View, name: str, lead: View, lead_name: str, asked: bool, vocabularies: Vocabularies) -> Bound:
    """Return the tensor ``name`` of ``view`` in the shape of its counterpart in ``lead``.

    Args:
        view, name: the tensor that is wanted.
        lead, lead_name: its counterpart in the leading model.
        asked: whether the recipe says ``tokenizer_source: base``.
        vocabularies: for embeddings and heads of different length.

    Raises:
        InputError: when the shapes differ and the recipe does not ask for, or the vocabularies do not allow, a cut.
    """
    ours, theirs = lead.tensors[lead_name], view.tensors[name]
    if ours.shape == theirs.shape:
        return theirs
    found = f"'{lead_name}' is {_shape(ours)} in '{lead.label}' and {_shape(theirs)} in '{view.label}'"
    rows_only = len(ours.shape) == len(theirs.shape) > 0 and ours.shape[1:] == theirs.shape[1:]
    if not rows_only or role(lead_name, ours.shape, lead.config) not in (Role.EMBEDDING, Role.HEAD):
        raise InputError(f"{found}; tensors that are merged must have the same shape")
    relation, added, disagreements = vocabularies.relation(lead, view)
    if relation in (Relation.A_IS_PREFIX, Relation.B_IS_PREFIX, Relation.SAME):
        if not asked:
            larger = view if relation is Relation.A_IS_PREFIX else lead
            tokens = f": '{larger.label}' adds {listing(added, 8)}" if added else ", for the same tokens"
            raise InputError(f"{found}{tokens}; write 'tokenizer_source: base' to keep the rows of '{lead.label}'")
        return _with_rows_of(theirs, ours, found)
    why = (
        f"their tokens differ ({listing(disagreements, 3)})" if disagreements else f"one has no {TOKENIZER} to compare"
    )
    raise InputError(f"{found}, and {why}; aligning different vocabularies is not supported yet")


def check_tokenizer(tokenizer: Tokenizer, views: Sequence[View], lead: View, vocabularies: Vocabularies) -> None:
    """Check that the tokenizer that a recipe asks for is the one that ``lead`` has.

    Raises:
        InputError: naming what is not supported yet.
    """
    line = tokenizer.line
    if tokenizer.tokens:
        raise InputError("'tokens' (embeddings of chosen tokens) is not supported yet", line)
    source = tokenizer.source
    words = f"tokenizer source '{source}'" if isinstance(source, Reference) else f"'tokenizer_source: {source}'"
    for view in views:
        relation, added, disagreements = vocabularies.relation(lead, view)
        cut = source == "base" and relation in (Relation.A_IS_PREFIX, Relation.B_IS_PREFIX)
        if relation is Relation.SAME or cut or (relation is None and source == "base"):
            continue
        what = f"the larger one adds {listing(added, 5)}" if added else listing(disagreements, 3)
        if relation is None:
            what = f"one of them has no {TOKENIZER}"
        raise InputError(
            f"{words} needs tokens to be aligned, which is not supported yet: the vocabularies of "
            f"'{lead.label}' and '{view.label}' are not known to be the same: {what}",
            line,
        )
    multiple = tokenizer.pad_to_multiple_of
    rows = [b.shape[0] for n, b in lead.tensors.items() if b.shape and role(n, b.shape, lead.config) is Role.EMBEDDING]
    if multiple is not None and any(r % multiple for r in rows):
        raise InputError(
            f"'pad_to_multiple_of: {multiple}' is not supported yet; the embedding has {rows[0]} rows", line
        )


def check_chat_template(template: str, views: Sequence[View], checkpoints: Sequence[Checkpoint]) -> None:
    """Check that the chat template that a recipe asks for is the one that gets copied.

    Raises:
        InputError: naming what is not supported yet.
    """
    if template != "auto":
        raise InputError(
            "'chat_template' other than 'auto' is not supported yet; delete the line and put the template into "
            "chat_template.jinja of the result"
        )
    found = [_chat_files(checkpoints[view.tokenizer]) for view in views]
    for view, files in zip(views, found, strict=True):
        if files != found[0]:
            raise InputError(
                f"'chat_template: auto' would have to choose: the templates of '{views[0].label}' and '{view.label}' "
                "differ; delete the line to keep that of the base"
            )


def _chat_files(home: Checkpoint) -> Mapping[str, object]:
    files: dict[str, object] = {n: home.read_file(n) for n in home.files if n.startswith("chat_template.")}
    if "tokenizer_config.json" in home.files:
        found = read_json(f"{home.name}: tokenizer_config.json", home.read_file("tokenizer_config.json"))
        files["config"] = found.get("chat_template")
    return files


def _with_rows_of(theirs: Bound, ours: Bound, found: str) -> Bound:
    if not theirs.template.is_copy or not ours.template.is_copy:
        raise InputError(f"{found}; bring the models to one vocabulary in the document that first uses them")
    wanted, there = prod(ours.shape), prod(theirs.shape)
    pieces = _cut(theirs.inputs[0], 0, min(wanted, there)) + _cut(ours.inputs[0], there, wanted)
    return replace(theirs, shape=ours.shape, inputs=(pieces,), wide=theirs.wide or ours.wide)


def _cut(pieces: Input, start: int, stop: int) -> Input:
    """Return elements [start, stop) of an input."""
    result, position = [], 0
    for piece in pieces:
        low, high = max(start, position), min(stop, position + piece.count)
        if low < high:
            result.append(Extent(piece.checkpoint, piece.tensor, piece.start + low - position, high - low))
        position += piece.count
    return tuple(result)


def _shape(bound: Bound) -> str:
    return " × ".join(map(str, bound.shape)) or "a scalar"
