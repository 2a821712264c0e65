"""Numbers as they are printed."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from fwplan.units import GIB

if TYPE_CHECKING:
    from fwplan.estimators.overhead import Range
    from fwplan.model.architectures import AnyArchitecture


def gib_range(interval: Range) -> str:
    """Return the ends of an interval of bytes in GiB, without the unit."""
    low, high = interval.low / GIB, interval.high / GIB
    return f"{low:.2f}-{high:.2f}" if high < 9.95 else f"{low:.1f}-{high:.1f}"


def counted(number: int, noun: str) -> str:
    """Return a number with its noun: "1 layer", "2 layers", "1,200 steps"."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def shape_text(model: AnyArchitecture) -> str:
    """Return a model's shape in words; what is not GPT-2 is named: "llama: 12 layers, 12 heads (4 of keys)..."."""
    n, name = model.dims, model.architecture
    shared = f" ({n.G} of keys and values)" if n.G != n.H else ""
    words = f"{counted(n.L, 'layer')}, {counted(n.H, 'head')}{shared}, width {n.C}"
    return words if name == "gpt2" else f"{name}: {words}"


def plain(value: float) -> str:
    """Return three digits without an exponent."""
    return f"{value:,.0f}" if value >= 100 else f"{Decimal(f'{value:.3g}'):f}"


def energy(low: float, high: float) -> str:
    """Return a range of kWh, with the unit: "9.36-22 kWh"; "under 0.01 kWh" where there is next to nothing to pay."""
    return "under 0.01 kWh" if high < 0.01 else f"{plain(low)}-{plain(high)} kWh"
