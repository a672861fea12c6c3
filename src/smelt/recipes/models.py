"""Reading which models a recipe merges: references, and ``models:``, ``slices:`` or ``modules:``."""

from __future__ import annotations

from smelt.algebra.declare import Method
from smelt.recipes.fields import take_known, take_list, take_mapping, take_text
from smelt.recipes.messages import Messages
from smelt.recipes.nodes import Node
from smelt.recipes.nouns import Module, Reference, Slice, Source
from smelt.recipes.values import read_parameters

SHAPES = ("models", "slices", "modules")  # of which a recipe has exactly one


def read_reference(node: Node, what: str, messages: Messages) -> Reference:
    """Return a model that is written as text, or as a mapping with ``model``, ``revision`` and ``lora``.

    Raises:
        InputError: when it is neither, or lacks the model.
    """
    if isinstance(node.value, Reference):
        return node.value
    if not isinstance(node.value, dict):
        return Reference(take_text(node, what, messages), line=node.line)
    if "override_architecture" in node.value:
        words = "'override_architecture' is not supported: the architecture is read off the tensors; delete the line"
        raise messages.error(node.value["override_architecture"].line, words)
    entries = take_known(node, ("model", "revision", "lora"), what, messages)
    if "model" not in entries:
        raise messages.error(
            node.line, f"{what} has no 'model': write 'model: PATH', with 'revision' and 'lora' beside it"
        )
    path = _read_path(entries["model"], what, messages)
    revision = path.revision
    if "revision" in entries:
        if revision is not None:
            raise messages.error(entries["revision"].line, f"{what} has two revisions; delete one")
        revision = take_text(entries["revision"], "'revision'", messages)
    lora = _read_path(entries["lora"], "'lora'", messages) if "lora" in entries else None
    return Reference(path.text, revision, lora, node.line)


def _read_path(node: Node, what: str, messages: Messages) -> Reference:
    if not isinstance(node.value, dict):
        return Reference(take_text(node, what, messages), line=node.line)
    entries = take_known(node, ("path", "revision"), what, messages)
    if "path" not in entries:
        raise messages.error(node.line, f"{what} has no 'path'")
    revision = take_text(entries["revision"], "'revision'", messages) if "revision" in entries else None
    return Reference(take_text(entries["path"], "'path'", messages), revision, line=node.line)


def read_modules(entries: dict[str, Node], line: int, method: Method, messages: Messages) -> tuple[Module, ...]:
    """Return the modules of a document with these entries; one without a name where it writes models or slices.

    Raises:
        InputError: also unless it has exactly one of the three.
    """
    shape = _read_shape(entries, SHAPES, "a recipe", line, messages)
    if shape != "modules":
        return (Module(None, _read_slices(entries, shape, method, messages), {}, entries[shape].line),)
    modules = take_mapping(entries["modules"], "'modules'", messages)
    if not modules:
        raise messages.error(entries["modules"].line, "'modules' is empty")
    return tuple(_read_module(name, node, method, messages) for name, node in modules.items())


def _read_module(name: str, node: Node, method: Method, messages: Messages) -> Module:
    entries = take_known(node, ("models", "slices", "parameters"), f"module '{name}'", messages)
    shape = _read_shape(entries, ("models", "slices"), f"module '{name}'", node.line, messages)
    parameters = read_parameters(entries.get("parameters"), method, "module", messages)
    return Module(name, _read_slices(entries, shape, method, messages), parameters, node.line)


def _read_shape(entries: dict[str, Node], shapes: tuple[str, ...], what: str, line: int, messages: Messages) -> str:
    found = [shape for shape in shapes if shape in entries]
    choice = f"exactly one of {', '.join(shapes)}"
    if not found:
        raise messages.error(line, f"{what} must have {choice}; this one has none")
    if len(found) > 1:
        second = max(entries[shape].line for shape in found)
        raise messages.error(second, f"{what} must have {choice}; this one has {' and '.join(found)}")
    return found[0]


def _read_slices(entries: dict[str, Node], shape: str, method: Method, messages: Messages) -> tuple[Slice, ...]:
    node = entries[shape]
    items = take_list(node, f"'{shape}'", messages)
    if shape == "slices":
        return tuple(_read_slice(item, method, messages) for item in items)
    sources = tuple(_read_source(item, ("model", "parameters"), method, messages) for item in items)
    return (Slice(sources, None, {}, node.line),)


def _read_slice(node: Node, method: Method, messages: Messages) -> Slice:
    entries = take_known(node, ("sources", "base_model", "parameters", "residual_weight"), "a slice", messages)
    if "sources" not in entries:
        raise messages.error(node.line, "a slice has no 'sources'")
    if "residual_weight" in entries:
        messages.note(
            entries["residual_weight"].line, "'residual_weight' has no effect: mergekit never reads it either"
        )
    keys = ("model", "layer_range", "parameters")
    items = take_list(entries["sources"], "'sources'", messages)
    sources = tuple(_read_source(item, keys, method, messages) for item in items)
    lengths = [source.layer_range[1] - source.layer_range[0] for source in sources if source.layer_range is not None]
    for source, length in zip(sources, lengths, strict=True):
        if length != lengths[0]:
            words = f"this source has {length} layers and the first has {lengths[0]}; in a slice all have equally many"
            raise messages.error(source.line, words)
    given = entries.get("base_model")
    reference = read_reference(given, "'base_model'", messages) if given is not None else None
    return Slice(sources, reference, read_parameters(entries.get("parameters"), method, "slice", messages), node.line)


def _read_source(node: Node, keys: tuple[str, ...], method: Method, messages: Messages) -> Source:
    if not isinstance(node.value, dict):
        raise messages.error(node.line, f"a model is a mapping; write '- model: {node.text or 'PATH'}'")
    sliced = "layer_range" in keys
    if "layer_range" in node.value and not sliced:
        words = "'layer_range' has no place under 'models', which merges whole models; use 'slices' with 'sources'."
        messages.ignore(node.value["layer_range"].line, words)
    wanted = {key: item for key, item in node.value.items() if sliced or key != "layer_range"}
    entries = take_known(Node(wanted, node.line), keys, "a source" if sliced else "an entry of 'models'", messages)
    for key in keys[:-1]:
        if key not in entries:
            example = "'layer_range: [0, 16]' (the end is not included)" if key == "layer_range" else "'model: PATH'"
            raise messages.error(node.line, f"this {'source' if sliced else 'entry'} has no '{key}'; write {example}")
    layer_range = _read_range(entries["layer_range"], messages) if sliced else None
    parameters = read_parameters(entries.get("parameters"), method, "model", messages)
    return Source(read_reference(entries["model"], "'model'", messages), layer_range, parameters, node.line)


def _read_range(node: Node, messages: Messages) -> tuple[int, int]:
    ends = [item.value for item in node.value] if isinstance(node.value, list) else []
    whole = [end for end in ends if isinstance(end, int) and not isinstance(end, bool)]
    if len(ends) != 2 or len(whole) != 2 or whole[0] < 0 or whole[0] >= whole[1]:
        shown = f"[{', '.join(item.text for item in node.value)}]" if isinstance(node.value, list) else str(node)
        words = f"'layer_range' must be two whole numbers [first, end] with 0 <= first < end, not {shown}"
        raise messages.error(node.line, words)
    return whole[0], whole[1]
