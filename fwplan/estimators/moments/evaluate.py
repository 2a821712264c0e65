"""A mode's moments with numbers in them: the bytes of each phase's widest moment, and the lines that it is made of."""

from __future__ import annotations

from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from fwplan.estimators.moments.lines import Part, parts
from fwplan.estimators.moments.matrix import arithmetic
from fwplan.tape.line import Line
from fwplan.tape.phases import Phase

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy.typing as npt

    from fwplan.estimators.moments.matrix import Moments
    from fwplan.tape.size import Size
    from fwplan.tape.tape import Shape

    Ints = npt.NDArray[np.int64]

ROUNDING = "rounding to 512 bytes"


def widest(moments: Moments, numbers: Mapping[str, int]) -> dict[Phase, tuple[int, int]]:
    """Return the widest moment of each phase that the run has, in their order: its row, and its bytes."""
    totals, there = _totals(moments, numbers).tolist(), _existing(moments, numbers)
    found: dict[Phase, tuple[int, int]] = {}
    for row, (phase, total) in enumerate(zip(moments.phases, totals, strict=True)):
        if there[row] and (phase not in found or total > found[phase][1]):
            found[phase] = row, total
    return found


def largest(moments: Moments, numbers: Mapping[str, int]) -> int:
    """Return the bytes of the widest moment that the run has."""
    return max(total for _, total in widest(moments, numbers).values())


def _totals(moments: Moments, numbers: Mapping[str, int]) -> Ints:
    """Return the bytes of every moment, each tensor rounded as the device's allocator does."""
    values = moments.evaluate(**numbers)
    cut = len(moments.sizes)
    totals: Ints = moments.by_size @ np.multiply.outer(values[:cut], values[cut:]).ravel()
    return totals


def _existing(moments: Moments, numbers: Mapping[str, int]) -> list[bool]:
    there = dict(zip(moments.needed, (value >= 1 for value in moments.exists(**numbers)), strict=True))
    return [all(there[count] for count in row) for row in moments.runs]


def peaks(moments: Moments, numbers: Mapping[str, Any]) -> Ints:
    """Return the peak of many runs of one mode, steps and evaluations alike; numbers may be arrays that broadcast.

    Nearly all tensors grow straight with the micro-batch or not at all: of these each moment is so much and so much
    more a sequence, which only the shape decides, so that few arrays are as large as the result.
    """
    B, cut = numbers["B"], len(moments.sizes)
    values = moments.evaluate(**numbers)
    one = moments.evaluate(**{**numbers, "B": 1, "N": numbers["T"]})
    growth = [_growth(size, numbers["T"], moments.grain) for size in moments.sizes]
    shape = np.broadcast_shapes(*(np.shape(x) for name, x in numbers.items() if name not in {"B", "N", "E", "n"}))
    base, slope = (
        _of_shape(moments, [(i, one[i]) for i in range(cut) if growth[i] == how], values[cut:], shape)
        for how in ("constant", "straight")
    )
    there = dict(zip(moments.needed, moments.exists(**numbers), strict=True))
    peak: Any = 0
    for place, row in enumerate(moments.frontier):
        total: Any = base[place] + slope[place] * B
        counts = moments.by_size[row].reshape(cut, -1)
        for i in range(cut):
            if growth[i] == "otherwise" and counts[i].any():
                total = total + values[i] * sum(n * m for n, m in zip(counts[i].tolist(), values[cut:], strict=True))
        for needed in moments.runs[row]:
            total = total * (there[needed] >= 1)
        peak = np.maximum(peak, total)
    found: Ints = np.asarray(peak).astype(np.int64)
    return found


def _of_shape(moments: Moments, sizes: Sequence[tuple[int, Any]], counts: Sequence[Any], shape: tuple[int, ...]) -> Any:
    """Return what these sizes come to in each moment of the frontier, for each shape: (moments, *shape)."""
    alive = moments.by_size.reshape(len(moments.phases), len(moments.sizes), -1)[list(moments.frontier)]
    columns = [(alive[:, i, j], value * count) for i, value in sizes for j, count in enumerate(counts)]
    columns = [(column, feature) for column, feature in columns if column.any()]
    if not columns:
        return np.zeros((len(moments.frontier), *(1 for _ in shape)))
    left = np.stack([column for column, _ in columns], axis=1).astype(np.float64)
    right = np.stack([np.broadcast_to(feature, shape).ravel() for _, feature in columns]).astype(np.float64)
    return (left @ right).reshape(len(moments.frontier), *shape)


def _growth(size: tuple[int, Size], T: int, grain: int) -> str:
    """Return how a tensor grows with the micro-batch: "constant", "straight", or "otherwise", for rounding's sake.

    A chunk of the loss and an evaluation follow it in their own ways.
    """
    width, elements = size
    letters = {letter for monomial, _ in elements.terms for letter in monomial}
    if letters & {"n", "E"} or any("B" in letter for letter in letters if letter.startswith("(")):
        return "otherwise"
    with_batch = [monomial for monomial, _ in elements.terms if "B" in monomial]
    if not with_batch:
        return "constant"
    if len(with_batch) < len(elements.terms):
        return "otherwise"
    whole = all(width * count * (T if "T" in monomial else 1) % grain == 0 for monomial, count in elements.terms)
    return "straight" if whole else "otherwise"


def lines(moments: Moments, numbers: Mapping[str, int], rows: Mapping[Phase, tuple[int, int]]) -> list[Line]:
    """Return the lines of these moments; one that is the same in several phases is one line, alive in all of them."""
    when: dict[tuple[Part, int], int] = {}
    for phase, (row, total) in rows.items():
        sizes = _bytes_of(moments, row)(**numbers)
        rounding = total - sum(sizes)
        rounded = Part(ROUNDING, str(rounding), None, None, "transient", "c10/cuda/CUDACachingAllocator.cpp")
        for key in zip((*parts(moments, row), rounded), (*sizes, rounding), strict=True):
            if key[1]:
                when[key] = when.get(key, 0) | phase.value
    return [
        Line(
            part.name, n_bytes, None if part.shape is None else _shape_of(part.shape)(**numbers), part.dtype,
            _phases(flags), part.kind, part.formula, part.source,
        )
        for (part, n_bytes), flags in when.items()
    ]  # fmt: skip


@cache
def _phases(flags: int) -> Phase:
    return Phase(flags)  # an enum's own look-up is slow


@lru_cache(maxsize=1024)
def _bytes_of(moments: Moments, row: int) -> Callable[..., tuple[int, ...]]:
    """Return the formulas of a moment's lines, compiled: a line's bytes are what its formula says."""
    return arithmetic([part.formula for part in parts(moments, row)])


@lru_cache(maxsize=1024)
def _shape_of(shape: Shape) -> Callable[..., tuple[int, ...]]:
    return arithmetic([repr(size) for size in shape]) if shape else lambda **_: ()
