"""What nanoGPT's train.py makes of a config file, without executing either.

Every rule here was read in nanoGPT's train.py and model.py (github.com/karpathy/nanoGPT at 3adf61e): a config file runs
inside train.py, so what it leaves out is train.py's default, and `init_from` may overrule what it says.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from fwplan.configs.literals import DEFINITION, Binding, Bindings
from fwplan.configs.settings import (
    ASKED,
    HARMLESS_IF_UNKNOWN,
    SHAPE,
    Reading,
    Setting,
    Settings,
    assemble,
    canonical,
    device_type,
    grad_accum_steps,
    layer,
    merge,
    read_overrides,
    shape_like,
    whole,
)
from fwplan.configs.vocabulary import Vocabulary, data_folder, has_gpt2_tokens, meta_vocab_size
from fwplan.errors import FwplanError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from fwplan.configs.expressions import Value
    from fwplan.configs.train_py import TrainPy

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
    "n_ctx",
    "batch_size",
    "gradient_accumulation_steps",
    "dtype",
    "compile",
)


def read_nanogpt(
    bindings: Bindings, path: str, overrides: Sequence[str], world_size: int, train_py: TrainPy | None = None
) -> Reading:
    """Return the settings of a run with a config file that binds these; where `unknown` is not empty, incomplete.

    `train_py` is the script that runs it, whose defaults these are; None: nanoGPT's own are assumed.

    Raises:
        FwplanError: settings that contradict each other, or values that train.py would refuse.
    """
    tiles = _no_contexts(bindings, train_py)
    others, theirs = _others(bindings, tiles), _others_of(train_py, tiles)
    reading = Reading(path, "nanogpt", merge(_agreed(_known(bindings, tiles)), path))
    below = {name: one for name, one in theirs.items() if name not in others}
    top = read_overrides(overrides, harmless=HARMLESS, own=others.keys() | below.keys())
    if not reading.settings and not any(map(shape_like, others)) and not others.keys() & theirs.keys():
        raise _no_config(path, others)
    typed = {k: s for k, s in top.items() if canonical(k) and k not in tiles}
    run = train_py is not None or _is_run(reading.settings | typed, bindings)
    reading.settings = layer(layer(_defaults(train_py, tiles) if run else _no_defaults(), reading.settings), typed)
    _changed(reading, train_py)
    _doubt_context(reading, train_py)
    _name_aliases(reading)
    _init_from(reading)
    _name_defaults(reading, train_py)
    place = _data_place(reading, others | below)
    reading.data = _data_folder(reading, place, train_py)
    _vocabulary(reading, place, train_py)
    _device(reading)
    _collect_unknown(reading)
    said = below | others | {name: top[name] for name in (others | below) if name in top}
    reading.said = {name: one.value for name, one in (said | reading.settings).items()}
    reading.judge({name: one for name, one in said.items() if name not in tiles})
    reading.notes += [f"{said[name]} is not the context: the model's positions are others" for name in sorted(tiles)]
    _schedule(reading)
    _world(reading, world_size)
    if not reading.unknown:
        _accumulation(reading)
        _loop(reading, train_py)
        reading.document = assemble(reading.settings, reading.path)
    return reading


def _changed(reading: Reading, train_py: TrainPy | None) -> None:
    """Make unknown what the script sets anew after it has run the config; what the user says of it counts."""
    for name in train_py.changed if train_py is not None else ():
        key = canonical(name)
        setting = reading.settings.get(key or "")
        if key is not None and setting is not None and train_py is not None and setting.origin != "override":
            reason = f"{train_py.path.name} sets it anew below configurator.py"
            reading.settings[key] = replace(setting, value=None, reason=reason)


def _no_contexts(bindings: Bindings, train_py: TrainPy | None) -> frozenset[str]:
    """Return names of the context that are something else to this script: a kernel's block_size beside n_ctx."""
    if train_py is None:
        return frozenset()
    bound = {name for name in bindings.names.keys() | train_py.bindings.names.keys() if canonical(name) == _CONTEXT}
    return frozenset(bound - {train_py.context}) if train_py.context in bound else frozenset()


