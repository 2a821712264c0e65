"""What a run is: model, training recipe, data and device, as frozen and checked values.

These names are the contract that spec.json, plan.json and the Python API share. Only `model` (its depth, heads and
width) and `train.micro_batch_size` are required; every other field states its default here. Unknown keys are refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from fwplan.errors import FwplanError
from fwplan.fields import Bytes, Count, Dtype, Spec
from fwplan.model.architectures import AnyArchitecture  # noqa: TC001  # pydantic reads it
from fwplan.model.gpt2 import GPT2

if TYPE_CHECKING:
    from collections.abc import Iterable

SCHEMA_VERSION = 1
ModelSpec = GPT2  # its name where there was no other architecture


class TrainSpec(Spec):
    """The recipe of a run. `grad_accum_steps` is per process; give max_steps or max_tokens, not both."""

    micro_batch_size: Count  # B: sequences per forward on one device
    sequence_length: Count | None = None  # tokens per training sequence; None: the model's context_length
    grad_accum_steps: Count = 1
    dtype: Dtype = "bfloat16"  # bfloat16 and float16: autocast over fp32 weights
    tf32: bool = False  # fp32 products on TF32 tensor cores: torch.set_float32_matmul_precision("high")
    compile: bool = True  # torch.compile
    attention: Literal["flash", "efficient", "math"] = "flash"
    loss: Literal["full", "chunked"] = "full"
    loss_chunk_tokens: Count | None = None  # None: DEFAULT_LOSS_CHUNK_TOKENS
    returns_logits: bool = False  # forward returns (logits, loss), as nanoGPT's does
    keeps_logits: bool = False  # the caller still holds the logits during backward, as nanoGPT's does
    checkpointing: Literal["none", "block"] = "none"
    checkpoint_every: Count = 1  # with checkpointing "block": every n-th block is recomputed
    optimizer: Literal["adamw", "adamw_8bit", "sgd"] = "adamw"  # adamw_8bit: bitsandbytes'
    optimizer_impl: Literal["fused", "foreach", "for_loop"] = "fused"
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9  # of sgd
    expandable_segments: bool = False  # PYTORCH_ALLOC_CONF=expandable_segments:True; CUDA on Linux
    grad_clip: Annotated[float, Field(ge=0)] = 1.0  # 0: no clipping
    eval_micro_batch_size: Count | None = None  # None: micro_batch_size
    world_size: Count = 1
    parallel: Literal["none", "ddp", "zero1", "fsdp"] = "none"
    max_steps: Count | None = None
    max_tokens: Count | None = None
    learning_rate: Annotated[float, Field(gt=0)] = 6e-4
    min_lr: Annotated[float, Field(ge=0)] | None = None  # None: learning_rate / 10
    warmup_steps: Annotated[int, Field(ge=0)] | None = None  # None: 2 % of the steps, 1 to 2,000
    weight_decay: Annotated[float, Field(ge=0)] = 0.1
    beta1: Annotated[float, Field(ge=0, lt=1)] = 0.9
    beta2: Annotated[float, Field(ge=0, lt=1)] = 0.95
    eval_interval: Count | None = None  # steps between evaluations; None: a twentieth of the run, at most 1,000
    eval_batches: Count = 20  # micro-batches per evaluation
    checkpoint_interval: Count | None = None  # steps between saved checkpoints; None: eval_interval
    shuffle: Literal["windows", "documents"] = "windows"
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 1337

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.max_steps is not None and self.max_tokens is not None:
            raise ValueError("give max_steps or max_tokens, not both")
        if self.keeps_logits and not self.returns_logits:
            raise ValueError("keeps_logits needs returns_logits: what is not returned cannot be kept")
        if self.loss == "chunked" and self.returns_logits:
            raise ValueError("a chunked loss never builds the logits, so it cannot return them")
        if self.loss == "full" and self.loss_chunk_tokens is not None:
            raise ValueError('loss_chunk_tokens needs loss "chunked"')
        if self.optimizer == "adamw_8bit" and self.optimizer_impl != "fused":
            raise ValueError(f"adamw_8bit is fused: optimizer_impl {self.optimizer_impl!r} does not exist for it")
        if self.parallel == "none" and self.world_size > 1:
            raise ValueError(f"world_size {self.world_size} needs parallel ddp, zero1 or fsdp")
        if self.min_lr is not None and self.min_lr > self.learning_rate:
            raise ValueError(f"min_lr {self.min_lr:g} is above learning_rate {self.learning_rate:g}: it would rise")
        return self


DEFAULT_LOSS_CHUNK_TOKENS = 1024


class DataSpec(Spec):
    """Where the training text is and how many unique tokens it holds (None: unknown)."""

    path: str | None = None
    tokens: Count | None = None


class DeviceSpec(Spec):
    """What trains. `total_bytes` is what the driver offers torch; `in_use_bytes` is taken by others (None: unknown)."""

    type: Literal["cuda", "cpu", "mps"] = "cuda"
    name: str | None = None
    total_bytes: Bytes | None = None
    in_use_bytes: Bytes | None = None


class RunSpec(Spec):
    """A whole run: the model, how it is trained, on what data, on what device."""

    schema_version: Literal[1] = 1
    model: AnyArchitecture
    train: TrainSpec
    device: DeviceSpec | None = None
    data: DataSpec | None = None

    @model_validator(mode="after")
    def _sequence_fits_context(self) -> Self:
        if self.sequence_length > self.model.context_length:
            raise ValueError(
                f"train.sequence_length {self.sequence_length} exceeds model.context_length {self.model.context_length}"
            )
        return self

    @model_validator(mode="after")
    def _warm_up_ends(self) -> Self:
        warmup, steps = self.train.warmup_steps or 0, self.steps
        if steps is not None and warmup > steps:
            raise ValueError(f"train.warmup_steps {warmup} go beyond the end: the run has {steps} steps")
        return self

    @property
    def sequence_length(self) -> int:
        """Tokens per training sequence (T)."""
        return self.train.sequence_length or self.model.context_length

    @property
    def loss_chunk_tokens(self) -> int:
        """Tokens per chunk of a chunked loss; never more than a micro-batch holds."""
        return min(self.train.loss_chunk_tokens or DEFAULT_LOSS_CHUNK_TOKENS, self.tokens_per_micro_batch)

    @property
    def materialises_scores(self) -> bool:
        """Whether attention holds its scores, (B, H, T, T): "math" does, and on CPU whatever has dropout."""
        on_cpu = self.device is not None and self.device.type == "cpu"
        return self.train.attention == "math" or (on_cpu and self.model.dropout > 0)

    @property
    def tokens_per_micro_batch(self) -> int:
        """B*T."""
        return self.train.micro_batch_size * self.sequence_length

    @property
    def tokens_per_step(self) -> int:
        """Tokens per optimizer step over all processes."""
        return self.tokens_per_micro_batch * self.train.grad_accum_steps * self.train.world_size

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
        return max(1, min(1000, self.steps // 20))

    @property
    def total_tokens(self) -> int | None:
        """Tokens that the run trains on: steps * tokens_per_step; None where the horizon is unknown."""
        return None if self.steps is None else self.steps * self.tokens_per_step


def parse_spec(document: Any, where: str) -> RunSpec:
    """Return the RunSpec in a JSON document.

    Raises:
        FwplanError: the document is not a spec; names the field, what was found and what is allowed.
    """
    check_version(document, where)
    try:
        return RunSpec.model_validate(document)
    except ValidationError as error:
        raise spec_error(error, where) from None


def check_version(document: Any, where: str) -> None:
    """Raise FwplanError where a document was written by a newer fwplan than this."""
    if isinstance(document, dict):
        version = document.get("schema_version", SCHEMA_VERSION)
        if isinstance(version, bool) or not isinstance(version, int):
            raise FwplanError(f"schema_version {version!r} is no version", where=where, hint="write 1")
        if version > SCHEMA_VERSION:
            raise FwplanError(
                f"schema_version {version} was made by a newer fwplan; this one reads up to {SCHEMA_VERSION}",
                where=where,
                hint="upgrade: pip install -U fwplan",
            )


def spec_error(
    error: ValidationError, where: str, hint: str = "see the README's table of spec.json's fields"
) -> FwplanError:
    """Return pydantic's first complaint as one clear FwplanError."""
    first, *rest = error.errors()
    field = ".".join(str(part) for part in first["loc"])
    message = first["msg"].removeprefix("Value error, ")
    if field and first["type"] == "model_type":  # pydantic's own words name a class
        message = "Input should be an object"
    if first["type"] == "extra_forbidden":
        known = _known_keys(first["loc"][:-1])
        message = f"unknown key {field!r}"
        hint = f"known keys there: {', '.join(known)}"
    else:
        shown = "" if isinstance(first["input"], dict) else f" (got {_short(first['input'])})"
        message = f"{field}: {message}{shown}" if field else message
    if rest:
        message += f" (and {len(rest)} more)"
    return FwplanError(message, where=where, hint=hint)


def _short(value: object, most: int = 60) -> str:
    """Return a value as it would be typed, cut where nobody reads on."""
    shown = repr(value)
    return shown if len(shown) <= most else f"{shown[: most - 3]}..."


def _known_keys(path: Iterable[int | str]) -> list[str]:
    parts: dict[str, type[Spec]] = {"model": ModelSpec, "train": TrainSpec, "device": DeviceSpec, "data": DataSpec}
    owner: type[Spec] = RunSpec
    for part in path:
        owner = parts.get(str(part), owner)
    return list(owner.model_fields)
