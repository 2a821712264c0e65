"""What AMD's driver says of its GPUs, by amd-smi or, where that is missing, rocm-smi."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from fwplan.machine.gpu import Gpu
from fwplan.units import MIB

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fwplan.machine.command import Runner

_AMD_SMI = (["amd-smi", "static", "--json"], ["amd-smi", "metric", "--mem-usage", "--json"])
_ROCM_SMI = ["rocm-smi", "--showproductname", "--showmeminfo", "vram", "--showdriverversion", "--json"]
_CHOOSERS = ("HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES")


def ask_amd(run: Runner, environ: Mapping[str, str]) -> tuple[Gpu | None, str | None]:
    """Return the GPU that a ROCm program would use first, and None; or None and the reason why there is none.

    Of several it is the first, or what HIP_VISIBLE_DEVICES or ROCR_VISIBLE_DEVICES numbers first.
    """
    static = run(_AMD_SMI[0])
    gpus = _by_amd_smi(static, run(_AMD_SMI[1])) if static else []
    if not gpus:
        output = run(_ROCM_SMI)
        if output is None and not static:
            return None, "neither amd-smi nor rocm-smi is there or answers"
        gpus = _by_rocm_smi(output)
    if not gpus:
        return None, "the answer of amd-smi or rocm-smi cannot be read"
    return _visible(gpus, environ)


def _visible(gpus: list[Gpu], environ: Mapping[str, str]) -> tuple[Gpu | None, str | None]:
    variable = next((name for name in _CHOOSERS if name in environ), None)
    if variable is None:
        return gpus[0], None
    first = environ[variable].partition(",")[0].strip()
    if re.fullmatch(r"[0-9]{1,4}", first) and int(first) < len(gpus):
        return gpus[int(first)], None
    return None, f"{variable}={environ[variable]!r} names none of the {len(gpus)} GPUs"


def _by_amd_smi(static: str, metric: str | None) -> list[Gpu]:
    """Return the GPUs of `amd-smi static`; memory in use is from `amd-smi metric`, matched by number."""
    used = {item.get("gpu"): _size(item, "mem_usage", "used_vram") for item in _items(metric)}
    return [
        Gpu(
            name=name,
            driver_total_bytes=_size(item, "vram", "size"),
            reserved_bytes=None,
            used_bytes=used.get(item.get("gpu")),
            driver=_text(item, "driver", "version") or "",
            uuid="",
            vendor="amd",
            asked="amd-smi",
        )
        for item in _items(static)
        if (name := _text(item, "asic", "market_name"))
    ]


def _items(output: str | None) -> list[dict[str, Any]]:
    """Return the objects of amd-smi's list, one a GPU; since ROCm 7 it is wrapped in {"gpu_data": [...]}."""
    document = _parsed(output)
    found = document.get("gpu_data") if isinstance(document, dict) else document
    return [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []


def _size(item: dict[str, Any], group: str, key: str) -> int | None:
    """Return bytes of {"value": 24560, "unit": "MB"}, in which amd-smi's MB are MiB; None: it does not say."""
    said = item.get(group)
    size = said.get(key) if isinstance(said, dict) else None
    value = size.get("value") if isinstance(size, dict) else None
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        return None
    scale = {"B": 1, "KB": 1024, "MB": MIB, "GB": 1024 * MIB}.get(str(size.get("unit") or "MB"))  # type: ignore[union-attr]
    return value * scale if scale else None


def _text(item: dict[str, Any], group: str, key: str) -> str | None:
    said = item.get(group)
    text = said.get(key) if isinstance(said, dict) else None
    return text.strip() if isinstance(text, str) and text.strip() not in {"", "N/A"} else None


def _by_rocm_smi(output: str | None) -> list[Gpu]:
    """Return the GPUs of rocm-smi's {"card0": {...}, "system": {"Driver version": ...}}; keys vary in case."""
    document = _parsed(output)
    if not isinstance(document, dict):
        return []
    cards = {key: _lower(value) for key, value in document.items() if isinstance(value, dict)}
    driver = str(cards.get("system", {}).get("driver version", ""))
    return [
        Gpu(
            name=str(card["card series"]),
            driver_total_bytes=_bytes(card.get("vram total memory (b)")),
            reserved_bytes=None,
            used_bytes=_bytes(card.get("vram total used memory (b)")),
            driver=driver,
            uuid="",
            vendor="amd",
            asked="rocm-smi",
        )
        for key, card in cards.items()
        if key.startswith("card") and card.get("card series")
    ]


def _lower(card: dict[str, Any]) -> dict[str, Any]:
    return {key.lower(): value for key, value in card.items()}


def _bytes(text: object) -> int | None:
    return int(text) if isinstance(text, str) and re.fullmatch(r"[0-9]{1,16}", text) else None


def _parsed(output: str | None) -> Any:
    """Return the JSON in an answer; rocm-smi prints warnings before it. None where there is none."""
    text = output or ""
    starts = [at for at in (text.find("{"), text.find("[")) if at >= 0]
    for start in sorted(starts):
        try:
            return json.JSONDecoder().raw_decode(text[start:])[0]
        except (ValueError, RecursionError):
            continue
    return None
