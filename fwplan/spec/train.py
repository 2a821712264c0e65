"""How a model is trained."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from fwplan.fields import Amount, Count, Dtype, Spec
from fwplan.optimizers.adamw import AdamW
from fwplan.optimizers.optimizers import AnyOptimizer  # noqa: TC001  # pydantic reads it
from fwplan.parallel.none import Alone
from fwplan.parallel.ways import AnyParallel  # noqa: TC001  # pydantic reads it
from fwplan.spec.flat import flat, nested
from fwplan.spec.loss import AnyLoss, FullLoss
from fwplan.spec.schedule import AnySchedule, Cosine


class TrainSpec(Spec):
    """The recipe of a run. `grad_accum_steps` is per process; give max_steps or max_tokens, not both.

    The parts may be given by name alone, and their fields by the flat names of version 1 (see flat.py):
    TrainSpec(micro_batch_size=8, optimizer="sgd", learning_rate=0.1).
    """

    micro_batch_size: Count  # B: sequences per forward on one device
    sequence_length: Count | None = None  # tokens per training sequence; None: the model's context_length
    grad_accum_steps: Count = 1  # micro-batches per step and process
    dtype: Dtype = "bfloat16"  # bfloat16 and float16: autocast over fp32 weights; pure_bfloat16: the weights too
    tf32: bool = False  # fp32 products on TF32 tensor cores (Ampere on): set_float32_matmul_precision("high")
    compile: bool = True  # torch.compile
    attention: Literal["flash", "efficient", "math"] = "flash"
    loss: AnyLoss = FullLoss()
    checkpointing: Literal["none", "block"] = "none"  # "block": recomputed in backward
    checkpoint_every: Count = 1  # with checkpointing "block": every n-th block is recomputed
    optimizer: AnyOptimizer = AdamW()
    expandable_segments: bool = False  # PYTORCH_ALLOC_CONF=expandable_segments:True; CUDA on Linux
    grad_clip: Amount = 1.0  # 0: no clipping
    eval_micro_batch_size: Count | None = None  # None: micro_batch_size
    parallel: AnyParallel = Alone()
    max_steps: Count | None = None  # this or max_tokens
    max_tokens: Count | None = None  # steps are rounded up
    schedule: AnySchedule = Cosine()
    eval_interval: Count | None = None  # steps between evaluations; None: a twentieth of the run, at most 1,000
    eval_batches: Count = 20  # micro-batches per evaluation
    checkpoint_interval: Count | None = None  # steps between saved checkpoints; None: eval_interval
    # "windows": sequences drawn at random places; "documents": whole ones in random order, every token once an epoch
    shuffle: Literal["windows", "documents"] = "windows"
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 1337

    @model_validator(mode="before")
    @classmethod
    def _flat_names(cls, values: Any) -> Any:
        return nested(values) if isinstance(values, dict) else values

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.max_steps is not None and self.max_tokens is not None:
            raise ValueError("give max_steps or max_tokens, not both")
        peak, least = self.optimizer.learning_rate, self.schedule.min_lr
        if least is not None and least > peak:
            raise ValueError(f"min_lr {least:g} is above learning_rate {peak:g}: it would rise")
        return self

    def but(self, **changes: Any) -> Self:
        """Return the same recipe with these fields, by flat names, otherwise.

        Raises:
            ValidationError: there is no such recipe.
        """
        return type(self).model_validate(flat(self) | changes)
