"""What is searched: shapes, micro-batches, and the modes that each can be trained in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import ValidationError

from fwplan.errors import FwplanError
from fwplan.recipe import CUSTOMARY_TOKENS_PER_STEP
from fwplan.spec import ModelSpec, RunSpec, TrainSpec, spec_error

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fwplan.planning.request import Request

HEAD_DIM = 64  # GPT-2's. 128 has the same FLOPs, bytes and parameters: --set n_head takes it
# Multiples of 64, from 1,024 on of 128: what tensor cores' tiles divide.
WIDTHS = (*range(64, 1025, 64), *range(1152, 2049, 128), *range(2304, 4097, 256))
DEPTHS = (2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30, 32, 36, 40, 44, 48)
# Width over depth: GPT-2 small to XL run from 64 down to 33, GPT-3's models up to 85.
ASPECT = (32, 86)
MICRO_BATCHES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 512)
CHECKPOINTS = (0, 4, 2, 1)  # 0: none; n: every n-th block is recomputed
SIZED = {"n_layer", "n_head", "n_embd", "micro_batch_size"}  # pins that restrict the arrays


@dataclass(frozen=True)
class Space:
    """The searched runs: each mode with each shape (rows) and micro-batch (columns)."""

    modes: tuple[RunSpec, ...]
    L: Any  # int64 (shapes, 1)
    H: Any
    C: Any
    B: Any  # (1, micro-batches)

    @property
    def shapes(self) -> int:
        """How many shapes there are."""
        return int(self.L.size)

    @property
    def runs(self) -> int:
        """How many runs there are in all."""
        return len(self.modes) * int(self.L.size * self.B.size)

    def spec(self, mode: int, shape: int, micro: int) -> RunSpec:
        """Return the run at this place, without a horizon."""
        base = self.modes[mode]
        sizes = {"n_layer": self.L[shape, 0], "n_head": self.H[shape, 0], "n_embd": self.C[shape, 0]}
        model = base.model.model_copy(update={name: int(value) for name, value in sizes.items()})
        train = base.train.model_copy(update={"micro_batch_size": int(self.B[0, micro])})
        return base.model_copy(update={"model": model, "train": train})


def space_of(request: Request) -> Space:
    """Return what is searched for a request.

    Raises:
        FwplanError: the pinned fields leave nothing that can be built.
    """
    shapes = list(_shapes(request))
    if not shapes:
        named = ", ".join(f"{name}={request.pins[name]}" for name in sorted(SIZED & request.pins.keys()))
        raise FwplanError(
            f"nothing that is searched has {named}",
            where="--set",
            hint=f"n_head must divide n_embd, and width be {ASPECT[0]} to {ASPECT[1]} times the depth; pin all three",
        )
    L, H, C = (np.array(column, dtype=np.int64)[:, None] for column in zip(*shapes, strict=True))
    pinned = request.pins.get("micro_batch_size")
    most = CUSTOMARY_TOKENS_PER_STEP
    sizes = [pinned] if pinned else [b for b in MICRO_BATCHES if b == 1 or b * request.context_length <= most]
    return Space(tuple(_modes(request)), L, H, C, np.array([sizes], dtype=np.int64))


def _shapes(request: Request) -> Iterator[tuple[int, int, int]]:
    """Yield (layers, heads, width): hardware-friendly widths, and depths that are known to train well with them."""
    pins = request.pins
    free = "n_layer" not in pins or "n_embd" not in pins
    for width in [pins["n_embd"]] if "n_embd" in pins else WIDTHS:
        for depth in [pins["n_layer"]] if "n_layer" in pins else DEPTHS:
            heads = pins.get("n_head", max(1, width // HEAD_DIM))
            if width % heads == 0 and (not free or ASPECT[0] <= width / depth <= ASPECT[1]):
                yield depth, heads, width


def _modes(request: Request) -> Iterator[RunSpec]:
    """Yield every mode as a run of the smallest shape, the plainest first: ties go to it.

    Fused AdamW alone: it takes no more memory than the other implementations, and no more time.
    """
    target, seen = request.target, []
    cpu = target.device.type == "cpu"
    nvidia = not cpu and all(card.vendor == "nvidia" for card in target.cards)
    for compiled in (True, False) if target.compiles else (False,):
        for every in CHECKPOINTS:
            for loss in ("full", "chunked"):
                fields: dict[str, Any] = {"dtype": "float32" if cpu else target.half, "compile": compiled, "loss": loss}
                fields |= {"checkpointing": "block" if every else "none", "checkpoint_every": every or 1}
                fields["expandable_segments"] = request.expandable_segments and nvidia
                mode = _built(request, fields)
                if mode not in seen:
                    seen.append(mode)
                    yield mode


def _built(request: Request, fields: dict[str, Any]) -> RunSpec:
    pins = {name: value for name, value in request.pins.items() if name not in SIZED}
    model = {name: pins.pop(name) for name in list(pins) if name in ModelSpec.model_fields}
    fields |= {"micro_batch_size": 1, "grad_accum_steps": 2} | pins
    if fields["checkpointing"] == "none":
        fields["checkpoint_every"] = 1
    try:
        return RunSpec(
            model=ModelSpec(
                **{"n_layer": 1, "n_head": 1, "n_embd": 64, "vocab_size": request.vocab_size}
                | model
                | {"context_length": request.context_length}
            ),
            train=TrainSpec(**fields),
            device=request.target.device,
            data=request.data,
        )
    except ValidationError as error:
        raise spec_error(error, "--set") from None
