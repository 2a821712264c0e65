"""What the letters of a line's formula stand for in a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fwplan.estimators.sizes import sizes
from fwplan.estimators.tape.mode import numbers_of

if TYPE_CHECKING:
    from fwplan.spec import RunSpec

MEANING = (
    "B micro-batch, T sequence, N = B T, C width, H heads, L blocks, V vocabulary, S longest context, P parameters, "
    "n tokens of a chunk, E micro-batch of an evaluation"
)
MEANING_COMPILED = (
    "W parameters of a block; p, r, a bytes an element of weights, residual stream and matrix products; R blocks are "
    "recomputed, K are not"
)
MEANING_GROUPS = "g groups of blocks, k in each that keep what they computed, A of these in the top one"


def letters(spec: RunSpec) -> dict[str, int]:
    """Return the numbers of the letters, those of a compiled run's own formulas among them where it is one."""
    return numbers_of(spec) | (sizes(spec).letters() if spec.train.compile else {})


def meaning(spec: RunSpec) -> str:
    """Return what the letters mean, as a sentence."""
    more = MEANING_COMPILED if spec.train.compile else MEANING_GROUPS if spec.train.checkpoint_every > 1 else None
    return f"{MEANING}; {more}." if more else f"{MEANING}."
