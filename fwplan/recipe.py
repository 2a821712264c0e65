"""The rest of a training recipe once the model and the tokens are known: batch, learning rate, schedule."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from fwplan.estimators.speed import model_flops

if TYPE_CHECKING:
    from fwplan.spec import RunSpec

# GPT-2's and nanoGPT's customary half a million tokens a step; more buys nothing at this scale.
CUSTOMARY_TOKENS_PER_STEP = 524_288


LEAST_STEPS = 250  # fewer steps than this leave no room for a warm-up and a decay


def tokens_per_step(tokens: float, work: float) -> int:
    """Return the batch in tokens: a power of two, at most the customary 524,288.

    DeepSeek LLM's 0.2920 * C^0.3271 (arXiv 2401.02954), rounded up to a power of two; less where the tokens would
    otherwise last for fewer than 250 steps.
    """
    advised = 2 ** max(0, (round(advised_tokens_per_step(work)) - 1).bit_length())
    affordable = 2 ** max(0, int(tokens / LEAST_STEPS).bit_length() - 1)
    return int(min(CUSTOMARY_TOKENS_PER_STEP, advised, affordable))


def learning_rate(work: float) -> float:
    """Return the peak learning rate: DeepSeek LLM's 0.3118 * C^-0.125 (arXiv 2401.02954), to two digits.

    Fitted on 1e17 to 2e19 FLOP; below that it is capped at 3e-3.
    """
    return float(f"{min(3e-3, 0.3118 * work**-0.125):.1e}")


def warmup_steps(steps: int) -> int:
    """Return the steps of the learning rate's rise: 2 % of the run, at most 2,000."""
    return min(2000, max(1, steps // 50))


# Evaluations may add this much to the time of the steps.
EVALUATION_SHARE = 0.05


def eval_interval(steps: int, grad_accum_steps: int, eval_batches: float) -> int:
    """Return the steps between evaluations: a twentieth of the run, more where that would cost over 5 % of the time.

    An evaluated micro-batch costs a third of a trained one: a forward without its backward.
    """
    affordable = eval_batches / 3 / (grad_accum_steps * EVALUATION_SHARE)
    return max(1, min(steps, 1000, max(steps // 20, math.ceil(affordable))))


def advised_tokens_per_step(model_flops: float) -> float:
    """Return DeepSeek LLM's batch in tokens for so many FLOPs in all, 0.2920 * C^0.3271 (arXiv 2401.02954)."""
    return float(0.2920 * model_flops**0.3271)


def reasons(spec: RunSpec) -> dict[str, str]:
    """Return why each part of a planned run's recipe is what it is."""
    work = model_flops(spec).total or 1.0
    return {
        "tokens_per_step": (
            f"DeepSeek LLM's 0.292 C^0.3271 says {advised_tokens_per_step(work):,.0f}; rounded up to a power of two, "
            f"at most the customary {CUSTOMARY_TOKENS_PER_STEP:,}"
        ),
        "grad_accum_steps": "what makes the batch of these micro-batches; it does not change the peak",
        "max_steps": "the tokens over the batch",
        "learning_rate": "DeepSeek LLM's 0.3118 C^-0.125, at most 3e-3",
        "min_lr": "a tenth of the peak, as GPT-3 and nanoGPT do",
        "warmup_steps": "2 % of the steps, at most 2,000",
        "eval_interval": "a twentieth of the run, or what keeps evaluation under 5 % of the time",
        "checkpoint_interval": "with each evaluation: a crash costs at most that",
        "weight_decay": "0.1 on matrices, none on vectors, as GPT-3 and nanoGPT do",
        "beta2": "0.95: steadier than 0.999 on batches of text (GPT-3, nanoGPT)",
        "optimizer_impl": "fused: no copies beside the moments, one pass over memory",
        "expandable_segments": (
            "less memory lost between blocks of the CUDA allocator; elsewhere than in `fwplan run` set "
            "PYTORCH_ALLOC_CONF=expandable_segments:True"
            if spec.train.expandable_segments
            else "torch's default"
        ),
        "compile": "fuses the loss: less memory and less time" if spec.train.compile else "no compiler for this device",
    }
