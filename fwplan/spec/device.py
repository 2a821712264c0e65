"""What trains."""

from __future__ import annotations

from typing import Literal

from fwplan.fields import Bytes, Spec


class DeviceSpec(Spec):
    """What trains. `total_bytes` is what the driver offers torch; `in_use_bytes` is taken by others (None: unknown)."""

    type: Literal["cuda", "cpu", "mps"] = "cuda"
    name: str | None = None
    total_bytes: Bytes | None = None
    in_use_bytes: Bytes | None = None
