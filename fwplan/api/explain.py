"""`fwplan explain`: what a run needs, where its peak is, whether it fits and what would change it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from fwplan.allocator.snapshot import refuse_snapshot, write_snapshot
from fwplan.api.common import chosen_target, decided
from fwplan.configs import load_config
from fwplan.configs.python_files import SeveralScriptsError
from fwplan.errors import FwplanError
from fwplan.estimation.estimate import Estimate, estimate, estimate_evaluation
from fwplan.explaining.audit import audit
from fwplan.explaining.explanation import Explanation, command_to, training_command
from fwplan.learning.store import load_measurements
from fwplan.machine.target import Target, nominal_gpu
from fwplan.planning.fixes import fixes
from fwplan.units import GIB

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fwplan.tracing.traced import Traced

COMMON_CARDS_GIB = (8, 12, 16, 24, 32, 48, 80)


def explain(
    config: str | Path,
    overrides: Sequence[str] = (),
    *,
    gpu: str | None = None,
    vram: float | str | None = None,
    device: str | None = None,
    world_size: int = 1,
    fix: int | None = None,
    trace: bool = False,
    snapshot: str | Path | None = None,
    target: Target | None = None,
) -> Explanation:
    """Return what a run needs, whether it fits and what would change it. Never executes the config.

    Args:
        config: whatever `load_config` reads: a config.py, a training script, a .json, .yaml or .toml.
        overrides: as nanoGPT's train.py takes them: "--key=value", and after a train.py the config that it runs.
        gpu: a card by name. With neither gpu, vram nor device: the config's own device, if it names one.
        vram: a card by its nominal memory in GiB.
        device: "cpu" or "cuda": this machine's.
        world_size: processes that train.
        fix: explain the run with this one of its fixes applied, counted from 1.
        trace: run one step on fake tensors too, which takes seconds and torch, and replay its allocations.
        snapshot: trace, and write a file here that PyTorch's memory viewer (pytorch.org/memory_viz) opens.
        target: a device known otherwise, such as from a log; those that are named win.

    Raises:
        FwplanError: the file cannot be read, or a value that matters is unknown (exit code 4).
    """
    if snapshot is not None:
        refuse_snapshot(Path(snapshot))
    options = {"--gpu": gpu, "--vram": vram, "--device": device, "--world-size": world_size if world_size > 1 else None}
    try:
        loaded = load_config(config, overrides, world_size=world_size)
    except SeveralScriptsError as error:
        command = command_to("explain", error.script, [str(config), *overrides], options)
        raise FwplanError(error.message, hint=f"name it: {command}", exit_code=error.exit_code) from None
    spec = decided(loaded, lambda more: command_to("explain", config, [*overrides, *more], options))
    past = load_measurements()
    aimed = chosen_target(gpu, vram, device) or target
    if loaded.eval_only:
        if fix is not None or trace or snapshot is not None:
            raise FwplanError("an evaluation has no fixes and no traced step", hint=f"{training_command(config)} has")
        judged = estimate_evaluation(spec, aimed)
        fitting = () if judged.target else tuple(_fitting_cards(lambda card: estimate_evaluation(spec, card)))
        return Explanation(loaded, judged, (), fitting, command_to("explain", config, overrides, options))
    chosen = estimate(spec, aimed, measurements=past)
    found = fixes(chosen, past)
    command = command_to("explain", config, overrides, options)
    if fix is not None:
        helpful = [item for item in found if item.helps]
        if not 1 <= fix <= len(helpful):
            raise FwplanError(f"there is no fix {fix}", hint=f"{command} lists {len(helpful)}")
        chosen = helpful[fix - 1].estimate
        found = fixes(chosen, past)
    if loaded.pretrained:
        chosen = replace(chosen, loss=None)
    known = chosen.spec
    fitting = () if chosen.target else tuple(_fitting_cards(lambda card: estimate(known, card, measurements=past)))
    traced = _traced(chosen) if trace or snapshot is not None else None
    if traced is not None and traced.use is not None:
        chosen = replace(chosen, use=traced.use)
    if traced is not None and snapshot is not None:
        write_snapshot(Path(snapshot), traced.trace.events, settings=traced.replayed.settings)
    claims = () if fix is not None else audit(loaded, chosen, past)
    return Explanation(loaded, chosen, tuple(found), fitting, command, traced, claims, fix)


def _traced(estimate: Estimate) -> Traced:
    from fwplan.tracing.bundled import trace_spec  # noqa: PLC0415  # torch, for who asks for a trace
    from fwplan.tracing.traced import Traced  # noqa: PLC0415

    device = estimate.target.device if estimate.target else estimate.spec.device
    return Traced(estimate, trace_spec(estimate.spec.model_copy(update={"device": device})))


def _fitting_cards(judge: Callable[[Target], Estimate]) -> list[int]:
    sizes = ((size, nominal_gpu(size * GIB)) for size in COMMON_CARDS_GIB)
    return [size for size, card in sizes if judge(card).verdict == "fits"]
