"""From a recipe to a plan: opens the models' headers, plans each document, lays out the files."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from smelt import __version__
from smelt.algebra.templates import COPY, Template
from smelt.arch.config import with_dtype
from smelt.collecting import without_collector
from smelt.errors import InputError, listing, nearest
from smelt.planning.binding import Binder
from smelt.planning.cost import estimate
from smelt.planning.documents import DocumentPlanner, Merged
from smelt.planning.files import choose_copies, public_names, public_reference
from smelt.planning.model_questions import check_model_questions
from smelt.planning.plan import Output, Plan, hash_work, stored_dtype
from smelt.planning.views import Bound, View, view_checkpoint
from smelt.planning.vocabularies import Vocabularies, check_chat_template
from smelt.recipes.nouns import Document, Recipe, Reference
from smelt.recipes.writing import write_recipe
from smelt.tensors.checkpoint import Checkpoint
from smelt.tensors.dtypes import DType
from smelt.tensors.shards import lay_out, parse_size
from smelt.tensors.spec import TensorSpec

DEFAULT_SHARD_SIZE = "5GB"

OpenModel = Callable[[Reference], Checkpoint]


def open_model(reference: Reference) -> Checkpoint:
    """Open the model where the reference says that it is."""
    return reference.checkpoint or Checkpoint(reference.text, reference.revision)


def plan_recipe(
    recipe: Recipe,
    *,
    seed: int | None = None,
    max_shard_size: str | int = DEFAULT_SHARD_SIZE,
    opened_by: OpenModel = open_model,
) -> Plan:
    """Decide everything about a merge, reading headers and configurations only.

    Args:
        recipe: what to do.
        seed: in place of the recipe's own.
        max_shard_size: the most bytes of tensors per file, as a number or as in ``5GB``.
        opened_by: opens the models that the recipe names.

    Raises:
        InputError: when the models do not fit the recipe or one another.
    """
    shard_bytes = parse_size(str(max_shard_size))
    if seed is not None:
        recipe = replace(recipe, seed=seed)
    with without_collector():
        return _Planner(recipe, opened_by).plan(shard_bytes)


class _Planner:
    def __init__(self, recipe: Recipe, opened_by: OpenModel) -> None:
        self._recipe = recipe
        self._opened_by = opened_by
        self._checkpoints: list[Checkpoint] = []
        self._views: dict[Any, View] = {}  # by the checkpoint's identity
        self._named: dict[str, View] = {}  # planned documents
        self._opened: dict[Reference, View] = {}
        self._binder = Binder()
        self._vocabularies = Vocabularies(self._checkpoints)

    def plan(self, shard_bytes: int) -> Plan:
        recipe, notes = self._recipe, list(self._recipe.notes)
        for document in recipe.documents:
            merged = self._plan_document(document)
            notes.extend(merged.notes)
            if document.name is not None:
                self._named[document.name] = merged.view
        notes.extend(_note_gradients(recipe.documents))
        outputs, templates = self._outputs(merged)
        try:
            check_model_questions(outputs, templates)
        except InputError as error:
            raise self._located(error, recipe.result.line) from error
        checkpoints = tuple(self._checkpoints)
        labels = tuple(public_names(checkpoints, recipe.names))
        resolved, digest = self._resolve(labels), hash_work(templates, outputs)
        made_by = {"smelt.recipe": resolved, "smelt.plan_digest": digest, "smelt.version": __version__}
        return Plan(
            recipe,
            resolved,
            digest,
            shard_bytes,
            checkpoints,
            labels,
            tuple(checkpoint.fingerprint() for checkpoint in checkpoints),
            tuple(templates),
            tuple(outputs),
            tuple(lay_out([o.spec for o in outputs], shard_bytes, made_by)),
            _final_config(merged.view.config, outputs),
            tuple(choose_copies(self._checkpoints, merged.view.home, merged.view.tokenizer)),
            tuple(dict.fromkeys(notes)),
            estimate(outputs, templates, checkpoints),
        )

    def _resolve(self, labels: Sequence[str]) -> str:
        def rename(reference: Reference) -> str:
            home = self._opened[reference].home
            return public_reference(self._checkpoints[home], labels[home])

        return write_recipe(self._recipe, rename)

    def _plan_document(self, document: Document) -> Merged:
        look_up = self._look_up
        planner = DocumentPlanner(document, self._recipe.seed, look_up, self._binder, self._vocabularies)
        try:
            merged = planner.plan()
            if document.chat_template is not None:
                check_chat_template(document.chat_template, merged.views, self._checkpoints)
            return merged
        except InputError as error:
            raise self._located(error, document.line) from error

    def _located(self, error: InputError, line: int) -> InputError:
        line = line if error.line is None else error.line
        return InputError(f"{self._recipe.origin}:{line}: {error}" if line else f"{self._recipe.origin}: {error}")

    def _look_up(self, reference: Reference) -> View:
        document = self._recipe.find(reference)
        if document is not None:
            return self._named[str(document.name)]
        if reference not in self._opened:
            self._opened[reference] = self._open(reference)
        return self._opened[reference]

    def _open(self, reference: Reference) -> View:
        if reference.lora is not None:
            raise InputError(
                f"adapters are not supported yet: merge the adapter '{reference.lora}' into its model first "
                "(peft: model.merge_and_unload()) and name the result",
                reference.line,
            )
        try:
            checkpoint = self._opened_by(reference)
            identity = checkpoint.identity
            if identity not in self._views:
                self._views[identity] = view_checkpoint(checkpoint, len(self._checkpoints), str(reference))
                self._checkpoints.append(checkpoint)
        except InputError as error:
            raise InputError(f"{error}{self._hint_documents(reference)}", reference.line) from error
        return self._views[identity]

    def _hint_documents(self, reference: Reference) -> str:
        """Name the documents, one of which may be meant by a model that is not on disk."""
        names = self._recipe.names
        if not names or not reference.may_be_document or os.path.exists(reference.text):
            return ""
        return f" (documents of this recipe: {listing(names)}{nearest(reference.text, names).rstrip('.')})"

    def _outputs(self, merged: Merged) -> tuple[list[Output], list[Template]]:
        document = self._recipe.result
        asked = document.out_dtype or document.dtype
        numbers: dict[str, int] = {}
        templates: list[Template] = []
        outputs = []
        for name, bound in merged.view.tensors.items():
            number = numbers.setdefault(bound.template.root.key, len(templates))
            if number == len(templates):
                templates.append(bound.template)
            outputs.append(self._output(name, bound, asked or merged.dtypes[name], number))
        return outputs, templates

    def _output(self, name: str, bound: Bound, dtype: DType, template: int) -> Output:
        pieces = bound.inputs[0]
        stored = [stored_dtype(self._checkpoints, piece) for piece in pieces]
        if not stored[0].is_float:
            dtype = stored[0]
        copied = bound.template.root == COPY.root and all(s == dtype for s in stored)
        precision = "bytes" if copied else "float64" if bound.wide else "float32"
        spec = TensorSpec(name, bound.shape, dtype)
        return Output(spec, template, bound.inputs, bound.slots, bound.keys, precision, bound.equal)  # type: ignore[arg-type]


def _final_config(config: Mapping[str, Any] | None, outputs: Sequence[Output]) -> dict[str, Any] | None:
    """Return the configuration with the dtype that most parameters are stored in."""
    if config is None:
        return None
    elements: dict[str, int] = {}
    for output in outputs:
        if output.spec.dtype.is_float:
            name = output.spec.dtype.recipe_name
            elements[name] = elements.get(name, 0) + output.spec.elements
    return with_dtype(config, max(elements, key=lambda n: elements[n])) if elements else dict(config)


def _note_gradients(documents: Iterable[Document]) -> list[str]:
    """Note what a gradient means for the tensors that surprise people."""
    notes = []
    for document in documents:
        given = [p for level in document.levels for p in level.values()]
        graded = [p for p in given if any(isinstance(r.value, tuple) for r in p.rules)]
        for name in dict.fromkeys(p.name for p in graded):
            notes.append(
                f"the gradient of '{name}' runs over the layers of each slice; tensors outside the layers (embeddings, "
                "final norm, head) take its first value, a slice of one layer its last"
            )
    return notes
