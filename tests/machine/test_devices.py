"""The table of GPUs, the names people type for them, and what this machine is asked."""

import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fwplan.errors import FwplanError
from fwplan.machine import (
    Segment,
    Vendor,
    command,
    detect,
    detect_cpu,
    detect_or_reason,
    find_gpu,
    gpus,
    gpus_with,
    sgemm_flops,
    usable_total,
)
from fwplan.machine.command import run_command
from fwplan.machine.nvidia import ask_nvidia_smi
from fwplan.spec import DeviceSpec
from fwplan.units import GIB, MIB

# ---------------------------------------------------------------- the table


def test_every_row_is_positive_or_unknown():
    assert len({gpu.name for gpu in gpus()}) == len(gpus()) == 105
    for gpu in gpus():
        for figure in (gpu.dense_tflops, gpu.bandwidth_gb_s, gpu.tdp_watts, gpu.sm_count, gpu.boost_mhz):
            assert figure is None or figure > 0, gpu
        assert gpu.segment in get_args(Segment)
        assert gpu.vendor in get_args(Vendor)
        if gpu.vendor == "apple":
            assert (gpu.nominal_gib, gpu.total_bytes, gpu.total_bytes_range, gpu.total_status) == (
                *[None] * 3,
                "unknown",
            )
            continue
        low, high = gpu.total_bytes_range
        assert 0.9 * gpu.nominal_gib * GIB < low <= high < gpu.nominal_gib * GIB, gpu
        assert gpu.total_bytes == low
        assert float(gpu.compute_capability) >= 6


def test_every_figure_has_its_source_and_confidence():
    for gpu in gpus():
        for figure, evidence in (
            (gpu.total_bytes, gpu.of_total),
            (gpu.dense_tflops, gpu.of_tflops),
            (gpu.fp32_tflops, gpu.of_fp32),
            (gpu.bandwidth_gb_s, gpu.of_bandwidth),
            (gpu.tdp_watts, gpu.of_tdp),
        ):
            assert (evidence.confidence in {"high", "medium", "low"}) == (figure is not None), (gpu.name, evidence)
            assert evidence.source or figure is None, gpu.name
        assert gpu.of_chip.source
        assert (gpu.of_total.confidence == "low") == (gpu.total_status == "assumed")


def test_recalled_figures_are_of_low_confidence():
    for gpu in gpus():
        for evidence in (gpu.of_bandwidth, gpu.of_tdp):
            assert evidence.confidence == "low" or not evidence.source.endswith("recalled"), gpu.name


def test_how_much_of_the_table_is_known():
    assert sum(gpu.total_status == "measured" for gpu in gpus()) == 47 + 3
    assert sum(gpu.dense_tflops is not None for gpu in gpus()) == 65 + 15
    assert sum(gpu.windows_total_bytes_range is not None for gpu in gpus()) == 19


def test_rtx_4070():
    gpu = find_gpu("RTX 4070")
    assert gpu.total_bytes_range == (11_994 * MIB, 12_002 * MIB)
    assert gpu.windows_total_bytes_range == (12_282 * MIB, 12_282 * MIB)
    assert gpu.total_status == "measured"
    assert (gpu.dense_tflops, gpu.bandwidth_gb_s, gpu.tdp_watts) == (58.3, 504.2, 200)
    assert (gpu.fp32_tflops, gpu.has_tf32) == (29.1, True)
    assert (gpu.compute_capability, gpu.supports_bf16, gpu.consumer, gpu.nominal_gib) == ("8.9", True, True, 12)
    assert gpu.spec() == DeviceSpec(type="cuda", name="GeForce RTX 4070", total_bytes=11_994 * MIB)


@pytest.mark.parametrize(
    ("name", "tflops", "tf32"),
    [  # as NVIDIA's and AMD's data sheets have them
        ("T4", 8.1, False),
        ("V100 SXM2 16GB", 15.7, False),
        ("RTX 2080 Ti", 13.4, False),
        ("A100 SXM4 80GB", 19.5, True),
        ("RTX 3090", 35.6, True),
        ("H100 SXM5 80GB", 67, True),
        ("MI300X", 163.4, False),
    ],
)
def test_plain_fp32_is_the_data_sheets(name, tflops, tf32):
    gpu = find_gpu(name)
    assert gpu.fp32_tflops == pytest.approx(tflops, rel=0.05)
    assert gpu.has_tf32 == tf32


