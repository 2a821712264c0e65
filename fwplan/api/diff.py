"""`fwplan diff`: what the change from one run to another does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fwplan.api.explain import explain
from fwplan.explaining.difference import Diff

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def diff(
    before: str | Path,
    after: str | Path,
    overrides: Sequence[str] = (),
    *,
    gpu: str | None = None,
    vram: float | str | None = None,
) -> Diff:
    """Return what the change from one run to another does.

    Args:
        before: anything that `explain` reads.
        after: likewise; it may be the same file.
        overrides: nanoGPT-style "--key=value" for the second.
        gpu: a card by name, for both. With neither gpu nor vram: each file's own device, if it names one.
        vram: a card by its nominal memory in GiB.

    Raises:
        FwplanError: a file cannot be read, or a value that matters is unknown (exit code 4).
    """
    first = explain(before, gpu=gpu, vram=vram).estimate
    return Diff(first, explain(after, overrides, gpu=gpu, vram=vram).estimate)
