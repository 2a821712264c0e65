"""The rest of a training recipe once the model and the tokens are known: batch, learning rate, schedule."""

from __future__ import annotations

import math

# GPT-2's and nanoGPT's customary half a million tokens a step; more buys nothing at this scale.
CUSTOMARY_TOKENS_PER_STEP = 524_288


LEAST_STEPS = 250  # fewer steps than this leave no room for a warm-up and a decay


def tokens_per_step(tokens: float, model_flops: float) -> int:
    """Return the batch in tokens: a power of two, at most the customary 524,288.

    DeepSeek LLM's 0.2920 * C^0.3271 (arXiv 2401.02954), rounded up to a power of two; less where the tokens would
    otherwise last for fewer than 250 steps.
    """
    advised = 2 ** max(0, (round(0.2920 * model_flops**0.3271) - 1).bit_length())
    affordable = 2 ** max(0, int(tokens / LEAST_STEPS).bit_length() - 1)
    return int(min(CUSTOMARY_TOKENS_PER_STEP, advised, affordable))


def learning_rate(model_flops: float) -> float:
    """Return the peak learning rate: DeepSeek LLM's 0.3118 * C^-0.125 (arXiv 2401.02954), to two digits.

    Fitted on 1e17 to 2e19 FLOP; below that it is capped at 3e-3.
    """
    return float(f"{min(3e-3, 0.3118 * model_flops**-0.125):.1e}")


# Evaluations may add this much to the time of the steps.
EVALUATION_SHARE = 0.05


def eval_interval(steps: int, grad_accum_steps: int, eval_batches: int) -> int:
    """Return the steps between evaluations: a twentieth of the run, more where that would cost over 5 % of the time.

    An evaluated micro-batch costs a third of a trained one: a forward without its backward.
    """
    affordable = eval_batches / 3 / (grad_accum_steps * EVALUATION_SHARE)
    return max(1, min(steps, 1000, max(steps // 20, math.ceil(affordable))))


REASONS = {
    "tokens_per_step": "DeepSeek LLM's 0.292 C^0.3271, rounded up to a power of two, at most the customary 524,288",
    "learning_rate": "DeepSeek LLM's 0.3118 C^-0.125, at most 3e-3",
    "min_lr": "a tenth of the peak, as GPT-3 and nanoGPT do",
    "warmup_steps": "2 % of the steps, at most 2,000",
    "eval_interval": "a twentieth of the run, or what keeps evaluation under 5 % of the time",
    "weight_decay": "0.1 on matrices, none on vectors, as GPT-3 and nanoGPT do",
    "beta2": "0.95: steadier than 0.999 on batches of text (GPT-3, nanoGPT)",
}
