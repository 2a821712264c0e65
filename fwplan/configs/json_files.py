"""What a JSON file says about a run: spec.json, plan.json, or Hugging Face's config.json of a GPT-2."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from fwplan.configs.declared import known
from fwplan.configs.settings import (
    MODEL_FIELDS,
    SHAPE,
    TRAIN_FIELDS,
    Kind,
    Reading,
    Setting,
    Settings,
    Unknown,
    assemble,
    canonical,
    grad_accum_steps,
    layer,
    merge,
    read_overrides,
)
from fwplan.errors import FwplanError
from fwplan.json_text import parse_json
from fwplan.spec import RunSpec, parse_spec
from fwplan.spec.flat import FIELDS, spread

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

PLAN_KEYS = frozenset({"fwplan_version", "objective", "predicted", "reasons"})  # what a plan adds to a spec
# transformers' GPT2Config, for what a config.json leaves out; its blocks always have biases.
HF_GPT2 = {"n_layer": 12, "n_head": 12, "n_embd": 768, "context_length": 1024, "vocab_size": 50_257, "dropout": 0.1}
HF_KEYS = HF_GPT2.keys() | {"tied_embeddings"}
# What transformers' GPT-2 does otherwise than this model where it is set to anything but these.
_HF_AS_HERE: dict[str, tuple[object, ...]] = {
    "activation_function": ("gelu", "gelu_new", "gelu_fast", "gelu_python", "gelu_pytorch_tanh", None),
    "add_cross_attention": (False, None),
    "gradient_checkpointing": (False, None),
    "pruned_heads": ({}, None),
    "quantization_config": (None,),
    "reorder_and_upcast_attn": (False, None),
}
_HF_OWN = frozenset({"activation_function", "n_positions", "n_ctx", "resid_pdrop", "layer_norm_epsilon"})
_OTHERS_READ = frozenset(
    {*SHAPE, "micro_batch_size", "dtype", "compile", "dropout", "bias", "grad_accum_steps", "max_steps"}
)
# The other keys of such a file: none of them changes what a step of training keeps.
_HF_HARMLESS = frozenset(
    {
        *("model_type", "architectures", "transformers_version", "_name_or_path", "n_inner", "initializer_range"),
        *("layer_norm_epsilon", "scale_attn_weights", "scale_attn_by_inverse_layer_idx", "use_cache", "torch_dtype"),
        *("dtype", "bos_token_id", "eos_token_id", "pad_token_id", "task_specific_params", "summary_type"),
        *("summary_use_proj", "summary_activation", "summary_proj_to_labels", "summary_first_dropout", "id2label"),
        *("label2id", "finetuning_task", "problem_type", "output_past", "output_hidden_states", "output_attentions"),
        *("return_dict", "is_decoder", "is_encoder_decoder", "predict_special_tokens", "attn_pdrop", "embd_pdrop"),
        *("auto_map", "_commit_hash", "_attn_implementation_autoset", "tokenizer_class"),
    }
)
# A model's sizes by any name: a file with two of them at its top, or in a section of it, is some script's config.
_FEWEST = 2
_NANOGPT_ONLY = ("init_from", "dataset", "decay_lr", "lr_decay_iters", "eval_only")


def read_json(source: str, path: str, overrides: Sequence[str], world_size: int) -> Reading:
    """Return the settings of the run in a JSON file.

    Raises:
        FwplanError: not JSON, not of a known kind, or not a model that is supported.
    """
    document = parse_json(source, path)
    if not isinstance(document, dict):
        raise FwplanError(f"{path} holds no JSON object", hint='it starts like {"model": {...}, "train": {...}}')
    top = _overrides(overrides, world_size, path)
    if document and document.keys() <= RunSpec.model_fields.keys() | PLAN_KEYS:
        return _read_spec(document, source, path, top)
    if "model_type" in document or _is_gpt2(document):
        return _read_hf(document, source, path, top)
    if sum(known(name) in SHAPE for name in _flat(document)) >= _FEWEST:
        return _read_other(_flat(document), source, path, top)
    if "model" in document and "train" in document:
        return _read_spec(document, source, path, top)
    raise FwplanError(
        f'{path} has neither "model" and "train" (a spec or plan) nor "model_type" (a Hugging Face config)',
        hint="fwplan suggest -o plan.json makes one",
    )


def _is_gpt2(document: Mapping[str, Any]) -> bool:
    """Return whether a Hugging Face config without its model_type is GPT-2's: by its class, or by its own names."""
    classes = document.get("architectures")
    named = isinstance(classes, list) and any(str(name).startswith("GPT2") for name in classes)
    return named or ({"n_layer", "n_head", "n_embd"} <= document.keys() and bool(_HF_OWN & document.keys()))


