"""What trains."""

from __future__ import annotations

from typing import Literal

from fwplan.fields import Bytes, Spec


class DeviceSpec(Spec):
    """What trains."""

    type: Literal["cuda", "cpu", "mps"] = "cuda"
    name: str | None = None  # "RTX 4070"
    total_bytes: Bytes | None = None  # what the driver offers torch; None: by name
    in_use_bytes: Bytes | None = None  # taken by others; None: a desktop on a GeForce
