"""Sizes in letters: integer polynomials such as 3*B*T*C, which a run's numbers, or arrays of them, are put into."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

Monomial = tuple[str, ...]  # letters in order, such as ("B", "C", "T"); () is the constant


class Size:
    """A number of elements, bytes or tensors: whole coefficients of products of letters.

    Immutable, and equal ones are one object: a tape adds and multiplies the same few sizes over and over, so that sums
    and products are looked up, not made again.
    """

    __slots__ = ("terms",)
    terms: tuple[tuple[Monomial, int], ...]

    def __mul__(self, other: Size | int) -> Size:
        return _product(self, other)

    __rmul__ = __mul__

    def __add__(self, other: Size | int) -> Size:
        return _sum(self, other)

    __radd__ = __add__

    def __sub__(self, other: Size | int) -> Size:
        return _sum(self, other * -1)

    def __floordiv__(self, other: int) -> Size:
        return expression(f"{self!r} // {other}" if len(self.terms) == 1 else f"({self!r}) // {other}")

    def __repr__(self) -> str:
        """Return the size as Python arithmetic over its letters."""
        return " + ".join(written(count, monomial) for monomial, count in self.terms) or "0"


def size(terms: Iterable[tuple[Monomial, int]]) -> Size:
    """Return the size of these terms."""
    return _size(tuple(sorted((monomial, count) for monomial, count in terms if count)))


@cache
def _size(terms: tuple[tuple[Monomial, int], ...]) -> Size:
    made = Size()
    made.terms = terms
    return made


@cache
def _product(a: Size, b: Size | int) -> Size:
    if isinstance(b, int):
        return size((monomial, count * b) for monomial, count in a.terms)
    total: dict[Monomial, int] = {}
    for left, x in a.terms:
        for right, y in b.terms:
            monomial = tuple(sorted(left + right))
            total[monomial] = total.get(monomial, 0) + x * y
    return size(total.items())


@cache
def _sum(a: Size, b: Size | int) -> Size:
    total = dict(a.terms)
    for monomial, count in (number(b) if isinstance(b, int) else b).terms:
        total[monomial] = total.get(monomial, 0) + count
    return size(total.items())


def written(count: int, monomial: Monomial) -> str:
    """Return one term as it is written: 3*B*T*C."""
    return "*".join([*([str(count)] if count != 1 or not monomial else []), *monomial])


def number(value: int) -> Size:
    """Return the size that is a plain number."""
    return size([((), value)])


def letter(name: str) -> Size:
    """Return the size that is one letter."""
    return size([((name,), 1)])


def expression(text: str) -> Size:
    """Return a size that is no polynomial: arithmetic over letters, such as "-(-T // 128) * 128".

    It is one factor of a product, and is evaluated for numbers and for arrays alike: no `and`, no `max`.
    """
    return letter(f"({text})")


ZERO, ONE = number(0), number(1)
