"""What a trace says of itself, and the tracing of anybody's module."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import fwplan
from fwplan.allocator.replay import replay, smallest_capacity
from fwplan.errors import FwplanError
from fwplan.estimators.overhead import CUDA_WORKSPACES
from fwplan.spec import DeviceSpec, ModelSpec, RunSpec, TrainSpec
from fwplan.tracing.result import CUDA_ROUNDING


def _spec(device="cuda", model=None, **train):
    shape = {"n_layer": 2, "n_head": 2, "n_embd": 64, "vocab_size": 500, "context_length": 64}
    return RunSpec(
        model=ModelSpec(**shape | (model or {})),
        train=TrainSpec(**{"micro_batch_size": 2, "compile": False} | train),
        device=DeviceSpec(type=device),
    )


@pytest.fixture(scope="module")
def trace():
    return fwplan.trace(_spec())


def test_what_is_alive_at_the_peak_adds_up_to_it(trace):
    assert sum(held.bytes for held in trace.alive_at_peak()) == trace.peak_allocated_bytes == max(trace.timeline)
    assert trace.peak_op.op in {"_log_softmax_backward_data", "_log_softmax"}


def test_every_release_ends_an_allocation_and_a_step_leaves_nothing_behind(trace):
    alive = set()
    for event in trace.events:
        if event.action == "allocate":
            assert event.tensor not in alive
            alive.add(event.tensor)
        else:
            alive.remove(event.tensor)
    assert trace.live_bytes[trace.step.start - 1] == pytest.approx(trace.live_bytes[-1], abs=8 * CUDA_ROUNDING)
    assert min(trace.timeline) > 0


def test_on_cuda_each_allocation_is_rounded_up(trace):
    assert all(size % CUDA_ROUNDING == 0 for size in trace.live_bytes)
    assert fwplan.trace(_spec("cpu")).peak_allocated_bytes % CUDA_ROUNDING


def test_the_caching_allocator_reserves_at_least_the_peak(trace):
    free = replay(trace.events)
    assert free.fits
    assert free.peak_reserved_bytes >= free.peak_allocated_bytes >= trace.peak_allocated_bytes
    least = smallest_capacity(trace.events)
    assert trace.peak_allocated_bytes <= least <= free.peak_reserved_bytes
    assert not replay(trace.events, capacity=trace.peak_allocated_bytes - 1).fits


def test_weights_moments_and_modules_are_named(trace):
    ops = {(held.origin.op, held.origin.where) for held in trace.alive_at_peak()}
    assert ("weight", "trunk.wte.weight") in ops
    assert ("zeros_like", "AdamW.step") in ops
    assert ("gelu", "trunk.h.*.mlp") in ops


def test_a_gpu_takes_other_kernels_than_a_cpu():
    held = fwplan.trace(_spec(model={"dropout": 0.1})).alive_at_peak()
    masks = [h for h in held if h.origin.op == "native_dropout" and h.origin.dtype == "bool"]
    assert masks
    assert any(h.origin.op == "_scaled_dot_product_flash_attention" for h in held)
    efficient = fwplan.trace(_spec(dtype="float32")).alive_at_peak()
    assert any(h.origin.op == "_scaled_dot_product_efficient_attention" for h in efficient)


def test_accumulation_beyond_two_micro_steps_is_said_and_changes_nothing():
    two, many = fwplan.trace(_spec(grad_accum_steps=2)), fwplan.trace(_spec(grad_accum_steps=40))
    assert two.peak_allocated_bytes == many.peak_allocated_bytes
    assert not two.notes
    assert "2 of 40" in many.notes[0]


def test_a_compiled_spec_is_traced_eager_and_says_so():
    trace = fwplan.trace(_spec(compile=True))
    assert trace.peak_allocated_bytes == fwplan.trace(_spec()).peak_allocated_bytes
    assert "eager" in trace.notes[0]


# ---------------------------------------------------------------- anybody's module


class Tied(nn.Module):
    """A little language model whose head is its embedding, written for a GPU."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(3000, 32)
        self.body = nn.Linear(32, 32)
        self.head = nn.Linear(32, 3000, bias=False)
        self.head.weight = self.embedding.weight
        self.register_buffer("scale", torch.ones(10))

    def forward(self, x):
        return self.head(F.dropout(self.body(self.embedding(x)), 0.1))


def _step(model, optimizer):
    x = torch.randint(3000, (1, 4), device="cuda")
    with torch.autocast("cuda", dtype=torch.bfloat16):
        loss = F.cross_entropy(model(x.to("cuda:0")).flatten(0, 1), x.flatten())
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad()
    return loss.item()


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_a_module_of_ones_own(device):
    with torch.device(device):
        model = Tied()
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    before = {name: p.clone() for name, p in model.named_parameters()}
    trace = fwplan.trace(model, _step, optimizer)
    weights, workspaces = 3000 * 32 * 4, int(CUDA_WORKSPACES.point)
    # the tied weight, its two moments, and at the end of backward two gradients
    assert 5 * weights < trace.peak_allocated_bytes - workspaces < 6 * weights
    assert not optimizer.state  # the original is left alone
    if device == "cpu":
        assert all(torch.equal(p, before[name]) for name, p in model.named_parameters())
    assert all(p.grad is None for p in model.parameters())


def test_a_module_without_an_optimizer_and_on_cpu():
    def forward(model, _):
        model(torch.zeros(8, 100)).sum().backward()
        model.zero_grad()

    trace = fwplan.trace(nn.Linear(100, 50), forward, device="cpu")
    assert trace.peak_allocated_bytes >= 4 * (100 * 50 + 50) * 2 + 4 * 8 * 100
    assert trace.device == "cpu"


def _looks_at_values(model, _):
    out = model(torch.zeros(2, 4))
    out[out > 0].sum().backward()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((nn.Linear(4, 4), _looks_at_values), "depends on a tensor's value"),
        ((nn.Linear(4, 4), lambda m, _: m(torch.zeros(2, 5))), "cannot be traced"),
        ((nn.Linear(4, 4),), "needs a RunSpec, or a module and its step"),
        ((_spec(), _step), "a spec has its own step"),
    ],
)
def test_what_cannot_be_traced_is_said(arguments, said):
    with pytest.raises(FwplanError, match=said) as caught:
        fwplan.trace(*arguments)
    assert caught.value.hint


def test_tracing_leaves_torch_as_it_was(trace):
    assert trace is not None
    assert not isinstance(torch.zeros(2), torch._subclasses.fake_tensor.FakeTensor)
    with torch.autocast("cpu"):
        assert torch.is_autocast_enabled("cpu")
    assert torch.autograd.is_multithreading_enabled()
