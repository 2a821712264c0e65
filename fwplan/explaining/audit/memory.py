"""Claims of memory: what the run takes, which cards it fits, and how large one tensor is."""

from __future__ import annotations

import re
from math import prod
from typing import TYPE_CHECKING

from fwplan.errors import FwplanError
from fwplan.explaining.audit.cards import CARD
from fwplan.explaining.audit.claim import Claim
from fwplan.explaining.audit.figures import RANGE, ROUNDED, clause, clause_before, figure, plain_range, words
from fwplan.machine.target import nominal_gpu
from fwplan.units import GIB, gib

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fwplan.explaining.audit.cards import Run
    from fwplan.machine.target import Target

_MEMORY = re.compile(rf"{RANGE}\s?gi?b\b(?!/|ps)", re.IGNORECASE)
_VERBS = r"fits?|safe|runs?|works?|oom\w*|out of memory"
_ON_SIZE = re.compile(
    rf"(?:\b(?:{_VERBS})(?:\s(?:on|in|into|for|at))?|\bfor|\bon)\s(?:an?\s|any\s|my\s|the\s)?~?$", re.IGNORECASE
)
_ON_CARD = re.compile(
    rf"\b(?:{_VERBS})(?:\s(?:easily|fine|comfortably|well))?(?:\s(?:on|in|into|for))?\s(?:an?\s|any\s|my\s|the\s|one\s)?$",
    re.IGNORECASE,
)
_FAILS = re.compile(r"\b(?:oom\w*|out of memory|not|never|too (?:big|large)|fails?|crash\w*)\b|n't\b", re.IGNORECASE)
_ELSEWHERE = re.compile(
    r"parquet|\bdisk|\bfiles?\b|dataset|corpus|download|\bram\b|system memory|\bhost|checkpoint|swap|ssd|bandwidth"
    r"|\btext\b|\bdata\b",
    re.IGNORECASE,
)
_ASIDE = words(
    r"keep\w*|leav\w*|reserv\w*|free\w*|headroom|spare|margin|os|desktop|windows|sav\w+|cached?|have|has|got|my",
    r"more|less|than|extra|each|per|if|a100|h100|limit|out of",
)
_A_CARD = re.compile(r"\s?(?:card|gpus?\b|[rg]tx|geforce|nvidia)", re.IGNORECASE)
_SHAPE = re.compile(r"\((\d{1,9}(?:,\s?\d{1,9}){1,3})\)")
_DTYPE = re.compile(r"\b(?:(bf16|bfloat16|fp16|float16|half)|(fp32|float32|float))\b", re.IGNORECASE)
_VERDICTS = {"fits": "fits", "fits_at_point": "may fit, not safely", "does_not_fit": "does not fit"}


def memory_claims(line: int, text: str, run: Run) -> Iterator[Claim]:
    """Yield what a comment says of memory and cards."""
    if run.estimate.use is None:
        return
    named = [match.span() for match in CARD.finditer(text)]
    yield from _named_cards(line, text, run)
    if _ELSEWHERE.search(text):
        return
    for match in _MEMORY.finditer(text):
        said = figure(match)
        if not 1 <= said.low <= said.high <= 1000 or any(start <= match.start() < end for start, end in named):
            continue
        before = clause_before(text, match.start())
        if match["high"] is None and _ON_SIZE.search(before):
            target = nominal_gpu(round(said.low * GIB))
            yield from _card(line, f"{plain_range(match)} GB", target, run, fails=_FAILS.search(before) is not None)
        elif shape := _SHAPE.search(text):
            yield from _tensor(line, shape[1], text, match)
        elif not _A_CARD.match(text, match.end()) and not _ASIDE.search(clause(text, match)):
            yield _peak(line, match, run)


def _peak(line: int, match: re.Match[str], run: Run) -> Claim:
    use, said = run.estimate.use, figure(match).times(GIB)
    assert use is not None  # noqa: S101  # the caller looked
    right = said.high * (1 + ROUNDED) >= use.allocated.low and said.low <= use.needed.high
    truth = f"{gib(use.allocated.point)} live, up to {gib(use.needed.high)}"
    return Claim(line, "memory", f"{plain_range(match)} GB", truth, right)


def _named_cards(line: int, text: str, run: Run) -> Iterator[Claim]:
    for match in CARD.finditer(text):
        before = clause_before(text, match.start())
        target = run.card(match[0]) if _ON_CARD.search(before) else None
        if target is not None:
            yield from _card(line, target.label, target, run, fails=_FAILS.search(before) is not None)


def _card(line: int, said: str, target: Target, run: Run, *, fails: bool) -> Iterator[Claim]:
    try:
        verdict = run.on(target).verdict
    except FwplanError:
        return
    if verdict in _VERDICTS:
        claimed = f"not on {said}" if fails else f"fits {said}"
        yield Claim(line, "card", claimed, _VERDICTS[verdict], (verdict == "fits") != fails)


def _tensor(line: int, shape: str, text: str, match: re.Match[str]) -> Iterator[Claim]:
    """Yield the claim that a tensor of some shape takes so much: "(16, 1024, 50304) in bf16 is 1.54 GB"."""
    dtype = _DTYPE.search(text)
    if dtype is not None:
        size = prod(int(length) for length in shape.split(",")) * (2 if dtype[1] else 4)
        right = figure(match).agrees(size / GIB) or figure(match).agrees(size / 1e9)
        yield Claim(line, "tensor", f"{plain_range(match)} GB", f"{gib(size)} for ({shape})", right)
