"""What `devices` says: the table of cards, or one of them figure by figure with its sources."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from rich.markup import escape

from fwplan.console.terminal import WIDTH
from fwplan.units import gib

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from fwplan.machine import Card, Evidence

_VENDORS = {"nvidia": "NVIDIA", "amd": "AMD", "apple": "Apple"}


def devices_lines(cards: Sequence[Card]) -> Iterator[str]:
    """Yield a table of cards; one card alone figure by figure."""
    if len(cards) == 1:
        yield from card_lines(cards[0])
        return
    yield f"[bold]{'':36}{'GB':>4}{'GiB for torch':>15}{'TFLOPS':>9}{'GB/s':>7}{'W':>6}[/]"
    yield from (_row(card) for card in cards)
    yield ""
    yield "[dim]TFLOPS: dense bf16, accumulated in fp32 (* fp16: no bf16 units). ~ of low[/]"
    yield "[dim]confidence, or assumed from cards of its class. ?: unknown.[/]"
    yield ""
    yield "  fwplan devices NAME     one card, each figure with its source"


def _row(card: Card) -> str:
    about = "~" if card.total_status == "assumed" else ""
    total = "?" if card.total_bytes is None else f"{about}{card.total_bytes / 2**30:.2f}"
    low = "~" if card.of_tflops.confidence == "low" else ""
    rate = "?" if card.dense_tflops is None else f"{low}{card.dense_tflops:g}"
    half = " " if card.supports_bf16 or card.dense_tflops is None else "*"
    size = "?" if card.nominal_gib is None else str(card.nominal_gib)
    bandwidth = "?" if card.bandwidth_gb_s is None else f"{card.bandwidth_gb_s:.0f}"
    watts = "?" if card.tdp_watts is None else f"{card.tdp_watts:.0f}"
    return f"{card.name:36}{size:>4}{total:>15}{rate:>8}{half}{bandwidth:>7}{watts:>6}"


def card_lines(card: Card) -> Iterator[str]:
    """Yield one card: each figure with where it is from and how far that is to be trusted."""
    yield f"[bold]{card.name}[/], {_VENDORS[card.vendor]}"
    nominal = "unknown: the machine's own" if card.nominal_gib is None else f"{card.nominal_gib} GB"
    yield from _figure("sold with", nominal)
    yield from _figure("torch sees", _range(card.total_bytes_range), card.of_total)
    if card.vendor == "nvidia":
        windows = card.windows_total_bytes_range
        yield from _figure("on Windows", _range(windows), card.of_total if windows and _measured(card) else None)
    kind = "bf16" if card.supports_bf16 else "fp16; no bf16 units"
    rate = "unknown" if card.dense_tflops is None else f"{card.dense_tflops:g} dense TFLOPS, {kind}"
    yield from _figure("matrix rate", rate, card.of_tflops)
    yield from _figure("fp32 rate", _number(card.fp32_tflops, "TFLOPS"), card.of_fp32)
    yield from _figure("bandwidth", _number(card.bandwidth_gb_s, "GB/s"), card.of_bandwidth)
    yield from _figure("power", _number(card.tdp_watts, "W"), card.of_tdp)
    yield from _figure("chip", _chip(card), card.of_chip)
    for line in textwrap.wrap(f"note: {card.notes}" if card.notes else "", WIDTH, subsequent_indent="      "):
        yield f"[dim]{escape(line)}[/]"
    if card.vendor == "apple":
        yield "[dim]note: memory on Apple GPUs is not modelled yet; fwplan plans for the CPU there[/]"
        return
    yield ""
    yield f"  fwplan suggest --gpu '{card.name}'"


def _measured(card: Card) -> bool:
    return card.total_status == "measured"


def _figure(label: str, value: str, evidence: Evidence | None = None) -> Iterator[str]:
    """Yield a figure and, dimmed, its source and confidence; below it where that is long."""
    said = ""
    if evidence is not None and evidence.source:
        said = evidence.source + (f" [{evidence.confidence}]" if evidence.confidence else "")
    head = f"  {label:12}{value}"
    if said and len(head) + 2 + len(said) <= WIDTH:
        yield f"{escape(head)}  [dim]{escape(said)}[/]"
        return
    yield escape(head)
    yield from (f"{'':14}[dim]{escape(line)}[/]" for line in textwrap.wrap(said, WIDTH - 14))


def _range(total: tuple[int, int] | None) -> str:
    if total is None:
        return "unknown"
    low, high = (gib(end) for end in total)
    return low if low == high else f"{low} - {high}"


def _number(value: float | None, unit: str) -> str:
    return "unknown" if value is None else f"{value:g} {unit}"


def _chip(card: Card) -> str:
    units = {"nvidia": "multiprocessors", "amd": "compute units", "apple": "GPU cores"}[card.vendor]
    parts = [
        f"compute capability {card.compute_capability}" if card.compute_capability else "",
        card.architecture,
        f"{card.sm_count} {units}" if card.sm_count else "",
        f"{card.boost_mhz:g} MHz" if card.boost_mhz else "",
    ]
    return ", ".join(part for part in parts if part) or "unknown"
