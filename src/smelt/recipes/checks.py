"""What can be said about a recipe before any model is opened: numbers of models, bases, required settings."""

from __future__ import annotations

from collections.abc import Iterator

from smelt.recipes.messages import Messages
from smelt.recipes.nouns import Document, Module, Parameters, Reference, Slice


def check_document(document: Document, messages: Messages) -> None:
    """Check what the text of one document decides.

    Raises:
        InputError: for a missing base model, a wrong number of models, and a missing setting.
    """
    for module, slice_ in _slices(document):
        base = slice_.base_model or document.base_model
        if base is None and document.method.needs_base:
            raise messages.error(document.line, f"{document.method.name} needs 'base_model: PATH'")
        _check_count(document, slice_, base, messages)
        _check_required(document, module, slice_, base, messages)


def _slices(document: Document) -> Iterator[tuple[Module, Slice]]:
    return ((module, slice_) for module in document.modules for slice_ in module.slices)


def _check_count(document: Document, slice_: Slice, base: Reference | None, messages: Messages) -> None:
    method, count = document.method, len(slice_.sources)
    listed = any(source.model == base for source in slice_.sources)
    if method.tensors == ("model",) and count != 1:
        words = (
            f"{method.name} takes exactly one model per slice, not {count}; give each a slice of its own under 'slices'"
        )
        raise messages.error(slice_.line, words)
    if method.tensors == ("a", "b") and count != (2 if listed else 1):
        names = ", ".join(str(source.model) for source in slice_.sources)
        words = f"{method.name} takes exactly two models, 'base_model' ({base}) and one other; here are: {names}"
        raise messages.error(slice_.line, words)
    if "models" in method.tensors:
        models = [s.model for s in slice_.sources if not (method.takes_base and s.model == base)]
        fewest, most = method.models
        # With nothing but the base itself the result is the base, whatever the method.
        if (models or base is None) and not (fewest <= len(models) <= (most or len(models))):
            wanted = f"exactly {fewest}" if fewest == most else f"at least {fewest}"
            names = ", ".join(map(str, models)) or "none"
            words = f"{method.name} takes {wanted} models{' besides the base' if base else ''}; here are: {names}"
            raise messages.error(slice_.line, words)
    ranges = [source.layer_range for source in slice_.sources]
    if base is not None and method.takes_base and not listed and ranges.count(ranges[0]) < count:
        words = f"the base model ({base}) is not among the sources, whose layer ranges differ, so its own is unknown"
        raise messages.error(slice_.line, f"{words}; list it with its 'layer_range'")


def _check_required(
    document: Document, module: Module, slice_: Slice, base: Reference | None, messages: Messages
) -> None:
    outer = (slice_.parameters, module.parameters, document.parameters)
    for setting in document.method.settings:
        if not setting.required or _given(setting.name, outer):
            continue
        if not setting.per_model:
            words = f"{document.method.name} needs the setting '{setting.name}' ({setting.range})"
            raise messages.error(document.line, f"{words}; write it under 'parameters'")
        spared = base if document.method.takes_base else None
        for source in slice_.sources:
            if source.model != spared and not _given(setting.name, (source.parameters,)):
                exception = " but the base model" if spared else ""
                words = (
                    f"model '{source.model}' has no '{setting.name}', which {document.method.name} needs of every model"
                )
                raise messages.error(
                    source.line, f"{words}{exception}; write 'parameters: {{{setting.name}: …}}' under it"
                )


def _given(name: str, levels: tuple[Parameters, ...]) -> bool:
    """Say whether a setting stands there; one that stands only under filters is judged in planning."""
    return any(name in level for level in levels)
