"""Specs of every architecture, drawn from a fixed seed: what its own switches, and all of a run's, may change."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

from drawn import AXES, PLAIN, SEED, traced_specs

from fwplan.spec import RunSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Change = dict[str, object]

# What a model of an architecture may have beside the plainest of it, by its drawn shape; one axis a line.
MODELS: dict[str, Callable[[int, int], tuple[tuple[Change, ...], ...]]] = {
    "llama": lambda H, C: (
        tuple({"n_kv_head": G} for G in (1, H // 2, H // 4) if G and H % G == 0),
        ({"qk_norm": True},),
        ({"attention_bias": "qkv"}, {"attention_bias": "all"}),
        ({"mlp_bias": True},),
        ({"n_hidden": 4 * C}, {"n_hidden": 2 * C + 8}),
        ({"head_width": 128}, {"head_width": 40}),
        ({"tied_embeddings": True},),
        ({"dropout": 0.1},),
    ),
    "nanochat": lambda H, _: (
        tuple({"n_kv_head": G} for G in (1, H // 2) if G and H % G == 0),
        ({"window_pattern": "L"}, {"window_pattern": "SL"}, {"window_pattern": "S"}),
    ),
    "pythia": lambda _, C: (
        ({"rotary_share": 1.0}, {"rotary_share": 0.5}),
        ({"n_hidden": 2 * C + 8},),
        ({"tied_embeddings": True},),
        ({"dropout": 0.1},),
    ),
}
MOST_TOKENS, MOST_CHUNKS = 8192, 16  # of a micro-batch: beyond them a trace takes long and shows nothing new
OF_RUNS = [changes for axis, changes in AXES.items() if axis not in {"bias", "tying", "dropout"}]


def _of_runs(architecture: str) -> list[tuple[Change, ...]]:
    if architecture != "nanochat":
        return OF_RUNS
    refused = ({"loss": "chunked"}, {"checkpoint_every": 2}, {"checkpoint_every": 3})  # nanochat has no place for them
    return [tuple(one for one in axis if not any(no.items() <= one.items() for no in refused)) for axis in OF_RUNS]


def specs_of(architecture: str, count: int, seed: int = SEED, device: str = "cuda") -> list[RunSpec]:
    """Return count eager specs of an architecture; the first n of them are the same for every count."""
    if architecture == "gpt2":
        return traced_specs(count, seed)
    draw = random.Random(f"{architecture} {seed}")
    return [_spec(draw, architecture, device) for _ in range(count)]


def _spec(draw: random.Random, architecture: str, device: str) -> RunSpec:
    """Return a run of one to five layers, T 16 to 2048, C 64 to 1536, with a change on each axis or, by half, none."""
    H, C = _shape(draw)
    model = {
        "architecture": architecture, "n_layer": draw.randint(1, 5), "n_head": H, "n_embd": C,
        "vocab_size": draw.choice((65, 1000, 8192, 32_000, 50_304, 151_936)),
    }  # fmt: skip
    train = PLAIN | _changes(draw, _of_runs(architecture))
    while device == "cpu" and train.get("attention") == "efficient":
        train |= {"attention": draw.choice(("flash", "math"))}
    most = min(MOST_TOKENS, MOST_CHUNKS * int(str(train.get("loss_chunk_tokens", MOST_TOKENS))))
    T, B = next((T, B) for T, B in _tokens(draw) if most >= T * B)
    times = int(str(train.pop("eval_times", 0)))
    return RunSpec.model_validate(
        {
            "model": model
            | _changes(draw, MODELS[architecture](H, C))
            | {"context_length": T * draw.choice((1, 1, 2))},
            "train": train | {"micro_batch_size": B, "sequence_length": T, "eval_micro_batch_size": B * times or None},
            "device": {"type": device},
        }
    )


def _shape(draw: random.Random) -> tuple[int, int]:
    heads = draw.choice((1, 2, 3, 4, 6, 8, 12))
    return heads, heads * draw.choice((64, 64, 96, 128))


def _tokens(draw: random.Random) -> Iterator[tuple[int, int]]:
    while True:
        yield draw.choice((16, 64, 128, 256, 512, 1024, 1024, 2048)), draw.choice((1, 2, 4, 8, 16, 32))


def _changes(draw: random.Random, axes: Any) -> Change:
    """Return a change on each axis or, half of the time, none."""
    changed: Change = {}
    for changes in axes:
        if changes and draw.random() < 0.5:
            changed |= draw.choice(changes)
    return changed
