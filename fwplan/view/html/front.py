"""The sections on what else could be trained: a search as a picture, its front as a table, and beside your own run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fwplan.errors import FwplanError
from fwplan.estimators.quality import vocabulary_in_range
from fwplan.planning.choose import LOSS_TOLERANCE
from fwplan.planning.front import point_of
from fwplan.planning.rivals import rivals
from fwplan.units import duration, duration_range, si
from fwplan.view.figures import counted
from fwplan.view.html.marks import key_svg
from fwplan.view.html.markup import Html, size, table, tag
from fwplan.view.html.pareto import front_svg
from fwplan.view.html.picture import Picture, nats

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from fwplan.estimation.estimate import Estimate
    from fwplan.machine.target import Target
    from fwplan.planning.front import Point
    from fwplan.planning.suggestion import Suggestion

_FEWEST = 2  # runs that make a picture


def search_section(suggestion: Suggestion) -> Html:
    """Return all that a search found, its candidates by the letters of their table."""
    candidates = zip("ABCDEFG", (suggestion.pick, *suggestion.alternatives), strict=False)
    names = {(found.spec.model.n_layer, found.spec.model.n_embd): letter for letter, found in candidates}
    shown = [point for point in suggestion.front.points if point.loss and point.seconds]
    title = tag("h2", "What could be trained")
    if len(shown) < _FEWEST:
        return tag("section", title, tag("p", _why_not(suggestion)))
    most = suggestion.front.most_seconds
    picture = Picture(shown, round(suggestion.front.available), (most, f"{most / 3600:.4g} h at most"), names)
    return tag("section", title, *_parts(picture, suggestion))


def beside_section(estimate: Estimate) -> Html | None:
    """Return a run beside what else its tokens could train on its device; None where there is nothing to compare."""
    if estimate.target is None or estimate.tokens.total is None:
        return None
    yours = point_of(estimate)
    if yours is None or yours.loss is None:
        return None
    try:
        said = _beside(estimate, estimate.target, yours)
    except FwplanError as error:
        said = (tag("p", f"No comparison: {error.message}."),)
    return tag("section", tag("h2", "Beside what else these tokens could train"), *said)


def _beside(estimate: Estimate, target: Target, yours: Point) -> tuple[Html, ...]:
    found = rivals(estimate)
    if found is None or estimate.total_seconds is None:
        several = estimate.spec.train.parallel.world_size > 1
        why = "it trains on several" if several else f"how fast {target.label} is is unknown"
        return (tag("p", f"No comparison: the search plans for one device whose speed is known, and {why}."),)
    shown = [point for point in found.front.points if point.loss]
    if len(shown) < _FEWEST:
        return (tag("p", _why_not(found)),)
    slowest = estimate.total_seconds[1]
    limit = (slowest, f"{duration(slowest)}, upper end of yours")
    picture = Picture(shown, round(found.front.available), limit, yours=yours)
    return (
        *(tag("p", text) for text in _better(shown, yours, _DOUBTS.get(estimate.verdict, ""))),
        *_parts(picture, found),
    )


_DOUBTS = {"does_not_fit": ", which does not fit", "fits_at_point": ", which may not fit"}


def _better(points: Sequence[Point], yours: Point, doubt: str) -> Iterator[str]:
    """Yield what a run is itself, what the others offer in its time, and what for its loss."""
    yield f"Yours: {_offer(yours)}{doubt}."
    time, loss = yours.seconds or 0, nats(yours)
    lower = [point for point in points if (point.seconds or 0) <= time and nats(point) < loss - LOSS_TOLERANCE]
    sooner = [point for point in points if (point.seconds or 0) < time and nats(point) <= loss]
    best = min(lower, key=nats, default=None)
    soonest = min(sooner, key=lambda point: point.seconds or 0, default=None)
    if best is not None and best == soonest:
        yield f"Better, and in less time: {_offer(best)}."
        return
    yield f"In no more time: {_offer(best) if best else 'none that is expected to be better'}."
    yield f"As good, soonest: {_offer(soonest) if soonest else 'none sooner than yours'}."


def _offer(point: Point) -> str:
    return f"{si(point.parameters)} parameters ({_shape(point)}), {_loss(point)} in {duration(point.seconds or 0)}"


def _shape(point: Point) -> str:
    return f"{counted(point.n_layer, 'layer')}, width {point.n_embd}"


def _loss(point: Point) -> str:
    return f"{point.loss.low:.2f}-{point.loss.high:.2f} nats" if point.loss else "unknown"


def _why_not(suggestion: Suggestion) -> str:
    if suggestion.pick.estimate.total_seconds is None:
        return f"No picture: how fast {suggestion.request.target.label} is is unknown."
    if any(point.loss for point in suggestion.front.points):
        return "No picture: the scaling laws can judge only one of the shapes searched."
    if not vocabulary_in_range(suggestion.pick.spec.model.vocab_size):
        return "No picture: the laws' offset is known for GPT-2's vocabulary alone, so no loss is expected."
    return "No picture: these runs are too small for the scaling laws to expect a loss of."


def _parts(picture: Picture, suggestion: Suggestion) -> Iterator[Html]:
    """Yield the figure and the same as a table."""
    framed = tag("div", front_svg(picture), class_="scroll", tabindex=0, role="region",
                 aria_label="what could be trained, a picture")  # fmt: skip
    yield tag("figure", framed, _legend(picture), tag("figcaption", _caption(picture, suggestion)))
    heads = ("shape", "parameters\t", "tokens\t", "expected loss\t", "time\t", "GiB needed\t", "GiB left\t")
    whole = table("The front, from left to right", heads, [_row(point) for point in picture.front])
    yield tag("details", tag("summary", "The front as a table"), whole)


def _row(point: Point) -> tuple[str, ...]:
    short = "short"
    return (
        f"{_shape(point)}{', the pick' if point.picked else ''}",
        tag("span", si(point.parameters), class_=short),
        tag("span", si(point.tokens), class_=short),
        tag("span", _loss(point), class_=short),
        tag("span", duration(point.seconds or 0), class_=short),
        size(point.needed_bytes),
        size(point.headroom_bytes),
    )


def _legend(picture: Picture) -> Html:
    marks = {
        "pick": "the pick" if picture.yours is None else "what suggest picks for them, up to that time",
        "yours": "yours, as it is",
        "interval": "interval of the expected loss",
        "front": "beaten by none in loss, time and memory; the larger, the more memory it leaves",
        "faint": "beaten",
        "stair": "lowest loss reached so far",
    }
    if picture.yours is None:
        del marks["yours"]
    return tag("ul", *(tag("li", key_svg(kind, said), said) for kind, said in marks.items()), class_="legend")


def _caption(picture: Picture, suggestion: Suggestion) -> str:
    request, left_out = suggestion.request, len(suggestion.front.points) - len(picture.points)
    across = "" if picture.by_time else "Every run takes all the time there is, so memory is drawn in place of time. "
    small = f"; {left_out} smaller ones, of which the scaling laws say nothing, are not" if left_out else ""
    seconds = suggestion.pick.estimate.total_seconds
    time = ""
    if picture.by_time and seconds is not None:
        time = f" Times are middles of their intervals: the pick's is {duration_range(*seconds)}."
    goal = f"{si(request.tokens)} tokens" if request.tokens else "as many tokens as the time allows"
    return (
        f"{across}Each mark is the best run of one shape on {request.target.label} for {goal}, batch and mode chosen "
        f"for it. {len(picture.points)} shapes are drawn{small}.{time} Within its interval all loss moves together."
    )
