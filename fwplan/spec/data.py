"""What is trained on."""

from __future__ import annotations

from fwplan.fields import Count, Spec


class DataSpec(Spec):
    """Where the training text is and how many unique tokens it holds (None: unknown)."""

    path: str | None = None
    tokens: Count | None = None
