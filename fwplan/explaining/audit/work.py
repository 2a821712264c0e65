"""Claims of FLOPs: of the run, of a token, of a step."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from fwplan.explaining.audit.claim import Claim, Topic
from fwplan.explaining.audit.figures import Figure, clause_before, words
from fwplan.units import flops

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fwplan.explaining.audit.cards import Run

_FLOPS = re.compile(
    r"(?<![\w.,])(?P<number>\d{1,3}(?:,\d{3})+|\d{1,12}(?:\.\d{1,6})?)"
    r"(?:e\+?(?P<power>\d{1,2})|\s?[x*\u00d7]\s?10(?:\^|\*\*)(?P<ten>\d{1,2}))?"
    r"\s?(?P<prefix>[mgtpez]|mega|giga|tera|peta|exa|zetta)?\s?FLOPs?\b(?!/?s\b)"
    r"(?:\s?(?:/|per\s|an?\s|each\s)\s?(?P<unit>\w+))?",
    re.IGNORECASE,
)
_PREFIXES = {"m": 1e6, "g": 1e9, "t": 1e12, "p": 1e15, "e": 1e18, "z": 1e21}
_UNITS: dict[str, Topic] = {
    "tok": "FLOPs a token", "token": "FLOPs a token", "step": "FLOPs a step", "iter": "FLOPs a step",
    "iteration": "FLOPs a step", "update": "FLOPs a step",
}  # fmt: skip
_LEAST_TOTAL = 1e15  # "58 TFLOPs" is what a card does in a second
_RATES = words(r"peak|card|gpus?|mfu|second|sec|speed|achiev\w*|dense|throughput|forward|than|gpt")


def flop_claims(line: int, text: str, run: Run) -> Iterator[Claim]:
    """Yield what a comment says of FLOPs. Both 6 N D and PaLM's count with attention are right."""
    work, parameters, tokens = run.estimate.flops, run.estimate.parameters, run.estimate.tokens
    for match in _FLOPS.finditer(text):
        if match[0].rstrip().endswith("FLOPS") or _RATES.search(clause_before(text, match.start())):
            continue
        said, unit = _figure(match), match["unit"]
        topic = _UNITS.get(unit.lower()) if unit else "FLOPs"
        times = {"FLOPs a token": 1, "FLOPs a step": tokens.per_step, "FLOPs": tokens.total}.get(topic or "")
        if topic is None or times is None or (topic == "FLOPs" and said.low < _LEAST_TOTAL):
            continue
        truth, least = work.per_token * times, 6 * parameters.non_position * times
        right = said.agrees(truth) or said.agrees(least) or least <= said.low <= truth
        yield Claim(line, topic, flops(said.low), f"{flops(truth)}, {flops(least)[:-5]} by 6ND", right)


def _figure(match: re.Match[str]) -> Figure:
    power = int(match["power"] or match["ten"] or 0)
    scale = 10.0**power * (_PREFIXES[match["prefix"][0].lower()] if match["prefix"] else 1)
    value = float(match["number"].replace(",", "")) * scale
    decimals = len(match["number"].partition(".")[2])
    return Figure(value, value, 0.5 * 10.0**-decimals * scale)
