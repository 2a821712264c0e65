"""A mode's moments as a matrix: run once on a tape with letters, then a run is a vector, and the peak their product.

A row is a moment at which memory can peak; a column is so many tensors of one size. Moments that another one of their
phase exceeds whatever the letters are have been left out.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from fwplan.estimators.phases import PASSING, Phase
from fwplan.estimators.tape.size import Monomial, Size, written
from fwplan.estimators.tape.step import record
from fwplan.estimators.tape.tape import numel
from fwplan.model.architecture import Dims

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt

    from fwplan.estimators.tape.step import Mode
    from fwplan.estimators.tape.tape import Event, Kind

    Ints = npt.NDArray[np.int64]

GRAIN = 512  # bytes to which torch's CUDA allocator rounds each tensor up


@dataclass(frozen=True, eq=False)
class Moments:
    """The moments of a mode.

    Attributes:
        kinds: of tensors that are alive at some moment.
        counted: count monomials: of the letters that say how often a block is run.
        alive: how many of each kind, (moments, kinds, monomials).
        phases: of each moment.
        runs: of each moment, the counts that must be at least one for it to exist.
        grain: bytes that a tensor is rounded up to.
        kept: names of what autograd keeps for backward.
        frontier: the moments that may hold the peak: no other one exceeds them whatever the letters are.
    """

    kinds: tuple[Kind, ...]
    counted: tuple[Monomial, ...]
    alive: Ints
    phases: tuple[Phase, ...]
    runs: tuple[tuple[Size, ...], ...]
    grain: int
    kept: frozenset[str]
    frontier: tuple[int, ...]

    @cached_property
    def sizes(self) -> tuple[tuple[int, Size], ...]:
        """The different tensors by size alone: bytes an element, elements."""
        return tuple(dict.fromkeys((kind.dtype.width, numel(kind.shape)) for kind in self.kinds))

    @cached_property
    def by_size(self) -> Ints:
        """How many tensors of each size are alive: (moments, sizes * monomials)."""
        place = {size: i for i, size in enumerate(self.sizes)}
        summed = np.zeros((len(self.phases), len(place), len(self.counted)), np.int64)
        for column, kind in enumerate(self.kinds):
            summed[:, place[kind.dtype.width, numel(kind.shape)]] += self.alive[:, column]
        return summed.reshape(len(self.phases), -1)

    @cached_property
    def evaluate(self) -> Callable[..., tuple[Any, ...]]:
        """Compiled: numbers of the letters -> bytes of each of `sizes`, rounded, then the count monomials."""
        up = "-(-({}) // {g}) * {g}" if self.grain > 1 else "{}"
        rows = [up.format(f"{width} * ({size!r})", g=self.grain) for width, size in self.sizes]
        rows += [written(1, monomial) for monomial in self.counted]
        return arithmetic(rows)

    @cached_property
    def exists(self) -> Callable[..., tuple[Any, ...]]:
        """Compiled: numbers of the letters -> each of the counts that some moment needs to be at least one."""
        return arithmetic([repr(count) for count in self.needed])

    @cached_property
    def needed(self) -> tuple[Size, ...]:
        """The counts that some moment needs to be at least one."""
        return tuple(dict.fromkeys(count for row in self.runs for count in row))


LETTERS = (*Dims._fields, "B", "T", "N", "P", "E", "n", "g", "k", "A")


def arithmetic(results: Sequence[str]) -> Callable[..., tuple[Any, ...]]:
    """Return a function of all letters that returns these expressions: one call instead of hundreds of look-ups."""
    code = f"lambda {', '.join(LETTERS)}: ({', '.join(results)}{',' if results else ''})"
    made: Callable[..., tuple[Any, ...]] = eval(code)  # noqa: S307  # our own arithmetic, no user's text
    return made


@lru_cache(maxsize=256)
def moments_of(mode: Mode) -> Moments:
    """Return the moments of a mode; made once in a process."""
    events, kept = record(mode)
    kinds = tuple(dict.fromkeys(event.kind for event in events))
    counted = tuple(dict.fromkeys(monomial for event in events for monomial, _ in event.tensors.terms))
    peaks = _local_maxima(events)
    alive = _alive(events, peaks, kinds, counted)
    phases, runs = [events[i].phase for i in peaks], [events[i].runs for i in peaks]
    values = _in_bytes(alive, kinds, counted)
    of_phase = [[i for i, phase in enumerate(phases) if phase is which] for which in dict.fromkeys(phases)]
    left = sorted((i for rows in of_phase for i in _frontier(rows, values, runs)), key=lambda i: (phases[i], i))
    frontier = set(_frontier(left, values, runs))
    left = [i for i in left if i in frontier or phases[i] not in PASSING]
    return Moments(
        kinds, counted, alive[left], tuple(phases[i] for i in left), tuple(runs[i] for i in left),
        GRAIN if mode.cuda else 1, frozenset(kept), tuple(row for row, i in enumerate(left) if i in frontier),
    )  # fmt: skip


def _local_maxima(events: Sequence[Event]) -> list[int]:
    """Return the allocations that no other allocation follows before something is released."""
    last, found = None, []
    for i, event in enumerate(events):
        if event.made:
            if last is not None and events[last].phase is not event.phase:
                found.append(last)
            last = i
        elif last is not None:
            found.append(last)
            last = None
    return found + ([last] if last is not None else [])


def _alive(events: Sequence[Event], at: Sequence[int], kinds: Sequence[Kind], counted: Sequence[Monomial]) -> Ints:
    """Return how many of each kind are alive after each of these events: (events, kinds, monomials)."""
    width = len(counted)
    first, place = {kind: i * width for i, kind in enumerate(kinds)}, {m: i for i, m in enumerate(counted)}
    wanted, alive, found = set(at), [0] * (len(kinds) * width), []
    for i, event in enumerate(events):
        column = first[event.kind]
        for monomial, count in event.tensors.terms:
            alive[column + place[monomial]] += count
        if i in wanted:
            found.append(alive.copy())
    return np.array(found, np.int64).reshape(len(found), len(kinds), width)


def _in_bytes(alive: Ints, kinds: Sequence[Kind], counted: Sequence[Monomial]) -> Ints:
    """Return each moment as a polynomial with no negative letters: (moments, coefficients).

    A count is at least one (of the blocks, of their groups, of those kept in a group) or nought (A): with L = 1 + L'
    no L' is negative, so that a moment whose coefficients are all at least another's exceeds it everywhere.
    """
    shifts = [_shifted(monomial) for monomial in counted]
    counts = list(dict.fromkeys(part for shift in shifts for part in shift))
    to_counts = np.array([[shift[part] for part in counts] for shift in shifts])
    terms = [[(m, c * kind.dtype.width) for m, c in numel(kind.shape).terms] for kind in kinds]
    monomials = {m: i for i, m in enumerate(dict.fromkeys(m for row in terms for m, _ in row))}
    to_bytes = np.zeros((len(kinds), len(monomials)), np.int64)
    for i, row in enumerate(terms):
        for monomial, count in row:
            to_bytes[i, monomials[monomial]] += count
    found: Ints = np.einsum("rkc,cs,km->rsm", alive, to_counts, to_bytes, optimize=True)
    return found.reshape(len(alive), -1)


def _shifted(monomial: Monomial) -> Counter[Monomial]:
    """Return the terms of a monomial in which each letter but A is one more than another."""
    always = tuple(letter for letter in monomial if letter == "A")
    others = [letter for letter in monomial if letter != "A"]
    return Counter(
        tuple(sorted((*always, *part))) for size in range(len(others) + 1) for part in combinations(others, size)
    )


def _frontier(rows: Sequence[int], values: Ints, runs: Sequence[tuple[Size, ...]]) -> list[int]:
    """Return those of the moments that none of the others exceeds, whatever the letters are."""
    largest_first = sorted(rows, key=lambda i: (-values[i].sum(), len(runs[i]), i))  # only a larger sum can exceed one
    left: list[int] = []
    for i in largest_first:
        rivals = [j for j in left if set(runs[j]) <= set(runs[i])]
        if not (rivals and (values[rivals] >= values[i]).all(axis=1).any()):
            left.append(i)
    return left
