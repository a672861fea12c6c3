"""What a recipe says, once it has been read. Lines are those of the recipe's file and take no part in equality."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from smelt.algebra.declare import Method
from smelt.tensors.dtypes import DType

Value = float | int | bool | str | tuple[float, ...]


def _line() -> Any:
    return field(default=0, compare=False)


@dataclass(frozen=True)
class Reference:
    """A model as it was written; splitting ``path@revision+adapter`` takes a look at the disk, so ``text`` is whole."""

    text: str
    revision: str | None = None  # only where the recipe wrote it as a key of its own
    lora: Reference | None = None  # likewise
    line: int = _line()
    checkpoint: Any = field(default=None, repr=False)  # an open model given from Python, called ``text``

    @property
    def may_be_document(self) -> bool:
        """Whether ``text`` is looked up among the names of documents first."""
        return self.revision is None and self.checkpoint is None

    def __str__(self) -> str:
        revision = f"@{self.revision}" if self.revision else ""
        return f"{self.text}{revision}+{self.lora}" if self.lora else self.text + revision


@dataclass(frozen=True)
class Rule:
    """A value for the tensors whose name contains ``filter``, for all when it is ``None``; a tuple is a gradient."""

    filter: str | None
    value: Value


@dataclass(frozen=True)
class Parameter:
    """The value of one setting at one level of a recipe: the first rule that matches a tensor's name holds."""

    name: str
    rules: tuple[Rule, ...]
    line: int = _line()


Parameters = Mapping[str, Parameter]


@dataclass(frozen=True)
class Source:
    """One model of a slice; ``layer_range`` is half-open, and ``None`` stands for the whole model."""

    model: Reference
    layer_range: tuple[int, int] | None
    parameters: Parameters
    line: int = _line()


@dataclass(frozen=True)
class Slice:
    """Layers that are merged with one another."""

    sources: tuple[Source, ...]
    base_model: Reference | None  # in place of the document's
    parameters: Parameters
    line: int = _line()


@dataclass(frozen=True)
class Module:
    """A part of a model, such as its text tower, as its slices in order; the whole model when ``name`` is ``None``."""

    name: str | None
    slices: tuple[Slice, ...]
    parameters: Parameters
    line: int = _line()


@dataclass(frozen=True)
class TokenSource:
    """Where the embedding of a token comes from."""

    kind: Literal["model", "model_token", "zero"]
    model: Reference | None = None
    token: str | int | None = None  # of that model, by text or by number; for ``model_token``


@dataclass(frozen=True)
class Token:
    """A token with an embedding of its own choosing; ``force`` also where a model has that token."""

    text: str
    source: TokenSource
    force: bool = False
    line: int = _line()


@dataclass(frozen=True)
class Tokenizer:
    """Which vocabulary the result has."""

    source: Literal["base", "union"] | Reference
    tokens: tuple[Token, ...] = ()
    pad_to_multiple_of: int | None = None
    line: int = _line()


@dataclass(frozen=True)
class Document:
    """One merge. ``parameters`` holds the default of every setting that has one, so that nothing is left unsaid."""

    name: str | None
    method: Method
    base_model: Reference | None
    modules: tuple[Module, ...]
    parameters: Parameters
    dtype: DType | None = None
    out_dtype: DType | None = None
    tokenizer: Tokenizer | None = None
    chat_template: str | None = None
    line: int = _line()

    @property
    def title(self) -> str:
        """How messages call it."""
        return f"'{self.name}'" if self.name is not None else "the unnamed one"

    @property
    def levels(self) -> Iterator[Parameters]:
        """Its parameters, then those of each module, of each slice in it, and of each source in that."""
        yield self.parameters
        for module in self.modules:
            yield module.parameters
            for slice_ in module.slices:
                yield slice_.parameters
                yield from (source.parameters for source in slice_.sources)

    def references(self) -> Iterator[Reference]:
        """Yield every model that it mentions, in order, repetitions included."""
        for slice_ in (s for module in self.modules for s in module.slices):
            yield from (source.model for source in slice_.sources)
            if slice_.base_model is not None:
                yield slice_.base_model
        if self.base_model is not None:
            yield self.base_model
        if self.tokenizer is not None:
            if isinstance(self.tokenizer.source, Reference):
                yield self.tokenizer.source
            yield from (t.source.model for t in self.tokenizer.tokens if t.source.model is not None)


@dataclass(frozen=True)
class Recipe:
    """Merges that build on one another by name, each after those that it uses; the last one is the result."""

    documents: tuple[Document, ...]
    seed: int = 0
    origin: str = field(default="recipe", compare=False)  # what messages call the recipe
    notes: tuple[str, ...] = field(default=(), compare=False)  # what the reader should know, a line each

    @property
    def result(self) -> Document:
        """The document whose merge is written."""
        return self.documents[-1]

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the documents, for messages about a model that is neither here nor on disk."""
        return tuple(d.name for d in self.documents if d.name is not None)

    def find(self, reference: Reference) -> Document | None:
        """Return the document that ``reference`` names, or ``None`` when it is a model from elsewhere."""
        if not reference.may_be_document:
            return None
        return next((document for document in self.documents if document.name == reference.text), None)
