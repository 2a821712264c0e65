"""The command line: read, call, render, exit code. No arithmetic."""

from __future__ import annotations

import contextlib
import io
import sys
from pathlib import Path
from typing import Annotated

import typer

from fwplan import __version__, cli_data, cli_machine
from fwplan.cli_planning import register as register_planning
from fwplan.errors import ExitCode, FwplanError
from fwplan.print_json import print_json

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
app.add_typer(cli_data.app, name="data")
app.add_typer(cli_machine.app)

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
def explain(
    config: Annotated[
        Path | None,
        typer.Argument(help="nanoGPT's config.py or train.py, train_gpt2.py, or a .json: plan, spec, HF's."),
    ] = None,
    overrides: Annotated[list[str] | None, typer.Argument(help="nanoGPT-style --key=value, after --.")] = None,
    log: Annotated[Path | None, typer.Option(help="A training log that ran out of memory: why?")] = None,
    gpu: Gpu = None,
    vram: Vram = None,
    device: Annotated[str | None, typer.Option(help="cpu or cuda: this machine's.")] = None,
    world_size: Annotated[int, typer.Option(min=1, help="Processes that train.")] = 1,
    fix: Annotated[int | None, typer.Option(min=1, help="Apply the fix of this number.")] = None,
    trace: Annotated[
        bool, typer.Option("--trace", help="Trace one step on fake tensors too: seconds, no GPU.")
    ] = False,
    snapshot: Annotated[Path | None, typer.Option(help="Trace, into a file for pytorch.org/memory_viz.")] = None,
    html: Annotated[Path | None, typer.Option(help="Write all of it as one HTML page.")] = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Write the (fixed) run as a plan.")] = None,
    as_json: Json = False,
) -> None:
    """Say what a run needs, where its peak is, whether it fits and what to change. Never executes the config."""
    from fwplan import commands  # noqa: PLC0415
    from fwplan.plan import Plan  # noqa: PLC0415
    from fwplan.render.explain import explain_lines  # noqa: PLC0415
    from fwplan.render.terminal import show  # noqa: PLC0415

    if log is not None:
        if any(option for option in (fix, output, trace, snapshot, html)):
            raise FwplanError("--log only explains", hint="it prints the command that applies a fix")
        _explain_log(log, config, overrides or [], gpu=gpu, vram=vram, world_size=world_size, as_json=as_json)
    if config is None:
        raise FwplanError("nothing to explain", hint="fwplan explain config.py, or --log train.log")
    if output is not None:
        commands.refuse_output(output)
    found = commands.explain(
        config, overrides or [], gpu=gpu, vram=vram, device=device, world_size=world_size, fix=fix, trace=trace,
        snapshot=snapshot,
    )  # fmt: skip
    if output is not None:
        Plan.of(found.estimate, f"as in {config}").save(output)
    if html is not None:
        from fwplan.report import write_report  # noqa: PLC0415

        write_report(found, html)
    if as_json:
        print_json(found.as_dict())
    else:
        show([*explain_lines(found), *(f"  written: {path}" for path in (html, output, snapshot) if path is not None)])
    raise typer.Exit(_EXIT.get(found.verdict, ExitCode.OK))


def _explain_log(
    log: Path, config: Path | None, overrides: list[str], *, gpu: str | None, vram: str | None, world_size: int,
    as_json: bool,
) -> None:  # fmt: skip
    from fwplan.oom.command import explain_log  # noqa: PLC0415
    from fwplan.render.oom import oom_lines  # noqa: PLC0415
    from fwplan.render.terminal import show  # noqa: PLC0415

    found = explain_log(log, config, overrides, gpu=gpu, vram=vram, world_size=world_size)
    if as_json:
        print_json(found.as_dict())
    else:
        show(oom_lines(found))
    raise typer.Exit(ExitCode.DOES_NOT_FIT)


_EXIT = {"does_not_fit": ExitCode.DOES_NOT_FIT, "undecidable": ExitCode.UNDECIDABLE}


