"""How long estimates take in-process: a peak, a full Estimate, a whole search; and one real step to compare with.

    python benchmarks/estimate_speed.py

Medians over repeats. What is timed is warm: imports and the first call are left out (benchmarks/startup.py has them).
"""

from __future__ import annotations

import time
from functools import partial
from statistics import median
from typing import TYPE_CHECKING

import numpy as np
import torch
from report import table, write_result

from fwplan.estimation.estimate import estimate
from fwplan.estimation.vectorised import peak_allocated
from fwplan.estimators.memory import estimate_memory
from fwplan.machine.target import named_gpu
from fwplan.planning.request import Request
from fwplan.planning.search import search
from fwplan.spec import DeviceSpec, RunSpec
from fwplan.train.batches import Batches
from fwplan.train.step import build_trainer, train_step

if TYPE_CHECKING:
    from collections.abc import Callable

GPU, TOKENS, HOURS = "4070", 10_000_000_000, 168.0
REPEATS = 15
COUNT = 100_000
MANY = f"peak alone, vectorised: each of {COUNT:,}"
_GPT2 = {"n_layer": 12, "n_head": 12, "n_embd": 768}
# One spec a mode: modes differ in how many lines they have, hence in time.
SPECS = {
    "GPT-2 124M, compiled": {"model": _GPT2, "train": {"micro_batch_size": 8, "grad_accum_steps": 64}},
    "GPT-2 124M, eager": {"model": _GPT2, "train": {"micro_batch_size": 8, "compile": False}},
    "GPT-2 124M, chunked, checkpointed": {
        "model": _GPT2,
        "train": {"micro_batch_size": 8, "grad_accum_steps": 64, "loss": "chunked", "checkpointing": "block"},
    },
}
TINY = {
    "model": {"n_layer": 2, "n_head": 2, "n_embd": 64, "vocab_size": 256, "context_length": 64},
    "train": {"micro_batch_size": 4, "dtype": "float32", "compile": False},
}


def seconds_per_call(call: Callable[[], object], calls: int) -> list[float]:
    """Return the mean seconds a call in each of REPEATS rounds of `calls` calls, after one call that is not timed."""
    call()
    rounds = []
    for _ in range(REPEATS):
        begin = time.perf_counter()
        for _ in range(calls):
            call()
        rounds.append((time.perf_counter() - begin) / calls)
    return rounds


def tiny_step() -> Callable[[], object]:
    """Return one real optimizer step of a 120 k parameter model on 4 x 64 tokens, ready to be called again."""
    spec, cpu = RunSpec.model_validate(TINY | {"device": DeviceSpec(type="cpu")}), torch.device("cpu")
    torch.manual_seed(0)
    trainer = build_trainer(spec, cpu)
    tokens = np.random.default_rng(0).integers(0, spec.model.vocab_size, 1000)
    pairs = list(Batches(spec, lambda _split: tokens, cpu).step(0))
    return lambda: train_step(trainer, pairs)


def many_peaks() -> Callable[[], object]:
    """Return the vectorised peak of COUNT drawn shapes."""
    draw, spec = np.random.default_rng(0), RunSpec.model_validate(SPECS["GPT-2 124M, compiled"])
    depths, heads, widths = (step * draw.integers(1, most, COUNT) for step, most in ((1, 48), (1, 32), (64, 64)))
    batches = 2 ** draw.integers(0, 8, COUNT)
    return partial(peak_allocated, spec, spec.model.sized(depths, heads, widths), micro_batch_size=batches)


def main() -> None:
    """Measure, print, and write the result file."""
    target = named_gpu(GPU)
    request = Request(target=target, tokens=TOKENS, hours=HOURS)
    rounds: dict[str, list[float]] = {}
    for name, document in SPECS.items():
        spec = RunSpec.model_validate(document)
        peak, whole = partial(estimate_memory, spec), partial(estimate, spec, target, measurements=[])
        rounds[f"peak alone: {name}"] = seconds_per_call(peak, 200)
        rounds[f"full estimate: {name}"] = seconds_per_call(whole, 200)
    rounds[MANY] = [seconds / COUNT for seconds in seconds_per_call(many_peaks(), 1)]
    rounds["suggest, 10 B tokens, RTX 4070"] = seconds_per_call(partial(search, request, []), 1)
    rounds["one real CPU step, 2L/64, 256 tokens"] = seconds_per_call(tiny_step(), 10)

    medians = {name: median(times) for name, times in rounds.items()}
    step = medians["one real CPU step, 2L/64, 256 tokens"]
    rows = [
        {
            "name": name,
            "median_seconds": seconds,
            "fastest_seconds": min(rounds[name]),
            "slowest_seconds": max(rounds[name]),
            "of_a_real_step": round(seconds / step, 4),
        }
        for name, seconds in medians.items()
    ]
    cells = [
        (name, _time(median(times)), _time(min(times)), _time(max(times)), f"{median(times) / step:.3g}")
        for name, times in rounds.items()
    ]
    print(table(("", "median", "fastest", "slowest", "of a real step"), cells))
    path = write_result("estimate-speed", {"unit": "seconds a call", "repeats": REPEATS, "rows": rows})
    print(f"\nwritten: {path.name}")


def _time(seconds: float) -> str:
    if seconds < 1e-6:
        return f"{seconds * 1e9:.0f} ns"
    return f"{seconds * 1e6:.0f} us" if seconds < 0.001 else f"{seconds * 1e3:.2f} ms"


if __name__ == "__main__":
    main()
