"""What a run needs beside the card, held against what its files really take."""

import warnings

import pytest
import torch

from fwplan.estimation.estimate import estimate
from fwplan.machine.target import nominal_gpu
from fwplan.planning.needs import checkpoint_bytes, needs_of
from fwplan.planning.request import Request
from fwplan.train.checkpoint import Progress, save_checkpoint
from fwplan.train.step import build_trainer, train_step
from fwplan.units import GIB, KIB

# (fields, bytes a parameter)
MODES = [
    ({}, 12),
    ({"dtype": "bfloat16"}, 12),
    ({"tied_embeddings": False, "bias": True}, 12),
    ({"optimizer": "sgd"}, 8),
    ({"optimizer": "sgd", "momentum": 0.0}, 4),
    ({"dtype": "pure_bfloat16"}, 6),
    ({"dtype": "pure_bfloat16", "optimizer": "sgd"}, 4),
]


def _saved(spec, tmp_path):
    torch.manual_seed(1)
    trainer = build_trainer(spec, torch.device("cpu"))
    tokens = torch.randint(spec.model.vocab_size, (1, spec.sequence_length))
    train_step(trainer, [(tokens, tokens)])
    save_checkpoint(tmp_path / "last.pt", trainer, Progress(1, 1, None))
    return (tmp_path / "last.pt").stat().st_size


@pytest.fixture
def small(run_spec):
    def build(**fields):
        shape = {"n_layer": 2, "n_head": 2, "n_embd": 128, "vocab_size": 4096, "context_length": 32}
        return run_spec(**shape | {"micro_batch_size": 1, "compile": False, "dtype": "float32"} | fields)

    return build


@pytest.mark.parametrize(("fields", "width"), MODES, ids=str)
def test_a_checkpoint_is_as_large_as_it_is_said_to_be(small, tmp_path, fields, width):
    spec = small(**fields)
    said, took = checkpoint_bytes(spec), _saved(spec, tmp_path)
    assert said == width * estimate(spec, measurements=[]).parameters.total
    assert said <= took <= said + 64 * KIB


def test_a_checkpoint_of_8_bit_adamw(small, tmp_path):
    pytest.importorskip("bitsandbytes")
    spec = small(optimizer="adamw_8bit")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        took = _saved(spec, tmp_path)
    said = checkpoint_bytes(spec)
    assert said <= took <= said + 64 * KIB
    assert said < 6.2 * estimate(spec, measurements=[]).parameters.total


@pytest.mark.parametrize(("fields", "width"), MODES, ids=str)
def test_two_are_kept(small, fields, width):
    target = nominal_gpu(12 * GIB)
    found = estimate(small(max_steps=10, **fields), target, measurements=[])
    needs = needs_of(found, Request(target, None, 1.0))
    assert needs.checkpoint_bytes == 2 * width * found.parameters.total
