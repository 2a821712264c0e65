from pathlib import Path

import pytest

import fwplan
from fwplan.cli import main
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
    assert _commands(said("config.py", "--gpu", "4070", "-o", "p.json")) == [
        "fwplan explain p.json --fix 1 -o plan.json"
    ]
    assert _commands(said("p.json", "--fix", "1", "-o", "fixed.json")) == ["fwplan run fixed.json"]
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
