"""The device that a run is meant for: named, sized by its memory alone, detected, or taken from the spec."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING

from fwplan.devices import detect, detect_cpu, find_gpu, gpus, gpus_with, usable_total
from fwplan.errors import FwplanError
from fwplan.estimators.overhead import DESKTOP_BYTES
from fwplan.estimators.roofline import Card
from fwplan.estimators.speed import PRIOR, GpuHardware, cpu_hardware, family
from fwplan.matmul_rate import kept_rate
from fwplan.spec import DeviceSpec
from fwplan.units import GIB, MIB, gib

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fwplan.devices import Device
    from fwplan.estimators.speed import Hardware
    from fwplan.fields import Dtype
    from fwplan.spec import RunSpec, TrainSpec


LEAST_NOMINAL_GIB, MOST_NOMINAL_GIB = 0.5, 4096
TRITON = 7.0  # compute capability below which torch.compile has no code generator
_NAMED = 3  # cards that a note names before it only counts them


@dataclass(frozen=True)
class Target:
    """A device as the estimate needs it.

    Attributes:
        device: what goes into the spec; total_bytes and in_use_bytes are set where anything is known of them.
        cards: the rows of the table that it may be: one for a named card, several where only its memory is known.
        matmul_flops: a CPU's measured fp32 matrix rate in FLOP/s.
        notes: what was assumed, each fit to print.
        nominal_gib: the memory that an unnamed card is sold with.
    """

    device: DeviceSpec
    cards: tuple[Device, ...] = ()
    matmul_flops: float | None = None
    notes: tuple[str, ...] = ()
    nominal_gib: float | None = None

    @property
    def label(self) -> str:
        """How the device is called in print."""
        if self.device.name:
            return self.device.name
        if self.device.type != "cuda" and self.device.total_bytes is None:
            return f"device {self.device.type}"
        if self.nominal_gib is not None:
            article = "an" if f"{self.nominal_gib:g}".startswith(("8", "11", "18")) else "a"
            return f"{article} {self.nominal_gib:g} GB card"
        return f"a card of {gib(self.device.total_bytes)}" if self.device.total_bytes else "an unnamed card"

    @property
    def speeds(self) -> str:
        """The slowest and the fastest card that it may be, with their matrix rates; empty where there is but one."""
        rated = sorted((card.dense_tflops, card.name) for card in self.cards if card.dense_tflops is not None)
        if not rated or rated[0][0] == rated[-1][0]:
            return ""
        return f"{rated[0][1]} ({rated[0][0]:g} TFLOPS) to {rated[-1][1]} ({rated[-1][0]:g})"

    @property
    def half(self) -> Dtype:
        """The half precision to plan in: bfloat16 where most of the cards that it may be have it."""
        return "bfloat16" if _most(card.supports_bf16 for card in self._typical) else "float16"

    @property
    def compiles(self) -> bool:
        """Whether torch.compile has a code generator for most of the cards that it may be; on CPU none is assumed."""
        new_enough = (float(card.compute_capability or 0) >= TRITON for card in self._typical)
        return self.device.type != "cpu" and _most(new_enough)

    @property
    def _typical(self) -> tuple[Device, ...]:
        """The cards that its speed is estimated by; all of them where none has a known matrix rate."""
        return tuple(card for card in self.cards if card.dense_tflops is not None) or self.cards


def _most(answers: Iterable[bool]) -> bool:
    """Return whether more than half are true; nothing known against it counts as true."""
    said = list(answers)
    return not said or 2 * sum(said) > len(said)


def named_gpu(name: str) -> Target:
    """Return the Target for a card of the table, with a desktop assumed on a GeForce."""
    card = find_gpu(name)
    if card.vendor == "apple":
        return Target(card.spec())
    notes = () if card.total_status == "measured" else (f"{card.name}: total memory assumed from cards of its class",)
    return _with_desktop(card.spec(), (card,), (*notes, *_unproven(card)))


def _unproven(card: Device) -> tuple[str, ...]:
    if card.vendor == "nvidia":
        return ()
    return ("nobody has measured a run on an AMD card for fwplan: overheads and speed are priors from NVIDIA's",)


def nominal_gpu(nominal_bytes: int) -> Target:
    """Return the Target for a card of which only the nominal memory is known; the least that torch may see of it."""
    nominal = nominal_bytes / GIB
    if not LEAST_NOMINAL_GIB <= nominal <= MOST_NOMINAL_GIB:
        raise FwplanError(f"no card is sold with {nominal:.4g} GB", hint="say what it is sold with: --vram 12")
    cards = tuple(gpus_with(nominal))
    total = usable_total(nominal)[0]
    least = f"cards sold with {nominal:g} GB show torch as little as {gib(total)}"
    target = replace(_with_desktop(DeviceSpec(type="cuda", total_bytes=total), cards, (least,)), nominal_gib=nominal)
    return replace(target, notes=(*target.notes, *_differences(target)))


def _differences(target: Target) -> tuple[str, ...]:
    """Return how the cards that an unnamed one may be differ, where that matters: speed, bfloat16."""
    notes = (f"their speeds: {target.speeds}; --gpu names one",) if target.speeds else ()
    lacking = [card.name for card in target.cards if not card.supports_bf16]
    if not lacking or target.half != "bfloat16":
        return notes
    more = f" and {len(lacking) - _NAMED} more" if len(lacking) > _NAMED else ""
    return (*notes, f"without bfloat16: {', '.join(lacking[:_NAMED])}{more}; name such a card with --gpu")


@cache
def _nominal_gib(total_bytes: int) -> float | None:
    """Return the nominal size whose least usable total this is, the inverse of `nominal_gpu`; None: of no size."""
    share = usable_total(MOST_NOMINAL_GIB)[0] / MOST_NOMINAL_GIB  # of sizes that no measured card has
    asked = total_bytes / share
    typed = (round(asked * GIB / MIB) * MIB / GIB, round(round(asked, 3) * GIB) / GIB)  # "12282MiB", "7.7"
    return next((size for size in (*_sizes_sold(), *typed) if usable_total(size)[0] == total_bytes), None)


def _sizes_sold() -> list[int]:
    """Return the nominal sizes in GiB of the cards that `gpus_with` finds, in order."""
    return sorted({card.nominal_gib for card in gpus() if card.nominal_gib and gpus_with(card.nominal_gib)})


def _with_desktop(device: DeviceSpec, cards: tuple[Device, ...], notes: tuple[str, ...]) -> Target:
    desktop = DESKTOP_BYTES if any(card.consumer for card in cards) else 0
    if desktop:
        notes = (*notes, f"{gib(desktop)} of it assumed taken by a desktop")
    return Target(device.model_copy(update={"in_use_bytes": desktop}), cards, notes=notes)


def this_cpu() -> Target:
    """Return the Target for this machine's processor and for the memory that is free now."""
    cpu = detect_cpu(probe=None)
    return Target(cpu.spec(), matmul_flops=kept_rate(cpu))


