"""What is installed, by reading metadata and files on the disk: nothing is imported."""

from __future__ import annotations

import re
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

# What each package is for; whether training needs it.
_USES = {
    "torch": ("trains", True),
    "numpy": ("reads batches", True),
    "pydantic": ("checks specs", True),
    "pyarrow": ("reads parquet", True),
    "tiktoken": ("tokenizes", True),
    "triton": ("torch.compile on a GPU", False),
    "bitsandbytes": ("AdamW in 8 bits", False),
}


class Package(NamedTuple):
    """A package: its version (None: not installed), the least that fwplan takes (None: any), and what it is for."""

    name: str
    version: str | None
    least: str | None
    use: str
    required: bool

    @property
    def too_old(self) -> bool:
        """Whether it is there and older than fwplan takes."""
        return self.version is not None and self.least is not None and _parts(self.version) < _parts(self.least)


class TorchBuild(NamedTuple):
    """What torch was built for, as its version.py says; known: that file was found."""

    known: bool
    cuda: str | None
    hip: str | None

    @property
    def label(self) -> str:
        """The build in words."""
        if not self.known:
            return "unknown"
        return f"CUDA {self.cuda}" if self.cuda else f"ROCm {self.hip}" if self.hip else "CPU only"


def packages() -> tuple[Package, ...]:
    """Return the packages that training uses, and what is installed of them."""
    least = _least_versions()
    return tuple(Package(name, _version(name), least.get(name), *use) for name, use in _USES.items())


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _least_versions() -> dict[str, str]:
    try:
        requirements = metadata.requires("fwplan") or []
    except metadata.PackageNotFoundError:
        return {}
    found = (re.match(r"([\w-]+)\s*>=\s*([\d.]+)", requirement) for requirement in requirements)
    return {match[1]: match[2] for match in found if match}


def _parts(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version.partition("+")[0])[:3])


def torch_build() -> TorchBuild:
    """Return what the installed torch was built for, from its version.py, unread by Python."""
    found = find_spec("torch")
    if found is None or found.origin is None:
        return TorchBuild(known=False, cuda=None, hip=None)
    try:
        text = Path(found.origin).with_name("version.py").read_text(encoding="utf-8")
    except OSError:
        return TorchBuild(known=False, cuda=None, hip=None)
    return parse_torch_version(text)


def parse_torch_version(text: str) -> TorchBuild:
    """Return the build that torch/version.py describes: cuda: Optional[str] = '12.8', hip: Optional[str] = None."""
    said = dict(re.findall(r"^(cuda|hip)\b[^=\n]*=\s*(\S+)", text, flags=re.MULTILINE))
    versions = {name: None if value == "None" else value.strip("'\"") for name, value in said.items()}
    return TorchBuild(known=bool(said), cuda=versions.get("cuda"), hip=versions.get("hip"))
