import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fwplan.estimation.estimate import estimate
from fwplan.estimators.speed import energy_kwh, evaluation_share, executed_flops, middle, model_flops
from fwplan.spec import DeviceSpec, parse_spec

ROWS = [json.loads(line) for line in Path("benchmarks/published.jsonl").read_text(encoding="utf-8").splitlines()]
CARDS = {"NVIDIA H100 80GB HBM3": "H100 SXM", "NVIDIA GeForce RTX 3090 (23.69 GiB by torch)": "RTX 3090"}


def test_flops_of_a_token_by_hand(run_spec):
    spec = run_spec(n_layer=2, n_head=1, n_embd=8, vocab_size=100, context_length=16)
    multiplied = 100 * 8 + 2 * (12 * 64 + 2 * 8) + 8
    assert model_flops(spec).per_token == 6 * multiplied + 12 * 2 * 8 * 16


def test_an_untied_head_is_counted_once(run_spec):
    assert model_flops(run_spec(tied_embeddings=False)).per_token == model_flops(run_spec()).per_token


def test_checkpointing_runs_a_third_of_the_blocks_again(run_spec):
    none, block = run_spec(), run_spec(checkpointing="block")
    per_block_token = 72 * 768**2 + 12 * 768 * 1024
    expected = 12 * per_block_token / 3 * none.tokens_per_step
    assert executed_flops(block) - executed_flops(none) == pytest.approx(expected)
    assert model_flops(block) == model_flops(none)


def test_processes_share_the_work(run_spec):
    eight = run_spec(world_size=8, parallel="ddp")
    assert executed_flops(eight) == pytest.approx(executed_flops(run_spec()))
    assert model_flops(eight).per_step == pytest.approx(8 * model_flops(run_spec()).per_step)


@given(st.floats(1e-6, 1e6), st.floats(1, 1e3))
def test_the_middle_is_inside(low, factor):
    assert low <= middle((low, low * factor)) * (1 + 1e-9)
    assert middle((low, low * factor)) <= low * factor * (1 + 1e-9)


def test_energy_is_power_by_time():
    assert energy_kwh((3600, 7200), 200, 2) == pytest.approx((0.4, 0.8))
    assert energy_kwh((1, 2), None, 1) is None


def test_evaluation_costs_a_third_of_a_micro_step(run_spec):
    spec = run_spec(eval_interval=10, eval_batches=30, grad_accum_steps=4)
    assert evaluation_share(spec) == pytest.approx(30 / 3 / 40)
    assert evaluation_share(run_spec()) == 0


@pytest.mark.parametrize(
    "row",
    [
        r
        for r in ROWS
        if r["gpu"] in CARDS
        and r["spec"]["train"]["attention"] == "flash"
        and r["spec"]["train"]["micro_batch_size"] > 1
    ],
    ids=lambda row: row["id"],
)
def test_published_speeds_are_inside_the_prior(row):
    spec = parse_spec(row["spec"], row["id"])
    spec = spec.model_copy(update={"device": DeviceSpec(name=CARDS[row["gpu"]])})
    low, high = estimate(spec, measurements=[]).step_seconds
    assert low <= spec.tokens_per_step / row["tokens_per_second"] <= high
