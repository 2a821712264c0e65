"""What a config's comments claim of size, tokens, memory, FLOPs and time, each claim beside the truth.

A claim that nobody made is worse than one that is missed: what may be about another model, another card, the data or a
file is passed over.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fwplan.configs.comments import comments
from fwplan.explaining.audit.advice import advice_claims
from fwplan.explaining.audit.cards import Run, gpu_counts, names
from fwplan.explaining.audit.claim import Claim
from fwplan.explaining.audit.epochs import epoch_claims
from fwplan.explaining.audit.memory import memory_claims
from fwplan.explaining.audit.sizes import size_claims
from fwplan.explaining.audit.time import time_claims
from fwplan.explaining.audit.tokens import token_claims
from fwplan.explaining.audit.work import flop_claims

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fwplan.configs import LoadedConfig
    from fwplan.estimation.estimate import Estimate
    from fwplan.learning.measurement import Measurement

__all__ = ["Claim", "audit"]

_MOST_CLAIMS = 20
_MOST_TEXT = 1000  # characters of a comment; a claim stands at its start or nowhere
_TOPICS = (size_claims, token_claims, epoch_claims, memory_claims, flop_claims, time_claims, advice_claims)


def audit(loaded: LoadedConfig, found: Estimate, measurements: Sequence[Measurement]) -> tuple[Claim, ...]:
    """Return the claims in a Python file's comments, each beside the truth of the run as explained."""
    if loaded.kind not in {"nanogpt", "script"}:
        return ()
    said = [(line, text[:_MOST_TEXT]) for line, text in comments(loaded.source)]
    whole = "\n".join(text for _, text in said)
    run = Run(found, measurements, names(whole), gpu_counts(whole))
    claims: list[Claim] = []
    for line, text in said:
        claims += [claim for topic in _TOPICS for claim in topic(line, text, run)]
        if len(claims) >= _MOST_CLAIMS:
            break
    return tuple(dict.fromkeys(claims))
