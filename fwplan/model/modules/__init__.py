"""The models as torch modules: what is trained, checkpointed, compiled and taken over by others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fwplan.model.modules.decoder import Decoder
from fwplan.model.modules.gpt2 import GPT2Trunk
from fwplan.model.modules.llama import LlamaTrunk
from fwplan.model.modules.nanochat import NanochatDecoder, NanochatTrunk
from fwplan.model.modules.pythia import PythiaTrunk

if TYPE_CHECKING:
    from collections.abc import Callable

    from fwplan.model.modules.decoder import Trunk
    from fwplan.spec import RunSpec

_TRUNKS: dict[str, Callable[[RunSpec, Any], Trunk]] = {
    "gpt2": GPT2Trunk,
    "llama": LlamaTrunk,
    "nanochat": NanochatTrunk,
    "pythia": PythiaTrunk,
}
_WITH_HEAD: dict[str, type[Decoder]] = {"nanochat": NanochatDecoder}  # the others' heads are alike


def build_model(spec: RunSpec) -> Decoder:
    """Return the spec's model with fresh weights in fp32, on torch's default device; seeded by the caller."""
    name = spec.model.architecture
    return _WITH_HEAD.get(name, Decoder)(spec, _TRUNKS[name](spec, spec.model))
