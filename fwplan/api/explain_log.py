"""`fwplan explain --log`: why a run went out of memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fwplan.api.explain import explain
from fwplan.errors import FwplanError
from fwplan.explaining.oom.diagnosis import Diagnosis, diagnose, target_of_log
from fwplan.explaining.oom.log import read_log

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
        log: a training log that holds PyTorch's out-of-memory message; "-" is standard input.
        config: whatever `explain` reads.
        overrides: nanoGPT-style "--key=value".
        gpu: the card by name; without it and `vram`, the card that the log describes.
        vram: the card by its nominal memory.
        world_size: processes that trained.

    Raises:
        FwplanError: a file cannot be read, or the log holds no such message; a card is named without a config.
    """
    read = read_log(log)
    if config is None:
        if gpu is not None or vram is not None:
            raise FwplanError("a card says nothing without a config", hint=f"fwplan explain config.py --log {log} ...")
        return diagnose(read, None)
    card = target_of_log(read.message)
    found = explain(config, overrides, gpu=gpu, vram=vram, world_size=world_size, target=card)
    return diagnose(read, found)
