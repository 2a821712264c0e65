"""The rest of a training recipe once the model and the tokens are known: batch, learning rate, schedule."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from fwplan.estimators.speed import model_flops

if TYPE_CHECKING:
    from fwplan.spec import RunSpec

# GPT-2's and nanoGPT's customary half a million tokens a step. Where the law asks for more (from about 2e19 FLOP on)
# the learning rate is lowered instead.
CUSTOMARY_TOKENS_PER_STEP = 524_288
MOST_LEARNING_RATE = 3e-3

LEAST_STEPS = 250  # fewer steps than this leave no room for a warm-up and a decay


def tokens_per_step(tokens: float, work: float) -> int:
    """Return the batch in tokens: a power of two, at most the customary 524,288.

    DeepSeek LLM's 0.2920 * C^0.3271 (arXiv 2401.02954), rounded up to a power of two; less where the tokens would
    otherwise last for fewer than 250 steps.
    """
    advised = 2 ** max(0, (round(advised_tokens_per_step(work)) - 1).bit_length())
    affordable = 2 ** max(0, int(tokens / LEAST_STEPS).bit_length() - 1)
    return int(min(CUSTOMARY_TOKENS_PER_STEP, advised, affordable))


def learning_rate(work: float, batch: float) -> float:
    """Return the peak learning rate for `work` FLOPs in all and a batch in tokens, to two digits, at most 3e-3.

    DeepSeek LLM's 0.3118 * C^-0.125 (arXiv 2401.02954, fitted on 1e17 to 2e19 FLOP), which holds with its batch; a
    smaller one takes less, by the square root of their ratio (the scaling rule for Adam of Malladi et al., arXiv
    2205.10287).
    """
    smaller = min(1.0, math.sqrt(batch / advised_tokens_per_step(work)))
    return float(f"{min(MOST_LEARNING_RATE, 0.3118 * work**-0.125 * smaller):.1e}")


# Evaluations may add this much to the time of the steps. Each of about twenty has half a million tokens; fewer where
# that would cost more, but never below 20 micro-batches.
EVALUATION_SHARE = 0.05
EVALUATIONS, EVALUATION_TOKENS, LEAST_EVAL_BATCHES = 20, 524_288, 20
CHECKPOINT_SECONDS = 1800.0


def eval_batches(steps: int, grad_accum_steps: int, tokens_per_batch: int) -> int:
    """Return the micro-batches of an evaluation: half a million tokens, or what 5 % of the time allows."""
    affordable = int(3 * EVALUATION_SHARE * grad_accum_steps * steps / EVALUATIONS)
    return min(math.ceil(EVALUATION_TOKENS / tokens_per_batch), max(LEAST_EVAL_BATCHES, affordable))


def checkpoint_interval(steps: int, step_seconds: float) -> int:
    """Return the steps between checkpoints: half an hour of them, so that a crash costs no more."""
    return max(1, min(steps, round(CHECKPOINT_SECONDS / step_seconds)))


def eval_interval(steps: int, grad_accum_steps: int, eval_batches: float) -> int:
    """Return the steps between evaluations: a twentieth of the run, more where that would cost over 5 % of the time.

    An evaluated micro-batch costs a third of a trained one: a forward without its backward.
    """
    affordable = eval_batches / 3 / (grad_accum_steps * EVALUATION_SHARE)
    return max(1, min(steps, 1000, max(steps // EVALUATIONS, math.ceil(affordable))))


def advised_tokens_per_step(model_flops: Any) -> Any:
    """Return DeepSeek LLM's batch in tokens for so many FLOPs in all, 0.2920 * C^0.3271; of arrays too."""
    return 0.2920 * model_flops**0.3271


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
        "learning_rate": _rate_reason(spec, work),
        "min_lr": "a tenth of the peak, as GPT-3 and nanoGPT do",
        "warmup_steps": "2 % of the steps, 1 to 2,000",
        "eval_interval": "a twentieth of the run, or what keeps evaluation under 5 % of the time",
        "eval_batches": "half a million tokens, or what keeps evaluation under 5 % of the time",
        "checkpoint_interval": "about half an hour: a crash costs at most that",
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


def _rate_reason(spec: RunSpec, work: float) -> str:
    law = "DeepSeek LLM's 0.3118 C^-0.125"
    share = spec.tokens_per_step / advised_tokens_per_step(work)
    less = f", times {math.sqrt(share):.2f} for the smaller batch" if share < 0.98 else ""
    return f"{law}{less}, at most {MOST_LEARNING_RATE:g}"
