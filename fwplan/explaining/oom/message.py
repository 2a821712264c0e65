"""One out-of-memory message: whose memory it was, and the figures that it gives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from fwplan.estimators.overhead import CUDA_CONTEXT

if TYPE_CHECKING:
    from fwplan.explaining.oom.amount import Amount

Backend: TypeAlias = Literal["cuda", "hip", "xpu", "mps", "cpu"]


@dataclass(frozen=True)
class Message:
    """One out-of-memory message; None is what it does not say.

    Attributes:
        backend: whose memory it was.
        start: where it stands in the text.
        index: the device's number.
        requested: what was asked for, on CUDA after the allocator's rounding to a segment.
        capacity: the device's memory.
        free: what the driver had left.
        allocated: live tensors of this process.
        reserved: held by this process's allocator, live and cached.
        in_use: everything this process held, context included.
        listed: what each process held that the message names by number, this one perhaps among them.
        allowed: the limit set by set_per_process_memory_fraction, or MPS's high watermark.
        rounded: whether `requested` is a segment of the caching allocator and no tensor's own size.
        below: whether the driver or a library failed, below PyTorch's allocators.
    """

    backend: Backend
    start: int
    index: int | None = None
    requested: Amount | None = None
    capacity: Amount | None = None
    free: Amount | None = None
    allocated: Amount | None = None
    reserved: Amount | None = None
    in_use: Amount | None = None
    listed: tuple[Amount, ...] = ()
    allowed: Amount | None = None
    rounded: bool = False
    below: bool = False

    @property
    def cached(self) -> float | None:
        """Bytes reserved but not live; None where the message does not say."""
        if self.reserved is None or self.allocated is None:
            return None
        return max(0.0, self.reserved.bytes - self.allocated.bytes)

    @property
    def others(self) -> float:
        """Bytes that other processes held, as far as the message says."""
        listed = sum(one.bytes for one in self.listed)
        if self.listed and self.in_use is not None:
            return listed  # this process is named apart
        if self.capacity is None or self.free is None:
            return 0.0
        if self.listed:
            return listed - self._own_listed(listed, self.capacity.high - self.free.low)
        mine = self.in_use.bytes if self.in_use else None
        if mine is None and self.reserved is not None:
            mine = self.reserved.bytes + CUDA_CONTEXT.high
        return max(0.0, self.capacity.bytes - self.free.bytes - mine) if mine is not None else 0.0

    def _own_listed(self, listed: float, taken: float) -> float:
        """Return what of the listed is this process's, which in a container does not know its own number.

        It is among them where they and it together are more than was taken of the card: then it is the one that holds
        the least of those that hold what it reserved. Where it does not say what it reserved, all may be its own.
        """
        if self.reserved is None:
            return listed
        mine = [one.bytes for one in self.listed if one.high >= self.reserved.low]
        return min(mine, default=0.0) if listed + self.reserved.low > taken else 0.0

    def as_dict(self) -> dict[str, Any]:
        """Return the message as `explain --log --json` prints it; bytes as integers."""
        names = ("requested", "capacity", "free", "allocated", "reserved", "in_use", "allowed")
        amounts = {name: getattr(self, name) for name in names}
        return {"backend": self.backend, "device_index": self.index} | {
            f"{name}_bytes": round(amount.bytes) if amount else None for name, amount in amounts.items()
        }
