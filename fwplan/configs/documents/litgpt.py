"""litgpt's YAML files: a checkpoint's model_config.yaml, and the configs that it pretrains and finetunes with.

Read in litgpt/config.py, args.py, pretrain.py and finetune/full.py of github.com/Lightning-AI/litgpt at 2685705.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from fwplan.configs.documents.keys import Keys, refuse_others
from fwplan.configs.documents.litgpt_models import model_called
from fwplan.configs.documents.litgpt_training import accumulate, training
from fwplan.configs.documents.shared import NO_EXPERTS, ask_for_window, resolve
from fwplan.configs.settings import ACCUMULATION, Reading, Setting, Settings, assemble, layer, whole

if TYPE_CHECKING:
    from collections.abc import Mapping

_FIELDS = {
    "n_layer": ("n_layer", 16),
    "n_head": ("n_head", 32),
    "n_embd": ("n_embd", 4096),
    "block_size": ("context_length", 4096),
    "norm_eps": ("norm_eps", 1e-5),
    "rope_base": ("rope_theta", 10_000),
}
_OFF = ((False,), "llama and Pythia have none")
_NONE = ((None,), "llama and Pythia have none")
_OF_BOTH: Mapping[str, tuple[tuple[Any, ...], str]] = {
    "n_expert": ((0, None), NO_EXPERTS),
    "norm_qk_type": (("default",), "a norm over all heads at once"),
    "norm_1": ((True,), "blocks without their first norm"),
    "norm_2": ((True,), "blocks without their second norm"),
    **dict.fromkeys(("post_attention_norm", "post_mlp_norm", "shared_attention_norm"), _OFF),
    **dict.fromkeys(("scale_embeddings", "lm_head_bias"), _OFF),
    **dict.fromkeys(("attention_logit_softcapping", "final_logit_softcapping", "latent_attention"), _NONE),
}
_LLAMA: Mapping[str, tuple[tuple[Any, ...], str]] = {
    "norm_class_name": (("RMSNorm",), "llama's is RMSNorm"),
    "mlp_class_name": (("LLaMAMLP",), "llama's is LLaMAMLP"),
    "parallel_residual": ((False,), "llama's attention and MLP follow one another"),
    "rotary_percentage": ((1,), "llama turns the whole head"),
}
_PYTHIA: Mapping[str, tuple[tuple[Any, ...], str]] = {
    "norm_class_name": (("LayerNorm",), "Pythia's is LayerNorm"),
    "mlp_class_name": (("GptNeoxMLP",), "Pythia's is GptNeoxMLP"),
    "parallel_residual": ((True,), "Pythia's attention and MLP stand side by side"),
    "bias": ((True,), "Pythia has biases"),
    "norm_qk": ((False,), "Pythia has no norm of queries and keys"),
}
# litgpt's defaults of what the tables above ask for.
_DEFAULTS: Mapping[str, Any] = {
    "norm_class_name": "LayerNorm",
    "mlp_class_name": "GptNeoxMLP",
    "parallel_residual": True,
    "bias": True,
    "rotary_percentage": 0.25,
    "attn_bias": False,
    "norm_qk": False,
}
# Keys that turn positions otherwise, or that some other key switches on: no tensor of a step by themselves.
_HARMLESS = (
    *("name", "attn_bias", "rope_condense_ratio", "rope_interleave", "rope_local_base_freq", "rope_indices"),
    *("gelu_approximate", "attention_scores_scalar", "sliding_window_indices", "n_expert_per_token", "n_shared_expert"),
    *("n_expert_groups", "n_topk_groups", "n_topk_scores_per_group", "first_k_dense_replace", "norm_topk_prob"),
    *("routed_scaling_factor", "moe_intermediate_size", "rope_adjustments"),
)
_HARMLESS_SECTIONS = ("hf_config", "rope_adjustments")


def is_litgpt(keys: Keys) -> bool:
    """Return whether a YAML file is a checkpoint's model_config.yaml, or a config of a litgpt command."""
    return _is_model(keys) or bool(
        {"model_name", "checkpoint_dir"} & keys.values.keys()
        and any(name.startswith("train.") or name == "precision" for name in keys.values)
    )


