"""Says which GPT you can train on the GPU you have, why, and for how long; then trains it."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from fwplan.version import __version__

if TYPE_CHECKING:
    from fwplan.api.diff import diff
    from fwplan.api.explain import explain
    from fwplan.api.explain_log import explain_log
    from fwplan.api.measure import measure
    from fwplan.api.run import run
    from fwplan.api.solve import solve
    from fwplan.api.suggest import suggest, suggest_cards
    from fwplan.configs import LoadedConfig, load_config
    from fwplan.errors import FwplanError
    from fwplan.estimation.estimate import Estimate, estimate
    from fwplan.planning.plan import Plan
    from fwplan.spec import DataSpec, DeviceSpec, ModelSpec, RunSpec, TrainSpec
    from fwplan.tracing.api import trace
    from fwplan.tracing.result import Trace

_HOMES = {
    "DataSpec": "spec",
    "DeviceSpec": "spec",
    "Estimate": "estimation.estimate",
    "FwplanError": "errors",
    "LoadedConfig": "configs",
    "ModelSpec": "spec",
    "Plan": "planning.plan",
    "RunSpec": "spec",
    "Trace": "tracing.result",
    "TrainSpec": "spec",
    "diff": "api.diff",
    "estimate": "estimation.estimate",
    "explain": "api.explain",
    "explain_log": "api.explain_log",
    "load_config": "configs",
    "measure": "api.measure",
    "run": "api.run",
    "solve": "api.solve",
    "suggest": "api.suggest",
    "suggest_cards": "api.suggest",
    "trace": "tracing.api",
}

__all__ = [
    "DataSpec",
    "DeviceSpec",
    "Estimate",
    "FwplanError",
    "LoadedConfig",
    "ModelSpec",
    "Plan",
    "RunSpec",
    "Trace",
    "TrainSpec",
    "__version__",
    "diff",
    "estimate",
    "explain",
    "explain_log",
    "load_config",
    "measure",
    "run",
    "solve",
    "suggest",
    "suggest_cards",
    "trace",
]


def __getattr__(name: str) -> Any:
    """Import a public name on first use: `import fwplan` alone costs nothing."""
    if name not in _HOMES:
        raise AttributeError(f"module 'fwplan' has no attribute {name!r}")
    return getattr(import_module(f"fwplan.{_HOMES[name]}"), name)
