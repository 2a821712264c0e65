"""A page as a file: one document with its style, that may load nothing and run nothing."""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING

from fwplan.errors import FwplanError
from fwplan.files import replace_atomically
from fwplan.version import __version__
from fwplan.view.html.bars import bar_defs
from fwplan.view.html.markup import Html, tag

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

# The page may load nothing, from anywhere, and run nothing.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
_STATUSES = (
    "exact: traced op by op against real steps; prior: published or reasoned, with an interval; "
    "calibrated: measured on this device."
)


def refuse_page(path: Path) -> None:
    """Raise where a page cannot go by its name."""
    if path.suffix not in {".html", ".htm"}:
        raise FwplanError(f"{str(path)!r} is no place for a report", hint="name a file that ends in .html")


def write_page(text: str, path: Path) -> None:
    """Write a page whole, or not at all.

    Raises:
        FwplanError: the file is not to be called .html, or cannot be written.
    """
    refuse_page(path)
    try:
        replace_atomically(path, lambda file: file.write(text.encode("utf-8", errors="replace")))
    except OSError as error:
        hint = "choose another place with --html"
        raise FwplanError(f"cannot write {path.name}: {error.strerror}", where=str(path), hint=hint) from error


def document(title: str, header: Html, sections: Iterable[Html], command: str) -> str:
    """Return the page. Equal contents give equal pages: nothing in it is of the day."""
    style = Html(files("fwplan.view.html").joinpath("style.css").read_text(encoding="utf-8"))
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", f"{title} - fwplan"),
        tag("style", style),
    )
    footer = tag("footer", tag("p", _STATUSES), tag("p", f"fwplan {__version__}: ", tag("code", command)))
    body = tag("body", bar_defs(), header, tag("main", *sections), footer)
    return "<!DOCTYPE html>\n" + tag("html", head, body, lang="en") + "\n"


def notes_section(notes: list[str]) -> Html:
    """Return what else is to be known; nothing where there is nothing."""
    if not notes:
        return Html()
    return tag("section", tag("h2", "Notes"), tag("ul", *(tag("li", note) for note in notes)))
