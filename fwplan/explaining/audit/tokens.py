"""Claims of tokens: of a step, of the run, of a data file, and how many a model of this size should see."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from fwplan.estimators.tokens import FINEWEB_FILE_BYTES, FINEWEB_TOKENS_PER_BYTE
from fwplan.explaining.audit.claim import Claim, Topic
from fwplan.explaining.audit.figures import BARE_COUNT, COUNT, RANGE, Figure, clause_before, figure, words
from fwplan.units import si

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fwplan.explaining.audit.cards import Run

COMPUTE_OPTIMAL_RATIO = 20  # tokens a parameter: Hoffmann et al. 2022, and Besiroglu et al. 2024 who refitted it
LEAST = 10_000  # "1024 tokens" is a context, "4 tokens" an example
_STEP = r"(?:(?:training|optimi[sz]er)\s)?(?:step|iter|update|batch)\w{0,6}"
_PER = rf"\s?(?:/|per\s|an?\s|each\s|every\s)\s?(?P<unit>{_STEP}|\w+)"
_TOKENS = re.compile(rf"{BARE_COUNT}\s?tok(?:en)?s?\b(?:{_PER})?", re.IGNORECASE)
_TOKENS_BE = re.compile(
    rf"tokens?(?:{_PER})?\s?(?:will\sbe|be|is|are|[:=~])[\s:=~]{{0,4}}{BARE_COUNT}(?!\s?(?:[*x]|bpe|merges))",
    re.IGNORECASE,
)
_BATCH = re.compile(
    rf"(?<!micro[ _-])\bbatch(?:[\s_]size)?\s?(?:be|is|of|[:=~])?[\s:=~]{{0,4}}{BARE_COUNT}(?!\s?[*x])", re.IGNORECASE
)
_IN_TOKENS = re.compile(rf"{COUNT},?\sin\s(?:number\sof\s)?tokens", re.IGNORECASE)
_PRODUCT = re.compile(
    rf"\bbatch[^=]{{0,60}}\*[^=]{{0,60}}(?:block|context|seq)[^=]{{0,60}}=\s?~?{BARE_COUNT}(?!\s?tok)", re.IGNORECASE
)
_EFFECTIVE = re.compile(
    rf"\b(?:effective|global)\sbatch(?:\ssize)?\s?(?:is|of|[:=])?\s?(?:[\d\s*x]{{1,30}}=\s?)?~?{BARE_COUNT}(?!\s?[*x])",
    re.IGNORECASE,
)
_NEEDED = re.compile(r"(?:at least|needs?|requires?|minimum(?: of)?)\s+~?$", re.IGNORECASE)
# What else holds tokens: data, a context, a vocabulary, a micro-batch.
_HOLDERS = words(
    r"has|have|holds?|contains?|data\w*|corpus|fineweb\S*|openwebtext|shakespeare|files?|parquet|shards?|unique|epochs?",
    r"context|seq\w*|window|vocab\w*|bpe|merges|micro|first|every|after|eval\w*|val|warm\w*|paper|instead|than|out of",
    r"gpt-?[34]|llama\S*|chinchilla",
)
_OF_OTHERS = re.compile(r"\s(?:of|in)\s(?:the\s)?(?:context|data\w*|corpus|text|vocab\w*|val\w*)\b", re.IGNORECASE)
_FILE_SIZE = re.compile(rf"{RANGE}\s?gi?b\b", re.IGNORECASE)
_DATA = (
    re.compile(rf"epochs?\s(?:of|on|over)\s(?:the\s)?~?{COUNT}", re.IGNORECASE),
    re.compile(rf"(?:data(?:set)?|corpus|fineweb)\s?(?:is|has|of|holds|[:=])?\s?~?{COUNT}", re.IGNORECASE),
    re.compile(rf"{COUNT}\sunique", re.IGNORECASE),
    re.compile(rf"\bon\s~?{COUNT}\s?tok", re.IGNORECASE),
)
_SEVERAL_FILES = re.compile(r"\bfiles\b", re.IGNORECASE)


def token_claims(line: int, text: str, run: Run) -> Iterator[Claim]:
    """Yield what a comment says of tokens."""
    per_step = run.estimate.tokens.per_step
    for match in _EFFECTIVE.finditer(text):
        if (said := figure(match)).high < LEAST:
            sequences = per_step // run.estimate.spec.sequence_length
            yield Claim(line, "batch", f"{said.text} rows", f"{sequences:,} sequences a step", said.agrees(sequences))
    data = said_data(text)
    seen = {data.start("low")} if data else set()
    for match in (*_BATCH.finditer(text), *_PRODUCT.finditer(text), *_TOKENS.finditer(text), *_TOKENS_BE.finditer(text),
                  *_IN_TOKENS.finditer(text)):  # fmt: skip
        if figure(match).low >= LEAST and match.start("low") not in seen:
            seen.add(match.start("low"))
            yield from _judged(line, text, match, run)


def _judged(line: int, text: str, match: re.Match[str], run: Run) -> Iterator[Claim]:
    said, unit = figure(match), match.groupdict().get("unit")
    tokens, file_tokens = run.estimate.tokens, fineweb_file_tokens(text)
    before = clause_before(text, match.start())
    if match.re in {_BATCH, _PRODUCT} or (unit is not None and re.fullmatch(_STEP, unit, re.IGNORECASE)):
        yield _claim(line, "tokens a step", said, tokens.per_step)
    elif file_tokens is not None:
        yield _claim(line, "tokens a file", said, file_tokens)
    elif unit is not None or _HOLDERS.search(before) or _OF_OTHERS.match(text, match.end()):
        return
    elif _NEEDED.search(before):
        yield _needed(line, said, run)
    elif match["scale"] is None or match.re is _IN_TOKENS:
        nearest = min((tokens.per_step, tokens.total or tokens.per_step), key=lambda one: abs(one - said.low))
        yield _claim(line, "tokens a step" if nearest == tokens.per_step else "tokens", said, nearest)
    elif tokens.total is not None:
        yield _claim(line, "tokens", said, tokens.total)


def _claim(line: int, topic: Topic, said: Figure, truth: float) -> Claim:
    return Claim(line, topic, said.text, si(truth), said.agrees(truth))


def _needed(line: int, said: Figure, run: Run) -> Claim:
    best = COMPUTE_OPTIMAL_RATIO * run.estimate.parameters.total
    truth = f"{si(best)} is compute-optimal"
    return Claim(line, "tokens needed", said.text, truth, said.low <= 2 * best and said.high >= best / 2)


def fineweb_file_tokens(text: str) -> float | None:
    """Return the tokens of the one FineWeb parquet file that a comment speaks of, by its size; None: of none."""
    lower = text.lower()
    if "fineweb" not in lower or "parquet" not in lower or _SEVERAL_FILES.search(text):
        return None
    size = _FILE_SIZE.search(text)
    return FINEWEB_TOKENS_PER_BYTE * (figure(size).high * 1e9 if size else FINEWEB_FILE_BYTES)


def said_data(text: str) -> re.Match[str] | None:
    """Return the unique tokens that a comment which counts epochs gives the data, as a match of COUNT."""
    if "epoch" not in text.lower():
        return None
    return next((match for pattern in _DATA if (match := pattern.search(text))), None)
