"""`fwplan run` and `fwplan measure`: read, call, render, exit code."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(add_completion=False, rich_markup_mode=None)


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
    import fwplan
    from fwplan.console.terminal import show, unsaved_lines
    from fwplan.view.terminal.run import run_lines

    report = fwplan.run(plan, data=data, steps=steps, device=device, dry_run=dry_run, resume=resume, force=force)
    show(run_lines(report))
    show(unsaved_lines(report.unsaved), to_stderr=True)


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
    import fwplan
    from fwplan.console.terminal import show, unsaved_lines
    from fwplan.view.terminal.measure import measure_lines

    report = fwplan.measure(
        grid=grid, specs=spec or [], device=device, output=output, timeout=timeout, budget_minutes=budget
    )
    show(measure_lines(report))
    show(unsaved_lines(report.unsaved), to_stderr=True)
    if report.problem is not None:
        raise report.problem
