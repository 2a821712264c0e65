"""Which kind of JSON file a config is: a spec or a plan, Hugging Face's config.json, or some script's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fwplan.configs.documents.hugging_face import is_hugging_face, read_hugging_face
from fwplan.configs.documents.other_json import is_other_config, read_other
from fwplan.configs.documents.shared import typed
from fwplan.configs.documents.spec_files import PLAN_KEYS, read_spec
from fwplan.errors import FwplanError
from fwplan.json_text import parse_json
from fwplan.spec import RunSpec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fwplan.configs.settings import Reading


def read_json(source: str, path: str, overrides: Sequence[str], world_size: int) -> Reading:
    """Return the settings of the run in a JSON file.

    Raises:
        FwplanError: not JSON, not of a known kind, or not a model that is supported.
    """
    document = parse_json(source, path)
    if not isinstance(document, dict):
        raise FwplanError(f"{path} holds no JSON object", hint='it starts like {"model": {...}, "train": {...}}')
    top = typed(overrides, world_size, path)
    if document and document.keys() <= RunSpec.model_fields.keys() | PLAN_KEYS:
        return read_spec(document, source, path, top)
    if is_hugging_face(document):
        return read_hugging_face(document, source, path, top)
    if is_other_config(document):
        return read_other(document, source, path, top)
    if "model" in document and "train" in document:
        return read_spec(document, source, path, top)
    raise FwplanError(
        f'{path} has neither "model" and "train" (a spec or plan) nor "model_type" (a Hugging Face config)',
        hint="fwplan suggest -o plan.json makes one",
    )
