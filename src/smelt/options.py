"""The arguments and options that commands have in common, each with its help."""

from __future__ import annotations

from enum import Enum
from typing import Annotated

import typer


class Engine(str, Enum):
    """What computes a merge; the bytes are the same."""

    AUTO = "auto"  # compiled kernels where the merge is large enough for compiling them to pay
    COMPILED = "compiled"
    REFERENCE = "reference"


class NonFinite(str, Enum):
    """What becomes of NaN and infinities in the result."""

    AUTO = "auto"  # an error where the inputs of a tensor are finite, else reported
    REPORT = "report"
    ERROR = "error"


ENGINES: dict[Engine, bool | None] = {Engine.AUTO: None, Engine.COMPILED: True, Engine.REFERENCE: False}

Recipe = Annotated[str, typer.Argument(metavar="RECIPE", help="Recipe file (YAML); - for standard input.")]
Output = Annotated[str, typer.Argument(metavar="OUT", help="The output of a merge.")]
Threads = Annotated[
    int | None, typer.Option(min=1, help="Workers; all cores by default. Changes no byte of the result.")
]
Seed = Annotated[int | None, typer.Option(help="In place of the recipe's own seed.")]
ShardSize = Annotated[str, typer.Option(help="Most bytes of tensors per file, such as 5GB or 500MB.")]
Lenient = Annotated[bool, typer.Option("--lenient", help="Pass over what mergekit ignores, listing each.")]
NonFinitePolicy = Annotated[
    NonFinite,
    typer.Option(help="NaN and infinities in the result; auto: an error where the inputs of a tensor have none."),
]
HashInputs = Annotated[
    bool, typer.Option("--hash-inputs", help="Read the inputs once more, for their sha256 in the provenance.")
]
AsJson = Annotated[bool, typer.Option("--json", help="For machines: JSON on standard output.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show tracebacks.", hidden=True)]
