"""The only empirical constants of the memory estimate: each with its value, evidence, range and device.

Changing one must move a fixture in tests/estimators/test_published.py.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

from fwplan.units import MIB


@dataclass(frozen=True)
class Range:
    """An interval of bytes or of a ratio, with the point in it that is used alone."""

    low: float
    point: float
    high: float

    @property
    def ends(self) -> tuple[int, int]:
        """Both ends, in whole bytes."""
        return round(self.low), round(self.high)


# Workspaces that cuBLAS takes from torch's caching allocator, hence part of "allocated": one for each handle and
# stream, which are two, as forward and backward run in threads of their own (getCurrentCUDABlasHandle and
# parseChosenWorkspaceSize, aten/src/ATen/cuda/CublasHandlePool.cpp). A handle's is 8.125 MiB, on Hopper 32; newer torch
# takes 32 on Blackwell too. ROCm: 32, on gfx942 and gfx950 128, and 76 of hipBLASLt's beside it.
# Evidence: published peaks of the gollem 124M GPT (Jjschwartz/gollem, torch 2.5.1) less their lines. What a replay of
# the traced step leaves on 24 GB cards: 15 to 21 MiB. H100, compiled, micro-batch 2 to 32: 77 to 81, of which unsplit
# blocks take about 13, and checkpointed at micro-batch 1 52 more than the 24 GB card. Rejected: 29 MiB for all cards,
# which was those unsplit blocks on the 24 GB cards, and hid 36 MiB of buffers on the H100.
# Low: torch after 2.11 may leave the workspace to cuBLAS, outside the allocator (TORCH_CUBLAS_WORKSPACE_CACHE).
# High: a third handle, and the unsplit blocks of a 124M model.
HANDLES = 2
UNSPLIT = 13 * MIB
_32_MIB = re.compile(r"\b(?:G?H[12]00|H800|H20|G?B[123]00|GB10|RTX 50[5-9]0|Blackwell)\b", re.IGNORECASE)
_ROCM_128_MIB = re.compile(r"\bMI3\d\d", re.IGNORECASE)
_ROCM = re.compile(r"\b(?:Radeon|Instinct|MI\d\d\d)", re.IGNORECASE)
HIPBLASLT = 76 * MIB


def _of_handles(size: float, more: float = 0) -> Range:
    return Range(0, HANDLES * size, (HANDLES + 1) * size + UNSPLIT + HANDLES * more)


_SMALL_HANDLES, _LARGE_HANDLES = _of_handles(8.125 * MIB), _of_handles(32 * MIB)
CUDA_WORKSPACES = Range(0, _SMALL_HANDLES.point, _LARGE_HANDLES.high)  # of a card that is not named


@cache
def workspaces(name: str | None) -> Range:
    """Return the bytes that cuBLAS's workspaces take on a card of this name, as the table or its driver calls it."""
    if name is None:
        return CUDA_WORKSPACES
    if _ROCM.search(name):
        return _of_handles((128 if _ROCM_128_MIB.search(name) else 32) * MIB, HIPBLASLT)
    return _LARGE_HANDLES if _32_MIB.search(name) else _SMALL_HANDLES