_CONTEXT = "context_length"


def _agreed(found: Iterable[Setting]) -> Iterator[Setting]:
    """Yield one setting of several for one field: unknown where they disagree, as the script may mean either."""
    fields: dict[str, list[Setting]] = {}
    for setting in found:
        fields.setdefault(canonical(setting.name) or setting.name, []).append(setting)
    for key, (*_, last) in fields.items():
        other = next((one for one in fields[key] if (one.value, one.reason) != (last.value, last.reason)), None)
        yield last if other is None else replace(last, value=None, reason=f"set twice: {other} and {last}")


def _doubt_context(reading: Reading, train_py: TrainPy | None) -> None:
    """Make the context unknown where the script has two settings for it, and its model does not say which it is."""
    setting = reading.settings.get(_CONTEXT)
    if train_py is None or setting is None or setting.origin != "file" or setting.reason is not None:
        return
    several = sorted(name for name in train_py.bindings.names if canonical(name) == _CONTEXT)
    if len(several) > 1 and train_py.context not in several and train_py.path != Path(reading.path):
        reason = f"{train_py.path.name} has {' and '.join(several)}: which is the context is not seen"
        reading.settings[_CONTEXT] = replace(setting, value=None, reason=reason)


def _known(bindings: Bindings, tiles: frozenset[str] = frozenset()) -> Iterator[Setting]:
    """Yield the settings in a file that are known here; all of them where any name may have been set."""
    found = [
        Setting(name, b.value, b.line, b.reason)
        for name, b in bindings.names.items()
        if canonical(name) and name not in tiles
    ]
    yield from (one for one in found if not (one.name == "vocab_size" and one.value is None and one.reason is None))
    if bindings.opaque is not None:
        bound, lost = {canonical(setting.name) for setting in found}, bindings.opaque
        yield from (Setting(name, None, lost.line, lost.reason) for name in DEFAULTS if canonical(name) not in bound)


def _others(bindings: Bindings, tiles: frozenset[str] = frozenset()) -> Settings:
    """Return the settings in a file that are none of ours."""
    return {
        name: Setting(name, binding.value, binding.line, binding.reason)
        for name, binding in bindings.names.items()
        if (name in tiles or not canonical(name))
        and name not in HARMLESS
        and binding.reason != DEFINITION
        and name[0] != "_"
    }


def _others_of(train_py: TrainPy | None, tiles: frozenset[str]) -> Settings:
    """Return those that the script itself has a default for: whatever they mean there."""
    found = _others(train_py.bindings, tiles) if train_py is not None else {}
    return {name: Setting(name, one.value, None, one.reason, "default") for name, one in found.items()}


def _defaults(train_py: TrainPy | None, tiles: frozenset[str] = frozenset()) -> Settings:
    """Return what holds where the file says nothing: the script's own defaults, nanoGPT's where there is no script."""
    if train_py is None:
        return {canonical(name) or name: Setting(name, value, origin="default") for name, value in DEFAULTS.items()}
    found: Settings = {}
    for name, value in DEFAULTS.items():
        binding = train_py.bindings.get(name)
        if name == "dataset" and train_py.ends is None:
            pass  # it has data of its own
        elif binding is None and (name in _ASSUMED or canonical(name) in HARMLESS_IF_UNKNOWN):
            binding = Binding(1, value)
        said = binding.value if binding is not None else None
        found[canonical(name) or name] = Setting(name, said, None, _why(binding, train_py), "default")
    for setting in _agreed(_known(train_py.bindings, tiles)):
        key = canonical(setting.name) or setting.name
        default = replace(setting, line=None, origin="default")
        if key not in found or key == _CONTEXT:  # n_ctx, where that is its name there
            found[key] = default
    return found


# What any file of constants may set: a module's block_size, an optimizer's learning rate. It takes more to be a run's.
_ANYBODYS = frozenset(
    {
        *("context_length", "sequence_length", "vocab_size", "dropout", "device", "seed", "learning_rate", "min_lr"),
        *("warmup_steps", "weight_decay", "beta1", "beta2", "grad_clip"),
    }
)
_ASKED_OF_NO_RUN = (*SHAPE, "micro_batch_size", "dtype", "compile")


