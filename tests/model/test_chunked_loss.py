"""The chunked loss against the full one: value, both gradients, and what it refuses."""

from __future__ import annotations

import pytest
import torch

from fwplan.model.loss import chunked_loss, full_loss
from fwplan.model.modules import build_model

N, C, V = 37, 16, 50  # tokens, width, vocabulary: no chunk size below divides 37 but 1 and 37


def _inputs(dtype=torch.float32, n=N, v=V):
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(n, C, generator=generator).to(dtype).requires_grad_()
    weight = (torch.randn(v, C, generator=generator) * 0.5).requires_grad_()
    return x, weight, torch.randint(v, (n,), generator=generator)


def _reference(scale=1.0, **kwargs):
    """Loss and gradients of the full loss, all in float64."""
    x, weight, targets = _inputs(**kwargs)
    x64, w64 = x.detach().double().requires_grad_(), weight.detach().double().requires_grad_()
    loss = torch.nn.functional.cross_entropy(x64 @ w64.T, targets)
    (loss * scale).backward()
    return loss.detach(), x64.grad, w64.grad


def _close(actual, expected, tolerance):
    """Largest deviation, relative to the largest expected value."""
    deviation = (actual.double() - expected).abs().max() / expected.abs().max()
    assert deviation < tolerance, f"off by {deviation:.1e}"


@pytest.mark.parametrize("chunk", [1, 5, 36, 37, 1000])
@pytest.mark.parametrize("scale", [1.0, 0.25])  # a quarter: the loss divided by grad_accum_steps
def test_float32_agrees_tightly(chunk, scale):
    x, weight, targets = _inputs()
    loss = chunked_loss(x, weight, targets, chunk, torch.float32)
    (loss * scale).backward()
    expected, grad_x, grad_w = _reference(scale)
    assert loss.dtype == torch.float32
    _close(loss, expected, 1e-6)
    _close(x.grad, grad_x, 2e-6)
    _close(weight.grad, grad_w, 2e-6)


def test_full_loss_is_the_same_function():
    x, weight, targets = _inputs()
    full = full_loss(x @ weight.T, targets)
    torch.testing.assert_close(chunked_loss(x, weight, targets, 5, torch.float32), full, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.bfloat16, 2e-2), (torch.float16, 3e-3)])
@pytest.mark.parametrize("x_dtype", [torch.float32, "same"])
def test_low_precision_stays_near_float32(dtype, tolerance, x_dtype):
    x, weight, targets = _inputs(dtype if x_dtype == "same" else x_dtype)
    loss = chunked_loss(x, weight, targets, 5, dtype)
    loss.backward()
    expected, grad_x, grad_w = _reference(dtype=dtype)
    assert loss.dtype == torch.float32
    assert (x.grad.dtype, weight.grad.dtype) == (x.dtype, torch.float32)
    _close(loss, expected, tolerance)
    _close(x.grad, grad_x, tolerance)
    _close(weight.grad, grad_w, tolerance)


def test_the_sum_over_many_chunks_does_not_lose_low_bits():
    # in bf16 a running sum stalls after 256 equal terms; the loss and the weight's gradient are summed in fp32
    x, weight, targets = _inputs(torch.bfloat16, n=2048)
    loss = chunked_loss(x, weight, targets, 1, torch.bfloat16)
    loss.backward()
    expected, _, grad_w = _reference(dtype=torch.bfloat16, n=2048)
    _close(loss, expected, 5e-3)
    _close(weight.grad, grad_w, 5e-2)


def test_small_gradients_survive_float16_under_loss_scaling():
    # a mean over 4,096 tokens and 2,000 tokens of vocabulary: unscaled entries are below fp16's 6e-8
    x, weight, targets = _inputs(n=4096, v=2000)
    scale = 65536.0
    (chunked_loss(x, weight, targets, 512, torch.float16) * scale).backward()
    _, grad_x, grad_w = _reference(n=4096, v=2000)
    _close(x.grad / scale, grad_x, 2e-2)
    _close(weight.grad / scale, grad_w, 2e-2)


def test_no_grad_gives_the_value_and_keeps_nothing():
    x, weight, targets = _inputs()
    with torch.no_grad():
        loss = chunked_loss(x, weight, targets, 5, torch.float32)
    assert loss.grad_fn is None
    _close(loss, _reference()[0], 1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_second_backward_is_refused(dtype):
    # the first one scaled the kept gradients in place: a second would be silently wrong
    x, weight, targets = _inputs()
    loss = chunked_loss(x, weight, targets, 5, dtype)
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


@pytest.mark.parametrize(("dtype", "loss_dtype"), [("logits", torch.bfloat16), ("float32", torch.float32)])
def test_a_models_loss_is_taken_in_the_dtype_that_its_spec_names(run_spec, dtype, loss_dtype):
    fields = {"n_layer": 1, "n_head": 1, "n_embd": 8, "vocab_size": 50, "context_length": 16, "micro_batch_size": 2}
    spec = run_spec(**fields, dtype="pure_bfloat16", **{"loss.dtype": dtype})
    model = build_model(spec).bfloat16()
    idx = torch.arange(32).view(2, 16)
    logits = model.logits(idx).flatten(0, 1)
    loss = model(idx, idx)
    assert loss.dtype == loss_dtype
    assert loss == torch.nn.functional.cross_entropy(logits.to(loss_dtype), idx.flatten())