def _is_model(keys: Keys) -> bool:
    """Return whether a file is a model's config: with sizes as others have them, and a name that only litgpt has."""
    own = {"norm_class_name", "mlp_class_name", "padded_vocab_size", "padding_multiple"}
    return {"n_layer", "n_embd"} <= keys.values.keys() and bool(own & keys.values.keys())


def read_litgpt(keys: Keys, path: str, top: Settings) -> Reading:
    """Return the run in a litgpt file, or the model alone in a model_config.yaml, with what the user says of it."""
    reading = Reading(path, "litgpt", {})
    config = keys if _is_model(keys) else _config(keys, reading)
    said = _model(reading, config) if config is not None else {}
    window = config.get("sliding_window_size") if config is not None else None
    if config is keys:
        reading.notes.append("a model_config.yaml describes the model only; training is fwplan's own")
    else:
        said |= training(reading, keys, top)
    reading.settings = layer(said, top)
    if config is not keys and not ACCUMULATION & top.keys():
        accumulate(reading, keys)
    if window is not None and window.value is not None:
        ask_for_window(reading, window)
    for setting in keys.rest():
        reading.pass_over(setting.name, setting.line, setting.value)
    resolve(reading, top)
    reading.ask(("micro_batch_size",))
    if not reading.unknown:
        reading.document = assemble(reading.settings, path)
    return reading


def _config(keys: Keys, reading: Reading) -> Keys | None:
    """Return the model's config: as it is written out, or as litgpt has it under the name that is given."""
    written = keys.section("model_config")
    keys.get("model_config")  # null where a name says it
    called = keys.get("model_name") if keys.get("model_name").value is not None else keys.get("checkpoint_dir")
    if written.values:
        return written
    known = model_called(str(called.value))
    if known is None:
        reading.refuse(
            f"{called.name} {called.value!r}", called.line, "its sizes are not known here; model_config says them"
        )
        return None
    return Keys(known, dict.fromkeys(known, called.line or 1))


def _model(reading: Reading, config: Keys) -> Settings:
    """Return the model's shape; what litgpt can make of it beyond llama and Pythia is refused."""
    config.values = {**_DEFAULTS, **config.values}
    llama = "LLaMAMLP" in str(config.get("mlp_class_name").value) or config.get("norm_class_name").value == "RMSNorm"
    refuse_others(reading, config, {**_OF_BOTH, **(_LLAMA if llama else _PYTHIA)})
    for name in _HARMLESS:
        config.get(name)
    for name in _HARMLESS_SECTIONS:
        config.section(name)
    said = {field: config.get(name, default) for name, (field, default) in _FIELDS.items()}
    said["vocab_size"] = _vocabulary(config, reading.path)
    said["n_hidden"] = config.get("intermediate_size")
    groups, head = config.get("n_query_groups"), config.get("head_size")
    if llama:
        said |= _llama(config) | {"n_kv_head": groups, "head_width": head}
        reading.ask(() if said["n_hidden"].value is not None else ("n_hidden",))
    else:
        said |= {"architecture": Setting("mlp_class_name", "pythia"), "rotary_share": config.get("rotary_percentage")}
        heads, width = whole(said["n_head"], reading.path), whole(said["n_embd"], reading.path)
        for one, ours in ((groups, heads), (head, width // heads)):
            if one.value not in (None, ours):
                reading.refuse(f"{one.name} {one.value!r}", one.line, "Pythia's heads are all alike, its width cut up")
    return said


def _llama(config: Keys) -> Settings:
    everywhere, inside = config.get("bias"), config.get("attn_bias")
    biases = "all" if everywhere.value else "qkv" if inside.value else "none"
    return {
        "architecture": Setting("mlp_class_name", "llama"),
        "attention_bias": replace(everywhere if everywhere.value else inside, value=biases),
        "mlp_bias": everywhere,
        "qk_norm": config.get("norm_qk"),
    }


def _vocabulary(config: Keys, path: str) -> Setting:
    """Return the rows of embedding and head: as padded, or padded to a multiple as litgpt does."""
    padded, multiple = config.get("padded_vocab_size"), config.get("padding_multiple", 512)
    own = config.get("vocab_size", 50_254)
    if padded.value is not None:
        return padded
    return replace(own, value=-(-whole(own, path) // whole(multiple, path)) * whole(multiple, path))
