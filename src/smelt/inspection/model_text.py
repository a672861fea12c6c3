"""What was found in a model, in words for a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from smelt.checking.record import Record
from smelt.errors import cut_middle, listing, make_printable
from smelt.inspection.model import Ends, Inspection, Shape, Share
from smelt.planning.summary import size

_SHOWN = 40  # shapes that are listed
_LONGEST_LINE = 600  # characters


def describe_inspection(found: Inspection) -> str:
    """Return what was found as text: facts first, then faults, roles and shapes."""
    kind = f" ({found.model_type})" if found.model_type else ""
    at = f", commit {found.commit}" if found.commit else ""
    lines = [
        f"{found.name}: {found.architecture or 'an architecture that no config.json names'}{kind}{at}",
        "",
        f"  weights     {_describe_weights(found)}",
        f"  dtypes      {_describe_dtypes(found.dtypes)}",
        f"  layers      {_describe_stacks(found)}",
        f"  vocabulary  {_describe_vocabulary(found.ends)}",
        f"  head        {_describe_head(found.ends)}",
        f"  tokenizer   {listing(found.tokenizer_files) or 'none'}",
        f"  licence     {'; '.join((found.licences, *found.licence_notes))}",
        f"  provenance  {_describe_provenance(found.provenance)}",
        *(f"  {label:12}{fault}" for label, fault in _label_faults(found.faults)),
        *_describe_roles(found.roles),
        *_describe_shapes(found.shapes),
    ]
    return "\n".join(make_printable(cut_middle(line, _LONGEST_LINE)) for line in lines)


def _describe_weights(found: Inspection) -> str:
    tensors = sum(one.tensors for one in found.roles)
    parameters = sum(one.parameters for one in found.roles)
    total_bytes = sum(one.size_bytes for one in found.roles)
    text = f"{_count(tensors, 'tensor')}, {parameters:,} parameters, {size(total_bytes)}"
    files = found.weight_sizes_bytes
    return f"{text} in {_count(len(files), 'file')} of {size(sum(files.values()))}" if files else text


def _describe_dtypes(dtypes: Iterable[Share]) -> str:
    found = list(dtypes)
    if len(found) == 1:
        return found[0].name
    return ", ".join(f"{one.name} ({_count(one.tensors, 'tensor')}, {size(one.size_bytes)})" for one in found) or "none"


def _describe_stacks(found: Inspection) -> str:
    stacks = [
        f"{stack.count} in {stack.prefix}"
        + (f" ({'.'.join(stack.config_key)})" if stack.config_key else " (no count in config.json)")
        for stack in found.stacks
    ]
    return ", ".join(stacks) or "no numbered layers"


def _describe_vocabulary(ends: Ends) -> str:
    facts = [
        f"{ends.rows:,} rows in {ends.embedding}" if ends.rows is not None else "no embedding of tokens",
        f"{ends.tokens:,} tokens in tokenizer.json" if ends.tokens is not None else "no tokens in a tokenizer.json",
    ]
    if ends.vocab_size is not None:
        facts.append(f"vocab_size {ends.vocab_size:,}")
    return ", ".join(facts)


def _describe_head(ends: Ends) -> str:
    if ends.head is None:
        return "none stored" + ("; config.json ties it to the embedding" if ends.is_tied and ends.embedding else "")
    return ends.head + ("; config.json ties it to the embedding" if ends.is_tied else ", not tied to the embedding")


def _describe_provenance(record: Record | None) -> str:
    if record is None:
        return "none"
    models = [
        f"{name}@{one.commit}" if one.commit and one.commit not in name else name for name, one in record.inputs.items()
    ]
    by = f"smelt {record.versions['smelt']}" if "smelt" in record.versions else "smelt"
    return f"merged by {by} from {listing(models)}; plan digest {record.plan_digest[:16]}"


def _label_faults(faults: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    for number, fault in enumerate(faults or ("none",)):
        yield "faults" if number == 0 else "", fault


def _describe_roles(roles: tuple[Share, ...]) -> list[str]:
    total = sum(one.parameters for one in roles) or 1
    rows = [
        f"  {one.name:10} {one.tensors:7,} {one.parameters:16,} {100 * one.parameters / total:5.1f} % "
        f"{size(one.size_bytes):>9}"
        for one in roles
    ]
    return ["", f"  {'role':10} {'tensors':>7} {'parameters':>16} {'':7} {'size':>9}", *rows] if rows else []


def _describe_shapes(shapes: tuple[Shape, ...]) -> list[str]:
    rows = [
        f"  {one.tensors:5,} × {one.name}  {' × '.join(map(str, one.shape)) or 'scalar'}  {one.dtype}"
        for one in shapes[:_SHOWN]
    ]
    if len(shapes) > _SHOWN:
        rows.append(f"  … and {len(shapes) - _SHOWN} more shapes")
    return ["", *rows] if rows else []


def _count(number: int, thing: str) -> str:
    return f"{number:,} {thing}" if number == 1 else f"{number:,} {thing}s"
