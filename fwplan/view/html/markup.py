"""HTML in the smallest way: a tag is a function of its escaped children."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from fwplan.units import gib

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


class Html(str):
    """Text that is markup already; any other string is escaped where it is put in."""

    __slots__ = ()


def tag(name: str, /, *children: str, **attributes: object) -> Html:
    """Return an element. In attributes' names _ is -, but for one at the end (class_); None leaves one out.

    Every element is closed by a tag of its own, in SVG too, but for HTML's void ones.
    """
    said = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(str(value), quote=True)}"'
        for key, value in attributes.items()
        if value is not None
    )
    inside = joined(children)
    return Html(f"<{name}{said}>" if name == "meta" else f"<{name}{said}>{inside}</{name}>")


def joined(children: Iterable[str]) -> Html:
    """Return children one after the other, escaped where they are no markup."""
    return Html("".join(child if isinstance(child, Html) else escape(child, quote=True) for child in children))


def size(n_bytes: float) -> Html:
    """Return bytes for reading, with the exact figure in the element's value."""
    return tag("data", gib(n_bytes), value=round(n_bytes))


def size_range(low: float, high: float) -> Html:
    """Return an interval of bytes for reading, both exact figures in their elements."""
    first, last = gib(low), gib(high)
    short = first.partition(" ")[0] if first.partition(" ")[2] == last.partition(" ")[2] else first
    return tag("span", tag("data", short, value=round(low)), " to ", size(high), class_="range")


def table(
    caption: str, heads: Sequence[str], rows: Iterable[Sequence[str]], *, foot: Sequence[str] = (), kind: str = "wide"
) -> Html:
    """Return a table; the first cell of a row is its header. Columns whose head ends in a tab hold numbers.

    On a narrow screen a wide table scrolls, a narrow one fits, and a stacked one puts a row's cells below each other:
    hence the roles, which are lost with the layout otherwise.
    """
    numbers = ["n" if head.endswith("\t") else None for head in heads]
    titles = (
        tag("th", text.strip(), scope="col", role="columnheader", class_=number)
        for text, number in zip(heads, numbers, strict=True)
    )
    head = tag("thead", tag("tr", *titles, role="row"), role="rowgroup")
    body = tag("tbody", *(_row(cells, numbers) for cells in rows), role="rowgroup")
    end = [tag("tfoot", _row(foot, numbers), role="rowgroup")] if foot else []
    whole = tag("table", tag("caption", caption), head, body, *end, role="table", class_=kind)
    return tag("div", whole, class_="scroll", tabindex=0, role="region", aria_label=caption)


def _row(cells: Sequence[str], numbers: Sequence[str | None]) -> Html:
    first, *rest = cells
    others = (tag("td", cell, role="cell", class_=number) for cell, number in zip(rest, numbers[1:], strict=True))
    return tag("tr", tag("th", first, scope="row", role="rowheader", class_=numbers[0]), *others, role="row")


def svg(name: str, title: str, description: str, width: float, height: float, *children: Html, **more: object) -> Html:
    """Return a picture that a screen reader can tell: its name is an id that no other picture of the page has."""
    return tag(
        "svg",
        tag("title", title, id=f"{name}-title"),
        tag("desc", description, id=f"{name}-desc"),
        *children,
        viewBox=f"0 0 {width:g} {height:g}",
        role="img",
        aria_labelledby=f"{name}-title {name}-desc",
        **more,
    )
