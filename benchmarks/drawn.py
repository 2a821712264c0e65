"""Specs drawn from a fixed seed: small enough for a CPU, spread over every mode that the estimate calls exact."""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING

from fwplan.estimators.memory import estimate_memory
from fwplan.estimators.speed import model_flops
from fwplan.spec import DeviceSpec, ModelSpec, RunSpec, TrainSpec
from fwplan.units import GIB

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from fwplan.spec import Dtype

SEED = 20_240
LARGEST_PEAK = 3 * GIB
MOST_FLOPS = 0.6e12  # of one step: seconds on a laptop's processor; fp16 matmuls are slower by far than others there
DTYPES: tuple[Dtype, ...] = ("float32", "bfloat16", "float16", "pure_bfloat16")
# The compiled specs are few, since each compiles for up to a minute: the modes are laid out, the shapes drawn.
COMPILED: tuple[dict[str, object], ...] = (
    {"dtype": "float32"},
    {"dtype": "bfloat16"},
    {"dtype": "bfloat16", "grad_accum_steps": 2},
    {"dtype": "float32", "checkpointing": "block"},
    {"dtype": "bfloat16", "checkpointing": "block"},
    {"dtype": "bfloat16", "checkpointing": "block", "checkpoint_every": 2},
    {"dtype": "bfloat16", "loss": "chunked", "loss_chunk_tokens": 256},
    {"dtype": "pure_bfloat16", "optimizer_impl": "foreach"},
    {"dtype": "float16"},
    {"dtype": "bfloat16", "attention": "math"},
    {"dtype": "float32", "attention": "math"},
    {"dtype": "bfloat16", "dropout": 0.1},
)


def eager_specs(count: int, seed: int = SEED) -> list[RunSpec]:
    """Return count specs of eager CPU steps; the first n of them are the same for every count."""
    draw = random.Random(seed)
    drawn = (_spec(draw, _train(draw)) for _ in iter(int, 1))
    return _take(drawn, count)


def compiled_specs(seed: int = SEED) -> list[RunSpec]:
    """Return one spec for each of COMPILED."""
    draw = random.Random(seed)
    return [_take((_spec(draw, mode | {"compile": True}) for _ in iter(int, 1)), 1)[0] for mode in COMPILED]


def _take(drawn: Iterator[RunSpec], count: int) -> list[RunSpec]:
    """Return the first count specs that are not too large to run."""
    kept: list[RunSpec] = []
    while len(kept) < count:
        spec = next(drawn)
        limit = MOST_FLOPS / (6 if spec.train.dtype == "float16" else 1)
        if estimate_memory(spec).allocated_bytes <= LARGEST_PEAK and model_flops(spec).per_step <= limit:
            kept.append(spec)
    return kept


def _train(draw: random.Random) -> dict[str, object]:
    recipe: dict[str, object] = {
        "dtype": draw.choice(DTYPES),
        "grad_accum_steps": draw.randint(1, 3),
        "optimizer_impl": draw.choice(("fused", "foreach", "for_loop")),
        "loss": draw.choice(("full", "chunked")),
    }
    if recipe["loss"] == "chunked":
        recipe["loss_chunk_tokens"] = draw.choice((16, 64, 100, 256, 1024))
    every = draw.choice((0, 0, 1, 2))
    if every:
        recipe |= {"checkpointing": "block", "checkpoint_every": every}
    return recipe


def _spec(draw: random.Random, recipe: dict[str, object]) -> RunSpec:
    width = draw.choice((64, 96, 128, 192, 256, 320, 384))
    tokens = _log_uniform(draw, 16, 4096)
    micro = draw.choice((1, 2, 4, 8))
    sequence = max(4, tokens // micro)
    model = ModelSpec(
        n_layer=draw.randint(1, 8),
        n_head=draw.choice([heads for heads in (1, 2, 4, 6) if width % heads == 0]),
        n_embd=width,
        vocab_size=_log_uniform(draw, 64, 50_304),
        context_length=draw.choice((sequence, sequence, 2 * sequence)),
        bias=draw.random() < 0.5,
        tied_embeddings=draw.random() < 0.5,
        dropout=recipe.get("dropout", 0.0),
    )
    train = {"micro_batch_size": micro, "sequence_length": sequence, "compile": False} | recipe
    train.pop("dropout", None)
    return RunSpec(model=model, train=TrainSpec.model_validate(train), device=DeviceSpec(type="cpu"))


def _log_uniform(draw: random.Random, low: int, high: int) -> int:
    return round(low * math.pow(high / low, draw.random()))


def describe(spec: RunSpec) -> Sequence[str]:
    """Return a spec in a few words: its shape, its micro-batch, its mode."""
    model, train = spec.model, spec.train
    loss = f"chunked {spec.loss_chunk_tokens}" if train.loss == "chunked" else "full"
    every = f"every {train.checkpoint_every}" if train.checkpointing == "block" else "-"
    flags = ("bias" if model.bias else "-", "tied" if model.tied_embeddings else "-")
    return (
        f"{model.n_layer}L/{model.n_embd}/{model.n_head}h V{model.vocab_size}",
        f"{train.micro_batch_size}x{spec.sequence_length}",
        str(train.grad_accum_steps),
        train.dtype,
        *flags,
        loss,
        every,
        train.optimizer_impl,
    )
