"""One unknown at a time: the largest value of a field with which a run still fits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from fwplan.errors import ExitCode, FwplanError
from fwplan.estimation.estimate import Estimate, estimate
from fwplan.spec import ModelSpec, RunSpec, spec_error

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fwplan.learning.measurement import Measurement
    from fwplan.machine.target import Target

# What memory grows with, and the step from one value to the next that is worth building (None: see `_step`).
GROWS: dict[str, int | None] = {
    "micro_batch_size": 1, "eval_micro_batch_size": 1, "sequence_length": 1, "context_length": 1, "n_layer": 1,
    "n_embd": None, "vocab_size": 64, "loss_chunk_tokens": 1,
}  # fmt: skip
MOST = {"n_layer": 1000, "n_embd": 2**17, "sequence_length": 2**24, "context_length": 2**24, "vocab_size": 2**24}


@dataclass(frozen=True)
class Solution:
    """The largest value that fits with margin, and the next one, which does not (None: it may not be built)."""

    field: str
    value: int
    estimate: Estimate
    after: Estimate | None
    at_point: int  # the largest value whose middle still fits
    ended_by: str | None = None  # what ends the values, where memory does not

    def as_dict(self) -> dict[str, Any]:
        """Return the solution as `solve --json` prints it."""
        return {
            "field": self.field,
            "value": self.value,
            "at_point": self.at_point,
            "ended_by": self.ended_by,
            "estimate": self.estimate.as_dict(),
        }


def largest_that_fits(spec: RunSpec, field: str, target: Target, past: Sequence[Measurement]) -> Solution:
    """Return the largest value of a field with which a spec fits a device; memory grows with it, so halve.

    Raises:
        FwplanError: the field is no such, the memory is undecidable, or not even the smallest value fits.
    """
    if field not in GROWS:
        raise FwplanError(f"cannot solve for {field!r}", hint=f"one of {', '.join(GROWS)}")
    step = _step(spec, field)
    tried: dict[int, Estimate] = {}

    def at(count: int) -> Estimate:
        if count not in tried:
            tried[count] = estimate(_with(spec, field, count * step), target, measurements=past)
        return tried[count]

    if at(1).verdict == "undecidable":
        raise FwplanError(
            f"undecidable: {at(1).undecidable}", hint="choose a mode that is modelled", exit_code=ExitCode.UNDECIDABLE
        )
    end, what_ends = _end(spec, field)
    most = end // step
    count = _last(most, lambda n: at(n).verdict == "fits")
    if count == 0:
        raise FwplanError(
            f"not even {field} {step} fits {target.label}",
            hint="change something else first: fwplan explain lists what helps",
            exit_code=ExitCode.DOES_NOT_FIT,
        )
    middle = _last(most, lambda n: at(n).verdict in {"fits", "fits_at_point"})
    ended_by = what_ends if count == most else None
    return Solution(field, count * step, at(count), at(count + 1) if count < most else None, middle * step, ended_by)


def _step(spec: RunSpec, field: str) -> int:
    """Return the step between values: a width's heads grow by 8, as FlashAttention and tensor cores want."""
    return GROWS[field] or 8 * spec.model.n_head


def _end(spec: RunSpec, field: str) -> tuple[int, str]:
    """Return the largest value that can be asked for, and what ends it there."""
    if field == "sequence_length":
        return spec.model.context_length, "the model's context_length"
    if field == "loss_chunk_tokens":
        return spec.tokens_per_micro_batch, "the tokens of a micro-batch"
    return MOST.get(field, 2**20), "the range that fwplan looks at"


def _last(most: int, holds: Any) -> int:
    """Return the largest count up to `most` for which a predicate holds that fails from some count on; 0: none."""
    low, high = 0, 1
    while high <= most and holds(high):
        low, high = high, 2 * high
    high = min(high, most + 1)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low


def _with(spec: RunSpec, field: str, value: int) -> RunSpec:
    """Return the spec with the field set; built anew, so that what cannot be built is refused."""
    try:
        if field not in ModelSpec.model_fields:
            return spec.but(**{field: value})
        return spec.model_copy(update={"model": ModelSpec(**spec.model.model_dump() | {field: value})})
    except ValidationError as error:
        raise spec_error(error, f"{field} = {value}") from None
