"""Specs drawn from a fixed seed, for every benchmark: CPU steps, traced steps, and runs as people have them on GPUs."""

from __future__ import annotations

import argparse
import math
import os
import random
from itertools import combinations
from typing import TYPE_CHECKING

from fwplan.estimators.memory import estimate_memory
from fwplan.estimators.speed import model_flops
from fwplan.spec import DeviceSpec, ModelSpec, RunSpec, TrainSpec
from fwplan.units import GIB

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from fwplan.fields import Dtype

SEED = 20_240
LARGEST_PEAK = 3 * GIB
MOST_FLOPS = 0.6e12  # of one step: seconds on a laptop's processor
_SLOWER = {"bfloat16": 20, "pure_bfloat16": 20, "float16": 60}  # by so much, where oneDNN does not help
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


def drawing_options(description: str | None, *, count: int, quick: int) -> argparse.Namespace:
    """Return what was asked for of a benchmark that draws specs: their count, the seed, and how many processes."""
    parser = argparse.ArgumentParser(description=(description or "").partition("\n")[0])
    parser.add_argument("--count", type=int, default=count, help="specs to draw (default %(default)s)")
    parser.add_argument("--quick", action="store_true", help=f"{quick} of them")
    parser.add_argument("--seed", type=int, default=SEED, help="draw other specs (default %(default)s)")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="processes (default %(default)s)")
    options = parser.parse_args()
    options.count = quick if options.quick else options.count
    return options


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
        limit = MOST_FLOPS / _SLOWER.get(spec.train.dtype, 1)
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


# What a traced spec may change about the plainest run, one axis a line: the traced specs take each alone, then pairs.
AXES: dict[str, tuple[dict[str, object], ...]] = {
    "dtype": ({"dtype": "float32"}, {"dtype": "float16"}, {"dtype": "pure_bfloat16"}),
    "attention": ({"attention": "efficient"}, {"attention": "math"}),
    "loss": tuple({"loss": "chunked", "loss_chunk_tokens": n} for n in (64, 256, 1024, 4096)),
    "checkpointing": tuple({"checkpointing": "block", "checkpoint_every": n} for n in (1, 2, 3)),
    "bias": ({"bias": True},),
    "tying": ({"tied_embeddings": False},),
    "dropout": ({"dropout": 0.1},),
    "optimizer": (
        {"optimizer_impl": "foreach"},
        {"optimizer_impl": "for_loop"},
        {"optimizer": "sgd"},
        {"optimizer": "sgd", "optimizer_impl": "foreach"},
    ),
    "accumulation": ({"grad_accum_steps": 2}, {"grad_accum_steps": 5}),
    "clipping": ({"grad_clip": 0.0},),
    "evaluation": ({"eval_times": 2}, {"eval_times": 4}),
}
ALONE = [change for changes in AXES.values() for change in changes]
PAIRS = [one | other for axis, following in combinations(AXES.values(), 2) for one in axis for other in following]
PLAIN: dict[str, object] = {"dtype": "bfloat16", "compile": False}
_OF_MODEL = ("bias", "tied_embeddings", "dropout")
MOST_TOKENS, MOST_CHUNKS = 65_536, 128  # of a micro-batch: beyond them a trace takes long and shows nothing new


def traced_specs(count: int, seed: int = SEED) -> list[RunSpec]:
    """Return count eager CUDA specs: each change alone, then by turns pairs of changes and changes on every axis.

    The first n of them are the same for every count; after about 350 the pairs are through and all axes are drawn.
    """
    draw, shapes = random.Random(seed), random.Random(seed + 1)
    recipes, pairs = [{}, *ALONE], draw.sample(PAIRS, len(PAIRS))
    while len(recipes) < count:
        recipes += [*pairs[:1], _every_axis(draw)]
        pairs = pairs[1:]
    return [_traced(shapes, recipe) for recipe in recipes[:count]]


def _every_axis(draw: random.Random) -> dict[str, object]:
    """Return a change on each axis or, half of the time, none."""
    recipe: dict[str, object] = {}
    for changes in AXES.values():
        if draw.random() < 0.5:
            recipe |= draw.choice(changes)
    return recipe


