"""The roofline's step times beside those that others published, on the half of the rows it was fitted to and the rest.

    python benchmarks/throughput.py

published.jsonl (gollem, one GPU) and throughput.jsonl (llm-foundry, 8 GPUs with FSDP; figures per GPU) hold the rows
with their sources. The constants of fwplan/estimators/kernels.py were fitted to every other row, by id.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from report import table, write_result

from fwplan.devices import find_gpu
from fwplan.estimators.speed import many_step_seconds
from fwplan.spec import RunSpec, parse_spec
from fwplan.target import hardware, named_gpu

HERE = Path(__file__).parent
CARDS = {"H100 SXM": "H100 SXM5 80GB", "A100 SXM 80GB": "A100 SXM4 80GB", "A100 SXM 40GB": "A100 SXM4 40GB"}


@dataclass(frozen=True)
class ThroughputRow:
    """One published speed and ours, in seconds a step; error is predicted over published less 1."""

    id: str
    card: str
    published_seconds: float
    predicted_seconds: float
    in_interval: bool
    fitted: bool

    @property
    def error(self) -> float:
        return self.predicted_seconds / self.published_seconds - 1


def throughput_rows() -> list[ThroughputRow]:
    """Return every published row beside its prediction, sorted by id; every other one was fitted to.

    Rows that came after the fit ("unseen") stand last: none of them was.
    """
    cases = []
    for name in ("published.jsonl", "throughput.jsonl"):
        with (HERE / name).open(encoding="utf-8") as lines:
            cases += [case for case in map(json.loads, lines) if case.get("tokens_per_second")]
    cases.sort(key=lambda case: (case.get("unseen", False), case["id"]))
    return [_row(case, fitted=i % 2 == 0 and not case.get("unseen")) for i, case in enumerate(cases)]


def _row(case: dict[str, Any], *, fitted: bool) -> ThroughputRow:
    spec = parse_spec(case["spec"], case["id"])
    if "gpus" in case:
        shared = {"parallel": "fsdp", "world_size": case["gpus"]}
        spec = spec.model_copy(update={"train": spec.train.model_copy(update=shared)})
    card = find_gpu(case.get("card") or CARDS[case["gpu"]])
    low, high = _interval(spec, card.name)
    published = spec.tokens_per_step / spec.train.world_size / case["tokens_per_second"]
    factor = hardware(spec.train, named_gpu(card.name)).factor[0]
    return ThroughputRow(case["id"], card.name, published, low / factor, low <= published <= high, fitted)


def _interval(spec: RunSpec, card: str) -> tuple[float, float]:
    model, train = spec.model, spec.train
    return many_step_seconds(
        model, train, hardware(train, named_gpu(card)), model.dims, B=train.micro_batch_size, T=spec.sequence_length
    )


def summary(rows: list[ThroughputRow]) -> dict[str, Any]:
    """Return the size of the error over rows: median, 90th percentile, worst; and how many intervals hold."""
    errors = sorted(abs(row.error) for row in rows)
    return {
        "rows": len(errors),
        "median": round(median(errors), 4),
        "p90": round(errors[int(0.9 * len(errors))], 4),
        "worst": round(errors[-1], 4),
        "in_interval": sum(row.in_interval for row in rows),
    }


def main() -> None:
    """Print the errors of both halves and the rows furthest off; write the result file."""
    rows = throughput_rows()
    halves = {
        "fitted": summary([r for r in rows if r.fitted]),
        "not seen by the fit": summary([r for r in rows if not r.fitted]),
    }
    cells = [
        (name, str(s["rows"]), f"{s['median']:.1%}", f"{s['p90']:.1%}", f"{s['worst']:.1%}", str(s["in_interval"]))
        for name, s in halves.items()
    ]
    print(table(("half", "rows", "median", "p90", "worst", "inside"), cells))
    print()
    furthest = sorted(rows, key=lambda row: -abs(row.error))[:8]
    print(table(("furthest off", "card", "error"), [(row.id, row.card, f"{row.error:+.0%}") for row in furthest]))
    body = {
        "summary": halves,
        "rows": [{"id": row.id, "card": row.card, "error": round(row.error, 4), "fitted": row.fitted} for row in rows],
    }
    print(f"\nwritten: {write_result('throughput', body).name}")


if __name__ == "__main__":
    main()
