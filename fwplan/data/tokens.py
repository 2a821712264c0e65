"""One split's tokens as one long sequence, whatever the files it lies in; mapped from disk when it is read."""

from __future__ import annotations

from bisect import bisect_right
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy.typing as npt

    from fwplan.data.formats import TokenFile


class TokenSequence:
    """Tokens by position, over the borders of files. Each file is mapped at its first use and kept by this object.

    A map's pages count as the process's memory until it is dropped: use a new object for each batch (files then are
    mapped again, in about 30 microseconds), and memory does not grow over a run.
    """

    def __init__(self, files: Sequence[TokenFile]) -> None:
        self._files = [file for file in files if file.tokens]
        self._starts = [0, *accumulate(file.tokens for file in self._files)]
        self._maps: dict[int, npt.NDArray[Any]] = {}

    def __len__(self) -> int:
        return self._starts[-1]

    def __getitem__(self, where: slice) -> npt.NDArray[Any]:
        """Return the tokens of a slice without a step: a view of the file where it lies within one, else a copy."""
        start, stop, _ = where.indices(len(self))
        parts = list(self._parts(start, stop))
        return parts[0] if len(parts) == 1 else np.concatenate(parts) if parts else np.empty(0, np.uint16)

    def _parts(self, start: int, stop: int) -> Iterator[npt.NDArray[Any]]:
        while start < stop:
            number = bisect_right(self._starts, start) - 1
            begin = self._starts[number]
            end = min(stop, self._starts[number + 1])
            yield self._map(number)[start - begin : end - begin]
            start = end

    def _map(self, number: int) -> npt.NDArray[Any]:
        if number not in self._maps:
            file = self._files[number]
            self._maps[number] = np.memmap(file.path, file.dtype, mode="r", offset=file.offset, shape=(file.tokens,))
        return self._maps[number]

    def chunks(self, size: int = 2**22) -> Iterator[npt.NDArray[Any]]:
        """Yield all tokens in order, at most `size` at a time, with no page kept for long."""
        for file in self._files:
            for start in range(0, file.tokens, size):
                count, offset = min(size, file.tokens - start), file.offset + start * file.dtype.itemsize
                yield np.memmap(file.path, file.dtype, mode="r", offset=offset, shape=(count,))
