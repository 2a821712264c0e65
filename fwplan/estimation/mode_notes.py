"""What a device does not do as a run asks, and what it does in its place."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fwplan.machine.target import Target
    from fwplan.spec import RunSpec

WIDEST_FLASH_HEAD = 256  # of torch's flash kernel: sdp_utils.cpp, check_head_dim_size_flash


def mode_notes(spec: RunSpec, target: Target | None) -> Iterator[str]:
    """Yield a note for each thing that the run asks of a GPU and does not get; for a CPU there are none."""
    device = target.device if target else spec.device
    if device is not None and device.type != "cuda":
        return
    yield from _kernel_notes(spec)
    if target is None or not target.cards:
        return
    half = spec.train.dtype in {"bfloat16", "pure_bfloat16"}
    if half and not any(card.supports_bf16 for card in target.cards):
        yield (
            f"{target.label} has no bfloat16 units: torch emulates them, timed here as plain fp32; fwplan run refuses. "
            "Set dtype float16"
        )
    if spec.train.tf32 and spec.train.dtype == "float32" and not any(card.has_tf32 for card in target.cards):
        yield f"{target.label} has no TF32: its fp32 products are plain, whatever tf32 says"


def _kernel_notes(spec: RunSpec) -> Iterator[str]:
    """Yield why scaled_dot_product_attention takes another kernel than the flash one."""
    if spec.train.attention != "flash":
        return
    width = spec.model.n_embd // spec.model.n_head
    if spec.train.dtype == "float32":
        yield "flash attention takes no float32: torch takes its memory-efficient kernel"
    elif width > WIDEST_FLASH_HEAD:
        yield (
            f"flash attention takes heads of at most {WIDEST_FLASH_HEAD}, these are {width} wide: torch takes its "
            "memory-efficient kernel"
        )