def test_unknown_figures_are_none():
    assert find_gpu("GTX 1080").dense_tflops is None
    assert find_gpu("GB10").dense_tflops is None
    assert find_gpu("L4").windows_total_bytes_range is None
    assert not find_gpu("T4").supports_bf16
    assert not find_gpu("A100 40GB").consumer


def test_an_unmeasured_total_is_assumed_from_its_kin():
    # Same class and size: RTX 3060, 3080 12GB, 4070 and 4070 Ti were measured.
    assert find_gpu("4070 super").total_bytes_range == (11_910 * MIB, 12_117 * MIB)
    assert find_gpu("4070 super").total_status == "assumed"
    # An L40 has the ECC memory of an A40 and L40S, not that of an A6000.
    assert find_gpu("L40").total_bytes_range == (45_416 * MIB, 45_589 * MIB)
    # No workstation card of 20 GB was measured: in proportion to the others.
    low, high = find_gpu("RTX 4000 Ada").total_bytes_range
    assert low == round(20 * 24_114 * MIB / 24)
    assert high == round(20 * 48_676 * MIB / 48)


def test_gpus_with_lists_boards_only():
    assert {gpu.name for gpu in gpus_with(20)} == {"RTX 4000 Ada"}
    assert [gpu.name for gpu in gpus_with(10)] == ["GeForce RTX 3080 10GB"]
    assert not any("Laptop" in gpu.name or "Jetson" in gpu.name for gpu in gpus_with(8))
    assert len(gpus_with(12)) == 8
    assert gpus_with(13) == []


@pytest.mark.parametrize(
    ("nominal", "low_mib", "high_mib"),
    [(12, 11_910, 12_117), (16, 15_079, 16_280), (24, 22_563, 24_268), (48, 45_416, 48_676), (80, 81_008, 81_251)],
)
def test_usable_total_of_a_nominal_size(nominal, low_mib, high_mib):
    assert usable_total(nominal) == (low_mib * MIB, high_mib * MIB)


def test_usable_total_of_an_odd_size_is_in_proportion():
    low, high = usable_total(100)
    assert low == round(100 * 22_563 / 24 / 1024 * GIB)  # L4, which shows the least of its memory
    assert high == round(100 * 16_280 / 16 / 1024 * GIB)  # P100, which shows the most


# ---------------------------------------------------------------- names


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("4070", "GeForce RTX 4070"),
        ("rtx4070", "GeForce RTX 4070"),
        ("RTX-4070", "GeForce RTX 4070"),
        ("NVIDIA GeForce RTX 4070", "GeForce RTX 4070"),
        ("4070 ti", "GeForce RTX 4070 Ti"),
        ("4070Ti", "GeForce RTX 4070 Ti"),
        ("rtx 4070 ti super", "GeForce RTX 4070 Ti SUPER"),
        ("RTX4070TiSuper", "GeForce RTX 4070 Ti SUPER"),
        ("4070 Super", "GeForce RTX 4070 SUPER"),
        ("NVIDIA GeForce RTX 4070 Laptop GPU", "GeForce RTX 4070 Laptop 8GB"),
        ("4090 24GB", None),
        ("3060", "GeForce RTX 3060 12GB"),
        ("3080 10 GB", "GeForce RTX 3080 10GB"),
        ("4060ti-16g", "GeForce RTX 4060 Ti 16GB"),
        ("A100 80GB", "A100 SXM4 80GB"),  # SXM or PCIe differ in power only; this one shows less memory
        ("NVIDIA A100-SXM4-40GB", "A100 SXM4 40GB"),
        ("NVIDIA A100 80GB PCIe", "A100 PCIe 80GB"),
        ("NVIDIA H100 80GB HBM3", "H100 SXM5 80GB"),
        ("H100 SXM", "H100 SXM5 80GB"),
        ("NVIDIA H100 PCIe", "H100 PCIe 80GB"),
        ("NVIDIA H200", "H200 SXM 141GB"),
        ("Tesla V100-SXM2-16GB", "V100 SXM2 16GB"),
        ("Tesla T4", "T4"),
        ("NVIDIA L40S", "L40S"),
        ("l40", "L40"),
        ("NVIDIA A10G", "A10G"),
        ("NVIDIA RTX A6000", "RTX A6000"),
        ("NVIDIA RTX 6000 Ada Generation", "RTX 6000 Ada"),
        ("NVIDIA RTX PRO 6000 Blackwell Workstation Edition", "RTX PRO 6000 Blackwell Workstation"),
        ("NVIDIA TITAN RTX", "TITAN RTX"),
        ("NVIDIA GB10", "GB10 (DGX Spark)"),
        ("rtx4070 ti super", "GeForce RTX 4070 Ti SUPER"),
        ("7900xtx", "Radeon RX 7900 XTX"),
        ("AMD Radeon(TM) RX 7900 XT", "Radeon RX 7900 XT"),
        ("rx7900gre", "Radeon RX 7900 GRE"),
        ("9070 XT", "Radeon RX 9070 XT"),
        ("Radeon RX 7600", "Radeon RX 7600"),
        ("w7900", "Radeon PRO W7900"),
        ("AMD Instinct MI300X OAM", "Instinct MI300X"),
        ("mi210", "Instinct MI210"),
        ("M3 Max", "Apple M3 Max"),
        ("m1", "Apple M1"),
        ("Apple M4 Pro", "Apple M4 Pro"),
        ("m3max", "Apple M3 Max"),
    ],
)
def test_forgiving_names(name, expected):
    if expected is None:  # says more than the table does, and what it says could be wrong
        with pytest.raises(FwplanError, match="unknown GPU"):
            find_gpu(name)
    else:
        assert find_gpu(name).name == expected


