"""Which documents were there before, by 128-bit digests of their text: 16 bytes of memory for each."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fwplan.data.encode import DIGEST

if TYPE_CHECKING:
    import numpy.typing as npt


class SeenTexts:
    """Digests seen so far, in sorted arrays whose sizes at least halve: few to search, cheap to add to."""

    def __init__(self) -> None:
        self._levels: list[npt.NDArray[np.bytes_]] = []

    def new(self, digests: npt.NDArray[np.bytes_]) -> npt.NDArray[np.bool_]:
        """Return which of these, (n,) DIGEST, are new, (n,) bool, of equal ones the first; all have then been seen."""
        unique, first = np.unique(digests, return_index=True)
        fresh = np.ones(len(unique), bool)
        for level in self._levels:
            place = np.minimum(np.searchsorted(level, unique), len(level) - 1)
            fresh &= level[place] != unique
        found = np.zeros(len(digests), bool)
        found[first[fresh]] = True
        self._add(unique[fresh])
        return found

    def _add(self, unique: npt.NDArray[np.bytes_]) -> None:
        if len(unique):
            self._levels.append(unique.astype(DIGEST))
        while len(self._levels) > 1 and 2 * len(self._levels[-1]) > len(self._levels[-2]):
            merged = np.concatenate([self._levels.pop(), self._levels.pop()])
            merged.sort()
            self._levels.append(merged)
