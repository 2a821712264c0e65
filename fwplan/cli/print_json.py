"""One JSON document on stdout."""

from __future__ import annotations

import json
import os
import sys
from typing import Any


def print_json(document: dict[str, Any]) -> None:
    """Print a document; a reader that leaves (`| head`) is no error, and the exit code still counts."""
    try:
        sys.stdout.write(json.dumps(document, indent=2, allow_nan=False) + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
