"""Every architecture there is: a new one is a file of its own, and a line here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Discriminator, Tag

from fwplan.model.gpt2 import GPT2
from fwplan.model.llama import Llama
from fwplan.model.nanochat import Nanochat
from fwplan.model.pythia import Pythia

if TYPE_CHECKING:
    from fwplan.model.architecture import Architecture


def architecture(model: Any) -> str:
    """Return the architecture that a document, or a model, names; one that names none is GPT-2."""
    if isinstance(model, dict):
        return str(model.get("architecture", "gpt2"))
    return str(getattr(model, "architecture", "gpt2"))


ARCHITECTURES: dict[str, type[Architecture]] = {"gpt2": GPT2, "llama": Llama, "nanochat": Nanochat, "pythia": Pythia}
AnyArchitecture = Annotated[
    Annotated[GPT2, Tag("gpt2")]
    | Annotated[Llama, Tag("llama")]
    | Annotated[Nanochat, Tag("nanochat")]
    | Annotated[Pythia, Tag("pythia")],
    Discriminator(architecture),
]
