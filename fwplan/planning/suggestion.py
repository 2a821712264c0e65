"""What a search answers."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from fwplan.estimators import recipe
from fwplan.estimators.quality import repeated_loss
from fwplan.estimators.speed import middle
from fwplan.planning.needs import Needs, needs_of
from fwplan.planning.plan import Plan

if TYPE_CHECKING:
    from fwplan.estimation.estimate import Estimate
    from fwplan.planning.front import Front
    from fwplan.planning.request import Request
    from fwplan.spec import RunSpec


@dataclass(frozen=True)
class Candidate:
    """A run that fits, with its whole recipe, estimated."""

    estimate: Estimate

    @property
    def spec(self) -> RunSpec:
        """The run that this candidate stands for."""
        return self.estimate.spec

    @property
    def tokens(self) -> int:
        """Tokens that it trains on."""
        return self.spec.total_tokens or 0

    @cached_property
    def law_loss(self) -> float:
        """The scaling law's loss in nats: what candidates are ranked by."""
        unique = self.spec.data.tokens if self.spec.data else None
        return repeated_loss(self.estimate.parameters.capacity, self.tokens, unique)

    @property
    def tokens_per_parameter(self) -> float:
        """Tokens trained on for each parameter."""
        return self.tokens / self.estimate.parameters.total

    @property
    def total_seconds(self) -> float:
        """Geometric middle of the run's time; 0 where the speed is unknown."""
        return middle(self.estimate.total_seconds) if self.estimate.total_seconds else 0.0

    def fits(self, available: float) -> bool:
        """Return whether the upper end of what the run may need is within so many bytes."""
        return self.estimate.use is not None and self.estimate.use.needed.high <= available

    @property
    def headroom_bytes(self) -> float:
        """Device memory left at the upper end of what it may need."""
        use, available = self.estimate.use, self.estimate.available_bytes
        return (available or 0) - (use.needed.high if use else 0)

    def as_dict(self) -> dict[str, Any]:
        """Return the candidate as `suggest --json` lists it."""
        model, train, loss = self.spec.model, self.spec.train, self.estimate.loss
        return {
            "parameters": self.estimate.parameters.total,
            "n_layer": model.n_layer, "n_head": model.n_head, "n_embd": model.n_embd,
            "micro_batch_size": train.micro_batch_size, "grad_accum_steps": train.grad_accum_steps,
            "loss": train.loss.name, "checkpointing": train.checkpointing, "checkpoint_every": train.checkpoint_every,
            "compile": train.compile, "tokens": self.tokens,
            "expected_loss": [loss.low, loss.point, loss.high] if loss else None,
            "total_seconds": self.estimate.total_seconds,
            "needed_bytes": self.estimate.use.needed.ends if self.estimate.use else None,
            "headroom_bytes": round(self.headroom_bytes),
        }  # fmt: skip


@dataclass(frozen=True)
class Suggestion:
    """The pick, what else was worth looking at, and why neither more nor less was picked."""

    request: Request
    pick: Candidate
    alternatives: tuple[Candidate, ...]
    ends: str  # what ends the pick before all the tokens asked for; empty: nothing does
    why_not_bigger: str
    why_not_smaller: str
    why_not_larger_micro_batch: str
    sensitivity: tuple[str, ...]  # what would change the answer, the most first
    shapes: int  # that were looked at
    runs: int  # shapes in all modes and micro-batches
    front: Front = field(repr=False, compare=False)  # every shape's best run

    @property
    def objective(self) -> str:
        """The objective in words."""
        return self.request.goal

    @property
    def needs(self) -> Needs:
        """What the run needs beside the card."""
        return needs_of(self.pick.estimate, self.request)

    @property
    def plan(self) -> Plan:
        """The pick as a plan, ready to save."""
        reasons = recipe.reasons(self.pick.spec) | {"micro_batch_size": self.why_not_larger_micro_batch}
        reasons |= dict.fromkeys(self.request.pins, "pinned with --set")
        return Plan.of(self.pick.estimate, self.objective, reasons)

    def as_dict(self) -> dict[str, Any]:
        """Return the answer as `suggest --json` prints it, beside the plan."""
        return {
            "pareto": [candidate.as_dict() for candidate in (self.pick, *self.alternatives)],
            "ends": self.ends,
            "why_not_bigger": self.why_not_bigger,
            "why_not_smaller": self.why_not_smaller,
            "why_not_larger_micro_batch": self.why_not_larger_micro_batch,
            "sensitivity": list(self.sensitivity),
            "needs": self.needs.as_dict(),
            "searched": {"shapes": self.shapes, "runs": self.runs},
            "estimate": self.pick.estimate.as_dict(),
        }
