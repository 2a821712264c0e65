"""Batches of next-token pairs that are a pure function of (seed, step, micro-step, rank).

Nothing is drawn from a generator that a resumed run would have to restore: each batch's windows come from a
counter-based generator whose counter is the batch's own position in the run. So a thread may read ahead, and it does.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Literal, Self

import numpy as np
import torch

from fwplan.errors import FwplanError
from fwplan.spec import defaults
from fwplan.train.document_order import DocumentOrder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray
    from torch import Tensor

    from fwplan.spec import RunSpec
    from fwplan.train.document_order import Tokens

Split = Literal["train", "val"]
Position = tuple[int, int, int]  # (step, micro_step, rank)
Host = tuple["Tensor", "Tensor"]  # idx and targets, each (B, T) int64 in this machine's memory, pinned for CUDA
_STREAM = {"train": 0, "val": 1}  # the second half of the generator's key: the splits never share a draw


def windows(
    tokens: Tokens, *, split: Split, seed: int, position: Position, count: int, length: int
) -> NDArray[np.int64]:
    """Return `count` random windows of length + 1 tokens, (count, length + 1) int64.

    `position` is (step, micro_step, rank). Every start at which a whole window fits is equally likely; windows may
    overlap, so a step's tokens are a sample with replacement.
    """
    step, micro_step, rank = position
    # Philox advances its counter from the first word on, so positions differ in the other three
    generator = np.random.Generator(
        np.random.Philox(
            key=np.array([seed, _STREAM[split]], dtype=np.uint64),
            counter=np.array([0, micro_step, step, rank], dtype=np.uint64),
        )
    )
    starts = generator.integers(0, len(tokens) - length, size=count)
    return np.stack([np.asarray(tokens[start : start + length + 1], dtype=np.int64) for start in starts])


class Batches:
    """What a run reads: (idx, targets) pairs, each (B, T) int64 on the device, targets one token ahead of idx.

    `read` opens a split's tokens. It is called for each batch, so that a memory map's pages do not pile up in the
    process over a long run. `ends` says where a split's documents end; only train.shuffle "documents" asks.
    As a context manager it waits, at the end, for the thread that reads ahead.
    """

    def __init__(
        self,
        spec: RunSpec,
        read: Callable[[Split], Tokens],
        device: torch.device,
        *,
        ends: Callable[[Split], NDArray[np.int64]] | None = None,
        rank: int = 0,
    ) -> None:
        self.spec = spec
        self.read = read
        self.device = device
        self.rank = rank
        self._order = self._document_order(ends) if ends and spec.train.shuffle == "documents" else None
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="batches")
        self._ahead: tuple[Position, Future[Host]] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._reader.shutdown()

    def step(self, step: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the grad_accum_steps micro-batches of optimizer step `step`, counted from 0.

        While one is used, a thread reads the next.
        """
        last = self.spec.train.grad_accum_steps - 1
        for micro_step in range(last + 1):
            following = (step, micro_step + 1) if micro_step < last else (step + 1, 0)
            batch = self._from_thread((step, micro_step, self.rank), (*following, self.rank))
            yield self._to_device(batch)

    def validation(self, n_batches: int | None = None) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the validation micro-batches: the same ones at every evaluation."""
        train = self.spec.train
        for i in range(train.eval_batches if n_batches is None else n_batches):
            count = defaults.eval_micro_batch_size(train)
            yield self._to_device(self._host(self._windows("val", (0, i, self.rank), count), "val"))

    def _from_thread(self, position: Position, following: Position) -> Host:
        """Return the batch at a position, and have the following one read."""
        ahead = self._ahead
        future = ahead[1] if ahead and ahead[0] == position else self._reader.submit(self._train_batch, position)
        self._ahead = (following, self._reader.submit(self._train_batch, following))
        return future.result()

    def _train_batch(self, position: Position) -> Host:
        count = self.spec.train.micro_batch_size
        if self._order is None:
            return self._host(self._windows("train", position, count), "train")
        (step, micro_step, rank), train = position, self.spec.train
        first = ((step * train.grad_accum_steps + micro_step) * train.parallel.world_size + rank) * count
        return self._host(self._order.read(self.read("train"), range(first, first + count)), "train")

    def _windows(self, split: Split, position: Position, count: int) -> NDArray[np.int64]:
        seed, length = self.spec.train.seed, self.spec.sequence_length
        return windows(self.read(split), split=split, seed=seed, position=position, count=count, length=length)

    def _document_order(self, ends: Callable[[Split], NDArray[np.int64]]) -> DocumentOrder:
        return DocumentOrder(ends("train"), seed=self.spec.train.seed, length=self.spec.sequence_length)

    def _host(self, picked: NDArray[np.int64], split: Split) -> Host:
        """Return idx and targets of (B, T + 1) tokens, after refusing ids that the model has no row for.

        On a GPU those would end the process with a device-side assert.
        """
        largest = int(picked.max())
        if largest >= self.spec.model.vocab_size:
            raise FwplanError(
                f"the {split} data holds token id {largest}, but model.vocab_size is {self.spec.model.vocab_size}",
                where="model.vocab_size",
                hint=f"use a vocab_size of at least {largest + 1}, or data made with this model's tokenizer",
            )
        idx, targets = torch.from_numpy(picked[:, :-1]), torch.from_numpy(picked[:, 1:])
        if self.device.type == "cuda":
            return idx.contiguous().pin_memory(), targets.contiguous().pin_memory()
        return idx, targets

    def _to_device(self, batch: Host) -> tuple[Tensor, Tensor]:
        if self.device.type == "cuda":
            return batch[0].to(self.device, non_blocking=True), batch[1].to(self.device, non_blocking=True)
        # a clone, also on CPU: torch's allocator then owns the batch, and the memory meter sees it
        idx, targets = (part.clone(memory_format=torch.contiguous_format) for part in batch)
        return idx.to(self.device), targets.to(self.device)
