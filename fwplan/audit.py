"""What a config's comments claim of parameters, tokens and memory, each claim beside the truth."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from fwplan.configs.comments import comments
from fwplan.errors import FwplanError
from fwplan.estimation import estimate
from fwplan.target import nominal_gpu
from fwplan.units import GIB, gib, si

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from fwplan.configs import LoadedConfig
    from fwplan.estimation import Estimate
    from fwplan.measurement import Measurement

Topic: TypeAlias = Literal["parameters", "tokens a step", "tokens", "memory", "card"]

_COUNT_OFF = 0.03  # people round
_MOST_CLAIMS = 20
_SCALES = {"k": 1e3, "m": 1e6, "b": 1e9, "t": 1e12}
_N = r"(?<![\w.,])(\d{1,3}(?:,\d{3})+|\d{1,12}(?:\.\d{1,6})?)"
_SCALE = r"\s?([kmbt]|million|billion|trillion)"
_PARAMETERS = re.compile(
    rf"{_N}{_SCALE}\b[\s-]*(?:param|model|gpt)|(?:param\w*|gpt-?2?)\s*[:=(~]+\s*~?{_N}{_SCALE}\b", re.IGNORECASE
)
_TOKENS = re.compile(
    rf"{_N}(?:{_SCALE}\b)?\s*tokens?\b(?P<per>\s*(?:/|per|a|each)\s*(?:step|iter|update|batch))?", re.IGNORECASE
)
_TOKENS_BE = re.compile(rf"tokens?\s*(?:be|is|are|:|=|~)+\s*~?{_N}(?:{_SCALE}\b)?(?P<per>)", re.IGNORECASE)
_MEMORY = re.compile(rf"{_N}(?:\s*(?:-|\u2013|to)\s*(\d{{1,4}}(?:\.\d{{1,3}})?))?\s*gi?b\b", re.IGNORECASE)
_CARD = re.compile(
    r"(?:\bfits?(?:\s+(?:on|in|into))?|\bsafe\s+(?:on|for)|\bfor|\bon)\s+(?:an?\s+|any\s+)?~?$", re.IGNORECASE
)
_ELSEWHERE = re.compile(r"parquet|disk|file|dataset|corpus|download|\bram\b|host|checkpoint", re.IGNORECASE)


@dataclass(frozen=True)
class Claim:
    """One claim of a comment.

    Attributes:
        line: of the file.
        topic: what it is about.
        claimed: the claim, as printed.
        truth: what is true, as printed.
        right: whether they agree.
    """

    line: int
    topic: Topic
    claimed: str
    truth: str
    right: bool

    def as_dict(self) -> dict[str, Any]:
        """Return the claim as `explain --json` prints it."""
        return {
            "line": self.line,
            "topic": self.topic,
            "claimed": self.claimed,
            "true": self.truth,
            "right": self.right,
        }


def audit(loaded: LoadedConfig, found: Estimate, measurements: Sequence[Measurement]) -> tuple[Claim, ...]:
    """Return the claims in a Python file's comments, each beside the truth of the run as explained."""
    if loaded.kind not in {"nanogpt", "build_nanogpt"}:
        return ()
    claims: list[Claim] = []
    for line, text in comments(loaded.source):
        claims += _parameters(line, text, found)
        claims += _tokens(line, text, found)
        claims += _memory(line, text, found, measurements)
        if len(claims) >= _MOST_CLAIMS:
            break
    return tuple(dict.fromkeys(claims))


def _value(number: str, scale: str | None) -> float:
    return float(number.replace(",", "")) * (_SCALES[scale[0].lower()] if scale else 1)


def _near(claimed: float, truth: float) -> bool:
    return abs(claimed - truth) <= _COUNT_OFF * truth


def _parameters(line: int, text: str, found: Estimate) -> Iterator[Claim]:
    count = found.parameters
    for match in _PARAMETERS.finditer(text):
        number, scale = (match[1], match[2]) if match[1] else (match[3], match[4])
        claimed = _value(number, scale)
        right = _near(claimed, count.total) or _near(claimed, count.non_position)
        yield Claim(line, "parameters", si(claimed), si(count.total), right)


def _tokens(line: int, text: str, found: Estimate) -> Iterator[Claim]:
    for match in (*_TOKENS.finditer(text), *_TOKENS_BE.finditer(text)):
        claimed = _value(match[1], match[2])
        per_step = bool(match["per"])
        truth = found.tokens.per_step if per_step else found.tokens.total
        if truth is None or claimed < 10_000:  # "1024 tokens" is a context, "4 tokens" an example
            continue
        if not per_step and match[2] is None:
            truth = min((found.tokens.per_step, truth), key=lambda one: abs(one - claimed))
        topic: Topic = "tokens a step" if truth == found.tokens.per_step else "tokens"
        yield Claim(line, topic, si(claimed), si(truth), _near(claimed, truth))


def _memory(line: int, text: str, found: Estimate, measurements: Sequence[Measurement]) -> Iterator[Claim]:
    if found.use is None or _ELSEWHERE.search(text):
        return
    for match in _MEMORY.finditer(text):
        low = float(match[1].replace(",", ""))
        high = float((match[2] or match[1]).replace(",", ""))
        if not 1 <= low <= high <= 1000:
            continue
        said = f"{match[1]}-{match[2]} GB" if match[2] else f"{match[1]} GB"
        if match[2] is None and _CARD.search(text[: match.start()]):
            yield from _card(line, low, said, found, measurements)
            continue
        needed = found.use.needed
        right = high * GIB >= found.use.allocated.low and low * GIB <= needed.high
        peak, most = gib(found.use.allocated.point), gib(needed.high)
        yield Claim(line, "memory", said, f"{peak} live, up to {most} needed", right)


def _card(line: int, size: float, said: str, found: Estimate, measurements: Sequence[Measurement]) -> Iterator[Claim]:
    try:
        there = estimate(found.spec, nominal_gpu(round(size * GIB)), measurements=measurements)
    except FwplanError:
        return
    verdicts = {"fits": "fits", "fits_at_point": "may fit, not safely", "does_not_fit": "does not fit"}
    if there.verdict in verdicts:
        yield Claim(line, "card", f"fits {said}", verdicts[there.verdict], there.verdict == "fits")
