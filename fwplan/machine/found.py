"""What this machine has to train with, by the programs of its drivers and its own system files. No torch."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fwplan.machine.amd import ask_amd
from fwplan.machine.apple import AppleChip, ask_macos
from fwplan.machine.command import run_command
from fwplan.machine.cpu import detect_cpu
from fwplan.machine.detect import detect_or_reason
from fwplan.machine.matmul_rate import keep_faster

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fwplan.machine.command import Runner
    from fwplan.machine.cpu import Cpu
    from fwplan.machine.gpu import Gpu


@dataclass(frozen=True)
class Machine:
    """A machine: its system, its GPU or Apple chip if it has one, and its processor.

    Attributes:
        system: its operating system, release and architecture.
        gpu: the GPU that a program would use first.
        apple: on a Mac: the chip, whose memory CPU and GPU share.
        absent: without a GPU: who was asked for one in vain, and what each said.
        visible: the variables that choose a GPU, where they are set.
        cpu: its processor, timed just now.
    """

    system: str
    gpu: Gpu | None
    apple: AppleChip | None
    absent: tuple[str, ...]
    visible: Mapping[str, str]
    cpu: Cpu


def this_machine(
    run: Runner = run_command, environ: Mapping[str, str] = os.environ, system: str | None = None
) -> Machine:
    """Return what this machine has.

    Args:
        run: returns a command's output, or None where there is none.
        environ: the environment.
        system: Linux, Darwin or Windows; None: this one.
    """
    system = system or platform.system()
    gpu, why = detect_or_reason(run, environ)
    apple, absent = None, [] if gpu else [f"NVIDIA: {why}", f"AMD: {ask_amd(run, environ)[1]}"]
    if gpu is None and system == "Darwin":
        apple, why = ask_macos(run)
        absent += [f"Apple: {why}"] if apple is None else []
    return Machine(
        system=f"{system} {platform.release()} {platform.machine()}",
        gpu=gpu,
        apple=apple,
        absent=tuple(absent),
        visible={name: value for name, value in environ.items() if name.endswith("_VISIBLE_DEVICES")},
        cpu=keep_faster(detect_cpu()),
    )
