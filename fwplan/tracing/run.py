"""Run a training step on fake tensors and return its trace."""

from __future__ import annotations

import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch._subclasses.fake_tensor import DataDependentOutputException, DynamicOutputShapeException, FakeTensorMode

from fwplan.errors import FwplanError
from fwplan.tracing.fake import faked
from fwplan.tracing.ledger import Ledger
from fwplan.tracing.modules import Whereabouts
from fwplan.tracing.on_cuda import as_on_cuda
from fwplan.tracing.result import Trace
from fwplan.tracing.watch import Watch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from torch import nn
    from torch.optim import Optimizer

STEPS = 3  # the first makes the optimizer's state; from the second on all are alike; the last is reported
_WORKSPACES = "cuBLAS workspaces"


def trace_module(
    model: nn.Module,
    step: Callable[[Any, Any], object],
    optimizer: Optimizer | None = None,
    *,
    device: Literal["cuda", "cpu"] = "cuda",
    between: Callable[[Any], object] | None = None,
    workspace_bytes: int = 0,
    notes: Sequence[str] = (),
) -> Trace:
    """Return the trace of step(model, optimizer), run three times on fake copies of both; the last is reported.

    Args:
        model: on any device, the meta device too; it is copied, not changed.
        step: one whole training step: makes its batch, forward, backward, optimizer, and sets gradients to None. Its
            tensors are fake, so control flow cannot depend on their values; `.item()` is 1.0.
        optimizer: of the model's parameters, such as torch.optim.AdamW(model.parameters()).
        device: "cuda": the kernels and the rounding of a GPU; "cpu": this processor's.
        between: called with the model before the first step and before the second, such as an evaluation.
        workspace_bytes: memory that stands from the beginning and is no tensor's.
        notes: go into the trace.

    Raises:
        FwplanError: the step asks for a tensor's value, or fails on fake tensors.
    """
    begin = time.perf_counter()
    ledger, modules = Ledger(), Whereabouts()
    with _traced(ledger, modules, device):
        ledger.borrow(_WORKSPACES, "", workspace_bytes)
        fake_model, fake_optimizer = faked(model, optimizer, modules)
        with modules.follow(fake_model, fake_optimizer):
            for number in range(STEPS):
                if between is not None and number < STEPS - 1:
                    between(fake_model)
                start = len(ledger.events)
                step(fake_model, fake_optimizer)
            end = len(ledger.events)
    return Trace(
        events=tuple(ledger.events[:end]),
        origins=tuple(ledger.origins),
        step=range(start, end),
        device=device,
        seconds=time.perf_counter() - begin,
        notes=tuple(notes),
    )


@contextmanager
def _traced(ledger: Ledger, modules: Whereabouts, device: str) -> Iterator[None]:
    """Make every tensor fake and every op noted; what cannot be traced is said in one sentence."""
    watch = Watch(ledger, modules, device)
    with ExitStack() as modes:
        modes.enter_context(FakeTensorMode(allow_non_fake_inputs=True))
        # the engine's own threads would not see the modes
        modes.enter_context(torch.autograd.set_multithreading_enabled(mode=False))
        if device == "cuda":
            modes.enter_context(as_on_cuda())
        modes.enter_context(watch)
        try:
            yield
        except (DataDependentOutputException, DynamicOutputShapeException) as error:
            raise FwplanError(
                f"the step depends on a tensor's value: {error}",
                hint="trace a step without .item(), nonzero() or masks that change shapes",
            ) from error
        except (RuntimeError, TypeError, NotImplementedError, AssertionError) as error:
            raise FwplanError(
                f"the step cannot be traced: {type(error).__name__}: {str(error).strip().partition(chr(10))[0]}",
                hint="does it run on real tensors? a trace needs plain torch ops, no custom kernels",
            ) from error
