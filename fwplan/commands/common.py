"""What the verbs share: the device that the options name, and refusals."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from fwplan.errors import ExitCode, FwplanError
from fwplan.plan import Plan, run_directory
from fwplan.target import Target, detected, named_gpu, nominal_gpu, this_cpu
from fwplan.units import GIB, parse_gib

if TYPE_CHECKING:
    from pathlib import Path

    from fwplan.configs import LoadedConfig
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


def decided(loaded: LoadedConfig) -> RunSpec:
    """Return the run that a config stands for.

    Raises:
        FwplanError: a value that matters is unknown (exit code 4).
    """
    if loaded.spec is not None:
        return loaded.spec
    first = loaded.unknown[0]
    rest = f" (also unknown: {', '.join(u.key for u in loaded.unknown[1:])})" if loaded.unknown[1:] else ""
    raise FwplanError(
        f"undecidable: {first.key} is unknown: {first.reason}{rest}",
        where=f"{loaded.path}:{first.line}" if first.line else str(loaded.path),
        hint=f"say it: fwplan explain {loaded.path} -- --{first.key}=VALUE",
        exit_code=ExitCode.UNDECIDABLE,
    )


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
