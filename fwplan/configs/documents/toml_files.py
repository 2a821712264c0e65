"""TOML, read with its lines; and which tool's it is: torchtitan's."""

from __future__ import annotations

import re
import tomllib
from typing import TYPE_CHECKING

from fwplan.configs.documents.keys import Keys, flattened
from fwplan.configs.documents.shared import typed
from fwplan.configs.documents.torchtitan import is_torchtitan, read_torchtitan
from fwplan.errors import FwplanError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from fwplan.configs.settings import Reading


def read_toml(source: str, path: str, overrides: Sequence[str], world_size: int) -> Reading:
    """Return the run in a TOML file.

    Raises:
        FwplanError: not TOML, or not a file of a tool that is read.
    """
    keys = parse_toml(source, path)
    if not is_torchtitan(keys):
        raise FwplanError(
            f"cannot tell what {path} is: of TOML files torchtitan's are read", hint="name a job config of torchtitan"
        )
    return read_torchtitan(keys, path, typed(overrides, world_size, path))


def parse_toml(source: str, path: str) -> Keys:
    """Return a TOML document's settings by dotted name.

    Raises:
        FwplanError: not TOML; says the line.
    """
    try:
        document = tomllib.loads(source)
    except tomllib.TOMLDecodeError as error:
        said = re.fullmatch(r"(.*) \(at line (\d+), column \d+\)", str(error))
        message, where = (said[1], f"{path}:{said[2]}") if said else (str(error), path)
        raise FwplanError(f"not valid TOML: {message}", where=where, hint="is it the right file?") from None
    except (RecursionError, ValueError) as error:
        raise FwplanError(f"not valid TOML: {error}", where=path, hint="is it the right file?") from None
    return Keys(dict(flattened(document)), dict(_lines(source)))


def _lines(source: str) -> Iterator[tuple[str, int]]:
    """Yield the settings that stand on a line of their own, with it; tomllib itself gives none."""
    section = ""
    for number, line in enumerate(source.splitlines(), 1):
        if table := re.match(r"\s*\[\s*([\w.-]+)\s*\]", line):
            section = f"{table[1]}."
        elif key := re.match(r"\s*([\w.-]+)\s*=", line):
            yield f"{section}{key[1]}", number
