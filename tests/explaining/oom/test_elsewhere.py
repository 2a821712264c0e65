"""Logs of memory that ran out where no device's did: refused, and named."""

import pytest

from fwplan.api.explain_log import explain_log
from fwplan.errors import FwplanError

CHIP = "triton.runtime.errors.OutOfResources: out of resource: shared memory, Required: 98304, Hardware limit: 65536."
BUS = "RuntimeError: DataLoader worker (pid 7) is killed by signal: Bus error. It is possible that dataloader's workers"
CUDA = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 15.70 GiB"


@pytest.fixture
def refusal(tmp_path):
    def refuse(text):
        (tmp_path / "train.log").write_text(text, encoding="utf-8")
        with pytest.raises(FwplanError) as refused:
            explain_log(tmp_path / "train.log")
        return refused.value

    return refuse


@pytest.mark.parametrize(
    ("text", "what", "hint"),
    [
        (CHIP, "shared memory on the chip", "num_stages"),
        (BUS, "/dev/shm", "--shm-size"),
        ("ERROR: Unexpected bus error encountered in worker. This might be caused by insufficient shared memory (shm).",
         "/dev/shm", "num_workers=0"),
        ("RuntimeError: unable to write to file </torch_1_2>: No space left on device (28)", "/dev/shm", "0"),
        ("unable to mmap 64 bytes from file <x.bin>: Cannot allocate memory (12)", "own memory ran out", "map"),
        ("OSError: [Errno 12] Cannot allocate memory", "the machine's own memory ran out", "more memory"),
        ("numpy.core._exceptions._ArrayMemoryError: Unable to allocate 7.91 GiB", "own memory ran out", "map"),
        ("slurmstepd: error: Detected 1 oom-kill event(s) in StepId=1.batch cgroup.", "own memory ran out", "job"),
        ("Training...\nKilled\n", "was killed from outside", "container"),
        ("run.sh: line 28:  8156 Killed                  python3 main.py", "was killed from outside", "container"),
        ("api:failed (exitcode: -9) local_rank: 0 (pid: 178) of binary: python", "was killed from outside", "workers"),
        ("RuntimeError: DataLoader worker (pid 7) is killed by signal: Killed. ", "was killed from outside", "workers"),
    ],
)  # fmt: skip
def test_it_is_named(refusal, text, what, hint):
    refused = refusal(text)
    assert what in refused.message
    assert hint in refused.hint


@pytest.mark.parametrize(
    "text", ["iter 0: loss 4.18", "Killed 3 stale jobs", "failed (exitcode: 1)", "torch.OutOfMemoryError"]
)
def test_other_logs_are_just_refused(refusal, text):
    assert refusal(text).message.startswith("no out-of-memory message in ")


@pytest.mark.parametrize("before", [CHIP, BUS, "Killed"])
def test_a_devices_message_comes_first(tmp_path, before):
    (tmp_path / "train.log").write_text(f"{before}\n{CUDA}\n{before}\n", encoding="utf-8")
    assert explain_log(tmp_path / "train.log").log.message.capacity is not None
