"""The book of live storages: every allocation and release of a program, in order."""

from __future__ import annotations

import weakref
from functools import partial
from typing import TYPE_CHECKING

from fwplan.allocator.events import Event
from fwplan.tracing.result import Origin

if TYPE_CHECKING:
    from torch import Tensor, UntypedStorage


class Ledger:
    """Writes an event when a storage is first seen and when its last owner lets go of it.

    Views and in-place results share a storage and count once. A storage lives as long as autograd, a Python variable
    or another tensor holds it: torch tells us of its end through the weak reference.
    """

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.origins: list[Origin] = []
        self._live: dict[int, tuple[int, weakref.ref[UntypedStorage]]] = {}

    def see(self, tensor: Tensor, op: str, where: str, times: int = 1) -> None:
        """Note the tensor's storage, if new and not empty, as made by `op` in `where`; CUDA's is `times` as large."""
        storage = tensor.untyped_storage()
        key, size = storage._cdata, times * storage.nbytes()  # noqa: SLF001  # its identity in C++
        if key in self._live or not size:
            return
        number = self._open(Origin(op, where, tuple(tensor.shape), str(tensor.dtype).removeprefix("torch."), size))
        self._live[key] = number, weakref.ref(storage, partial(self._close, key))

    def borrow(self, what: str, where: str, size: int) -> int | None:
        """Note memory that is no tensor's, such as a kernel's scratch; give it back by its number."""
        return self._open(Origin(what, where, None, None, size)) if size else None

    def give_back(self, number: int | None) -> None:
        """Note the end of what was borrowed."""
        if number is not None:
            self._release(number)

    def _open(self, origin: Origin) -> int:
        number = len(self.origins)
        self.origins.append(origin)
        self.events.append(Event("allocate", number, origin.bytes, origin.op))
        return number

    def _close(self, key: int, _: object) -> None:
        self._release(self._live.pop(key)[0])

    def _release(self, number: int) -> None:
        origin = self.origins[number]
        self.events.append(Event("release", number, origin.bytes, origin.op))
