import pytest

import fwplan
from fwplan.estimation import estimate
from fwplan.fixes import fixes
from fwplan.target import named_gpu

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


def test_what_disturbs_least_is_first_and_only_what_helps_is_numbered(found):
    helping = [fix for fix in found[1] if fix.helps]
    assert helping[0].change == "chunked loss"
    levels = [(not fix.same_maths, fix.disturbs) for fix in helping]
    assert levels == sorted(levels)
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
