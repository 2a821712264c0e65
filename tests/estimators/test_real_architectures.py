"""llama and pythia: real CPU steps of the trainer's own module take what the closed form says."""

from itertools import product

import pytest
import torch

from fwplan.estimators.memory import estimate_memory
from fwplan.spec import RunSpec
from fwplan.train.live_memory import measure_live_memory
from fwplan.train.measure import persistent
from fwplan.train.step import build_trainer, train_step

# (model, train): shapes and modes whose peaks fall in different phases.
REAL = {
    "logits dominate": ({"vocab_size": 20_000}, {"micro_batch_size": 2}),
    "blocks dominate": ({"n_layer": 4}, {"micro_batch_size": 8}),
    "few tokens, tied": ({"vocab_size": 20_000, "tied_embeddings": True}, {"sequence_length": 16}),
    "few tokens, untied": ({"vocab_size": 20_000}, {"sequence_length": 16, "grad_accum_steps": 2}),
    "chunked": ({"vocab_size": 8192}, {"micro_batch_size": 4, "loss": "chunked", "loss_chunk_tokens": 128}),
    "checkpointed": (
        {"n_layer": 6, "vocab_size": 512},
        {"micro_batch_size": 8, "checkpointing": "block", "checkpoint_every": 2, "attention": "math"},
    ),
}
MODELS = {
    "llama": {"architecture": "llama"},
    "llama, grouped, head norms": {"architecture": "llama", "n_kv_head": 2, "qk_norm": True, "head_width": 40},
    "llama, biases, dropout": {
        "architecture": "llama", "n_kv_head": 1, "attention_bias": "all", "mlp_bias": True, "dropout": 0.1,
    },
    "pythia": {"architecture": "pythia"},
}  # fmt: skip

DTYPES = ("float32", "bfloat16", "pure_bfloat16")
# each shape with each model, and by turns in each dtype
CASES = [(name, model, DTYPES[i % 3]) for i, (name, model) in enumerate(product(REAL, MODELS))]


@pytest.fixture(autouse=True)
def _one_thread():
    """Each thread of a product in half precision takes scratch of its own, which is no tensor."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(("name", "model", "dtype"), CASES)
def test_a_real_cpu_step_takes_what_is_predicted(name, model, dtype):
    shape, train = REAL[name]
    spec = RunSpec.model_validate(
        {
            "model": {"n_layer": 2, "n_head": 4, "n_embd": 128, "vocab_size": 128, "context_length": 128}
            | MODELS[model]
            | shape,
            "train": {"micro_batch_size": 1, "compile": False, "dtype": dtype} | train,
            "device": {"type": "cpu"},
        }
    )
    assert estimate_memory(spec).step_bytes == pytest.approx(_measured(spec), rel=0.005)


def _measured(spec):
    torch.manual_seed(0)
    trainer = build_trainer(spec, torch.device("cpu"))
    shape = (spec.train.micro_batch_size, spec.sequence_length)

    def batches():
        for _ in range(spec.train.grad_accum_steps):
            yield torch.randint(spec.model.vocab_size, shape), torch.randint(spec.model.vocab_size, shape)

    train_step(trainer, batches())
    return measure_live_memory(lambda: train_step(trainer, batches()), persistent(trainer)).peak_bytes
