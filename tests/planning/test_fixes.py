from pathlib import Path

import pytest

import fwplan
from fwplan.cli import main
from fwplan.estimation.estimate import estimate
from fwplan.estimators.speed import middle
from fwplan.learning.measurement import Measurement
from fwplan.machine.target import Target, named_gpu
from fwplan.planning.fixes import fixes
from fwplan.spec import DeviceSpec

EAGER = {"compile": False, "returns_logits": True, "keeps_logits": True, "grad_accum_steps": 32}


@pytest.fixture
def found(run_spec):
    before = estimate(run_spec(n_embd=576, **EAGER), named_gpu("4070"), measurements=[])
    return before, fixes(before, [])


def test_each_is_a_full_estimate_of_a_changed_run(found):
    before, listed = found
    for fix in listed:
        assert fix.estimate.spec != before.spec
        assert fix.estimate.use == estimate(fix.estimate.spec, before.target, measurements=[]).use
        assert fix.why


def test_what_helps_comes_first_and_really_frees_memory(found):
    before, listed = found
    helps = [fix.helps for fix in listed]
    assert helps == sorted(helps, reverse=True)
    for fix in listed:
        freed = before.use.needed.point - fix.estimate.use.needed.point
        assert (freed >= 0.03 * before.use.needed.point) == fix.helps


def test_tokens_a_step_are_kept(found):
    before, listed = found
    for fix in listed:
        if fix.change.startswith("micro-batch"):
            assert fix.estimate.spec.tokens_per_step == before.spec.tokens_per_step


def test_popular_advice_is_shown_as_useless(run_spec):
    compiled = estimate(run_spec(n_embd=576, **EAGER | {"compile": True}), named_gpu("4070"), measurements=[])
    useless = {fix.change for fix in fixes(compiled, []) if not fix.helps}
    assert {"compile=False", "accumulation 24", "dtype float16"} <= useless


def test_only_changes_that_keep_the_maths_say_so(found):
    same = {fix.change: fix.same_maths for fix in found[1]}
    assert same["chunked loss"]
    assert same["activation checkpointing"]
    assert not same["accumulation 24"]
    assert not same["dtype float16"]


def test_an_undecidable_run_has_none(run_spec):
    assert fixes(estimate(run_spec(parallel="fsdp", world_size=2), measurements=[]), []) == []


@pytest.mark.parametrize("gpu", ["4070", "H200", "A100 40GB", None])
@pytest.mark.parametrize(
    "fields",
    [EAGER | {"n_embd": 576}, {}, {"n_layer": 6, "n_head": 6, "n_embd": 384, "micro_batch_size": 32}],
)
def test_what_costs_least_is_first_the_same_maths_before_time(run_spec, gpu, fields):
    before = estimate(run_spec(**fields), gpu and named_gpu(gpu), measurements=[])
    listed = fixes(before, [])
    helping = [fix for fix in listed if fix.helps]
    costs = [(not fix.same_maths, round(fix.slower or 0, 2), fix.disturbs) for fix in helping]
    assert costs == sorted(costs)
    for fix in listed:
        assert (fix.slower is None) == (gpu is None)
        if gpu is not None:
            a, b = (middle(e.step_seconds) / e.spec.tokens_per_step for e in (before, fix.estimate))
            assert fix.slower == pytest.approx(b / a - 1)


def test_a_chunked_loss_that_costs_time_does_not_come_first(run_spec):
    before = estimate(run_spec(micro_batch_size=48), named_gpu("4070"), measurements=[])
    names = [fix.change for fix in fixes(before, []) if fix.helps]
    assert names.index("chunked loss") > names.index("micro-batch 12, accumulation 4")
    assert {fix.change: fix for fix in fixes(before, [])}["chunked loss"].slower > 0.15


def test_what_only_one_of_two_runs_was_timed_in_is_compared_by_the_table(run_spec):
    before = estimate(run_spec(n_embd=576, **EAGER), named_gpu("4070"), measurements=[])
    run = Measurement(
        spec=before.spec, device_name="NVIDIA GeForce RTX 4070", device_type="cuda", torch_version="2.13.0",
        fwplan_version="0", measured_at="2026-01-01T00:00:00+00:00", tokens_per_second=1.0, timed_steps=5,
        predicted_allocated_bytes=before.memory.allocated_bytes, peak_allocated_bytes=before.memory.allocated_bytes,
        peak_reserved_bytes=before.memory.allocated_bytes, device_used_bytes=before.memory.allocated_bytes + 2**28,
        step_seconds=3 * middle(before.step_seconds),
    )  # fmt: skip
    timed = estimate(before.spec, before.target, measurements=[run])
    assert timed.time_status == "calibrated"
    by_table = {fix.change: fix.slower for fix in fixes(before, [])}
    for fix in fixes(timed, [run]):
        assert fix.slower == pytest.approx(by_table[fix.change], abs=1e-6)


