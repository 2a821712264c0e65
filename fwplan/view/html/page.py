"""The page of an explanation: verdict, levels of memory, a step, the breakdown, fixes, the run, its rivals, notes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fwplan.planning.plan import Plan
from fwplan.units import GIB, gib, si
from fwplan.view.figures import gib_range, shape_text
from fwplan.view.html import memory, run
from fwplan.view.html.claims import claims_section
from fwplan.view.html.document import document, notes_section, write_page
from fwplan.view.html.fixes import fixes_section
from fwplan.view.html.front import beside_section
from fwplan.view.html.markup import Html, tag
from fwplan.view.html.traced import traced_section
from fwplan.view.notes import calibration_note, confidence_text, config_notes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from fwplan.explaining.explanation import Explanation


def write_report(explanation: Explanation, path: Path) -> None:
    """Write an explanation as one HTML file.

    Raises:
        FwplanError: the file is not to be called .html, or cannot be written.
    """
    write_page(report_html(explanation), path)


def report_html(explanation: Explanation) -> str:
    """Return the page of an explanation."""
    title = f"{explanation.loaded.path.name}: {_verdict(explanation)}"
    return document(title, _header(explanation), _sections(explanation), explanation.command)


def _sections(explanation: Explanation) -> Iterator[Html]:
    estimate = explanation.estimate
    if estimate.memory is not None and estimate.use is not None:
        yield memory.levels_section(estimate)
        yield memory.step_section(estimate)
        yield memory.peak_section(estimate)
    if explanation.fixes:
        yield fixes_section(explanation)
    if explanation.traced is not None:
        yield traced_section(explanation.traced)
    yield run.bill_section(estimate, pretrained=explanation.loaded.pretrained)
    if explanation.claims:
        yield claims_section(explanation.claims)
    beside = None if explanation.loaded.pretrained else beside_section(estimate)
    if beside is not None:
        yield beside
    yield run.recipe_section(estimate.spec, explanation.loaded.lines, _reasons(explanation))
    if estimate.memory is not None:
        yield memory.lines_section(estimate)
    yield notes_section(_notes(explanation))


_MARKS = {"fits": "✓", "fits_at_point": "~", "does_not_fit": "✗", "undecidable": "?", "no_device": "·"}


def _verdict(explanation: Explanation) -> str:
    target = explanation.estimate.target
    label = target.label if target else ""
    sizes = ", ".join(str(size) for size in explanation.fitting_gb)
    fitting = f"fits, with margin, cards of {sizes} GB" if sizes else "fits no common card"
    words = {
        "fits": f"fits on {label}",
        "fits_at_point": f"may fit on {label}",
        "does_not_fit": f"will not fit on {label}",
        "undecidable": "undecidable",
    }
    return words.get(explanation.verdict, fitting)


def _header(explanation: Explanation) -> Html:
    estimate, mark = explanation.estimate, _MARKS[explanation.verdict]
    model, train = estimate.spec.model, estimate.spec.train
    shape = (
        f"{si(estimate.parameters.total)} parameters: {shape_text(model)}, vocabulary {model.vocab_size:,}; "
        f"micro-batch {train.micro_batch_size} x {estimate.spec.sequence_length}, accumulation {train.grad_accum_steps}"
    )
    return tag(
        "header",
        tag("p", str(explanation.loaded.path), class_="file"),
        tag("h1", tag("span", mark, class_="mark-sign", aria_hidden="true"), " ", _verdict(explanation)),
        tag("p", _need(explanation), class_="need"),
        *([tag("p", doubt)] if (doubt := confidence_text(explanation.loaded)) else []),
        tag("p", shape),
        class_=explanation.verdict,
    )


def _need(explanation: Explanation) -> str:
    estimate = explanation.estimate
    if estimate.use is None or explanation.verdict == "undecidable":
        return f"{estimate.undecidable}" if estimate.undecidable else "its memory is unknown"
    need = f"needs {gib_range(estimate.use.needed)} GiB"
    if estimate.available_bytes is None:
        return f"{need}; no device was named"
    short = estimate.use.needed.high - estimate.available_bytes
    least = max(0.0, estimate.use.needed.low - estimate.available_bytes)
    rest = f": short by {least / GIB:.1f}-{short / GIB:.1f} GiB" if explanation.verdict == "does_not_fit" else ""
    return f"{need}, {gib(estimate.available_bytes)} available{rest}"


def _notes(explanation: Explanation) -> list[str]:
    estimate, loaded = explanation.estimate, explanation.loaded
    notes = [*loaded.all_notes, *estimate.notes, *calibration_note(estimate)]
    return [*notes, *config_notes(loaded)]


def _reasons(explanation: Explanation) -> dict[str, str]:
    """Return a plan's own reasons, where the run is still the plan's."""
    if explanation.loaded.kind != "plan":
        return {}
    plan = Plan.load(explanation.loaded.path)
    return plan.reasons if plan.spec.train == explanation.estimate.spec.train else {}
