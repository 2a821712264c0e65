"""What fwplan does not count: settings and source code that make another model than GPT-2's, or a step that keeps more.

All of it stands here, so that the list shrinks in one place when more is counted. A run with any of it gets no verdict.
"""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING

from fwplan.configs.nodes import nodes

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from fwplan.configs.expressions import Value

_ACTIVATION, OPTIMIZER = "another activation than GELU", "another optimizer"
AGAIN, CHECKPOINTED = "blocks that are run again", "blocks that are checkpointed"
_ARCHITECTURE = "another architecture"
# What the words of a setting's name, or of a name in a model's source, say the model has.
_FAMILIES = {
    "grouped-query attention": ("kv", "gqa", "mqa", "groups"),
    "a mixture of experts": ("moe", "expert", "experts", "router", "routed"),
    "latent attention": ("latent", "mla"),
    "low-rank adapters": ("lora", "peft"),
    "rotary positions": ("rope", "rotary", "rot"),
    "positions other than learned ones": ("alibi", "nope", "sinusoidal"),
    "RMSNorm": ("rms", "rmsnorm"),
    "a norm of queries and keys": ("qk", "qknorm"),
    "a gated feed-forward layer": ("swiglu", "geglu", "reglu", "glu", "silu", "swish"),
    "a feed-forward layer of another width": ("ffn", "mlp", "intermediate", "multiple", "ff"),
    "attention through a window": ("sliding", "swa"),
    "layers other than attention": ("mamba", "ssm", "rwkv", "hyena", "retnet", "conv", "deltanet", "retention", "xpos"),
    _ARCHITECTURE: ("llama", "mistral", "qwen", "gemma", "bert", "diffusion", "vision"),
    CHECKPOINTED: ("checkpointing",),
    AGAIN: ("recurrence", "recurrent", "loops", "looped", "recur"),
    "tokens predicted further ahead": ("mtp",),
    OPTIMIZER: ("muon", "sophia", "lion", "shampoo", "soap", "adafactor", "schedulefree"),
    "weights or gradients cut up over processes": ("deepspeed", "fsdp"),
    "weights that are quantized": ("quantize", "quantized", "quantization", "bitnet", "fp8", "nf4", "qat"),
}
_FAMILY = {word: family for family, words in _FAMILIES.items() for word in words}
# In a model's source these words are common without meaning any of that: MLP is GPT-2's own class.
_ONLY_AS_SETTINGS = frozenset({"mlp", "ffn", "ff", "multiple", "conv", "groups", "kv", "loops", "rot", "intermediate"})
_HARMLESS_BESIDE = frozenset(
    {"interval", "freq", "every", "cache", "lr", "eps", "decay", "dir", "path", "name", "bias", "beta", "momentum"}
)
# A setting that names a choice, and the choices that are GPT-2's.
_CHOICES = {
    "norm": {"layernorm", "layer_norm", "ln", "layer", "pre", "prenorm", "pre_norm"},
    "activation": {"gelu", "gelu_new", "gelu_fast", "gelu_python", "gelu_pytorch_tanh", "gelu_tanh"},
    "pos": {"learned", "absolute", "learnable", "wpe"},
    "position": {"learned", "absolute", "learnable", "wpe"},
    "architecture": {"gpt2", "gpt", "nanogpt"},
    "arch": {"gpt2", "gpt", "nanogpt"},
    "attention": {"causal", "full", "mha", "flash", "softmax", "standard"},
    "attn": {"causal", "full", "mha", "flash", "softmax", "standard", "sdpa"},
    "optimizer": {"adamw", "adam", "adamw_8bit", "sgd"},
}
_TAILS = frozenset({"type", "kind", "function", "fn", "embedding", "emb", "encoding", "name", "layer", "variant"})

# Words of names that say where a run logs, saves, reads, or how long and how fast it learns: none holds a tensor.
_HARMLESS = {
    *("log", "logs", "logging", "wandb", "tensorboard", "project", "name", "run", "note", "notes", "description"),
    *("author", "entity", "dir", "path", "file", "folder", "root", "save", "ckpt", "url", "repo", "tag", "version"),
    *("date", "time", "seed", "interval", "freq", "frequency", "every", "print", "verbose", "backend", "port", "host"),
    *("master", "node", "nodes", "nproc", "rank", "gpu", "gpus", "workers", "pin", "resume", "data", "dataset"),
    *("tokenizer", "sample", "samples", "temperature", "prompt", "start", "lr", "learning", "rate", "decay", "warmup"),
    *("eps", "epsilon", "patience", "epoch", "epochs", "iters", "iterations", "steps", "api", "key", "metric"),
    *("metrics", "progress", "bar", "upload", "push", "hub", "license", "debug", "profile"),
}


