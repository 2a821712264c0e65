"""The command line: read, call, render, exit code. No arithmetic."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from fwplan import __version__
from fwplan.errors import ExitCode, FwplanError

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None)

Gpu = Annotated[str | None, typer.Option(help='A card by name: "RTX 4070", "a100 80gb".')]
Vram = Annotated[str | None, typer.Option(help="A card by its nominal memory: 12, 12GiB.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document; bytes as integers.")]


@app.callback()
def _root() -> None:
    """Say which GPT you can train on the GPU you have, why, and for how long; then train it."""


@app.command()
def version() -> None:
    """Print the version."""
    typer.echo(__version__)


@app.command()
def suggest(
    tokens: Annotated[
        str | None, typer.Option(help="Tokens to train on: 10e9, 10B. Default: what the hours allow.")
    ] = None,
    hours: Annotated[float, typer.Option(min=1e-6, help="Longest training time.")] = 168.0,
    gpu: Gpu = None,
    vram: Vram = None,
    device: Annotated[str | None, typer.Option(help="cpu: plan for this machine's processor.")] = None,
    data: Annotated[str | None, typer.Option(help="FineWeb-shaped parquet: a file, a folder or a glob.")] = None,
    context: Annotated[int, typer.Option(min=1, help="Tokens per sequence.")] = 1024,
    output: Annotated[Path, typer.Option("-o", "--output", help="Where to write the plan.")] = Path("plan.json"),
    as_json: Json = False,
) -> None:
    """Search for the model worth training on a device, and write plan.json."""
    from fwplan import commands  # noqa: PLC0415  # a command loads what it needs, when it runs
    from fwplan.render import show, suggest_lines  # noqa: PLC0415

    commands.refuse_started(output)
    suggestion = commands.suggest(
        tokens=tokens, hours=hours, gpu=gpu, vram=vram, device=device, data=data, context=context
    )
    plan = suggestion.plan
    plan.save(output)
    if as_json:
        _print_json(plan.model_dump(mode="json") | {"estimate": suggestion.pick.estimate.as_dict()})
    else:
        show(suggest_lines(suggestion, str(output)))


@app.command()
def explain(
    config: Annotated[Path, typer.Argument(help="A nanoGPT config.py, a plan.json, a spec.json, or HF's config.json.")],
    overrides: Annotated[list[str] | None, typer.Argument(help="nanoGPT-style --key=value, after --.")] = None,
    gpu: Gpu = None,
    vram: Vram = None,
    world_size: Annotated[int, typer.Option(min=1, help="Processes that train.")] = 1,
    fix: Annotated[int | None, typer.Option(min=1, help="Apply the fix of this number.")] = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Write the (fixed) run as a plan.")] = None,
    as_json: Json = False,
) -> None:
    """Say what a run needs, where its peak is, whether it fits and what to change. Never executes the config."""
    from fwplan import commands  # noqa: PLC0415
    from fwplan.plan import Plan  # noqa: PLC0415
    from fwplan.render import explain_lines, show  # noqa: PLC0415

    if output is not None:
        commands.refuse_started(output)
    found = commands.explain(config, overrides or [], gpu=gpu, vram=vram, world_size=world_size, fix=fix)
    if output is not None:
        Plan.of(found.estimate, f"as in {config}").save(output)
    if as_json:
        _print_json(found.as_dict())
    else:
        show(explain_lines(found))
    raise typer.Exit(_EXIT.get(found.estimate.verdict, ExitCode.OK))


_EXIT = {"does_not_fit": ExitCode.DOES_NOT_FIT, "undecidable": ExitCode.UNDECIDABLE}


@app.command()
def run(
    plan: Annotated[Path, typer.Argument(help="A plan.json, or anything that explain reads.")],
    data: Annotated[str | None, typer.Option(help="Parquet or prepared tokens, in place of the plan's.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Stop after this many steps; --resume goes on.")] = None,
    device: Annotated[str | None, typer.Option(help="cpu or cuda, in place of the plan's.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="A few steps on random tokens; nothing is written.")
    ] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint, exactly.")] = False,
) -> None:
    """Prepare the data, train the plan, and check what was predicted against what was measured."""
    from fwplan import commands  # noqa: PLC0415
    from fwplan.render import run_lines, show  # noqa: PLC0415

    report = commands.run(plan, data=data, steps=steps, device=device, dry_run=dry_run, resume=resume)
    show(run_lines(report))


def _print_json(document: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(document, indent=2, allow_nan=False) + "\n")


def main() -> None:
    """Run the command line; every error ends as one clear message and the documented exit code."""
    try:
        app()
    except FwplanError as error:
        from fwplan.render import error_lines, show  # noqa: PLC0415

        show(error_lines(error), to_stderr=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.stderr.write("\ninterrupted\n")
        sys.exit(ExitCode.INTERRUPTED)
