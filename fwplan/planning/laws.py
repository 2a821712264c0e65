"""The recipe's and the scaling laws' formulas for arrays; the plain ones are in recipe.py and estimators/quality.py."""

from __future__ import annotations

from typing import Any

import numpy as np

from fwplan.estimators.quality import ALPHA, BETA, REPETITION_DECAY, A, B, E
from fwplan.recipe import CUSTOMARY_TOKENS_PER_STEP, EVALUATION_SHARE, LEAST_STEPS


def tokens_per_step_many(tokens: Any, model_flops: Any) -> Any:
    """Return recipe.tokens_per_step of arrays of tokens and FLOPs, as floats."""
    advised = np.exp2(np.ceil(np.log2(np.maximum(1.0, np.rint(0.2920 * model_flops**0.3271)))))
    affordable = np.exp2(np.floor(np.log2(np.maximum(1.0, np.floor(tokens / LEAST_STEPS)))))
    return np.minimum(CUSTOMARY_TOKENS_PER_STEP, np.minimum(advised, affordable))


def evaluation_share_many(steps: Any, grad_accum_steps: Any, eval_batches: Any, interval: int | None) -> Any:
    """Return speed.evaluation_share of arrays of steps; an interval of None is recipe.eval_interval's."""
    work = eval_batches / 3 / grad_accum_steps
    if interval is not None:
        return work / interval
    wanted = np.maximum(steps // 20, np.ceil(work / EVALUATION_SHARE))
    return work / np.maximum(1, np.minimum(np.minimum(steps, 1000), wanted))


def effective_tokens_many(tokens: Any, unique_tokens: float | None) -> Any:
    """Return quality.effective_tokens of an array."""
    if unique_tokens is None:
        return tokens
    repeats = np.maximum(tokens / unique_tokens - 1, 0)
    worn = unique_tokens * (1 - REPETITION_DECAY * np.expm1(-repeats / REPETITION_DECAY))
    return np.where(tokens > unique_tokens, worn, tokens)


def law_loss_many(parameters: Any, tokens: Any) -> Any:
    """Return quality.law_loss of arrays."""
    return E + A / parameters**ALPHA + B / tokens**BETA


def tokens_for_loss(parameters: Any, law: float, unique_tokens: float | None) -> Any:
    """Return the tokens on which models of these sizes reach the law's loss; inf where none suffice."""
    left = law - E - A / parameters**ALPHA
    with np.errstate(invalid="ignore", divide="ignore"):
        fresh = np.where(left > 0, (B / np.maximum(left, 1e-12)) ** (1 / BETA), np.inf)
        if unique_tokens is None:
            return fresh
        share = (fresh / unique_tokens - 1) / REPETITION_DECAY  # of what repetition can add
        repeated = unique_tokens * (1 - REPETITION_DECAY * np.log1p(-np.minimum(share, 1.0)))
        return np.where(fresh <= unique_tokens, fresh, repeated)
