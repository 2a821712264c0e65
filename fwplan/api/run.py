"""`fwplan run`: train a plan, and check what was predicted against what was measured."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fwplan.allocator.environment import environment
from fwplan.api.common import decided
from fwplan.configs import load_config
from fwplan.errors import ExitCode, FwplanError
from fwplan.estimation.estimate import Estimate, estimate
from fwplan.estimators.tokens import FINEWEB_FILE_BYTES, fineweb_files, fineweb_pattern
from fwplan.explaining.explanation import command_to
from fwplan.files import user_path
from fwplan.learning.store import record
from fwplan.machine.target import Target, detected, this_cpu
from fwplan.planning.plan import Plan, Prediction, run_directory
from fwplan.units import gib, si

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fwplan.configs import LoadedConfig
    from fwplan.data.shards import TokenShards
    from fwplan.learning.measurement import Measurement
    from fwplan.spec import RunSpec
    from fwplan.train.loop import TrainResult


@dataclass(frozen=True)
class RunReport:
    """A finished run: what was predicted before it, what came out, and what the next estimate will say.

    A dry run's steps have two micro-batches where the plan's have more: `measurement` and `predicted` are of those.
    """

    plan_path: Path
    before: Estimate
    predicted: Prediction  # the plan's own if it was made for this device, else what was estimated just before the run
    measurement: Measurement | None
    after: Estimate | None  # the same spec, estimated with this run's measurement
    result: TrainResult | None  # None after a dry run
    unsaved: FwplanError | None  # why the measurement could not be kept
    elsewhere: bool  # the file names another device than the one that ran, or none


def run(
    plan: str | Path,
    *,
    data: str | Path | None = None,
    steps: int | None = None,
    device: str | None = None,
    dry_run: bool = False,
    resume: bool = False,
    force: bool = False,
) -> RunReport:
    """Train a plan and return the report. A dry run takes a few steps on random tokens; only its figures are kept.

    Args:
        plan: a plan.json, or anything that explain reads.
        data: parquet, or a folder of prepared tokens; None: the plan's.
        steps: stop after so many steps.
        device: "cpu" or "cuda"; None: the plan's, else the best there is.
        dry_run: take a few steps on random tokens, train nothing.
        resume: go on from the last checkpoint.
        force: run even what is expected not to fit.

    Raises:
        FwplanError: the plan, its data or the device cannot serve the run, or it will not fit (exit code 3).
    """
    plan = Path(plan)
    if dry_run and (resume or steps is not None or data is not None):
        raise FwplanError("--dry-run trains nothing", hint="leave out --resume, --steps and --data")
    loaded = load_config(plan)
    spec = _trainable(loaded, plan, dry_run=dry_run)
    for variable, value in environment(expandable_segments=spec.train.expandable_segments).items():
        os.environ.setdefault(variable, value)  # torch reads it when it first allocates on a GPU
    from fwplan.train.device import check_supported, resolve_device  # noqa: PLC0415  # torch, only to train

    torch_device = resolve_device(device or (spec.device.type if spec.device else None))
    if loaded.kind == "nanogpt":  # what nanoGPT itself would do on this device
        spec = _planned(load_config(plan, [f"--device={torch_device.type}"]), plan)
    spec, dropped = as_trained(spec, torch_device.type)
    _say(dropped)
    target = _target_here(torch_device.type)
    spec = spec.model_copy(update={"device": target.device})
    check_supported(spec, torch_device)
    before = estimate(spec, target)
    if before.memory is None or before.use is None:
        raise FwplanError(
            f"undecidable: {before.undecidable}", hint="choose a mode that is modelled", exit_code=ExitCode.UNDECIDABLE
        )
    if before.verdict == "does_not_fit" and not force:
        needed, free = gib(before.use.needed.low), gib(before.available_bytes or 0)
        raise FwplanError(
            f"will not fit on {target.label}: needs at least {needed}, {free} available",
            where=str(plan),
            hint=f"fwplan explain {plan} says what would fit; --force tries all the same",
            exit_code=ExitCode.DOES_NOT_FIT,
        )
    elsewhere = not _is_for(loaded.spec, target)
    planned = loaded.kind == "plan" and not elsewhere and not dropped
    predicted = Plan.load(plan).predicted if planned else Plan.of(before, "").predicted
    result = None
    if dry_run:
        from fwplan.train.dry_run import dry_run as take_a_few_steps  # noqa: PLC0415
        from fwplan.train.dry_run import short_step  # noqa: PLC0415

        short = short_step(spec)
        predicted = predicted if short == spec else Plan.of(estimate(short, target), "").predicted
        measurement: Measurement | None = take_a_few_steps(short, torch_device, before.memory.step_bytes)
    else:
        from fwplan.data.shards import in_use  # noqa: PLC0415
        from fwplan.train.loop import train  # noqa: PLC0415

        with in_use(_shards(spec, data or loaded.data, plan)) as shards:
            result = train(
                spec,
                shards,
                run_directory(plan, spec, _identity(shards) if _is_other_data(data, spec, plan) else None),
                device=torch_device,
                predicted_allocated_bytes=before.memory.step_bytes,
                steps=steps,
                resume=resume,
            )
        measurement = result.measurement
    if measurement is None:
        return RunReport(plan, before, predicted, None, None, result, None, elsewhere)
    measurement = measurement.model_copy(update={"device_name": target.label})
    try:
        record(measurement)
    except FwplanError as error:
        return RunReport(plan, before, predicted, measurement, None, result, error, elsewhere)
    return RunReport(plan, before, predicted, measurement, estimate(spec, target), result, None, elsewhere)


def _planned(loaded: LoadedConfig, plan: Path) -> RunSpec:
    return decided(loaded, lambda more: command_to("explain", plan, more, {"-o": "plan.json"}))


def _trainable(loaded: LoadedConfig, plan: Path, *, dry_run: bool) -> RunSpec:
    """Return the run of a file that trains from scratch.

    Raises:
        FwplanError: it only evaluates, starts from trained weights, or is not decided.
    """
    spec = _planned(loaded, plan)
    if loaded.eval_only:
        raise FwplanError(
            f"{plan} only evaluates: eval_only is set",
            hint=command_to("explain", plan, ["--eval_only=False"], {"-o": "plan.json"}),
        )
    if loaded.pretrained and not dry_run:
        raise FwplanError(
            f"{plan} starts from trained weights; this trainer starts from scratch",
            hint=f"fwplan run {plan} --dry-run measures what it takes",
        )
    return spec


def as_trained(spec: RunSpec, device_type: str) -> tuple[RunSpec, list[str]]:
    """Return the run as this trainer does it, and what it drops of another script's on the way, in words."""
    changed: dict[str, object] = {}
    dropped = []
    if spec.train.loss.returns_logits or spec.train.loss.keeps_logits:
        changed |= {"returns_logits": False, "keeps_logits": False}
        dropped.append("this trainer returns no logits: they are dropped, and the memory that they would take")
    if spec.train.attention == "efficient" and device_type != "cuda":
        changed["attention"] = "flash"
        dropped.append(f"attention 'efficient' is CUDA's: torch takes its own kernel on {device_type}")
    return spec.but(**changed), dropped


