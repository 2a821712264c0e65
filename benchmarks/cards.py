"""Writes docs/cards.md: what to train on cards of 8 to 80 GB, beside what popular notes say of them.

    python benchmarks/cards.py

The same figures as `fwplan suggest --vram 8,12,16,20,24,40,48,80 --tokens 10e9`; a test holds the page to them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fwplan.estimation.estimate import estimate
from fwplan.estimators.parameters import count_parameters
from fwplan.estimators.speed import middle
from fwplan.machine.target import nominal_gpu
from fwplan.planning.cards import card_table
from fwplan.planning.request import Request
from fwplan.planning.search import search
from fwplan.spec import ModelSpec, RunSpec, TrainSpec
from fwplan.units import GIB, duration_range, si

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fwplan.estimation.estimate import Estimate
    from fwplan.planning.suggestion import Suggestion

PAGE = Path(__file__).parent.parent / "docs" / "cards.md"
SIZES = (8, 12, 16, 20, 24, 40, 48, 80)
TOKENS, HOURS = 10_000_000_000, 168.0

COLUMNS = ("card", "parameters", "layers / heads / width", "micro-batch x accumulation", "loss", "recomputed",
           "needed, GiB", "left to use, GiB", "tokens", "expected loss, nats", "time")  # fmt: skip


@dataclass(frozen=True)
class Note:
    """What notes on training nanoGPT on FineWeb with consumer GPUs say of a card, and the run that they describe.

    says: of parameters, memory, tokens, loss and time; what they leave open is "-".
    """

    card: int
    config: str
    says: tuple[str, str, str, str, str]
    layers: int
    heads: int
    width: int
    micro_batch: int
    grad_accum_steps: int = 32
    steps: int = 20_000

    def spec(self, **mode: object) -> RunSpec:
        """Return the run."""
        model = ModelSpec(n_layer=self.layers, n_head=self.heads, n_embd=self.width)
        fields = {"micro_batch_size": self.micro_batch, "grad_accum_steps": self.grad_accum_steps} | mode
        return RunSpec(model=model, train=TrainSpec(max_steps=self.steps, **fields))


NOTES = (
    Note(8, "6 layers, width 384, micro-batch 32", ("84 M", "7-8", "-", "-", "-"), 6, 6, 384, 32, 16),
    Note(12, "12 layers, width 384, micro-batch 16, 20,000 steps",
         ("40.56 M", "10-11, safe", "10.5 B", "beats GPT-2 124M", "15-20 h (RTX 4070)"), 12, 12, 384, 16),
    Note(12, "12 layers, width 512, micro-batch 16", ("125 M", "9-10", "-", "-", "-"), 12, 8, 512, 16),
    Note(16, "8 layers, width 512, for 16 to 20 GB", ("125 M", "-", "-", "-", "-"), 8, 8, 512, 16),
    Note(24, "10 layers, width 640, micro-batch 32, 50,000 steps", ("160 M", "20-22", "83 B", "-", "-"),
         10, 10, 640, 32, 16, 50_000),
    Note(48, "12 layers, width 672", ("250-300 M", "-", "-", "-", "-"), 12, 12, 672, 32, 16),
    Note(80, "12 layers, width 768, micro-batch 32", ("350 M (GPT-2 medium)", "-", "-", "-", "-"), 12, 12, 768, 32, 16),
)  # fmt: skip
BESIDE = ("card", "", "configuration", "parameters", "needed, GiB", "tokens", "expected loss, nats", "time")


def page() -> str:
    """Return docs/cards.md."""
    rows = "\n".join(_row(found) for found in card_table([_request(size) for size in SIZES], []).suggestions)
    beside = "\n".join(row for note in NOTES for row in _beside(note))
    return f"""# What to train on which card

Written by `python benchmarks/cards.py`; a test holds it to the code.

