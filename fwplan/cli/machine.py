"""`fwplan devices` and `fwplan doctor`: read, call, render. No arithmetic."""

from __future__ import annotations

from typing import Annotated

import typer

from fwplan.cli.options import Json
from fwplan.cli.print_json import print_json

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def devices(
    name: Annotated[str | None, typer.Argument(help='A card: "4070", "7900xtx", "M3 Max". Default: all.')] = None,
    as_json: Json = False,
) -> None:
    """List the known cards, or show what is known of one, each figure with its source."""
    from fwplan.console.terminal import show
    from fwplan.machine import find_gpu, gpus, matches
    from fwplan.view.terminal.devices import devices_lines

    cards = gpus() if name is None else matches(name) or [find_gpu(name)]
    if as_json:
        print_json({"devices": [card.as_dict() for card in cards]})
    else:
        show(devices_lines(cards))


@app.command()
def doctor(as_json: Json = False) -> None:
    """Say what this machine has to train with, who says so, and what is missing (exit code 5)."""
    from fwplan.console.terminal import show
    from fwplan.explaining.doctor import examine
    from fwplan.view.terminal.doctor import doctor_lines

    diagnosis = examine()
    if as_json:
        print_json(diagnosis.as_dict())
    else:
        show(doctor_lines(diagnosis))
    raise typer.Exit(diagnosis.exit_code)
