"""Intervals as bars beside their card: certain part full, uncertain part hatched, what the device leaves a line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fwplan.units import gib
from fwplan.view.html.markup import Html, svg, tag

if TYPE_CHECKING:
    from fwplan.estimators.overhead import Range

_WIDTH, _HEIGHT = 300, 18


def bar_svg(name: str, title: str, need: Range, available: int | None, largest: float) -> Html:
    """Return a bar from nothing to `need`, on a scale that ends at `largest` bytes."""

    def x(n_bytes: float) -> float:
        return round(max(0.0, n_bytes) / largest * (_WIDTH - 2), 2)

    sure = tag("rect", x=0, y=3, width=x(need.low), height=_HEIGHT - 6, class_="sure")
    unsure = tag("rect", x=x(need.low), y=3, width=round(x(need.high) - x(need.low), 2), height=_HEIGHT - 6,
                 fill="url(#unsure)", class_="edge")  # fmt: skip
    at = {"x1": x(available), "x2": x(available), "y1": 0, "y2": _HEIGHT} if available else {}
    line = [tag("line", class_=kind, **at) for kind in ("under", "limit") if at]
    said = f"{gib(need.low)} to {gib(need.high)}" + (f", {gib(available)} available" if available else "")
    return svg(name, title, said, _WIDTH, _HEIGHT, sure, unsure, *line, class_="bar")


def bar_defs() -> Html:
    """Return the hatching that bars use, in a picture of no size."""
    mark = tag("path", d="M0 6L6 0M-1 1L1 -1M5 7L7 5", class_="hatch")
    pattern = tag("pattern", mark, id="unsure", width=6, height=6, patternUnits="userSpaceOnUse")
    return tag("svg", tag("defs", pattern), width=0, height=0, aria_hidden="true", class_="nothing")
