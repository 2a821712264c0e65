"""Muon beside AdamW: what it holds and makes, what it moves, that it learns as written out, and is resumed."""

import copy
import warnings

import pytest
import torch

from fwplan.estimators.memory import estimate_memory
from fwplan.estimators.speed import step_seconds
from fwplan.machine.target import Target, named_gpu, speed_of
from fwplan.optimizers.effort import Weights
from fwplan.optimizers.muon import Muon
from fwplan.spec import DeviceSpec
from fwplan.tracing.bundled import trace_spec
from fwplan.train.checkpoint import Progress, load_checkpoint, save_checkpoint
from fwplan.train.live_memory import measure_live_memory
from fwplan.train.measure import persistent
from fwplan.train.step import build_trainer, train_step

SMALL = {"n_layer": 3, "n_head": 4, "n_embd": 128, "vocab_size": 96, "context_length": 64, "compile": False}
FEW = {"micro_batch_size": 1, "sequence_length": 4}  # the optimizer's step is the peak
CASES = {
    "bf16": {},
    "bf16, many tokens": {"micro_batch_size": 8, "sequence_length": 64},
    "fp32": {"dtype": "float32"},
    "pure bf16": {"dtype": "pure_bfloat16"},
    "one iteration": {"optimizer.ns_steps": 1},
    "AdamW for the rest by foreach": {"optimizer_impl": "foreach", "vocab_size": 8192},
    "AdamW for the rest by for loop, bias": {"optimizer_impl": "for_loop", "bias": True, "n_layer": 1},
    "untied, accumulating": {"tied_embeddings": False, "grad_accum_steps": 2},
    "checkpointed": {"checkpointing": "block"},
}


def _spec(run_spec, device="cuda", **fields):
    return run_spec(device=device, **SMALL | FEW | {"optimizer": "muon"} | fields)


def _batch(spec, seed=0):
    shape = (spec.train.micro_batch_size, spec.sequence_length)
    tokens = torch.randint(spec.model.vocab_size, shape, generator=torch.Generator().manual_seed(seed))
    return [(tokens, tokens)] * spec.train.grad_accum_steps


def _trainer(spec):
    torch.manual_seed(0)
    return build_trainer(spec, torch.device("cpu"))


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("device", ["cuda", "cpu"])
def test_the_closed_form_is_the_traced_peak(run_spec, name, device):
    spec = _spec(run_spec, device, **CASES[name])
    assert estimate_memory(spec).step_bytes == pytest.approx(trace_spec(spec).peak_allocated_bytes, rel=0.001)


@pytest.mark.parametrize("name", ["bf16", "fp32", "pure bf16", "untied, accumulating"])
def test_a_real_step_takes_what_is_said(run_spec, name):
    spec = _spec(run_spec, "cpu", **CASES[name])
    trainer = _trainer(spec)

    def step():
        train_step(trainer, _batch(spec))

    step()
    warnings.simplefilter("ignore", UserWarning)  # the switch speaks of GPUs that are not here
    with warnings.catch_warnings(), torch.backends.mkldnn.flags(enabled=False):  # whose scratch is no tensor
        real = measure_live_memory(step, persistent(trainer)).peak_bytes
    assert estimate_memory(spec).step_bytes == pytest.approx(real, rel=0.005)


def test_the_peak_of_these_falls_where_muon_works(run_spec):
    memory = estimate_memory(_spec(run_spec))
    assert memory.phase.label == "optimizer step"
    at_peak = {line.name: line.bytes for line in memory.lines if line.phases & memory.phase}
    C, L = 128, 3
    assert at_peak["Muon momentum"] == 4 * L * 12 * C * C
    assert at_peak["AdamW moments"] == 2 * 4 * (96 * C + 64 * C + (2 * L + 1) * C)
    assert at_peak["Muon momentum and gradient"] == 4 * 4 * C * C


def test_a_step_is_the_one_that_is_written_out(run_spec):
    spec = _spec(run_spec, "cpu", dtype="float32", learning_rate=1e-2, n_layer=1, **{"optimizer.adjust": "original"})
    trainer = _trainer(spec)
    plain = copy.deepcopy(trainer.model)
    reference = _Reference(plain)
    for _ in range(3):
        for ours, theirs in zip(trainer.model.parameters(), plain.parameters(), strict=True):
            ours.grad = torch.randn_like(ours)
            theirs.grad = ours.grad.clone()
        trainer.optimizer.step()
        reference.step()
    for ours, theirs in zip(trainer.model.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-6)


