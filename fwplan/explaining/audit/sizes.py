"""Claims of how large the model is: its parameters, and which of OpenAI's four it is."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from fwplan.configs.nanogpt import PRETRAINED
from fwplan.explaining.audit.claim import Claim
from fwplan.explaining.audit.figures import COUNT, clause, clause_before, figure, words
from fwplan.units import si

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fwplan.explaining.audit.cards import Run

_SIZES = r"small|medium|large|xl"
_AFTER = re.compile(rf"{COUNT}[\s-]{{0,3}}\(?(?:trainable\s)?(?:param|model\b|gpt)", re.IGNORECASE)
_BEFORE = re.compile(
    rf"(?:param\w{{0,8}}(?:\scount)?|model\ssize|gpt-?2?(?:[\s-](?:{_SIZES})\b)?)"
    rf"(?:\s?(?:is|are|of|[:=(~/-])[\s:=(~]{{0,4}}|\s)~?{COUNT}(?!\s?tok)",
    re.IGNORECASE,
)
_NAME = re.compile(
    rf"\bgpt-?\s?2[\s-](?P<size>{_SIZES})\b|\b(?P<most>largest|biggest|smallest)\sgpt-?2\b", re.IGNORECASE
)
# Words before a size or a name after which it is not this run's.
OTHERS = words(
    r"than|vs|versus|like|unlike|same as|beats?|outperforms?|match(?:es|ing)?|against|compared?|compared to|close to",
    r"between|from|half|not|no|instead|original|papers?|table|teacher|distil\w*|other|their|loads?|see|quick|test|if",
    r"llama\S*|mistral|qwen\S*|pythia|opt|bert|chinchilla|gpt-?[134]|up to|below|under|over|at most|e\.g",
    r"lr|learning rate|betas?",
)
_IS_OTHERS = re.compile(r"\s(?:uses?|used|has|had|is|was|took|takes|needs?|got|gets?|reach\w*)\b", re.IGNORECASE)
_PART = re.compile(r"embed|per\s|/|each|head|attention|mlp|block|layer", re.IGNORECASE)


def size_claims(line: int, text: str, run: Run) -> Iterator[Claim]:
    """Yield what a comment says of the model's size."""
    yield from _names(line, text, run)
    if OTHERS.search(text) and re.search(r"\blr\b|learning rate", text, re.IGNORECASE):
        return
    count = run.estimate.parameters
    for match in (*_AFTER.finditer(text), *_BEFORE.finditer(text)):
        if OTHERS.search(clause_before(text, match.start())) or _of_a_part(clause(text, match), match[0]):
            continue
        claimed = figure(match)
        right = claimed.agrees(count.total) or claimed.agrees(count.non_position)
        yield Claim(line, "parameters", claimed.text, si(count.total), right)


def _of_a_part(said: str, found: str) -> bool:
    """Return whether a count is of the embedding alone, or of a block; "without positions" is nanoGPT's own way."""
    rest = re.sub(r"position\w*(?:\sembed\w*)?", "", said.replace(found, ""), flags=re.IGNORECASE)
    return _PART.search(rest) is not None


def _names(line: int, text: str, run: Run) -> Iterator[Claim]:
    model = run.estimate.spec.model
    shape = (model.n_layer, model.n_head, model.n_embd)
    for match in _NAME.finditer(text):
        if OTHERS.search(clause_before(text, match.start())) or _IS_OTHERS.match(text, match.end()):
            continue
        size = (match["size"] or ("small" if match["most"].lower() == "smallest" else "xl")).lower()
        key = "gpt2" if size == "small" else f"gpt2-{size}"
        ours = next((_printed(name) for name, known in PRETRAINED.items() if known == shape), _letters(shape))
        right = PRETRAINED[key] == shape
        truth = ours if right else f"{ours}; {size} is {_letters(PRETRAINED[key])}"
        yield Claim(line, "model", _printed(key), truth, right)


def _printed(key: str) -> str:
    return f"GPT-2 {key.removeprefix('gpt2').removeprefix('-') or 'small'}"


def _letters(shape: tuple[int, int, int]) -> str:
    return "{}L {}H {}d".format(*shape)
