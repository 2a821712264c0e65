"""The arguments of nanochat's own base_train.py at 92d63d4 (2026-07-03)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fwplan.configs.settings import Setting, Settings

if TYPE_CHECKING:
    from fwplan.configs.expressions import Value

# By the names of its variables.
DEFAULTS: dict[str, Value] = {
    "device_type": "",
    "fp8": False,
    "depth": 20,
    "aspect_ratio": 64,
    "head_dim": 128,
    "max_seq_len": 2048,
    "window_pattern": "SSSL",
    "num_iterations": -1,
    "target_flops": -1.0,
    "target_param_data_ratio": 12,
    "device_batch_size": 32,
    "total_batch_size": -1,
    "matrix_lr": 0.02,
    "weight_decay": 0.28,
    "warmup_steps": 40,
    "unembedding_lr": 0.008,
    "final_lr_frac": 0.05,
    "eval_every": 250,
    "eval_tokens": 80 * 524_288,
    "resume_from_step": -1,
}
# Read by nobody here: rates of what is no matrix, other evaluations, names.
_HARMLESS = (
    *("run", "fp8_recipe", "embedding_lr", "scalar_lr", "warmdown_ratio", "core_metric_every"),
    *("core_metric_max_per_task", "sample_every", "save_every", "model_tag"),
)


def own_defaults() -> Settings:
    """Return nanochat's own arguments."""
    values = {**DEFAULTS, **dict.fromkeys(_HARMLESS)}
    return {name: Setting(name, value, origin="default") for name, value in values.items()}
