"""Cards that comments name, and which device a comment's hours are about."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fwplan.errors import FwplanError
from fwplan.estimation.estimate import estimate
from fwplan.machine.target import named_gpu

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fwplan.estimation.estimate import Estimate
    from fwplan.learning.measurement import Measurement
    from fwplan.machine.target import Target

CARD = re.compile(
    r"\b(?:(?:geforce\s)?[rg]tx\s?\d{4}(?:\s?(?:ti|super)\b){0,2}|(?<=on a )[2-5]0[5-9]0\b|(?<=on my )[2-5]0[5-9]0\b"
    r"|[abh]\d00|h200|l40s?|l4|t4|a10g?|a40|a6000|rx\s?\d{4}(?:\s?(?:xtx|xt|gre)\b)?|mi\d{3}x?)\b"
    r"(?:\s?\(?\d{1,3}\s?gi?b\b\)?)?",
    re.IGNORECASE,
)
_SEVERAL = re.compile(r"(?<![\w.,])(\d{1,4})\s?(?:x|\u00d7)\s?(?=[a-z])|(?<![\w.,])(\d{1,4})\s+gpus?\b", re.IGNORECASE)
_MOST_NAMES = 16  # a file that names more cards than this is a list of cards


@dataclass(frozen=True)
class Run:
    """What claims are held against.

    Attributes:
        estimate: of the run, on the device that the user asked about.
        measurements: past runs to learn from.
        cards: names of cards that the file's comments hold.
        gpus: numbers of GPUs that they hold: "8x A100".
        others: estimates of the same run on other devices, kept.
    """

    estimate: Estimate
    measurements: Sequence[Measurement]
    cards: frozenset[str]
    gpus: frozenset[int]
    others: dict[str, Estimate] = field(default_factory=dict, repr=False)

    def on(self, target: Target) -> Estimate:
        """Return the estimate of the same run on another device."""
        if target.label not in self.others:
            self.others[target.label] = estimate(self.estimate.spec, target, measurements=self.measurements)
        return self.others[target.label]

    def card(self, name: str) -> Target | None:
        """Return the card that a comment names; None where the table has none or several of that name."""
        if len(self.cards) > _MOST_NAMES:
            return None
        try:
            return named_gpu(_plain(name))
        except FwplanError:
            return None

    def timed(self, text: str) -> Estimate | None:
        """Return the estimate on the device that a comment's times are about; None where that is not clear.

        It is the card that the comment names, else the only one that the file's comments name, else the one that the
        user asked about. Times of another number of GPUs than the run's are not judged.
        """
        here = names(text)
        cards, counts = (here, gpu_counts(text)) if here else (self.cards, self.gpus)
        if counts - {self.estimate.spec.train.parallel.world_size} or len(cards) > 1:
            return None
        if not cards:
            return self.estimate
        target = self.card(*cards)
        return self.on(target) if target else None


def names(text: str) -> frozenset[str]:
    """Return the names of cards in a text."""
    return frozenset(_plain(match[0]) for match in CARD.finditer(text))


def gpu_counts(text: str) -> frozenset[int]:
    """Return the numbers of GPUs in a text."""
    return frozenset(int(match[1] or match[2]) for match in _SEVERAL.finditer(text))


def _plain(name: str) -> str:
    return re.sub(r"[()]", " ", name).strip().upper()
