"""plan.json: a spec that was chosen, why, and what was predicted for it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field, ValidationError

from fwplan import __version__
from fwplan.errors import ExitCode, FwplanError
from fwplan.fields import Bytes, Spec
from fwplan.files import write_json
from fwplan.json_text import parse_json
from fwplan.spec import RunSpec, check_version, spec_error

if TYPE_CHECKING:
    from fwplan.estimation import Estimate


class Prediction(Spec):
    """What the estimate said when the plan was made; intervals are (low, high)."""

    allocated_bytes: Bytes
    allocated_interval: tuple[Bytes, Bytes]
    reserved_bytes: tuple[Bytes, Bytes] | None
    device_used_bytes: tuple[Bytes, Bytes]
    step_seconds: tuple[float, float] | None
    expected_loss: tuple[float, float] | None


class Plan(RunSpec):
    """A RunSpec with its reasons. Everything that spec.json holds, under the same names."""

    fwplan_version: str
    objective: str
    predicted: Prediction
    reasons: dict[str, str] = Field(default_factory=dict)

    @property
    def spec(self) -> RunSpec:
        """The plan without its reasons."""
        return RunSpec.model_construct(**{name: getattr(self, name) for name in RunSpec.model_fields})

    @classmethod
    def load(cls, path: str | Path) -> Plan:
        """Return the plan in a plan.json.

        Raises:
            FwplanError: missing, not JSON, not a plan, or made by a newer version.
        """
        document = _read(Path(path))
        check_version(document, str(path))
        if isinstance(document, dict) and "model" in document and "predicted" not in document:
            raise FwplanError(
                "this is a spec, not a plan: it holds no prediction to check a run against",
                where=str(path),
                hint=f"fwplan explain {path} -o plan.json",
            )
        return _validated(document, str(path))

    @classmethod
    def of(cls, chosen: Estimate, objective: str, reasons: dict[str, str] | None = None) -> Plan:
        """Return the plan of an estimated run.

        Raises:
            FwplanError: its memory is undecidable.
        """
        use = chosen.use
        if use is None:
            raise FwplanError(
                f"no plan: {chosen.undecidable}", exit_code=ExitCode.UNDECIDABLE, hint="choose a mode that is modelled"
            )
        prediction = Prediction(
            allocated_bytes=round(use.allocated.point),
            allocated_interval=use.allocated.ends,
            reserved_bytes=use.reserved.ends if use.reserved else None,
            device_used_bytes=use.device_used.ends,
            step_seconds=chosen.step_seconds,
            expected_loss=(chosen.loss.low, chosen.loss.high) if chosen.loss else None,
        )
        rest = {"fwplan_version": __version__, "objective": objective, "reasons": reasons or {}}
        document = chosen.spec.model_dump(mode="json") | {"predicted": prediction.model_dump(mode="json")} | rest
        return _validated(document, "the plan")

    def save(self, path: str | Path) -> Path:
        """Write the plan as JSON (temporary file, then rename) and return its path."""
        write_json(Path(path), self.model_dump(mode="json"), hint="choose another place with -o")
        return Path(path)


def _validated(document: Any, where: str) -> Plan:
    try:
        return Plan.model_validate_json(json.dumps(document))  # as JSON: its lists become tuples
    except ValidationError as error:
        place = error.errors()[0]["loc"]
        if place and place[0] not in RunSpec.model_fields:  # what it adds to a spec
            raise spec_error(error, where, hint=f"make it again: fwplan explain {where} -o plan2.json") from None
        raise spec_error(error, where) from None


def plan_id(spec: RunSpec, data: str | None = None) -> str:
    """Return twelve hex digits that name what is trained on what: the model, the recipe and the data.

    data: what identifies other data than the spec's; None: it is the spec's.
    """
    content = spec.model_dump(mode="json", include={"model", "train", "data"})
    if data is not None:
        content["data"] = data
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]


def run_directory(plan_path: Path, spec: RunSpec, data: str | None = None) -> Path:
    """Return where a plan's run keeps its files: runs/<plan id> beside the plan."""
    return plan_path.resolve().parent / "runs" / plan_id(spec, data)


def _read(path: Path) -> Any:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise FwplanError(
            f"no such file: {path}", hint="make one with: fwplan suggest --vram 12 --tokens 10e9"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise FwplanError(f"cannot read {path}: {error}", hint="is it the right file, and may you read it?") from error
    return parse_json(text, str(path))
