"""One step of a run as its allocator sees it: a tensor is allocated, or released."""

from __future__ import annotations

from typing import Literal, NamedTuple


class Event(NamedTuple):
    """One allocation or release. A stream of them covers a whole run: construction, first step, further steps."""

    action: Literal["allocate", "release"]
    tensor: int  # unique in a stream; its release carries the same number
    bytes: int  # as asked for, before any rounding; a release repeats its allocation's
    label: str = ""  # what a viewer shows
