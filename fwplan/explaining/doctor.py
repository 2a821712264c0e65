"""What this machine has to train with: what was detected and by whom, versions, what past runs taught, what is missing.

torch is looked at on the disk and never imported.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fwplan.errors import ExitCode, FwplanError
from fwplan.learning.store import Store, read_store, store_path
from fwplan.machine import software
from fwplan.machine.command import run_command
from fwplan.machine.found import Machine, this_machine

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from fwplan.learning.measurement import Measurement
    from fwplan.machine.apple import AppleChip
    from fwplan.machine.command import Runner
    from fwplan.machine.gpu import Gpu

LEAST_DISK_BYTES = 2**30  # a checkpoint of a 124 M model with AdamW's moments is 1.4 GiB

# The oldest Linux driver that runs a CUDA of this major version (NVIDIA's CUDA compatibility guide).
_LEAST_DRIVER = {11: 450, 12: 525, 13: 580}


@dataclass(frozen=True)
class Problem:
    """Something to know before training, and what to do about it; stops: training as planned cannot begin."""

    message: str
    hint: str
    stops: bool


@dataclass(frozen=True)
class Disk:
    """A folder that a run writes to, and the bytes left there; None: unknown."""

    use: str
    path: str
    free_bytes: int | None


@dataclass(frozen=True)
class StoredRuns:
    """Past runs on one device: how many, in which modes, and when the newest was."""

    device: str
    runs: int
    modes: tuple[str, ...]
    newest: str


@dataclass(frozen=True)
class Diagnosis:
    """All that was found out; None is unknown."""

    machine: Machine
    python: str
    packages: tuple[software.Package, ...]
    torch_build: software.TorchBuild
    compiler: str | None
    disks: tuple[Disk, ...]
    store: str
    stored: tuple[StoredRuns, ...]
    problems: tuple[Problem, ...]

    @property
    def exit_code(self) -> ExitCode:
        """What the command returns: 5 where something stops training."""
        return ExitCode.MISSING if any(problem.stops for problem in self.problems) else ExitCode.OK

    def as_dict(self) -> dict[str, Any]:
        """Return the diagnosis as `doctor --json` prints it; bytes are integers, null is unknown."""
        machine = self.machine
        return {
            "system": machine.system,
            "python": self.python,
            "gpu": _gpu_dict(machine.gpu) if machine.gpu else None,
            "apple": vars(machine.apple) if machine.apple else None,
            "absent": list(machine.absent),
            "visible": dict(machine.visible),
            "cpu": vars(machine.cpu),
            "packages": [package._asdict() for package in self.packages],
            "torch_build": self.torch_build._asdict(),
            "compiler": self.compiler,
            "disks": [vars(disk) for disk in self.disks],
            "calibration": {"store": self.store, "devices": [vars(runs) for runs in self.stored]},
            "problems": [vars(problem) for problem in self.problems],
            "ready": self.exit_code == ExitCode.OK,
        }


def _gpu_dict(found: Gpu) -> dict[str, Any]:
    told = {name: value for name, value in vars(found).items() if name not in {"card", "total_bytes", "total_status"}}
    return told | {
        "torch_sees_bytes": found.total_bytes,
        "torch_sees_status": found.total_status,
        "table_row": found.card.name if found.card else None,
    }


def examine(run: Runner = run_command, environ: Mapping[str, str] = os.environ, system: str | None = None) -> Diagnosis:
    """Return what this machine has to train with. Runs the drivers' own programs; imports no torch.

    Args:
        run: returns a command's output, or None where there is none.
        environ: the environment.
        system: Linux, Darwin or Windows; None: this one.
    """
    machine = this_machine(run, environ, system)
    packages, build = software.packages(), software.torch_build()
    compiler = next((found for name in ("cc", "gcc", "clang", "cl") if (found := shutil.which(name))), None)
    disks = (_disk("runs", Path.cwd()), _disk("measurements", store_path().parent))
    stored, problem = _stored()
    problems = (
        *_package_problems(packages),
        *_gpu_problems(machine.gpu, machine.apple, build),
        *_compiler_problems(compiler),
        *(_disk_problem(disk) for disk in disks if disk.free_bytes is not None and disk.free_bytes < LEAST_DISK_BYTES),
        *problem,
    )
    return Diagnosis(
        machine=machine,
        python=".".join(map(str, sys.version_info[:3])),
        packages=packages,
        torch_build=build,
        compiler=compiler,
        disks=disks,
        store=str(store_path()),
        stored=stored,
        problems=problems,
    )


def _disk(use: str, path: Path) -> Disk:
    """Return what is left where the path is or will be."""
    there = next((folder for folder in (path, *path.parents) if folder.exists()), None)
    try:
        free = shutil.disk_usage(there).free if there else None
    except OSError:
        free = None
    return Disk(use, str(path), free)


def _stored() -> tuple[tuple[StoredRuns, ...], list[Problem]]:
    try:
        store = read_store()
    except FwplanError as error:
        return (), [Problem(error.message, error.hint, stops=False)]
    past = store.measurements
    devices = dict.fromkeys(measurement.device_name for measurement in past)
    runs = tuple(_runs_on(name, [m for m in past if m.device_name == name]) for name in devices)
    return runs, list(_store_problems(store))


def _store_problems(store: Store) -> Iterator[Problem]:
    path = shlex.quote(str(store_path()))
    hint = f"nothing is learned from them; to start again: mv {path} {path}.old"
    if store.unreadable:
        yield Problem(f"lines of the measurement store that cannot be read: {store.unreadable}", hint, stops=False)
    if store.odd:
        yield Problem(f"lines of the measurement store that no step can have taken: {store.odd}", hint, stops=False)


def _runs_on(device: str, runs: Sequence[Measurement]) -> StoredRuns:
    modes = dict.fromkeys(f"{m.spec.train.dtype} {'compiled' if m.spec.train.compile else 'eager'}" for m in runs)
    return StoredRuns(device, len(runs), tuple(modes), max(m.measured_at for m in runs))


def _package_problems(packages: Sequence[software.Package]) -> Iterator[Problem]:
    for package in packages:
        if package.version is None and package.required:
            yield Problem(f"{package.name} is not installed: {package.use}", "pip install fwplan", stops=True)
        elif package.too_old:
            message = f"{package.name} {package.version} is older than {package.least}"
            yield Problem(message, f"pip install -U {package.name}", stops=True)


def _gpu_problems(gpu: Gpu | None, apple: AppleChip | None, build: software.TorchBuild) -> Iterator[Problem]:
    if apple is not None:
        message = "memory on Apple GPUs is not modelled yet: plans for this Mac are for its CPU"
        yield Problem(message, "fwplan suggest --device cpu", stops=False)
    if gpu is None:
        return
    if gpu.total_bytes is None:
        yield Problem(f"the memory of {gpu.name} is unknown", "say it: fwplan suggest --vram 12", stops=False)
    wanted, has = ("CUDA", build.cuda) if gpu.vendor == "nvidia" else ("ROCm", build.hip)
    if build.known and has is None:
        message = f"this torch is built without {wanted}: it cannot use {gpu.name}"
        yield Problem(message, "pytorch.org/get-started has the command for it", stops=True)
    elif gpu.vendor == "nvidia" and build.cuda is not None:
        yield from _driver_problems(gpu.driver, build.cuda)


def _driver_problems(driver: str, cuda: str) -> Iterator[Problem]:
    major = re.match(r"\d+", driver)
    least = _LEAST_DRIVER.get(int(cuda.partition(".")[0]))
    if major is not None and least is not None and int(major[0]) < least:
        message = f"driver {driver} is too old for torch's CUDA {cuda}, which needs {least}"
        yield Problem(message, "update the driver, or install a torch for an older CUDA", stops=True)


def _compiler_problems(compiler: str | None) -> Iterator[Problem]:
    if compiler is None:
        message = "no C compiler (cc, gcc, clang): torch.compile cannot work"
        yield Problem(message, "install one, or plan with compile=False", stops=False)


def _disk_problem(disk: Disk) -> Problem:
    return Problem(f"less than 1 GiB of disk left for {disk.use}: {disk.path}", "make room", stops=False)
