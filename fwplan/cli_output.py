"""How every verb prints its JSON."""

from __future__ import annotations

import json
import os
import sys
from typing import Any


def print_json(document: dict[str, Any]) -> None:
    """Print one document on stdout."""
    try:
        sys.stdout.write(json.dumps(document, indent=2, allow_nan=False) + "\n")
        sys.stdout.flush()
    except BrokenPipeError:  # whoever read us has seen enough; the exit code still counts
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
