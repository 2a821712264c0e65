"""torchtitan's job configs in TOML: Llama 3 and dense Qwen 3 by flavor.

Read in github.com/pytorch/torchtitan at 238fa99, the last commit with such files (2026-02-23): config/job_config.py,
models/*/__init__.py, distributed/activation_checkpoint.py, train.py. Older names of a setting are read too.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from fwplan.configs.documents.keys import Keys, refuse_others
from fwplan.configs.documents.shared import NO_EXPERTS, optimizer_called, resolve
from fwplan.configs.settings import ACCUMULATION, Reading, Setting, Settings, Unknown, assemble, layer, whole
from fwplan.errors import FwplanError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fwplan.configs.expressions import Value

_SIZES = ("n_layer", "n_head", "n_kv_head", "n_embd", "n_hidden", "vocab_size", "rope_theta", "tied_embeddings")
_LLAMA3 = {
    "debugmodel": (6, 16, None, 256, 768, 2048, 5e5, False),
    "8B": (32, 32, 8, 4096, 14_336, 128_256, 5e5, False),
    "70B": (80, 64, 8, 8192, 28_672, 128_256, 5e5, False),
    "405B": (126, 128, 8, 16_384, 53_248, 128_256, 5e5, False),
}
_QWEN3 = {
    "0.6B": (28, 16, 8, 1024, 3072, 151_936, 1e6, True),
    "1.7B": (28, 16, 8, 2048, 6144, 151_936, 1e6, True),
    "4B": (36, 32, 8, 2560, 9728, 151_936, 1e6, True),
    "8B": (36, 32, 8, 4096, 12_288, 151_936, 1e6, False),
    "14B": (40, 40, 8, 5120, 17_408, 151_936, 1e6, False),
    "32B": (64, 64, 8, 5120, 25_600, 151_936, 1e6, False),
}
_MODELS: Mapping[str, tuple[Mapping[str, tuple[Value, ...]], Mapping[str, Value]]] = {
    "llama3": (_LLAMA3, {"norm_eps": 1e-5}),
    "qwen3": (_QWEN3, {"norm_eps": 1e-6, "qk_norm": True, "head_width": 128}),
}
_ONE = ((1,), "models cut up over several GPUs")
_ONLY: Mapping[str, tuple[tuple[Any, ...], str]] = {
    **{f"parallelism.{kind}_parallel_degree": _ONE for kind in ("tensor", "pipeline", "context", "expert")},
    "training.tensor_parallel_degree": _ONE,
    "experimental.pipeline_parallel_degree": _ONE,
    "experimental.context_parallel_degree": _ONE,
    "training.enable_cpu_offload": ((False,), "weights and optimizer in the host's memory"),
    "optimizer.early_step_in_backward": ((False,), "the optimizer's step inside backward"),
    "model.norm_type": (("rmsnorm", "fused_rmsnorm", "compiled_rmsnorm"), "its norm is another"),
    "training.fp8_linear": (("",), "weights that are quantized"),
}
_HARMLESS = ("job", "profiling", "metrics", "checkpoint", "comm", "fault_tolerance", "memory_estimation", "debug")
_HARMLESS_TOO = (
    "quantize",
    "float8",
    "validation",
    "experimental",
    "training.dataloader",
)  # float8: a converter uses it
_HARMLESS_KEYS = (
    *("model.hf_assets_path", "model.tokenizer_path", "model.print_after_conversion", "training.dataset"),
    *("training.dataset_path", "training.gc_freq", "training.mixed_precision_reduce", "training.seed", "optimizer.eps"),
    *("training.deterministic", "lr_scheduler.decay_ratio", "lr_scheduler.decay_type", "lr_scheduler.total_steps"),
)


def is_torchtitan(keys: Keys) -> bool:
    """Return whether a TOML file is a job config: it names a model's flavor."""
    return "model.flavor" in keys


def read_torchtitan(keys: Keys, path: str, top: Settings) -> Reading:
    """Return the run in a job config, with what the user says of it."""
    reading = Reading(path, "torchtitan", {})
    said = _model(reading, keys) | _training(reading, keys) | _checkpointing(reading, keys, top)
    said |= _processes(reading, keys, top)
    refuse_others(reading, keys, _ONLY)
    reading.settings = layer(said, top)
    if not ACCUMULATION & top.keys():
        _accumulate(reading, keys)
    for name in (*_HARMLESS, *_HARMLESS_TOO):
        keys.section(name)
    for name in _HARMLESS_KEYS:
        keys.get(name)
    for setting in keys.rest():
        reading.pass_over(setting.name, setting.line, setting.value)
    resolve(reading, top)
    if not reading.unknown:
        reading.document = assemble(reading.settings, path)
    return reading


def _first(keys: Keys, default: Any, *names: str) -> Setting:
    """Return the setting by whichever of its names the file has, newest first."""
    found = [keys.get(name, default) for name in names]
    return next((one for one in found if one.origin != "default"), found[0])


def _model(reading: Reading, keys: Keys) -> Settings:
    """Return the sizes of the model's flavor."""
    name, flavor = keys.get("model.name", "llama3"), keys.get("model.flavor")
    converters = keys.values.get("model.converters") or []
    keys.get("model.converters")
    if converters:
        reading.refuse(f"model.converters {converters!r}"[:80], keys.lines.get("model.converters"), "quantized weights")
    known, always = _MODELS.get(str(name.value), ({}, {}))
    sizes = known.get(str(flavor.value))
    if sizes is None:
        reason = (
            NO_EXPERTS if _has_experts(name, flavor) else f"of {', '.join(_MODELS)} some are known: {_flavors(known)}"
        )
        line = flavor.line if known else name.line
        reading.refuse(f"model.flavor {flavor.value!r} of {name.value!r}", line, reason)
        return {}
    reading.notes.append(f"sizes of {name.value} {flavor.value} as in torchtitan at 238fa99 (2026-02-23)")
    fields = {"architecture": "llama", **dict(zip(_SIZES, sizes, strict=True)), **always}
    return {field: replace(flavor, value=value) for field, value in fields.items()}


