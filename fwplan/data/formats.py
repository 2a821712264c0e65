"""The three layouts of token files that trainers of small GPTs read, and how to tell them apart. Needs numpy only.

| format  | files                            | header, then raw little-endian ids            | end-of-text |
|---------|----------------------------------|-----------------------------------------------|-------------|
| nanogpt | train.bin, val.bin               | none                                          | after       |
| npy     | NAME_{train,val}_NNNNNN.npy      | numpy's, 128 bytes                            | before      |
| llmc    | NAME_{train,val}_NNNNNN.bin      | 256 int32: magic, version, tokens, zeros      | before      |

Sources: nanoGPT data/openwebtext/prepare.py; build-nanogpt fineweb.py and train_gpt2.py (load_tokens); llm.c
dev/data/data_common.py (magic 20240520 version 1 for uint16, 20240801 version 7 for uint32) and llmc/dataloader.h;
modded-nanogpt reads llm.c's uint16 files.
"""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from fwplan.errors import FwplanError

if TYPE_CHECKING:
    from pathlib import Path

Format = Literal["nanogpt", "llmc", "npy"]
FORMATS: tuple[Format, ...] = get_args(Format)
Split = Literal["train", "val"]
SPLITS: tuple[Split, ...] = get_args(Split)

_LLMC_BYTES, _NPY_BYTES = 1024, 128
_LLMC: dict[int, tuple[int, np.dtype[Any]]] = {
    20240520: (1, np.dtype("<u2")),
    20240801: (7, np.dtype("<u4")),
}  # magic: (version, dtype)
_NPY_DTYPES = {"<u2", "<u4"}


@dataclass(frozen=True)
class TokenFile:
    """A file of tokens: raw ids from `offset` on."""

    path: Path
    offset: int  # bytes of header
    tokens: int
    dtype: np.dtype[Any]

    @property
    def bytes(self) -> int:
        """The whole file's size as its tokens say."""
        return self.offset + self.tokens * self.dtype.itemsize


def file_name(kind: Format, split: Split, shard: int, name: str) -> str:
    """Return the name of a split's n-th file; `name` is the data set's."""
    if kind == "nanogpt":
        return f"{split}.bin"
    return f"{name}_{split}_{shard:06d}.{'npy' if kind == 'npy' else 'bin'}"


def header_bytes(kind: Format) -> int:
    """Return how many bytes precede the tokens."""
    return {"nanogpt": 0, "llmc": _LLMC_BYTES, "npy": _NPY_BYTES}[kind]


