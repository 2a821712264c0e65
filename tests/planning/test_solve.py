import pytest

from fwplan.errors import ExitCode, FwplanError
from fwplan.estimation.estimate import estimate
from fwplan.machine.target import named_gpu
from fwplan.planning.solve import largest_that_fits
from fwplan.view.terminal.solve import solve_lines

RTX_4070 = named_gpu("RTX 4070")


@pytest.mark.parametrize("field", ["micro_batch_size", "n_layer", "n_embd", "context_length", "vocab_size"])
def test_the_answer_fits_and_the_next_does_not(run_spec, field):
    found = largest_that_fits(run_spec(micro_batch_size=4), field, RTX_4070, [])
    assert found.estimate.verdict == "fits"
    assert found.after.verdict != "fits"
    assert found.at_point >= found.value
    assert estimate(found.estimate.spec, RTX_4070, measurements=[]).verdict == "fits"


def test_what_cannot_be_solved_for(run_spec):
    with pytest.raises(FwplanError, match="cannot solve for 'seed'"):
        largest_that_fits(run_spec(), "seed", RTX_4070, [])
    with pytest.raises(FwplanError, match="not even micro_batch_size 1") as caught:
        largest_that_fits(run_spec(n_layer=48, n_head=25, n_embd=1600), "micro_batch_size", RTX_4070, [])
    assert caught.value.exit_code == ExitCode.DOES_NOT_FIT
    with pytest.raises(FwplanError, match="undecidable"):
        largest_that_fits(run_spec(parallel="fsdp", world_size=2), "micro_batch_size", RTX_4070, [])


@pytest.mark.parametrize(("heads", "width"), [(12, 768), (18, 1152), (25, 1600), (5, 640)])
def test_a_width_gives_heads_of_a_size_that_kernels_want(run_spec, heads, width):
    found = largest_that_fits(run_spec(n_head=heads, n_embd=width, micro_batch_size=2), "n_embd", RTX_4070, [])
    assert found.value % (8 * heads) == 0
    assert found.after.spec.model.n_embd == found.value + 8 * heads
    assert found.ended_by is None


@pytest.mark.parametrize(
    ("field", "value", "what"),
    [
        ("sequence_length", 1024, "the model's context_length"),
        ("loss_chunk_tokens", 4096, "the tokens of a micro-batch"),
        ("n_layer", 1000, "the range that fwplan looks at"),
    ],
)
def test_what_ends_a_field_before_memory_does_is_said(run_spec, field, value, what):
    small = {"n_layer": 2, "n_head": 2, "n_embd": 32, "micro_batch_size": 4}
    if field == "n_layer":
        small |= {"vocab_size": 64, "context_length": 64}
    found = largest_that_fits(run_spec(loss="chunked", **small), field, named_gpu("H200"), [])
    assert (found.value, found.ended_by, found.after, found.at_point) == (value, what, None, value)
    said = list(solve_lines(found))
    assert said[:2] == [
        f"[bold]{field} {value:,}[/] fits H200 SXM 141GB:",
        f"  {what} ends it there, not memory",
    ]
    assert not [line for line in said if "largest" in line or "the next" in line]
    assert found.as_dict()["ended_by"] == what
