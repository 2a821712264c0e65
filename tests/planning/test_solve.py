import pytest

from fwplan.errors import ExitCode, FwplanError
from fwplan.estimation import estimate
from fwplan.planning.solve import largest_that_fits
from fwplan.target import named_gpu

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
