"""How litgpt trains: what its pretraining and finetuning commands do with a config, and what they default to."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from fwplan.configs.documents.shared import optimizer_called
from fwplan.configs.settings import Setting, whole
from fwplan.errors import FwplanError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fwplan.configs.documents.keys import Keys
    from fwplan.configs.settings import Reading, Settings

_FIELDS = {
    "train.micro_batch_size": "micro_batch_size",
    "train.max_seq_length": "sequence_length",
    "train.tie_embeddings": "tied_embeddings",
    "train.max_norm": "grad_clip",
    "train.max_steps": "max_steps",
    "train.max_tokens": "max_tokens",
    "train.min_lr": "min_lr",
    "train.lr_warmup_steps": "warmup_steps",
    "eval.interval": "eval_interval",
    "eval.max_iters": "eval_batches",
    "seed": "seed",
}
_PRETRAIN: Mapping[str, Any] = {
    "train.micro_batch_size": 4,
    "train.global_batch_size": 512,
    "train.max_tokens": 3_000_000_000_000,
    "train.max_norm": 1.0,
    "train.min_lr": 4e-5,
    "train.lr_warmup_steps": 2000,
    "eval.interval": 1000,
    "eval.max_iters": 100,
    "devices": "auto",
    "seed": 42,
}
_FINETUNE: Mapping[str, Any] = {
    "train.micro_batch_size": 1,
    "train.global_batch_size": 16,
    "train.min_lr": 6e-5,
    "train.lr_warmup_steps": 100,
    "eval.interval": 600,
    "eval.max_iters": 100,
    "devices": 1,
    "seed": 1337,
}
_NULL = {"grad_clip": 0.0, "tied_embeddings": False, "warmup_steps": 0}  # what null means
_DTYPES = {"bf16-mixed": "bfloat16", "16-mixed": "float16", "32-true": "float32", "bf16-true": "pure_bfloat16"}
_HARMLESS = (
    *("out_dir", "tokenizer_dir", "logger_name", "resume", "access_token", "train.save_interval", "train.epochs"),
    *("train.log_interval", "train.lr_warmup_fraction", "train.max_time", "eval.max_new_tokens"),
    *("eval.initial_validation", "eval.final_validation", "eval.evaluate_example", "data"),
)
_HARMLESS_SECTIONS = ("data", "log")
_LOSS = "the loss in chunks of 128 rows, of logits that stay whole"


def training(reading: Reading, keys: Keys, top: Settings) -> Settings:
    """Return how the command trains: pretraining compiles and fuses, finetuning does neither."""
    defaults, tunes = _defaults(keys), _tunes(keys)
    adapters = [keys.get(name) for name in keys.values if name.startswith(("lora_", "adapter_"))]
    if adapters:
        reading.refuse(adapters[0].name, adapters[0].line, "low-rank adapters")
    read = {field: keys.get(name, defaults.get(name)) for name, field in _FIELDS.items()}
    said = {field: _meant(field, one) for field, one in read.items() if one.value is not None or field in _NULL}
    if "max_steps" in said:
        said.pop("max_tokens", None)
    if tunes and "sequence_length" not in said | top:
        reading.ask(("sequence_length",))  # as long as the samples of its data
    start = keys.get("checkpoint_dir" if tunes else "initial_checkpoint_dir")
    for name in _HARMLESS:
        keys.get(name)
    for name in _HARMLESS_SECTIONS:
        keys.section(name)
    reading.uncounted.append(_LOSS)
    return said | {
        "dtype": _dtype(reading, keys),
        "compile": Setting("compile", not tunes, origin="default"),
        "tf32": Setting("tf32", value=True, origin="default"),  # set_float32_matmul_precision("high")
        "returns_logits": Setting("returns_logits", value=True, origin="default"),
        "keeps_logits": Setting("keeps_logits", value=True, origin="default"),
        **({"init_from": start} if start.value is not None else {}),
        **_optimizer(reading, keys, "foreach" if tunes else "fused"),
        **_processes(reading, keys, top),
    }


def _tunes(keys: Keys) -> bool:
    return "checkpoint_dir" in keys


def _defaults(keys: Keys) -> Mapping[str, Any]:
    return _FINETUNE if _tunes(keys) else _PRETRAIN


def _meant(field: str, setting: Setting) -> Setting:
    return replace(setting, value=_NULL[field]) if setting.value is None else setting


def _dtype(reading: Reading, keys: Keys) -> Setting:
    """Return what products are computed in; unknown for what is no precision of ours."""
    said = keys.get("precision")
    if said.value is None:
        return replace(said, value="bfloat16")  # litgpt's choice where the GPU has it
    if said.value not in _DTYPES:
        reading.miss("dtype", said, f"precision {said.value!r} is not counted")
    return replace(said, value=_DTYPES.get(str(said.value)))


def _optimizer(reading: Reading, keys: Keys, implementation: str) -> Settings:
    """Return the optimizer: a name, or a class with its arguments; torch's defaults where they are left out."""
    own = keys.section("optimizer.init_args")
    named = keys.get("optimizer.class_path") if "optimizer.class_path" in keys else keys.get("optimizer", "AdamW")
    betas = own.values.get("betas")
    beta1, beta2 = betas if isinstance(betas, list) and len(betas) == 2 else (0.9, 0.999)
    line = own.lines.get("betas")
    return {
        **optimizer_called(reading, named, implementation),
        "learning_rate": own.get("lr", 1e-3),
        "weight_decay": own.get("weight_decay", 0.01),
        "beta1": Setting("betas", beta1, line),
        "beta2": Setting("betas", beta2, line),
    }


def _processes(reading: Reading, keys: Keys, top: Settings) -> Settings:
    """Return how many processes train, and how: several share the weights out, finetuning recomputes blocks too."""
    devices, nodes = keys.get("devices", _defaults(keys)["devices"]), keys.get("num_nodes", 1)
    if nodes.value != 1:
        reading.refuse(f"num_nodes {nodes.value}", nodes.line, "weights cut up within a node and copied between nodes")
    said = Setting("world_size", 1, origin="default") if devices.value == "auto" else devices
    world = top.get("world_size", said)
    if whole(world, reading.path) == 1:
        return {}
    shared = {"world_size": world, "parallel": replace(world, value="fsdp")}
    return shared | ({"checkpointing": replace(world, value="block")} if _tunes(keys) else {})


def accumulate(reading: Reading, keys: Keys) -> None:
    """Settle the micro-batches of a step: the global batch is counted in sequences, over all processes.

    Raises:
        FwplanError: it is less than one micro-batch a process.
    """
    settings, total = reading.settings, keys.get("train.global_batch_size", _defaults(keys)["train.global_batch_size"])
    world = whole(settings["world_size"], reading.path) if "world_size" in settings else 1
    micro = settings["micro_batch_size"]
    steps = whole(total, reading.path) // world // whole(micro, reading.path)
    if steps < 1:
        raise FwplanError(
            f"{total} is less than a micro-batch of {micro.value} for each of {world} processes",
            where=total.place(reading.path),
            hint="litgpt refuses that too: make the micro-batch smaller",
        )
    settings["grad_accum_steps"] = replace(total, value=steps)
