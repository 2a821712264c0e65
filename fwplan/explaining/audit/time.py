"""Claims of time: hours of the run, seconds of a step, steps of a second; only where the device's speed is known."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from fwplan.explaining.audit.cards import CARD
from fwplan.explaining.audit.claim import Claim, Topic
from fwplan.explaining.audit.figures import RANGE, ROUNDED, Figure, clause, figure, plain_range, words
from fwplan.units import duration_range

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fwplan.explaining.audit.cards import Run

_STEP = r"(?:(?:training|optimi[sz]er)\s)?(?:steps?|it|iters?|iterations?|updates?)\b"
_STEP_SECONDS = re.compile(
    rf"{RANGE}\s?(?P<unit>ms|milliseconds?|s|secs?|seconds?)\s?(?:/|per\s|an?\s|each\s)\s?{_STEP}", re.IGNORECASE
)
_STEP_RATE = re.compile(
    rf"{RANGE}\s?{_STEP}\s?(?:/|per\s|an?\s)\s?(?P<unit>s|sec|seconds?|min|minutes?|h|hours?)\b", re.IGNORECASE
)
_RUN = re.compile(
    rf"{RANGE}(?:\s?(?P<unit>h|hrs?|hours?|mins?|minutes?|days?|weeks?)|\s(?P<day>d))\b(?!\s?(?:/|per\b|an?\b|each\b|ago))"
)
_SECONDS = {"ms": 1e-3, "mi": 60.0, "s": 1.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0}
_RUN_WORDS = words(r"train(?:s|ing|ed)?|takes?|took|total|wall\S*|finish\w*|wait|runs?|runtime|eta|done|complete\w*")
_OTHER_WORDS = words(
    r"eval\w*|checkpoint\w*|ckpt|every|timeout|limit|compil\w*|download\w*|tokeni\w*|prepar\w*|queue|log|logs|sav\w*",
    r"old|costs?|rent\w*|video|first|last|per|older|within|up to|than|instead|epoch|shape|micro\S*|if|quick|test|debug",
)


def time_claims(line: int, text: str, run: Run) -> Iterator[Claim]:
    """Yield what a comment says of time. A range is right where it meets the estimate's interval."""
    steps = [*_steps(text)]
    hours = [match for match in _RUN.finditer(text) if _is_of_run(text, match)]
    found = run.timed(text) if steps or hours else None
    if found is None or found.step_seconds is None:
        return
    for said, printed in steps:
        yield _claim(line, "step time", said, printed, found.step_seconds)
    if found.total_seconds is not None:
        for match in hours:
            unit = match["unit"] or match["day"]
            said = figure(match).times(_scale(unit))
            yield _claim(line, "run time", said, f"{plain_range(match)} {unit}", found.total_seconds)


def _steps(text: str) -> Iterator[tuple[Figure, str]]:
    """Yield the seconds a step that a comment says, whichever way round, and how it says it."""
    for match in _STEP_SECONDS.finditer(text):
        said = figure(match).times(_scale(match["unit"]))
        yield said, f"{plain_range(match)} {match['unit']}"
    for match in _STEP_RATE.finditer(text):
        rate = figure(match)
        if rate.low > 0:
            per = _scale(match["unit"])
            yield Figure(per / rate.high, per / rate.low, 0), f"{plain_range(match)} it/{match['unit']}"


def _is_of_run(text: str, match: re.Match[str]) -> bool:
    said = clause(text, match)
    return bool(_RUN_WORDS.search(said) or CARD.search(said)) and not _OTHER_WORDS.search(said)


def _scale(unit: str) -> float:
    unit = unit.lower()
    return _SECONDS.get(unit) or _SECONDS["mi" if unit.startswith("mi") and unit != "milliseconds" else unit[0]]


def _claim(line: int, topic: Topic, said: Figure, printed: str, truth: tuple[float, float]) -> Claim:
    low, high = truth
    right = said.high * (1 + ROUNDED) >= low and said.low <= high * (1 + ROUNDED)
    return Claim(line, topic, printed, duration_range(low, high), right)
