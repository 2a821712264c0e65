"""What nanochat works out from its few arguments: the model's width, the horizon, the batch, rates and decay.

Every rule was read in github.com/karpathy/nanochat at 92d63d4 (2026-07-03): scripts/base_train.py, nanochat/gpt.py.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from fwplan.model.nanochat import Nanochat

REFERENCE_DEPTH = 12  # where nanochat's settings are tuned
REFERENCE_WIDTH = 768  # C there, for the rates of embeddings and head
REFERENCE_TOKENS = 2**19  # the batch that is best there
_BATCH_EXPONENT = 0.383  # of the best batch in the tokens of the run: arxiv.org/abs/2505.13738


def width(depth: int, aspect_ratio: int, head_width: int) -> int:
    """Return C: the aspect ratio for each layer, up to whole heads."""
    return -(-depth * aspect_ratio // head_width) * head_width


def multiplied(model: Nanochat) -> int:
    """Return the elements of the blocks' matrices and of the head: what nanochat scales its runs by."""
    n = model.dims
    blocks = (model.block(n, layer) for layer in range(n.L))
    inside = sum(math.prod(shape) for block in blocks for name, shape in block.items() if name != _LOOKED_UP)
    return int(inside + math.prod(model.above(n)[model.head]))


_LOOKED_UP = "value_embed.weight"


def flops_per_token(model: Nanochat) -> int:
    """Return forward and backward, as nanochat counts them: matrices, and attention as far as each layer looks back."""
    n, T = model.dims, model.context_length
    smear = math.prod(model.below(n)["trunk.smear_gate.weight"])
    attention = sum(12 * model.n_embd * (window or T) for window in model.windows(T))
    return int(6 * (multiplied(model) + smear) + attention)


def total_batch_size(tokens: float, reference_tokens: float) -> int:
    """Return the tokens of an optimizer step: the reference's, grown with the run's tokens, as a power of two."""
    best = REFERENCE_TOKENS * (tokens / reference_tokens) ** _BATCH_EXPONENT
    return int(2 ** round(math.log2(best)))


class Scaled(NamedTuple):
    """What batch and horizon make of rates and decay: rates grow with the batch's root, a longer run decays less."""

    rates: float  # factor of every learning rate
    decay: float  # factor of Muon's weight decay


def scaled(batch: int, shorter: float) -> Scaled:
    """Return the factors for a batch of so many tokens, and for the reference's tokens over this run's."""
    root = math.sqrt(batch / REFERENCE_TOKENS)
    return Scaled(root, root * shorter)