def test_an_apple_chip_takes_the_memory_that_the_name_says():
    chip = find_gpu("M3 Max 64GB")
    assert (chip.name, chip.nominal_gib, chip.total_bytes) == ("Apple M3 Max", 64, None)
    assert chip.spec() == DeviceSpec(type="mps", name="Apple M3 Max")
    with pytest.raises(FwplanError, match="unknown GPU"):
        find_gpu("M3 Max 64GB 32GB")


def test_a_nominal_size_alone_means_no_amd_card():
    assert all(gpu.vendor == "nvidia" for size in (8, 16, 20, 24, 48, 192) for gpu in gpus_with(size))


def test_every_card_answers_to_its_own_name():
    assert [find_gpu(gpu.name) for gpu in gpus()] == list(gpus())


@pytest.mark.parametrize(
    ("name", "candidates"),
    [
        ("h100", ["H100 PCIe 80GB", "H100 SXM5 80GB", "H100 NVL 94GB"]),
        ("3080", ["GeForce RTX 3080 10GB", "GeForce RTX 3080 12GB"]),
        ("4060 Ti", ["GeForce RTX 4060 Ti 8GB", "GeForce RTX 4060 Ti 16GB"]),
        ("V100", ["V100 SXM2 16GB", "V100 SXM2 32GB"]),
    ],
)
def test_ambiguous_names_list_the_candidates(name, candidates):
    with pytest.raises(FwplanError, match=f"'{name}' may be {len(candidates)} cards") as caught:
        find_gpu(name)
    assert caught.value.hint == f"say which: {', '.join(candidates)}"


def test_memory_tells_cards_of_one_name_apart():
    assert find_gpu("NVIDIA GeForce RTX 3080", 10_240 * MIB).name == "GeForce RTX 3080 10GB"
    assert find_gpu("NVIDIA GeForce RTX 3080", 12_288 * MIB).name == "GeForce RTX 3080 12GB"
    assert find_gpu("NVIDIA L4", 23_034 * MIB).name == "L4"
    with pytest.raises(FwplanError, match="unknown GPU"):  # the 8 GB RTX 3060 is not in the table
        find_gpu("RTX 3060", 8192 * MIB)
    with pytest.raises(FwplanError, match="unknown GPU"):
        find_gpu("RTX 4070", 0)


@pytest.mark.parametrize("name", ["4071", "RTX 6000", "NVIDIA TITAN V", "3050", "titan"])
def test_unknown_names_hint_at_near_ones(name):
    with pytest.raises(FwplanError, match="unknown GPU") as caught:
        find_gpu(name)
    assert caught.value.hint.startswith("near it: ")


@pytest.mark.parametrize("name", ["", "  ", "rtx", "nvidia geforce", "80gb", "ti", "x" * 10_000, "(", "4070\0"])
def test_names_that_name_nothing(name):
    if name == "4070\0":
        assert find_gpu(name).name == "GeForce RTX 4070"
    else:
        with pytest.raises(FwplanError, match="unknown GPU"):
            find_gpu(name)


