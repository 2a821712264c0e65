"""The verbs behind the command line, as plain functions: suggest, explain, run, measure."""

from __future__ import annotations

import hashlib
import os
import shlex
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fwplan.allocator.environment import environment
from fwplan.allocator.snapshot import write_snapshot
from fwplan.audit import Claim, audit
from fwplan.calibration import load_measurements, record
from fwplan.configs import LoadedConfig, load_config
from fwplan.errors import ExitCode, FwplanError
from fwplan.estimation import Estimate, estimate
from fwplan.estimators.tokens import FINEWEB_FILE_BYTES, fineweb_files, fineweb_pattern
from fwplan.fixes import Fix, fixes
from fwplan.plan import Plan, Prediction, run_directory
from fwplan.planning.request import OBJECTIVES, Request, parse_pins
from fwplan.spec import DataSpec, RunSpec
from fwplan.target import Target, detected, named_gpu, nominal_gpu, target_of, this_cpu
from fwplan.units import GIB, gib, parse_count, parse_gib, si

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fwplan.budget import Verdict
    from fwplan.data.shards import TokenShards
    from fwplan.measurement import Measurement
    from fwplan.measuring.request import MeasureReport
    from fwplan.planning.cards import CardTable
    from fwplan.planning.solve import Solution
    from fwplan.planning.suggestion import Suggestion
    from fwplan.traced import Traced
    from fwplan.train.loop import TrainResult

COMMON_CARDS_GIB = (8, 12, 16, 24, 32, 48, 80)
MAX_CONTEXT, MAX_HOURS = 2**20, 1e6


# ---------------------------------------------------------------- suggest


def suggest(
    *,
    tokens: float | str | None = None,
    hours: float = 168.0,
    gpu: str | None = None,
    vram: float | str | None = None,
    device: str | None = None,
    data: str | Path | None = None,
    context: int = 1024,
    **wishes: Any,
) -> Suggestion:
    """Return the model worth training on a device, its rivals and the reasons; `.plan.save(path)` writes it.

    Args:
        tokens: tokens to train on, such as 10e9 or "10B"; None: as many as the hours allow.
        hours: the longest training time.
        gpu: a card by name. With neither gpu, vram nor device: this machine's GPU, else its processor.
        vram: a card by its nominal memory in GiB.
        device: "cpu" or "cuda": this machine's.
        data: FineWeb-shaped parquet, whose unique tokens limit what is worth repeating.
        context: tokens per sequence.
        wishes: epochs, objective ("loss", "largest", "fastest", "cheapest"), loss (in nats, for "cheapest"),
            gpu_hour_price, kwh_price, budget (money) and settings (texts such as "micro_batch_size=8").

    Raises:
        FwplanError: an argument cannot be used, or nothing fits.
    """
    from fwplan.planning.search import search  # noqa: PLC0415  # numpy, for who searches

    target = _target(gpu, vram, device) or detected() or this_cpu()
    return search(_request(target, tokens=tokens, hours=hours, data=data, context=context, **wishes))


def suggest_cards(
    sizes: Sequence[str], *, tokens: float | str | None = None, hours: float = 168.0, context: int = 1024, **wishes: Any
) -> CardTable:
    """Return what `suggest` picks for cards of several nominal sizes in GB, as `suggest --vram 12,16,24` prints it.

    Raises:
        FwplanError: an argument cannot be used, or nothing fits one of the cards.
    """
    from fwplan.planning.cards import card_table  # noqa: PLC0415

    targets = [nominal_gpu(parse_gib(size)) for size in sizes]
    return card_table([_request(t, tokens=tokens, hours=hours, data=None, context=context, **wishes) for t in targets])


def refuse_with_cards(**options: object) -> None:
    """Raise where an option was given that a table of cards has no room for."""
    for name, value in options.items():
        if value is not None:
            raise FwplanError(f"--{name} and several --vram were both asked for", hint="give one of them")


def _request(
    target: Target,
    *,
    tokens: float | str | None,
    hours: float,
    data: str | Path | None,
    context: int,
    settings: Sequence[str] = (),
    **wishes: Any,
) -> Request:
    if not 0 < float(hours) <= MAX_HOURS:
        raise FwplanError(f"--hours must be above 0 and at most {MAX_HOURS:g}, not {hours}", hint="a week is 168")
    if not 1 <= context <= MAX_CONTEXT:
        raise FwplanError(f"--context must be 1 to {MAX_CONTEXT}, not {context}", hint="GPT-2's is 1024")
    request = Request(
        target=target,
        tokens=parse_count(str(tokens)) if tokens is not None else None,
        hours=float(hours),
        context_length=int(context),
        data=_counted(data) if data is not None else None,
        pins=parse_pins(settings),
        **wishes,
    )
    _refuse_wishes(request)
    return request


