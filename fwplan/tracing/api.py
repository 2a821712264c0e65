"""`fwplan.trace`: a RunSpec's step, or any module's, traced without running it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from torch import nn

from fwplan.errors import FwplanError
from fwplan.estimators.overhead import CUDA_WORKSPACES
from fwplan.spec import RunSpec
from fwplan.tracing.bundled import trace_spec
from fwplan.tracing.run import trace_module

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch.optim import Optimizer

    from fwplan.tracing.result import Trace


def trace(
    subject: RunSpec | nn.Module,
    step: Callable[[Any, Any], object] | None = None,
    optimizer: Optimizer | None = None,
    *,
    device: Literal["cuda", "cpu"] | None = None,
) -> Trace:
    """Return what one training step allocates, and when, op by op; nothing is computed and no GPU is needed.

        fwplan.trace(spec).peak_allocated_bytes

        def step(model, optimizer):
            loss = model(torch.randint(50257, (8, 1024), device="cuda")).logsumexp(-1).mean()
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()

        fwplan.trace(model, step, torch.optim.AdamW(model.parameters())).alive_at_peak()

    Args:
        subject: a RunSpec, whose bundled model is traced, or a module on any device, the meta device too.
        step: with a module: one whole step, which makes its own batch. It runs three times on fake copies of the model
            and the optimizer; `.item()` is 1.0 there, and control flow cannot depend on values.
        optimizer: of the module's parameters.
        device: "cuda" traces a GPU's kernels and allocator, "cpu" this processor's; None: the spec's, else "cuda".

    Raises:
        FwplanError: the step cannot be traced, or the arguments do not belong together.
    """
    if isinstance(subject, RunSpec):
        if step is not None or optimizer is not None or device is not None:
            raise FwplanError("a spec has its own step, optimizer and device", hint="fwplan.trace(spec)")
        return trace_spec(subject)
    if not isinstance(subject, nn.Module) or not callable(step):
        raise FwplanError(
            "a trace needs a RunSpec, or a module and its step", hint="fwplan.trace(model, step, optimizer)"
        )
    if device not in (None, "cuda", "cpu"):
        raise FwplanError(f"cannot trace for device {device!r}", hint="use cuda or cpu")
    return trace_module(
        subject,
        step,
        optimizer,
        device=device or "cuda",
        workspace_bytes=0 if device == "cpu" else int(CUDA_WORKSPACES.point),
    )