def test_what_a_cpus_speed_does_not_tell_apart_is_not_said_to_be_the_same(run_spec):
    before = estimate(run_spec(**EAGER), Target(DeviceSpec(type="cpu"), matmul_flops=1e12), measurements=[])
    slower = {fix.change: fix.slower for fix in fixes(before, [])}
    assert slower["compile=True, loss returned alone"] is slower["micro-batch 8, accumulation 64"] is None
    assert slower["chunked loss"] < 0
    assert slower["activation checkpointing"] > 0.1


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("attention", ["flash", "math"])
def test_the_blocks_share_is_what_checkpointing_takes_off_the_peak(run_spec, attention, compiled):
    before = estimate(run_spec(attention=attention, compile=compiled), named_gpu("H200"), measurements=[])
    (fix,) = (fix for fix in fixes(before, []) if fix.change == "activation checkpointing")
    share = 1 - fix.estimate.memory.allocated_bytes / before.memory.allocated_bytes
    assert f"takes {share:.0%} off" in fix.why
    assert attention != "math" or share > 0.5


def test_only_what_helps_is_numbered(found):
    helping = [fix for fix in found[1] if fix.helps]
    micro = [fix.change for fix in helping if fix.change.startswith("micro-batch")]
    assert micro == ["micro-batch 8, accumulation 64", "micro-batch 4, accumulation 128"]
    assert all(fix.saved_bytes > 0 for fix in helping)


def test_where_one_change_is_not_enough_several_are_tried(run_spec):
    before = estimate(run_spec(n_layer=48, n_head=25, n_embd=1600, **EAGER), named_gpu("A100 40GB"), measurements=[])
    helping = [fix for fix in fixes(before, []) if fix.helps]
    fitting = [fix for fix in helping if fix.fits]
    assert fitting
    assert all("chunked, micro-batch" in fix.change for fix in fitting)
    for fix in fitting:
        assert fix.estimate.spec.tokens_per_step == before.spec.tokens_per_step


def test_numbers_in_json_agree_with_the_option(tmp_path):
    config = tmp_path / "config.py"
    config.write_text("n_embd = 576\nbatch_size = 16\ncompile = False\n", encoding="utf-8")
    listed = fwplan.explain(config, gpu="4070").as_dict()["fixes"]
    assert [fix["number"] for fix in listed if not fix["helps"]] == [None] * sum(not fix["helps"] for fix in listed)
    for fix in listed:
        if fix["helps"]:
            applied = fwplan.explain(config, gpu="4070", fix=fix["number"]).estimate
            assert round(applied.use.allocated.point) == fix["allocated_bytes"]


@pytest.fixture
def said(tmp_path, monkeypatch, capsys):
    """Return a function that types `fwplan explain` in a folder of its own and returns what it printed."""
    monkeypatch.chdir(tmp_path)
    text = "n_embd = 576\nbatch_size = 16\ncompile = False\nmax_iters = 2000\n"
    Path("config.py").write_text(text, encoding="utf-8")

    def explain(*words):
        monkeypatch.setattr("sys.argv", ["fwplan", "explain", *words])
        with pytest.raises(SystemExit):
            main()
        return capsys.readouterr().out

    return explain


def _commands(text):
    return [line.strip() for line in text.splitlines() if line.startswith("  fwplan ")]


def test_after_writing_the_next_command_is_about_what_was_written(said):
    listed = fwplan.explain("config.py", gpu="4070").as_dict()["fixes"]
    first = next(fix["number"] for fix in listed if fix["verdict"] == "fits")
    assert _commands(said("config.py", "--gpu", "4070", "-o", "p.json")) == [
        f"fwplan explain p.json --fix {first} -o plan.json"
    ]
    assert _commands(said("p.json", "--fix", str(first), "-o", "fixed.json")) == ["fwplan run fixed.json"]
    fixed = said("p.json", "--gpu", "3070", "--fix", "2", "-o", "plan.json")
    (command,) = _commands(fixed)
    assert command.startswith("fwplan explain plan.json --fix ")
    assert command.endswith(" -o plan2.json")


def test_the_numbers_after_a_written_fix_are_those_of_the_file(said):
    listed = said("config.py", "--gpu", "3070", "--fix", "2", "-o", "a b.json").split("What would change it")[1]
    again = said("a b.json").split("What would change it")[1]
    rows = [[line for line in text.splitlines() if line[2:3] in set("✓~✗")] for text in (listed, again)]
    assert rows[0] == rows[1]
    assert "fwplan explain 'a b.json' --fix " in listed
    assert _commands(listed) == _commands(again)


@pytest.mark.parametrize("number", ["1", "2", "4"])
def test_the_fixes_of_a_fixed_run_have_no_numbers_until_it_is_written(said, number):
    text = said("config.py", "--gpu", "3070", "--fix", number, "--", "--n_layer=6")
    assert _commands(text) == [f"fwplan explain config.py --gpu 3070 --fix {number} -o plan.json -- --n_layer=6"]
    rows = [line for line in text.splitlines() if line[2:3] in set("✓~")]
    assert rows
    assert all(row[4] == " " for row in rows)
    listed = fwplan.explain("config.py", gpu="3070", fix=int(number)).as_dict()["fixes"]
    assert {fix["number"] for fix in listed} == {None}


def test_what_is_not_in_the_file_is_not_run_from_it(said):
    said("config.py", "--gpu", "4090", "--fix", "1", "-o", "plan.json")
    assert _commands(said("plan.json")) == ["fwplan run plan.json"]
    (command,) = _commands(said("plan.json", "--", "--n_layer=6"))
    assert command == "fwplan explain plan.json -o plan2.json -- --n_layer=6"