def header(kind: Format, tokens: int, dtype: np.dtype[Any]) -> bytes:
    """Return a file's header for so many tokens."""
    if kind == "nanogpt":
        return b""
    if kind == "npy":
        out = io.BytesIO()
        np.lib.format.write_array_header_1_0(out, {"descr": dtype.str, "fortran_order": False, "shape": (tokens,)})
        return out.getvalue()
    magic, version = next((magic, version) for magic, (version, kind_) in _LLMC.items() if kind_ == dtype)
    fields = np.zeros(_LLMC_BYTES // 4, "<i4")
    fields[:3] = magic, version, tokens
    return fields.tobytes()


def end_of_text_first(kind: Format) -> bool:
    """Return whether a document's end-of-text precedes it."""
    return kind != "nanogpt"


def check_shard_tokens(kind: Format, shard_tokens: int | None) -> int:
    """Return the most tokens a file may hold; 2**62 where there is no limit.

    Raises:
        FwplanError: a limit that the format cannot have.
    """
    if kind == "nanogpt":
        if shard_tokens is not None:
            raise FwplanError("nanoGPT reads one train.bin and one val.bin", hint="--format llmc or npy has shards")
        return 2**62
    limit = 10**8 if shard_tokens is None else shard_tokens
    if not 1 <= limit < 2**31:  # llm.c keeps the count in an int32
        raise FwplanError(f"shard_tokens must be 1 to {2**31 - 1:,}, not {limit:,}", hint="100 million is customary")
    return limit


def find_token_files(folder: Path) -> tuple[Format, dict[Split, list[Path]]] | None:
    """Return the format of a folder without a sidecar and its files by split, sorted; None where it holds none."""
    names = sorted(path for path in folder.iterdir() if path.is_file()) if folder.is_dir() else []
    kinds: tuple[tuple[Format, str], ...] = (("npy", ".npy"), ("llmc", ".bin"))
    for kind, suffix in kinds:
        files = [path for path in names if path.suffix == suffix and not path.name.startswith(".")]
        if kind == "llmc":
            files = [path for path in files if is_llmc(path)]
        found = {split: [path for path in files if _is_of(path, split)] for split in SPLITS}
        if found["train"]:
            return kind, found
    train, val = folder / "train.bin", folder / "val.bin"
    if train.is_file():
        return "nanogpt", {"train": [train], "val": [val] if val.is_file() else []}
    return None


def _is_of(path: Path, split: Split) -> bool:
    """Return whether "train" or "val" is a word of a file's name."""
    return re.search(rf"(?<![a-z]){split}(?![a-z])", path.stem.lower()) is not None


def is_llmc(path: Path) -> bool:
    """Return whether a file begins with the magic number of llm.c's token files."""
    with path.open("rb") as file:
        return int.from_bytes(file.read(4), "little") in _LLMC


def read_header(kind: Format, path: Path, raw_dtype: np.dtype[Any] | None = None) -> TokenFile:
    """Return what a token file holds, after checking its size against its header.

    Args:
        kind: its format.
        path: the file.
        raw_dtype: the ids' type where there is no header to say; None: uint16, as nanoGPT writes.

    Raises:
        FwplanError: the file cannot be read, or is truncated, or no token file of this format.
    """
    try:
        size = path.stat().st_size
        if kind == "nanogpt":
            return _raw(path, size, raw_dtype or np.dtype("<u2"))
        found = _npy(path) if kind == "npy" else _llmc(path)
    except OSError as error:
        raise FwplanError(
            f"cannot read {path.name}: {error.strerror}", where=str(path), hint="may you read it?"
        ) from error
    except ValueError as error:
        raise FwplanError(
            f"{path.name} is no {kind} token file: {error}", where=str(path), hint="prepare the data again"
        ) from error
    if size != found.bytes:
        raise FwplanError(
            f"{path.name} is {size:,} bytes; its header says {found.bytes:,}",
            where=str(path),
            hint="it is truncated or was changed: make or fetch it again",
        )
    return found


def _raw(path: Path, size: int, dtype: np.dtype[Any]) -> TokenFile:
    if size % dtype.itemsize:
        raise FwplanError(
            f"{path.name} is {size:,} bytes: not whole {dtype.name} tokens",
            where=str(path),
            hint="it is truncated, or no nanoGPT data: make or fetch it again",
        )
    return TokenFile(path, 0, size // dtype.itemsize, dtype)


def _npy(path: Path) -> TokenFile:
    with path.open("rb") as file:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(file)
        if len(shape) != 1 or dtype.str not in _NPY_DTYPES:
            raise ValueError(f"an array of {dtype.name}, shape {shape}; tokens are uint16 or uint32, in one dimension")
        return TokenFile(path, file.tell(), shape[0], dtype)


def _llmc(path: Path) -> TokenFile:
    with path.open("rb") as file:
        fields = np.frombuffer(file.read(_LLMC_BYTES), "<i4")
    if len(fields) < _LLMC_BYTES // 4 or int(fields[0]) not in _LLMC:
        raise ValueError("it does not begin with llm.c's magic number")
    version, dtype = _LLMC[int(fields[0])]
    if int(fields[1]) != version or fields[2] < 0:
        raise ValueError(f"version {fields[1]}, {fields[2]} tokens")
    return TokenFile(path, _LLMC_BYTES, int(fields[2]), dtype)
