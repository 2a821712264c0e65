"""Forgiving names for the cards of the table: "4070", "rtx4070 ti super", "7900xtx", "M3 Max"."""

from __future__ import annotations

import difflib
import re
from dataclasses import replace

from fwplan.errors import FwplanError
from fwplan.machine.cards import Card, gpus
from fwplan.units import GIB

_VENDOR_WORDS = {"nvidia", "geforce", "rtx", "gtx", "tesla", "quadro", "amd", "radeon", "rx", "instinct", "apple"}
_NOISE = frozenset({"gpu", "graphics", "edition", "generation", "oam", "tm"} | _VENDOR_WORDS)
# What a name may leave out: a card is still the same one without them, or the answer is ambiguous and says so.
_OPTIONAL = frozenset({"pcie", "sxm", "nvl", "blackwell", "server", "workstation", "gb10", "dgx", "spark"})
_SYNONYMS = {"hbm3": "sxm", "mobile": "laptop"}  # the driver calls an H100 SXM "H100 80GB HBM3"
# "rtx4070tisuper" has no spaces to split at: brand and suffix words first, then a model number with its letters.
_WORD = re.compile(
    r"nvidia|geforce|radeon|instinct|apple|rtx|gtx|tesla|quadro|super|laptop|mobile|titanrtx|xtx|xt|ti|pcie|sxm|nvl"
    r"|rx|hbm\d|\d+gb|mi\d+x?|m\d(?!\d)|[a-z]{0,2}\d++[sg]?(?![a-z])|\d+|[a-z]+"
)


def _words(name: str) -> frozenset[str]:
    """Return the words that tell cards apart: "NVIDIA GeForce RTX 4070 Ti" -> {"4070", "ti"}."""
    text = name.lower().replace("titan rtx", "titanrtx")
    text = re.sub(r"(?<![a-z0-9])(\d+)\s*gi?b?(?![a-z0-9])", r" \1gb ", text)
    text = re.sub(r"sxm\d", "sxm ", text)
    text = re.sub(r"pro\s*(?=w\d)", "", text)  # a W7900 is a Radeon PRO, always
    words = (_SYNONYMS.get(word, word) for word in _WORD.findall(text))
    return frozenset(words) - _NOISE


def _may_leave_out(word: str) -> bool:
    return word in _OPTIONAL or re.fullmatch(r"\d+gb", word) is not None


def find_gpu(name: str, memory_bytes: int | None = None) -> Card:
    """Return the card that a name means: "4070", "rtx 4070 ti super", "A100 80GB", "7900xtx", "M3 Max 64GB".

    Where a name leaves cards that differ in power only, the one with the least memory is returned. `memory_bytes` tells
    cards of one name apart (RTX 3080 of 10 and 12 GB), where the driver has said it.

    Raises:
        FwplanError: no card of the table has this name, or several have.
    """
    found = matches(name)
    if memory_bytes is not None:
        found = [gpu for gpu in found if gpu.nominal_gib is None or _about(gpu.nominal_gib * GIB, memory_bytes)]
    if not found:
        raise _unknown(name)
    if len({(gpu.nominal_gib, gpu.dense_tflops) for gpu in found}) > 1:
        raise FwplanError(
            f"{name!r} may be {len(found)} cards", hint=f"say which: {', '.join(gpu.name for gpu in found)}"
        )
    return min(found, key=lambda gpu: gpu.total_bytes or 0)


def _about(nominal: int, seen: int) -> bool:
    return abs(nominal - seen) < 0.1 * seen


def matches(name: str) -> list[Card]:
    """Return every card that a name may mean, best known first in the table's order; none where it names nothing."""
    asked = _words(name)
    found = [gpu for gpu in gpus() if asked and asked <= _words(gpu.name)]
    exact = [gpu for gpu in found if asked == _words(gpu.name)]
    found = exact or [gpu for gpu in found if all(map(_may_leave_out, _words(gpu.name) - asked))]
    return found or _with_its_memory(asked)


def _with_its_memory(asked: frozenset[str]) -> list[Card]:
    """Return the chip that is sold with many sizes of memory, with the one that the name says: "M3 Max 64GB"."""
    sizes = [word for word in asked if re.fullmatch(r"\d{1,4}gb", word)]
    chips = [gpu for gpu in gpus() if gpu.nominal_gib is None and _words(gpu.name) == asked.difference(sizes)]
    return [replace(chip, nominal_gib=int(sizes[0].removesuffix("gb"))) for chip in chips if len(sizes) == 1]


def _unknown(name: str) -> FwplanError:
    known = {" ".join(sorted(_words(gpu.name))): gpu.name for gpu in gpus()}
    near = difflib.get_close_matches(" ".join(sorted(_words(name)))[:100], list(known), n=3, cutoff=0.5)
    hint = f"near it: {', '.join(known[key] for key in near)}; " if near else ""
    return FwplanError(f"unknown GPU {name[:100]!r}", hint=f"{hint}any card's memory will do: --vram 12")