{si(TOKENS)} tokens and {HOURS:g} hours at most, context 1024, the lowest expected loss. The card is known by its memory
alone, so the time spans the slowest and the fastest card sold with it, and the pick is the best in the middle of that.
A 40 GB card is always an A100; one of 48 GB may be a slow Quadro, hence its smaller model. Name yours
(`--gpu "RTX 4070"`) for a narrower answer. Needed is device memory with the CUDA context, over its whole interval; it
fits what the card leaves.

{_head(COLUMNS)}
{rows}

## Beside what popular notes say

What notes on nanoGPT and FineWeb advise, what is true of the same configuration, and what fwplan picks for the same
card, tokens and time. True is first as the notes run it (eager, the logits kept), then compiled with the loss alone.
Parameters are with tied embeddings and all positions; "-" is left open there. Where the notes give no micro-batch, 16
sequences of 1,024 tokens are assumed (32 from 48 GB on); where they give no steps, 20,000 of 524,288 tokens. 512 is not
divisible by the notes' 12 heads, so that row has 8. They name no card for the first configuration and the last: the
first is set on the 8 GB that its own figure asks for, the last on 80 GB (GPT-2 medium is 24 layers of width 1,024,
{si(count_parameters(ModelSpec(n_layer=24, n_head=16, n_embd=1024)).total)}).

{_head(BESIDE)}
{beside}
"""


def _head(columns: tuple[str, ...]) -> str:
    return f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}"


def _request(card: int, tokens: int = TOKENS, hours: float = HOURS) -> Request:
    return Request(nominal_gpu(card * GIB), tokens, hours)


def _beside(note: Note) -> Iterator[str]:
    """Yield a note's row, what is true of it twice, and the pick for the same card, tokens and time."""
    target = nominal_gpu(note.card * GIB)
    kept = {"compile": False, "returns_logits": True, "keeps_logits": True}
    eager, compiled = (estimate(note.spec(**mode), target, measurements=[]) for mode in (kept, {}))
    yield _cells(f"{note.card} GB", "notes", note.config, *note.says)
    yield _cells("", "true, eager", "", *_true(eager))
    yield _cells("", "true, compiled", "", *_true(compiled))
    tokens, hours = compiled.spec.total_tokens, middle(compiled.total_seconds) / 3600
    pick = search(_request(note.card, tokens, hours), []).pick
    train, model = pick.spec.train, pick.spec.model
    config = (
        f"{model.n_layer} layers, width {model.n_embd}, micro-batch {train.micro_batch_size}, {train.loss.name} loss"
    )
    yield _cells("", "**fwplan**", config, *_true(pick.estimate))


def _true(made: Estimate) -> tuple[str, str, str, str, str]:
    fits = {"fits": "fits", "fits_at_point": "may fit"}.get(made.verdict, "does not fit")
    return (
        si(made.parameters.total),
        f"{made.use.needed.low / GIB:.1f}-{made.use.needed.high / GIB:.1f}: {fits}",
        si(made.spec.total_tokens),
        f"{made.loss.low:.2f}-{made.loss.high:.2f}",
        duration_range(*made.total_seconds),
    )


def _cells(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _row(found: Suggestion) -> str:
    pick, card = found.pick, found.request.target.nominal_gib
    model, train, made = pick.spec.model, pick.spec.train, pick.estimate
    again = "none" if train.checkpointing == "none" else f"1 in {train.checkpoint_every}"
    cells = (
        f"{card:g} GB",
        si(made.parameters.total),
        f"{model.n_layer} / {model.n_head} / {model.n_embd}",
        f"{train.micro_batch_size} x {train.grad_accum_steps}",
        train.loss.name,
        again,
        f"{made.use.needed.low / GIB:.1f}-{made.use.needed.high / GIB:.1f}",
        f"{made.available_bytes / GIB:.1f}",
        si(pick.tokens),
        f"{made.loss.low:.2f}-{made.loss.high:.2f}",
        duration_range(*made.total_seconds),
    )
    return _cells(*cells)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(f"written: {PAGE}")
