"""How a process is told which allocator settings to use: torch reads them once, from the environment."""

from __future__ import annotations

VARIABLE = "PYTORCH_ALLOC_CONF"


def environment(*, expandable_segments: bool) -> dict[str, str]:
    """Return what must stand in the environment before torch first allocates on a GPU; nothing for the defaults."""
    return {VARIABLE: "expandable_segments:True"} if expandable_segments else {}
