"""PyTorch's own MemTracker, our trace and our closed form beside a real step: how right, and how long each takes.

    python benchmarks/mem_tracker.py            8 specs
    python benchmarks/mem_tracker.py --quick    3 of them

All on the same step of the same bundled model in this process, on CPU. The truth is a real step whose every allocation
torch's profiler reports. torch.distributed._tools.mem_tracker.MemTracker runs as its documentation has it for a model
that need not fit: under FakeTensorMode, two steps, since the first one makes the optimizer's state; once more it runs
on the real tensors. Its time is that of building the fake model and of the two steps, imports left out. Of several
rounds the fastest counts, for every method.

Where MemTracker is off it is so for a reason: under any dispatch mode, which it is, autograd's engine no longer adds
one gradient into another in place but makes a third tensor. For a tied embedding that is 4*V*C bytes, and with few
tokens in the micro-batch the end of the backward, where it stands, is the peak. fwplan's trace does those additions as
real tensors would (fwplan/tracing/engine.py).
"""

from __future__ import annotations

import argparse
import gc
import time
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from cpu_steps import CPU, measure
from drawn import one_line
from estimate_speed import seconds_per_call
from report import error_summary, table, write_result
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.distributed._tools.mem_tracker import MemTracker

import fwplan
from fwplan.estimators.memory import estimate_memory
from fwplan.model.modules import build_model
from fwplan.spec import RunSpec
from fwplan.train.precision import grad_scaler
from fwplan.train.step import Trainer, train_step
from fwplan.units import MIB

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import Tensor

QUICK = 3
STEPS = 2
ROUNDS = 2  # of MemTracker
AGREES = 0.01  # the target, where MemTracker is right
FASTER = 10_000  # the target
_GPT2 = {"n_layer": 12, "n_head": 12, "n_embd": 768}
_SMALL = {"n_layer": 4, "n_head": 4, "n_embd": 256}
_WIDE = {"n_layer": 6, "n_head": 6, "n_embd": 384}
_BF16 = {"dtype": "bfloat16"}
_UNTIED = {"tied_embeddings": False}
# Model, micro-batch, tokens of a sequence, and what else of the training is not plain.
SPECS: dict[str, tuple[dict[str, Any], int, int, dict[str, Any]]] = {
    "plain": (_SMALL, 4, 256, {}),
    "124M, bf16, tied, few tokens": (_GPT2, 4, 64, _BF16),
    "bf16, accumulating": (_SMALL, 4, 256, _BF16 | {"grad_accum_steps": 2}),
    "chunked loss, untied": (_WIDE | _UNTIED, 4, 512, {"loss": "chunked"}),
    "small vocabulary": (_WIDE | {"vocab_size": 512}, 8, 256, {}),
    "checkpointed": (_WIDE | {"vocab_size": 8192}, 4, 512, {"checkpointing": "block"}),
    "bf16, tied, few tokens": (_WIDE, 2, 32, _BF16),
    "bf16, untied, few tokens": (_WIDE | _UNTIED, 2, 32, _BF16),
}


@dataclass(frozen=True)
class Row:
    """One spec: peaks in bytes, times in seconds."""

    name: str
    spec: str
    real_bytes: int
    tracker_bytes: int
    tracker_on_real_bytes: int
    trace_bytes: int
    closed_form_bytes: int
    embedding_bytes: int  # its gradient's: fp32
    real_seconds: float
    tracker_seconds: float
    trace_seconds: float
    closed_form_seconds: float

    @property
    def found(self) -> tuple[int, int, int, int]:
        """The four peaks, as the table has them."""
        return self.tracker_bytes, self.tracker_on_real_bytes, self.trace_bytes, self.closed_form_bytes

    def off(self, peak: int) -> float:
        """Signed relative error of a peak, against the real step's."""
        return peak / self.real_bytes - 1

    @property
    def times_faster(self) -> float:
        """MemTracker's time over the closed form's."""
        return self.tracker_seconds / self.closed_form_seconds


def compare(name: str) -> Row:
    """Return the row of one of SPECS."""
    model, micro, sequence, train = SPECS[name]
    document = {
        "model": {"context_length": sequence} | model,
        "train": {"micro_batch_size": micro, "dtype": "float32", "compile": False} | train,
        "device": {"type": "cpu"},
    }
    spec = RunSpec.model_validate(document)
    real = measure(spec)
    tracked, seconds = zip(*(_under_fake(spec) for _ in range(ROUNDS)), strict=True)
    trace = fwplan.trace(spec)
    return Row(
        name=name,
        spec=one_line(spec),
        real_bytes=real.measured_bytes,
        tracker_bytes=tracked[0],
        tracker_on_real_bytes=tracked_peak(spec),
        trace_bytes=trace.peak_allocated_bytes,
        closed_form_bytes=real.predicted_bytes,
        embedding_bytes=4 * spec.model.vocab_size * spec.model.n_embd,
        real_seconds=real.seconds,
        tracker_seconds=round(min(seconds), 3),
        trace_seconds=round(trace.seconds, 3),
        closed_form_seconds=min(seconds_per_call(partial(estimate_memory, spec), 50)),
    )


