"""Parse and print the quantities that people type: bytes, tokens, FLOPs, seconds.

Memory is always a power of two here. Card makers and forums write "GB" for GiB of video memory, so "12", "12GB" and
"12GiB" all mean 12 GiB on input; output says GiB or MiB.
"""

from __future__ import annotations

import math
import re

from fwplan.errors import FwplanError

KIB, MIB, GIB, TIB = 2**10, 2**20, 2**30, 2**40

_BYTE_UNITS = {"": GIB, "b": 1, "k": KIB, "m": MIB, "g": GIB, "t": TIB}
_COUNT_UNITS = {"": 1, "k": 10**3, "m": 10**6, "b": 10**9, "g": 10**9, "t": 10**12}
_NUMBER = r"\+?((?:\d{1,3}(?:,\d{3})+|\d[\d_]*)\.?\d*(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?)"
_MOST = 2**53  # beyond it a float no longer counts in ones, and nothing here is that large


def _number(text: str, unit_pattern: str, what: str, example: str) -> tuple[float, str]:
    match = re.fullmatch(_NUMBER + unit_pattern, text.strip(), re.IGNORECASE)
    if match is None:
        raise FwplanError(f"cannot read {text!r} as {what}", hint=f"write it like {example}")
    value = float(match.group(1).replace("_", "").replace(",", ""))
    if not math.isfinite(value) or value <= 0:
        raise FwplanError(f"{what} must be positive and finite, not {text!r}", hint=f"write it like {example}")
    return value, match.group(2).lower()


def _whole(value: float, text: str, what: str) -> int:
    if not 0.5 < value <= _MOST:
        raise FwplanError(f"{what} of {text!r} is out of range", hint="is the unit right?")
    return round(value)


def parse_gib(text: str) -> int:
    """Return bytes for a memory size such as "12", "12GB", "12GiB" or "12282MiB"; a bare number is GiB."""
    value, unit = _number(text, r"\s*([bkmgt]?)(?:i?b)?", "a memory size", '"12", "12GiB" or "12282MiB"')
    return _whole(value * _BYTE_UNITS[unit], text, "a memory size")


def parse_count(text: str, what: str = "a number of tokens") -> int:
    """Return an integer count for "10e9", "10B", "3.5M" or "1_000_000"; fractions of a unit are rounded."""
    value, unit = _number(text, r"\s*([kmbgt]?)", what, '"10e9" or "10B"')
    return _whole(value * _COUNT_UNITS[unit], text, what)


def gib(n_bytes: float) -> str:
    """Return bytes as GiB with two decimals: "8.21 GiB"; below 0.1 GiB as MiB, below 0.1 MiB as KiB, then as bytes."""
    for unit, name, digits in ((GIB, "GiB", 2), (MIB, "MiB", 1), (KIB, "KiB", 1)):
        if abs(n_bytes) >= 0.1 * unit:
            return f"{n_bytes / unit:.{digits}f} {name}"
    return f"{n_bytes:.0f} B"


def si(value: float) -> str:
    """Return a count with an SI-style suffix and three significant digits: "124 M", "10.5 B", "640"."""
    for scale, suffix in ((1e12, " T"), (1e9, " B"), (1e6, " M"), (1e3, " k")):
        if abs(value) >= scale * 0.9995:
            scaled = value / scale
            digits = max(0, 2 - math.floor(math.log10(max(abs(scaled), 1))))
            return f"{scaled:.{digits}f}{suffix}"
    return f"{value:.0f}"


def flops(value: float) -> str:
    """Return a FLOP count in scientific notation, with the unit: "3.15e18 FLOP"."""
    mantissa, exponent = f"{value:.2e}".split("e")
    return f"{mantissa}e{int(exponent)} FLOP"


def duration(seconds: float) -> str:
    """Return seconds as the largest fitting unit: "85 ms", "3.2 s", "12 min", "18 h", "3.4 d"."""
    for limit, divisor, unit in ((1, 1e-3, "ms"), (90, 1, "s"), (5400, 60, "min"), (129_600, 3600, "h")):
        if seconds < limit:
            return f"{_short(seconds / divisor)} {unit}"
    return f"{_short(seconds / 86_400)} d"


def _short(value: float) -> str:
    return f"{value:.0f}" if value >= 9.95 else f"{value:.1f}"


def duration_range(low: float, high: float) -> str:
    """Return a range of seconds: "3.4-5.7 d" where both ends share a unit, else "20 h - 2.1 d"."""
    first, second = duration(low), duration(high)
    if first == second:
        return first
    (a, unit), (b, other) = first.split(), second.split()
    return f"{a}-{b} {unit}" if unit == other else f"{first} - {second}"
