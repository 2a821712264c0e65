"""Tokens of a step, of the run, of an epoch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fwplan.spec import RunSpec


@dataclass(frozen=True)
class Tokens:
    """Counts of tokens; None where the horizon or the data is unknown."""

    per_step: int
    total: int | None
    per_epoch: int | None
    epochs: float | None


def count_run_tokens(spec: RunSpec) -> Tokens:
    """Return the run's tokens; epochs = total / unique tokens of the data."""
    per_epoch = spec.data.tokens if spec.data else None
    total = spec.total_tokens
    epochs = total / per_epoch if total is not None and per_epoch else None
    return Tokens(spec.tokens_per_step, total, per_epoch, epochs)


# FineWeb sample-10BT: 10.3-10.4 B GPT-2 tokens in 30.64 GB of parquet; a full file is 2,147,292,183 bytes.
# Three independent ratios (sample-10BT, ServiceNow/fineweb-sample, the whole set) agree within 2.5 %.
FINEWEB_TOKENS_PER_BYTE = 0.336
FINEWEB_FILE_BYTES = 2_147_292_183


def fineweb_files(tokens: int) -> int:
    """Return how many full FineWeb parquet files hold that many tokens (about 0.72 B each, within 3 %)."""
    return -(-tokens // round(FINEWEB_FILE_BYTES * FINEWEB_TOKENS_PER_BYTE))


def fineweb_pattern(files: int) -> str:
    """Return the pattern of so many files' names in HuggingFaceFW/fineweb: part of the 10BT sample, or a larger one."""
    if files <= 10:
        return f"sample/10BT/00[0-{files - 1}]_*.parquet" if files > 1 else "sample/10BT/000_*.parquet"
    sample = "10BT" if files <= 14 else "100BT" if files <= 140 else "350BT"
    return f"sample/{sample}/*.parquet"
