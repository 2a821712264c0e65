"""Every architecture there is: a new one is a file of its own, and a line here."""

from __future__ import annotations

from fwplan.model.gpt2 import GPT2

AnyArchitecture = GPT2
