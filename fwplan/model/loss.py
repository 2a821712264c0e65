"""Cross-entropy of the next token, with the logits built at once or one chunk of tokens at a time."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def full_loss(logits: Tensor, targets: Tensor, *, widens: bool = True) -> Tensor:
    """Return the mean cross-entropy in nats, a scalar tensor: fp32, or of the logits' dtype where it does not widen.

    logits (N, V) any float dtype; targets (N,) int64. widens: log-softmax in fp32, else in the logits' own dtype, or
    what autocast makes of it.
    """
    return F.cross_entropy(logits.float() if widens else logits, targets)


class _ChunkedCrossEntropy(torch.autograd.Function):
    """Mean cross-entropy of x @ weight.T without ever holding more than one chunk of logits.

    The gradients are formed in the forward, while a chunk's probabilities are at hand, so nothing is recomputed. They
    are kept unscaled (probability minus one-hot, before the division by N) and scaled in the backward: 1/N times a
    probability would underflow in fp16. The weight's gradient accumulates in fp32.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, targets: Tensor, chunk_tokens: int, dtype: torch.dtype) -> Tensor:
        # x (N, C), weight (V, C), targets (N,); dtype is what the matmuls run in
        wants_grad = any(ctx.needs_input_grad)
        w = weight.to(dtype)
        losses = torch.zeros((), dtype=torch.float32, device=x.device)
        grad_x = torch.empty(x.shape, dtype=dtype, device=x.device) if wants_grad else None
        grad_w = torch.zeros(weight.shape, dtype=torch.float32, device=x.device) if wants_grad else None
        for start in range(0, x.size(0), chunk_tokens):
            part = slice(start, start + chunk_tokens)
            hidden, answer = x[part].to(dtype), targets[part].unsqueeze(1)
            logits = (hidden @ w.T).float()  # (n, V)
            log_probs = logits.log_softmax(dim=-1)
            del logits
            losses -= log_probs.gather(1, answer).sum()
            if grad_x is None or grad_w is None:
                del log_probs  # before the next chunk's are made
                continue
            grad = log_probs.exp_()
            grad.scatter_add_(1, answer, torch.full_like(answer, -1, dtype=grad.dtype))
            grad = grad.to(dtype)
            del log_probs
            torch.mm(grad, w, out=grad_x[part])
            _accumulate_outer(grad_w, grad, hidden)
            del grad, hidden  # before the next chunk's logits are made
        ctx.save_for_backward(grad_x, grad_w)
        ctx.n_tokens, ctx.x_dtype, ctx.weight_dtype = x.size(0), x.dtype, weight.dtype
        return losses / x.size(0)

    @staticmethod
    def backward(ctx: Any, grad_loss: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        grad_x, grad_w = ctx.saved_tensors
        scale = grad_loss / ctx.n_tokens
        # in place: a second backward through the same graph is refused by autograd's version check
        return grad_x.to(ctx.x_dtype).mul_(scale), grad_w.mul_(scale).to(ctx.weight_dtype), None, None, None


def _accumulate_outer(total: Tensor, left: Tensor, right: Tensor) -> None:
    """Add left.T @ right to total (fp32) in place."""
    if left.dtype == total.dtype:
        total.addmm_(left.T, right)
    else:
        total += left.T @ right


def chunked_loss(x: Tensor, weight: Tensor, targets: Tensor, chunk_tokens: int, dtype: torch.dtype) -> Tensor:
    """Return the mean cross-entropy in nats of the logits x @ weight.T, a scalar fp32 tensor.

    x (N, C) and weight (V, C) float; targets (N,) int64. At most chunk_tokens rows of logits exist at a time; from
    forward to backward live the gradients of x (N, C, in dtype) and of weight (V, C, fp32).
    """
    if not torch.is_grad_enabled():  # a Function is told to make gradients of a weight under no_grad too
        x, weight = x.detach(), weight.detach()
    loss: Tensor = _ChunkedCrossEntropy.apply(  # type: ignore[no-untyped-call]
        x, weight, targets, chunk_tokens, dtype
    )
    return loss
