"""Writes docs/cards.md: what to train on cards of 12 to 80 GB, beside what popular notes say of them.

    python benchmarks/cards.py

The same figures as `fwplan suggest --vram 12,16,20,24,48,80 --tokens 10e9`; a test holds the page to them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fwplan.estimation import estimate
from fwplan.estimators.parameters import count_parameters
from fwplan.planning.cards import card_table
from fwplan.planning.request import Request
from fwplan.spec import ModelSpec, RunSpec, TrainSpec
from fwplan.target import nominal_gpu
from fwplan.units import GIB, duration_range, si

if TYPE_CHECKING:
    from fwplan.planning.suggestion import Suggestion

PAGE = Path(__file__).parent.parent / "docs" / "cards.md"
SIZES = (12, 16, 20, 24, 48, 80)
TOKENS, HOURS = 10_000_000_000, 168.0

COLUMNS = ("card", "parameters", "layers / heads / width", "micro-batch x accumulation", "loss", "recomputed",
           "needed, GiB", "left to use, GiB", "tokens", "expected loss, nats", "time")  # fmt: skip


@dataclass(frozen=True)
class Note:
    """What notes on training nanoGPT on FineWeb with consumer GPUs say of a card, and the run that they describe."""

    card: int
    config: str
    says: str
    layers: int
    heads: int
    width: int
    micro_batch: int


NOTES = (
    Note(12, "12 layers, width 384, micro-batch 16", "40.56 M parameters, 10-11 GB", 12, 12, 384, 16),
    Note(12, "12 layers, width 512, micro-batch 16", "125 M parameters, 9-10 GB (with 12 heads: cannot be built)",
         12, 8, 512, 16),
    Note(24, "10 layers, width 640, micro-batch 32", "160 M parameters, 20-22 GB", 10, 10, 640, 32),
)  # fmt: skip


def page() -> str:
    """Return docs/cards.md."""
    requests = [Request(nominal_gpu(size * GIB), TOKENS, HOURS) for size in SIZES]
    rows = "\n".join(_row(found) for found in card_table(requests, []).suggestions)
    notes = "\n".join(_note(note) for note in NOTES)
    return f"""# What to train on which card

Written by `python benchmarks/cards.py`; a test holds it to the code.

{si(TOKENS)} tokens and {HOURS:g} hours at most, context 1024, the lowest expected loss. The card is known by its memory
alone, so the time spans the slowest and the fastest card sold with it; name yours (`--gpu "RTX 4070"`) for a
narrower one. Needed is device memory with the CUDA context, over its whole interval; it fits what the card leaves.

| {" | ".join(COLUMNS)} |
|{"---|" * len(COLUMNS)}
{rows}

## What popular notes say

The same configurations as they are written there, and what is true of them: parameters with tied embeddings and all
positions, needed memory eager with the logits kept (as the notes run them) and compiled with the loss alone.

| card | configuration | the notes | parameters | needed eager, GiB | needed compiled, GiB | fits, compiled |
|---|---|---|---|---|---|---|
{notes}

The notes' other rows: 8 layers of width 512 for 16 to 20 GB are given as 125 M parameters and have
{_parameters(8, 512)}; 12 layers of width 672 for 48 GB are given as 250 to 300 M and have {_parameters(12, 672)}.
"""


def _parameters(layers: int, width: int) -> str:
    return si(count_parameters(ModelSpec(n_layer=layers, n_head=1, n_embd=width)).total)


def _row(found: Suggestion) -> str:
    pick, card = found.pick, found.request.target.nominal_gib
    model, train, made = pick.spec.model, pick.spec.train, pick.estimate
    again = "none" if train.checkpointing == "none" else f"1 in {train.checkpoint_every}"
    cells = (
        f"{card:g} GB",
        si(made.parameters.total),
        f"{model.n_layer} / {model.n_head} / {model.n_embd}",
        f"{train.micro_batch_size} x {train.grad_accum_steps}",
        train.loss,
        again,
        f"{made.use.needed.low / GIB:.1f}-{made.use.needed.high / GIB:.1f}",
        f"{made.available_bytes / GIB:.1f}",
        si(pick.tokens),
        f"{made.loss.low:.2f}-{made.loss.high:.2f}",
        duration_range(*made.total_seconds),
    )
    return f"| {' | '.join(cells)} |"


def _note(note: Note) -> str:
    model = ModelSpec(n_layer=note.layers, n_head=note.heads, n_embd=note.width)
    kept = {"compile": False, "returns_logits": True, "keeps_logits": True}
    card = nominal_gpu(note.card * GIB)
    eager, compiled = (
        estimate(
            RunSpec(model=model, train=TrainSpec(micro_batch_size=note.micro_batch, grad_accum_steps=32, **mode)),
            card,
            measurements=[],
        )
        for mode in (kept, {})
    )
    needed = [f"{made.use.needed.low / GIB:.1f}-{made.use.needed.high / GIB:.1f}" for made in (eager, compiled)]
    verdict = {"fits": "yes", "fits_at_point": "only in the middle of the interval"}.get(compiled.verdict, "no")
    cells = (f"{note.card} GB", note.config, note.says, si(eager.parameters.total), *needed, verdict)
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(f"written: {PAGE}")
