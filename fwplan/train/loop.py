"""The training loop: batches in, steps, evaluations and checkpoints out, and what the steps took."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from fwplan.errors import FwplanError
from fwplan.files import write_json
from fwplan.train.batches import Batches
from fwplan.train.checkpoint import Progress, load_checkpoint, save_checkpoint
from fwplan.train.device import check_supported, clear_errors
from fwplan.train.evaluate import evaluate
from fwplan.train.interrupt import DeferredInterrupt, InterruptedAtSafePointError
from fwplan.train.log import Display, note
from fwplan.train.measure import StepMeter
from fwplan.train.metrics import Metrics
from fwplan.train.run_dir import CHECKPOINT, LOG, METRICS, RESULT, open_run_dir
from fwplan.train.schedule import Schedule, learning_rate, resolve_schedule
from fwplan.train.step import Trainer, build_trainer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from torch import Tensor

    from fwplan.data.shards import TokenShards
    from fwplan.learning.measurement import Measurement
    from fwplan.spec import RunSpec


@dataclass(frozen=True)
class TrainResult:
    """What a call of train() left behind. Losses are those of the whole run, None where none was taken."""

    measurement: Measurement | None  # of this call's steps; None when they were too few to measure
    first_loss: float | None
    last_loss: float | None
    first_val_loss: float | None  # of the untrained model
    last_val_loss: float | None
    steps_done: int  # of the whole run
    run_dir: Path


def train(
    spec: RunSpec,
    shards: TokenShards,
    run_dir: Path,
    *,
    device: torch.device,
    predicted_allocated_bytes: int,
    steps: int | None = None,
    resume: bool = False,
    quiet: bool = False,
) -> TrainResult:
    """Train the spec's model on the shards in run_dir and return what came out.

    Args:
        spec: the run; its horizon shapes the learning rate whatever `steps` says.
        shards: the prepared tokens.
        run_dir: gets spec.json, metrics.jsonl, log.txt, last.pt and result.json.
        device: what trains.
        predicted_allocated_bytes: the estimate's peak, kept beside the measured one.
        steps: at most so many optimizer steps in this call; None: to the horizon.
        resume: go on with the run in run_dir, bit for bit as if it had not stopped (on CPU).
        quiet: say nothing on stderr.

    Raises:
        FwplanError: the spec, the data, the directory or the device cannot serve it, or the loss is no longer finite.
        KeyboardInterrupt: Ctrl-C, SIGTERM or SIGHUP; a checkpoint at the last completed step is saved first.
    """
    check_supported(spec, device)
    schedule = resolve_schedule(spec)
    _check_data(spec, shards)
    if steps is not None and steps < 1:
        raise FwplanError(f"cannot train for {steps} steps", hint="give --steps a positive number")
    say = partial(note, quiet=quiet)
    with open_run_dir(run_dir, spec, resume=resume, note=say), clear_errors(spec):
        torch.manual_seed(spec.train.seed)
        trainer = build_trainer(spec, device)
        saved = _load(run_dir, trainer, shards)
        done = 0 if saved is None else saved.step
        end = schedule.steps if steps is None else min(schedule.steps, done + steps)
        with (
            Metrics(run_dir / METRICS, keep_up_to=None if saved is None else saved.step) as metrics,
            Display(start=done, end=end, quiet=quiet, log=run_dir / LOG) as display,
            DeferredInterrupt() as interrupt,
            Batches(spec, shards.sequence, device, ends=shards.ends) as batches,
        ):
            run = _Run(
                trainer, schedule, batches, shards.tokens("train"), run_dir, metrics, display, interrupt, done, end
            )
            if resume:
                display.note(f"resuming after step {done}" if saved else "no checkpoint yet: starting from step 0")
            try:
                run.to_the_end()
            except InterruptedAtSafePointError:
                run.save()
                display.note(f"saved after step {run.step}; go on with --resume")
                raise KeyboardInterrupt from None  # itself: of a subclass Python would make exit code 1, not 130
            result = run.result(predicted_allocated_bytes)
        if run.step > done or not (run_dir / RESULT).exists():  # a run that was complete keeps its record
            write_json(run_dir / RESULT, _to_json(result))
    return result


class _Run:
    """A run under way: `step` optimizer steps are complete."""

    def __init__(
        self,
        trainer: Trainer,
        schedule: Schedule,
        batches: Batches,
        train_tokens: int,
        run_dir: Path,
        metrics: Metrics,
        display: Display,
        interrupt: DeferredInterrupt,
        step: int,
        end: int,
    ) -> None:
        self.trainer = trainer
        self.schedule = schedule
        self.batches = batches
        self.train_tokens = train_tokens
        self.run_dir = run_dir
        self.metrics = metrics
        self.display = display
        self.interrupt = interrupt
        self.meter = StepMeter(trainer)
        self.step = step
        self.end = end

    def to_the_end(self) -> None:
        """Train up to `end`, and be evaluated and saved there."""
        self._evaluate_if_due()
        while self.step < self.end:
            self._train_one_step()
            self._evaluate_if_due()
            if self.step == self.end or self.step % self.schedule.checkpoint_interval == 0:
                self.save()
            self.interrupt.check()

    def _train_one_step(self) -> None:
        rate = learning_rate(self.schedule, self.step)
        for group in self.trainer.optimizer.param_groups:
            group["lr"] = rate * group.get("rate_ratio", 1.0)  # to the rate that the spec calls learning_rate
        loss, seconds = self.meter.run(self.batches.step(self.step))
        self._require_finite(loss, f"the loss of step {self.step + 1}")
        self.step += 1
        tokens_per_step = self.trainer.spec.tokens_per_step
        self.metrics.write(
            {
                "step": self.step,
                "loss": loss,
                "lr": rate,
                "tokens": self.step * tokens_per_step,
                "epoch": self.step * tokens_per_step / self.train_tokens,
                "step_seconds": seconds,
                "tokens_per_second": tokens_per_step / seconds,
            }
        )
        self.display.step(self.step, loss, tokens_per_step / seconds)

    def _evaluate_if_due(self) -> None:
        """Evaluate at every interval and at the end, unless an evaluation at this step is on record already."""
        due = self.step == self.end or self.step % self.schedule.eval_interval == 0
        if not due or self.step in self.metrics.evaluated:
            return
        val_loss = evaluate(self.trainer, self._interruptible(self.batches.validation()))
        self._require_finite(val_loss, f"the validation loss after step {self.step}")
        self.metrics.write({"step": self.step, "val_loss": val_loss})
        self.display.evaluation(self.step, val_loss)

    def _interruptible(self, batches: Iterator[tuple[Tensor, Tensor]]) -> Iterator[tuple[Tensor, Tensor]]:
        for batch in batches:
            self.interrupt.check()
            yield batch

    def save(self) -> None:
        """Save a checkpoint, unless the weights have become useless: then the last good one stays."""
        norm = torch.nn.utils.get_total_norm(self.trainer.model.parameters()).item()
        self._require_finite(norm, f"the norm of the weights after step {self.step}")
        self.metrics.sync()
        save_checkpoint(
            self.run_dir / CHECKPOINT,
            self.trainer,
            Progress(step=self.step, train_tokens=self.train_tokens, best_val_loss=self.metrics.best_val_loss),
        )

    def _require_finite(self, value: float, what: str) -> None:
        if math.isfinite(value):
            return
        kept = f"the last checkpoint, {CHECKPOINT}, is kept" if (self.run_dir / CHECKPOINT).exists() else "none is kept"
        raise FwplanError(
            f"{what} is {value}: training has diverged; {kept}",
            where=str(self.run_dir),
            hint="start a new run with a lower learning_rate or more warmup_steps",
        )

    def result(self, predicted_allocated_bytes: int) -> TrainResult:
        """Return what train() returns."""
        return TrainResult(
            measurement=self.meter.measurement(predicted_allocated_bytes),
            first_loss=self.metrics.first_loss,
            last_loss=self.metrics.last_loss,
            first_val_loss=self.metrics.first_val_loss,
            last_val_loss=self.metrics.last_val_loss,
            steps_done=self.step,
            run_dir=self.run_dir,
        )


def _check_data(spec: RunSpec, shards: TokenShards) -> None:
    for split in ("train", "val"):
        shards.require(split, spec.sequence_length)
    if shards.vocab_size is not None and shards.vocab_size > spec.model.vocab_size:
        raise FwplanError(
            f"the data was made with a vocabulary of {shards.vocab_size} tokens, "
            f"but model.vocab_size is {spec.model.vocab_size}",
            where="model.vocab_size",
            hint=f"use a vocab_size of at least {shards.vocab_size}, or data made with this model's tokenizer",
        )


def _load(run_dir: Path, trainer: Trainer, shards: TokenShards) -> Progress | None:
    """Return how far the run's checkpoint is, after putting it into the trainer; None where there is none yet."""
    path = run_dir / CHECKPOINT
    if not path.exists():
        return None
    saved = load_checkpoint(path, trainer)
    if saved.train_tokens != shards.tokens("train"):
        raise FwplanError(
            f"this run was trained on {saved.train_tokens:,} tokens, and the data now holds {shards.tokens('train'):,}",
            where=str(path),
            hint="resume with the data that the run was started on, or start a new run",
        )
    return saved


def _to_json(result: TrainResult) -> dict[str, Any]:
    document = {key: value for key, value in vars(result).items() if key not in ("measurement", "run_dir")}
    measurement = None if result.measurement is None else result.measurement.model_dump(mode="json")
    return {**document, "measurement": measurement}
