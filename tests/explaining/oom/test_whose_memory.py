"""Which process held what: a message names processes by the host's numbers, which a container's own is not among."""

import pytest

from fwplan.api.explain_log import explain_log
from fwplan.units import GIB

HEAD = (
    "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 512.00 MiB. GPU 0 has a total capacity of {} of "
    "which {} is free. "
)
TAIL = "Of the allocated memory {} is allocated by PyTorch, and {} is reserved by PyTorch but unallocated."
MINE = "Including non-PyTorch memory, this process has {} memory in use. "


def _process(number, size):
    return f"Process {number} has {size} memory in use. "


@pytest.fixture
def diagnosed(tmp_path):
    def diagnose(capacity, free, who, allocated, unallocated):
        text = HEAD.format(capacity, free) + who + TAIL.format(allocated, unallocated)
        (tmp_path / "train.log").write_text(text, encoding="utf-8")
        return explain_log(tmp_path / "train.log")

    return diagnose


CARD = ("14.74 GiB", "40.00 MiB")


@pytest.mark.parametrize(
    ("capacity", "free", "who", "allocated", "unallocated", "others"),
    [
        pytest.param(*CARD, _process(4242, "14.70 GiB"), "10.59 GiB", "3.80 GiB", 0, id="its own number, alone"),
        pytest.param(
            "24.00 GiB", "1.00 GiB", _process(7, "15.00 GiB") + _process(8, "8.00 GiB"), "7.00 GiB", "512.00 MiB", 15,
            id="its own is the smaller one",
        ),
        pytest.param(
            "24.00 GiB", "1.00 GiB", _process(7, "15.00 GiB") + _process(8, "8.00 GiB"), "14.00 GiB", "512.00 MiB", 8,
            id="its own is the larger one",
        ),
        pytest.param(
            "24.00 GiB", "1.00 GiB", _process(7, "15.00 GiB"), "7.00 GiB", "512.00 MiB", 15, id="its own is not listed"
        ),
        pytest.param(
            "24.00 GiB", "1.00 GiB", _process(7, "15.00 GiB") + MINE.format("8.00 GiB"), "7.00 GiB", "512.00 MiB", 15,
            id="named apart",
        ),
        pytest.param(*CARD, MINE.format("0 bytes"), "10.59 GiB", "3.80 GiB", 0, id="a driver that does not tell"),
        pytest.param(
            *CARD, MINE.format("17179869184.00 GiB"), "10.59 GiB", "3.80 GiB", 0, id="NVML's word for not available"
        ),
        pytest.param("24.00 GiB", "1.00 GiB", "", "7.00 GiB", "512.00 MiB", 24 - 1 - 7.5 - 0.55, id="nobody is named"),
    ],
)  # fmt: skip
def test_what_others_held(diagnosed, capacity, free, who, allocated, unallocated, others):
    found = diagnosed(capacity, free, who, allocated, unallocated)
    assert found.log.message.others == pytest.approx(others * GIB, abs=0.01 * GIB)
    assert any("other processes held" in line for line in found.findings) == (others > 0.2)


def test_a_message_cut_off_before_its_own_figures_accuses_nobody(diagnosed):
    found = diagnosed(*CARD, _process(4242, "14.70 GiB"), "10.", "")
    assert found.log.message.reserved is None
    assert found.log.message.others == 0
    assert not any("other processes" in line for line in found.findings)


def test_a_free_size_below_zero_is_unknown(tmp_path):
    (tmp_path / "train.log").write_text(
        "RuntimeError: HIP out of memory. Tried to allocate 54.00 MiB (GPU 0; 16.00 GiB total capacity; 14.40 GiB "
        "already allocated; 17179869183.78 GiB free; 15.00 GiB reserved in total by PyTorch)",
        encoding="utf-8",
    )
    found = explain_log(tmp_path / "train.log")
    assert found.log.message.free is None
    assert found.log.message.reserved.bytes == 15 * GIB
    assert not any("the driver had" in line for line in found.findings)


def test_the_card_that_fixes_are_for_has_its_own_memory_back(tmp_path):
    text = HEAD.format(*CARD) + _process(4242, "14.70 GiB") + TAIL.format("10.59 GiB", "3.80 GiB")
    (tmp_path / "train.log").write_text(text, encoding="utf-8")
    (tmp_path / "config.py").write_text("batch_size = 4\ncompile = False\n", encoding="utf-8")
    found = explain_log(tmp_path / "train.log", tmp_path / "config.py")
    assert found.explanation.estimate.target.device.in_use_bytes == 0
