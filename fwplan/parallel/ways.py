"""Every way of training in several processes there is: a new one is a file of its own, and a line here."""

from __future__ import annotations

from typing import Annotated, TypeAlias

from pydantic import Field

from fwplan.parallel.ddp import DDP
from fwplan.parallel.fsdp import FSDP
from fwplan.parallel.none import Alone
from fwplan.parallel.zero1 import ZeRO1

AnyParallel: TypeAlias = Annotated[Alone | DDP | ZeRO1 | FSDP, Field(discriminator="name")]
