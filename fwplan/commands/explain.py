"""`fwplan explain`: what a run needs, where its peak is, whether it fits and what would change it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fwplan.allocator.snapshot import refuse_snapshot, write_snapshot
from fwplan.audit import Claim, audit
from fwplan.calibration import load_measurements
from fwplan.commands.common import chosen_target, command_to, decided
from fwplan.configs import LoadedConfig, load_config
from fwplan.configs.python_files import SeveralScriptsError
from fwplan.errors import FwplanError
from fwplan.estimation import Estimate, estimate, estimate_evaluation
from fwplan.fixes import Fix, fixes
from fwplan.plan import Plan
from fwplan.target import Target, nominal_gpu
from fwplan.units import GIB

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fwplan.budget import Verdict
    from fwplan.traced import Traced

COMMON_CARDS_GIB = (8, 12, 16, 24, 32, 48, 80)


@dataclass(frozen=True)
class Explanation:
    """A config as read, its estimate, what would change it, and the common card sizes (GB) it fits with margin."""

    loaded: LoadedConfig
    estimate: Estimate
    fixes: tuple[Fix, ...]
    fitting_gb: tuple[int, ...]  # empty where a device was named
    command: str  # what to type for the same again
    traced: Traced | None = None  # where a trace was asked for
    claims: tuple[Claim, ...] = ()  # of the config's comments
    fix: int | None = None  # the one of the config's own fixes that the run has applied
    written: Path | None = None  # the plan that the run was written to

    @property
    def numbered(self) -> bool:
        """Whether `--fix` takes the numbers of these fixes: those of a fixed run count once it is written."""
        return self.fix is None or self.written is not None

    @property
    def runnable(self) -> Path | None:
        """The file to train this very run from; None: it is not written yet."""
        if self.written is not None:
            return self.written
        changed = self.fix is not None or " -- " in self.command
        return self.loaded.path if self.loaded.kind in {"plan", "spec"} and not changed else None

    def saved(self, path: str | Path) -> Explanation:
        """Write the run as a plan and return the explanation of what stands there.

        Raises:
            FwplanError: it never trains.
        """
        if self.loaded.eval_only:
            raise FwplanError("a run that only evaluates has no plan", hint=_training(self.loaded.path))
        where = Plan.of(self.estimate, f"as in {self.loaded.path}").save(path)
        return replace(self, written=where, command=command_to("explain", where, (), {}))

    def to_save(self, number: int | str | None = None) -> str:
        """Return the command that writes the run as a plan: as it is, or with the fix of this number applied."""
        command, _, overrides = self.command.partition(" -- ")
        taken = self.written or self.loaded.path
        place = "plan.json" if taken.name != "plan.json" else "plan2.json"
        if not self.numbered:
            number = self.fix
        fix = f" --fix {number}" if number is not None else ""
        return f"{command}{fix} -o {place}" + (f" -- {overrides}" if overrides else "")

    @property
    def verdict(self) -> Verdict:
        """Whether the run fits: by replay of its trace where there is one, else by the closed form's interval."""
        by_replay = self.traced.verdict if self.traced else None
        return by_replay or self.estimate.verdict

    def as_dict(self) -> dict[str, Any]:
        """Return the explanation as `explain --json` prints it."""
        return self.estimate.as_dict() | {
            "fixes": [
                {"number": n if fix.helps and self.numbered else None} | fix.as_dict()
                for n, fix in enumerate(self.fixes, 1)
            ],
            "eval_only": self.loaded.eval_only,
            "fits_cards_gb": list(self.fitting_gb),
            "notes": [*self.loaded.all_notes, *self.estimate.notes],
            "ignored": list(self.loaded.ignored),
            "uncounted": list(self.loaded.uncounted),
            "confidence": "lowered" if self.loaded.uncounted else "full",
            "claims": [claim.as_dict() for claim in self.claims],
            "verdict": self.verdict,
            "trace": self.traced.as_dict() if self.traced else None,
        }


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
        config: a nanoGPT config.py, plan.json, spec.json, or a Hugging Face config.json.
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
            raise FwplanError("an evaluation has no fixes and no traced step", hint=f"{_training(config)} has")
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
    from fwplan.traced import Traced  # noqa: PLC0415
    from fwplan.tracing.bundled import trace_spec  # noqa: PLC0415  # torch, for who asks for a trace

    device = estimate.target.device if estimate.target else estimate.spec.device
    return Traced(estimate, trace_spec(estimate.spec.model_copy(update={"device": device})))


def _training(config: str | Path) -> str:
    """Return the command that judges an eval_only config as if it trained."""
    return command_to("explain", config, ["--eval_only=False"], {})


def _fitting_cards(judge: Callable[[Target], Estimate]) -> list[int]:
    sizes = ((size, nominal_gpu(size * GIB)) for size in COMMON_CARDS_GIB)
    return [size for size, card in sizes if judge(card).verdict == "fits"]
