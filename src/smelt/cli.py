"""The command line: the verbs of the Python API. Wrong input is one line and exit code 1, a failed run exit code 2."""

from __future__ import annotations

import atexit
import gc
import json
import sys
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from smelt.errors import InputError
from smelt.interrupting import Interruption
from smelt.options import (
    ENGINES,
    AsJson,
    Debug,
    Engine,
    HashInputs,
    Lenient,
    NonFinite,
    NonFinitePolicy,
    Output,
    Recipe,
    Seed,
    ShardSize,
    Threads,
)
from smelt.telling import describe_error, print_notes, warnings_as_notes

if TYPE_CHECKING:
    from smelt.checking.reproduce import Reproduction
    from smelt.checking.verify import Verification

app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Merge fine-tuned neural-network checkpoints: recipe → plan → run.",
)

INTERRUPTED = 130  # the exit code of a command that was stopped by Ctrl-C


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
    print_notes((*plan.notes, *_shorten(plan.licensing.warnings)))
    pace = Pace(threads, engine=ENGINES[engine])
    context.obj.farewell = lambda: _say_farewell(has_begun(plan, out), force)
    with (
        warnings_as_notes(SlowerWarning, NonFiniteWarning, UnhashedWarning),
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
def explain(
    recipe: Annotated[
        str, typer.Argument(metavar="RECIPE", help="Recipe file, model card, - , or a folder or hub id that holds one.")
    ],
    simpler: Annotated[
        str | None, typer.Option("--simplify", metavar="OUT.yml", help="Write a simpler recipe that gives the same.")
    ] = None,
    lenient: Lenient = False,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Say what RECIPE computes, in algebra, and what is odd about it, without reading a weight."""
    import smelt
    from smelt.explanation.text import describe_explanation

    explanation = smelt.explain(_readable(recipe), lenient=lenient)
    if simpler is not None:
        explanation.write_simpler(simpler)
    if as_json:
        _print_json(explanation.to_json())
    else:
        print(describe_explanation(explanation))


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

    with warnings_as_notes(SlowerWarning, NonFiniteWarning), shown_progress(0, quiet=as_json) as progress:
        found = smelt.reproduce(out, into, moved=moved or (), threads=threads, progress=progress)
    _report(out, found, as_json)


@app.command()
def diff(
    base: Annotated[str, typer.Argument(metavar="BASE", help="Folder, .safetensors file, or hub id.")],
    models: Annotated[list[str], typer.Argument(metavar="A [B …]", help="Fine-tunes of it.")],
    results: Annotated[
        list[str] | None,
        typer.Option("--result", metavar="MERGE", help="A merge of them, to be explained by them; repeatable."),
    ] = None,
    rank: Annotated[bool, typer.Option("--rank", help="Effective ranks of matrices too; takes long.")] = False,
    html: Annotated[str | None, typer.Option(metavar="REPORT", help="Write a page that shows everything.")] = None,
    threads: Threads = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Measure what A, B … differ in from BASE, and what a merge of them took from each."""
    import smelt
    from smelt.inspection.text import describe_differences
    from smelt.running.progress import shown_progress
    from smelt.running.runner import SlowerWarning

    if html is not None:
        from smelt.inspection.report import check_report, write_report

        check_report(html)
    with warnings_as_notes(SlowerWarning), shown_progress(0, quiet=as_json) as progress:
        found = smelt.diff(base, models, results or (), rank=rank, threads=threads, progress=progress)
    if html is not None:
        write_report(found, html)
    if as_json:
        _print_json(found.to_json())
    else:
        print(describe_differences(found))


@app.command()
def inspect(
    model: Annotated[str, typer.Argument(metavar="PATH", help="Folder, .safetensors file, or hub id.")],
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Say what the model at PATH is, from its headers; exit code 1 when something is wrong with it."""
    import smelt
    from smelt.inspection.model_text import describe_inspection

    found = smelt.inspect(model)
    if as_json:
        _print_json(found.to_json())
    else:
        print(describe_inspection(found))
    raise typer.Exit(1 if found.faults else 0)


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
    # Looking for garbage among all that was imported would hold up the end of the process for a fifth of a second.
    atexit.register(gc.freeze)
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
            message, code = describe_error(error)
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


def _readable(recipe: str) -> str:
    if "\n" in recipe:
        raise InputError("RECIPE is the name of a file; - reads a recipe from standard input")
    return recipe


def _shorten(warnings_: tuple[str, ...]) -> tuple[str, ...]:
    """Return the first of several warnings, and where the others are."""
    more = f" ('smelt plan' lists {len(warnings_) - 1} more)" if len(warnings_) > 1 else ""
    return tuple(warning + more for warning in warnings_[:1])


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
