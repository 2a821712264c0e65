"""`fwplan measure`: what specs really take, beside what was predicted."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from fwplan.api.common import decided
from fwplan.configs import load_config
from fwplan.learning.request import MeasureRequest, run_request

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fwplan.learning.request import MeasureReport


def measure(
    *,
    grid: str | None = None,
    specs: Sequence[str | Path] = (),
    device: str | None = None,
    output: str | Path = "results.jsonl",
    timeout: float = 300.0,
    budget_minutes: float | None = None,
) -> MeasureReport:
    """Measure a few real steps of each spec in its own process; results are JSON lines, and none is made twice.

    Args:
        grid: "small" or "full"; None: small, unless specs are named.
        specs: files that load_config reads.
        device: "cpu" or "cuda"; None: a CUDA GPU where torch sees one, else the CPU.
        output: the results file.
        timeout: seconds that one spec may take.
        budget_minutes: for all of them; None: 25 for the full grid, else no limit.

    Raises:
        FwplanError: an argument cannot be used, this machine has no such device, or the file cannot be written.
    """
    words = ["fwplan", "measure", *(["--grid", grid] if grid else [])]
    words += [word for path in specs for word in ("--spec", str(path))]
    words += [*(["--device", device] if device else []), "-o", str(output)]
    return run_request(
        MeasureRequest(
            grid=grid or (None if specs else "small"),
            specs=tuple(decided(load_config(path)) for path in specs),
            device=device,
            output=Path(output),
            timeout=timeout,
            budget=None if budget_minutes is None else 60 * budget_minutes,
            command=shlex.join(words),
        )
    )
