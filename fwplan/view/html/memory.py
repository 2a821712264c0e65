"""The sections on memory: three levels against the card, the step's phases, the peak's lines, every line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fwplan.estimators.moments.mode import meaning, numbers_of
from fwplan.tape.phases import Phase
from fwplan.units import gib
from fwplan.view.html.bars import bar_svg
from fwplan.view.html.families import families
from fwplan.view.html.markup import Html, size, size_range, table, tag
from fwplan.view.html.timeline import step_svg, swatch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fwplan.estimation.estimate import Estimate
    from fwplan.estimators.overhead import Range
    from fwplan.tape.line import Line


def levels_section(estimate: Estimate) -> Html:
    """Return allocated, reserved and needed as bars, beside what the device leaves."""
    available, found = estimate.available_bytes, list(_levels(estimate))
    largest = max([level.high for _, level, _ in found] + ([available] if available else []))
    rows = [
        (name, size_range(level.low, level.high), bar_svg(f"level-{n}", name, level, available, largest), meaning)
        for n, (name, level, meaning) in enumerate(found)
    ]
    foot = ["available", size(available), "", _of_device(estimate)] if available is not None else []
    caption = "Levels of memory, never mixed; full: at least so much, hatched: the interval"
    heads = ("level", "GiB\t", "bar", "what it is")
    return tag(
        "section",
        tag("h2", "Does it fit?"),
        table(caption, heads, rows, foot=foot, kind="stacked"),
        _line_note(available),
    )


def _line_note(available: int | None) -> Html:
    return tag("p", "The dashed line is what the device leaves to the run.", class_="small") if available else Html()


def _levels(estimate: Estimate) -> Iterator[tuple[str, Range, str]]:
    use = estimate.use
    assert use is not None  # noqa: S101  # the page has this section only where memory is known
    learned = estimate.calibration is not None and estimate.calibration.reserved_ratio is not None
    status = "calibrated" if learned else "prior"
    yield "allocated", use.allocated, f"live tensors at the peak ({estimate.memory_status})"
    if use.reserved is None:
        yield "device used", use.device_used, f"resident, with Python and torch ({status})"
        return
    yield "reserved", use.reserved, f"what the caching allocator takes unless it is limited ({status})"
    yield "needed", use.needed, f"the least it can run in, CUDA context included; decides ({status})"


def _of_device(estimate: Estimate) -> str:
    device = estimate.target.device if estimate.target else None
    if device is None or device.total_bytes is None:
        return ""
    taken = f", {gib(device.in_use_bytes)} of it in use by others" if device.in_use_bytes else ""
    return f"of {gib(device.total_bytes)} that torch sees{taken}"


def step_section(estimate: Estimate) -> Html:
    """Return the stacked picture of a step with its legend, and the same as a table."""
    parts, sums = families(estimate), estimate.totals
    legend = tag("ul", *(
        tag("li", swatch(n, part.letter), tag("b", part.letter), " ", part.name) for n, part in enumerate(parts)
    ), class_="legend")  # fmt: skip
    picture = tag("div", step_svg(estimate, parts, sums), class_="scroll", tabindex=0, role="region",
                  aria_label="memory over one step, a picture")  # fmt: skip
    caption = (
        "Live tensors in each phase of a step; not to scale in time. Allocated, so the card's line is for scale: "
        "the allocator and the CUDA context come on top."
    )
    figure = tag("figure", picture, legend, tag("figcaption", caption))
    heads = ("phase", *(f"{part.letter}\t" for part in parts), "allocated\t")
    rows = [(phase.label, *(_cell(part.bytes[phase]) for part in parts), size(total)) for phase, total in sums.items()]
    whole = table("Bytes by phase", heads, rows)
    return tag("section", tag("h2", "Memory over one step"), figure,
               tag("details", tag("summary", "The picture as a table"), whole))  # fmt: skip


def _cell(n_bytes: int) -> str:
    return size(n_bytes) if n_bytes else "-"


def peak_section(estimate: Estimate) -> Html:
    """Return the lines that are alive at the peak, largest first; they add up to what is allocated."""
    assert estimate.memory is not None  # noqa: S101
    alive = estimate.at_peak()
    total = sum(line.bytes for line in alive)
    rows = [
        (
            line.name,
            size(line.bytes),
            f"{line.bytes / total:.1%}",
            tag("code", line.formula),
            _tensor(line),
            line.status,
        )
        for line in alive
    ]
    heads = ("line", "GiB\t", "share\t", "bytes", "tensor", "status")
    caption = f"Alive at the peak, {estimate.memory.phase.label}; the lines add up"
    foot = ("allocated", size(total), "100%", "", "", estimate.memory_status)
    return tag("section", tag("h2", f"The peak: {estimate.memory.phase.label}"),
               table(caption, heads, rows, foot=foot), _letters(estimate))  # fmt: skip


def _tensor(line: Line) -> str:
    return f"{' x '.join(map(str, line.shape))} {line.dtype or ''}" if line.shape else line.dtype or ""


def _letters(estimate: Estimate) -> Html:
    """Return what the formulas' letters stand for in this run."""
    numbers = [(name, value) for name, value in numbers_of(estimate.spec).items() if len(name) == 1]
    said = ", ".join(f"{name} = {value:,}" for name, value in numbers)
    return tag("p", f"{said}. {meaning(estimate.spec)}", class_="small")


def lines_section(estimate: Estimate) -> Html:
    """Return every line with the phases it is alive in and its source, folded away."""
    rows = [(line.name, size(line.bytes), line.kind, _phases(line), line.source) for line in estimate.lines]
    heads = ("line", "GiB\t", "kind", "alive in", "source")
    whole = table("All lines of the estimate", heads, rows)
    return tag("section", tag("details", tag("summary", f"All {len(rows)} lines, with sources"), whole))


def _phases(line: Line) -> str:
    return ", ".join(phase.label for phase in Phase if phase & line.phases)
