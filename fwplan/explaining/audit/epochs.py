"""Claims of epochs, by the comment's own arithmetic or by the run's data."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from fwplan.explaining.audit.claim import Claim
from fwplan.explaining.audit.figures import BARE_COUNT, RANGE, clause_before, figure, words
from fwplan.explaining.audit.tokens import fineweb_file_tokens, said_data
from fwplan.units import si

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fwplan.explaining.audit.cards import Run

_EPOCHS = re.compile(rf"{RANGE}\s?epochs?\b(?!\s?[~=:]|\s(?:is|are|takes?|of\swarm)\b)", re.IGNORECASE)
_STEPS = re.compile(rf"{BARE_COUNT}\ssteps\b", re.IGNORECASE)
_OTHERS = words(r"every|warm\w*|after|first|eval\w*|save\w*|each|per|patience|early|than|if")


def epoch_claims(line: int, text: str, run: Run) -> Iterator[Claim]:
    """Yield what a comment says of epochs; nothing where nobody says what the data holds."""
    data, steps = said_data(text), _STEPS.search(text)
    tokens = run.estimate.tokens
    unique = fineweb_file_tokens(text) or (figure(data).high if data else tokens.per_epoch)
    total = figure(steps).high * tokens.per_step if steps else tokens.total
    if total is None or not unique:
        return
    for match in _EPOCHS.finditer(text):
        if _OTHERS.search(clause_before(text, match.start())):
            continue
        said = f"{match['low']} epoch{'' if match['low'] == '1' else 's'}"
        truth = f"{total / unique:.2f} of {si(unique)} tokens"
        yield Claim(line, "epochs", said, truth, figure(match).agrees(total / unique))
