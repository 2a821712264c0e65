"""Which shapes of an architecture are worth planning: the widths that go with a depth, and their heads."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable


class Growth(NamedTuple):
    """How the models of an architecture grow; the defaults are GPT-2's.

    Attributes:
        head_width: of each head. 64 and 128 have the same FLOPs, bytes and parameters.
        least: width over depth. GPT-2 small to XL run from 64 down to 33, GPT-3's models up to 85.
        most: likewise; where both are one number the depth decides the width, up to whole heads.
        deepest: layers at most.
    """

    head_width: int = 64
    least: int = 32
    most: int = 86
    deepest: int = 48

    def widths(self, offered: Iterable[int], depths: Iterable[int]) -> list[int]:
        """Return the widths to look at: those offered, or those that these depths decide."""
        return sorted({self._decided(depth) for depth in depths}) if self.least == self.most else list(offered)

    def suits(self, depth: int, width: int) -> bool:
        """Return whether a width goes with a depth."""
        if self.least == self.most:
            return width == self._decided(depth)
        return self.least <= width / depth <= self.most

    def heads(self, width: int) -> int:
        """Return the heads that a width is cut into."""
        return max(1, width // self.head_width)

    @property
    def said(self) -> str:
        """How width goes with depth, in words."""
        share = f"{self.least} to {self.most}" if self.least < self.most else str(self.least)
        return f"width be {share} times the depth"

    def _decided(self, depth: int) -> int:
        return -(-depth * self.least // self.head_width) * self.head_width
