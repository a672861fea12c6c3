"""``provenance.json``: what an output is made of, as an in-toto Statement with a SLSA provenance predicate.

Everything in it but two times follows from the plan, the inputs, the versions that computed it and, for methods
declared ``machine``, the machine; no path of this machine enters. ``docs/provenance.md`` explains each field.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from smelt import __version__
from smelt.algebra.declare import Setting
from smelt.algebra.grid import NUMERICS_VERSION
from smelt.planning.files import public_reference
from smelt.planning.plan import Plan
from smelt.recipes.nouns import Document, Parameters, Rule
from smelt.running.blas import describe_blas
from smelt.running.companions import write_whole
from smelt.running.inputs import InputFile, describe_files
from smelt.running.nonfinite import NonFinite
from smelt.tensors.checkpoint import Checkpoint

PROVENANCE_NAME = "provenance.json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://slsa.dev/provenance/v1"
# The project has no address of its own that these could point to; URIs of an own scheme claim nobody else's.
BUILD_TYPE = "smelt:merge/v1"
BUILDER_ID = "smelt:runner"
TENSORS = "tensors"
NON_FINITE = "non-finite values"


def write_provenance(
    plan: Plan,
    folder: Path,
    checksums: Mapping[str, str],
    started: datetime,
    *,
    hash_inputs: bool = False,
    non_finite: Mapping[str, NonFinite] | None = None,
) -> None:
    """Write ``provenance.json``.

    Args:
        plan: what was carried out; its checkpoints are on this machine.
        folder: of the output.
        checksums: sha256 in hexadecimal of every other file of the output, by name.
        started: when the run began, in UTC.
        hash_inputs: whether the contents of the inputs are read once more and their sha256 recorded.
        non_finite: of the tensors that have any, how many values are NaN or infinite; ``None`` if not counted.

    Raises:
        OSError, RunError: when it cannot be written, or an input cannot be read.
    """
    times = {"startedOn": _write_time(started), "finishedOn": _write_time(datetime.now(timezone.utc))}
    statement = {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": name, "digest": {"sha256": checksums[name]}} for name in sorted(checksums)],
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "buildDefinition": _define_build(plan, hash_inputs),
            "runDetails": {
                "builder": {"id": BUILDER_ID, "version": {"smelt": __version__}},
                "metadata": times,
                "byproducts": list(_list_byproducts(plan, non_finite)),
            },
        },
    }
    write_whole(folder / PROVENANCE_NAME, (json.dumps(statement, indent=1, ensure_ascii=False) + "\n").encode())


def has_hashed_inputs(folder: Path) -> bool:
    """Say whether the contents of all inputs were read for the provenance of an output.

    Raises:
        OSError: when the provenance cannot be read.
    """
    build = json.loads((folder / PROVENANCE_NAME).read_bytes())["predicate"]["buildDefinition"]
    files = [file for found in build["resolvedDependencies"] for file in found["annotations"]["files"].values()]
    return all(file.get("digestSource") == "read" for file in files)


def _accuracy_class(plan: Plan) -> Literal["everywhere", "machine"]:
    """Return on which machines the output has the same bytes: ``everywhere`` unless one of its methods says less."""
    exact = [document.method.exact for document in plan.recipe.documents]
    return "machine" if "machine" in exact else "everywhere"


def _define_build(plan: Plan, hash_inputs: bool) -> dict[str, Any]:
    return {
        "buildType": BUILD_TYPE,
        "externalParameters": {
            "recipe": plan.resolved,
            "seed": plan.recipe.seed,
            "maxShardBytes": plan.max_shard_bytes,
        },
        "internalParameters": _describe_run(plan),
        "resolvedDependencies": [_describe_input(plan, n, hash_inputs) for n in range(len(plan.checkpoints))],
    }


def _describe_run(plan: Plan) -> dict[str, Any]:
    accuracy = _accuracy_class(plan)
    return {
        "versions": {"smelt": __version__, "numpy": _find_version("numpy"), "numba": _find_version("numba")},
        "planDigest": plan.digest,
        "numericsVersion": NUMERICS_VERSION,
        "defaults": [_list_defaults(document) for document in plan.recipe.documents],
        "accuracyClass": accuracy,
        **({"blas": describe_blas()} if accuracy == "machine" else {}),
    }


def _find_version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:  # without Numba the interpreter computes the same bytes
        return "absent"


def _list_defaults(document: Document) -> dict[str, Any]:
    """Name the settings of a merge that have their default everywhere, whether the recipe says so or not."""
    outer, *inner = document.levels
    names = [s.name for s in document.method.settings if _is_default(s, outer, inner)]
    return {"name": document.name, "method": document.method.name, "settings": names}


def _is_default(setting: Setting, outer: Parameters, inner: list[Parameters]) -> bool:
    if setting.required or any(setting.name in level for level in inner):
        return False
    given = outer.get(setting.name)
    return given is None or given.rules == (Rule(None, setting.default),)


def _describe_input(plan: Plan, number: int, hash_inputs: bool) -> dict[str, Any]:
    checkpoint, merged = plan.checkpoints[number], plan.fingerprints[number]
    files = {file.name: _describe_file(file) for file in describe_files(checkpoint, merged, hash_inputs)}
    if checkpoint.repository and checkpoint.commit:
        found = {
            "uri": f"pkg:huggingface/{checkpoint.repository}@{checkpoint.commit}",
            "digest": {"gitCommit": checkpoint.commit},
        }
    else:
        found = {"digest": {"tensorSpecs": hash_specs(checkpoint)}}
    name = public_reference(checkpoint, plan.labels[number])
    return {"name": name, **found, "annotations": {"files": files}}


def hash_specs(checkpoint: Checkpoint) -> str:
    """Return the sha256 of the names, dtypes and shapes of a checkpoint's tensors, whatever files they are in."""
    specs = [[s.name, s.dtype.name, list(s.shape)] for _, s in sorted(checkpoint.specs.items())]
    return _hash_json(specs)


def _describe_file(file: InputFile) -> dict[str, Any]:
    found: dict[str, Any] = {"sizeBytes": file.size_bytes, "headerSha256": file.header_sha256}
    if file.sha256 is not None:
        found |= {"digest": {"sha256": file.sha256}, "digestSource": file.sha256_source}
    return found


def _list_byproducts(plan: Plan, non_finite: Mapping[str, NonFinite] | None) -> Iterator[dict[str, Any]]:
    tensors = {o.spec.name: [o.spec.dtype.name, list(o.spec.shape)] for o in plan.outputs}
    yield _describe_byproduct(TENSORS, tensors)
    if non_finite is not None:
        counts = {name: {"inputs": list(found.inputs), "output": found.output} for name, found in non_finite.items()}
        yield _describe_byproduct(NON_FINITE, counts)


def _describe_byproduct(name: str, annotations: Mapping[str, Any]) -> dict[str, Any]:
    # A resource needs a place, a digest or a content: this is the digest of what stands beside it.
    return {"name": name, "digest": {"sha256": _hash_json(annotations)}, "annotations": annotations}


def _hash_json(content: Any) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _write_time(moment: datetime) -> str:
    return moment.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
