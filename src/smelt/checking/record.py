"""Reading ``provenance.json``: what an output says about itself, checked field by field: it may come from anywhere."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from smelt.errors import InputError, cut_middle, make_printable
from smelt.running.provenance import (
    BUILD_TYPE,
    NON_FINITE,
    PREDICATE_TYPE,
    PROVENANCE_NAME,
    STATEMENT_TYPE,
    TENSORS,
)
from smelt.tensors.folder import read_whole
from smelt.tensors.quoting import quote
from smelt.tensors.weights import read_json

LARGEST_BYTES = 30_000_000  # a tensor takes about 125; while it is read, text may take eight times its size

_TOO_LARGE = f"more than {LARGEST_BYTES // 1_000_000} MB; this is no provenance"
_LONGEST_LINE = 600  # characters
_SHA256 = re.compile(r"[0-9a-f]{64}")

T = TypeVar("T")


@dataclass(frozen=True)
class RecordedFile:
    """A weight file of an input as it was merged; ``sha256`` is of its content, where that is known."""

    size_bytes: int
    header_sha256: str
    sha256: str | None


@dataclass(frozen=True)
class RecordedInput:
    """A model that was merged: the hub's name and commit for it if it has them, and its weight files."""

    repository: str | None
    commit: str | None
    files: Mapping[str, RecordedFile]
    specs_sha256: str | None  # of the tensors' names, dtypes and shapes; for models that are not of the hub


@dataclass(frozen=True)
class Record:
    """What the provenance of an output says."""

    files: Mapping[str, str]  # the sha256 of every file but the provenance itself
    recipe: str
    max_shard_bytes: int
    inputs: Mapping[str, RecordedInput]  # by the names that the recipe uses
    versions: Mapping[str, str]
    plan_digest: str
    accuracy: str  # ``everywhere`` or ``machine``
    blas: Mapping[str, str] | None
    tensors: Mapping[str, tuple[str, list[Any]]]  # dtype and shape
    non_finite: Mapping[str, int] | None  # values of the output, where they were counted


def read_record(folder: Path) -> Record:
    """Read the provenance of an output.

    Raises:
        InputError: when there is none, or it is not one of smelt's.
    """
    path = folder / PROVENANCE_NAME
    if not folder.is_dir():
        raise InputError(f"{folder}: there is no such folder; name the output of a merge")
    if not path.is_file():
        raise InputError(f"{folder}: holds no {PROVENANCE_NAME}, so nothing is known of it; merge it again with smelt")
    if path.stat().st_size > LARGEST_BYTES:
        raise InputError(f"{path}: {_TOO_LARGE}")
    return parse_record(str(path), read_whole(path))


def parse_record(where: str, content: bytes) -> Record:
    """Return what a provenance says.

    Args:
        where: its name for messages.
        content: the file.

    Raises:
        InputError: when it is not one of smelt's.
    """
    if len(content) > LARGEST_BYTES:
        raise InputError(f"{where}: {_TOO_LARGE}")
    return _read_statement(_Tree(where, "", read_json(where, content)))


def make_lines(findings: Iterable[str]) -> tuple[str, ...]:
    """Return what was found in an output, each on one line: names and values in it may be long or hold anything."""
    return tuple(make_printable(cut_middle(finding, _LONGEST_LINE)) for finding in findings)


