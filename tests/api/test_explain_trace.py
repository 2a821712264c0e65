"""`explain --trace`: the trace beside the closed form, the verdict by replay, and a snapshot for PyTorch's viewer."""

import json
import pickle
import subprocess
import sys

import pytest
from rich.text import Text

from fwplan import explain
from fwplan.allocator.replay import replay
from fwplan.estimators.overhead import CUDA_CONTEXT, CUDA_WORKSPACES
from fwplan.view.terminal.explain import explain_lines
from fwplan.view.terminal.trace import trace_lines

CONFIG = """
n_layer = 4
n_head = 4
n_embd = 256
block_size = 256
batch_size = 8
gradient_accumulation_steps = 4
compile = False
max_iters = 100
"""


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "config.py"
    path.write_text(CONFIG, encoding="utf-8")
    return path


def test_the_trace_agrees_with_the_closed_form_and_says_so(config):
    found = explain(config, gpu="RTX 4070", trace=True)
    assert abs(found.traced.difference) < 0.001
    text = "\n".join(explain_lines(found))
    assert "Traced" in text
    assert "nll_loss_backward" in text
    assert "by replay it [bold]fits[/]" in text
    assert max(len(Text.from_markup(line).plain) for line in trace_lines(found.traced)) <= 80


def test_the_verdict_is_the_replays(config):
    roomy = explain(config, gpu="RTX 4070", trace=True)
    assert roomy.verdict == roomy.traced.verdict == "fits"
    least = roomy.traced.least_bytes
    assert replay(roomy.traced.trace.events, capacity=least).fits
    # a card that leaves room beside the likely context, but not beside the largest
    slack = CUDA_WORKSPACES.high - CUDA_WORKSPACES.point
    for available, verdict in (
        (least + CUDA_CONTEXT.high + slack, "fits"),
        (least + CUDA_CONTEXT.point, "fits_at_point"),
        (least + CUDA_CONTEXT.point - 4 * 2**20, "does_not_fit"),
    ):
        card = {"device": {"type": "cuda", "total_bytes": int(available), "in_use_bytes": 0}}
        path = config.with_suffix(".json")
        path.write_text(json.dumps(roomy.estimate.spec.model_dump(exclude_none=True) | card), encoding="utf-8")
        assert explain(path, trace=True).verdict == verdict


def test_where_a_trace_was_made_its_replay_is_the_point(config):
    found = explain(config, gpu="RTX 4070", trace=True)
    use, before = found.estimate.use, found.traced.estimate.use
    assert use.reserved.point == replay(found.traced.trace.events).peak_reserved_bytes
    assert use.needed.point == found.traced.least_bytes + CUDA_CONTEXT.point
    for level, prior in ((use.reserved, before.reserved), (use.needed, before.needed)):
        assert level.low == min(prior.low, level.point)
        assert level.high == max(prior.high, level.point)
    assert use.allocated == before.allocated
    levels = "\n".join(explain_lines(found)).partition("\n  available")[0]
    assert levels.count("by replay") == 2


def test_expandable_segments_are_replayed_as_such(config):
    plain = explain(config, gpu="RTX 4070", trace=True)
    fixed = explain(config, ["--expandable_segments=True"], gpu="RTX 4070", trace=True)
    assert fixed.traced.replayed.settings.expandable_segments
    assert fixed.traced.least_bytes <= plain.traced.least_bytes
    assert fixed.estimate.use.needed.high < plain.estimate.use.needed.high


def test_a_compiled_run_keeps_the_closed_forms_verdict(config):
    found = explain(config, ["--compile=True"], gpu="RTX 4070", trace=True)
    assert found.traced.verdict is None
    assert found.verdict == found.estimate.verdict
    assert found.traced.difference is None
    assert any("eager" in note for note in found.traced.trace.notes)


def test_on_cpu_there_is_no_allocator_to_replay(config):
    found = explain(config, ["--device=cpu"], device="cpu", trace=True)
    assert found.traced.unlimited is found.traced.least_bytes is found.traced.verdict is None
    assert abs(found.traced.difference) < 0.01
    assert "reserved" not in "\n".join(explain_lines(found))


def test_from_the_command_line_as_json_and_as_a_snapshot(config, tmp_path):
    snapshot = tmp_path / "step.pickle"
    done = subprocess.run(
        [sys.executable, "-m", "fwplan", "explain", config, "--gpu", "4070", "--snapshot", snapshot, "--json"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    trace = json.loads(done.stdout)["trace"]
    assert trace["peak_allocated_bytes"] == max(trace["timeline_bytes"])
    assert sum(held["bytes"] for held in trace["alive_at_peak"]) == trace["peak_allocated_bytes"]
    assert trace["reserved_bytes"] >= trace["least_reserved_bytes"] >= trace["peak_allocated_bytes"]
    assert {"segments", "device_traces"} <= set(pickle.loads(snapshot.read_bytes()))
