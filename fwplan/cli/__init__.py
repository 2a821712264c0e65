"""The command line: read, call, render, exit code. No arithmetic."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING

import typer

from fwplan import __version__
from fwplan.cli.print_json import print_json
from fwplan.console.streams import answers, notes
from fwplan.errors import ExitCode, FwplanError
from fwplan.signals import ending_as_ctrl_c_does

if TYPE_CHECKING:
    from collections.abc import Sequence

HOMES = {
    "suggest": "planning",
    "solve": "planning",
    "explain": "explaining",
    "diff": "explaining",
    "trace": "explaining",
    "run": "training",
    "measure": "training",
    "data": "data",
    "devices": "machine",
    "doctor": "machine",
}


def command_line(words: Sequence[str]) -> typer.Typer:
    """Return the commands; where the first word names one its own part alone.

    typer reads every signature that it is given.
    """
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
    app.callback()(_root)
    app.command()(version)
    asked = [HOMES[words[0]]] if words and words[0] in HOMES else dict.fromkeys(HOMES.values())
    for home in asked:
        part = import_module(f"fwplan.cli.{home}")
        app.add_typer(part.app, name="data" if home == "data" else None)
    return app


def _root() -> None:
    """Say which GPT you can train on the GPU you have, why, and for how long; then train it."""


def version() -> None:
    """Print the version."""
    typer.echo(__version__)


def main() -> None:
    """Run the command line; every error ends as one clear message and the documented exit code."""
    _open_closed_streams()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without our signs shows "?", not a traceback
    sys.stdout, sys.stderr = answers(), notes()  # `| head`: the exit code still counts
    with ending_as_ctrl_c_does():
        code = _guarded()
    sys.exit(code)


def _open_closed_streams() -> None:
    """Put nothing in the place of a stream that the caller closed (`>&-`): else a file opened later would be it."""
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115 - it is the process's own stream
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115


def _guarded() -> int:
    try:
        words = sys.argv[1:] or ["--help"]
        code = command_line(words)(words, standalone_mode=False)
        sys.stdout.flush()
    except FwplanError as error:
        return _report(error)
    except (KeyboardInterrupt, typer.Abort):
        code = ExitCode.INTERRUPTED
    except OSError as error:
        return _report(_system_error(error))
    except Exception as error:
        if not hasattr(error, "format_message"):  # typer's usage errors have it; anything else is a bug
            raise
        return _report(FwplanError(error.format_message(), hint="fwplan --help, or fwplan COMMAND --help"))
    if code == ExitCode.INTERRUPTED:  # which is also what newer typer makes of Ctrl-C
        sys.stderr.write("\ninterrupted\n")
    return code if isinstance(code, int) else ExitCode.OK


def _system_error(error: OSError) -> FwplanError:
    """Return what the system said where no command expected it: of a file by name, else of the answer itself."""
    if error.filename is None:
        return FwplanError(f"cannot write the answer: {error.strerror}", hint="is the disk full?")
    return FwplanError(f"cannot use {str(error.filename)[:80]!r}: {error.strerror}", hint="choose another place")


def _report(error: FwplanError) -> int:
    """Say the error on stderr and, where JSON was asked for, as a document on stdout too."""
    from fwplan.console.terminal import error_lines, show

    if "--json" in sys.argv:
        verdict = {ExitCode.DOES_NOT_FIT: "does_not_fit", ExitCode.UNDECIDABLE: "undecidable"}.get(error.exit_code)
        said = {"message": error.message, "where": error.where, "hint": error.hint}
        with contextlib.suppress(OSError):  # stdout itself may be what failed
            print_json({"verdict": verdict, "error": said})
            sys.stdout.flush()
    show(error_lines(error), to_stderr=True)
    return error.exit_code


if __name__ == "__main__":
    main()
