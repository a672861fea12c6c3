"""How a merge method is declared: its tensors, its settings, its paper. Everything else is derived from this.

A method is a plain function. Positional parameters are tensors: ``models``; ``base`` and ``models``; ``models`` and
``base = None`` for a base that may be left out; exactly ``a, b``; or one ``model``. A further positional parameter
``rng`` asks for randomness. Keyword-only parameters are its settings:

=====================  ==================================================================================
annotation             meaning
=====================  ==================================================================================
``float``              a finite number; one per tensor; may be a gradient or filtered
``Fraction``           a float in [0, 1]
``Positive``           a float > 0
``Factor``             a float; 1 stands for "not set" and reaches the method as ``None``
``PerModel[T]``        one T per model (``T`` a float type); reaches the method as a vector along the model axis
``bool``, ``int``      structure: the method may branch on it
``Literal["a", "b"]``  structure: one of these values
=====================  ==================================================================================
"""

from __future__ import annotations

import inspect
import math
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Generic, Literal, TypeVar, get_args, get_origin, get_type_hints

from smelt.algebra.expressions import Expr
from smelt.errors import InputError, listing, nearest

T = TypeVar("T")


class PerModel(Expr, Generic[T]):
    """Annotation of a setting that has one value per model; in the traced function it is a number per model."""


# Equal models come out as they are · their order does not matter · scaling the differences (or, without a base, the
# models) scales the result · moving all models and the base by one tensor moves the result · so does a rotation ·
# listing the base as a model changes nothing.
Property = Literal["fixed point", "model order", "scale", "translation", "rotation", "listed base"]


@dataclass(frozen=True)
class Bounds:
    """The closed range of a number; ``open_low`` leaves the lower end out; ``neutral`` means "not set"."""

    low: float = -math.inf
    high: float = math.inf
    open_low: bool = False
    neutral: float | None = None

    def admit(self, value: float) -> bool:
        """Say whether ``value`` is finite and inside."""
        above = value > self.low if self.open_low else value >= self.low
        return abs(value) <= sys.float_info.max and above and value <= self.high

    def __str__(self) -> str:
        if self.low == -math.inf and self.high == math.inf:
            return "a finite number"
        if self.high == math.inf:
            return f"a number {'above' if self.open_low else 'of at least'} {self.low:g}"
        return f"a number from {self.low:g} to {self.high:g}"


Fraction = Annotated[float, Bounds(0.0, 1.0)]
Positive = Annotated[float, Bounds(0.0, open_low=True)]
Factor = Annotated[float, Bounds(neutral=1.0)]


def every(value: float) -> Any:
    """Return the default of a per-model setting: ``value`` for every model."""
    return value


@dataclass(frozen=True)
class Setting:
    """One setting of a method, as declared."""

    name: str  # as a recipe writes it: a trailing underscore of the parameter is gone
    parameter: str  # as the function calls it
    type: type  # float, int or bool; str for choices of text
    per_model: bool
    bounds: Bounds
    choices: tuple[Any, ...]  # the allowed values of a Literal, else ()
    default: Any  # inspect.Parameter.empty when it is required
    doc: str

    @property
    def required(self) -> bool:
        """Whether a recipe must give it."""
        return self.default is inspect.Parameter.empty

    @property
    def is_slot(self) -> bool:
        """Whether it is a number that varies under one trace (a float), and not structure."""
        return self.type is float

    @property
    def range(self) -> str:
        """The allowed values in words."""
        if self.choices:
            return "one of " + ", ".join(
                "true" if c is True else "false" if c is False else str(c) for c in self.choices
            )
        if self.type is int:
            return "a whole number" if self.bounds == Bounds() else str(self.bounds).replace("number", "whole number")
        return "true or false" if self.type is bool else str(self.bounds)

    def check(self, value: Any) -> Any:
        """Return ``value`` as this setting's type.

        Raises:
            ValueError: with the words "must be <range>, not <value>".
        """
        if self.choices:
            for choice in self.choices:
                same = value == choice and (isinstance(value, str) or not isinstance(choice, str))
                if same and (isinstance(value, bool) or not isinstance(choice, bool) or value in (0, 1)):
                    return choice
        elif self.type is bool and (isinstance(value, bool) or value in (0, 1)):
            return bool(value)
        elif self.type is int and isinstance(value, int | float) and value % 1 == 0 and self.bounds.admit(value):
            return int(value)
        elif self.type is float and isinstance(value, int | float) and self.bounds.admit(value):
            return float(value)
        raise ValueError(f"must be {self.range}, not {value!r}")


@dataclass(frozen=True)
class Method:
    """A registered merge method."""

    name: str
    title: str
    paper: str
    function: Callable[..., Any]
    tensors: tuple[str, ...]  # the positional parameters that are tensors
    random: bool  # whether it takes ``rng``
    settings: tuple[Setting, ...]
    exact: Literal["everywhere", "machine"]
    models: tuple[int, int | None]  # the fewest and the most models, the base not counted
    holds: tuple[Property, ...]  # what ``smelt.testing`` checks of it

    @property
    def setting(self) -> Mapping[str, Setting]:
        """The settings by the names that recipes use."""
        return {s.name: s for s in self.settings}

    @property
    def needs_base(self) -> bool:
        """Whether a base model must be named."""
        return self.tensors[0] in ("base", "a")

    @property
    def takes_base(self) -> bool:
        """Whether a base model that is named is one of its tensors."""
        return self.needs_base or "base" in self.tensors

    @property
    def doc(self) -> str:
        """The docstring, cleaned."""
        return inspect.getdoc(self.function) or ""

    def __call__(self, *tensors: Any, **settings: Any) -> Any:
        """Apply the function to traced tensors, so that one method can be written as a setting of another."""
        return self.function(*tensors, **settings)


