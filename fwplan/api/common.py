"""What the verbs share: the device that the options name, and refusals."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from fwplan.errors import ExitCode, FwplanError
from fwplan.explaining.explanation import command_to
from fwplan.machine.target import Target, detected, named_gpu, nominal_gpu, this_cpu
from fwplan.planning.plan import Plan, run_directory
from fwplan.units import GIB, parse_gib

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from fwplan.configs import LoadedConfig, Unknown
    from fwplan.spec import RunSpec


def chosen_target(gpu: str | None, vram: float | str | None, device: str | None) -> Target | None:
    """Return the device that the options name, or None where they name none."""
    if device not in (None, "cpu", "cuda"):
        raise FwplanError(f"unknown device {device!r}", hint="use cpu or cuda, or name a card: --gpu 4070")
    if device == "cpu":
        return _cpu(gpu, vram)
    if gpu is not None:
        target = named_gpu(gpu)
        if vram is not None and not any(card.nominal_gib == parse_gib(str(vram)) / GIB for card in target.cards):
            raise FwplanError(f"{target.label} has not {vram} GiB", hint="give --gpu or --vram, or make them agree")
        return target
    if vram is not None:
        return nominal_gpu(parse_gib(str(vram)))
    if device is None:
        return None
    found = detected()
    if found is None:
        raise FwplanError("no NVIDIA GPU was found on this machine", hint="name one: --gpu 4070, or --vram 12")
    return found


def _cpu(gpu: str | None, vram: float | str | None) -> Target:
    """Return this machine's processor, of so much memory where it does not say how much it has."""
    here = this_cpu()
    if gpu is not None or (vram is not None and here.device.total_bytes is not None):
        raise FwplanError("--device cpu and a GPU were both asked for", hint="give one of them")
    if vram is None:
        return here
    return replace(here, device=here.device.model_copy(update={"total_bytes": parse_gib(str(vram))}))


def decided(loaded: LoadedConfig, again: Callable[[Sequence[str]], str] | None = None) -> RunSpec:
    """Return the run that a config stands for.

    `again` makes the command that was typed with more overrides; None: explain's of this file.

    Raises:
        FwplanError: values that matter are unknown, or the model has what is not counted (exit code 4); names them all.
    """
    if loaded.spec is not None:
        return loaded.spec
    first = loaded.unknown[0]
    raise FwplanError(
        f"undecidable: {'; '.join(_listed(loaded.unknown))}",
        where=f"{loaded.path}:{first.line}" if first.line else str(loaded.path),
        hint=_way_out(loaded, again or (lambda more: command_to("explain", loaded.path, more, {}))),
        exit_code=ExitCode.UNDECIDABLE,
    )


def _listed(unknown: Sequence[Unknown]) -> Iterator[str]:
    """Yield what stands against a verdict, of one reason together."""
    alike: dict[tuple[str, bool], list[str]] = {}
    for one in unknown:
        alike.setdefault((one.reason, one.value is None), []).append(str(one))
    for (reason, uncounted), places in alike.items():
        verb = "is" if len(places) == 1 else "are"
        yield f"{', '.join(places)} {verb} {'not counted' if uncounted else 'unknown'}: {reason}"


def _way_out(loaded: LoadedConfig, again: Callable[[Sequence[str]], str]) -> str:
    """Return what to do next: the command that says what is unknown; where that is no use, what knows any model."""
    if any(one.value is None for one in loaded.unknown):
        return "what it has is not counted here; fwplan trace script.py:step measures any model: docs/guide.md"
    return f"say it: {again([f'--{key}={value}' for key, value in dict(_said(loaded)).items()])}"


def _said(loaded: LoadedConfig) -> Iterator[tuple[str, str]]:
    yield from ((one.key, one.value) for one in loaded.unknown if one.value is not None)


def refuse_output(output: Path) -> None:
    """Raise where a plan cannot go: no .json, something else's place, or the plan of a run that has begun.

    The figures of such a plan are what its run is checked against.
    """
    if output.suffix != ".json":
        raise FwplanError(f"{str(output)!r} is no place for a plan", hint="name a file that ends in .json")
    try:
        if not output.exists():
            return
        started = run_directory(output, Plan.load(output).spec)
    except OSError as error:
        raise FwplanError(
            f"cannot write {str(output)[:80]!r}: {error.strerror}", hint="choose a shorter path"
        ) from None
    except FwplanError:
        raise FwplanError(f"{output} exists and is not a plan", hint="choose another place: -o other.json") from None
    if started.exists():
        raise FwplanError(
            f"{output} is the plan of a run that has started",
            where=str(started),
            hint="choose another place: -o plan2.json",
        )
