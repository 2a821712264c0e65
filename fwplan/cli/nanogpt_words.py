"""What nanoGPT's users type after `python`: a script, a config, --key=value, in any order among the options."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import TYPE_CHECKING

from fwplan.configs.settings import canonical
from fwplan.errors import FwplanError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import typer


def files_and_settings(words: Sequence[str], context: typer.Context) -> tuple[Path | None, list[str]]:
    """Return the first file named, None where none is, and the rest: further files and --key=value.

    Raises:
        FwplanError: a word that is neither: an option misspelt, or a setting without its value.
    """
    files = [word for word in words if not word.startswith("-")]
    settings = [word for word in words if word.startswith("-")]
    options = [option for parameter in context.command.params for option in parameter.opts]
    for word in settings:
        name, equals, _ = word.partition("=")
        near = difflib.get_close_matches(name, options, n=1, cutoff=0.8)
        if not equals or not word.startswith("--") or (near and canonical(name[2:]) is None):
            meant = f"did you mean {near[0]}? " if near else "a setting is written --batch_size=8; "
            raise FwplanError(f"no such option: {word[:80]}", hint=f"{meant}fwplan {context.info_name} --help")
    return (Path(files[0]) if files else None), [*files[1:], *settings]
