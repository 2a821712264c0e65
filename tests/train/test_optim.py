"""The optimizers that a spec can name: what they hold is what the estimate says they hold."""

import sys

import pytest
import torch

from fwplan.errors import FwplanError
from fwplan.estimators.memory import estimate_memory
from fwplan.train.live_memory import storage_bytes
from fwplan.train.measure import persistent
from fwplan.train.step import build_trainer, train_step


def _state_bytes(spec):
    torch.manual_seed(0)
    trainer = build_trainer(spec, torch.device("cpu"))
    shape = (spec.train.micro_batch_size, spec.sequence_length)
    tokens = torch.randint(spec.model.vocab_size, shape)
    train_step(trainer, [(tokens, tokens)])
    weights = storage_bytes(trainer.model.parameters())
    steps = {id(t) for state in trainer.optimizer.state.values() for t in [state.get("step")]}
    return storage_bytes(t for t in persistent(trainer) if id(t) not in steps) - weights


def _said(spec):
    return next((line.bytes for line in estimate_memory(spec).lines if line.name.startswith(("AdamW m", "SGD m"))), 0)


@pytest.mark.parametrize(
    "recipe",
    [
        {"optimizer": "adamw", "optimizer_impl": "foreach"},
        {"optimizer": "adamw", "dtype": "pure_bfloat16"},
        {"optimizer": "sgd"},
        {"optimizer": "sgd", "momentum": 0.0},
        {"optimizer": "adamw_8bit"},
        {"optimizer": "adamw_8bit", "dtype": "pure_bfloat16"},
    ],
)
@pytest.mark.parametrize("bias", [False, True])
def test_the_state_takes_what_is_said(make_spec, recipe, bias):
    # width 64: some of its weights are below the 4,096 elements that bitsandbytes leaves in fp32, some are not
    model = {"n_embd": 64, "n_head": 2, "vocab_size": 300, "bias": bias, "tied_embeddings": not bias}
    spec = make_spec(model, grad_accum_steps=1, **recipe)
    assert _said(spec) == _state_bytes(spec)


def test_sgd_learns(make_spec):
    spec = make_spec(optimizer="sgd", optimizer_impl="foreach", grad_accum_steps=1)
    torch.manual_seed(0)
    trainer = build_trainer(spec, torch.device("cpu"))
    tokens = torch.randint(spec.model.vocab_size, (3, 12))
    losses = [float(train_step(trainer, [(tokens, tokens)])) for _ in range(20)]
    assert losses[-1] < losses[0]


def test_without_bitsandbytes_the_error_says_what_to_install(make_spec, monkeypatch):
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(FwplanError, match="bitsandbytes") as caught:
        make_spec(optimizer="adamw_8bit").train.optimizer.build(torch.nn.Linear(2, 2))
    assert "fwplan[8bit]" in caught.value.hint
