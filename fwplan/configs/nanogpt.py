"""What nanoGPT's train.py makes of a config file, without executing either.

Every rule here was read in nanoGPT's train.py and model.py (github.com/karpathy/nanoGPT at 3adf61e): a config file runs
inside train.py, so what it leaves out is train.py's default, and `init_from` may overrule what it says.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fwplan.configs.literals import DEFINITION, Bindings
from fwplan.configs.settings import (
    HARMLESS_IF_UNKNOWN,
    Reading,
    Setting,
    assemble,
    canonical,
    device_type,
    grad_accum_steps,
    layer,
    merge,
    read_overrides,
    whole,
)
from fwplan.errors import FwplanError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fwplan.configs.expressions import Value

# train.py's defaults, under its names. It picks float16 where the GPU has no bfloat16: the same bytes.
DEFAULTS: dict[str, Value] = {
    "eval_interval": 2000,
    "eval_iters": 200,
    "eval_only": False,
    "init_from": "scratch",
    "dataset": "openwebtext",
    "gradient_accumulation_steps": 40,
    "batch_size": 12,
    "block_size": 1024,
    "n_layer": 12,
    "n_head": 12,
    "n_embd": 768,
    "dropout": 0.0,
    "bias": False,
    "learning_rate": 6e-4,
    "max_iters": 600_000,
    "weight_decay": 1e-1,
    "beta1": 0.9,
    "beta2": 0.95,
    "grad_clip": 1.0,
    "decay_lr": True,
    "warmup_iters": 2000,
    "lr_decay_iters": 600_000,
    "min_lr": 6e-5,
    "device": "cuda",
    "dtype": "bfloat16",
    "compile": True,
}
# train.py's other settings: they change neither memory nor time, so they are not worth a word.
HARMLESS = frozenset(
    {"out_dir", "log_interval", "always_save_checkpoint", "wandb_log", "wandb_project", "wandb_run_name", "backend"}
)
# (n_layer, n_head, n_embd) of OpenAI's checkpoints; all of them have the vocabulary, context and biases below.
PRETRAINED = {
    "gpt2": (12, 12, 768),
    "gpt2-medium": (24, 16, 1024),
    "gpt2-large": (36, 20, 1280),
    "gpt2-xl": (48, 25, 1600),
}
PRETRAINED_VOCAB, PRETRAINED_CONTEXT = 50_257, 1024
# The data sets that nanoGPT prepares: characters of tiny shakespeare (its README: 65), and two in GPT-2's tokens.
DATASET_VOCAB = {"shakespeare_char": 65, "openwebtext": 50_304, "shakespeare": 50_304}

_SHAPE = ("n_layer", "n_head", "n_embd", "context_length", "bias")
_WORTH_NAMING = (
    "n_layer",
    "n_head",
    "n_embd",
    "block_size",
    "batch_size",
    "gradient_accumulation_steps",
    "dtype",
    "compile",
)


def read_nanogpt(bindings: Bindings, path: str, overrides: Sequence[str], world_size: int) -> Reading:
    """Return the settings of a run with a config file that binds these; where `unknown` is not empty, incomplete.

    Raises:
        FwplanError: settings that contradict each other, or values that train.py would refuse.
    """
    reading = _read_file(bindings, path)
    top = read_overrides(overrides, harmless=HARMLESS)
    defaults = {canonical(name) or name: Setting(name, value, origin="default") for name, value in DEFAULTS.items()}
    reading.settings = layer(layer(defaults, reading.settings), top)
    _name_aliases(reading)
    _init_from(reading)
    _name_defaults(reading)
    _vocabulary(reading)
    _device(reading)
    _collect_unknown(reading)
    _schedule(reading)
    _world(reading, world_size)
    if not reading.unknown:
        _accumulation(reading)
        _loop(reading)
        reading.document = assemble(reading.settings, reading.path)
    return reading


def _read_file(bindings: Bindings, path: str) -> Reading:
    found = [Setting(name, b.value, b.line, b.reason) for name, b in bindings.names.items() if canonical(name)]
    if bindings.opaque is not None:
        bound = {canonical(setting.name) for setting in found}
        lost = bindings.opaque
        found += [Setting(name, None, lost.line, lost.reason) for name in DEFAULTS if canonical(name) not in bound]
    reading = Reading(path, "nanogpt", merge(found, path))
    for name, binding in bindings.names.items():
        if not canonical(name) and name not in HARMLESS and binding.reason != DEFINITION and name[0] != "_":
            reading.pass_over(name, binding.line, binding.value)
    return reading


def _name_aliases(reading: Reading) -> None:
    for key, setting in reading.settings.items():
        if setting.origin != "default" and setting.reason is None and setting.name != key:
            reading.notes.append(f"{setting.name} read as {key}")
    if all(setting.origin == "default" for setting in reading.settings.values()):
        reading.notes.append("the file sets nothing that is known here: every value is nanoGPT's default")


def _name_defaults(reading: Reading) -> None:
    missing = [s for s in reading.settings.values() if s.origin == "default" and s.name in _WORTH_NAMING]
    if missing:
        listed = ", ".join(f"{setting.name} = {setting.value}" for setting in missing)
        reading.notes.append(f"not set, so nanoGPT's default: {listed}")


def _init_from(reading: Reading) -> None:
    """Settle the model's shape: from the settings, or from the checkpoint that overrules them."""
    init = reading.settings["init_from"]
    if init.reason is not None or init.value == "scratch":
        return
    if init.value == "resume":
        for key in _SHAPE:
            if reading.settings[key].origin == "default":
                reading.miss(reading.settings[key].name, init, "init_from = 'resume' takes it from a checkpoint")
        return
    if init.value not in PRETRAINED:
        raise FwplanError(
            f"{init}: not something to start from",
            where=init.place(reading.path),
            hint=f"one of scratch, resume, {', '.join(PRETRAINED)}",
        )
    _pretrained(reading, init)


