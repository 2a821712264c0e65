"""What every benchmark shares: where its result file goes, what the file says about itself, and a few statistics."""

from __future__ import annotations

import json
import math
import platform
import re
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from fwplan.machine.cpu import detect_cpu

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

RESULTS = Path(__file__).parent / "results"
_PACKAGES = ("fwplan", "torch", "numpy", "pydantic", "typer", "rich", "pyarrow", "tiktoken", "gigatoken")


def write_result(what: str, body: dict[str, Any]) -> Path:
    """Write results/<date>-<device>-<what>.json and return its path; a second run on the same day replaces it."""
    cpu = detect_cpu(probe=None)
    now = datetime.now(UTC)
    device = cpu.name or platform.machine()
    slug = re.sub(r"[^a-z0-9]+", "-", device.lower()).strip("-")
    path = RESULTS / f"{now:%Y-%m-%d}-{slug}-{what}.json"
    document = {
        "what": what,
        "measured_at": now.isoformat(timespec="seconds"),
        "device": {"type": "cpu", "name": device, "cores": cpu.cores, "total_bytes": cpu.total_bytes},
        "system": f"{platform.system()} {platform.machine()}",
        "versions": {"python": platform.python_version()} | {name: _version(name) for name in _PACKAGES},
        **body,
    }
    RESULTS.mkdir(exist_ok=True)
    path.write_text(_dumps(document) + "\n", encoding="utf-8")
    return path


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _dumps(value: Any, depth: int = 2) -> str:
    """Return JSON with its first `depth` levels spread over lines and one line for each row below them."""
    if depth and isinstance(value, dict):
        items = (f"{json.dumps(key)}: {_dumps(item, depth - 1)}" for key, item in value.items())
        return "{\n" + ",\n".join(items) + "\n}"
    if depth and isinstance(value, list):
        return "[\n" + ",\n".join(_dumps(item, depth - 1) for item in value) + "\n]"
    return json.dumps(value, allow_nan=False)


def error_summary(errors: Iterable[float]) -> dict[str, float | int]:
    """Return the count of signed relative errors, and of their sizes the median, the 95th percentile and the worst."""
    sizes = sorted(abs(error) for error in errors)
    if not sizes:
        return {"rows": 0}
    return {
        "rows": len(sizes),
        "median": round(median(sizes), 6),
        "p95": round(sizes[math.ceil(0.95 * len(sizes)) - 1], 6),  # nearest rank: a row that exists
        "worst": round(sizes[-1], 6),
    }


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a plain table: the first column to the left, the others to the right."""
    cells = [list(header), *(list(row) for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(header))]
    return "\n".join(
        "  ".join(
            cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        )
        for row in cells
    )