def _refuse_wishes(request: Request) -> None:
    """Raise where what is wished for contradicts itself."""
    if request.objective not in OBJECTIVES:
        raise FwplanError(f"unknown objective {request.objective!r}", hint=f"one of {', '.join(OBJECTIVES)}")
    if (request.objective == "cheapest") != (request.loss is not None):
        raise FwplanError("--objective cheapest and --loss go together", hint="--objective cheapest --loss 3.3")
    if request.epochs is not None and request.data is None:
        raise FwplanError("--epochs needs --data: passes over what?", hint="--data fineweb/*.parquet, or --tokens")
    if request.budget is not None and request.gpu_hour_price is None and request.kwh_price is None:
        raise FwplanError("--budget needs a price", hint="--gpu-hour-price 0.40, or --kwh-price 0.30")
    for name in ("loss", "epochs", "gpu_hour_price", "kwh_price", "budget"):
        value = getattr(request, name)
        if value is not None and not 0 < value < float("inf"):
            raise FwplanError(
                f"--{name.replace('_', '-')} must be above 0, not {value:g}", hint="fwplan suggest --help"
            )


def _target(gpu: str | None, vram: float | str | None, device: str | None) -> Target | None:
    """Return the device that the options name, or None where they name none."""
    if device not in (None, "cpu", "cuda"):
        raise FwplanError(f"unknown device {device!r}", hint="use cpu or cuda, or name a card: --gpu 4070")
    if device == "cpu":
        if gpu is not None or vram is not None:
            raise FwplanError("--device cpu and a GPU were both asked for", hint="give one of them")
        return this_cpu()
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


def _counted(path: str | Path) -> DataSpec:
    from fwplan.data.shards import is_token_folder, open_shards  # noqa: PLC0415  # numpy

    where = str(Path(path).expanduser().resolve())
    if is_token_folder(path):
        return DataSpec(path=where, tokens=open_shards(path).train_tokens)
    from fwplan.data.count import count_tokens  # noqa: PLC0415  # pyarrow, for who brings data

    return DataSpec(path=where, tokens=count_tokens(path).tokens)


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


def solve(
    field: str,
    config: str | Path,
    overrides: Sequence[str] = (),
    *,
    gpu: str | None = None,
    vram: float | str | None = None,
    device: str | None = None,
) -> Solution:
    """Return the largest value of one field of a run that still fits a device.

    Args:
        field: such as "micro_batch_size", "n_layer", "n_embd" or "context_length".
        config: anything that explain reads.
        overrides: nanoGPT-style "--key=value".
        gpu: a card by name.
        vram: a card by its nominal memory in GiB.
        device: "cpu" or "cuda": this machine's.

    Raises:
        FwplanError: the file cannot be read, no such field, or not even its smallest value fits (exit code 3).
    """
    from fwplan.planning.solve import largest_that_fits  # noqa: PLC0415

    spec = _decided(load_config(config, overrides))
    target = _target(gpu, vram, device) or (target_of(spec.device) if spec.device else None) or detected()
    if target is None:
        raise FwplanError("fits on what? no device is named", hint=f"fwplan solve {field} {config} --gpu 4070")
    return largest_that_fits(spec, field, target, load_measurements())


