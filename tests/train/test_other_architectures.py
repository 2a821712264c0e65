"""llama and pythia through the whole trainer: they learn, and a run that is resumed is the run that was not stopped."""

from __future__ import annotations

import pytest
import torch

from fwplan.errors import FwplanError
from fwplan.train.step import build_trainer

LLAMA = {"architecture": "llama", "n_head": 4, "n_kv_head": 2, "qk_norm": True, "dropout": 0.1}
PYTHIA = {"architecture": "pythia", "n_embd": 32, "dropout": 0.1}
MODES = {
    "llama": (LLAMA, {}),
    "llama, tied, chunked": (LLAMA | {"tied_embeddings": True}, {"loss": "chunked", "loss_chunk_tokens": 10}),
    "llama, pure bf16": (LLAMA, {"dtype": "pure_bfloat16"}),
    "llama, checkpointed": (LLAMA, {"dtype": "bfloat16", "checkpointing": "block", "checkpoint_every": 2}),
    "pythia": (PYTHIA, {"dtype": "bfloat16"}),
}


@pytest.mark.parametrize("name", MODES)
def test_a_resumed_run_is_the_whole_run(make_spec, run, history, assert_same_state, name):
    model, recipe = MODES[name]
    spec = make_spec(model, **recipe)
    whole = run(spec, "whole")
    assert whole.last_loss < whole.first_loss - 0.1
    run(spec, "parts", steps=5)
    last = run(spec, "parts", resume=True)
    assert (last.steps_done, last.last_loss) == (12, whole.last_loss)
    assert history(last.run_dir) == history(whole.run_dir)
    assert_same_state(whole.run_dir, last.run_dir)


@pytest.mark.parametrize("name", MODES)
def test_tables_of_positions_stay_in_fp32_and_out_of_checkpoints(make_spec, name):
    model, recipe = MODES[name]
    trainer = build_trainer(make_spec(model, **recipe), torch.device("cpu"))
    assert {buffer.dtype for buffer in trainer.model.buffers()} == {torch.float32}
    assert not any("rotary" in key for key in trainer.model.state_dict())


def test_checkpoints_of_another_architecture_are_refused(make_spec, run):
    run(make_spec(LLAMA), steps=3)
    with pytest.raises(FwplanError, match=r"model\.architecture is 'llama' there and 'pythia' here"):
        run(make_spec(PYTHIA), resume=True)