def _flat(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return a file's settings with those of its sections, the outer ones first."""
    inner = {k: v for section in document.values() if isinstance(section, dict) for k, v in section.items()}
    return inner | {key: value for key, value in document.items() if not isinstance(value, dict)}


def _read_other(document: Mapping[str, Any], source: str, path: str, top: Settings) -> Reading:
    """Return the run in some script's own config: what is known of it is read, all else is asked for."""
    own = {name: Setting(name, value, _line(source, name, 0)) for name, value in document.items() if _plain(value)}
    ours = [setting for name, setting in own.items() if known(name) in _OTHERS_READ and setting.value is not None]
    merged = merge([replace(setting, name=known(setting.name) or setting.name) for setting in ours], path)
    reading = Reading(path, "json", layer(merged, top))
    reading.assumed = "the file makes no model: GPT-2 as nanoGPT writes it is assumed"
    reading.notes += [f"{one.name} read as {known(one.name)}" for one in ours if one.name != known(one.name)]
    reading.judge({name: setting for name, setting in own.items() if setting not in ours})
    reading.ask((*SHAPE, "micro_batch_size", "dtype", "compile"))
    _resolve(reading, top)
    if not reading.unknown:
        reading.document = assemble(reading.settings, path)
    return reading


def _plain(value: object) -> bool:
    return value is None or isinstance(value, bool | int | float | str)


def _overrides(overrides: Sequence[str], world_size: int, path: str) -> Settings:
    top = read_overrides(overrides)
    for key in _NANOGPT_ONLY:
        if key in top:
            raise FwplanError(f"{key} means nothing for {path}", hint="it is a setting of nanoGPT's config.py")
    if world_size > 1:
        top.setdefault("world_size", Setting("world_size", world_size, origin="override"))
    return top


def _read_spec(document: dict[str, Any], source: str, path: str, top: Settings) -> Reading:
    kind: Kind = "plan" if PLAN_KEYS & document.keys() else "spec"
    document = {key: value for key, value in document.items() if key not in PLAN_KEYS}
    for section in ("model", "train"):
        if not isinstance(document.get(section), dict):
            parse_spec(document, path)  # says which section is missing or malformed
    written = _spec_settings(document, source)
    document["train"] = spread(document["train"])
    reading = Reading(path, kind, layer(written, top))
    _resolve(reading, top)
    changed = assemble({key: s for key, s in reading.settings.items() if s.origin == "override"}, path)
    for section, fields in (("model", MODEL_FIELDS), ("train", TRAIN_FIELDS)):
        kept = {k: v for k, v in document[section].items() if k not in fields or k in reading.settings}
        document[section] = kept | changed[section]
    if "device" in changed:
        before = document.get("device")
        document["device"] = (before if isinstance(before, dict) else {}) | changed["device"]
    reading.document = document
    return reading


def _spec_settings(document: Mapping[str, Any], source: str) -> Settings:
    """Return what the sections set, with lines; of unknown keys only the first, which the error will be about."""
    found: Settings = {}
    for section, fields in (("model", MODEL_FIELDS), ("train", TRAIN_FIELDS)):
        start = _position(source, section) or 0
        said = spread(document[section])
        unknown = [key for key in said if key not in fields]
        for key in (*fields & said.keys(), *unknown[:1]):
            found[key] = Setting(key, said[key], _written_line(document[section], source, key, start))
    return found


def _written_line(section: Mapping[str, Any], source: str, key: str, start: int) -> int | None:
    """Return the line of a field, which may be written inside a part: `beta2` in the optimizer."""
    field = FIELDS.get(key)
    if field is None or not isinstance(section.get(field.part), dict) or key == field.part:
        return _line(source, key.rpartition(".")[2], start)
    return _line(source, field.name, _position(source, field.part, start) or start)


def _resolve(reading: Reading, top: Settings) -> None:
    """Turn overrides that decide a field, not being one, into that field."""
    settings = reading.settings
    if "world_size" in top and "parallel" not in top and top["world_size"].value != 1:
        parallel = settings.get("parallel", Setting("parallel", "none"))
        if parallel.value == "none":
            settings["parallel"] = Setting("world_size", "ddp", origin="override")
    if {"gradient_accumulation_steps", "total_batch_size"} & top.keys() and "micro_batch_size" in settings:
        settings.setdefault("context_length", Setting("context_length", 1024, origin="default"))
        steps = grad_accum_steps(settings, reading.path)
        if steps is not None:
            settings["grad_accum_steps"] = replace(steps, origin="override")


def _read_hf(document: Mapping[str, Any], source: str, path: str, top: Settings) -> Reading:
    reading = Reading(path, "hf", layer(_hf_settings(document, source, path), top))
    kind = document.get("model_type", "gpt2")
    if kind != "gpt2":
        reading.refuse(f"model_type {kind!r}", _line(source, "model_type", 0), "only GPT-2's configs are read")
    _resolve(reading, top)
    _feed_forward(reading, document, source)
    _pass_over(reading, document, source)
    reading.notes.append(
        "a Hugging Face config describes the model only; training is fwplan's own, with your overrides"
    )
    if "micro_batch_size" in reading.settings:
        reading.document = assemble(reading.settings, path)
    else:
        reading.unknown.append(Unknown("micro_batch_size", None, "a Hugging Face config does not say it"))
    if reading.unknown:
        reading.document = {}
    return reading


def _hf_settings(document: Mapping[str, Any], source: str, path: str) -> Settings:
    said = [
        Setting(key, value, _line(source, key, 0))
        for key, value in document.items()
        if canonical(key) in HF_KEYS and value is not None
    ]
    defaults = {key: Setting(key, value, origin="default") for key, value in (HF_GPT2 | {"bias": True}).items()}
    return layer(defaults, merge(said, path))


def _feed_forward(reading: Reading, document: Mapping[str, Any], source: str) -> None:
    inner, width = document.get("n_inner"), reading.settings["n_embd"].value
    if inner is not None and isinstance(width, int) and inner != 4 * width:
        reading.refuse(f"n_inner {inner}", _line(source, "n_inner", 0), f"it is not 4 x n_embd {width}")


def _pass_over(reading: Reading, document: Mapping[str, Any], source: str) -> None:
    """Name what the file sets that this model has not: by its key, or by a value that is another than here."""
    for key in sorted(document.keys()):
        value = document[key]
        if key in _HF_AS_HERE:
            if value not in _HF_AS_HERE[key]:
                reading.refuse(f"{key} {value!r}"[:80], _line(source, key, 0), "GPT-2's is another")
        elif key not in _HF_HARMLESS and canonical(key) not in HF_KEYS:
            plain = value if _plain(value) else str(value)[:80]
            reading.judge({key: Setting(key, plain, _line(source, key, 0))})
    dropout = reading.settings["dropout"]
    for key in ("attn_pdrop", "embd_pdrop"):
        value = document.get(key)
        if value is not None and value != dropout.value:
            reading.notes.append(f"{key} {value} is taken as {dropout.name} {dropout.value}: here all dropout is one")
            if bool(value) != bool(dropout.value):
                reading.pass_over(key, _line(source, key, 0), str(value))


def _position(source: str, key: str, start: int = 0) -> int | None:
    """Return where `"key":` first stands from `start` on; None where it is spelled with escapes."""
    match = re.compile(rf'"{re.escape(key)}"\s*:').search(source, start)
    return match.start() if match else None


def _line(source: str, key: str, start: int) -> int | None:
    position = _position(source, key, start)
    return None if position is None else source.count("\n", 0, position) + 1


def _place(source: str, key: str, path: str) -> str:
    return f"{path}:{_line(source, key, 0) or 1}"