def _under_fake(spec: RunSpec) -> tuple[int, float]:
    gc.collect()
    begin = time.perf_counter()
    with FakeTensorMode():
        peak = tracked_peak(spec)
    return peak, time.perf_counter() - begin


def tracked_peak(spec: RunSpec) -> int:
    """Return MemTracker's peak of two steps, in bytes; on fake tensors inside FakeTensorMode, else on real ones."""
    model = build_model(spec)
    trainer = Trainer(spec, CPU, model, spec.train.optimizer.build(model), grad_scaler(spec.train.dtype, "cpu"))
    tracker = MemTracker()
    tracker.track_external(trainer.model, trainer.optimizer)
    with tracker:
        for _ in range(STEPS):
            train_step(trainer, _batches(spec, tracker))
    return int(tracker.get_tracker_snapshot("peak")[CPU]["Total"])


def _batches(spec: RunSpec, tracker: MemTracker) -> Iterator[tuple[Tensor, Tensor]]:
    shape = (spec.train.micro_batch_size, spec.sequence_length)
    for _ in range(spec.train.grad_accum_steps):
        tracker.reset_mod_stats()  # else it refuses a module's second call
        yield torch.randint(spec.model.vocab_size, shape), torch.randint(spec.model.vocab_size, shape)


def main() -> None:
    """Compare, print, and write the result file."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help=f"{QUICK} specs")
    options = parser.parse_args()
    rows = [compare(name) for name in list(SPECS)[: QUICK if options.quick else None]]
    right = [row for row in rows if abs(row.off(row.tracker_bytes)) <= AGREES]
    summary = {
        "mem_tracker": error_summary(row.off(row.tracker_bytes) for row in rows),
        "trace": error_summary(row.off(row.trace_bytes) for row in rows),
        "closed_form": error_summary(row.off(row.closed_form_bytes) for row in rows),
        "closed_form_where_mem_tracker_is_right": error_summary(
            row.closed_form_bytes / row.tracker_bytes - 1 for row in right
        ),
    }
    times_faster = [round(row.times_faster) for row in rows]
    holds = summary["closed_form_where_mem_tracker_is_right"].get("worst", 0) <= AGREES and min(times_faster) >= FASTER
    print_rows(rows)
    print_summary(summary, times_faster)
    verdict = "held" if holds else "MISSED"
    print(f"targets: within {AGREES:.0%} where MemTracker is right, {FASTER:,} times faster: {verdict}")
    body = {
        "unit": "bytes of live tensors at the peak of a step, on CPU; seconds, the fastest of a few rounds",
        "targets": {"agreement": AGREES, "times_faster": FASTER, "held": holds},
        "summary": summary,
        "least_times_faster": min(times_faster),
        "rows": [asdict(row) | {"times_faster": round(row.times_faster)} for row in rows],
    }
    print(f"\nwritten: {write_result('mem-tracker-quick' if options.quick else 'mem-tracker', body).name}")


def print_rows(rows: Sequence[Row]) -> None:
    """Print the table, and why MemTracker is off where it is."""
    print(
        "Peak of a real CPU step; the error of each method; what each takes; MemTracker's time over the closed form's\n"
    )
    header = (
        "",
        "real, MiB",
        "MemTracker",
        "on real tensors",
        "trace",
        "closed form",
        "MemTracker",
        "trace",
        "closed form",
        "ratio",
    )
    cells = [
        (
            row.name,
            f"{row.real_bytes / MIB:.1f}",
            *(f"{row.off(peak):+.2%}" for peak in row.found),
            f"{row.tracker_seconds:.2f} s",
            f"{row.trace_seconds:.2f} s",
            f"{row.closed_form_seconds * 1e6:.0f} us",
            f"{row.times_faster:,.0f}",
        )
        for row in rows
    ]
    print(table(header, cells))
    for row in rows:
        if row.off(row.tracker_bytes) > AGREES:
            excess = (row.tracker_bytes - row.real_bytes) / MIB
            print(
                f"\n{row.name}: MemTracker has {excess:.1f} MiB too many; the embedding's gradient is "
                f"{row.embedding_bytes / MIB:.1f} MiB.\n"
                "    Under its dispatch mode autograd adds gradients into a new tensor, not in place."
            )


def print_summary(summary: dict[str, dict[str, float | int]], times_faster: Sequence[int]) -> None:
    """Print the size of the errors, and how many times faster the closed form is."""
    cells = [
        (name.replace("_", " "), f"{s['rows']}", f"{s['median']:.2%}", f"{s['worst']:.2%}")
        for name, s in summary.items()
        if s["rows"]
    ]
    print("\nSize of the error\n")
    print(table(("", "rows", "median", "worst"), cells))
    print(f"\nMemTracker takes {min(times_faster):,} to {max(times_faster):,} times as long as the closed form")


if __name__ == "__main__":
    main()
