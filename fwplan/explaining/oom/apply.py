"""The command that applies what would have helped."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fwplan.explaining.oom.diagnosis import Diagnosis


def apply_command(found: Diagnosis) -> str | None:
    """Return what to type to apply the first fix that is enough, else the first; None where there is none."""
    helpful = found.helpful()
    if found.explanation is None or not helpful:
        return None
    number = next((n for n, fix in enumerate(helpful, 1) if fix.fits), 1)
    command, _, overrides = found.explanation.command.partition(" -- ")
    target = found.explanation.estimate.target
    words = shlex.split(command)
    sizes = [card.nominal_gib for card in target.cards if card.nominal_gib] if target is not None else []
    if sizes and not {"--gpu", "--vram"} & set(words):
        command += f" --vram {min(sizes)}"
    return f"{command} --fix {number} -o plan.json" + (f" -- {overrides}" if overrides else "")