_registry: dict[str, Method] = {}
_loaded = False


def method(
    name: str,
    *,
    title: str,
    paper: str,
    exact: Literal["everywhere", "machine"] = "everywhere",
    models: tuple[int, int | None] = (1, None),
    holds: tuple[Property, ...] = (),
) -> Callable[[Callable[..., Any]], Method]:
    """Register the decorated function as a merge method.

    Args:
        name: what recipes write after ``merge_method:``.
        title: the method's name in prose.
        paper: an arXiv id (``arXiv:2306.01708``) or another citation.
        exact: ``everywhere`` when the bytes are the same on every machine, ``machine`` for factorisations.
        models: the fewest and the most models it takes, the base not counted; ``None`` for no limit.
        holds: properties that the conformance tests of ``smelt.testing`` hold it to.

    Raises:
        TypeError: when the signature is not a method's, or the name is taken by another function.
    """

    def register(function: Callable[..., Any]) -> Method:
        tensors, is_random, settings = _read_signature(function, name)
        unknown = [p for p in holds if p not in get_args(Property)]
        if unknown:
            raise TypeError(f"{name}: holds {unknown}; allowed: {get_args(Property)}")
        declared = Method(name, title, paper, function, tensors, is_random, settings, exact, models, holds)
        known = _registry.setdefault(name, declared)
        if known.function.__qualname__ != function.__qualname__ or known.function.__module__ != function.__module__:
            raise TypeError(f"two methods are called '{name}': {known.function.__module__} and {function.__module__}")
        _registry[name] = declared
        return declared

    return register


def find(name: str) -> Method:
    """Return the method that recipes call ``name``.

    Raises:
        InputError: with the nearest name and the catalogue.
    """
    methods = catalogue()
    if name not in methods:
        raise InputError(f"there is no merge method '{name}'{nearest(name, methods)} Methods: {listing(methods, 40)}")
    return methods[name]


def catalogue() -> dict[str, Method]:
    """Return every registered method by name, in alphabetical order; entry points are loaded at the first call."""
    global _loaded
    if not _loaded:
        from importlib.metadata import entry_points

        for entry in sorted(entry_points(group="smelt.methods"), key=lambda e: e.name):
            try:
                entry.load()
            except Exception as error:
                raise InputError(f"the merge methods of '{entry.value}' cannot be loaded: {error}") from error
        _loaded = True
    return dict(sorted(_registry.items()))


TENSORS = (("models",), ("base", "models"), ("models", "base"), ("a", "b"), ("model",))


def _read_signature(function: Callable[..., Any], name: str) -> tuple[tuple[str, ...], bool, tuple[Setting, ...]]:
    """Return a method's tensors, whether it draws, and its settings."""
    parameters = inspect.signature(function).parameters.values()
    positional = tuple(p.name for p in parameters if p.kind is not inspect.Parameter.KEYWORD_ONLY)
    tensors = positional[:-1] if positional[-1:] == ("rng",) else positional
    if tensors not in TENSORS:
        raise TypeError(f"{name}: the tensors must be one of {TENSORS}, then perhaps rng, not {tensors}")
    hints = get_type_hints(function, include_extras=True)
    docs = _setting_docs(inspect.getdoc(function) or "")
    settings = tuple(
        _declare_setting(p, hints.get(p.name), docs.get(p.name.rstrip("_"), ""))
        for p in parameters
        if p.kind is inspect.Parameter.KEYWORD_ONLY
    )
    unset = [s.parameter for s in settings if s.per_model and s.default is None]
    if unset and "models" in tensors:
        raise TypeError(f"{name}: '{unset[0]}' has a value for every model, so None cannot be its default")
    return tensors, tensors != positional, settings


def _declare_setting(parameter: inspect.Parameter, hint: Any, doc: str) -> Setting:
    if type(None) in get_args(hint):
        (hint,) = (a for a in get_args(hint) if a is not type(None))
    per_model = get_origin(hint) is PerModel
    if per_model:
        (hint,) = get_args(hint)
    bounds = Bounds()
    choices: tuple[Any, ...] = ()
    if get_origin(hint) is Annotated:
        hint, bounds = get_args(hint)
    if get_origin(hint) is Literal:
        choices = get_args(hint)
        hint = str if any(isinstance(c, str) for c in choices) else type(choices[0])
    if hint not in (float, int, bool, str) or (hint is str and not choices):
        raise TypeError(f"setting '{parameter.name}' has type {hint}; allowed: float, int, bool, Literal")
    if per_model and hint is not float:
        raise TypeError(f"setting '{parameter.name}' is a {hint.__name__} per model; only floats may differ")
    default = parameter.default
    setting = Setting(parameter.name.rstrip("_"), parameter.name, hint, per_model, bounds, choices, default, doc)
    if default is not None and not setting.required:
        try:
            setting.check(default)
        except ValueError as error:
            raise TypeError(f"the default of '{parameter.name}' {error}") from error
    return setting


def _setting_docs(docstring: str) -> dict[str, str]:
    """Read the ``Args:`` section of a docstring: parameter name → its text on one line."""
    section = re.split(r"\n(?=\S)", docstring.partition("\nArgs:\n")[2])[0]
    entries = (entry.partition(":") for entry in re.split(r"^ {4}(?=\S)", section, flags=re.MULTILINE)[1:])
    return {name: " ".join(text.split()) for name, _, text in entries}
