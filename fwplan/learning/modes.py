"""What about a spec decides its memory, in words: the rows of the closing table, and one line for progress."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fwplan.spec import RunSpec, TrainSpec


def modes(spec: RunSpec) -> list[str]:
    """Return the modes that a spec is in; one spec is in several, so a table of them counts it several times."""
    train = spec.train
    return [
        "compiled" if train.compile else "eager",
        train.dtype,
        f"{train.attention} attention",
        f"{train.loss.name} loss",
        *_deviations(spec),
    ]


def _deviations(spec: RunSpec) -> Iterator[str]:
    """Yield what a run does beyond the plainest one."""
    model, train = spec.model, spec.train
    marks = {
        "checkpointed": train.checkpointing != "none",
        "bias": model.architecture == "gpt2" and model.bias,  # elsewhere it is no choice
        "untied embeddings": not model.tied_embeddings,
        "unaligned vocabulary": model.vocab_size % 8 != 0,  # tensor cores take rows of 16 bytes
        "dropout": model.dropout > 0,
        _optimizer(train): (train.optimizer.implementation, train.optimizer.name) != ("fused", "adamw"),
        "accumulating": train.grad_accum_steps > 1,
        "no clipping": train.grad_clip == 0,
        "larger evaluation": (train.eval_micro_batch_size or 0) > train.micro_batch_size,
    }
    yield from (name for name, holds in marks.items() if holds)


def _optimizer(train: TrainSpec) -> str:
    return f"{train.optimizer.implementation} {train.optimizer.label}"


def describe(spec: RunSpec) -> str:
    """Return a spec as one short line: "12L/768 8x1024 bfloat16 compiled chunked/1024 accum 4"."""
    model, train = spec.model, spec.train
    words = [
        f"{model.n_layer}L/{model.n_embd}",
        f"{train.micro_batch_size}x{spec.sequence_length}",
        train.dtype,
        "compiled" if train.compile else "eager",
        *([train.attention] if train.attention != "flash" else []),
        *([f"chunked/{spec.loss_chunk_tokens}"] if train.loss.name == "chunked" else []),
        *([f"ckpt/{train.checkpoint_every}"] if train.checkpointing != "none" else []),
        *([f"accum {train.grad_accum_steps}"] if train.grad_accum_steps > 1 else []),
        *([f"V {model.vocab_size}"] if model.vocab_size % 8 else []),
        *([f"eval {train.eval_micro_batch_size}"] if train.eval_micro_batch_size else []),
    ]
    told = {"checkpointed", "accumulating", "unaligned vocabulary", "larger evaluation"}
    return " ".join([*words, *(mark for mark in _deviations(spec) if mark not in told)])
