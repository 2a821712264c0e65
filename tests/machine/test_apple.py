"""What macOS says of an Apple chip, by captured output."""

import json

import pytest

from fwplan.estimation.estimate import estimate
from fwplan.machine.apple import AppleChip, ask_macos
from fwplan.machine.target import named_gpu
from fwplan.units import GIB, MIB

SYSCTL = "machdep.cpu.brand_string: Apple M3 Max\nhw.memsize: 68719476736\n"
ADAPTER = {"sppci_model": "Apple M3 Max", "sppci_cores": "40", "spdisplays_vendor": "sppci_vendor_Apple"}
DISPLAYS = json.dumps({"SPDisplaysDataType": [ADAPTER]})


def runner(sysctl=SYSCTL, limit="iogpu.wired_limit_mb: 0\n", displays=DISPLAYS):
    def run(command):
        if command[0] == "system_profiler":
            return displays
        return limit if "iogpu.wired_limit_mb" in command else sysctl

    return run


def test_an_m3_max():
    assert ask_macos(runner()) == (AppleChip("Apple M3 Max", 64 * GIB, None, 40), None)


def test_a_limit_that_somebody_set():
    chip, _ = ask_macos(runner(limit="iogpu.wired_limit_mb: 57344\n"))
    assert chip.gpu_limit_bytes == 57_344 * MIB


@pytest.mark.parametrize("displays", [None, "", "{", "[]", '{"SPDisplaysDataType": []}', '{"SPDisplaysDataType": [3]}'])
def test_what_macos_does_not_say_is_unknown(displays):
    chip, _ = ask_macos(runner("machdep.cpu.brand_string: Apple M1\n", None, displays))
    assert chip == AppleChip("Apple M1", None, None, None)


def test_other_machines_have_none():
    assert ask_macos(runner("machdep.cpu.brand_string: Intel(R) Core(TM) i7-9750H CPU\n"))[1].startswith("an Intel Mac")
    assert ask_macos(runner(None)) == (None, "sysctl names no Apple chip")


def test_a_named_chip_is_undecidable_not_wrong(run_spec):
    found = estimate(run_spec(), named_gpu("M3 Max"))
    assert (found.verdict, found.use, found.step_seconds) == ("undecidable", None, None)
