"""The sections on the run itself: tokens, time, energy and loss; and its recipe, with the plan's reasons."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fwplan.spec import TrainSpec
from fwplan.spec.flat import FIELDS, flat
from fwplan.units import duration_range, flops, si
from fwplan.view.figures import energy, plain
from fwplan.view.html.markup import Html, table, tag
from fwplan.view.notes import loss_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from pydantic import BaseModel

    from fwplan.estimation.estimate import Estimate
    from fwplan.spec import RunSpec


def bill_section(estimate: Estimate, *, pretrained: bool, more: Iterable[tuple[str, str]] = ()) -> Html:
    """Return what the run costs and brings, and more of it that the page knows."""
    rows = [*_bill(estimate, pretrained=pretrained), *more]
    return tag(
        "section", tag("h2", "Time and loss"), table("What the run takes", ("figure", "value"), rows, kind="narrow")
    )


def _bill(estimate: Estimate, *, pretrained: bool) -> Iterator[tuple[str, str]]:
    tokens, work, unknown = estimate.tokens, estimate.flops, "unknown: no horizon (max_steps or max_tokens)"
    yield "tokens a step", f"{tokens.per_step:,}"
    yield "steps", f"{estimate.spec.steps:,}" if estimate.spec.steps else unknown
    yield "tokens in all", si(tokens.total) if tokens.total else unknown
    if tokens.epochs is not None:
        yield "epochs", f"{tokens.epochs:.2f} of {si(tokens.per_epoch or 0)} unique tokens"
    yield "tokens a parameter", plain(tokens.total / estimate.parameters.total) if tokens.total else unknown
    yield "FLOPs a step", flops(work.per_step)
    yield "FLOPs in all", flops(work.total) if work.total else unknown
    speed = "unknown: no device, or its speed is unknown"
    said = f" ({estimate.time_status})" if estimate.time_status else ""
    yield "time a step", duration_range(*estimate.step_seconds) + said if estimate.step_seconds else speed
    yield "time in all", duration_range(*estimate.total_seconds) + said if estimate.total_seconds else "unknown"
    used = estimate.energy_kwh
    yield "energy", f"{energy(*used)} at the card's full board power" if used else "unknown"
    yield "loss", "unknown: it starts from trained weights" if pretrained else loss_text(estimate)


def recipe_section(spec: RunSpec, lines: Mapping[str, int], reasons: Mapping[str, str]) -> Html:
    """Return every field of the run, with the line of the file that set it or, of a plan, the reason."""
    parts = {"model": spec.model, "train": spec.train, "data": spec.data, "device": spec.device}
    rows = [row for name, part in parts.items() if part is not None for row in _fields(name, part, lines, reasons)]
    whole = table("Every field of the run", ("field", "value", "from"), rows)
    return tag("section", tag("details", tag("summary", "The recipe"), whole, class_="paper"))


def _fields(
    section: str, part: BaseModel, lines: Mapping[str, int], reasons: Mapping[str, str]
) -> Iterator[tuple[str, ...]]:
    fields = type(part).model_fields
    for name, value in flat(part).items() if isinstance(part, TrainSpec) else part:
        line = lines.get(f"{section}.{name}")
        default = FIELDS[name].default if name in FIELDS else fields[name].default
        said = "default" if value == default else ""
        origin = reasons.get(name) or (f"line {line}" if line else said)
        yield f"{section}.{name}", "not set" if value is None else str(value), origin
