"""The table of cards that guides publish: what each nominal size of memory is good for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fwplan.planning.search import search

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fwplan.learning.measurement import Measurement
    from fwplan.planning.request import Request
    from fwplan.planning.suggestion import Suggestion


@dataclass(frozen=True)
class CardTable:
    """One suggestion for each card, in the order asked for."""

    suggestions: tuple[Suggestion, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return the table as `suggest --vram 12,24 --json` prints it."""
        return {
            "objective": self.suggestions[0].objective,
            "cards": [
                {"nominal_gib": found.request.target.nominal_gib}
                | found.pick.as_dict()
                | {"why_not_bigger": found.why_not_bigger}
                for found in self.suggestions
            ],
        }


def card_table(requests: Sequence[Request], measurements: Sequence[Measurement] | None = None) -> CardTable:
    """Return the suggestion for each request."""
    return CardTable(tuple(search(request, measurements) for request in requests))
