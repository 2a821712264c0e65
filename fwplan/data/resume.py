"""Whether an interrupted preparation can be gone on with: the same recipe, and the same files as far as it had come."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fwplan.data.formats import SPLITS
from fwplan.data.parquet import windows

if TYPE_CHECKING:
    from fwplan.data.parquet import Source
    from fwplan.data.staging import Staging

Recipe = dict[str, Any]


def state_to_go_on_from(
    staging: Staging, recipe: Recipe, sources: list[Source], threshold: int
) -> tuple[dict[str, Any] | None, str | None]:
    """Return (the state that was recorded, or None to start again; what the user should know of it).

    Files may have been added since, or changed, behind what was done: documents are taken in the files' order.

    Args:
        staging: where it was recorded.
        recipe: what is asked for now, without where its sources lie.
        sources: the recipe's, in order.
        threshold: that a preparation begins with.
    """
    state = staging.record()
    if state is None:
        return None, None
    try:
        why = _why_not(staging, state, recipe, sources, threshold)
        done = f"{state['tally']['rows']:,} rows"
    except (OSError, TypeError, ValueError, LookupError, AttributeError):
        return None, "what was prepared before has no readable record: starting again"
    if why is not None:
        return None, f"{done} that were prepared before cannot be used, for {why}: starting again"
    return state, f"going on after {done.removesuffix(' rows')} of {sum(source.rows for source in sources):,} rows"


def placeless(recipe: Recipe) -> Recipe:
    """Return a recipe without where its sources lie: files that were moved are the same files."""
    sources = recipe["sources"] if isinstance(recipe["sources"], list) else []
    return recipe | {"sources": [{k: v for k, v in source.items() if k != "path"} for source in sources]}


def _why_not(
    staging: Staging, state: dict[str, Any], recipe: Recipe, sources: list[Source], threshold: int
) -> str | None:
    before = state["recipe"]
    other = [key for key in recipe | before if key != "sources" and recipe.get(key) != before.get(key)]
    if other:
        return f"they were made with another {' and '.join(other)}"
    same = len(_common(before["sources"], recipe["sources"]))
    grown = before["sources"] != recipe["sources"]
    done = windows(sources[:same])
    tally = state["tally"]
    if tally["windows"] > len(done):
        return f"file {same + 1} is another now"
    if grown and state["threshold"] != threshold:  # chosen by all the documents of then, to have some for validation
        return "there were too few documents in them to divide"
    done = done[: tally["windows"]]
    documents = sum(state["splits"][split]["documents"] for split in SPLITS)
    accounted = documents + tally["empty"] + tally["low_score"] + tally["duplicates"]
    if not accounted == tally["rows"] == sum(w.rows for w in done) or not staging.holds(state):
        return "their record does not add up"
    return None


def _common(one: list[Any], other: list[Any]) -> list[Any]:
    """Return what two lists begin with alike."""
    end = next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    return one[:end]
