"""Every optimizer there is: a new one is a file of its own, and a line here."""

from __future__ import annotations

from typing import Annotated, TypeAlias

from pydantic import Field

from fwplan.optimizers.adamw import AdamW
from fwplan.optimizers.adamw_8bit import AdamW8bit
from fwplan.optimizers.muon import Muon
from fwplan.optimizers.sgd import SGD

AnyOptimizer: TypeAlias = Annotated[AdamW | AdamW8bit | SGD | Muon, Field(discriminator="name")]
