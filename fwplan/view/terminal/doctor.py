"""What `doctor` says: the machine, the software, what past runs taught, and what is missing."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from rich.markup import escape

from fwplan.console.terminal import WIDTH
from fwplan.units import flops, gib
from fwplan.view.figures import counted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fwplan.explaining.doctor import Diagnosis, Problem
    from fwplan.machine import Gpu
    from fwplan.machine.apple import AppleChip

_LABEL = 14
_FROM = {
    "driver": "what the driver counts less what it reserves",
    "measured": "by the table: the driver does not say",
    "assumed": "assumed from cards of its class: the driver does not say",
    "unknown": "neither driver nor table says",
}


def doctor_lines(diagnosis: Diagnosis) -> Iterator[str]:
    """Yield a diagnosis: the answer first."""
    yield from _verdict_lines(diagnosis)
    yield ""
    yield "[bold]Machine[/]"
    yield from _row("system", diagnosis.machine.system, "")
    if diagnosis.machine.gpu is not None:
        yield from _gpu_lines(diagnosis.machine.gpu)
    elif diagnosis.machine.apple is not None:
        yield from _apple_lines(diagnosis.machine.apple)
    else:
        yield from _row("GPU", "none found", "")
        for reason in diagnosis.machine.absent:
            yield from _row("", reason, "")
    for name, value in diagnosis.machine.visible.items():
        yield from _row("", f"{name}={value!r}", "environment")
    yield from _cpu_lines(diagnosis)
    for disk in diagnosis.disks:
        yield from _row("disk", f"{_size(disk.free_bytes)} free for {disk.use}", disk.path)
    yield ""
    yield "[bold]Software[/]"
    yield from _software_lines(diagnosis)
    yield ""
    yield "[bold]Calibration[/]"
    yield from _calibration_lines(diagnosis)


def _verdict_lines(diagnosis: Diagnosis) -> Iterator[str]:
    device = diagnosis.machine.gpu.name if diagnosis.machine.gpu else "the CPU"
    if any(problem.stops for problem in diagnosis.problems):
        yield f"[bold red]error:[/] not ready to train on {escape(device)}"
    else:
        yield f"[bold green]ready[/] to train on {escape(device)}"
    for problem in sorted(diagnosis.problems, key=lambda item: not item.stops):
        yield from _problem_lines(problem)


def _problem_lines(problem: Problem) -> Iterator[str]:
    mark = "[red]✗[/]" if problem.stops else "[yellow]~[/]"
    first, *rest = textwrap.wrap(problem.message, WIDTH - 4)
    yield f"  {mark} {escape(first)}"
    yield from (f"    {escape(line)}" for line in rest)
    yield from (f"    [dim]{escape(line)}[/]" for line in textwrap.wrap(problem.hint, WIDTH - 4))


def _row(label: str, value: str, source: str) -> Iterator[str]:
    """Yield a figure and, dimmed, who says so; on lines of its own where it does not fit beside."""
    first, *rest = textwrap.wrap(value, WIDTH - _LABEL - 2) or [""]
    beside = not rest and source and len(first) + len(source) + _LABEL + 4 <= WIDTH
    yield f"  {label:{_LABEL}}{escape(first)}" + (f"  [dim]{escape(source)}[/]" if beside else "")
    for line in rest:
        yield f"  {'':{_LABEL}}{escape(line)}"
    if source and not beside:
        for line in textwrap.wrap(source, WIDTH - _LABEL - 2):
            yield f"  {'':{_LABEL}}[dim]{escape(line)}[/]"


def _size(n_bytes: int | None) -> str:
    return "unknown" if n_bytes is None else gib(n_bytes)


def _gpu_lines(gpu: Gpu) -> Iterator[str]:
    yield from _row("GPU", gpu.name, f"{gpu.asked}, driver {gpu.driver or 'unknown'}")
    yield from _row("  total", _size(gpu.driver_total_bytes), gpu.asked)
    if gpu.vendor == "nvidia":
        yield from _row("  reserved", _size(gpu.reserved_bytes), "by driver and firmware")
    yield from _row("  in use", _size(gpu.used_bytes), "by others, now")
    yield from _row("  torch sees", _size(gpu.total_bytes), _FROM[gpu.total_status])
    if gpu.card is None:
        yield from _row("  table", "not in it", "speed and power are unknown")
    else:
        rate = f"{gpu.card.dense_tflops:g} dense TFLOPS" if gpu.card.dense_tflops else "unknown speed"
        yield from _row("  table", f"{gpu.card.name}, {rate}", "fwplan devices")


def _apple_lines(chip: AppleChip) -> Iterator[str]:
    cores = "unknown" if chip.gpu_cores is None else str(chip.gpu_cores)
    yield from _row("GPU", f"{chip.name}, GPU cores: {cores}", "sysctl, system_profiler")
    yield from _row("  memory", _size(chip.memory_bytes), "shared with the CPU; sysctl hw.memsize")
    yield from _row("  GPU's share", _size(chip.gpu_limit_bytes), "sysctl iogpu.wired_limit_mb")


def _cpu_lines(diagnosis: Diagnosis) -> Iterator[str]:
    cpu = diagnosis.machine.cpu
    rate = "unknown speed" if cpu.sgemm_flops is None else f"{flops(cpu.sgemm_flops)}/s"
    yield from _row("CPU", cpu.name or "unknown", "")
    yield from _row("", f"{counted(cpu.cores, 'core')}, {rate}", "fp32 matrix product, timed now")
    yield from _row("memory", f"{_size(cpu.total_bytes)}, {_size(cpu.available_bytes)} available", "")


def _software_lines(diagnosis: Diagnosis) -> Iterator[str]:
    yield from _row("python", diagnosis.python, "")
    for package in diagnosis.packages:
        build = f", {diagnosis.torch_build.label}" if package.name == "torch" and package.version else ""
        missing = "not installed" if package.required else "not installed (optional)"
        yield from _row(package.name, f"{package.version or missing}{build}", package.use)
    yield from _row("C compiler", diagnosis.compiler or "none", "torch.compile")


def _calibration_lines(diagnosis: Diagnosis) -> Iterator[str]:
    yield from _row("store", diagnosis.store, "")
    if not diagnosis.stored:
        yield from _row("runs", "none: figures are priors until a run has been measured", "")
    for runs in diagnosis.stored:
        yield from _row("runs", f"{runs.runs} on {runs.device}", f"newest {runs.newest[:10]}")
        yield from _row("", ", ".join(runs.modes), "")
