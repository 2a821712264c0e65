"""A log that is not of the config's run: it is said, and the config's fixes are not offered for it."""

import json

import pytest

from fwplan.api.explain_log import explain_log
from fwplan.view.terminal.oom import oom_lines

CONFIG = "n_layer = 12\nn_head = 12\nn_embd = 576\nbatch_size = 16\ngradient_accumulation_steps = 32\ncompile = False\n"
LOGS = {
    "cpu": "RuntimeError: [enforce fail at alloc_cpu.cpp:118] err == 0. DefaultCPUAllocator: can't allocate memory: "
    "you tried to allocate 3296722944 bytes. Error code 12 (Cannot allocate memory)\n",
    "mps": "RuntimeError: MPS backend out of memory (MPS allocated: 12.80 GiB, other allocations: 384.00 MiB, max "
    "allowed: 18.13 GiB). Tried to allocate 3.07 GiB on shared pool.\n",
    "xpu": "torch.OutOfMemoryError: XPU out of memory. Tried to allocate 3.07 GiB. GPU 0 has a total capacity of 15.11 "
    "GiB. Of the allocated memory 6.00 GiB is allocated by PyTorch, and 4.00 GiB is reserved by PyTorch but "
    "unallocated.\n",
    "cuda": "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 3.07 GiB. GPU 0 has a total capacity of "
    "15.70 GiB of which 2.10 GiB is free. Including non-PyTorch memory, this process has 13.10 GiB memory in use. Of "
    "the allocated memory 12.80 GiB is allocated by PyTorch, and 100.00 MiB is reserved by PyTorch but unallocated.\n",
}
FOREACH = """\
  File "/home/u/torch/optim/adam.py", line 505, in _multi_tensor_adamw
    exp_avg_sq_sqrt = torch._foreach_sqrt(device_exp_avg_sqs)
torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 112.00 MiB. GPU 0 has a total capacity of 8.00 GiB of \
which 20.00 MiB is free. Of the allocated memory 7.00 GiB is allocated by PyTorch, and 100.00 MiB is reserved by PyTorch
"""


@pytest.fixture
def diagnosed(tmp_path):
    def diagnose(text, config=None, name="config.py"):
        (tmp_path / "train.log").write_text(text, encoding="utf-8")
        if config is None:
            return explain_log(tmp_path / "train.log")
        (tmp_path / name).write_text(config, encoding="utf-8")
        return explain_log(tmp_path / "train.log", tmp_path / name)

    return diagnose


def _printed(found):
    return "\n".join(oom_lines(found))


@pytest.mark.parametrize("backend", LOGS)
@pytest.mark.parametrize("device", ["cpu", "mps", "cuda"])
def test_another_devices_log_gets_no_fixes(diagnosed, backend, device):
    found = diagnosed(LOGS[backend], f"{CONFIG}device = '{device}'\n")
    differs = [line for line in found.contradictions if line.startswith("the memory that ran out was")]
    assert len(differs) == (backend != device)
    if differs:
        assert found.helpful() == []
        assert (f"-- --device={backend}" in differs[0]) == (backend != "xpu")
        assert "No fixes" in _printed(found)


def test_a_log_of_a_processor_has_that_devices_fixes(diagnosed):
    found = diagnosed(LOGS["cpu"], f"{CONFIG}device = 'cpu'\n")
    assert found.contradictions == ()
    assert "chunked loss" in [fix.change for fix in found.helpful()]


@pytest.mark.parametrize("backend", ["cpu", "mps", "xpu"])
@pytest.mark.parametrize("config", [None, CONFIG, f"{CONFIG}device = 'cpu'\n", f"{CONFIG}device = 'mps'\n"])
def test_only_cuda_is_told_of_expandable_segments(diagnosed, backend, config):
    found = diagnosed(LOGS[backend], config)
    assert "expandable" not in _printed(found)
    assert "expandable" not in json.dumps([found.as_dict()[key] for key in ("findings", "saves_bytes")])


def test_what_is_not_the_logs_run_has_no_fixes_in_json_either(diagnosed):
    found = diagnosed("tokens per iteration will be: 491,520\n" + LOGS["cuda"], CONFIG)
    assert found.contradictions
    document = found.as_dict()
    assert document["saves_bytes"] == {}
    assert document["config"]["fixes"] == []
    assert "-o plan.json" not in _printed(found)


def test_the_same_run_has_them(diagnosed):
    document = diagnosed("tokens per iteration will be: 524,288\n" + LOGS["cuda"], CONFIG).as_dict()
    assert document["contradictions"] == []
    assert document["saves_bytes"]
    assert document["config"]["fixes"]


def test_foreach_is_told_of_fused(diagnosed):
    found = diagnosed(FOREACH)
    assert found.moment == "optimizer step"
    assert any("fused=True" in line for line in found.findings)


def test_a_fused_config_is_not_a_foreach_logs(diagnosed):
    found = diagnosed(FOREACH, CONFIG)
    assert "the log's optimizer steps by foreach, the config's is fused" in found.contradictions
    assert found.helpful() == []


def test_a_foreach_config_has_fused_as_a_fix(diagnosed):
    model = {"n_layer": 24, "n_head": 16, "n_embd": 1024, "vocab_size": 50304, "context_length": 256}
    train = {"micro_batch_size": 1, "optimizer_impl": "foreach"}  # the step is the peak
    log = FOREACH.replace("112.00 MiB", "198.00 MiB").replace("7.00 GiB is", "6.00 GiB is")
    found = diagnosed(log, json.dumps({"model": model, "train": train}), "spec.json")
    assert found.contradictions == ()
    assert found.helpful()[0].change == "fused AdamW"
    assert found.candidates[0].name == "foreach's copy of AdamW's moment of wte.weight"
