"""What `explain --log` says: what was asked for, which tensor it was, what was alive, what would help."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from rich.markup import escape

from fwplan.console.terminal import WIDTH, note_lines
from fwplan.explaining.oom.apply import apply_command
from fwplan.units import gib
from fwplan.view.figures import gib_range
from fwplan.view.terminal.fixes import command_lines

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fwplan.explaining.oom.amount import Amount
    from fwplan.explaining.oom.diagnosis import Diagnosis
    from fwplan.explaining.oom.tensors import Candidate

_DEVICES = {"cuda": "CUDA device", "hip": "HIP device", "xpu": "XPU", "mps": "Apple GPU", "cpu": "processor"}
_ALIVE = 6
_OTHERS = 3
_FIXES = 8


def oom_lines(found: Diagnosis) -> Iterator[str]:
    """Yield everything `explain --log` says."""
    yield from _headline(found)
    yield ""
    yield from _tensor_lines(found)
    yield from _alive_lines(found)
    for title, said in (("The log contradicts the config", found.contradictions), ("The log itself", found.findings)):
        if said:
            yield ""
            yield f"[bold]{title}[/]"
            yield from (line for one in said for line in _bullet(one))
    yield from _fix_lines(found)
    if found.explanation is not None and found.explanation.loaded.all_notes:
        yield ""
        yield from note_lines(found.explanation.loaded.all_notes)


def _headline(found: Diagnosis) -> Iterator[str]:
    message = found.log.message
    index = f" {message.index}" if message.index is not None else ""
    size = f" of {gib(message.capacity.bytes)}" if message.capacity else ""
    when = f", in {found.moment}" if found.moment else ""
    yield f"[bold red]out of memory[/] on {_DEVICES[message.backend]}{index}{size}{escape(when)}"
    cells = [
        _cell("asked for", message.requested),
        _cell("live", message.allocated),
        f"cached {gib(message.cached)}" if message.cached is not None else "",
        _cell("free", message.free),
        _cell("this process", message.in_use),
        _cell("allowed", message.allowed),
    ]
    text = ", ".join(cell for cell in cells if cell)
    yield from textwrap.wrap(text, WIDTH, initial_indent="  ", subsequent_indent="  ")
    if found.log.count > 1:
        yield f"  [dim]the first of {found.log.count} such messages in the log[/]"


def _cell(name: str, amount: Amount | None) -> str:
    return f"{name} {gib(amount.bytes)}" if amount else ""


def _tensor_lines(found: Diagnosis) -> Iterator[str]:
    strided = found.log.strided
    if strided is not None:
        yield f"[bold]Inductor's code was making[/] {strided.shape} in {strided.dtype}: {gib(strided.bytes)}"
    if found.candidates:
        first, *others = found.candidates
        yield f"[bold]It was[/] {escape(_described(first))}"
        names = list(dict.fromkeys(other.name for other in others if other.name != first.name))
        if names:
            more = f" and {len(names) - _OTHERS} more" if len(names) > _OTHERS else ""
            text = f"of the same size: {', '.join(names[:_OTHERS])}{more}"
            yield from (f"  [dim]{escape(line)}[/]" for line in textwrap.wrap(text, WIDTH - 2))
    elif found.guesses and strided is None:
        yield "[bold]By its size it may be logits[/] (micro-batch, context, vocabulary):"
        yield from (f"  {guess.text}" for guess in found.guesses)
    elif found.explanation is None and strided is None:
        yield "[bold]The size asked for names no tensor.[/]"
    elif found.explanation is None:
        yield "[bold]No config to name it by.[/]"
    elif found.explanation.estimate.memory is None:
        yield "[bold]Tensors of this config's device are not estimated.[/]"
    else:
        yield "[bold]The config has no such tensor.[/]"


def _described(one: Candidate) -> str:
    count = f"one of {one.of} " if one.of > 1 else ""
    return f"{count}{one.name}: {one.shape} {one.dtype}, {gib(one.bytes)}"


def _alive_lines(found: Diagnosis) -> Iterator[str]:
    first = found.candidates[0] if found.candidates else None
    lines = found.alive()
    if first is None or first.live_bytes is None or not lines:
        return
    yield ""
    yield f"[bold]What else was alive[/] in {first.when}, by the estimate"
    for line in lines[:_ALIVE]:
        yield f"  {line.name:44} {gib(line.bytes):>10}"
    if len(lines) > _ALIVE:
        name = f"{len(lines) - _ALIVE} smaller ones"
        yield f"  {name:44} {gib(sum(line.bytes for line in lines[_ALIVE:])):>10}"
    log = found.log.message.allocated
    said = f", {gib(log.bytes)} by the log" if log else ""
    yield f"  {'live before it, by the estimate':44} {gib(first.live_bytes):>10}{said}"


def _bullet(text: str) -> Iterator[str]:
    for line in textwrap.wrap(text, WIDTH, initial_indent="  - ", subsequent_indent="    "):
        yield escape(line)


def _fix_lines(found: Diagnosis) -> Iterator[str]:
    helpful = found.helpful()
    yield ""
    if found.explanation is None:
        yield "  fwplan explain --log LOG config.py     names the tensor and computes fixes"
        return
    if found.contradictions:
        yield "No fixes: they would be for another run than the log's. Give the config, the"
        yield "overrides and the card that the log is of."
        return
    if not helpful:
        if found.explanation.estimate.memory is not None:
            yield "No change that is modelled would free memory worth having."
        return
    yield f"[bold]What would help[/]{'saves':>39}  GiB needed  same maths?"
    for number, fix in enumerate(helpful[:_FIXES], 1):
        mark = "[green]✓[/]" if fix.fits else "[yellow]~[/]"
        size = gib_range(fix.estimate.use.needed) if fix.estimate.use else ""
        same = "yes" if fix.same_maths else "no"
        yield f"  {mark} {number} {escape(fix.change):38} {gib(fix.saved_bytes):>9}  {size:>9}  {same}"
    command = apply_command(found)
    if command is not None:
        yield ""
        yield from command_lines(command)
