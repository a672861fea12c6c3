"""One document of a recipe: from the models that it names to its tensors, each bound to what computes it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from smelt.algebra.noise import stream_key
from smelt.arch.config import restack, untied, without_origin
from smelt.errors import InputError, listing, nearest
from smelt.planning.binding import Binder
from smelt.planning.pairing import Pairing, Part, Region, module_names, pair_slices, pair_whole, tied_partner
from smelt.planning.settings import Settings, settle
from smelt.planning.views import Bound, View
from smelt.planning.vocabularies import Vocabularies, align_rows, check_tokenizer
from smelt.recipes.nouns import Document, Module, Reference, Slice
from smelt.tensors.dtypes import DType

CANCELLED_SIGNS = (
    "'normalize' divides by the weights that take part, so the sign of a negative weight cancels where these sum to "
    "less than 0: the model is added, not subtracted; write 'normalize: false' to subtract it"
)


@dataclass(frozen=True)
class Merged:
    """A planned document: a view for others to build on, and what its tensors would be stored as."""

    view: View
    dtypes: Mapping[str, DType]  # of the base or first model, tensor by tensor
    views: tuple[View, ...]  # the models that it is made of, the leading one first
    notes: tuple[str, ...]


class DocumentPlanner:
    """Plans one document.

    Args:
        document: what to plan.
        seed: of the recipe.
        look_up: opens a reference, be it a checkpoint or another document.
        binder: the templates of the plan.
        vocabularies: the vocabularies of the plan's checkpoints.
    """

    def __init__(
        self,
        document: Document,
        seed: int,
        look_up: Callable[[Reference], View],
        binder: Binder,
        vocabularies: Vocabularies,
    ) -> None:
        self._document = document
        self._seed = seed
        self._look_up = look_up
        self._binder = binder
        self._vocabularies = vocabularies
        self._notes: dict[str, None] = {}
        rules = [rule for level in document.levels for parameter in level.values() for rule in parameter.rules]
        self._has_filters = any(rule.filter is not None for rule in rules)
        self._settled: dict[object, Settings] = {}

    def plan(self) -> Merged:
        """Return the document with every tensor bound.

        Raises:
            InputError: when the models do not fit together, or do not fit the recipe.
        """
        document = self._document
        # Every model that is named is opened, also one that gives nothing but its configuration or tokenizer.
        bases = [document.base_model] if document.base_model is not None else []
        named = {reference: self._look_up(reference) for reference in (*bases, *document.references())}
        parts = [[self._part(module, s) for s in module.slices] for module in document.modules]
        lead = named[document.base_model] if document.base_model is not None else parts[0][0].leader
        views = _distinct([lead, *(v for row in parts for p in row for v in p.views)])
        tokens = lead
        if document.tokenizer is not None:
            source = document.tokenizer.source
            tokens = named[source] if isinstance(source, Reference) else lead
            check_tokenizer(document.tokenizer, _distinct([*views, tokens]), lead, self._vocabularies)
        self._check_modules(lead)
        pairings: list[Pairing] = []
        regions: list[Region] = []
        for module, row in zip(document.modules, parts, strict=True):
            found, region = _pair(row, module)
            pairings += found
            regions += [region] if region else []
        tensors, dtypes = self._bind_all(pairings, lead)
        config = self._config(lead, tensors, regions)
        view = View(document.name or "the result", ("document", document.name), tensors, config, lead.home, tokens.home)
        return Merged(view, dtypes, tuple(views), tuple(self._notes))

    def _part(self, module: Module, slice_: Slice) -> Part:
        reference = slice_.base_model or self._document.base_model
        base_view = self._look_up(reference) if reference is not None else None
        views = [self._look_up(source.model) for source in slice_.sources]
        base = None
        if base_view is not None:
            base = next((i for i, v in enumerate(views) if v.identity == base_view.identity), None)
            if base is None and self._document.method.takes_base:
                views.append(base_view)
                base = len(views) - 1
        given = [source.layer_range for source in slice_.sources]
        ranges = [r for r in given if r is not None]
        whole = not ranges and len(module.slices) == 1
        if not whole:
            ranges = [r or (0, v.stacks[0].count if v.stacks else 0) for r, v in zip(given, views, strict=False)]
            ranges += ranges[:1] * (len(views) - len(ranges))
        return Part(module, slice_, tuple(views), base, None if whole else tuple(ranges))

    def _check_modules(self, lead: View) -> None:
        named = [m for m in self._document.modules if m.name is not None]
        if not named:
            return
        there = module_names(lead)
        for module in named:
            if module.name not in there:
                hint = nearest(str(module.name), there)
                words = f"'{lead.label}' has no module '{module.name}'{hint} Modules: {listing(there)}"
                raise InputError(words, module.line)
        left_out = [name for name in there if name not in [m.name for m in named]]
        if left_out:
            words = f"'modules' leaves out {listing(left_out)} of '{lead.label}'; every part of a model must be listed"
            raise InputError(words, named[0].line)

    def _bind_all(self, pairings: Sequence[Pairing], lead: View) -> tuple[dict[str, Bound], dict[str, DType]]:
        tensors: dict[str, Bound] = {}
        dtypes: dict[str, DType] = {}
        for pairing in pairings:
            arguments = [self._argument(pairing, i) for i in range(len(pairing.part.views))]
            tensors[pairing.name] = self._bind(pairing, arguments)
            guide = lead.tensors.get(pairing.name) if pairing.part.ranges is None else None
            dtypes[pairing.name] = (guide or arguments[pairing.part.lead]).dtype
        return tensors, dtypes

    def _argument(self, pairing: Pairing, number: int) -> Bound:
        part = pairing.part
        asked = self._document.tokenizer is not None
        lead_name = pairing.names[part.lead]
        return align_rows(part.views[number], pairing.names[number], part.leader, lead_name, asked, self._vocabularies)

    def _bind(self, pairing: Pairing, arguments: Sequence[Bound]) -> Bound:
        method = self._document.method
        if not all(a.dtype.is_float for a in arguments):
            return _carry(pairing, arguments)
        base = pairing.part.base
        models = list(range(len(pairing.part.slice.sources)))
        tensors: list[Bound] = []
        if method.takes_base and base is not None:
            models = [i for i in models if i != base]
            tensors = [arguments[base]]
            if "models" in method.tensors:
                models = self._without_base(pairing, models)
                if not models:
                    return arguments[base]
        settings = self._settle(pairing, models)
        if settings.structure.get("normalize") and method.takes_base and any(w < 0 for w in settings.weights):
            self._note(CANCELLED_SIGNS)
        keys = self._keys(pairing, len(models)) if method.random else ()
        tensors += [arguments[i] for i in models]
        based = base is not None
        return self._binder.bind(
            method, tensors, settings.structure, settings.slots, keys, based, self._document.name or ""
        )

    def _settle(self, pairing: Pairing, models: Sequence[int]) -> Settings:
        """Return the settings of a tensor; where no filter asks for its name, those of its layer."""
        if self._has_filters:
            return settle(self._document, pairing, models)
        key = id(pairing.part), pairing.position, tuple(models)
        if key not in self._settled:
            self._settled[key] = settle(self._document, pairing, models)
        return self._settled[key]

    def _without_base(self, pairing: Pairing, models: Sequence[int]) -> list[int]:
        """Leave out a component that is the base itself: the same model, and in a slice the same layer of it."""
        views, base = pairing.part.views, pairing.part.base
        assert base is not None
        its = views[base].identity, pairing.names[base]
        kept = [i for i in models if (views[i].identity, pairing.names[i]) != its]
        if len(kept) < len(pairing.part.slice.sources):
            label = views[base].label
            self._note(f"'{label}' is the base model itself: its difference is zero, so listing it changes nothing")
        return kept

    def _keys(self, pairing: Pairing, models: int) -> tuple[int, ...]:
        name = self._document.name or ""
        return tuple(stream_key(self._seed, name, place, pairing.name) for place in range(models))

    def _config(self, lead: View, tensors: Mapping[str, Bound], regions: Sequence[Region]) -> dict[str, Any] | None:
        if lead.config is None:
            return None
        config: dict[str, Any] = without_origin(lead.config)
        for region in regions:
            config = restack(config, region.stack, region.sources)
        heads = [n for n in tensors if n not in lead.tensors and tied_partner(lead, n) is not None]
        if heads:
            self._note(f"some models tie '{heads[0]}' to the embedding, others do not: the result has it of its own")
            config = untied(config)
        return config

    def _note(self, text: str) -> None:
        self._notes[text] = None


def _pair(parts: Sequence[Part], module: Module) -> tuple[list[Pairing], Region | None]:
    if parts[0].ranges is None:
        return list(pair_whole(parts[0], module.name)), None
    return pair_slices(parts, module.name)


def _carry(pairing: Pairing, arguments: Sequence[Bound]) -> Bound:
    """Return a tensor of integers or booleans, which all models must share."""
    lead = arguments[pairing.part.lead]
    for view, argument in zip(pairing.part.views, arguments, strict=True):
        if argument.dtype != lead.dtype:
            raise InputError(
                f"'{pairing.name}' is {lead.dtype.name} in '{pairing.part.leader.label}' and {argument.dtype.name} in "
                f"'{view.label}'; integers cannot be merged, and must be the same in all models"
            )
    others = [i for a in arguments for i in (*a.inputs[:1], *a.equal) if i != lead.inputs[0]]
    equal = tuple(dict.fromkeys((*lead.equal, *others)))
    return Bound(lead.shape, lead.dtype, lead.template, lead.inputs, equal=equal)


def _distinct(views: Sequence[View]) -> list[View]:
    return list({view.identity: view for view in reversed(views)}.values())[::-1]
