"""The section on what a config's comments claim."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fwplan.view.html.markup import Html, table, tag

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fwplan.explaining.audit import Claim


def claims_section(claims: Iterable[Claim]) -> Html:
    """Return the claims of a config's comments, each beside the truth."""
    rows = [
        (f"line {claim.line}", claim.topic, claim.claimed, claim.truth, "✓ right" if claim.right else "✗ wrong")
        for claim in claims
    ]
    heads = ("line", "about", "claimed", "true", "")
    return tag("section", tag("h2", "What its comments claim"), table("Claims and the truth", heads, rows))
