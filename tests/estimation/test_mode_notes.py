import pytest

from fwplan import explain
from fwplan.estimation.mode_notes import mode_notes
from fwplan.machine.target import Target, named_gpu
from fwplan.spec import DeviceSpec
from fwplan.view.terminal.explain import explain_lines


@pytest.mark.parametrize(
    ("card", "fields", "said"),
    [
        ("T4", {}, "T4 has no bfloat16 units"),
        ("V100 SXM2 16GB", {"dtype": "pure_bfloat16"}, "no bfloat16 units"),
        ("T4", {"dtype": "float16"}, None),
        ("RTX 4070", {}, None),
        ("T4", {"dtype": "float32", "tf32": True, "attention": "efficient"}, "T4 has no TF32"),
        ("RTX 4070", {"dtype": "float32", "tf32": True, "attention": "efficient"}, None),
        ("RTX 4070", {"dtype": "float32"}, "flash attention takes no float32"),
        (None, {"dtype": "float32"}, "flash attention takes no float32"),
        (None, {"n_head": 2}, "these are 384 wide"),
        (None, {"n_head": 3}, None),
        (None, {"n_head": 2, "attention": "math"}, None),
    ],
)
def test_what_a_card_does_not_do_is_said(run_spec, card, fields, said):
    notes = list(mode_notes(run_spec(**fields), named_gpu(card) if card else None))
    assert [note for note in notes if said and said in note] == notes
    assert bool(notes) == (said is not None)


def test_a_cpu_has_no_such_kernels(run_spec):
    cpu = DeviceSpec(type="cpu")
    assert list(mode_notes(run_spec(dtype="float32", n_head=2), Target(cpu))) == []
    assert list(mode_notes(run_spec(dtype="float32", device=cpu), None)) == []


@pytest.mark.parametrize(("overrides", "said"), [((), "float32 in TF32, eager"), (("--tf32=False",), "float32, eager")])
def test_explain_says_how_fp32_products_run(tmp_path, overrides, said):
    config = tmp_path / "config.py"
    config.write_text("dtype = 'float32'\ncompile = False\n", encoding="utf-8")
    found = explain(config, overrides, gpu="RTX 3090")
    assert any(said in line for line in explain_lines(found))
    faster = explain(config, gpu="A100 80GB").estimate.step_seconds
    assert explain(config, ("--tf32=False",), gpu="A100 80GB").estimate.step_seconds > faster


def test_the_notes_are_printed_and_in_json(tmp_path):
    config = tmp_path / "config.py"
    config.write_text("compile = False\n", encoding="utf-8")
    found = explain(config, gpu="T4")
    (note,) = [note for note in found.as_dict()["notes"] if "bfloat16 units" in note]
    assert note in found.estimate.notes
    assert "T4 has no bfloat16 units" in " ".join(explain_lines(found))
