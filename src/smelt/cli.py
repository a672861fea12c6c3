"""The command line: the verbs of the Python API. Wrong input is one line and exit code 1, a failed run exit code 2."""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, TextIO

import typer

from smelt.errors import InputError, RunError, SmeltError
from smelt.interrupting import Interruption
from smelt.mergekit_flags import MERGEKIT_FLAGS

if TYPE_CHECKING:
    from smelt.checking.reproduce import Reproduction
    from smelt.checking.verify import Verification

app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Merge fine-tuned neural-network checkpoints: recipe → plan → run.",
)


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

INTERRUPTED = 130  # the exit code of a command that was stopped by Ctrl-C

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


@app.command()
def merge(
    context: typer.Context,
    recipe: Recipe,
    out: Annotated[str, typer.Argument(metavar="OUT", help="Folder to write; must not exist.")],
    threads: Threads = None,
    seed: Seed = None,
    max_shard_size: ShardSize = "5GB",
    force: Annotated[bool, typer.Option("--force", help="Start again; replace OUT once the new one is done.")] = False,
    lenient: Lenient = False,
    as_json: AsJson = False,
    non_finite: NonFinitePolicy = NonFinite.AUTO,
    hash_inputs: HashInputs = False,
    engine: Annotated[Engine, typer.Option(help="What computes; changes no byte of it.", hidden=True)] = Engine.AUTO,
    debug: Debug = False,
) -> None:
    """Merge models as RECIPE says, into the folder OUT."""
    import smelt
    from smelt.running.nonfinite import NonFiniteWarning
    from smelt.running.output import has_begun
    from smelt.running.progress import shown_progress
    from smelt.running.runner import Pace, SlowerWarning, UnhashedWarning, run_plan

    plan = smelt.plan(_readable(recipe), seed=seed, max_shard_size=max_shard_size, lenient=lenient)
    _print_notes((*plan.notes, *_shorten(plan.licensing.warnings)))
    pace = Pace(threads, engine=ENGINES[engine])
    context.obj.farewell = lambda: _say_farewell(has_begun(plan, out), force)
    with (
        _warnings_as_notes(SlowerWarning, NonFiniteWarning, UnhashedWarning),
        shown_progress(plan.cost.read_bytes, quiet=as_json) as progress,
    ):
        run_plan(
            plan, out, force=force, non_finite=non_finite.value, hash_inputs=hash_inputs, progress=progress, pace=pace
        )
    if as_json:
        _print_json({"output": out, "digest": plan.digest, "files": [s.file_name for s in plan.shards]})
    else:
        print(f"{out}: {len(plan.outputs)} tensors, plan digest {plan.digest[:16]}")


@app.command()
def plan(
    recipe: Recipe,
    threads: Threads = None,
    seed: Seed = None,
    max_shard_size: ShardSize = "5GB",
    lenient: Lenient = False,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Say what merging RECIPE would read, write and need, without reading a weight."""
    import smelt
    from smelt.planning.summary import summarize

    decided = smelt.plan(_readable(recipe), seed=seed, max_shard_size=max_shard_size, lenient=lenient)
    if as_json:
        _print_json(decided.to_json())
    else:
        print(summarize(decided, threads))


@app.command()
def verify(out: Output, as_json: AsJson = False, debug: Debug = False) -> None:
    """Say whether every file of OUT is what its provenance says; exit code 1 when one is not."""
    import smelt

    _report(out, smelt.verify(out), as_json)


@app.command()
def reproduce(
    out: Output,
    into: Annotated[str | None, typer.Option(metavar="DIR", help="Keep the new output in this folder.")] = None,
    moved: Annotated[
        list[str] | None,
        typer.Option("--map", metavar="OLD=NEW", help="Where a model of the recipe is now; repeatable."),
    ] = None,
    threads: Threads = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Run the merge of OUT again and compare every file; exit code 1 when they are not identical."""
    import smelt
    from smelt.running.nonfinite import NonFiniteWarning
    from smelt.running.progress import shown_progress
    from smelt.running.runner import SlowerWarning

    with _warnings_as_notes(SlowerWarning, NonFiniteWarning), shown_progress(0, quiet=as_json) as progress:
        found = smelt.reproduce(out, into, moved=moved or (), threads=threads, progress=progress)
    _report(out, found, as_json)


@app.command()
def methods(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="A method; all are listed without it.")] = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """List the merge methods, or explain one."""
    from smelt.algebra.catalogue import describe_method, list_methods, method_json
    from smelt.algebra.declare import catalogue, find

    chosen = [find(name)] if name is not None else list(catalogue().values())
    if as_json:
        _print_json([method_json(m) for m in chosen])
    else:
        print(list_methods(chosen) if name is None else describe_method(chosen[0]))


