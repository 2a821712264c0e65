"""`fwplan explain`, `fwplan diff` and `fwplan trace`: read, call, render, exit code."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fwplan.cli.options import Device, Gpu, Json, Vram
from fwplan.cli.print_json import print_json
from fwplan.errors import ExitCode, FwplanError

app = typer.Typer(add_completion=False, rich_markup_mode=None)


# So that what follows `python train.py` may follow `explain`: config/x.py --batch_size=8.
_AS_NANOGPT = {"ignore_unknown_options": True}


@app.command(context_settings=_AS_NANOGPT)
def explain(
    context: typer.Context,
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="CONFIG",
            help="nanoGPT's config.py, or train.py and then a config; train_gpt2.py, nanochat's base_train.py, "
            "autoresearch's train.py, minimind's train_pretrain.py; a .json: plan, spec, Hugging Face's; "
            "litgpt's .yaml; torchtitan's .toml. And --key=value as nanoGPT takes them.",
        ),
    ] = None,
    nanochat: Annotated[
        bool, typer.Option("--nanochat", help="No file: nanochat's base_train.py with these arguments, depth=24.")
    ] = False,
    log: Annotated[Path | None, typer.Option(help="A training log that ran out of memory, - from a pipe: why?")] = None,
    gpu: Gpu = None,
    vram: Vram = None,
    device: Device = None,
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
    import fwplan
    from fwplan.api.common import refuse_output
    from fwplan.cli.nanogpt_words import files_and_settings
    from fwplan.configs import NANOCHAT
    from fwplan.console.terminal import show
    from fwplan.view.terminal.explain import explain_lines

    config, overrides = (NANOCHAT, words or []) if nanochat else files_and_settings(words or [], context)
    if log is not None:
        if any(option for option in (fix, output, trace, snapshot, html)):
            raise FwplanError("--log only explains", hint="it prints the command that applies a fix")
        if device is not None:
            raise FwplanError("--log and --device were both asked for", hint="the log says which device it was")
        _explain_log(log, config, overrides, gpu=gpu, vram=vram, world_size=world_size, as_json=as_json)
    if config is None:
        raise FwplanError("nothing to explain", hint="fwplan explain config.py, or --log train.log")
    if output is not None:
        refuse_output(output)
    found = fwplan.explain(
        config, overrides, gpu=gpu, vram=vram, device=device, world_size=world_size, fix=fix, trace=trace,
        snapshot=snapshot,
    )  # fmt: skip
    if output is not None:
        found = found.saved(output)
    if html is not None:
        from fwplan.view.html import write_report

        write_report(found, html)
    if as_json:
        print_json(found.as_dict())
    else:
        show([*explain_lines(found), *(f"  written: {path}" for path in (html, output, snapshot) if path is not None)])
    raise typer.Exit(_EXIT.get(found.verdict, ExitCode.OK))


def _explain_log(
    log: Path, config: str | Path | None, overrides: list[str], *, gpu: str | None, vram: str | None, world_size: int,
    as_json: bool,
) -> None:  # fmt: skip
    import fwplan
    from fwplan.console.terminal import show
    from fwplan.view.terminal.oom import oom_lines

    found = fwplan.explain_log(log, config, overrides, gpu=gpu, vram=vram, world_size=world_size)
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
    import fwplan
    from fwplan.console.terminal import show
    from fwplan.view.terminal.diff import diff_lines

    found = fwplan.diff(before, after, overrides or [], gpu=gpu, vram=vram)
    if as_json:
        print_json(found.as_dict())
    else:
        show(diff_lines(found))
    raise typer.Exit(_EXIT.get(found.after.verdict, ExitCode.OK))


@app.command()
def trace(
    place: Annotated[
        str, typer.Argument(metavar="SCRIPT.py:STEP", help="A script, and its function that takes a step.")
    ],
    gpu: Gpu = None,
    vram: Vram = None,
    device: Device = None,
    snapshot: Annotated[Path | None, typer.Option(help="Write a file for pytorch.org/memory_viz.")] = None,
    as_json: Json = False,
) -> None:
    """Say what one step of any script allocates, op by op. Runs the script, without data and without a GPU."""
    from fwplan.api.trace import trace_step
    from fwplan.console.terminal import show
    from fwplan.view.terminal.trace import replayed_lines

    found, target = trace_step(place, gpu=gpu, vram=vram, device=device, snapshot=snapshot)
    if as_json:
        print_json(found.as_dict())
    else:
        written = [f"  written: {snapshot}"] if snapshot is not None else []
        show([*replayed_lines(found, found.verdict, target.label if target else "the card"), *written])
    raise typer.Exit(_EXIT.get(found.verdict or "", ExitCode.OK))