def _traced(draw: random.Random, recipe: dict[str, object]) -> RunSpec:
    """Return the recipe in a drawn shape: T 16 to 2048, C 32 to 2048, V 65 to 100,277, one to twelve layers."""
    while True:
        heads, width = draw.choice((1, 2, 3, 4, 6, 8, 12, 16)), draw.choice((32, 64, 64, 96, 128))
        sequence, micro = draw.choice((16, 64, 128, 256, 512, 1024, 1024, 2048)), draw.choice((1, 2, 4, 8, 16, 32))
        chunk = int(str(recipe.get("loss_chunk_tokens", MOST_TOKENS)))
        if sequence * micro <= min(MOST_TOKENS, MOST_CHUNKS * chunk):
            break
    document = PLAIN | recipe
    model = {key: document.pop(key) for key in _OF_MODEL if key in document}
    times = int(str(document.pop("eval_times", 0)))
    shape = ModelSpec(
        n_layer=draw.randint(1, 12),
        n_head=heads,
        n_embd=heads * width,
        vocab_size=draw.choice((65, 256, 1000, 8192, 32_000, 50_257, 50_304, 50_304, 100_277)),
        context_length=sequence * draw.choice((1, 1, 2)),
        **model,  # type: ignore[arg-type]
    )
    train = TrainSpec.model_validate(
        document
        | {"micro_batch_size": micro, "sequence_length": sequence, "eval_micro_batch_size": micro * times or None}
    )
    return RunSpec(model=shape, train=train, device=DeviceSpec(type="cuda"))


# GPT-2's family as people train it: layers, heads, width.
FAMILY = ((6, 6, 384), (8, 8, 512), (12, 12, 576), (12, 12, 768), (16, 16, 1024), (24, 16, 1024), (20, 20, 1280),
          (36, 20, 1280), (24, 24, 1536), (48, 25, 1600))  # fmt: skip
REALISTIC_PEAKS = range(1 * GIB, 30 * GIB)


def realistic_specs(count: int, seed: int = SEED) -> list[RunSpec]:
    """Return count eager runs of GPT-2's family on one card, with peaks of 1 to 30 GiB by the closed form."""
    draw = random.Random(seed)
    kept: list[RunSpec] = []
    while len(kept) < count:
        spec = _realistic(draw)
        if estimate_memory(spec).allocated_bytes in REALISTIC_PEAKS:
            kept.append(spec)
    return kept


def _realistic(draw: random.Random) -> RunSpec:
    layers, heads, width = draw.choice(FAMILY)
    micro, loss = draw.choice((1, 2, 4, 8, 12, 16, 32)), draw.choice(("full", "full", "chunked"))
    return RunSpec(
        model=ModelSpec(
            n_layer=layers,
            n_head=heads,
            n_embd=width,
            vocab_size=draw.choice((50_304, 50_304, 50_257)),
            bias=draw.random() < 0.3,
        ),
        train=TrainSpec(
            micro_batch_size=micro,
            compile=False,
            dtype=draw.choice(("bfloat16", "bfloat16", "float32")),
            grad_accum_steps=draw.choice((1, 8, 40)),
            loss=loss,  # type: ignore[arg-type]
            loss_chunk_tokens=draw.choice((None, 256, 4096)) if loss == "chunked" else None,
            checkpointing=draw.choice(("none", "none", "block")),
            checkpoint_every=draw.choice((1, 1, 2)),
            optimizer_impl=draw.choice(("fused", "fused", "foreach")),
            eval_micro_batch_size=draw.choice((None, None, 2 * micro)),
        ),
        device=DeviceSpec(type="cuda"),
    )


def one_line(spec: RunSpec) -> str:
    """Return all that a traced spec's memory depends on, in one line."""
    model, train = spec.model, spec.train
    words = [
        f"L{model.n_layer} H{model.n_head} C{model.n_embd} V{model.vocab_size}",
        f"B{train.micro_batch_size} T{spec.sequence_length}/{model.context_length} x{train.grad_accum_steps}",
        train.dtype,
        train.attention,
        f"chunked/{spec.loss_chunk_tokens}" if train.loss == "chunked" else "full",
        f"ckpt/{train.checkpoint_every}" if train.checkpointing == "block" else "",
        train.optimizer_impl,
        "bias" if model.bias else "",
        "" if model.tied_embeddings else "untied",
        f"drop{model.dropout:g}" if model.dropout else "",
        "" if train.grad_clip else "noclip",
        f"eval{train.eval_micro_batch_size}" if train.eval_micro_batch_size else "",
    ]
    return " ".join(word for word in words if word)
