"""What transformers' config classes mean, one table a family: a key's field here, its default, what makes it another.

Defaults were read in transformers' configuration_*.py (github.com/huggingface/transformers at 008e574, for mistral
001f85b): what a config.json leaves out is that class's default.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fwplan.configs.expressions import Value


@dataclass(frozen=True)
class Family:
    """One family of models.

    Attributes:
        architecture: what it is here; None: GPT-2, which needs no name.
        fields: the file's key -> the field of the architecture.
        defaults: field -> the value where the file says nothing.
        always: field -> the value that all models of the family have.
        values: field -> what the file's values of it are called here, where that is another.
        only: key -> the values that are this family's as it is counted; any other makes another model.
        harmless: keys that change nothing of what a step of training keeps.
        windowed: the key that turns attention through windows on; "": a `sliding_window` alone does; None: it has none.
    """

    architecture: str | None
    fields: Mapping[str, str]
    defaults: Mapping[str, Value]
    only: Mapping[str, tuple[Any, ...]]
    always: Mapping[str, Value] = field(default_factory=dict)
    values: Mapping[str, Mapping[Any, Value]] = field(default_factory=dict)
    harmless: frozenset[str] = frozenset()
    windowed: str | None = None


_GELU = ("gelu", "gelu_new", "gelu_fast", "gelu_python", "gelu_pytorch_tanh", None)
_OFF = (False, None)
_NONE = (0, None)
_NO_QUANTIZATION: dict[str, tuple[Any, ...]] = {
    "quantization_config": (None,),
    "gradient_checkpointing": _OFF,
    "pruned_heads": ({}, None),
}

GPT2 = Family(
    architecture=None,
    fields={
        **dict.fromkeys(("n_layer", "num_hidden_layers"), "n_layer"),
        **dict.fromkeys(("n_head", "num_attention_heads"), "n_head"),
        **dict.fromkeys(("n_embd", "hidden_size"), "n_embd"),
        **dict.fromkeys(("n_positions", "n_ctx", "max_position_embeddings"), "context_length"),
        "vocab_size": "vocab_size",
        "resid_pdrop": "dropout",
        "tie_word_embeddings": "tied_embeddings",
    },
    defaults={"n_layer": 12, "n_head": 12, "n_embd": 768, "context_length": 1024, "vocab_size": 50_257, "dropout": 0.1},
    always={"bias": True},
    only={
        **_NO_QUANTIZATION,
        "activation_function": _GELU,
        "add_cross_attention": _OFF,
        "reorder_and_upcast_attn": _OFF,
    },
    harmless=frozenset(
        {
            *("n_inner", "layer_norm_epsilon", "scale_attn_weights", "scale_attn_by_inverse_layer_idx", "attn_pdrop"),
            *("embd_pdrop", "summary_type", "summary_use_proj", "summary_activation", "summary_proj_to_labels"),
            "summary_first_dropout",
        }
    ),
)

_DECODER = {
    "num_hidden_layers": "n_layer",
    "num_attention_heads": "n_head",
    "hidden_size": "n_embd",
    "intermediate_size": "n_hidden",
    "vocab_size": "vocab_size",
    "max_position_embeddings": "context_length",
    "tie_word_embeddings": "tied_embeddings",
}
_LLAMA = _DECODER | {
    "num_key_value_heads": "n_kv_head",
    "head_dim": "head_width",
    "rms_norm_eps": "norm_eps",
    "rope_theta": "rope_theta",
}
_LLAMA_SIZES = {
    "n_layer": 32,
    "n_head": 32,
    "n_embd": 4096,
    "n_kv_head": None,
    "head_width": None,
    "norm_eps": 1e-6,
    "tied_embeddings": False,
    "rope_theta": 10_000.0,
}
_LLAMA_ONLY = {
    **_NO_QUANTIZATION,
    "hidden_act": ("silu", "swish"),
    "attention_dropout": _NONE,
    "partial_rotary_factor": (1, None),
}
_BIASES = {"attention_bias": {True: "all", False: "none"}}
_ROPE = frozenset({"rope_scaling", "rope_parameters", "pretraining_tp", "use_sliding_window", "sliding_window"})
_MINIMIND_EXPERTS = frozenset(  # written whether it has any or not
    {
        *("num_experts", "num_experts_per_tok", "moe_intermediate_size", "norm_topk_prob", "router_aux_loss_coef"),
        *("n_routed_experts", "n_shared_experts", "scoring_func", "aux_loss_alpha", "seq_aux"),
    }
)
_WINDOWS = _ROPE | {"max_window_layers", "layer_types"}

LLAMA = Family(
    architecture="llama",
    fields=_LLAMA | {"attention_bias": "attention_bias", "mlp_bias": "mlp_bias"},
    defaults=_LLAMA_SIZES | {"n_hidden": 11_008, "vocab_size": 32_000, "context_length": 2048},
    values=_BIASES,
    only=_LLAMA_ONLY,
    harmless=_ROPE,
)
QWEN2 = Family(
    architecture="llama",
    fields=_LLAMA,
    defaults=_LLAMA_SIZES | {"n_hidden": 22_016, "vocab_size": 151_936, "context_length": 32_768, "n_kv_head": 32},
    always={"attention_bias": "qkv"},
    only=_LLAMA_ONLY,
    harmless=_WINDOWS,
    windowed="use_sliding_window",
)
QWEN3 = Family(
    architecture="llama",
    fields=_LLAMA | {"attention_bias": "attention_bias"},
    defaults={**QWEN2.defaults, "head_width": 128},
    always={"qk_norm": True},
    values=_BIASES,
    only=_LLAMA_ONLY,
    harmless=_WINDOWS,
    windowed="use_sliding_window",
)
MISTRAL = Family(
    architecture="llama",
    fields=_LLAMA,
    defaults=_LLAMA_SIZES | {"n_hidden": 14_336, "vocab_size": 32_000, "context_length": 131_072, "n_kv_head": 8},
    only=_LLAMA_ONLY,
    harmless=_WINDOWS,
    windowed="",
)
GPT_NEOX = Family(
    architecture="pythia",
    fields=_DECODER
    | {"layer_norm_eps": "norm_eps", "rotary_pct": "rotary_share", "rotary_emb_base": "rope_theta"}
    | {"rope_theta": "rope_theta", "partial_rotary_factor": "rotary_share"},
    defaults={
        "n_layer": 44,
        "n_head": 64,
        "n_embd": 6144,
        "n_hidden": 24_576,
        "vocab_size": 50_432,
        "context_length": 2048,
        "tied_embeddings": False,
        "norm_eps": 1e-5,
        "rotary_share": 0.25,
        "rope_theta": 10_000.0,
    },
    only={
        **_NO_QUANTIZATION,
        "hidden_act": _GELU[:-1],
        "use_parallel_residual": (True,),
        "attention_bias": (True,),
        "attention_dropout": _NONE,
        "hidden_dropout": _NONE,
    },
    harmless=frozenset({"rope_scaling", "rope_parameters", "classifier_dropout"}),
)
# minimind's own class, read in github.com/jingyaogong/minimind at d65ef2c. Before its q/k norm (101d7df, 2026-03-24)
# it wrote no head_dim, and its sizes were others.
MINIMIND = Family(
    architecture="llama",
    fields=_LLAMA,
    defaults={
        "n_layer": 8,
        "n_head": 8,
        "n_embd": 768,
        "n_kv_head": 4,
        "vocab_size": 6400,
        "context_length": 32_768,
        "norm_eps": 1e-6,
        "rope_theta": 1e6,
        "tied_embeddings": True,
    },
    always={"qk_norm": True},
    only=_LLAMA_ONLY | {"use_moe": (False, 0, None), "dropout": _NONE},
    harmless=_ROPE | {"inference_rope_scaling", "flash_attn"} | _MINIMIND_EXPERTS,
)
MINIMIND_2 = replace(
    MINIMIND,
    defaults={**MINIMIND.defaults, "n_embd": 512, "n_kv_head": 2, "head_width": None, "norm_eps": 1e-5},
    always={"qk_norm": False},
)

FAMILIES = {
    "gpt2": GPT2,
    "llama": LLAMA,
    "qwen2": QWEN2,
    "qwen3": QWEN3,
    "mistral": MISTRAL,
    "gpt_neox": GPT_NEOX,
    "minimind": MINIMIND,
}
# How a config.json without its model_type is known: by the class that it names.
CLASSES = {
    "GPT2": "gpt2",
    "Llama": "llama",
    "Qwen2": "qwen2",
    "Qwen3": "qwen3",
    "Mistral": "mistral",
    "GPTNeoX": "gpt_neox",
    "MiniMind": "minimind",
}
# The keys of every config.json that name files, tokens, what it generates or classifies: no tensor of a step.
HARMLESS = frozenset(
    {
        *("model_type", "architectures", "transformers_version", "_name_or_path", "initializer_range", "use_cache"),
        *("torch_dtype", "dtype", "bos_token_id", "eos_token_id", "pad_token_id", "task_specific_params", "id2label"),
        *("label2id", "finetuning_task", "problem_type", "output_past", "output_hidden_states", "output_attentions"),
        *("return_dict", "is_decoder", "is_encoder_decoder", "predict_special_tokens", "auto_map", "_commit_hash"),
        *("_attn_implementation_autoset", "tokenizer_class", "attn_implementation", "_attn_implementation"),
        *("chunk_size_feed_forward", "tie_encoder_decoder", "num_labels", "rope_interleaved", "unk_token_id"),
        *("is_llama_config", "transformers.js_config", "mask_token_id", "sep_token_id"),
    }
)
