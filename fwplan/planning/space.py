"""What is searched: shapes, micro-batches, and the modes that each can be trained in."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import ValidationError

from fwplan.errors import FwplanError
from fwplan.estimators.memory import unsupported
from fwplan.estimators.recipe import CUSTOMARY_TOKENS_PER_STEP
from fwplan.model.architecture import Dims
from fwplan.model.architectures import ARCHITECTURES
from fwplan.spec import RunSpec, TrainSpec, spec_error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from fwplan.model.architecture import Architecture
    from fwplan.model.growth import Growth
    from fwplan.planning.request import Request

# Multiples of 64, from 1,024 on of 128: what tensor cores' tiles divide.
WIDTHS = (*range(64, 1025, 64), *range(1152, 2049, 128), *range(2304, 4097, 256))
DEPTHS = (2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30, 32, 36, 40, 44, 48)
MICRO_BATCHES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 512)
CHECKPOINTS = (0, 4, 2, 1)  # 0: none; n: every n-th block is recomputed
SIZED = {"n_layer", "n_head", "n_embd", "micro_batch_size"}  # pins that restrict the arrays


@dataclass(frozen=True)
class Space:
    """The searched runs: each mode with each shape (rows) and micro-batch (columns)."""

    modes: tuple[RunSpec, ...]  # of the first shape
    models: tuple[Architecture, ...]  # the shapes
    B: Any  # int64 (1, micro-batches)

    @property
    def shapes(self) -> int:
        """How many shapes there are."""
        return len(self.models)

    @property
    def runs(self) -> int:
        """How many runs there are in all."""
        return len(self.modes) * self.shapes * int(self.B.size)

    def spec(self, mode: int, shape: int, micro: int) -> RunSpec:
        """Return the run at this place, without a horizon."""
        base = self.modes[mode]
        train = base.train.model_copy(update={"micro_batch_size": int(self.B[0, micro])})
        return base.model_copy(update={"model": self.models[shape], "train": train})

    def rows_of(self, model: Architecture) -> list[int]:
        """Return the shapes that are this model: one or none."""
        return [self._row[model]] if model in self._row else []

    @cached_property
    def _row(self) -> dict[Architecture, int]:
        return {model: row for row, model in enumerate(self.models)}

    def of_shapes(self, count: Callable[[Architecture, Dims], Any]) -> Any:
        """Return what is counted of every shape, (shapes, ...): at once of models that differ in sizes alone."""
        counted = [(np.atleast_2d(count(models[0], dims)), len(models)) for models, dims in self._kinds]
        return np.concatenate([np.broadcast_to(found, (rows, *found.shape[1:])) for found, rows in counted])

    @cached_property
    def _kinds(self) -> list[tuple[list[Architecture], Dims]]:
        T = self.modes[0].sequence_length
        alike = (list(models) for _, models in groupby(self.models, key=lambda model: model.structure(T)))
        return [(models, _dims(models)) for models in alike]


def _dims(models: Sequence[Architecture]) -> Dims:
    """Return the sizes of these models: arrays (models, 1), or a number where it is the same for all."""
    columns = zip(*(model.dims for model in models), strict=True)
    return Dims(*(column[0] if len(set(column)) == 1 else np.array(column)[:, None] for column in columns))


def space_of(request: Request) -> Space:
    """Return what is searched for a request.

    Raises:
        FwplanError: the pinned fields leave nothing that can be built.
    """
    models = _models(request)
    pinned = request.pins.get("micro_batch_size")
    most = CUSTOMARY_TOKENS_PER_STEP
    sizes = [pinned] if pinned else [b for b in MICRO_BATCHES if b == 1 or b * request.context_length <= most]
    return Space(_modes(request, models[0]), models, np.array([sizes], dtype=np.int64))


def _models(request: Request) -> tuple[Architecture, ...]:
    """Return the models of all shapes that can be built.

    Raises:
        FwplanError: there are none.
    """
    architecture, pins = ARCHITECTURES[request.architecture], request.pins
    fixed = {"vocab_size": request.vocab_size} | {k: v for k, v in pins.items() if k in architecture.model_fields}
    fixed["context_length"] = request.context_length
    found, refused = [], None
    for depth, heads, width in _shapes(request, architecture.grow):
        try:
            found.append(architecture(**fixed | {"n_layer": depth, "n_head": heads, "n_embd": width}))
        except ValidationError as error:
            refused = error
    if not found and refused is not None and not SIZED & pins.keys():
        raise spec_error(refused, "--set")
    if not found:
        raise FwplanError(
            f"nothing that is searched has {', '.join(f'{name}={pins[name]}' for name in sorted(SIZED & pins.keys()))}",
            where="--set",
            hint=f"n_head must divide n_embd, and {architecture.grow.said}; pin all three",
        )
    return tuple(found)


def _shapes(request: Request, grow: Growth) -> Iterator[tuple[int, int, int]]:
    """Yield (layers, heads, width): hardware-friendly widths, and depths that are known to train well with them."""
    pins = request.pins
    free = "n_layer" not in pins or "n_embd" not in pins
    depths = [pins["n_layer"]] if "n_layer" in pins else [depth for depth in DEPTHS if depth <= grow.deepest]
    for width in [pins["n_embd"]] if "n_embd" in pins else grow.widths(WIDTHS, depths):
        for depth in depths:
            if not free or grow.suits(depth, width):
                yield depth, pins.get("n_head", grow.heads(width)), width


def _modes(request: Request, model: Architecture) -> tuple[RunSpec, ...]:
    """Return every mode that suits a model and whose memory is known, the plainest first: ties go to it.

    Fused AdamW alone: it takes no more memory than the other implementations, and no more time.

    Raises:
        FwplanError: no mode suits it.
    """
    target = request.target
    cpu = target.device.type == "cpu"
    nvidia = not cpu and all(card.vendor == "nvidia" for card in target.cards)
    found, refused = [], None
    for compiled in (True, False) if target.compiles else (False,):
        for every in CHECKPOINTS:
            for loss in ("full", "chunked"):
                fields: dict[str, Any] = {"dtype": "float32" if cpu else target.half, "compile": compiled, "loss": loss}
                fields |= {"checkpointing": "block" if every else "none", "checkpoint_every": every or 1}
                fields["expandable_segments"] = request.expandable_segments and nvidia
                try:
                    found.append(_built(request, model, fields))
                except FwplanError as error:
                    refused = error
    if refused is not None and not found:
        raise refused
    known = [mode for mode in found if unsupported(mode) is None]
    return tuple(dict.fromkeys(known or found))


def _built(request: Request, model: Any, fields: dict[str, Any]) -> RunSpec:
    of_shape = SIZED | type(model).model_fields.keys()
    pins = {name: value for name, value in request.pins.items() if name not in of_shape}
    fields |= {"micro_batch_size": 1, "grad_accum_steps": 2} | pins
    if fields["checkpointing"] == "none":
        fields["checkpoint_every"] = 1
    try:
        return RunSpec(model=model, train=TrainSpec(**fields), device=request.target.device, data=request.data)
    except ValidationError as error:
        raise spec_error(error, "--set") from None