def _pretrained(reading: Reading, init: Setting) -> None:
    forced = dict(zip(("n_layer", "n_head", "n_embd"), PRETRAINED[str(init.value)], strict=True))
    forced |= {"bias": True, "vocab_size": PRETRAINED_VOCAB}
    for key, value in forced.items():
        said = reading.settings.get(key)
        if said is not None and said.origin != "default" and (said.reason is not None or said.value != value):
            reading.notes.append(f"{said} is overruled: init_from = {init.value!r} has {key} {value}")
        reading.put(key, value, init)
    context = reading.settings["context_length"]
    if context.reason is not None:
        return
    if whole(context, reading.path) > PRETRAINED_CONTEXT:
        raise FwplanError(
            f"{context} exceeds the {PRETRAINED_CONTEXT} positions of init_from = {init.value!r}",
            where=context.place(reading.path),
            hint=f"block_size = {PRETRAINED_CONTEXT} or less",
        )


def _vocabulary(reading: Reading) -> None:
    """Settle vocab_size: train.py takes it from the data set's meta.pkl, else 50,304."""
    said, init, dataset = (reading.settings.get(key) for key in ("vocab_size", "init_from", "dataset"))
    if init is None or dataset is None or init.reason is not None:
        return
    if said is not None:
        if said.reason is None and init.value not in PRETRAINED:
            reading.notes.append(f"{said} is used, though nanoGPT's own train.py takes it from the data set")
    elif init.value == "resume":
        reading.miss("vocab_size", init, "init_from = 'resume' takes it from a checkpoint")
    elif dataset.reason is not None:
        reading.miss("vocab_size", dataset, f"it follows from dataset, which is {dataset.reason}")
    else:
        _dataset_vocabulary(reading, dataset)


def _dataset_vocabulary(reading: Reading, dataset: Setting) -> None:
    known = DATASET_VOCAB.get(str(dataset.value))
    if known is None and str(dataset.value).endswith("_char"):
        reason = f"dataset {dataset.value!r} is of characters; data/{dataset.value}/meta.pkl says how many"
        reading.miss("vocab_size", dataset, f"{reason}: give --vocab_size=N")
        return
    if known is None:
        reading.notes.append(f"vocab_size 50304, unless data/{dataset.value}/meta.pkl says otherwise")
    elif known != DATASET_VOCAB["openwebtext"]:
        reading.notes.append(f"vocab_size {known}: dataset {dataset.value!r} is of characters")
    reading.put("vocab_size", known or DATASET_VOCAB["openwebtext"], dataset)


