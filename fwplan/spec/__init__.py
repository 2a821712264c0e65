"""What a run is: the specs, what None means in them, and how documents of both versions become one."""

from __future__ import annotations

from fwplan.model.gpt2 import GPT2
from fwplan.spec.data import DataSpec
from fwplan.spec.device import DeviceSpec
from fwplan.spec.reading import check_version, parse_spec, spec_error
from fwplan.spec.run import RunSpec
from fwplan.spec.train import TrainSpec

ModelSpec = GPT2  # its name where there was no other architecture

__all__ = ["DataSpec", "DeviceSpec", "ModelSpec", "RunSpec", "TrainSpec", "check_version", "parse_spec", "spec_error"]
