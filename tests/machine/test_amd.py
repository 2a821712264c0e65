"""AMD's drivers' programs, by captured output: two shapes of amd-smi, two of rocm-smi, and garbage."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fwplan.machine import detect_or_reason
from fwplan.machine.amd import ask_amd
from fwplan.machine.target import detected, named_gpu
from fwplan.units import MIB

ROCM_SMI = """WARNING: AMD GPU device(s) is/are in a low-power state. Check power control/runtime_status

{"card0": {"Card Series": "Radeon RX 7900 XTX", "Card Model": "0x744c", "GFX Version": "gfx1100",
"VRAM Total Memory (B)": "25753026560", "VRAM Total Used Memory (B)": "536870912"},
"system": {"Driver version": "6.8.5"}}
"""
ROCM_SMI_5 = """{"card0": {"Card series": "Radeon RX 6800 XT", "Card model": "0x0e3a", "VRAM Total Memory (B)":
"17163091968", "VRAM Total Used Memory (B)": "1073741824"}, "card1": {"Card series": "Instinct MI210",
"VRAM Total Memory (B)": "68702699520", "VRAM Total Used Memory (B)": "N/A"}}"""
STATIC = [
    {
        "gpu": 0,
        "asic": {"market_name": "AMD Instinct MI300X", "vendor_id": "0x1002"},
        "vram": {"type": "HBM3", "size": {"value": 196592, "unit": "MB"}},
        "driver": {"name": "amdgpu", "version": "6.10.5"},
    },
    {"gpu": 1, "asic": {"market_name": "N/A"}, "vram": {"size": "N/A"}},
]
METRIC = [{"gpu": 0, "mem_usage": {"total_vram": {"value": 196592, "unit": "MB"}, "used_vram": {"value": 283}}}]


def runner(*, amd_static=None, amd_metric=None, rocm=None):
    def run(command):
        if command[0] == "amd-smi":
            return amd_static if command[1] == "static" else amd_metric
        return rocm if command[0] == "rocm-smi" else None

    return run


@pytest.mark.parametrize("wrap", [lambda gpus: gpus, lambda gpus: {"gpu_data": gpus}])
def test_amd_smi_in_both_shapes(wrap):
    run = runner(amd_static=json.dumps(wrap(STATIC)), amd_metric=json.dumps(wrap(METRIC)))
    found, reason = detect_or_reason(run, {}, wddm=False)
    assert reason is None
    assert found.driver_total_bytes == found.total_bytes == 196_592 * MIB
    assert (found.used_bytes, found.driver, found.asked) == (283 * MIB, "6.10.5", "amd-smi")
    assert (found.card.name, found.total_status) == ("Instinct MI300X", "driver")
    assert found.spec().type == "cuda"  # torch calls ROCm's GPUs so too


def test_rocm_smi_behind_a_warning():
    found, _ = detect_or_reason(runner(rocm=ROCM_SMI), {}, wddm=False)
    assert (found.card.name, found.total_bytes, found.used_bytes) == (
        "Radeon RX 7900 XTX",
        24_560 * MIB,
        512 * MIB,
    )
    assert (found.vendor, found.driver, found.asked) == ("amd", "6.8.5", "rocm-smi")


def test_older_rocm_smi_and_the_variable_that_chooses():
    run = runner(rocm=ROCM_SMI_5)
    assert ask_amd(run, {})[0].name == "Radeon RX 6800 XT"
    second, _ = ask_amd(run, {"HIP_VISIBLE_DEVICES": "1,0"})
    assert (second.name, second.used_bytes, second.driver) == ("Instinct MI210", None, "")
    assert ask_amd(run, {"ROCR_VISIBLE_DEVICES": "-1"}) == (None, "ROCR_VISIBLE_DEVICES='-1' names none of the 2 GPUs")


def test_without_metric_what_others_use_is_unknown():
    found, _ = ask_amd(runner(amd_static=json.dumps(STATIC)), {})
    assert (found.used_bytes, found.reserved_bytes) == (None, None)


def test_nvidia_is_asked_first_and_its_variable_is_not_overruled():
    assert detect_or_reason(runner(rocm=ROCM_SMI), {"CUDA_VISIBLE_DEVICES": ""})[0] is None


def test_nobody_answers():
    assert ask_amd(runner(), {}) == (None, "neither amd-smi nor rocm-smi is there or answers")


@given(st.text(max_size=60) | st.just("[" * 5000) | st.just('{"card0": 3, "gpu_data": [1, {"asic": []}]}'))
def test_garbage_is_no_gpu(text):
    found, reason = ask_amd(runner(amd_static=text, amd_metric=text, rocm=text), {})
    assert found is None
    assert reason


def test_a_target_on_amd_says_that_it_is_unproven(monkeypatch):
    assert any("AMD" in note for note in named_gpu("7900xtx").notes)
    assert not any("AMD" in note for note in named_gpu("4070").notes)
    found, _ = detect_or_reason(runner(rocm=ROCM_SMI), {})
    monkeypatch.setattr("fwplan.machine.target.detect", lambda: found)
    assert any("AMD" in note for note in detected().notes)