@settings(max_examples=100, deadline=timedelta(seconds=1))
@given(
    name=st.text(max_size=40)
    | st.lists(st.sampled_from(["rtx", "4070", "ti", "a100", "80", "gb", " ", "-"])).map("".join)
)
def test_any_name_is_found_or_refused(name):
    try:
        gpu = find_gpu(name)
    except FwplanError:
        return
    assert gpu in gpus()


# ---------------------------------------------------------------- the driver


def smi(*lines, reserved=True, asked=None):
    """Return a runner that answers as nvidia-smi does; without `reserved` as one that does not know that field."""

    def run(command):
        if asked is not None:
            asked.append(command)
        if not reserved and "memory.reserved" in command[1]:
            return None
        return "".join(f"{line}\n" for line in lines)

    return run


RTX_4090 = "NVIDIA GeForce RTX 4090, 24564, 609, 550.54.14, GPU-aaaa-1, 354"
RTX_4070 = "NVIDIA GeForce RTX 4070, 12282, 430, 550.54.14, GPU-bbbb-2, 280"


def test_detect_takes_the_drivers_figures():
    asked = []
    found, reason = detect_or_reason(smi(RTX_4090, asked=asked), {}, wddm=False)
    assert reason is None
    assert found.name == "NVIDIA GeForce RTX 4090"
    assert found.card == find_gpu("4090")
    assert (found.total_bytes, found.total_status) == (24_210 * MIB, "driver")
    assert (found.used_bytes, found.driver) == (609 * MIB, "550.54.14")
    assert found.spec() == DeviceSpec(
        type="cuda", name="NVIDIA GeForce RTX 4090", total_bytes=24_210 * MIB, in_use_bytes=609 * MIB
    )
    assert asked == [
        [
            "nvidia-smi",
            "--query-gpu=name,memory.total,memory.used,driver_version,uuid,memory.reserved",
            "--format=csv,noheader,nounits",
        ]
    ]


def test_under_wddm_torch_sees_the_drivers_total():
    found, _ = detect_or_reason(smi(RTX_4070), {}, wddm=True)
    assert found.total_bytes == 12_282 * MIB


def test_an_older_driver_leaves_the_table_to_say():
    run = smi("NVIDIA GeForce RTX 4070, 12282, 430, 470.1, GPU-b", reserved=False)
    found, _ = detect_or_reason(run, {}, wddm=False)
    assert (found.total_bytes, found.total_status) == (11_994 * MIB, "measured")
    run = smi("NVIDIA GeForce RTX 9999, 12282, 430, 470.1, GPU-b", reserved=False)
    found, _ = detect_or_reason(run, {}, wddm=False)
    assert found.card is None
    assert found.total_status == "assumed"
    assert 11_000 * MIB < found.total_bytes < 11_910 * MIB


def test_shared_memory_is_unknown_not_zero():
    found, _ = detect_or_reason(smi("NVIDIA Thor, [N/A], [N/A], 580.1, GPU-c, [N/A]"), {}, wddm=False)
    assert (found.total_bytes, found.used_bytes, found.reserved_bytes) == (None, None, None)
    assert found.spec().total_bytes is None
    found, _ = detect_or_reason(smi("NVIDIA GB10, [N/A], [N/A], 580.1, GPU-c, [N/A]"), {}, wddm=False)
    assert (found.total_bytes, found.total_status) == (find_gpu("gb10").total_bytes, "assumed")


@pytest.mark.parametrize(
    ("visible", "name"),
    [
        (None, "4090"),
        ("0", "4090"),
        ("1", "4070"),
        ("1,0", "4070"),
        ("GPU-bbbb", "4070"),
        ("", None),
        ("-1", None),
        ("7", None),
        ("GPU-", None),
        ("MIG-1", None),
    ],
)
def test_cuda_visible_devices_chooses(visible, name):
    environ = {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}
    found, reason = detect_or_reason(smi(RTX_4090, RTX_4070), environ)
    if name is None:
        assert found is None
        assert reason == f"CUDA_VISIBLE_DEVICES={visible!r} names none of the 2 GPUs"
    else:
        assert found.card == find_gpu(name)


@pytest.mark.parametrize(
    "output", ["", "No devices were found", "a, b", ", , , , , ", RTX_4090 + "\ngarbage", "\0\n,,"]
)
def test_garbage_is_no_gpu_with_a_reason(output):
    found, reason = ask_nvidia_smi(lambda _: output, {})
    assert found is None
    assert reason.startswith("nvidia-smi's answer cannot be read")


