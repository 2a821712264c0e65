"""What the user has and wants."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, get_args

from fwplan.fields import GPT2_VOCAB

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fwplan.spec import DataSpec
    from fwplan.target import Target

Objective = Literal["loss", "largest", "fastest", "cheapest"]
OBJECTIVES: tuple[Objective, ...] = get_args(Objective)
# How the objectives are said. "fastest" gives away this much of the best expected loss for the shortest time.
FASTEST_SLACK = 0.05
SAID: dict[Objective, str] = {
    "loss": "lowest expected loss within memory, tokens and time",
    "largest": "largest model on at least 10 tokens a parameter",
    "fastest": f"shortest time within {FASTEST_SLACK} nats of the lowest expected loss",
    "cheapest": "least time and money to the expected loss asked for",
}


@dataclass(frozen=True)
class Request:
    """What the user has and wants.

    Attributes:
        target: the device.
        tokens: to train on; None: as many as hours and money allow.
        hours: the longest training time.
        context_length: tokens per sequence.
        vocab_size: of the tokenizer, padded.
        data: its unique tokens limit what repetition is worth.
        epochs: passes over the data at most; None: as many as still add something.
        objective: what is best.
        loss: the expected loss in nats that "cheapest" has to reach.
        gpu_hour_price: rent of one GPU for an hour.
        kwh_price: of electricity.
        budget: the most that the run may cost, in the prices' currency.
        margin_bytes: of the device's memory, kept free beside the upper end of what the run may need.
        expandable_segments: whether torch's allocator may be asked for them (Linux, NVIDIA).
        pins: fields of the model or the training that are not to be searched, but have this value.
    """

    target: Target
    tokens: int | None
    hours: float
    context_length: int = 1024
    vocab_size: int = GPT2_VOCAB
    data: DataSpec | None = None
    epochs: float | None = None
    objective: Objective = "loss"
    loss: float | None = None
    gpu_hour_price: float | None = None
    kwh_price: float | None = None
    budget: float | None = None
    margin_bytes: int = 0
    expandable_segments: bool = True
    pins: Mapping[str, Any] = field(default_factory=dict)

    @property
    def goal(self) -> str:
        """The objective in words."""
        return SAID[self.objective]