def _is_run(settings: Settings, bindings: Bindings) -> bool:
    """Return whether a file without a train.py says enough to be nanoGPT's config, whose defaults are then assumed."""
    slips = any(map(shape_like, _others(bindings)))  # n_layre
    return slips or bool(settings.keys() - _ANYBODYS or HARMLESS & bindings.names.keys())


def _no_defaults() -> Settings:
    """Return nanoGPT's defaults with all that makes a verdict unknown: they are not those of such a file."""
    reason = "nothing in the file says it, and no train.py is beside or above it"
    asked = {key: Setting(ASKED.get(key, key), None, None, reason, "default") for key in _ASKED_OF_NO_RUN}
    dataset = Setting("dataset", None, None, "not set", "default")
    return _defaults(None) | asked | {"dataset": dataset}


def _why(binding: Binding | None, train_py: TrainPy) -> str | None:
    """Return why a default of a train.py is unknown; None where it is known."""
    name = train_py.path.name
    if binding is not None:
        return f"{name} line {binding.line}: {binding.reason}" if binding.reason is not None else None
    if train_py.ends is None:
        return f"{name} takes no config as nanoGPT's does: what it defaults to is not read"
    return f"neither the file nor {name} sets it"


# What a train.py that has no such setting does all the same.
_ASSUMED = frozenset({"init_from", "eval_only", "device", "dropout", "grad_clip"})
# Settings of nanoGPT's sample.py: a file with one of them and no run's is for it.
SAMPLES = frozenset({"num_samples", "max_new_tokens", "temperature", "top_k", "start"})


def _no_config(path: str, others: Mapping[str, Setting]) -> FwplanError:
    if SAMPLES & others.keys():
        return FwplanError(f"{path} is for sample.py: it trains nothing", hint="name the config of a run")
    return FwplanError(
        f"{path} sets nothing that is known here: not a config of a run",
        hint="a nanoGPT config sets such as n_layer, batch_size, block_size; is it the right file?",
    )


def _name_aliases(reading: Reading) -> None:
    for key, setting in reading.settings.items():
        if setting.origin != "default" and setting.reason is None and setting.name != key:
            reading.notes.append(f"{setting.name} read as {key}")


def _name_defaults(reading: Reading, train_py: TrainPy | None) -> None:
    missing = [s for s in reading.settings.values() if s.origin == "default" and s.name in _WORTH_NAMING]
    listed = ", ".join(f"{setting.name} = {setting.value}" for setting in missing if setting.reason is None)
    if listed and train_py is None:
        reading.assumed = f"nanoGPT's defaults assumed, no train.py being beside or above it: {listed}"
    elif listed and train_py is not None and Path(reading.path).name != train_py.path.name:
        reading.notes.append(f"not set, so the default of {train_py.path.name}: {listed}")


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


def _data_place(reading: Reading, others: Mapping[str, Setting]) -> Setting | None:
    """Return where train.py looks for the data set: data_dir, where a fork has that, else data/ and its name."""
    data_dir, dataset = others.get("data_dir"), reading.settings.get("dataset")
    if data_dir is not None and isinstance(data_dir.value, str):
        return data_dir
    if dataset is None or dataset.reason is not None:
        return None
    return replace(dataset, value=f"data/{dataset.value}")


def _data_folder(reading: Reading, place: Setting | None, train_py: TrainPy | None) -> Path | None:
    if place is None:
        return None
    here = Path(reading.path).resolve().parent
    roots = [here, *here.parents[:3], *([train_py.path.resolve().parent] if train_py else [])]
    return data_folder(str(place.value), roots)


