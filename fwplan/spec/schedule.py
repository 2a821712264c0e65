"""How the learning rate goes from step to step."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, TypeAlias

from pydantic import Field

from fwplan.fields import Amount, Spec


class Cosine(Spec):
    """A straight rise to the optimizer's learning rate, then half a cosine down."""

    name: Literal["cosine"] = "cosine"
    warmup_steps: Annotated[int, Field(ge=0)] | None = None  # at most the steps; None: 2 % of them, 1 to 2,000
    min_lr: Amount | None = None  # at the last step; None: a tenth of the learning rate

    refuses: ClassVar[dict[str, str]] = {}


AnySchedule: TypeAlias = Cosine
