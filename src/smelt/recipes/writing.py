"""Writing a recipe down: ``Recipe`` → YAML in the dialect in which it is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import yaml

from smelt.recipes.nouns import (
    Document,
    Module,
    Parameter,
    Parameters,
    Recipe,
    Reference,
    Rule,
    Slice,
    Source,
    Tokenizer,
    TokenSource,
)

Tree = dict[str, Any]
Rename = Callable[[Reference], str]


def write_recipe(recipe: Recipe, rename: Rename | None = None) -> str:
    """Return the recipe as YAML, with every default and the seed spelled out; reading it gives an equal recipe.

    Args:
        recipe: to be written.
        rename: gives the text for a model and its revision, without its adapter, for which it is asked separately;
            models that are documents are not renamed. Without it every reference is written as it was read.
    """

    def refer(reference: Reference) -> Any:
        return _reference(reference, None if recipe.find(reference) else rename)

    trees = [_document(document, refer) for document in recipe.documents]
    trees[-1]["seed"] = recipe.seed
    text = yaml.safe_dump_all(trees, sort_keys=False, allow_unicode=True, default_flow_style=None, width=10_000)
    return str(text)


def _reference(reference: Reference, rename: Rename | None) -> Any:
    lora = _path(reference.lora, rename) if reference.lora is not None else None
    if rename is None and reference.revision is not None:
        tree: Tree = {"model": reference.text, "revision": reference.revision}
    else:
        tree = {"model": rename(reference) if rename else reference.text}
    return _filled({**tree, "lora": lora}) if lora is not None or len(tree) > 1 else tree["model"]


def _path(reference: Reference, rename: Rename | None) -> Any:
    if rename is not None:
        return rename(reference)
    if reference.revision is not None:
        return {"path": reference.text, "revision": reference.revision}
    return reference.text


Refer = Callable[[Reference], Any]


def _document(document: Document, refer: Refer) -> Tree:
    return _filled(
        {
            "name": document.name,
            "merge_method": document.method.name,
            "base_model": refer(document.base_model) if document.base_model else None,
            **_modules(document.modules, refer),
            "parameters": _parameters(document.parameters),
            "dtype": document.dtype.recipe_name if document.dtype else None,
            "out_dtype": document.out_dtype.recipe_name if document.out_dtype else None,
            "tokenizer": _tokenizer(document.tokenizer, refer) if document.tokenizer else None,
            "chat_template": document.chat_template,
        }
    )


def _modules(modules: tuple[Module, ...], refer: Refer) -> Tree:
    if modules[0].name is None:
        return _slices(modules[0], refer)
    trees = {
        module.name: _filled({**_slices(module, refer), "parameters": _parameters(module.parameters)})
        for module in modules
    }
    return {"modules": trees}


def _slices(module: Module, refer: Refer) -> Tree:
    first = module.slices[0]
    if first.sources[0].layer_range is None:
        return {"models": [_source(source, refer) for source in first.sources]}
    return {"slices": [_slice(slice_, refer) for slice_ in module.slices]}


def _slice(slice_: Slice, refer: Refer) -> Tree:
    return _filled(
        {
            "sources": [_source(source, refer) for source in slice_.sources],
            "base_model": refer(slice_.base_model) if slice_.base_model else None,
            "parameters": _parameters(slice_.parameters),
        }
    )


def _source(source: Source, refer: Refer) -> Tree:
    return _filled(
        {
            "model": refer(source.model),
            "layer_range": list(source.layer_range) if source.layer_range else None,
            "parameters": _parameters(source.parameters),
        }
    )


def _parameters(parameters: Parameters) -> Tree | None:
    return {name: _rules(parameter) for name, parameter in parameters.items()} or None


def _rules(parameter: Parameter) -> Any:
    if len(parameter.rules) == 1 and parameter.rules[0].filter is None:
        return _value(parameter.rules[0])
    return [_filled({"filter": rule.filter, "value": _value(rule)}) for rule in parameter.rules]


def _value(rule: Rule) -> Any:
    return list(rule.value) if isinstance(rule.value, tuple) else rule.value


def _tokenizer(tokenizer: Tokenizer, refer: Refer) -> Tree:
    tokens = {
        token.text: _filled({"source": _token_source(token.source, refer), "force": token.force or None})
        for token in tokenizer.tokens
    }
    source = refer(tokenizer.source) if isinstance(tokenizer.source, Reference) else tokenizer.source
    return _filled({"source": source, "tokens": tokens or None, "pad_to_multiple_of": tokenizer.pad_to_multiple_of})


def _token_source(source: TokenSource, refer: Refer) -> Any:
    model = refer(source.model) if source.model else None
    if source.kind == "model":
        return model
    key = "token_id" if isinstance(source.token, int) else "token"
    return _filled({"kind": source.kind, "model": model, key: source.token})


def _filled(tree: Mapping[str, Any]) -> Tree:
    return {key: value for key, value in tree.items() if value is not None}
