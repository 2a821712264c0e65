"""What None means: every default that follows from other fields, decided here and nowhere else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from fwplan.spec.loss import ChunkedLoss, FullLoss
    from fwplan.spec.run import RunSpec
    from fwplan.spec.train import TrainSpec

CHUNK_TOKENS = 1024


def sequence_length(spec: RunSpec) -> int:
    """Return the tokens of a training sequence: the model's longest, unless it is said."""
    return spec.train.sequence_length or spec.model.context_length


def chunk_tokens(train: TrainSpec) -> int:
    """Return the tokens of a chunk of the loss, as far as a micro-batch holds so many."""
    return train.loss.chunk_tokens or CHUNK_TOKENS


def loss_dtype(loss: FullLoss | ChunkedLoss) -> Literal["float32", "logits"]:
    """Return what a loss is taken in: where nanoGPT's forward returns the logits, in theirs."""
    return loss.dtype or ("logits" if loss.returns_logits else "float32")


def eval_micro_batch_size(train: TrainSpec, micro_batch_size: Any = None) -> Any:
    """Return the sequences of an evaluation's forward: a training step's, which may be an array, unless it is said."""
    return train.eval_micro_batch_size or (train.micro_batch_size if micro_batch_size is None else micro_batch_size)


def warmup_steps(steps: int) -> int:
    """Return the steps of the learning rate's rise: 2 % of the run, at most 2,000."""
    return min(2000, max(1, steps // 50))


def min_lr(learning_rate: float) -> float:
    """Return the last step's learning rate: a tenth of the peak, as GPT-3 and nanoGPT do."""
    return learning_rate / 10


def eval_interval(steps: int) -> int:
    """Return the steps between evaluations: a twentieth of the run, at most 1,000."""
    return max(1, min(1000, steps // 20))


def checkpoint_interval(eval_interval: int) -> int:
    """Return the steps between saved checkpoints: those between evaluations."""
    return eval_interval
