"""Configs and training scripts of nanoGPT, nanochat and their kin, JSON, YAML and TOML -> RunSpec. Executes no file."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from fwplan.configs.documents.json_files import read_json
from fwplan.configs.documents.toml_files import read_toml
from fwplan.configs.learning_rate import settle_learning_rate
from fwplan.configs.literals import MAX_SOURCE_BYTES
from fwplan.configs.nanochat.base_train import COMMAND as NANOCHAT
from fwplan.configs.nanochat.base_train import read_command
from fwplan.configs.python_files import read_python_file
from fwplan.configs.settings import Kind, Reading, Unknown, fields
from fwplan.errors import FwplanError
from fwplan.spec import RunSpec, parse_spec

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["NANOCHAT", "LoadedConfig", "Unknown", "load_config"]

MAX_DOCUMENT_BYTES = 1024 * 1024


@dataclass(frozen=True)
class LoadedConfig:
    """A file read as a run: the spec, or why there is none, and what was understood on the way.

    Attributes:
        spec: the run; None where a value that matters is unknown (see `unknown`).
        kind: what the file was taken for.
        path: the file.
        lines: spec field ("train.micro_batch_size") -> line of the file that set it; not for defaults and overrides.
        unknown: settings that matter and could not be read, with line and reason.
        ignored: settings of the file that mean nothing here: "run_name (line 12)".
        uncounted: settings that mean nothing here but may change memory, which lowers the confidence.
        assumed: the defaults that were assumed, as a sentence; empty where the run says all of it.
        data: the folder of its data set, where that is there to be seen.
        notes: what was taken for granted, renamed or overruled, each fit to print.
        eval_only: the run only evaluates (nanoGPT's eval_only).
        pretrained: the run starts from trained weights (nanoGPT's init_from), so scaling laws do not tell its loss.
        source: the file's text, for quoting its lines.
    """

    spec: RunSpec | None
    kind: Kind
    path: Path
    lines: Mapping[str, int]
    unknown: tuple[Unknown, ...]
    ignored: tuple[str, ...]
    uncounted: tuple[str, ...]
    assumed: str
    data: Path | None
    notes: tuple[str, ...]
    eval_only: bool
    pretrained: bool
    source: str = field(repr=False)

    @property
    def all_notes(self) -> tuple[str, ...]:
        """The notes, with what was assumed before them."""
        return (self.assumed, *self.notes) if self.assumed else self.notes

    def line_text(self, line: int) -> str:
        """Return one line of the file, counted from 1, without its line break."""
        return re.split(r"\r\n|\r|\n", self.source)[line - 1]


def load_config(path: str | Path, overrides: Sequence[str] = (), *, world_size: int = 1) -> LoadedConfig:
    """Return the run that a file describes, with "--key=value" overrides applied in order.

    Args:
        path: nanoGPT's config.py or train.py, build-nanogpt's train_gpt2.py, nanochat's base_train.py, autoresearch's
            train.py, minimind's train_pretrain.py; a .json that holds a spec, a plan or a Hugging Face config; litgpt's
            .yaml; torchtitan's .toml; NANOCHAT for nanochat's own script with `overrides` as its arguments.
        overrides: as nanoGPT takes them on its command line: "--key=value", of which the last one wins, and, where
            `path` is a train.py, the config that it runs.
        world_size: processes that train; nanoGPT's gradient_accumulation_steps is divided by it.

    Raises:
        FwplanError: the file cannot be read, is of no known kind, contradicts itself or describes no possible run.
    """
    if world_size < 1:
        raise FwplanError(f"world_size must be at least 1, not {world_size}", hint="the number of processes that train")
    if str(path) == NANOCHAT:
        reading = read_command(overrides, world_size)
        settle_learning_rate(reading)
        return _loaded(reading, Path("nanochat"), "")
    path, script, overrides = _files(Path(path), overrides)
    _require_file(path)
    source = _read(path, MAX_SOURCE_BYTES if path.suffix == ".py" else MAX_DOCUMENT_BYTES)
    if path.suffix == ".py":
        reading = read_python_file(source, str(path), overrides, world_size, script)
    else:
        reading = _reader(path)(source, str(path), overrides, world_size)
    if path.suffix != ".json":
        settle_learning_rate(reading)
    return _loaded(reading, path, source)


def _reader(path: Path) -> Callable[[str, str, Sequence[str], int], Reading]:
    """Return what reads documents of a file's kind."""
    match path.suffix:
        case ".json":
            return read_json
        case ".toml":
            return read_toml
        case ".yaml" | ".yml":
            from fwplan.configs.documents.yaml_files import read_yaml  # noqa: PLC0415  # PyYAML, for who names one

            return read_yaml
        case _:
            raise FwplanError(
                f"cannot tell what {path} is",
                hint="name a config or script .py, or a .json, .yaml or .toml that is read",
            )


def _files(path: Path, overrides: Sequence[str]) -> tuple[Path, Path | None, list[str]]:
    """Return the config, the train.py that was named before it (None: none was), and what overrides it."""
    configs = [one for one in overrides if not one.startswith("--") and "=" not in one]
    rest = [one for one in overrides if one not in configs]
    if not configs:
        return path, None, rest
    if len(configs) > 1 or path.suffix != ".py":
        raise FwplanError(
            f"cannot read {' '.join([str(path), *configs])} together",
            hint="name one config, or a train.py and one config; settings as --batch_size=8",
        )
    _require_file(path)
    return Path(configs[0]), path, rest


def _loaded(reading: Reading, path: Path, source: str) -> LoadedConfig:
    eval_only = reading.settings.get("eval_only")
    return LoadedConfig(
        spec=None if reading.unknown else _build(reading),
        kind=reading.kind,
        path=path,
        lines={name: s.line for name, s in fields(reading.settings).items() if s.line is not None},
        unknown=tuple(reading.unknown),
        ignored=tuple(reading.ignored),
        uncounted=tuple(reading.uncounted),
        assumed=reading.assumed,
        data=reading.data,
        notes=tuple(reading.notes),
        eval_only=eval_only is not None and bool(eval_only.value),
        pretrained=_starts_trained(reading),
        source=source,
    )


def _starts_trained(reading: Reading) -> bool:
    start = reading.settings.get("init_from")
    return start is not None and start.value != "scratch"


def _build(reading: Reading) -> RunSpec:
    """Return the spec in a document; an error points at the line or override that set the field it is about."""
    try:
        return parse_spec(reading.document, reading.path)
    except FwplanError as error:
        place = _blamed(error.message, reading)
        raise FwplanError(error.message, where=place, hint=error.hint, exit_code=error.exit_code) from None


def _blamed(message: str, reading: Reading) -> str:
    settings = reading.settings
    named = [(match.start(), key) for key in settings if (match := re.search(rf"\b{re.escape(key)}\b", message))]
    # The message may name a field that nobody set; the first one that somebody wrote is where to go.
    written = (settings[key].place(reading.path) for _, key in sorted(named) if settings[key].origin != "default")
    return next((place for place in written if place != reading.path), reading.path)


def _require_file(path: Path) -> None:
    try:
        if path.is_file():
            return
        kind = "a directory" if path.is_dir() else "not a regular file" if path.exists() else None
    except (OSError, ValueError) as error:
        raise FwplanError(f"cannot read {str(path)!r}: {error}", hint="name a readable file") from None
    if kind is None:
        raise FwplanError(f"no such file: {str(path)!r}", hint=f"it was looked for in {Path.cwd()}")
    raise FwplanError(f"{path} is {kind}", hint="name a config.py, spec.json or plan.json")


def _read(path: Path, limit: int) -> str:
    """Return a file's text.

    Raises:
        FwplanError: it may not be read, is larger than `limit` bytes, or is no UTF-8 text.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(limit + 1)
    except OSError as error:
        raise FwplanError(f"cannot read {path}: {error.strerror}", hint="check its permissions") from None
    if len(raw) > limit:
        raise FwplanError(f"{path} is larger than {limit // 1024} KiB: not a config", hint="is it the right file?")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise FwplanError("not UTF-8 text", where=f"{path}:{line}", hint="save it as UTF-8") from None
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise FwplanError("a null byte: not a text file", where=f"{path}:{line}", hint="is it the right file?")
    return text
