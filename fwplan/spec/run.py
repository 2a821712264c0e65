"""What a run is: model, training recipe, data and device, as frozen and checked values.

These names are the contract that spec.json, plan.json and the Python API share. Only `model` (its depth, heads and
width) and `train.micro_batch_size` are required; every other field states its default, or defaults.py what None means.
Unknown keys are refused.
"""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import model_validator

from fwplan.fields import Spec
from fwplan.model.architectures import AnyArchitecture  # noqa: TC001  # pydantic reads it
from fwplan.spec import defaults
from fwplan.spec.data import DataSpec  # noqa: TC001  # pydantic reads it
from fwplan.spec.device import DeviceSpec  # noqa: TC001  # pydantic reads it
from fwplan.spec.train import TrainSpec  # noqa: TC001  # pydantic reads it

SCHEMA_VERSION = 2


class RunSpec(Spec):
    """A whole run: the model, how it is trained, on what data, on what device."""

    schema_version: Literal[2] = 2
    model: AnyArchitecture
    train: TrainSpec
    device: DeviceSpec | None = None
    data: DataSpec | None = None

    @model_validator(mode="before")
    @classmethod
    def _version_1_too(cls, document: Any) -> Any:
        """Take a document of version 1, whose recipe's flat names TrainSpec takes either way."""
        if isinstance(document, dict) and type(document.get("schema_version")) is int:
            return document | ({"schema_version": SCHEMA_VERSION} if document["schema_version"] == 1 else {})
        return document

    @model_validator(mode="after")
    def _sequence_fits_context(self) -> Self:
        if self.sequence_length > self.model.context_length:
            raise ValueError(
                f"train.sequence_length {self.sequence_length} exceeds model.context_length {self.model.context_length}"
            )
        return self

    @model_validator(mode="after")
    def _recipe_suits_the_model(self) -> Self:
        misfit = self.model.misfit(self.train)
        if misfit is not None:
            raise ValueError(misfit)
        return self

    @model_validator(mode="after")
    def _warm_up_ends(self) -> Self:
        warmup, steps = self.train.schedule.warmup_steps or 0, self.steps
        if steps is not None and warmup > steps:
            raise ValueError(f"train.warmup_steps {warmup} go beyond the end: the run has {steps} steps")
        return self

    @property
    def sequence_length(self) -> int:
        """Tokens per training sequence (T)."""
        return defaults.sequence_length(self)

    @property
    def loss_chunk_tokens(self) -> int:
        """Tokens per chunk of a chunked loss; never more than a micro-batch holds."""
        return min(defaults.chunk_tokens(self.train), self.tokens_per_micro_batch)

    @property
    def widens_logits(self) -> bool:
        """Whether the loss is taken of the logits in fp32."""
        return defaults.loss_dtype(self.train.loss) == "float32"

    @property
    def materialises_scores(self) -> bool:
        """Whether attention holds its scores, (B, H, T, T): "math" does, and on CPU whatever has dropout."""
        on_cpu = self.device is not None and self.device.type == "cpu"
        return self.train.attention == "math" or (on_cpu and self.model.dropout > 0)

    @property
    def groups_in_kernel(self) -> bool:
        """Whether attention's kernel takes fewer key-value heads than heads: FlashAttention does, and a CPU's kernel.

        Where it does not, each key-value head is repeated for all heads that share it. torch's efficient kernel takes
        none (check_batch_size_and_num_heads_dense, aten/src/ATen/native/transformers/cuda/sdp_utils.cpp).
        """
        device = "cuda" if self.device is None else self.device.type
        takes = device == "cpu" or (device == "cuda" and self.train.dtype != "float32")
        return takes and self.train.attention == "flash" and not self.materialises_scores

    @property
    def tokens_per_micro_batch(self) -> int:
        """B*T."""
        return self.train.micro_batch_size * self.sequence_length

    @property
    def tokens_per_step(self) -> int:
        """Tokens per optimizer step over all processes."""
        return self.tokens_per_micro_batch * self.train.grad_accum_steps * self.train.parallel.world_size

    @property
    def steps(self) -> int | None:
        """Optimizer steps, rounded up; None where neither max_steps nor max_tokens is given."""
        if self.train.max_tokens is not None:
            return -(-self.train.max_tokens // self.tokens_per_step)
        return self.train.max_steps

    @property
    def eval_interval(self) -> int | None:
        """Steps between evaluations: as given, else a twentieth of the run, at most 1,000; None without a horizon."""
        if self.train.eval_interval is not None or self.steps is None:
            return self.train.eval_interval
        return defaults.eval_interval(self.steps)

    @property
    def total_tokens(self) -> int | None:
        """Tokens that the run trains on: steps * tokens_per_step; None where the horizon is unknown."""
        return None if self.steps is None else self.steps * self.tokens_per_step

    def but(self, **changes: Any) -> Self:
        """Return the same run with these fields of its recipe, by flat names (see flat.py), otherwise.

        Raises:
            ValidationError: there is no such recipe.
        """
        return self.model_copy(update={"train": self.train.but(**changes)})
