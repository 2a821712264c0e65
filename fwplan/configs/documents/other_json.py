"""What some script's own JSON file says of a run: what is known of it is read, all else is asked for."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from fwplan.configs.declared import known
from fwplan.configs.documents.shared import is_plain, line_of, resolve
from fwplan.configs.settings import SHAPE, Reading, Setting, Settings, assemble, layer, merge

if TYPE_CHECKING:
    from collections.abc import Mapping

_READ = frozenset({*SHAPE, "micro_batch_size", "dtype", "compile", "dropout", "bias", "grad_accum_steps", "max_steps"})
# A model's sizes by any name: a file with two of them at its top, or in a section of it, is some script's config.
_FEWEST = 2


def is_other_config(document: Mapping[str, Any]) -> bool:
    """Return whether a JSON object has a model's sizes, at its top or in a section of it."""
    return sum(known(name) in SHAPE for name in _flat(document)) >= _FEWEST


def read_other(document: Mapping[str, Any], source: str, path: str, top: Settings) -> Reading:
    """Return the run in some script's own config."""
    own = {
        name: Setting(name, value, line_of(source, name)) for name, value in _flat(document).items() if is_plain(value)
    }
    ours = [setting for name, setting in own.items() if known(name) in _READ and setting.value is not None]
    merged = merge([replace(setting, name=known(setting.name) or setting.name) for setting in ours], path)
    reading = Reading(path, "json", layer(merged, top))
    reading.assumed = "the file makes no model: GPT-2 as nanoGPT writes it is assumed"
    reading.notes += [f"{one.name} read as {known(one.name)}" for one in ours if one.name != known(one.name)]
    reading.judge({name: setting for name, setting in own.items() if setting not in ours})
    reading.ask((*SHAPE, "micro_batch_size", "dtype", "compile"))
    resolve(reading, top)
    if not reading.unknown:
        reading.document = assemble(reading.settings, path)
    return reading


def _flat(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return a file's settings with those of its sections, the outer ones first."""
    inner = {k: v for section in document.values() if isinstance(section, dict) for k, v in section.items()}
    return inner | {key: value for key, value in document.items() if not isinstance(value, dict)}
