"""What is trained on."""

from __future__ import annotations

from fwplan.fields import Count, Spec


class DataSpec(Spec):
    """The training text."""

    path: str | None = None  # parquet: file, folder or glob; or a folder of tokens
    tokens: Count | None = None  # unique tokens; None: unknown
