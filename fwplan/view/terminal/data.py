"""What the data verbs say: a count with its tier, what was prepared, what a folder holds."""

from __future__ import annotations

import shlex
import textwrap
from typing import TYPE_CHECKING

from rich.markup import escape

from fwplan.console.terminal import WIDTH, note_lines
from fwplan.data.formats import SPLITS
from fwplan.units import duration, gib, si

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from fwplan.api.data import CountReport
    from fwplan.data.count import TokenCount
    from fwplan.data.inspect import Inspection
    from fwplan.data.shards import TokenShards


def count_lines(report: CountReport, paths: Sequence[str]) -> Iterator[str]:
    """Yield how many tokens there are and how that is known, what they take, and the next command."""
    count = report.count
    yield f"[bold]{si(count.tokens)} tokens[/] ({count.tokens:,} {_interval(count)}) by {escape(count.tokenizer)}"
    yield f"  known by    {_tier(count)}"
    files = f"{count.files} file{'s' * (count.files != 1)}"
    yield f"  documents   {count.documents:,} in {files}, {gib(count.bytes)} of text,"
    yield f"              {gib(count.file_bytes)} on disk"
    yield f"  prepared    {gib(count.disk_bytes)} more, {count.bytes_per_token} bytes a token"
    if report.seconds is not None:
        pace = (count.bytes_per_second or 0) / 1e6
        yield (
            f"  takes       about {duration(report.seconds)} with {report.workers} "
            f"worker{'s' * (report.workers != 1)}, at {pace:.0f} MB/s each"
        )
    if report.epochs is not None:
        yield f"  epochs      {report.epochs:.3g}: the plan sees {si(report.wanted_tokens or 0)} tokens"
    yield from note_lines(count.notes)
    yield ""
    yield f"  fwplan data prepare {escape(shlex.join([*paths, '-o', 'data/tokens', *_options(report)]))}"


def _options(report: CountReport) -> Iterator[str]:
    """Yield the options that prepare needs to see what was counted."""
    if report.text_column != "text":
        yield from ("--text-column", report.text_column)
    if report.count.tokenizer != "gpt2":
        yield from ("--tokenizer", report.count.tokenizer)


def _interval(count: TokenCount) -> str:
    if count.low == count.high:
        return "with an end-of-text each"
    return f"+-{(count.high - count.low) / 2 / max(count.tokens, 1):.1%}, 95 %: {si(count.low)}-{si(count.high)}"


def _tier(count: TokenCount) -> str:
    if count.tier == "token_count column":
        files = "" if count.files == 1 else f", some of each of {count.checked_files:,} files"
        if count.checked_files < count.files:
            files = f", of {count.checked_files:,} of the {count.files:,} files"
        return f"the token_count column, right on {count.checked:,} documents{files}"
    if count.tier == "sampled":
        return f"a sample of {count.checked:,} documents, spread over the bytes; --exact reads all"
    return "tokenizing every document"


def prepared_lines(shards: TokenShards) -> Iterator[str]:
    """Yield what was prepared, what was left out, how far the declared count was off, and the next command."""
    yield from _contents(shards)
    meta = shards.meta or {}
    left_out = meta.get("left_out", {})
    named = {"empty": "without text", "low_score": "below the language score", "duplicates": "there before"}
    said = [f"{left_out[key]:,} {what}" for key, what in named.items() if left_out.get(key)]
    if said:
        yield f"  left out    {', '.join(said)}, of {meta['rows']:,} rows"
    declared, tokens = meta.get("declared_tokens"), shards.train_tokens + shards.val_tokens
    if declared and not any(left_out.get(key) for key in ("low_score", "duplicates")):
        off = "exactly these" if declared == tokens else f"{declared:,} tokens, {declared / tokens - 1:+.3%}"
        yield f"  declared    {off}, by the token_count column"
    yield f"  sha256      {meta.get('sha256', '')}"
    yield ""
    yield f"  fwplan run plan.json --data {escape(shlex.quote(str(shards.directory)))}"


def _contents(shards: TokenShards) -> Iterator[str]:
    name = f", {shards.meta['tokenizer']['name']}" if shards.meta else ", no meta.json: GPT-2's tokens assumed"
    yield f"[bold]{si(shards.train_tokens + shards.val_tokens)} tokens[/] in {escape(str(shards.directory))}"
    yield f"  format      {shards.format}, {shards.dtype.name}{escape(name)}"
    for split in SPLITS:
        files = len(shards.files[split])
        documents = f" in {shards.documents[split]:,} documents" if shards.documents else ""
        yield f"  {split:10}  {shards.tokens(split):,} tokens{documents}, {files} file{'s' * (files != 1)}"


def inspect_lines(found: Inspection) -> Iterator[str]:
    """Yield what a folder holds, what was verified, and how its documents begin."""
    yield from _contents(found.shards)
    for split, report in found.splits.items():
        if report.documents:
            mean = report.tokens / report.documents
            yield (
                f"  {split:10}  {report.documents:,} documents, {mean:,.0f} tokens each, the longest "
                f"{report.longest:,}; ids up to {report.largest_id}"
            )
    yield f"  [green]✓[/] verified  {', '.join(found.checked)}"
    for split, number, text in found.samples:
        yield ""
        yield f"  {split} document {number:,}:"
        shown = textwrap.wrap(" ".join(text.split()), WIDTH - 4, max_lines=3, placeholder=" ...")
        yield from (f"    [dim]{escape(line)}[/]" for line in shown)
