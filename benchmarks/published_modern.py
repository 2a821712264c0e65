"""Figures beside those that other people published for llamas, nanochat and Muon on one GPU.

    python benchmarks/published_modern.py

published_modern.jsonl holds one run a line, each with its source; published_left_out.jsonl those that no spec says,
with the reason. nanochat is modelled as it is today: what of an older block (autoresearch's, the first release's) no
field says is told beside the row, and such a row is no proof of either.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from report import table, write_result

from fwplan.estimators.memory import estimate_memory
from fwplan.machine.names import find_gpu
from fwplan.model.nanochat import Nanochat
from fwplan.spec import DeviceSpec, RunSpec, parse_spec
from fwplan.units import MIB

ROWS = Path(__file__).parent / "published_modern.jsonl"
# Today's nanochat, in the words of the rows; where a row says otherwise, its block is another.
TODAY = {
    "value_embeddings": True, "residual_scalars": True, "smear": True, "backout": True, "value_gate_channels": 12,
    "qk_norm": True, "attention_bias": False, "logit_softcap": 15.0,
}  # fmt: skip


@dataclass(frozen=True)
class Row:
    """A published peak beside ours, in MiB; `otherwise` is what of its block is not as it is modelled."""

    id: str
    published_mib: float
    predicted_mib: float
    least_mib: float
    most_mib: float
    confidence: str
    otherwise: tuple[str, ...]

    @property
    def error(self) -> float:
        """How far the prediction is above what was published, as a share of it."""
        return self.predicted_mib / self.published_mib - 1

    @property
    def inside(self) -> bool:
        """Whether the printed interval holds what was published."""
        return self.least_mib - 1 <= self.published_mib <= self.most_mib


def rows() -> list[Row]:
    """Return every row that says a peak beside its prediction, in the file's order."""
    cases = [json.loads(line) for line in ROWS.read_text(encoding="utf-8").splitlines()]
    return [_row(case) for case in cases if case.get("peak_allocated_mib") is not None]


def spec_of(case: dict[str, Any]) -> tuple[RunSpec, tuple[str, ...]]:
    """Return the run of a row, on its card where that is known, and what of its block is not as it is modelled."""
    model = dict(case["spec"]["model"])
    otherwise: tuple[str, ...] = ()
    if model["architecture"] == "nanochat":
        otherwise = tuple(_otherwise(model))
        model = {name: value for name, value in model.items() if name in Nanochat.model_fields}
    spec = parse_spec(case["spec"] | {"model": model}, case["id"])
    card = find_gpu(case["card"]).name if case["card"] else None
    return spec.model_copy(update={"device": DeviceSpec(name=card)}), otherwise


def _otherwise(model: dict[str, Any]) -> list[str]:
    found = [f"{name} {model[name]}" for name, today in TODAY.items() if name in model and model[name] != today]
    if model.get("n_hidden") not in {None, 4 * model["n_embd"]}:
        found.append(f"n_hidden {model['n_hidden']}")
    return found


def _row(case: dict[str, Any]) -> Row:
    spec, otherwise = spec_of(case)
    memory, extra = estimate_memory(spec), case["extra_bytes"]
    least, most = memory.allocated_interval
    return Row(
        case["id"], case["peak_allocated_mib"], round((memory.allocated_bytes + extra) / MIB, 1),
        round((least + extra) / MIB, 1), round((most + extra) / MIB, 1), case["confidence"], otherwise,
    )  # fmt: skip


def main() -> None:
    """Print each row, how many lie inside, and write the result file."""
    found = rows()
    cells = [
        (row.id, f"{row.published_mib:,.0f}", f"{row.predicted_mib:,.0f}", f"{row.error:+.1%}",
         "inside" if row.inside else "outside", row.confidence, f"{len(row.otherwise) or '-'}")
        for row in found
    ]  # fmt: skip
    print(table(("run", "published MiB", "predicted", "error", "interval", "confidence", "otherwise"), cells))
    same = [row for row in found if not row.otherwise]
    body = {
        "summary": {
            "rows": len(found), "inside": sum(row.inside for row in found),
            "as modelled": len(same), "as modelled, inside": sum(row.inside for row in same),
        },
        "rows": [asdict(row) | {"error": round(row.error, 4), "inside": row.inside} for row in found],
    }  # fmt: skip
    print(body["summary"])
    print(f"written: {write_result('published-modern', body).name}")


if __name__ == "__main__":
    main()
