"""Expected loss of a model on web text, by published scaling laws. Never without its interval."""

from __future__ import annotations

import math
from dataclasses import dataclass

# Besiroglu et al. 2024 (arXiv 2404.10102), their refit of Hoffmann et al. 2022: L = E + A / N^a + B / D^b.
E, A, B, ALPHA, BETA = 1.8172, 482.01, 2085.43, 0.3478, 0.3658
# Muennighoff et al. 2023 (arXiv 2305.16264), fitted on 182 runs: the worth of repeated tokens decays with R*_D, that of
# parameters beyond what the unique tokens are compute-optimal for with R*_N.
REPETITION_DECAY, EXCESS_DECAY = 15.387756, 5.309743
MOST_EPOCHS = 40  # beyond this many, repetition is worth nothing (the same)
# Validation loss of GPT-2 124M on FineWeb less the law's: 3.276 at 5 B tokens (modded-nanogpt's AdamW record) is 0.13
# above, 3.272 at 10.26 B (llm.c) 0.26 above; other laws leave 0.08. The law was fitted on other text and vocabulary.
FINEWEB_OFFSET = (0.08, 0.175, 0.27)


@dataclass(frozen=True)
class ExpectedLoss:
    """Validation loss in nats per token on FineWeb-like text: the scaling law plus an offset that is uncertain."""

    low: float
    point: float
    high: float


def effective_tokens(tokens: float, unique_tokens: float | None) -> float:
    """Return the fresh tokens that `tokens` drawn from unique_tokens are worth (Muennighoff et al., equation 5)."""
    if unique_tokens is None or tokens <= unique_tokens:
        return tokens
    repeats = tokens / unique_tokens - 1
    return unique_tokens * (1 + REPETITION_DECAY * (1 - math.exp(-repeats / REPETITION_DECAY)))


def optimal_parameters(tokens: float) -> float:
    """Return the parameters for which so many tokens are compute-optimal by the law (about 20 tokens each)."""
    scale = (ALPHA * A / (BETA * B)) ** (1 / (ALPHA + BETA))
    return float(scale * (tokens * scale) ** (BETA / ALPHA))


def effective_parameters(parameters: float, tokens: float, unique_tokens: float | None) -> float:
    """Return the parameters that N are worth where unique_tokens are repeated (Muennighoff et al., equation 6).

    Their formula is for repeated text. Up to one epoch all parameters count, at MOST_EPOCHS it holds in full; between,
    the share of tokens that are fresh weighs the two (ours), so that nothing jumps where the second epoch begins.
    """
    if unique_tokens is None or tokens <= unique_tokens:
        return parameters
    enough = optimal_parameters(unique_tokens)
    if parameters <= enough:
        return parameters
    worn = enough * (1 + EXCESS_DECAY * (1 - math.exp(-(parameters / enough - 1) / EXCESS_DECAY)))
    fresh = max(0.0, (unique_tokens / tokens - 1 / MOST_EPOCHS) / (1 - 1 / MOST_EPOCHS))
    return float(parameters**fresh * worn ** (1 - fresh))


def repeated_loss(parameters: float, tokens: float, unique_tokens: float | None) -> float:
    """Return the law's loss in nats of N parameters on tokens drawn from unique_tokens (None: all are fresh)."""
    worth = effective_parameters(parameters, tokens, unique_tokens)
    return law_loss(worth, effective_tokens(tokens, unique_tokens))


def law_loss(parameters: float, tokens: float) -> float:
    """Return the scaling law's loss in nats, on its own data, for N parameters and D effective tokens."""
    return E + A / math.pow(parameters, ALPHA) + B / math.pow(tokens, BETA)


# Hoffmann et al. fitted 44 M to 16 B parameters on 0.4 B tokens and more; half of that is as far as we follow the law.
LEAST_PARAMETERS, LEAST_TOKENS = 22e6, 0.2e9


def in_range(parameters: float, tokens: float) -> bool:
    """Return whether the law may be followed for N parameters and D effective tokens."""
    return parameters >= LEAST_PARAMETERS and tokens >= LEAST_TOKENS


def expected_loss(parameters: float, tokens: float, unique_tokens: float | None = None) -> ExpectedLoss | None:
    """Return the loss to expect on FineWeb from N parameters trained on so many tokens; None: far below its data."""
    if not in_range(parameters, effective_tokens(tokens, unique_tokens)):
        return None
    return on_fineweb(repeated_loss(parameters, tokens, unique_tokens))


def on_fineweb(law: float) -> ExpectedLoss:
    """Return what the law's loss means on FineWeb-like text."""
    low, point, high = (law + offset for offset in FINEWEB_OFFSET)
    return ExpectedLoss(low, point, high)


# Nats a token say nothing across vocabularies: a token of 256 kinds is a byte, one of GPT-2's 50,257 is several.
# FINEWEB_OFFSET was measured with GPT-2's alone; a range, so that paddings of it and vocabularies as large still count.
VOCABULARIES = (40_000, 70_000)


def vocabulary_in_range(vocab_size: int) -> bool:
    """Return whether nats a token of so many kinds may be compared with the law's."""
    return VOCABULARIES[0] <= vocab_size <= VOCABULARIES[1]