def test_no_driver_is_no_gpu_with_a_reason():
    assert detect(lambda _: None, {}) is None
    assert detect_or_reason(lambda _: None, {}) == (None, "nvidia-smi is not there or does not answer")


def test_run_command_never_raises(monkeypatch):
    assert run_command(["no-such-program-anywhere"]) is None
    assert run_command([sys.executable, "-c", "print(7)"]) == "7\n"
    assert run_command([sys.executable, "-c", "raise SystemExit(9)"]) is None
    monkeypatch.setattr(command, "_SECONDS", 0.1)
    assert run_command([sys.executable, "-c", "import time; time.sleep(5)"]) is None


# ---------------------------------------------------------------- the processor


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


PROC = {
    "proc/cpuinfo": "processor\t: 0\nmodel name\t: Example CPU 9000\n",
    "proc/meminfo": "MemTotal:       32768000 kB\nMemFree: 1 kB\nMemAvailable:   16384000 kB\n",
}


def test_cpu_of_a_plain_machine(tmp_path):
    cpu = detect_cpu(root=write(tmp_path, PROC), affinity=8, probe=lambda: 1e11)
    assert (cpu.name, cpu.cores, cpu.sgemm_flops) == ("Example CPU 9000", 8, 1e11)
    assert (cpu.total_bytes, cpu.available_bytes) == (32_768_000 * 1024, 16_384_000 * 1024)
    assert cpu.spec() == DeviceSpec(
        type="cpu", name="Example CPU 9000", total_bytes=32_768_000 * 1024, in_use_bytes=16_384_000 * 1024
    )


def test_cgroup_limits_count_on_every_level(tmp_path):
    root = write(
        tmp_path,
        PROC
        | {
            "proc/self/cgroup": "0::/slice/box\n",
            "sys/fs/cgroup/slice/cpu.max": "250000 100000\n",
            "sys/fs/cgroup/slice/memory.max": "4294967296\n",
            "sys/fs/cgroup/slice/box/cpu.max": "max 100000\n",
            "sys/fs/cgroup/slice/box/memory.max": "max\n",
        },
    )
    cpu = detect_cpu(root=root, affinity=8, probe=None)
    assert (cpu.cores, cpu.total_bytes, cpu.available_bytes, cpu.sgemm_flops) == (2, 4 * GIB, 4 * GIB, None)
    write(root, {"sys/fs/cgroup/cpu.max": "50000 100000"})
    assert detect_cpu(root=root, affinity=8, probe=None).cores == 1


def test_a_machine_that_says_nothing(tmp_path, monkeypatch):
    monkeypatch.delattr("os.sysconf")
    monkeypatch.setitem(sys.modules, "psutil", None)
    cpu = detect_cpu(root=tmp_path, affinity=4, probe=None)
    assert (cpu.cores, cpu.total_bytes, cpu.available_bytes) == (4, None, None)
    assert cpu.spec().in_use_bytes is None


def test_without_proc_psutil_is_asked(tmp_path, monkeypatch):
    memory = SimpleNamespace(total=16 * GIB, available=9 * GIB)
    monkeypatch.setitem(sys.modules, "psutil", SimpleNamespace(virtual_memory=lambda: memory))
    cpu = detect_cpu(root=tmp_path, affinity=4, probe=None)
    assert (cpu.total_bytes, cpu.available_bytes) == (16 * GIB, 9 * GIB)
    cpu = detect_cpu(root=write(tmp_path, PROC), affinity=4, probe=None)
    assert cpu.total_bytes == 32_768_000 * 1024


def test_this_machine():
    cpu = detect_cpu()
    assert cpu.cores >= 1
    assert cpu.total_bytes is None or cpu.total_bytes > 100 * MIB
    assert cpu.sgemm_flops is None or cpu.sgemm_flops > 1e8


def test_sgemm_probe_is_short_and_optional(monkeypatch):
    assert sgemm_flops(seconds=0.0, size=64) > 0
    monkeypatch.setitem(sys.modules, "numpy", None)
    assert sgemm_flops() is None


def test_importing_devices_and_configs_loads_no_heavy_package():
    code = (
        "import sys, fwplan.machine, fwplan.configs; fwplan.machine.gpus();"
        "print([m for m in ('torch', 'numpy', 'pyarrow', 'tiktoken', 'rich') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
