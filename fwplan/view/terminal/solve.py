"""What `solve` says: the value, what it needs, and what the next one would."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.markup import escape

from fwplan.units import gib
from fwplan.view.figures import gib_range

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fwplan.planning.solve import Solution


def solve_lines(found: Solution) -> Iterator[str]:
    """Yield the answer, then its reason."""
    label = found.estimate.target.label if found.estimate.target else ""
    if found.ended_by is None:
        yield f"[bold]{found.field} {found.value:,}[/] is the largest that fits {escape(label)}"
    else:
        yield f"[bold]{found.field} {found.value:,}[/] fits {escape(label)}:"
        yield f"  {escape(found.ended_by)} ends it there, not memory"
    if found.estimate.use:
        yield f"  {found.value:,} needs {gib_range(found.estimate.use.needed)} GiB,"
        yield f"  {gib(found.estimate.available_bytes or 0)} available"
    if found.after is not None and found.after.use:
        yield f"  the next one needs {gib_range(found.after.use.needed)} GiB"
    if found.at_point > found.value:
        yield f"  up to {found.at_point:,} the middle of the interval still fits: not safe until measured"