def may_change_memory(name: str, value: Value) -> bool:
    """Return whether an unknown setting may change what a step keeps: it may, unless its name or value says not.

    A switch that is off changes nothing; None is a value that could not be read, or no value, and may be anything.
    """
    return value is not False and not _HARMLESS & set(_words(name))


def structure(name: str, value: Value, sizes: Mapping[str, Value]) -> str | None:
    """Return what a setting makes of the model that is not counted; None: nothing, as far as its name and value tell.

    `sizes` are the run's settings by canonical name: as many key and value heads as heads is what GPT-2 has.
    """
    if value is False or value is None or value in ("", "none", "None", 0):
        return None
    words = _words(name)
    if isinstance(value, str):
        kind = _kind(words)
        if kind is not None:
            return None if value.lower() in _CHOICES[kind] else f"{kind} {value!r}"
    family = _family(words)
    if family is None or _as_in_gpt2(words, value, sizes):
        return None
    return family


_CHOSEN = {  # what the choice of GPT-2's kind leaves out
    "norm": ("RMSNorm",),
    "activation": ("a gated feed-forward layer", _ACTIVATION),
    "pos": ("rotary positions", "positions other than learned ones"),
    "position": ("rotary positions", "positions other than learned ones"),
    "optimizer": (OPTIMIZER,),
}


def switched_off(names: Mapping[str, Value]) -> frozenset[str]:
    """Return what settings say is off, so that other settings say nothing of it: use_rope, optimizer = "adamw"."""
    off: set[str] = set()
    for name, value in names.items():
        words = _words(name)
        family = _family(words)
        if family is not None and (value is False or value in (0, "", "none")):
            off.add(family)
        kind = _kind(words)
        if kind is not None and isinstance(value, str) and value.lower() in _CHOICES[kind]:
            off.update(_CHOSEN.get(kind, ()))
    return frozenset(off)


def _kind(words: tuple[str, ...]) -> str | None:
    """Return what a setting of such a name chooses: norm_type, activation."""
    return next((word for word in words if word in _CHOICES and (len(words) == 1 or _TAILS & set(words))), None)


def _family(words: tuple[str, ...]) -> str | None:
    if _HARMLESS_BESIDE & set(words):  # rope_cache, but llama_path too
        return next((_FAMILY[word] for word in words if _FAMILY.get(word) == _ARCHITECTURE), None)
    if {"key", "value"} <= set(words):
        return _FAMILY["kv"]
    return next((_FAMILY[word] for word in words if word in _FAMILY), None)


def _as_in_gpt2(words: tuple[str, ...], value: Value, sizes: Mapping[str, Value]) -> bool:
    """Return whether a number is what GPT-2 has: as many key and value heads as heads, a feed-forward of 4 widths."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    if "kv" in words or {"key", "value"} <= set(words):
        return value == sizes.get("n_head")
    if {"mlp", "ffn", "ff", "intermediate"} & set(words):
        width = sizes.get("n_embd")
        return value == 4 or (isinstance(width, int) and value == 4 * width)
    return "expert" in words or "experts" in words if value == 1 else False


def _words(name: str) -> tuple[str, ...]:
    """Return the words of a name, in lower case: n_kv_head, numKVHeads."""
    return tuple(word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+", name[:100]))


def uncounted_source(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Yield what the source of a model has that is not counted, each once, with the line that says so."""
    seen = set()
    first: dict[str, int] = {}
    for name, line in _names(tree):
        first.setdefault(name, line)
    for name, line in first.items():
        words = _words(name)
        family = _family(tuple(word for word in words if word not in _ONLY_AS_SETTINGS)) or _by_name(name)
        if family is not None and family not in seen:
            seen.add(family)
            yield family, line


def _by_name(name: str) -> str | None:
    match name:
        case "n_kv_head" | "n_kv_heads" | "num_kv_heads" | "repeat_kv" | "enable_gqa" | "num_key_value_heads":
            return "grouped-query attention"
        case "RMSNorm" | "rms_norm" | "rmsnorm":
            return "RMSNorm"
        case "relu" | "ReLU" | "leaky_relu" | "SiLU" | "Mish" | "relu2":
            return _ACTIVATION
        case "flex_attention" | "create_block_mask":
            return "attention through a mask"
        case _:
            return None


def _names(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Yield the names that source code defines, calls and looks up."""
    yield from ((node.name, node.lineno) for node in nodes(tree, ast.ClassDef))
    yield from ((node.name, node.lineno) for node in nodes(tree, ast.FunctionDef))
    yield from ((node.attr, node.lineno) for node in nodes(tree, ast.Attribute))
    yield from ((node.id, node.lineno) for node in nodes(tree, ast.Name))
    for node in nodes(tree, ast.keyword):
        if node.arg and isinstance(node.value, ast.Constant) and node.value.value is not False:
            yield node.arg, node.value.lineno