def _flavors(known: Mapping[str, Any]) -> str:
    return ", ".join(known) or "none of that name"


def _has_experts(name: Setting, flavor: Setting) -> bool:
    text = f"{name.value} {flavor.value}".lower()
    return any(word in text for word in ("moe", "deepseek", "llama4", "gpt_oss", "a3b", "a22b"))


def _training(reading: Reading, keys: Keys) -> Settings:
    """Return how it trains: fp32 weights under autocast, logits that are let go before backward."""
    weights, products = keys.get("training.dtype", "float32"), keys.get("training.mixed_precision_param", "bfloat16")
    pure = weights.value == "bfloat16"
    compiled = _first(keys, False, "compile.enable", "training.compile")
    components = keys.values.get("compile.components", ["model", "loss"])
    keys.section("compile")
    if compiled.value is True:
        reading.uncounted.append("each block compiled by itself")
        compiled = replace(compiled, value="model" in components)
    context = keys.get("training.seq_len", 2048)
    rate, least = keys.get("optimizer.lr", 8e-4), _first(keys, 0.0, "lr_scheduler.min_lr_factor", "lr_scheduler.lr_min")
    return {
        "micro_batch_size": _first(keys, 8, "training.local_batch_size", "training.batch_size"),
        "context_length": context,
        "max_steps": keys.get("training.steps", 10_000),
        "grad_clip": keys.get("training.max_norm", 1.0),
        "warmup_steps": _first(keys, 200, "lr_scheduler.warmup_steps", "training.warmup_steps"),
        "learning_rate": rate,
        "min_lr": replace(least, value=_product(rate.value, least.value)),
        "weight_decay": keys.get("optimizer.weight_decay", 0.1),
        "beta1": keys.get("optimizer.beta1", 0.9),
        "beta2": keys.get("optimizer.beta2", 0.95),
        "dtype": replace(weights, value="pure_bfloat16") if pure else products,
        "compile": compiled,
        "returns_logits": Setting("returns_logits", value=True, origin="default"),
        **_optimizer(reading, keys),
    }


def _product(rate: Value, factor: Value) -> Value:
    return rate * factor if isinstance(rate, int | float) and isinstance(factor, int | float) else None


def _optimizer(reading: Reading, keys: Keys) -> Settings:
    kind = keys.get("optimizer.implementation", "fused")
    if keys.get("optimizer.fused").value is False:  # its name until 2025
        kind = replace(keys.get("optimizer.fused"), value="foreach")
    implementation = str(kind.value).replace("-", "_")
    return optimizer_called(reading, keys.get("optimizer.name", "AdamW"), implementation)


def _checkpointing(reading: Reading, keys: Keys, top: Settings) -> Settings:
    """Return which blocks are recomputed: all, every n-th, or none; op by op is asked about, between the two."""
    mode = keys.get("activation_checkpoint.mode", "selective")
    every = keys.get("activation_checkpoint.selective_ac_option", "2")
    keys.section("activation_checkpoint")
    if mode.value == "none" or "checkpointing" in top:
        return {}
    block = {"checkpointing": replace(mode, value="block")}
    if mode.value == "full":
        return block
    if mode.value == "selective" and str(every.value).isdecimal() and int(str(every.value)):
        return block | {"checkpoint_every": replace(every, value=int(str(every.value)))}
    line = every.line if mode.value == "selective" else mode.line
    why = "some ops of each block are recomputed, which is not counted; block and none are more and less than that"
    reading.unknown.append(Unknown("checkpointing", line, why, value="block"))
    return {}


def _processes(reading: Reading, keys: Keys, top: Settings) -> Settings:
    """Return how many processes train: sharded over all of them, unless the file says otherwise."""
    places = [f"{section}.data_parallel_{{}}_degree" for section in ("parallelism", "training")]
    copies = _first(keys, 1, *(place.format("replicate") for place in places))
    shards = _first(keys, -1, *(place.format("shard") for place in places), "training.data_parallel_degree")
    keys.section("parallelism")
    given = top.get("world_size")
    if copies.value != 1 and shards.value != 1:
        reading.refuse(f"{copies.name} {copies.value}", copies.line, "shards and copies of the model at once")
        return {}
    said, way = (copies, "ddp") if copies.value != 1 else (shards, "fsdp")
    world = given or (replace(said, value=1) if said.value == -1 else said)
    if whole(world, reading.path) == 1:
        return {}
    return {"world_size": world, "parallel": replace(said, value=way)}


def _accumulate(reading: Reading, keys: Keys) -> None:
    total, settings = keys.get("training.global_batch_size", -1), reading.settings
    if isinstance(total.value, int) and total.value < 0:
        return
    world = whole(settings["world_size"], reading.path) if "world_size" in settings else 1
    unit = whole(settings["micro_batch_size"], reading.path) * world
    if whole(total, reading.path) % unit:
        raise FwplanError(
            f"{total} does not divide by {unit}, a micro-batch of each process",
            where=total.place(reading.path),
            hint="choose a multiple of it",
        )
    settings["grad_accum_steps"] = replace(total, value=whole(total, reading.path) // unit)
