"""The sizes of models that litgpt knows by name (litgpt/config.py in github.com/Lightning-AI/litgpt at 2685705)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fwplan.configs.expressions import Value

_COLUMNS = (
    *("n_layer", "n_head", "n_query_groups", "head_size", "n_embd", "intermediate_size", "padded_vocab_size"),
    *("block_size", "norm_eps", "rope_base"),
)
_ROWS = {
    "pythia-14m": (6, 4, 4, 32, 128, 512, 50304, 512, 1e-05, 10000),
    "pythia-31m": (6, 8, 8, 32, 256, 1024, 50304, 1024, 1e-05, 10000),
    "pythia-70m": (6, 8, 8, 64, 512, 2048, 50304, 2048, 1e-05, 10000),
    "pythia-160m": (12, 12, 12, 64, 768, 3072, 50304, 2048, 1e-05, 10000),
    "pythia-410m": (24, 16, 16, 64, 1024, 4096, 50304, 2048, 1e-05, 10000),
    "pythia-1b": (16, 8, 8, 256, 2048, 8192, 50304, 2048, 1e-05, 10000),
    "pythia-1.4b": (24, 16, 16, 128, 2048, 8192, 50304, 2048, 1e-05, 10000),
    "pythia-2.8b": (32, 32, 32, 80, 2560, 10240, 50304, 2048, 1e-05, 10000),
    "pythia-6.9b": (32, 32, 32, 128, 4096, 16384, 50432, 2048, 1e-05, 10000),
    "pythia-12b": (36, 40, 40, 128, 5120, 20480, 50688, 2048, 1e-05, 10000),
    "open_llama_3b": (26, 32, 32, 100, 3200, 8640, 32000, 2048, 1e-06, 10000),
    "open_llama_7b": (32, 32, 32, 128, 4096, 11008, 32000, 2048, 1e-06, 10000),
    "open_llama_13b": (40, 40, 40, 128, 5120, 13824, 32000, 2048, 1e-06, 10000),
    "Llama-2-7b": (32, 32, 32, 128, 4096, 11008, 32000, 4096, 1e-05, 10000),
    "Llama-2-13b": (40, 40, 40, 128, 5120, 13824, 32000, 4096, 1e-05, 10000),
    "Llama-3-8B": (32, 32, 8, 128, 4096, 14336, 128256, 8192, 1e-05, 500000),
    "Llama-3.1-8B": (32, 32, 8, 128, 4096, 14336, 128256, 131072, 1e-05, 500000),
    "Llama-3.2-1B": (16, 32, 8, 64, 2048, 8192, 128256, 131072, 1e-05, 500000),
    "Llama-3.2-3B": (28, 24, 8, 128, 3072, 8192, 128256, 131072, 1e-05, 500000),
    "Mistral-7B-v0.2": (32, 32, 8, 128, 4096, 14336, 32000, 32768, 1e-05, 1000000),
    "Mistral-7B-v0.3": (32, 32, 8, 128, 4096, 14336, 32768, 32768, 1e-05, 1000000),
    "tiny-llama-1.1b": (22, 32, 4, 64, 2048, 5632, 32000, 2048, 1e-05, 10000),
    "micro-llama-300M": (12, 16, 4, 64, 1024, 5632, 32000, 2048, 1e-05, 10000),
    "SmolLM2-135M": (30, 9, 3, 64, 576, 1536, 49152, 8192, 1e-05, 100000),
    "SmolLM2-360M": (32, 15, 5, 64, 960, 2560, 49152, 8192, 1e-05, 100000),
    "SmolLM2-1.7B": (24, 32, 32, 64, 2048, 8192, 49152, 8192, 1e-05, 130000),
    "Qwen2.5-0.5B": (24, 14, 2, 64, 896, 4864, 151936, 32768, 1e-06, 1000000),
    "Qwen2.5-1.5B": (28, 12, 2, 128, 1536, 8960, 151936, 131072, 1e-06, 1000000),
    "Qwen2.5-3B": (36, 16, 2, 128, 2048, 11008, 151936, 32768, 1e-06, 1000000),
    "Qwen2.5-7B": (28, 28, 4, 128, 3584, 18944, 152064, 131072, 1e-06, 1000000),
    "Qwen2.5-14B": (48, 40, 8, 128, 5120, 13824, 152064, 131072, 1e-05, 1000000),
    "Qwen3-0.6B": (28, 16, 8, 128, 1024, 3072, 151936, 40960, 1e-06, 1000000),
    "Qwen3-1.7B": (28, 16, 8, 128, 2048, 6144, 151936, 40960, 1e-06, 1000000),
    "Qwen3-4B": (36, 32, 8, 128, 2560, 9728, 151936, 40960, 1e-06, 1000000),
    "Qwen3-8B": (36, 32, 8, 128, 4096, 12288, 151936, 40960, 1e-06, 1000000),
    "Qwen3-14B": (40, 40, 8, 128, 5120, 17408, 151936, 40960, 1e-06, 1000000),
}
_LLAMA: dict[str, Value] = {
    "norm_class_name": "RMSNorm",
    "mlp_class_name": "LLaMAMLP",
    "parallel_residual": False,
    "bias": False,
    "rotary_percentage": 1.0,
}
_OWN: dict[str, dict[str, Value]] = {  # by what their names begin with, over llama's
    "pythia": {},
    "Qwen2.5": _LLAMA | {"attn_bias": True},
    "Qwen3": _LLAMA | {"norm_qk": True},
}
_SAME_SIZES = ("-deduped", "-hf", "-Instruct-v0.2", "-Instruct-v0.3", "-Instruct", "-chat", "-Base")

_HUB = {
    "TinyLlama-1.1B": "tiny-llama-1.1b",
    "MicroLlama": "micro-llama-300M",
}  # by what their names on the Hub begin with


def model_called(name: str) -> Mapping[str, Value] | None:
    """Return the config of a model by the name that litgpt has for it, its organisation before it or not."""
    plain = name.rstrip("/").rpartition("/")[2]
    for suffix in _SAME_SIZES:
        plain = plain.removesuffix(suffix)
    plain = next((ours for start, ours in _HUB.items() if plain.startswith(start)), plain)
    row = _ROWS.get(plain)
    if row is None:
        return None
    kind = next((own for start, own in _OWN.items() if plain.startswith(start)), _LLAMA)
    return {**kind, **dict(zip(_COLUMNS, row, strict=True))}
