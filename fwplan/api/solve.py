"""`fwplan solve`: the largest value of one field with which a run still fits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fwplan.api.common import chosen_target, decided
from fwplan.configs import load_config
from fwplan.errors import FwplanError
from fwplan.explaining.explanation import command_to
from fwplan.learning.store import load_measurements
from fwplan.machine.target import detected, own_target
from fwplan.planning.solve import largest_that_fits

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from fwplan.planning.solve import Solution


def solve(
    field: str,
    config: str | Path,
    overrides: Sequence[str] = (),
    *,
    gpu: str | None = None,
    vram: float | str | None = None,
    device: str | None = None,
) -> Solution:
    """Return the largest value of one field of a run that still fits a device.

    Args:
        field: such as "micro_batch_size", "n_layer", "n_embd" or "context_length".
        config: anything that explain reads.
        overrides: nanoGPT-style "--key=value".
        gpu: a card by name.
        vram: a card by its nominal memory in GiB.
        device: "cpu" or "cuda": this machine's.

    Raises:
        FwplanError: the file cannot be read, no such field, or not even its smallest value fits (exit code 3).
    """
    options = {"--gpu": gpu, "--vram": vram, "--device": device}
    again = [str(config), *overrides]
    spec = decided(load_config(config, overrides), lambda more: command_to("solve", field, [*again, *more], options))
    target = chosen_target(gpu, vram, device) or own_target(spec) or detected()
    if target is None:
        raise FwplanError("fits on what? no device is named", hint=f"fwplan solve {field} {config} --gpu 4070")
    return largest_that_fits(spec, field, target, load_measurements())
