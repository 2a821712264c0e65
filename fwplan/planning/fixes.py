"""What would change the memory of a run: each change is a full re-estimate, helpful or not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from fwplan.estimation.estimate import Estimate, estimate
from fwplan.estimators.memory import estimate_memory
from fwplan.estimators.speed import middle, step_seconds
from fwplan.machine.target import speed_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from fwplan.learning.measurement import Measurement
    from fwplan.spec import RunSpec

_ALIKE = 1e-6  # shares that are told apart by rounding alone
# A change that frees less of the peak than this does not help.
LEAST_GAIN = 0.03


@dataclass(frozen=True)
class Fix:
    """One change to a run, and what it does to the peak."""

    change: str
    estimate: Estimate
    same_maths: bool  # the same losses, but for rounding
    helps: bool  # frees memory worth having
    why: str
    disturbs: int = 0  # how much of the recipe, see _Change
    popular: bool = False  # advice that people are given whatever their run is
    saved_bytes: int = 0  # of what the run needs on its device
    slower: float | None = None  # time of the same tokens, as a share more than before; None: the speed is unknown

    @property
    def fits(self) -> bool:
        """Whether nothing stands against the changed run: it fits with margin, or no device was named."""
        return self.estimate.verdict in {"fits", "no_device"}

    def as_dict(self) -> dict[str, Any]:
        """Return the fix as `explain --json` prints it."""
        use = self.estimate.use
        return {
            "change": self.change,
            "allocated_bytes": round(use.allocated.point) if use else None,
            "needed_bytes": use.needed.ends if use else None,
            "verdict": self.estimate.verdict,
            "saved_bytes": self.saved_bytes,
            "slower": self.slower,
            "same_maths": self.same_maths,
            "disturbs": self.disturbs,
            "helps": self.helps,
            "why": self.why,
        }


def fixes(before: Estimate, measurements: Sequence[Measurement]) -> list[Fix]:
    """Return the changes worth knowing for a run: what helps before what does not, and why not.

    What helps is in the order of what it costs: the same maths first, then the time of the same tokens in whole
    percents, then the level of `_Change.disturbs`, then what saves most. Where nothing is enough alone, two together
    are tried.
    """
    if before.memory is None:
        return []
    found = [_tried(before, change, measurements) for change in _changes(before) if _suits(change.spec)]
    if before.verdict == "does_not_fit" and not any(fix.fits for fix in found):
        found += _together(before, measurements)
    return sorted(found, key=_order)


def _suits(spec: RunSpec) -> bool:
    """Return whether the model has a place for the recipe: a changed spec is not checked again."""
    return spec.model.misfit(spec.train) is None


def _order(fix: Fix) -> tuple[bool, bool, float, int, int]:
    split = fix.disturbs == _SPLIT  # of these the larger micro-batch, which frees less, disturbs less
    saved = fix.saved_bytes if split else -fix.saved_bytes
    return (not fix.helps, not fix.same_maths, round(fix.slower or 0.0, 2), fix.disturbs, saved)


_HERE, _COMPILED, _SPLIT, _RECOMPUTED, _SEVERAL = range(5)


class _Change(NamedTuple):
    """One change; `disturbs` is its level, from one line of the script to several changes at once."""

    name: str
    spec: RunSpec
    why: str  # it does or does not help
    same_maths: bool = True
    disturbs: int = _HERE
    popular: bool = False


def _tried(before: Estimate, change: _Change, measurements: Sequence[Measurement]) -> Fix:
    after = estimate(change.spec, before.target, measurements=measurements)
    needed = before.use.needed.point if before.use else 0.0
    saved = needed - after.use.needed.point if after.use else 0.0
    return Fix(
        change.name,
        after,
        same_maths=change.same_maths,
        helps=needed > 0 and saved / needed >= LEAST_GAIN,
        why=change.why,
        disturbs=change.disturbs,
        popular=change.popular,
        saved_bytes=round(saved),
        slower=_slower(before, after),
    )


def _slower(before: Estimate, after: Estimate) -> float | None:
    """Return the share of time that the same tokens take more; None where the speed is unknown."""
    if before.step_seconds is None or after.step_seconds is None:
        return None
    measured = before.time_status == after.time_status  # else the change would be that from prior to measurement
    was, now = (found.step_seconds if measured else _prior_seconds(found) for found in (before, after))
    if was is None or now is None:
        return None
    change = middle(now) / after.spec.tokens_per_step / (middle(was) / before.spec.tokens_per_step) - 1
    unseen = not _on_cuda(after.spec) and abs(change) < _ALIKE  # a CPU's time is that of products and logits alone
    return None if unseen else change


def _prior_seconds(found: Estimate) -> tuple[float, float] | None:
    speed = speed_of(found.spec.train, found.target) if found.target else None
    return step_seconds(found.spec, speed) if speed else None


def _changes(before: Estimate) -> Iterator[_Change]:
    spec, train = before.spec, before.spec.train
    if train.loss.name == "full":
        yield _Change("chunked loss", spec.but(**_CHUNKED), "one chunk of logits at a time in place of all of them")
    if not train.compile and train.loss.name == "full":
        yield _Change(
            "compile=True, loss returned alone",
            spec.but(compile=True, returns_logits=False, keeps_logits=False),
            "log-softmax and its backward fuse: about 4 bytes a logit in place of about 12",
            disturbs=_COMPILED,
        )
    elif train.loss.returns_logits:
        yield _Change(
            "return the loss without the logits",
            spec.but(returns_logits=False, keeps_logits=False),
            "no zero tangent and no held copy of the logits",
        )
    yield from _smaller_micro_batch(spec)
    if train.checkpointing == "none":
        yield _Change(
            "activation checkpointing", recomputed := spec.but(checkpointing="block"),
            _blocks_share(before, recomputed), disturbs=_RECOMPUTED, popular=True,
        )  # fmt: skip
    if _on_cuda(spec) and not train.expandable_segments:
        yield _Change(
            "allocator: expandable_segments:True", spec.but(expandable_segments=True),
            "PYTORCH_ALLOC_CONF: the room between large blocks can be given back; on Linux",
        )  # fmt: skip
    if train.optimizer.implementation != "fused":
        yield _Change(
            f"fused {'SGD' if train.optimizer.name == 'sgd' else 'AdamW'}",
            spec.but(optimizer_impl="fused"),
            "the step itself allocates nothing",
        )
    if train.optimizer.name == "adamw" and _on_cuda(spec):
        yield _Change(
            "AdamW in 8 bits (bitsandbytes)", spec.but(optimizer="adamw_8bit", optimizer_impl="fused"),
            "two bytes a parameter in place of eight for the moments", same_maths=False,
        )  # fmt: skip
    yield from _popular_but_useless(spec)


def _on_cuda(spec: RunSpec) -> bool:
    return spec.device is None or spec.device.type == "cuda"


_CHUNKED = {"loss": "chunked", "returns_logits": False, "keeps_logits": False}


def _smaller_micro_batch(spec: RunSpec) -> Iterator[_Change]:
    train = spec.train
    for divisor in (2, 4):
        if train.micro_batch_size % divisor == 0:
            micro, accumulation = train.micro_batch_size // divisor, train.grad_accum_steps * divisor
            yield _Change(
                f"micro-batch {micro}, accumulation {accumulation}",
                spec.but(micro_batch_size=micro, grad_accum_steps=accumulation),
                "activations and logits shrink with the micro-batch; the step sees the same tokens",
                disturbs=_SPLIT,
            )


def _blocks_share(before: Estimate, recomputed: RunSpec) -> str:
    """Return what recomputing the blocks takes off the peak: the difference of two estimates."""
    assert before.memory is not None  # noqa: S101  # fixes() asks for no others
    share = 1 - estimate_memory(recomputed).allocated_bytes / before.memory.allocated_bytes
    return f"recomputing what the blocks keep takes {max(0.0, share):.0%} off the peak"


def _popular_but_useless(spec: RunSpec) -> Iterator[_Change]:
    """Yield advice that people are given and that frees nothing."""
    train = spec.train
    if train.grad_accum_steps > 2:
        fewer = max(2, train.grad_accum_steps * 3 // 4)
        why = "accumulation does not change the peak beyond its first micro-step; it only makes the batch smaller"
        yield _Change(f"accumulation {fewer}", spec.but(grad_accum_steps=fewer), why, same_maths=False, popular=True)
    if train.compile:
        why = "eager keeps 12 to 14 bytes a logit where compiled keeps 4 to 6"
        yield _Change("compile=False", spec.but(compile=False), why, popular=True)
    if train.dtype == "bfloat16":
        why = "fp16 and bf16 take the same bytes"
        yield _Change("dtype float16", spec.but(dtype="float16"), why, same_maths=False, popular=True)


def _together(before: Estimate, measurements: Sequence[Measurement]) -> Iterator[Fix]:
    """Yield several changes at once, for a run that no single one saves: of its micro-batches the largest that fits."""
    spec = before.spec
    chunked = _CHUNKED if spec.train.loss.name == "full" and _suits(spec.but(**_CHUNKED)) else {}
    prefix = "chunked, " if chunked else ""
    for ending, more, level in (("", {}, _SEVERAL), (", checkpointed", {"checkpointing": "block"}, _SEVERAL + 1)):
        for micro, accumulation in _halved(spec):
            changed = spec.but(micro_batch_size=micro, grad_accum_steps=accumulation, **chunked, **more)
            name = f"{prefix}micro-batch {micro}{ending}"
            fix = _tried(before, _Change(name, changed, "one change alone is not enough", disturbs=level), measurements)
            if fix.fits:
                yield fix
                break


def _halved(spec: RunSpec) -> Iterator[tuple[int, int]]:
    """Yield (micro-batch, accumulation) of ever smaller micro-batches with the same tokens a step."""
    micro, accumulation = spec.train.micro_batch_size, spec.train.grad_accum_steps
    yield micro, accumulation
    while micro % 2 == 0:
        micro, accumulation = micro // 2, accumulation * 2
        yield micro, accumulation
