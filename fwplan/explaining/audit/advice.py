"""Advice and promises in comments: what would save memory, and what the model would beat."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from fwplan.configs.nanogpt import PRETRAINED
from fwplan.estimators.levels import device_use
from fwplan.estimators.memory import estimate_memory, unsupported
from fwplan.estimators.parameters import count_parameters
from fwplan.estimators.quality import expected_loss
from fwplan.explaining.audit.claim import Claim
from fwplan.explaining.audit.figures import words
from fwplan.units import gib

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fwplan.explaining.audit.cards import Run

_MEMORY = words(r"oom\w*|out of memory|memory|vram")
_MORE = re.compile(r"\b(?:more|costs?|rais\w+|increas\w+|higher|not|no|n't|never|nothing|same)\b|n't\b", re.IGNORECASE)
_LESS_ACCUMULATION = re.compile(
    r"\b(?:lower|reduc\w+|decreas\w+|fewer|smaller|less|drop)\b.{0,30}accum\w*", re.IGNORECASE
)
_NO_COMPILE = re.compile(
    r"compile\s?=\s?False|\bturn\w*\s(?:off\s)?(?:torch\.)?compile(?:\soff)?|\bdisabl\w+\s(?:torch\.)?compile"
    r"|\bwithout\s(?:torch\.)?compile|\bbecause\sof\s(?:torch\.)?compile",
    re.IGNORECASE,
)
_HALVES = words(r"(?:fp16|float16)\b.{0,40}\b(?:than|over|not|instead of|vs)\s(?:bf16|bfloat16)")
_BEATS = re.compile(
    r"\b(?:beats?|better than|outperforms?|surpass\w*)\s(?:openai'?s?\s|the\s)?gpt-?2"
    r"(?:[\s-](?P<size>small|medium|large|xl)\b|\s?\(?\d{1,4}(?:\.\d)?\s?[mb]\b)?",
    re.IGNORECASE,
)


def advice_claims(line: int, text: str, run: Run) -> Iterator[Claim]:
    """Yield what a comment promises of memory for a change, and of the model's quality."""
    yield from _beats(line, text, run)
    if _MEMORY.search(text) and not _MORE.search(text):
        if _LESS_ACCUMULATION.search(text):
            yield Claim(line, "accumulation", "fewer saves", "does not change the peak", right=False)
        if _NO_COMPILE.search(text):
            yield from _compile(line, run)
        if _HALVES.search(text):
            yield Claim(line, "dtype", "fp16 saves", "fp16 and bf16 take the same bytes", right=False)


def _compile(line: int, run: Run) -> Iterator[Claim]:
    peaks = {mode: _peak(run, compiled=mode) for mode in (False, True)}
    eager, compiled = peaks[False], peaks[True]
    if eager is not None and compiled is not None:
        truth = f"{gib(eager)} live eager, {gib(compiled)} compiled"
        yield Claim(line, "compile", "off saves", truth, eager < compiled)


def _peak(run: Run, *, compiled: bool) -> float | None:
    """Return the live bytes at the peak of the same run, compiled or not; None where that is not modelled."""
    spec = run.estimate.spec
    spec = spec.but(compile=compiled)
    if unsupported(spec):
        return None
    memory = estimate_memory(spec)
    return device_use(spec, memory, spec.device.type if spec.device else "cuda", None).allocated.point


def _beats(line: int, text: str, run: Run) -> Iterator[Claim]:
    """Yield the claim to beat a GPT-2: by the scaling law, against its shape trained on as many tokens."""
    match, ours, tokens = _BEATS.search(text), run.estimate.loss, run.estimate.tokens
    if match is None or ours is None or tokens.total is None:
        return
    size = (match["size"] or "small").lower()
    L, H, C = PRETRAINED["gpt2" if size == "small" else f"gpt2-{size}"]
    model = run.estimate.spec.model.model_copy(update={"n_layer": L, "n_head": H, "n_embd": C})
    theirs = expected_loss(count_parameters(model).capacity, tokens.total, tokens.per_epoch)
    if theirs is not None:
        truth = f"{ours.point:.2f} nats, {theirs.point:.2f} of its shape"
        yield Claim(line, "loss", f"beats {size}", truth, ours.point < theirs.point)