@cache
def _this_cpu_once() -> Target:
    """Return this_cpu() as it was first: two estimates of a spec that leaves its memory open agree."""
    return this_cpu()


def detected() -> Target | None:
    """Return the Target for this machine's GPU, or None."""
    found = detect()
    if found is None:
        return None
    known = (found.known,) if found.known else ()
    return Target(found.spec(), known, notes=tuple(note for card in known for note in _unproven(card)))


def own_target(spec: RunSpec) -> Target | None:
    """Return the Target of the device that a spec names; None where it names none, or `cuda` alone: that is no card."""
    device = spec.device
    if device is None or (device.type == "cuda" and device.name is None and not device.total_bytes):
        return None
    return target_of(device)


def target_of(device: DeviceSpec) -> Target:
    """Return the Target that a spec's own device describes; its figures win over the table's."""
    if device.type == "cpu":
        here = _this_cpu_once()
        if device.name not in (None, here.device.name):
            return Target(device)
        return replace(here, device=_filled(device, here.device))
    if device.type == "mps":
        return Target(device)
    if device.name is None:
        return _unnamed(device)
    try:
        known = named_gpu(device.name)
    except FwplanError as error:
        return Target(device, notes=(f"{error.message}: its speed is unknown",))
    measured = device.total_bytes is not None or device.in_use_bytes is not None
    return Target(_filled(device, known.device), known.cards, notes=() if measured else known.notes)


def _unnamed(device: DeviceSpec) -> Target:
    """Return the Target of a card of which only the total is known: what `nominal_gpu` made, or of a card's own."""
    if not device.total_bytes:
        return Target(device)
    nominal = _nominal_gib(device.total_bytes)
    if nominal is None:
        larger = next((size for size in _sizes_sold() if size * GIB >= device.total_bytes), 0)
        return Target(device, tuple(gpus_with(larger)))
    target = Target(device, tuple(gpus_with(nominal)), nominal_gib=nominal)
    return replace(target, notes=_differences(target))


def _filled(device: DeviceSpec, known: DeviceSpec) -> DeviceSpec:
    """Return the device with what it leaves open taken from what is known of it."""
    open_fields = {name for name in ("name", "total_bytes", "in_use_bytes") if getattr(device, name) is None}
    return device.model_copy(update={name: getattr(known, name) for name in open_fields})


def hardware(train: TrainSpec, target: Target) -> Hardware | None:
    """Return how fast the target should run this mode, by its table rows or its matrix rate; None: unknown."""
    if target.device.type == "cpu":
        return cpu_hardware(train, target.matmul_flops) if target.matmul_flops else None
    bf16 = any(card.supports_bf16 for card in target.cards)  # of several cards one without it would be given float16
    found = (_roofline(card, bf16=bf16) for card in target.cards)
    cards = sorted(filter(None, found), key=lambda card: card.matrix_flops)
    if not cards:
        return None
    factors = [PRIOR[card.family] for card in cards]
    watts = target.cards[0].tdp_watts if len(target.cards) == 1 else None
    return GpuHardware(cards[0], cards[-1], (min(f[0] for f in factors), max(f[1] for f in factors)), watts)


def _roofline(card: Device, *, bf16: bool) -> Card | None:
    if card.dense_tflops is None or card.fp32_tflops is None or card.bandwidth_gb_s is None or card.sm_count is None:
        return None
    nvidia = card.vendor == "nvidia"  # AMD's gfx versions would read as compute capabilities
    kind = family(consumer=nvidia and card.consumer, compute_capability=card.compute_capability if nvidia else "")
    return Card(
        card.dense_tflops * 1e12,
        card.fp32_tflops * 1e12,
        bf16,
        card.has_tf32,
        card.bandwidth_gb_s * 1e9,
        card.sm_count,
        kind,
    )
