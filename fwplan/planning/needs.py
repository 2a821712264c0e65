"""What a run needs beside the card: time, energy, money, disk."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from fwplan.estimators.memory import estimate_memory

if TYPE_CHECKING:
    from fwplan.estimation.estimate import Estimate
    from fwplan.planning.request import Request
    from fwplan.spec import RunSpec

Interval = tuple[float, float]
TOKEN_BYTES = 2  # of uint16 shards
CHECKPOINTS_KEPT = 2  # while the next one is written, the last one stays


@dataclass(frozen=True)
class Needs:
    """Intervals are (low, high); None is unknown. Money is in the currency of the prices."""

    tokens_per_second: Interval | None
    cost: Interval | None
    token_bytes: int
    checkpoint_bytes: int

    def as_dict(self) -> dict[str, Any]:
        """Return the needs as JSON."""
        return asdict(self)


def needs_of(estimate: Estimate, request: Request) -> Needs:
    """Return what an estimated run needs; a token is stored once, however often it is trained on."""
    spec, step = estimate.spec, estimate.step_seconds
    total = spec.total_tokens or 0
    unique = min(total, estimate.tokens.per_epoch or total)
    width = TOKEN_BYTES if spec.model.vocab_size <= 2**16 else 2 * TOKEN_BYTES
    return Needs(
        tokens_per_second=(spec.tokens_per_step / step[1], spec.tokens_per_step / step[0]) if step else None,
        cost=_cost(estimate, request),
        token_bytes=width * unique,
        checkpoint_bytes=CHECKPOINTS_KEPT * checkpoint_bytes(spec),
    )


def checkpoint_bytes(spec: RunSpec) -> int:
    """Return the bytes of one checkpoint: the weights and what the optimizer remembers, as wide as they are in memory.

    Tied weights are stored once. What is left out is tens of KiB: random states, step counts, names, the spec.
    """
    kept = {"weights", *spec.train.optimizer.remembers}
    return sum(line.bytes for line in estimate_memory(spec).lines if line.name in kept)


def _cost(estimate: Estimate, request: Request) -> Interval | None:
    """Return rent and electricity of the run; None where no price is given, or a figure that it needs is unknown."""
    seconds, energy = estimate.total_seconds, estimate.energy_kwh
    if seconds is None or (request.gpu_hour_price is None and request.kwh_price is None):
        return None
    if request.kwh_price is not None and energy is None:
        return None
    hourly, power = request.gpu_hour_price or 0.0, request.kwh_price or 0.0
    low, high = (
        s / 3600 * hourly * estimate.spec.train.parallel.world_size + kwh * power
        for s, kwh in zip(seconds, energy or (0.0, 0.0), strict=True)
    )
    return low, high
