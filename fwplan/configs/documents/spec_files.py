"""What a spec.json or a plan.json says: the run itself, by the names of its fields."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fwplan.configs.documents.shared import line_of, position, resolve
from fwplan.configs.settings import MODEL_FIELDS, TRAIN_FIELDS, Kind, Reading, Setting, Settings, assemble, layer
from fwplan.spec import parse_spec
from fwplan.spec.flat import FIELDS, spread

if TYPE_CHECKING:
    from collections.abc import Mapping

PLAN_KEYS = frozenset({"fwplan_version", "objective", "predicted", "reasons"})  # what a plan adds to a spec


def read_spec(document: dict[str, Any], source: str, path: str, top: Settings) -> Reading:
    """Return the run in a spec or a plan, with what the user says otherwise."""
    kind: Kind = "plan" if PLAN_KEYS & document.keys() else "spec"
    document = {key: value for key, value in document.items() if key not in PLAN_KEYS}
    for section in ("model", "train"):
        if not isinstance(document.get(section), dict):
            parse_spec(document, path)  # says which section is missing or malformed
    written = _spec_settings(document, source)
    document["train"] = spread(document["train"])
    reading = Reading(path, kind, layer(written, top))
    resolve(reading, top)
    changed = assemble({key: s for key, s in reading.settings.items() if s.origin == "override"}, path)
    for section, fields in (("model", MODEL_FIELDS), ("train", TRAIN_FIELDS)):
        kept = {k: v for k, v in document[section].items() if k not in fields or k in reading.settings}
        document[section] = kept | changed[section]
    if "device" in changed:
        before = document.get("device")
        document["device"] = (before if isinstance(before, dict) else {}) | changed["device"]
    reading.document = document
    return reading


def _spec_settings(document: Mapping[str, Any], source: str) -> Settings:
    """Return what the sections set, with lines; of unknown keys only the first, which the error will be about."""
    found: Settings = {}
    for section, fields in (("model", MODEL_FIELDS), ("train", TRAIN_FIELDS)):
        start = position(source, section) or 0
        said = spread(document[section])
        unknown = [key for key in said if key not in fields]
        for key in (*fields & said.keys(), *unknown[:1]):
            found[key] = Setting(key, said[key], _written_line(document[section], source, key, start))
    return found


def _written_line(section: Mapping[str, Any], source: str, key: str, start: int) -> int | None:
    """Return the line of a field, which may be written inside a part: `beta2` in the optimizer."""
    field = FIELDS.get(key)
    if field is None or not isinstance(section.get(field.part), dict) or key == field.part:
        return line_of(source, key.rpartition(".")[2], start)
    return line_of(source, field.name, position(source, field.part, start) or start)
