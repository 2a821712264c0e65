"""The verbs behind `fwplan data`, as plain functions: count, prepare, inspect."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from fwplan.console.progress import byte_progress

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from fwplan.data.count import TokenCount
    from fwplan.data.formats import Format
    from fwplan.data.inspect import Inspection
    from fwplan.data.shards import TokenShards


@dataclass(frozen=True)
class CountReport:
    """A count, and what it means for whoever wants to train on it."""

    count: TokenCount
    workers: int  # that tokenizing would use
    seconds: float | None  # it would take, at the pace of the documents that were tokenized to check or to scale
    wanted_tokens: int | None  # that a plan sees
    text_column: str

    @property
    def epochs(self) -> float | None:
        """How often the plan would see each token."""
        return None if self.wanted_tokens is None else self.wanted_tokens / self.count.tokens

    def as_dict(self) -> dict[str, Any]:
        """Return the report as `data count --json` prints it."""
        return asdict(self.count) | {
            "disk_bytes": self.count.disk_bytes,
            "workers": self.workers,
            "seconds": self.seconds,
            "wanted_tokens": self.wanted_tokens,
            "epochs": self.epochs,
        }


def count(
    paths: Sequence[str],
    *,
    tokenizer: str = "gpt2",
    exact: bool = False,
    workers: int | None = None,
    plan: Path | None = None,
    text_column: str = "text",
) -> CountReport:
    """Return how many tokens parquet files hold, what they take on disk and in time, and how often a plan sees them.

    Raises:
        FwplanError: a file or the plan cannot be used.
    """
    from fwplan.data.count import count_tokens  # noqa: PLC0415  # pyarrow
    from fwplan.data.pool import cpus  # noqa: PLC0415

    wanted = None if plan is None else _plan_tokens(plan)
    with byte_progress("counting") as progress:
        found = count_tokens(
            paths, tokenizer=tokenizer, exact=exact, workers=workers, text_column=text_column, progress=progress
        )
    used, pace = workers or cpus(), found.bytes_per_second
    return CountReport(found, used, None if pace is None else found.bytes / pace / used, wanted, text_column)


def _plan_tokens(plan: Path) -> int:
    from fwplan.configs import load_config  # noqa: PLC0415
    from fwplan.errors import FwplanError  # noqa: PLC0415

    spec = load_config(plan).spec
    tokens = spec.total_tokens if spec else None
    if tokens is None:
        raise FwplanError(
            f"{plan} does not say how long it trains", where=str(plan), hint="give it max_steps or max_tokens"
        )
    return tokens


def prepare(
    paths: Sequence[str],
    output: Path,
    *,
    workers: int | None = None,
    tokenizer: str = "gpt2",
    format: Format = "nanogpt",  # noqa: A002 (the option's name)
    val_fraction: float = 0.01,
    shard_tokens: int | None = None,
    min_language_score: float | None = None,
    dedup: bool = False,
    text_column: str = "text",
) -> TokenShards:
    """Return the token shards made from parquet files, with progress on stderr; see fwplan.data.prepare.

    Raises:
        FwplanError: unusable input, a full disk, a foreign file in the way, or a worker that died.
    """
    from fwplan.data.prepare import prepare as make  # noqa: PLC0415  # pyarrow

    with byte_progress("tokenizing") as progress:
        try:
            return make(
                paths,
                output,
                workers=workers,
                tokenizer=tokenizer,
                format=format,
                val_fraction=val_fraction,
                shard_tokens=shard_tokens,
                min_language_score=min_language_score,
                dedup=dedup,
                text_column=text_column,
                progress=progress,
                note=progress.note,
            )
        except KeyboardInterrupt:
            progress.note("stopped; the same command goes on")
            raise


def inspect(directory: Path, *, samples: int = 3) -> Inspection:
    """Return what a folder of tokens holds, after reading all of it; see fwplan.data.inspect.

    Raises:
        FwplanError: there are no tokens, or they are not what was written.
    """
    from fwplan.data.inspect import inspect as look  # noqa: PLC0415  # tiktoken

    with byte_progress("verifying") as progress:
        return look(directory, samples=samples, progress=progress)
