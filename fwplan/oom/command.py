"""`fwplan explain --log`: the verb behind the command line."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from fwplan.commands import explain
from fwplan.oom.diagnosis import Diagnosis, diagnose, target_of_log
from fwplan.oom.log import read_log

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def explain_log(
    log: str | Path,
    config: str | Path | None = None,
    overrides: Sequence[str] = (),
    *,
    gpu: str | None = None,
    vram: float | str | None = None,
    world_size: int = 1,
) -> Diagnosis:
    """Return why a run went out of memory, from its log and, where given, its config. Executes neither.

    Args:
        log: a training log that holds PyTorch's out-of-memory message.
        config: whatever `explain` reads.
        overrides: nanoGPT-style "--key=value".
        gpu: the card by name; without it and `vram`, the card that the log describes.
        vram: the card by its nominal memory.
        world_size: processes that trained.

    Raises:
        FwplanError: a file cannot be read, or the log holds no such message.
    """
    read = read_log(log)
    if config is None:
        return diagnose(read, None)
    card = target_of_log(read.message)
    found = explain(config, overrides, gpu=gpu, vram=vram, world_size=world_size, target=card)
    return diagnose(read, found)


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
