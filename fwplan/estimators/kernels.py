"""The empirical constants of the roofline, fitted to half of the published throughput rows (benchmarks/throughput.py).

Evidence: gollem's GPT-2 124M on an H100 and a 24 GB Ampere GeForce, micro-batch 1 to 64, and llm-foundry's MPT 125M to
7B on A100 and H100 (8 GPUs, FSDP). The other half, which no constant has seen, says how far they are to be trusted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Family = Literal["geforce", "hopper", "other"]
HEAD_DIM = 64  # assumed where "math" attention materialises its scores


@dataclass(frozen=True)
class Efficiency:
    """Shares of a card's half-precision peak: of full products, of FlashAttention, of fp32 products."""

    product: float
    attention: float
    fp32: float


OF: dict[Family, Efficiency] = {
    "geforce": Efficiency(1.0, 0.60, 0.40),
    "hopper": Efficiency(0.70, 0.17, 0.10),
    "other": Efficiency(0.82, 0.32, 0.20),
}
BANDWIDTH_SHARE = 0.7  # of the data sheet's figure
WASTE_CHARGED = 1.0  # of a last wave's idle SMs

# Bytes moved between products, per element of (N, C) and block, forward and backward: compiled, eager. By hand: norms,
# casts, residual adds and GELU, each tensor read and written where it is not fused.
CHANNEL_BYTES = (90.0, 235.0)
LOGIT_BYTES = {"full": (10.0, 24.0), "chunked": (30.0, 30.0)}
# More of them where 8 does not divide the vocabulary: copies for padding, or slow products. All gollem rows are such.
UNPADDED_LOGIT_BYTES = 12.0
PURE_SHARE = 0.97
SCORE_PASSES = 2.8
CAST_BYTES = 12.0  # fp32 weight read, bf16 copy written; bf16 gradient read, fp32 one written
ACCUMULATE_BYTES = 8.0
OPTIMIZER_BYTES = {"fused": 40.0, "foreach": 100.0, "for_loop": 100.0}

KERNELS_PER_BLOCK = (30.0, 70.0)
LAUNCH_SECONDS = 4.8e-6
HOST_BLOCK_SECONDS = (0.59e-3, 0.56e-3)
OPTIMIZER_HOST_SECONDS = {"fused": 39e-6, "foreach": 40e-6, "for_loop": 100e-6}
