"""How many tokens a nanoGPT data set has: what its meta.pkl says, else what its prepare.py is seen to make."""

from __future__ import annotations

import pickletools
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

MAX_META_BYTES = 4 * 1024 * 1024  # of Unicode's every character it would be 3 MiB
_MAX_SCRIPT_BYTES = 256 * 1024
_MEMO = frozenset({"MEMOIZE", "PUT", "BINPUT", "LONG_BINPUT"})


@dataclass(frozen=True)
class Vocabulary:
    """Where a train.py takes vocab_size from: the data set's meta.pkl, where it has one; else a setting or a number."""

    meta: bool = False
    setting: bool = False
    number: int | None = None


def meta_vocab_size(meta: Path) -> int | None:
    """Return the "vocab_size" of a meta.pkl; None where it has none or is no pickle of that form.

    The pickle's opcodes are looked through, never run: a pickle can execute anything.
    """
    key = False
    try:
        if meta.stat().st_size > MAX_META_BYTES:
            return None
        for code, argument, _ in pickletools.genops(meta.read_bytes()):
            if key and isinstance(argument, int) and code.name not in _MEMO:
                return argument if "INT" in code.name and 1 < argument < 2**24 else None
            if code.name not in _MEMO:
                key = argument == "vocab_size"
    except Exception:  # noqa: BLE001  # pickletools raises whatever a broken pickle makes of it
        return None
    return None


def data_folder(name: str, roots: Iterable[Path]) -> Path | None:
    """Return the folder of a data set below the first of these roots that has it: train.py started there finds it."""
    if not name or len(name) > 200 or "\0" in name:
        return None
    return next((root / name for root in roots if _is_folder(root / name)), None)


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:
        return False


def has_gpt2_tokens(folder: Path) -> bool:
    """Return whether a data set without meta.pkl is of GPT-2's tokens: its prepare.py asks tiktoken for them."""
    texts = [*_scripts(folder)]
    return any("get_encoding" in text and "gpt2" in text for text in texts) and not any(
        "meta.pkl" in text for text in texts
    )


def _scripts(folder: Path) -> Iterator[str]:
    try:
        for script in sorted(folder.glob("prepare*.py"))[:10]:
            if script.is_file() and script.stat().st_size <= _MAX_SCRIPT_BYTES:
                yield script.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return