@app.callback(invoke_without_command=True)
def smelt_itself(
    version: Annotated[bool, typer.Option("--version", help="Print the version and leave.")] = False,
) -> None:
    """Merge fine-tuned neural-network checkpoints: recipe → plan → run."""
    if version:
        from smelt import __version__

        print(f"smelt {__version__}")
        raise typer.Exit


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit."""
    given = (sys.argv[1:] if arguments is None else arguments) or ["--help"]
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a pipe on Windows may know no θ; a ? is better than no answer
            stream.reconfigure(errors="replace")
    with Interruption() as interruption:
        try:
            code = app(args=given, standalone_mode=False, obj=interruption) or 0
        except (KeyboardInterrupt, typer.Abort):
            code = INTERRUPTED
        except Exception as error:
            if "--debug" in given:
                raise
            message, code = explain(error)
            print(f"smelt: {message}", file=sys.stderr)
        if code == INTERRUPTED:  # some versions of the command line library turn Ctrl-C into this code, some raise
            code = interruption.code
            interruption.say_farewell()
    sys.exit(code)


def _say_farewell(something_stays: bool, force: bool) -> str:
    if not something_stays:
        return "smelt: interrupted"
    command = "the same command without --force" if force else "the same command"
    return f"smelt: interrupted; {command} carries on where it stopped"


def explain(error: Exception) -> tuple[str, int]:
    """Return the line that says what went wrong, and the exit code."""
    if isinstance(error, SmeltError):
        return str(error), 2 if isinstance(error, RunError) else 1
    option = str(getattr(error, "option_name", "")).split("=")[0]
    if option in MERGEKIT_FLAGS:
        return f"{option} is an option of mergekit; {MERGEKIT_FLAGS[option]}", 1
    if hasattr(error, "format_message"):  # a usage error of the command line library
        return f"{error.format_message()} Try 'smelt --help'.", 1
    return f"{type(error).__name__}: {error} (this is a defect of smelt; run again with --debug for a traceback)", 2


def _readable(recipe: str) -> str:
    if "\n" in recipe:
        raise InputError("RECIPE is the name of a file; - reads a recipe from standard input")
    return recipe


def _shorten(warnings_: tuple[str, ...]) -> tuple[str, ...]:
    """Return the first of several warnings, and where the others are."""
    more = f" ('smelt plan' lists {len(warnings_) - 1} more)" if len(warnings_) > 1 else ""
    return tuple(warning + more for warning in warnings_[:1])


def _print_notes(notes: tuple[str, ...]) -> None:
    for note in notes:
        print(f"note: {note}", file=sys.stderr)


@contextmanager
def _warnings_as_notes(*kinds: type[Warning]) -> Iterator[None]:
    """Show warnings of some kinds as notes, whatever the filters say, and all others as ever."""
    with warnings.catch_warnings():
        for kind in kinds:
            warnings.simplefilter("always", kind)
        show = warnings.showwarning

        def show_note(
            message: Warning | str,
            category: type[Warning],
            filename: str,
            lineno: int,
            file: TextIO | None = None,
            line: str | None = None,
        ) -> None:
            if issubclass(category, kinds):
                _print_notes((str(message),))
            else:
                show(message, category, filename, lineno, file, line)

        warnings.showwarning = show_note
        yield


def _report(output: str, found: Verification | Reproduction, as_json: bool) -> NoReturn:
    if as_json:
        _print_json({"output": output, **found.to_json()})
    else:
        print("\n".join(found.lines(output)))
    raise typer.Exit(1 if found.differences else 0)


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=2, ensure_ascii=False))


if __name__ == "__main__":
    main()
