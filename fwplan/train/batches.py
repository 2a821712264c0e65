"""Batches of next-token pairs that are a pure function of (seed, step, micro-step, rank).

Nothing is drawn from a generator that a resumed run would have to restore: each batch's windows come from a
counter-based generator whose counter is the batch's own position in the run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from fwplan.errors import FwplanError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray
    from torch import Tensor

    from fwplan.spec import RunSpec

Split = Literal["train", "val"]
_STREAM = {"train": 0, "val": 1}  # the second half of the generator's key: the splits never share a draw


def windows(
    tokens: NDArray[Any], *, split: Split, seed: int, position: tuple[int, int, int], count: int, length: int
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
    process over a long run.
    """

    def __init__(
        self, spec: RunSpec, read: Callable[[Split], NDArray[Any]], device: torch.device, *, rank: int = 0
    ) -> None:
        self.spec = spec
        self.read = read
        self.device = device
        self.rank = rank

    def step(self, step: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the grad_accum_steps micro-batches of optimizer step `step`, counted from 0."""
        for micro_step in range(self.spec.train.grad_accum_steps):
            yield self._batch("train", (step, micro_step, self.rank), self.spec.train.micro_batch_size)

    def validation(self, n_batches: int | None = None) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the validation micro-batches: the same ones at every evaluation."""
        train = self.spec.train
        for i in range(train.eval_batches if n_batches is None else n_batches):
            yield self._batch("val", (0, i, self.rank), train.eval_micro_batch_size or train.micro_batch_size)

    def _batch(self, split: Split, position: tuple[int, int, int], count: int) -> tuple[Tensor, Tensor]:
        picked = windows(
            self.read(split),
            split=split,
            seed=self.spec.train.seed,
            position=position,
            count=count,
            length=self.spec.sequence_length,
        )
        self._refuse_foreign_tokens(picked, split)
        return self._to_device(picked[:, :-1]), self._to_device(picked[:, 1:])

    def _refuse_foreign_tokens(self, picked: NDArray[np.int64], split: Split) -> None:
        """Refuse ids that the model has no row for: on a GPU they would end the process with a device-side assert."""
        largest = int(picked.max())
        if largest >= self.spec.model.vocab_size:
            raise FwplanError(
                f"the {split} data holds token id {largest}, but model.vocab_size is {self.spec.model.vocab_size}",
                where="model.vocab_size",
                hint=f"use a vocab_size of at least {largest + 1}, or data made with this model's tokenizer",
            )

    def _to_device(self, part: NDArray[np.int64]) -> Tensor:
        # a clone, also on CPU: torch's allocator then owns the batch, and the memory meter sees it
        tensor = torch.from_numpy(part).clone(memory_format=torch.contiguous_format)
        if self.device.type == "cuda":
            return tensor.pin_memory().to(self.device, non_blocking=True)
        return tensor.to(self.device)