class _Reference:
    """Muon as Keller Jordan's post has it, and torch's own AdamW over what is no matrix of a block.

    It rounds where torch.optim.Muon does: the iterations enlarge what bf16 leaves of small directions.
    """

    def __init__(self, model):
        inside = {name: p for name, p in model.named_parameters() if ".h." in name and p.dim() == 2}
        self.matrices = {name: (p, torch.zeros_like(p)) for name, p in inside.items()}
        rest = [p for name, p in model.named_parameters() if name not in inside]
        decays = [{"params": [p for p in rest if p.dim() == 2]}]
        stays = [{"params": [p for p in rest if p.dim() < 2], "weight_decay": 0.0}]
        self.rest = torch.optim.AdamW(decays + stays, lr=1e-2, betas=(0.9, 0.95), weight_decay=0.1)

    def step(self):
        self.rest.step()
        with torch.no_grad():
            for p, momentum in self.matrices.values():
                momentum.lerp_(p.grad, 0.05)
                update = _orthogonal(p.grad.lerp(momentum, 0.95))
                p.mul_(1 - 0.02 * 0.1)
                p.sub_(0.02 * max(1, p.size(0) / p.size(1)) ** 0.5 * update)


def _orthogonal(g):
    x = g.bfloat16()
    x = x.T if g.size(0) > g.size(1) else x
    x = x / x.norm()
    for _ in range(5):
        a = x @ x.T
        b = torch.addmm(a, a, a, beta=-4.7750, alpha=2.0315)  # rounded to bf16 once, as torch's is
        x = torch.addmm(x, b, x, beta=3.4445)
    return (x.T if g.size(0) > g.size(1) else x).float()


def test_it_learns(run_spec):
    spec = _spec(run_spec, "cpu", micro_batch_size=4, sequence_length=32, learning_rate=3e-3)
    trainer = _trainer(spec)
    losses = [float(train_step(trainer, _batch(spec))) for _ in range(20)]
    assert losses[-1] < 0.5 * losses[0]


def test_a_run_is_saved_and_gone_on_with(run_spec, tmp_path):
    spec = _spec(run_spec, "cpu", dtype="float32")
    trainer = _trainer(spec)
    train_step(trainer, _batch(spec))
    save_checkpoint(tmp_path / "last.pt", trainer, Progress(step=1, train_tokens=100, best_val_loss=None))
    losses = [float(train_step(trainer, _batch(spec, seed))) for seed in (1, 2)]
    resumed = _trainer(spec)
    assert load_checkpoint(tmp_path / "last.pt", resumed).step == 1
    assert [float(train_step(resumed, _batch(spec, seed))) for seed in (1, 2)] == losses
    assert len(resumed.optimizer.state) == len(list(resumed.model.parameters()))


def test_matrices_have_a_rate_of_their_own(run_spec):
    own = _spec(run_spec, "cpu", **{"optimizer.matrix_learning_rate": 6e-3})
    matrices, *others = _trainer(own).optimizer.param_groups
    assert (matrices["lr"], matrices["rate_ratio"]) == (6e-3, pytest.approx(10.0))
    assert [(group["lr"], group.get("rate_ratio")) for group in others] == [(6e-4, None)] * 2
    assert Muon(learning_rate=1e-3).matrix_rate == 1e-3
    assert Muon(learning_rate=1e-3, adjust="original").matrix_rate == 0.02


def test_its_products_take_their_time(run_spec):
    """An iteration is 4 s^2 l + 2 s^3 FLOPs for each of the four matrices of a block."""
    target = named_gpu("H100 SXM5 80GB")

    def seconds(**fields):
        spec = run_spec(micro_batch_size=1, **fields)
        return step_seconds(spec, speed_of(spec.train, target))[0]

    fields = {"n_layer": 12, "n_head": 12, "n_embd": 768}
    spec = run_spec(micro_batch_size=1, optimizer="muon", **fields)
    matrices = [(3 * 768, 768, 12), (768, 768, 12), (4 * 768, 768, 12), (768, 4 * 768, 12)]
    effort = spec.train.optimizer.effort(Weights(0, 0, matrices))
    flops = sum(2 * M * N * K * times for M, N, K, times in effort.products)
    assert flops == 5 * 12 * (4 * (3 + 1 + 4 + 4) + 2 * 4) * 768**3
    assert seconds(optimizer="muon", **fields) > seconds(**fields)


def test_a_processor_takes_time_for_them_too(run_spec):
    target = Target(DeviceSpec(type="cpu"), matmul_flops=1e11)

    def seconds(**fields):
        spec = _spec(run_spec, "cpu", dtype="float32", **fields)
        return step_seconds(spec, speed_of(spec.train, target))

    flops = 5 * 3 * (4 * (3 + 1 + 4 + 4) + 2 * 4) * 128**3
    low, high = (muon - adamw for muon, adamw in zip(seconds(), seconds(optimizer="adamw"), strict=True))
    assert (low, high) == pytest.approx((flops / 0.85e11, flops / 0.45e11))