@app.command()
def diff(
    before: Annotated[Path, typer.Argument(help="A run: anything that explain reads.")],
    after: Annotated[Path, typer.Argument(help="The run to set beside it; it may be the same file.")],
    overrides: Annotated[list[str] | None, typer.Argument(help="--key=value for the second, after --.")] = None,
    gpu: Gpu = None,
    vram: Vram = None,
    as_json: Json = False,
) -> None:
    """Say what the change from one run to another does to memory, line by line, to the verdict and to time."""
    from fwplan.diff import diff as compared  # noqa: PLC0415
    from fwplan.render.diff import diff_lines  # noqa: PLC0415
    from fwplan.render.terminal import show  # noqa: PLC0415

    found = compared(before, after, overrides or [], gpu=gpu, vram=vram)
    if as_json:
        print_json(found.as_dict())
    else:
        show(diff_lines(found))
    raise typer.Exit(_EXIT.get(found.after.verdict, ExitCode.OK))


@app.command()
def run(
    plan: Annotated[Path, typer.Argument(help="A plan.json, or anything that explain reads.")],
    data: Annotated[str | None, typer.Option(help="Parquet or prepared tokens, in place of the plan's.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Stop after this many steps; --resume goes on.")] = None,
    device: Annotated[str | None, typer.Option(help="cpu or cuda, in place of the plan's.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="A few steps on random tokens: does it fit?")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint, exactly.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Run even what is expected not to fit.")] = False,
) -> None:
    """Prepare the data, train the plan, and check what was predicted against what was measured."""
    from fwplan import commands  # noqa: PLC0415
    from fwplan.render.run import run_lines  # noqa: PLC0415
    from fwplan.render.terminal import show  # noqa: PLC0415

    report = commands.run(plan, data=data, steps=steps, device=device, dry_run=dry_run, resume=resume, force=force)
    show(run_lines(report))
    if report.unsaved is not None:
        raise report.unsaved


@app.command()
def measure(
    grid: Annotated[str | None, typer.Option(help="small: a CPU's minute. full: a GPU's 25 minutes.")] = None,
    spec: Annotated[list[Path] | None, typer.Option(help="A spec.json or anything that explain reads.")] = None,
    device: Annotated[str | None, typer.Option(help="cpu or cuda. Default: the GPU where there is one.")] = None,
    output: Annotated[Path, typer.Option("-o", "--output", help="JSON lines; what is there is not repeated.")] = Path(
        "results.jsonl"
    ),
    timeout: Annotated[float, typer.Option(min=1, help="Seconds for each spec; then it is killed.")] = 300.0,
    budget: Annotated[
        float | None, typer.Option(min=0.01, help="Minutes in all; the full grid's default is 25.")
    ] = None,
) -> None:
    """Measure what specs really take: a few steps of each in a process of its own, beside what was predicted."""
    from fwplan import commands  # noqa: PLC0415
    from fwplan.render.measure import measure_lines  # noqa: PLC0415
    from fwplan.render.terminal import show  # noqa: PLC0415

    report = commands.measure(
        grid=grid, specs=spec or [], device=device, output=output, timeout=timeout, budget_minutes=budget
    )
    show(measure_lines(report))
    if report.problem is not None:
        raise report.problem


register_planning(app)


def main() -> None:
    """Run the command line; every error ends as one clear message and the documented exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without our signs shows "?", not a traceback
    sys.exit(_guarded())


def _guarded() -> int:
    try:
        code = app(sys.argv[1:] or ["--help"], standalone_mode=False)
        sys.stdout.flush()
    except FwplanError as error:
        return _report(error)
    except (KeyboardInterrupt, typer.Abort):
        sys.stderr.write("\ninterrupted\n")
        return ExitCode.INTERRUPTED
    except OSError as error:
        return _report(FwplanError(f"cannot write the answer: {error.strerror}", hint="is the disk full?"))
    except Exception as error:
        if not hasattr(error, "format_message"):  # typer's usage errors have it; anything else is a bug
            raise
        return _report(FwplanError(error.format_message(), hint="fwplan --help, or fwplan COMMAND --help"))
    return code if isinstance(code, int) else ExitCode.OK


def _report(error: FwplanError) -> int:
    """Say the error on stderr and, where JSON was asked for, as a document on stdout too."""
    from fwplan.render.terminal import error_lines, show  # noqa: PLC0415

    if "--json" in sys.argv:
        verdict = {ExitCode.DOES_NOT_FIT: "does_not_fit", ExitCode.UNDECIDABLE: "undecidable"}.get(error.exit_code)
        said = {"message": error.message, "where": error.where, "hint": error.hint}
        with contextlib.suppress(OSError):  # stdout itself may be what failed
            print_json({"verdict": verdict, "error": said})
            sys.stdout.flush()
    show(error_lines(error), to_stderr=True)
    return error.exit_code


if __name__ == "__main__":
    main()