def _say(notes: Sequence[str]) -> None:
    from fwplan.console.terminal import note_lines, show  # noqa: PLC0415

    show(note_lines(notes), to_stderr=True)


def _is_for(spec: RunSpec | None, target: Target) -> bool:
    """Return whether the spec's own device is the target, as far as it says."""
    device = spec.device if spec else None
    return device is not None and device.type == target.device.type and device.name in (None, target.device.name)


def _target_here(device_type: str) -> Target:
    """Return this machine's device of that type, as the driver describes it."""
    if device_type == "cpu":
        return this_cpu()
    found = detected()
    if found is None:
        raise FwplanError("torch sees a GPU but nvidia-smi does not describe it", hint="is nvidia-smi on the PATH?")
    return found


def _shards(spec: RunSpec, data: str | Path | None, plan: Path) -> TokenShards:
    """Return the tokens to train on: already prepared, or made now from the plan's parquet."""
    path = data or _planned_data(spec, plan)
    if path is None:
        raise _no_data(spec, plan)
    from fwplan.data.shards import is_token_folder, open_shards  # noqa: PLC0415

    if is_token_folder(path):
        return open_shards(path)
    from fwplan.console.progress import byte_progress  # noqa: PLC0415
    from fwplan.data.prepare import prepare  # noqa: PLC0415

    with byte_progress("tokenizing") as progress:
        return prepare(
            path,
            tokens_directory(plan, path),
            sequence_length=spec.sequence_length,
            progress=progress,
            note=progress.note,
        )


def _planned_data(spec: RunSpec, plan: Path) -> Path | None:
    """Return the data that a plan names; a relative path starts at the plan, or else where one is."""
    if spec.data is None or spec.data.path is None:
        return None
    beside = plan.parent / spec.data.path
    return beside if beside.exists() else user_path(spec.data.path)


def _is_other_data(data: str | Path | None, spec: RunSpec, plan: Path) -> bool:
    """Return whether --data names something else than the plan does."""
    planned = _planned_data(spec, plan)
    return data is not None and (planned is None or user_path(data).resolve() != planned.resolve())


def _identity(shards: TokenShards) -> str:
    """Return what tells tokens from others: their hash, wherever they lie; where fwplan made none, their place."""
    if shards.meta is not None:
        return str(shards.meta["sha256"])
    files = [(file.path.name, file.tokens) for split in shards.files.values() for file in split]
    return f"{shards.directory.resolve()}: {files}"


def tokens_directory(plan: Path, path: str | Path) -> Path:
    """Return where the tokens of a data path are kept beside a plan: shared by all its runs."""
    name = hashlib.sha256(str(user_path(path).resolve()).encode()).hexdigest()[:8]
    return plan.resolve().parent / "runs" / f"tokens-{name}"


def _no_data(spec: RunSpec, plan: Path) -> FwplanError:
    tokens = spec.total_tokens
    if tokens is None:
        return FwplanError(
            "the plan names no data and no horizon", where=str(plan), hint="give it max_steps, and --data PATH"
        )
    files = fineweb_files(tokens)
    disk = gib(files * FINEWEB_FILE_BYTES + 2 * tokens)
    need = "1 FineWeb file" if files == 1 else f"{files} FineWeb files"
    return FwplanError(
        f"the plan names no data; {si(tokens)} tokens are about {need}, {disk} of disk with the tokens",
        where=str(plan),
        hint=(
            "hf download HuggingFaceFW/fineweb --repo-type dataset "
            f"--include '{fineweb_pattern(files)}' --local-dir fineweb; then --data fineweb"
        ),
    )