@dataclass(frozen=True)
class _Tree:
    """A part of the provenance, with its name for messages."""

    where: str
    path: str
    value: Any

    def take(self, path: str, kind: type[T]) -> T:
        """Return what stands under keys joined by dots."""
        found: Any = self.value
        for key in path.split("."):
            found = found.get(key) if isinstance(found, dict) else None
        if not isinstance(found, kind) or isinstance(found, bool):
            words = {dict: "an object", list: "a list", int: "a whole number", str: "text"}[kind]
            raise InputError(f"{self.where}: {self.path}{path} must be {words}; this is no provenance of a merge")
        return found

    def maybe(self, path: str, kind: type[T]) -> T | None:
        """Return the same, or ``None`` where nothing stands."""
        holder: Any = self.value
        *keys, last = path.split(".")
        for key in keys:
            holder = holder.get(key) if isinstance(holder, dict) else None
        return self.take(path, kind) if isinstance(holder, dict) and last in holder else None

    def take_sha256(self, path: str) -> str:
        """Return the digest that stands under keys joined by dots."""
        found = self.take(path, str)
        if not _SHA256.fullmatch(found):
            raise InputError(f"{self.where}: {self.path}{path} is {quote(found)}; it must be 64 hexadecimal digits")
        return found

    def maybe_sha256(self, path: str) -> str | None:
        """Return the same, or ``None`` where nothing stands."""
        return None if self.maybe(path, str) is None else self.take_sha256(path)

    def entries(self, path: str) -> list[_Tree]:
        """Return the members of a list."""
        found: list[Any] = self.take(path, list)
        return [_Tree(self.where, f"{self.path}{path}[{n}].", value) for n, value in enumerate(found)]

    def members(self, path: str) -> dict[str, _Tree]:
        """Return the members of an object."""
        found: dict[str, Any] = self.take(path, dict)
        return {name: _Tree(self.where, f"{self.path}{path}.{name}.", value) for name, value in found.items()}


def _read_statement(tree: _Tree) -> Record:
    expected = {"_type": STATEMENT_TYPE, "predicateType": PREDICATE_TYPE}
    expected["predicate.buildDefinition.buildType"] = BUILD_TYPE
    for path, value in expected.items():
        if tree.take(path, str) != value:
            raise InputError(f"{tree.where}: {path} is not '{value}'; this is no provenance of a merge by smelt")
    build = _Tree(tree.where, "predicate.buildDefinition.", tree.take("predicate.buildDefinition", dict))
    blas = build.maybe("internalParameters.blas", dict)
    byproducts = {b.take("name", str): b for b in tree.entries("predicate.runDetails.byproducts")}
    return Record(
        {_read_name(subject): subject.take_sha256("digest.sha256") for subject in tree.entries("subject")},
        build.take("externalParameters.recipe", str),
        build.take("externalParameters.maxShardBytes", int),
        {d.take("name", str): _read_input(d) for d in build.entries("resolvedDependencies")},
        {name: str(value) for name, value in build.take("internalParameters.versions", dict).items()},
        build.take_sha256("internalParameters.planDigest"),
        build.take("internalParameters.accuracyClass", str),
        {str(name): str(value) for name, value in blas.items()} if blas is not None else None,
        _read_tensors(byproducts[TENSORS]) if TENSORS in byproducts else {},
        _read_counts(byproducts[NON_FINITE]) if NON_FINITE in byproducts else None,
    )


def _read_name(subject: _Tree) -> str:
    name = subject.take("name", str)
    if name in ("", ".", "..", PROVENANCE_NAME) or any(c in name for c in "/\\\0\n\r"):
        raise InputError(
            f"{subject.where}: {subject.path}name is {quote(name)}, which is not the name of a file beside it"
        )
    return name


def _read_input(dependency: _Tree) -> RecordedInput:
    files = {
        name: RecordedFile(
            file.take("sizeBytes", int), file.take_sha256("headerSha256"), file.maybe_sha256("digest.sha256")
        )
        for name, file in dependency.members("annotations.files").items()
    }
    commit = dependency.maybe("digest.gitCommit", str)
    repository = dependency.take("name", str).removesuffix(f"@{commit}") if commit is not None else None
    return RecordedInput(repository, commit, files, dependency.maybe_sha256("digest.tensorSpecs"))


def _read_tensors(byproduct: _Tree) -> dict[str, tuple[str, list[Any]]]:
    tensors = {}
    for name, entry in byproduct.members("annotations").items():
        match entry.value:
            case [str() as dtype, list() as shape]:
                tensors[name] = (dtype, shape)
            case _:
                raise InputError(f"{entry.where}: {entry.path} must be a dtype and a shape; this is no provenance")
    return tensors


def _read_counts(byproduct: _Tree) -> dict[str, int]:
    return {name: entry.take("output", int) for name, entry in byproduct.members("annotations").items()}
