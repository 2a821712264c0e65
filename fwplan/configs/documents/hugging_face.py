"""Hugging Face's config.json of the families in families.py: the model alone, not how it is trained."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from fwplan.configs.documents.families import CLASSES, FAMILIES, GPT2, HARMLESS, MINIMIND_2, Family
from fwplan.configs.documents.shared import NO_EXPERTS, as_plain, ask_for_window, line_of, resolve
from fwplan.configs.settings import Reading, Setting, Settings, Unknown, assemble, layer, merge

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fwplan.configs.expressions import Value

_EXPERTS = re.compile(r"(?<![a-z])(moe|mixtral|experts?|switch_transformers|gpt_oss|deepseek_v\d)", re.IGNORECASE)
_NO_COUNT = {  # what a key of `only` with another value makes of the model
    "hidden_act": "its activation is another",
    "attention_dropout": "dropout inside attention",
    "partial_rotary_factor": "rotary positions on a part of each head",
    "quantization_config": "weights that are quantized",
    "gradient_checkpointing": "blocks that are checkpointed",
    "use_parallel_residual": "attention and MLP one after the other",
    "use_moe": NO_EXPERTS,
}


def is_hugging_face(document: Mapping[str, Any]) -> bool:
    """Return whether a JSON object is a config.json: it names its type or its class, or has GPT-2's own names."""
    return "model_type" in document or _class_of(document) is not None or _is_gpt2(document)


def read_hugging_face(document: Mapping[str, Any], source: str, path: str, top: Settings) -> Reading:
    """Return the model in a config.json, with what the user says of the run."""
    kind = str(document.get("model_type") or _class_of(document) or "gpt2")
    family = MINIMIND_2 if kind == "minimind" and "head_dim" not in document else FAMILIES.get(kind)
    reading = Reading(path, "hf", dict(top))
    if family is None:
        line = line_of(source, "model_type")
        reading.refuse(f"model_type {kind!r}", line, NO_EXPERTS if _EXPERTS.search(kind) else f"only {_KNOWN} are read")
    else:
        reading.settings = layer(_settings(family, document, source, path), top)
        reading.ask({"n_hidden"} & {*family.fields.values()})  # minimind's, which is worked out when it runs
        resolve(reading, top)
        _judge(reading, family, document, source)
    reading.notes.append(
        _ABOUT if family in (None, GPT2) else f"{_ABOUT}; --sequence_length says how long its sequences are"
    )
    if "micro_batch_size" not in reading.settings:
        reading.unknown.append(Unknown("micro_batch_size", None, "a Hugging Face config does not say it"))
    if not reading.unknown:
        reading.document = assemble(reading.settings, path)
    return reading


_KNOWN = ", ".join(FAMILIES)
_ABOUT = "a Hugging Face config describes the model only; training is fwplan's own, with your overrides"


def _class_of(document: Mapping[str, Any]) -> str | None:
    """Return the family whose class a config names: "LlamaForCausalLM"."""
    named = document.get("architectures")
    names = [str(name) for name in named] if isinstance(named, list) else []
    classes = (re.match(r"([A-Za-z]+?\d?)(?:LMHead|For|Model|$)", name) for name in names)
    return next((CLASSES[match[1]] for match in classes if match and match[1] in CLASSES), None)


def _is_gpt2(document: Mapping[str, Any]) -> bool:
    own = {"activation_function", "n_positions", "n_ctx", "resid_pdrop", "layer_norm_epsilon"}
    return {"n_layer", "n_head", "n_embd"} <= document.keys() and bool(own & document.keys())


def _settings(family: Family, document: Mapping[str, Any], source: str, path: str) -> Settings:
    """Return what the file says of the model over what its class has by default."""
    below = {**family.defaults, **family.always}
    if family.architecture is not None:
        below["architecture"] = family.architecture
    said = [
        Setting(key, _called(value, family.values.get(field)), line_of(source, key))
        for key, value in _with_rope(document).items()
        if (field := family.fields.get(key)) is not None and (value is not None or field in _MAY_BE_NULL)
    ]
    defaults = {field: Setting(field, value, origin="default") for field, value in below.items()}
    return layer(defaults, merge(said, path, family.fields.get))


def _called(value: Any, names: Mapping[Any, Value] | None) -> Any:
    """Return what a switch's value is called here, where that is another."""
    return names[value] if names is not None and isinstance(value, bool) else value


_MAY_BE_NULL = frozenset({"n_kv_head", "head_width"})  # null there: n_head, and n_embd / n_head


def _with_rope(document: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the file's keys with those of rope_parameters, which newer files hold rope_theta in."""
    rope = document.get("rope_parameters")
    return {**rope, **document} if isinstance(rope, dict) else document


def _judge(reading: Reading, family: Family, document: Mapping[str, Any], source: str) -> None:
    """Name what the file sets that this model has not: by its key, or by a value that is another than here."""
    for key, value in sorted(_with_rope(document).items()):
        line = line_of(source, key)
        if key in family.only:
            if value not in family.only[key]:
                reading.refuse(f"{key} {value!r}"[:80], line, _NO_COUNT.get(key, "the family's is another"))
        elif key in family.fields or key in family.harmless | HARMLESS or key in _ROPE:
            continue
        elif family is GPT2:
            reading.judge({key: Setting(key, as_plain(value), line)})
        elif _EXPERTS.search(key) and value not in (False, None, 0, 1):
            reading.refuse(f"{key} {value!r}"[:80], line, NO_EXPERTS)
        elif value is not None:
            reading.pass_over(key, line, as_plain(value))
    if family is GPT2:
        _judge_gpt2(reading, document, source)
    else:
        _scaled_rope(reading, document, source)
        _windows(reading, family, document, source)


_ROPE = frozenset({"rope_theta", "rope_type", "type", "factor", "low_freq_factor", "high_freq_factor"})


def _scaled_rope(reading: Reading, document: Mapping[str, Any], source: str) -> None:
    for key in ("rope_scaling", "rope_parameters"):
        scaling = document.get(key)
        if isinstance(scaling, dict) and scaling.get("rope_type", scaling.get("type", "default")) != "default":
            where = f" (line {line})" if (line := line_of(source, key)) else ""
            reading.notes.append(f"{key}{where} turns positions otherwise, with the same tensors: nothing changes")


def _windows(reading: Reading, family: Family, document: Mapping[str, Any], source: str) -> None:
    """Ask for sequences that fit into the attention's window, where the model has one."""
    if family.windowed is None or (family.windowed and not document.get(family.windowed, False)):
        return
    window = document.get("sliding_window", _TRANSFORMERS_WINDOW)
    ask_for_window(reading, Setting("sliding_window", as_plain(window), line_of(source, "sliding_window")))


_TRANSFORMERS_WINDOW = 4096  # of Mistral, Qwen 2 and 3, where the file does not say it


def _judge_gpt2(reading: Reading, document: Mapping[str, Any], source: str) -> None:
    inner, width = document.get("n_inner"), reading.settings["n_embd"].value
    if inner is not None and isinstance(width, int) and inner != 4 * width:
        reading.refuse(f"n_inner {inner}", line_of(source, "n_inner"), f"it is not 4 x n_embd {width}")
    dropout = reading.settings["dropout"]
    for key in ("attn_pdrop", "embd_pdrop"):
        value = document.get(key)
        if value is not None and value != dropout.value:
            reading.notes.append(f"{key} {value} is taken as {dropout.name} {dropout.value}: here all dropout is one")
            if bool(value) != bool(dropout.value):
                reading.pass_over(key, line_of(source, key), str(value))