def _vocabulary(reading: Reading, place: Setting | None, train_py: TrainPy | None) -> None:
    """Settle vocab_size as train.py does: from the data set's meta.pkl, else 50,304 or what the script has instead."""
    said, init, dataset = (reading.settings.get(key) for key in ("vocab_size", "init_from", "dataset"))
    source = _NANOGPT_VOCABULARY if train_py is None else train_py.vocabulary
    if init is None or init.reason is not None or init.value in PRETRAINED:
        return
    if said is not None and (said.origin == "override" or train_py is None or not source.meta):
        if source.setting or said.origin == "override":
            return
        if train_py is None:
            reading.notes.append(f"{said} is used, though nanoGPT's own train.py takes it from the data set")
            return
    if init.value == "resume":
        reading.miss("vocab_size", init, "init_from = 'resume' takes it from a checkpoint")
    elif not source.meta:
        _fallback(reading, said, source, Setting("vocab_size", origin="default"))
    elif place is None:
        cause = dataset or Setting("dataset", reason="not set", origin="default")
        reading.settings.pop("vocab_size", None)
        reading.miss("vocab_size", cause, f"it follows from dataset: {cause.reason}")
    else:
        _dataset_vocabulary(reading, place, train_py)


_NANOGPT_VOCABULARY = Vocabulary(meta=True, number=50_304)


def _dataset_vocabulary(reading: Reading, cause: Setting, train_py: TrainPy | None) -> None:
    """Settle it from the data set: its meta.pkl, what is known of it, what its prepare.py makes."""
    folder, place = reading.data, str(cause.value)
    name = Path(place).name
    size = meta_vocab_size(folder / "meta.pkl") if folder is not None else None
    known = DATASET_VOCAB.get(name)
    if size is not None:
        reading.notes.append(f"vocab_size {size}, as {place}/meta.pkl says")
        reading.put("vocab_size", size, cause)
    elif known is not None and known != DATASET_VOCAB["openwebtext"]:
        reading.notes.append(f"vocab_size {known}: dataset {name!r} is of characters")
        reading.put("vocab_size", known, cause)
    elif known is not None or (folder is not None and has_gpt2_tokens(folder)):
        source = _NANOGPT_VOCABULARY if train_py is None else train_py.vocabulary
        _fallback(reading, reading.settings.get("vocab_size"), source, cause)
    elif (said := reading.settings.get("vocab_size")) is not None and (
        train_py is None or train_py.vocabulary.setting or said.value == train_py.vocabulary.number
    ):
        reading.notes.append(f"{said} is used, unless {place}/meta.pkl says otherwise")
    else:
        why = f"{name!r} is no data set of nanoGPT's own, and there is no {place}/meta.pkl to say"
        reading.settings.pop("vocab_size", None)
        reading.miss("vocab_size", cause, why)


def _fallback(reading: Reading, said: Setting | None, source: Vocabulary, cause: Setting) -> None:
    """Settle it as the script does where no meta.pkl says it: its setting, or the number that it writes."""
    if source.setting and said is not None:
        reading.settings["vocab_size"] = said
    elif source.number is not None:
        reading.put("vocab_size", source.number, cause)
    else:
        reading.settings.pop("vocab_size", None)
        reading.miss("vocab_size", cause, "the script that trains does not say it as a number")


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


def _attention(reading: Reading, train_py: TrainPy | None) -> None:
    """Settle which kernel scaled_dot_product_attention picks, where it cannot be the flash one."""
    dropout = reading.settings["dropout"].value
    kind = device_type(reading.settings["device"], reading.path)
    if "attention" in reading.settings:
        return
    if train_py is not None and train_py.attention == "math":
        reading.settings["attention"] = Setting("attention", "math", origin="default")
        reading.notes.append("attention math: the model beside this train.py multiplies it out")
        return
    if kind == "cuda" and reading.settings["dtype"].value == "float32":
        reading.put("attention", "efficient", reading.settings["dtype"])
        reading.notes.append("attention efficient: the flash kernel does not take float32")
    elif kind == "cpu" and isinstance(dropout, float) and dropout > 0:
        reading.put("attention", "math", reading.settings["dropout"])
        reading.notes.append("attention math: torch's flash kernel for cpu has no dropout")


def _loop(reading: Reading, train_py: TrainPy | None) -> None:
    """Settle what train.py does whatever the file says: TF32 is on, and the loop holds the logits during backward."""
    _attention(reading, train_py)
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