# ---------------------------------------------------------------- explain


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

    @property
    def verdict(self) -> Verdict:
        """Whether the run fits: by replay of its trace where there is one, else by the closed form's interval."""
        by_replay = self.traced.verdict if self.traced else None
        return by_replay or self.estimate.verdict

    def as_dict(self) -> dict[str, Any]:
        """Return the explanation as `explain --json` prints it."""
        return self.estimate.as_dict() | {
            "fixes": [{"number": n if fix.helps else None} | fix.as_dict() for n, fix in enumerate(self.fixes, 1)],
            "fits_cards_gb": list(self.fitting_gb),
            "notes": [*self.loaded.notes, *(self.estimate.target.notes if self.estimate.target else ())],
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
        overrides: nanoGPT-style "--key=value".
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
    loaded = load_config(config, overrides, world_size=world_size)
    spec = _decided(loaded)
    past = load_measurements()
    chosen = estimate(spec, _target(gpu, vram, device) or target, measurements=past)
    found = fixes(chosen, past)
    options = {"--gpu": gpu, "--vram": vram, "--device": device, "--world-size": world_size if world_size > 1 else None}
    command = _command(config, overrides, options)
    if fix is not None:
        helpful = [item for item in found if item.helps]
        if not 1 <= fix <= len(helpful):
            raise FwplanError(f"there is no fix {fix}", hint=f"{command} lists {len(helpful)}")
        chosen = helpful[fix - 1].estimate
        found = fixes(chosen, past)
    if loaded.pretrained:
        chosen = replace(chosen, loss=None)
    fitting = () if chosen.target else tuple(_fitting_cards(chosen.spec, past))
    traced = _traced(chosen) if trace or snapshot is not None else None
    if traced is not None and snapshot is not None:
        write_snapshot(Path(snapshot), traced.trace.events, settings=traced.settings)
    claims = () if fix is not None else audit(loaded, chosen, past)
    return Explanation(loaded, chosen, tuple(found), fitting, command, traced, claims)


def _traced(estimate: Estimate) -> Traced:
    from fwplan.traced import Traced  # noqa: PLC0415
    from fwplan.tracing.bundled import trace_spec  # noqa: PLC0415  # torch, for who asks for a trace

    device = estimate.target.device if estimate.target else estimate.spec.device
    return Traced(estimate, trace_spec(estimate.spec.model_copy(update={"device": device})))


def _command(config: str | Path, overrides: Sequence[str], options: Mapping[str, object]) -> str:
    words = ["fwplan", "explain", str(config)]
    words += [word for name, value in options.items() if value is not None for word in (name, str(value))]
    return shlex.join([*words, *(["--", *overrides] if overrides else [])])


def _decided(loaded: LoadedConfig) -> RunSpec:
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


def _fitting_cards(spec: RunSpec, past: Sequence[Measurement]) -> list[int]:
    sizes = ((size, nominal_gpu(size * GIB)) for size in COMMON_CARDS_GIB)
    return [size for size, card in sizes if estimate(spec, card, measurements=past).verdict == "fits"]


# ---------------------------------------------------------------- run


@dataclass(frozen=True)
class RunReport:
    """A finished run: what was predicted before it, what came out, and what the next estimate will say."""

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
    loaded = load_config(plan)
    spec = _decided(loaded)
    for variable, value in environment(expandable_segments=spec.train.expandable_segments).items():
        os.environ.setdefault(variable, value)  # torch reads it when it first allocates on a GPU
    from fwplan.train.device import check_supported, resolve_device  # noqa: PLC0415  # torch, only to train

    torch_device = resolve_device(device or (spec.device.type if spec.device else None))
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
    planned = loaded.kind == "plan" and not elsewhere
    predicted = Plan.load(plan).predicted if planned else Plan.of(before, "").predicted
    result = None
    if dry_run:
        from fwplan.train.dry_run import dry_run as take_a_few_steps  # noqa: PLC0415

        measurement: Measurement | None = take_a_few_steps(spec, torch_device, before.memory.step_bytes)
    else:
        from fwplan.train.loop import train  # noqa: PLC0415

        result = train(
            spec,
            _shards(spec, data, plan),
            run_directory(plan, spec),
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
    path = data or (spec.data.path if spec.data else None)
    if path is None:
        raise _no_data(spec, plan)
    if data is None and (plan.parent / path).exists():
        path = plan.parent / path  # a plan's relative path starts at the plan
    from fwplan.data.shards import is_token_folder, open_shards  # noqa: PLC0415

    if is_token_folder(path):
        return open_shards(path)
    from fwplan.data.prepare import prepare  # noqa: PLC0415
    from fwplan.render.progress import byte_progress  # noqa: PLC0415

    with byte_progress("tokenizing") as progress:
        return prepare(path, tokens_directory(plan, path), progress=progress, note=progress.note)


def tokens_directory(plan: Path, path: str | Path) -> Path:
    """Return where the tokens of a data path are kept beside a plan: shared by all its runs."""
    name = hashlib.sha256(str(Path(path).expanduser().resolve()).encode()).hexdigest()[:8]
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


# ---------------------------------------------------------------- measure


def measure(
    *,
    grid: str | None = None,
    specs: Sequence[str | Path] = (),
    device: str | None = None,
    output: str | Path = "results.jsonl",
    timeout: float = 300.0,
    budget_minutes: float | None = None,
) -> MeasureReport:
    """Measure a few real steps of each spec in its own process; results are JSON lines, and none is made twice.

    Args:
        grid: "small" or "full"; None: small, unless specs are named.
        specs: files that load_config reads.
        device: "cpu" or "cuda"; None: a CUDA GPU where torch sees one, else the CPU.
        output: the results file.
        timeout: seconds that one spec may take.
        budget_minutes: for all of them; None: 25 for the full grid, else no limit.

    Raises:
        FwplanError: an argument cannot be used, this machine has no such device, or the file cannot be written.
    """
    from fwplan.measuring.request import MeasureRequest, run_request  # noqa: PLC0415

    words = ["fwplan", "measure", *(["--grid", grid] if grid else [])]
    words += [word for path in specs for word in ("--spec", str(path))]
    words += [*(["--device", device] if device else []), "-o", str(output)]
    return run_request(
        MeasureRequest(
            grid=grid or (None if specs else "small"),
            specs=tuple(_decided(load_config(path)) for path in specs),
            device=device,
            output=Path(output),
            timeout=timeout,
            budget=None if budget_minutes is None else 60 * budget_minutes,
            command=shlex.join(words),
        )
    )
