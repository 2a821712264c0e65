"""The device that would measure, and the versions that have a say in its memory, as one JSON line.

    python -m fwplan.train.about_device [cpu|cuda]

A process of its own, so that the one that runs a campaign neither loads torch nor holds a context on the GPU.
"""

from __future__ import annotations

import json
import os
import platform
import sys
from typing import Any

import torch

from fwplan.errors import FwplanError
from fwplan.learning.result import Setup
from fwplan.machine.nvidia import ask_nvidia_smi
from fwplan.train.device import device_name, resolve_device
from fwplan.version import __version__


def about(name: str | None) -> Setup:
    """Return the Setup that a device's name stands for; None takes a CUDA GPU where there is one, else the CPU.

    Raises:
        FwplanError: this machine or this torch has no such device.
    """
    device = resolve_device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
    cuda = device.type == "cuda"
    return Setup(
        device_type="cuda" if cuda else "cpu",
        device_name=device_name(device),
        device_total_bytes=torch.cuda.get_device_properties(device).total_memory if cuda else None,
        versions=_versions(),
    )


def _versions() -> dict[str, str]:
    cudnn: Any = torch.backends.cudnn
    gpu, _why_not = ask_nvidia_smi()
    found = {
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "cudnn": str(cudnn.version() or "") or None,
        "driver": gpu.driver if gpu else None,
        "python": platform.python_version(),
        "fwplan": __version__,
        "system": platform.platform(),
        "threads": str(torch.get_num_threads()),  # on CPU, matmuls in half precision take scratch for each
        "alloc_conf": os.environ.get("PYTORCH_ALLOC_CONF") or os.environ.get("PYTORCH_CUDA_ALLOC_CONF"),
    }
    return {name: value for name, value in found.items() if value is not None}


def main() -> None:
    """Print the Setup, or the error that stands in its way, as one JSON line."""
    try:
        answer: dict[str, Any] = about(sys.argv[1] if len(sys.argv) > 1 else None).model_dump(mode="json")
    except FwplanError as error:
        answer = {"error": error.message, "hint": error.hint}
    sys.stdout.write(json.dumps(answer) + "\n")


if __name__ == "__main__":
    main()
