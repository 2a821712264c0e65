"""The recipe's and the scaling laws' formulas for arrays; the plain ones are in estimators/, recipe and quality."""

from __future__ import annotations

from typing import Any

import numpy as np

from fwplan.estimators.quality import (
    ALPHA,
    BETA,
    EXCESS_DECAY,
    MOST_EPOCHS,
    REPETITION_DECAY,
    A,
    B,
    E,
    optimal_parameters,
)
from fwplan.estimators.recipe import (
    CUSTOMARY_TOKENS_PER_STEP,
    EVALUATION_SHARE,
    EVALUATION_TOKENS,
    EVALUATIONS,
    LEAST_EVAL_BATCHES,
    LEAST_STEPS,
    advised_tokens_per_step,
)

_MOST_REPEATS = 1000.0  # epochs beyond which nothing more is to be had


def tokens_per_step_many(tokens: Any, model_flops: Any) -> Any:
    """Return recipe.tokens_per_step of arrays of tokens and FLOPs, as floats."""
    advised = np.exp2(np.ceil(np.log2(np.maximum(1.0, np.rint(advised_tokens_per_step(model_flops))))))
    affordable = np.exp2(np.floor(np.log2(np.maximum(1.0, np.floor(tokens / LEAST_STEPS)))))
    return np.minimum(CUSTOMARY_TOKENS_PER_STEP, np.minimum(advised, affordable))


def eval_batches_many(steps: Any, grad_accum_steps: Any, tokens_per_batch: Any) -> Any:
    """Return recipe.eval_batches of arrays."""
    wanted = np.ceil(EVALUATION_TOKENS / tokens_per_batch)
    affordable = np.floor(3 * EVALUATION_SHARE * grad_accum_steps * steps / EVALUATIONS)
    return np.minimum(wanted, np.maximum(LEAST_EVAL_BATCHES, affordable))


def evaluation_share_many(steps: Any, grad_accum_steps: Any, eval_batches: Any, interval: int | None) -> Any:
    """Return speed.evaluation_share of arrays of steps; an interval of None is recipe.eval_interval's."""
    work = eval_batches / 3 / grad_accum_steps
    if interval is not None:
        return work / interval
    wanted = np.maximum(steps // EVALUATIONS, np.ceil(work / EVALUATION_SHARE))
    return work / np.maximum(1, np.minimum(np.minimum(steps, 1000), wanted))


def effective_tokens_many(tokens: Any, unique_tokens: float | None) -> Any:
    """Return quality.effective_tokens of an array."""
    if unique_tokens is None:
        return tokens
    repeats = np.maximum(tokens / unique_tokens - 1, 0)
    worn = unique_tokens * (1 - REPETITION_DECAY * np.expm1(-repeats / REPETITION_DECAY))
    return np.where(tokens > unique_tokens, worn, tokens)


def effective_parameters_many(parameters: Any, tokens: Any, unique_tokens: float | None) -> Any:
    """Return quality.effective_parameters of arrays that broadcast together."""
    if unique_tokens is None:
        return parameters
    enough = optimal_parameters(unique_tokens)
    excess = np.maximum(parameters / enough - 1, 0)
    worn = np.where(excess > 0, enough * (1 - EXCESS_DECAY * np.expm1(-excess / EXCESS_DECAY)), parameters)
    fresh = np.clip((unique_tokens / tokens - 1 / MOST_EPOCHS) / (1 - 1 / MOST_EPOCHS), 0.0, 1.0)
    return parameters**fresh * worn ** (1 - fresh)


def repeated_loss_many(parameters: Any, tokens: Any, unique_tokens: float | None) -> Any:
    """Return quality.repeated_loss of arrays."""
    worth = effective_parameters_many(parameters, tokens, unique_tokens)
    return E + A / worth**ALPHA + B / effective_tokens_many(tokens, unique_tokens) ** BETA


def tokens_for_loss(parameters: Any, law: float, unique_tokens: float | None) -> Any:
    """Return the tokens on which models of these sizes reach the law's loss; inf where none suffice."""
    left = law - E - A / parameters**ALPHA
    with np.errstate(invalid="ignore", divide="ignore"):
        fresh = np.where(left > 0, (B / np.maximum(left, 1e-12)) ** (1 / BETA), np.inf)
    if unique_tokens is None:
        return fresh
    return np.where(fresh <= unique_tokens, fresh, _repeated_tokens(parameters, law, unique_tokens))


def _repeated_tokens(parameters: Any, law: float, unique_tokens: float) -> Any:
    """Return the tokens, more than the unique ones, on which the loss is reached; inf where repeating never does."""
    low, high = np.full(np.shape(parameters), 0.0), np.full(np.shape(parameters), np.log(_MOST_REPEATS))
    for _ in range(50):  # the loss falls with every further epoch: halve between the first and the last that counts
        middle = (low + high) / 2
        reached = repeated_loss_many(parameters, unique_tokens * np.exp(middle), unique_tokens) <= law
        low, high = np.where(reached, low, middle), np.where(reached, middle, high)
    last = repeated_loss_many(parameters, unique_tokens * np.exp(high), unique_tokens)
    return np.where(last <= law + 1e-9, unique_tokens * np.exp(high), np.inf)
