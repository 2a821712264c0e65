"""`fwplan data`: read, call, render. No arithmetic."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from fwplan.cli.options import Json
from fwplan.cli.print_json import print_json

if TYPE_CHECKING:
    from fwplan.data.formats import Format

app = typer.Typer(add_completion=False, rich_markup_mode=None, help="From parquet to tokens: count, prepare, inspect.")

Paths = Annotated[list[str], typer.Argument(help="FineWeb-shaped parquet: files, folders or globs.")]
Tokenizer = Annotated[str, typer.Option(help="gpt2, bytes or tiktoken:NAME.")]
TextColumn = Annotated[str, typer.Option(metavar="NAME", help="The column that holds the documents.")]
Workers = Annotated[int | None, typer.Option(min=1, help="Processes. Default: one per processor.")]


@app.command()
def count(
    paths: Paths,
    exact: Annotated[bool, typer.Option("--exact", help="Tokenize every document.")] = False,
    tokenizer: Tokenizer = "gpt2",
    text_column: TextColumn = "text",
    workers: Workers = None,
    plan: Annotated[Path | None, typer.Option(help="Say how many epochs this plan makes of it.")] = None,
    as_json: Json = False,
) -> None:
    """Say how many tokens there are, by the cheapest honest way, and what preparing them takes."""
    from fwplan.api import data as data_commands
    from fwplan.console.terminal import show
    from fwplan.view.terminal.data import count_lines

    report = data_commands.count(
        paths, tokenizer=tokenizer, exact=exact, workers=workers, plan=plan, text_column=text_column
    )
    if as_json:
        print_json(report.as_dict())
    else:
        show(count_lines(report, paths))


@app.command()
def prepare(
    paths: Paths,
    output: Annotated[Path, typer.Option("-o", "--output", help="The folder for the tokens.")],
    workers: Workers = None,
    tokenizer: Tokenizer = "gpt2",
    kind: Annotated[str, typer.Option("--format", help="nanogpt, llmc or npy: whose trainer reads it.")] = "nanogpt",
    val_fraction: Annotated[float, typer.Option(help="Share of the documents kept for validation.")] = 0.01,
    shard_tokens: Annotated[
        int | None, typer.Option(min=1, help="Most tokens in a file, for llmc and npy. Default: 100 million.")
    ] = None,
    min_language_score: Annotated[
        float | None, typer.Option(help="Leave out documents with a lower language_score.")
    ] = None,
    dedup: Annotated[str | None, typer.Option(help="exact: leave out texts that were there before.")] = None,
    text_column: TextColumn = "text",
    as_json: Json = False,
) -> None:
    """Turn parquet into tokens to train on. Killed, it goes on where it stopped when asked again."""
    from fwplan.api import data as data_commands
    from fwplan.console.terminal import show
    from fwplan.errors import FwplanError
    from fwplan.view.terminal.data import prepared_lines

    if dedup not in (None, "exact", "none"):
        raise FwplanError(f"unknown --dedup {dedup!r}", hint="exact is the one there is")
    shards = data_commands.prepare(
        paths,
        output,
        workers=workers,
        tokenizer=tokenizer,
        format=cast("Format", kind),
        val_fraction=val_fraction,
        shard_tokens=shard_tokens,
        min_language_score=min_language_score,
        dedup=dedup == "exact",
        text_column=text_column,
    )
    if as_json:
        print_json(shards.meta or {})
    else:
        show(prepared_lines(shards))


@app.command()
def inspect(
    directory: Annotated[Path, typer.Argument(help="A folder of tokens, of fwplan, nanoGPT or llm.c.")],
    samples: Annotated[int, typer.Option(min=0, help="Documents to decode.")] = 3,
    as_json: Json = False,
) -> None:
    """Say what a folder of tokens holds, after verifying all of it."""
    from fwplan.api import data as data_commands
    from fwplan.console.terminal import show
    from fwplan.view.terminal.data import inspect_lines

    found = data_commands.inspect(directory, samples=samples)
    if as_json:
        print_json(found.as_dict())
    else:
        show(inspect_lines(found))
