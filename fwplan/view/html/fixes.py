"""The section on what would change it: each fix before and after, those that do not help with the reason."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fwplan.view.html.bars import bar_svg
from fwplan.view.html.markup import Html, joined, size_range, table, tag
from fwplan.view.terminal.fixes import slower_text

if TYPE_CHECKING:
    from fwplan.estimators.overhead import Range
    from fwplan.explaining.explanation import Explanation
    from fwplan.planning.fixes import Fix


def fixes_section(explanation: Explanation) -> Html:
    """Return the changes as bars on one scale, the run as it is first."""
    before, available = explanation.estimate, explanation.estimate.available_bytes
    uses = [use for use in (before.use, *(fix.estimate.use for fix in explanation.fixes)) if use is not None]
    largest = max([available or 0, *(use.needed.high for use in uses)])
    rows: list[tuple[str, ...]] = []
    if before.use is not None:
        rows.append(("as it is", *_figures("fix-0", "as it is", before.use.needed, available, largest), "", ""))
    number = 0
    for index, fix in enumerate(explanation.fixes, 1):
        number += fix.helps
        rows.append(_row(index, number if explanation.numbered else None, fix, available, largest))
    heads = ("change", "GiB needed\t", "bar", "time\t", "the maths")
    caption = "Each is a full re-estimate. ✓ fits, ~ helps and is not enough alone, ✗ does not help"
    does = " applies number N." if explanation.numbered else " writes this run; its plan numbers these."
    how = tag("p", tag("code", explanation.to_save("N")), does, class_="small")
    return tag("section", tag("h2", "What would change it"), table(caption, heads, rows, kind="stacked"), how)


def _row(index: int, number: int | None, fix: Fix, available: int | None, largest: float) -> tuple[str, ...]:
    mark = ("✓" if fix.fits else "~") + (f" {number}" if number is not None else "") if fix.helps else "✗"
    use, shown = fix.estimate.use, ("unknown", "")
    if use is not None:
        shown = _figures(f"fix-{index}", fix.change, use.needed, available, largest)
    name = joined((f"{mark} {fix.change}", tag("span", fix.why, class_="why")))
    maths = "same maths" if fix.same_maths else "other maths"
    return (name, *shown, slower_text(fix), tag("span", maths, class_="short"))


def _figures(name: str, title: str, need: Range, available: int | None, largest: float) -> tuple[str, str]:
    return size_range(need.low, need.high), bar_svg(name, title, need, available, largest)
