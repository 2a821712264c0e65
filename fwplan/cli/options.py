"""Options that several commands take."""

from __future__ import annotations

from typing import Annotated

import typer

Gpu = Annotated[str | None, typer.Option(help='A card by name: "RTX 4070", "a100 80gb".')]
Vram = Annotated[str | None, typer.Option(help="A card by its nominal memory: 12, 12GiB.")]
Device = Annotated[str | None, typer.Option(help="cpu or cuda: this machine's.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document; bytes as integers.")]