# Unproven parts of a compiled step. From torch 2.6 on inductor may write the logits' gradient over the logits
# (donated buffers), which is 2 of the 4 bytes a logit; seen on CPU with torch 2.13, unconfirmed on CUDA.
# Where 8 does not divide V, inductor's pad_mm times on the card itself, for each of the two products that take the
# logits' gradient, whether a padded copy of it pays (_should_pad, torch/_inductor/fx_passes/pad_mm.py). Two copies
# beside the logits are 2 bytes a logit more than one: inferred from the gollem rows, which have one at width 768 (24 GB
# card and H100, micro-batch 1 to 64) and 2.0 bytes a logit more at width 1600 (GPT-2 XL on an 80 GB H100, at any
# micro-batch, checkpointed or not). The point keeps one copy, the high end holds two. Rejected as the cause: dropout,
# which is 0 there, a checkpointed top block's recomputation, which the rows without checkpointing do not have.
# Upward: compiled peaks that return the logits are confirmed on CPU only (6 bytes a logit), and trusted to 10 %.
# No constant for the first step's autotuning. Default mode benchmarks no matmul but pad_mm's, on random inputs made
# while no activation is alive; kernels are timed on their own arguments, and what they would overwrite is copied to the
# host where a clone would raise the peak (CachingAutotuner.copy_args_to_cpu_if_needed, torch 2.13). Read, not measured.
COMPILED_ABOVE = 0.05
COMPILED_LOGITS_ABOVE = 0.10
# An eager step is exact but for the workspaces and the allocator's 512-byte rounding.
EAGER_ERROR = 0.005
# AdamW in 8 bits: its state is bitsandbytes' to the byte (tests/train/test_optim.py); what its kernels take on a GPU
# beside it is unknown, and nothing by their source.
QUANTISED_ERROR = 0.02
# Modes that nobody has measured here (DDP, ZeRO-1): one published run on 8 GPUs lay 17 % above the formula before DDP's
# buckets counted for ZeRO-1 too. Until several GPUs are modelled.
UNPROVEN_ERROR = 0.20

# Live tensors are exact; torch's statistic `allocated` counts blocks, and a cached block that is less than 1 MiB too
# large (512 bytes in the pool of small blocks; should_split, c10/cuda/CUDACachingAllocator.cpp) is given away whole.
# Replays of traced steps (benchmarks/unsplit.py): median 0.3 %, most with small vocabularies: 3.3 %.
UNSPLIT_SHARE = 0.04

# Over the allocated peak: what the caching allocator reserves while nobody limits it, and the least it can do with when
# memory is scarce, giving cached blocks back and trying again before it fails. Replays of traced steps of GPT-2-like
# runs through fwplan/allocator (benchmarks/reserved.py: 5th, 50th and 95th percentile); no GPU has confirmed them yet,
# but for two OOM messages on nearly full cards, which quote 1.003 and 1.015 (nanoGPT issues 61 and 88). Free space
# between large blocks is what cannot be given back: with expandable segments most of it can.
# The full loss's few large tensors leave more room between blocks than a chunked loss does.
RESERVED = {"full": Range(1.016, 1.090, 1.280), "chunked": Range(1.019, 1.058, 1.155)}
LEAST_RESERVED = {"full": Range(1.015, 1.071, 1.271), "chunked": Range(1.003, 1.040, 1.093)}
EXPANDABLE_RESERVED = {"full": Range(1.005, 1.040, 1.152), "chunked": Range(1.003, 1.017, 1.077)}
EXPANDABLE_LEAST_RESERVED = {"full": Range(1.003, 1.010, 1.044), "chunked": Range(1.002, 1.009, 1.038)}

# What the driver takes for a CUDA context and its loaded kernels, outside the caching allocator. Recalled, not read in
# a source and published beside no row we have: 0.25-0.55 GiB. A run on CUDA measures it (device used - reserved).
CUDA_CONTEXT = Range(256 * MIB, 307 * MIB, 563 * MIB)

# A desktop session on the card that also trains: about 430 MiB (RTX 4070, Linux). Assumed for a consumer card that is
# named but not detected; a detected card says how much is in use.
DESKTOP_BYTES = 430 * MIB

# Resident memory of a CPU run beyond its live tensors. Measured on Linux x86-64 with torch 2.13, dry runs of 2 MiB to
# 2.1 GiB of live tensors: 325 MiB of interpreter and torch's libraries, and 1.09 to 1.35 bytes resident for each live
# one (the C allocator, oneDNN's scratch, the profiler's own events). Of 12 later runs (benchmarks/resident.py) one with
# 536 MiB live had 1,304 resident, 1.82 for each beyond the interpreter: the high end is 1.6 with a runtime of 500 MiB.
CPU_RUNTIME = Range(280 * MIB, 330 * MIB, 500 * MIB)
CPU_RESIDENT_OVER_LIVE = Range(1.0, 1.15, 1.6)