def _device(reading: Reading) -> None:
    """Settle what follows from the device: train.py autocasts and fuses AdamW only where its name holds "cuda"."""
    device, dtype = reading.settings["device"], reading.settings["dtype"]
    if device.reason is not None:
        return
    kind = device_type(device, reading.path)
    # torch's own default then: its foreach kernels are for CUDA (torch.utils._foreach_utils).
    implied = "fused" if kind == "cuda" else "for_loop"
    if "optimizer_impl" not in reading.settings:
        reading.put("optimizer_impl", implied, device)
    if kind != "cuda" and dtype.value != "float32":
        reading.notes.append(f"nanoGPT does not autocast on {kind}: dtype {dtype.value} is float32 there")
        reading.put("dtype", "float32", device)


def _attention(reading: Reading) -> None:
    """Settle which kernel scaled_dot_product_attention picks, where it cannot be the flash one."""
    dropout = reading.settings["dropout"].value
    kind = device_type(reading.settings["device"], reading.path)
    if "attention" in reading.settings:
        return
    if kind == "cuda" and reading.settings["dtype"].value == "float32":
        reading.put("attention", "efficient", reading.settings["dtype"])
        reading.notes.append("attention efficient: the flash kernel does not take float32")
    elif kind == "cpu" and isinstance(dropout, float) and dropout > 0:
        reading.put("attention", "math", reading.settings["dropout"])
        reading.notes.append("attention math: torch's flash kernel for cpu has no dropout")


def _loop(reading: Reading) -> None:
    """Settle what train.py does whatever the file says: TF32 is on, and the loop holds the logits during backward."""
    _attention(reading)
    chunked = "loss" in reading.settings and reading.settings["loss"].value == "chunked"
    for key in ("returns_logits", "keeps_logits"):
        returned = reading.settings.get("returns_logits", Setting(key, value=not chunked, origin="default"))
        reading.settings.setdefault(key, Setting(key, value=returned.value, origin="default"))
    reading.settings.setdefault("tf32", Setting("tf32", value=True, origin="default"))  # allow_tf32 = True


def _collect_unknown(reading: Reading) -> None:
    for key, setting in list(reading.settings.items()):
        if setting.reason is None:
            continue
        if key not in HARMLESS_IF_UNKNOWN:
            reading.miss(setting.name, setting, setting.reason)
            continue
        del reading.settings[key]
        if key != "dataset":
            reading.notes.append(f"{setting.name} is unknown (line {setting.line}: {setting.reason})")


def _schedule(reading: Reading) -> None:
    """Settle steps and learning rate: without decay_lr the rate is constant, and decay has its own horizon."""
    settings = reading.settings
    steps, decay, horizon = (settings.get(key) for key in ("max_steps", "decay_lr", "lr_decay_iters"))
    if steps is not None:
        reading.notes.append(f"nanoGPT runs max_iters + 1 iterations; max_steps is {steps.value}")
    if decay is not None and decay.value is False:
        settings.pop("min_lr", None)
        if "learning_rate" in settings:
            reading.put("min_lr", settings["learning_rate"].value, decay)
        reading.put("warmup_steps", 0, decay)
        reading.notes.append("decay_lr = False: the learning rate is constant, without warmup")
    elif steps is not None and horizon is not None and steps.value != horizon.value:
        reading.notes.append(f"{horizon} differs from {steps}: the spec decays the learning rate over max_steps")


def _world(reading: Reading, world_size: int) -> None:
    said = reading.settings.get("world_size")
    if said is None:
        said = reading.settings["world_size"] = Setting("world_size", world_size, origin="override")
    elif world_size not in {1, said.value} and said.reason is None:
        raise FwplanError(
            f"{said}, but {world_size} processes were asked for", where=said.place(reading.path), hint="make them agree"
        )
    if said.value != 1 and "parallel" not in reading.settings:
        reading.put("parallel", "ddp", said)


def _accumulation(reading: Reading) -> None:
    steps = grad_accum_steps(reading.settings, reading.path)
    if steps is not None:
        reading.settings["grad_accum_steps"] = steps
