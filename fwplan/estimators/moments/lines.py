"""The lines of a moment: what is alive then, by name, each with the formula that gives its bytes."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from fwplan.tape.size import ZERO, Size
from fwplan.tape.size import size as size_of
from fwplan.tape.tape import numel

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fwplan.estimators.moments.matrix import Moments
    from fwplan.tape.line import Kind as LineKind
    from fwplan.tape.tape import Kind, Shape

# What a name stands for, where autograd's graph does not say it: what outlives a step, and where it is from.
_PERSISTENT = {
    "weights": "one element a parameter",
    "step counts": "torch.optim: one for each weight",
    "buffers": "what lies beside the weights and is not trained, such as tables of rotary positions",
    "batch": "token ids and targets",
    "logits held by the caller": "the caller",
}
_SAVED = "kept for backward by autograd; traced op by op"
_MADE = "made and let go of by an op; traced op by op"


class Part(NamedTuple):
    """A line of a moment, with letters."""

    name: str
    formula: str  # of its bytes, as Python arithmetic over the letters
    shape: Shape | None  # of one tensor; None where they are of several
    dtype: str | None  # likewise
    kind: LineKind
    source: str


@lru_cache(maxsize=1024)
def parts(moments: Moments, row: int) -> tuple[Part, ...]:
    """Return the lines of a moment, largest families not first but in the order in which they came to life."""
    by_name: dict[str, list[tuple[Kind, Size]]] = {}
    for column, kind in enumerate(moments.kinds):
        count = size_of(
            (monomial, int(n)) for monomial, n in zip(moments.counted, moments.alive[row, column], strict=True)
        )
        if count is not ZERO:
            by_name.setdefault(kind.name, []).append((kind, count))
    whole = _elements(by_name["weights"])
    return tuple(
        Part(name, formula(count, whole), *_alike(count), *_told(name, moments)) for name, count in by_name.items()
    )


def _alike(count: Sequence[tuple[Kind, Size]]) -> tuple[Shape | None, str | None]:
    shapes, dtypes = {kind.shape for kind, _ in count}, {kind.dtype.name for kind, _ in count}
    return (shapes.pop() if len(shapes) == 1 else None), (dtypes.pop() if len(dtypes) == 1 else None)


def _told(name: str, moments: Moments) -> tuple[LineKind, str]:
    source = _PERSISTENT.get(name) or moments.remembers.get(name)
    if source is not None:
        return "persistent", source
    return ("saved", _SAVED) if name in moments.kept else ("transient", _MADE)


def _elements(count: Sequence[tuple[Kind, Size]]) -> Size:
    total = ZERO
    for kind, n in count:
        total = total + n * numel(kind.shape)
    return total


def formula(count: Sequence[tuple[Kind, Size]], whole: Size) -> str:
    """Return the bytes of so many tensors as arithmetic: L*2*4*B*T*C; whole is the elements of all weights, P."""
    widths = {kind.dtype.width for kind, _ in count}
    elements = _elements(count)
    for times in (1, 2):
        if len(widths) == 1 and elements is whole * times:
            return "*".join([*(["2"] if times == 2 else []), str(*widths), "P"])
    terms: dict[str, None] = {}
    summed: dict[tuple[int, Size], Size] = {}
    for kind, n in count:
        key = kind.dtype.width, numel(kind.shape)
        summed[key] = summed.get(key, ZERO) + n
    for (width, size), n in summed.items():
        terms[_term(n, width, size)] = None
    return " + ".join(terms)


def _term(count: Size, width: int, size: Size) -> str:
    """Return count * width * size, the count's letter first: L*2*4*N*C."""
    tokens = [] if count.terms == (((), 1),) else [_factor(count)]
    if len(size.terms) != 1:
        return "*".join([*tokens, str(width), f"({size!r})"])
    ((monomial, times),) = size.terms
    letters = list(monomial)
    if {"B", "T"} <= set(letters):
        letters = ["N", *(x for i, x in enumerate(letters) if i not in (letters.index("B"), letters.index("T")))]
    return "*".join([*tokens, *([str(times)] if times != 1 else []), str(width), *letters])


def _factor(count: Size) -> str:
    if len(count.terms) != 1:
        return f"({count!r})"
    ((monomial, times),) = count.terms
    return "*".join([*monomial, *([str(times)] if times != 1 or not monomial else [])])
