"""The empirical constants of the roofline, fitted to half of the published throughput rows (benchmarks/throughput.py).

Evidence: gollem's GPT-2 124M on an H100 and a 24 GB Ampere GeForce, micro-batch 1 to 64, and llm-foundry's MPT 125M to
7B on A100 and H100 (8 GPUs, FSDP). The other half, which no constant has seen, says how far they are to be trusted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from fwplan.spec import TrainSpec

Family = Literal["geforce", "hopper", "other"]


@dataclass(frozen=True)
class Efficiency:
    """What full products reach of a card's half-precision peak, FlashAttention of it, plain fp32 products of theirs."""

    product: float
    attention: float
    fp32: float


# The last column was no part of the fit: it is what the fp32 rows leave when all else of the step is taken off.
# geforce: gollem's RTX 3090 at micro-batch 1, 90 ms a step: 0.55 to 0.7 of 35.6 TFLOPS; its 128 fp32 lanes share their
# path with integers. hopper: gollem's H100 baseline, 38 ms: 0.8 of 67. other: nanoGPT's attention in plain fp32 on an
# A100 is recalled as 1,000 ms for 16 x 1,024 tokens: 0.9 of 19.5. Rejected: shares of the half-precision peak (0.40,
# 0.10, 0.20), which are TF32's rate on an A100 and lie above the peak of a T4 or V100.
OF: dict[Family, Efficiency] = {
    "geforce": Efficiency(1.0, 0.60, 0.70),
    "hopper": Efficiency(0.70, 0.17, 0.80),
    "other": Efficiency(0.82, 0.32, 0.90),
}
BANDWIDTH_SHARE = 0.7  # of the data sheet's figure
WASTE_CHARGED = 1.0  # of a last wave's idle SMs

# Bytes moved between products over those counted (fwplan/estimators/work), compiled and eager. GPT-2's block counts 108
# and 172 bytes an element of (N, C), forward and backward; the fit gave 90 and 235: compiled, products leave some of
# what the next kernel reads in the card's cache; eager, kernels read more than once, copy and fill with zeros.
TRAFFIC = (90 / 108, 235 / 172)
LOGIT_BYTES = {"full": (10.0, 24.0), "chunked": (30.0, 30.0)}
# More of them where 8 does not divide the vocabulary: copies for padding, or slow products. All gollem rows are such.
UNPADDED_LOGIT_BYTES = 12.0
PURE_SHARE = 0.97
# Fused attention in fp32 takes so much longer than in half precision: xformers' kernel, which torch's "efficient" is,
# 5,843 us against 1,679 on an A100 (64 x 1,024 tokens, 16 heads of 64; facebookresearch/xformers pull request 587).
FP32_ATTENTION = 3.5
CAST_BYTES = 12.0  # fp32 weight read, bf16 copy written; bf16 gradient read, fp32 one written
ACCUMULATE_BYTES = 8.0
# Passes over all gradients: clipping reads them, then scales them.
CLIP_PASSES = 3

# Kernels launched over those counted, compiled and eager: the fit gave 30 and 70 to GPT-2's block, which counts 32 and
# 42; and the host's seconds for each that is counted.
LAUNCHED = (30 / 32, 70 / 42)
LAUNCH_SECONDS = 4.8e-6
HOST_KERNEL_SECONDS = (0.59e-3 / 32, 0.56e-3 / 42)
# A tensor's share of clipping and optimizer, and what each kernel that is launched for it alone adds. The fit gave 39,
# 40 and 100 us for a fused, foreach and for_loop AdamW, which launches eight a tensor. On an H100 the first is not
# hidden behind the GPU's work (gollem's micro-batches 4 and 8 would be 18 % too fast), the second is (its fp32 row).
TENSOR_HOST_SECONDS = 40e-6
KERNEL_HOST_SECONDS = 7.5e-6


def traffic_share(train: TrainSpec) -> float:
    """Return the bytes moved between products over those counted, which are autocast's in every precision.

    Rejected: counting each precision's own. A pure bf16 block counts 96 bytes an element where autocast's counts 172,
    but llm-foundry's 21 pure rows would be 7 % too fast.
    """
    return TRAFFIC[not train.compile] * (PURE_SHARE if train.dtype == "pure_bfloat16" else 1)


def score_bytes(train: TrainSpec) -> tuple[int, int]:
    """Return bytes read and written per score of an attention by formula: forward, backward.

    Counted in fwplan/model/modules/attention.py's, which is nanoGPT's. Forward: the product writes a score, a; scaling
    2 a; masked_fill copies, then fills, 4 a; softmax 2 w; the second product reads it, a. Backward: its gradient a,
    that of v a, softmax 3 w, masked_fill 4 a, scaling 2 a, the gradients of q and k 2 a. Under autocast softmax is in
    fp32, between two casts of a + 4 each way. Compiled, all between the products is one kernel each way that reads and
    writes once, and keeps the probabilities in fp32. Rejected: 2.8 passes forward and twice that backward, for either.
    """
    a = 4 if train.dtype == "float32" else 2
    if train.compile:
        return 4 * a + 4, 6 * a + 4
    w, casts = (4, 2 * (a + 4)) if train.dtype in {"bfloat16", "float16"} else (a, 0)
    return 8 * a + 2 * w + casts, 10 * a + 3 * w + casts
