"""Where a log and a config disagree: then the figures of one do not explain the other, and somebody should know."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fwplan.estimators.memory import estimate_memory
from fwplan.explaining.oom.guesses import VOCABULARIES, logits
from fwplan.explaining.oom.tensors import candidates, is_size, tells_size
from fwplan.units import gib, si

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fwplan.estimation.estimate import Estimate
    from fwplan.explaining.explanation import Explanation
    from fwplan.explaining.oom.log import Log
    from fwplan.explaining.oom.tensors import Candidate
    from fwplan.spec import RunSpec

_CAPACITY_OFF = 0.03  # a card's own total differs by less between drivers
_LIVE_OFF = 0.05


def contradictions(log: Log, explanation: Explanation, found: list[Candidate]) -> Iterator[str]:
    """Yield, as sentences, what the log says otherwise than the config."""
    estimate = explanation.estimate
    yield from _printed(log, estimate)
    yield from _compiled(log, estimate)
    yield from _foreach(log, estimate)
    yield from _device(log, explanation.loaded.spec)
    if estimate.memory is None:
        return
    yield from _capacity(log, estimate)
    yield from _size(log, estimate, found)
    yield from _live(log, estimate)


def _printed(log: Log, estimate: Estimate) -> Iterator[str]:
    spec = estimate.spec
    for name, ours, slack in (
        ("tokens_per_step", spec.tokens_per_step, 0),
        ("parameters_without_positions", estimate.parameters.non_position, 5001),  # printed in 0.01 M
        ("vocab_size", spec.model.vocab_size, 0),
        ("micro_batch_size", spec.train.micro_batch_size, 0),
        ("context_length", spec.model.context_length, 0),
    ):
        theirs = log.printed.get(name)
        if theirs is not None and abs(theirs - ours) > slack:
            said = f"{theirs:,.0f}" if theirs < 1e6 else si(theirs)
            config = f"{ours:,}" if ours < 1_000_000 else si(ours)
            yield f"the log prints {name.replace('_', ' ')} {said}, the config makes it {config}"


def _compiled(log: Log, estimate: Estimate) -> Iterator[str]:
    if log.compiled and not estimate.spec.train.compile:
        yield "the log is of a compiled run, the config says compile = False"


def _foreach(log: Log, estimate: Estimate) -> Iterator[str]:
    implementation = estimate.spec.train.optimizer.implementation
    if log.foreach and implementation != "foreach":
        yield f"the log's optimizer steps by foreach, the config's is {implementation.replace('_', ' ')}"


_MEMORY = {"cuda": "a CUDA device's", "xpu": "an Intel GPU's", "mps": "an Apple GPU's", "cpu": "the machine's own"}


def _device(log: Log, config: RunSpec | None) -> Iterator[str]:
    ours = config.device.type if config and config.device else "cuda"  # its own: the estimate's is the log's card
    theirs = "cuda" if log.message.backend == "hip" else log.message.backend  # torch calls both cuda
    if theirs != ours:
        there = f"; if it ran there: -- --device={theirs}" if theirs != "xpu" else ""
        yield f"the memory that ran out was {_MEMORY[theirs]}, the config's run takes {_MEMORY[ours]}{there}"


def _capacity(log: Log, estimate: Estimate) -> Iterator[str]:
    theirs = log.message.capacity
    ours = estimate.target.device.total_bytes if estimate.target else None
    if theirs is not None and ours and abs(theirs.bytes / ours - 1) > _CAPACITY_OFF:
        label = estimate.target.label if estimate.target else ""
        yield f"the log's card has {gib(theirs.bytes)}, {label} has {gib(ours)}"


def _size(log: Log, estimate: Estimate, found: list[Candidate]) -> Iterator[str]:
    """Yield why no tensor of this config is of the size asked for, as far as it can be told."""
    if found or not (log.strided or tells_size(log.message)):
        return
    spec = estimate.spec
    size = f"a tensor of {gib(log.strided.bytes)}" if log.strided else f"one of {gib(_asked(log))}"
    yield f"no tensor of this config asks for {size.removeprefix('a tensor of ').removeprefix('one of ')}"
    yield from _other_mode(log, spec)
    B, T, V = spec.train.micro_batch_size, spec.sequence_length, spec.model.vocab_size
    same = [one for one in logits(log, [T], [V]) if one.B != B]
    if same:
        other = " or ".join(f"{one.B} ({'fp32' if one.dtype == 'float32' else 'half'})" for one in same)
        yield f"it would be this config's logits with a micro-batch of {other} in place of {B}"
    for other_vocabulary in VOCABULARIES:
        match = next((one for one in logits(log, [T], [other_vocabulary]) if one.B == B), None)
        if match and other_vocabulary != V:
            yield f"it would be the logits with a vocabulary of {other_vocabulary:,} in place of {V:,}"
            return


def _asked(log: Log) -> float:
    return log.message.requested.bytes if log.message.requested else 0.0


def _other_mode(log: Log, spec: RunSpec) -> Iterator[str]:
    """Yield the mode in which the run would have such a tensor."""
    train = spec.train
    B, H, T = train.micro_batch_size, spec.model.n_head, spec.sequence_length
    for width, dtype in ((4, "fp32"), (2, "half precision")):
        if not spec.materialises_scores and is_size(log, width * B * H * T * T):
            shape = f"({B}, {H}, {T}, {T})"
            yield f"attention scores {shape} in {dtype} have that size: attention is not the {train.attention} kernel"
    if train.loss.name == "chunked":
        other = spec.but(loss="full", loss_chunk_tokens=None)
        if match := candidates(log, estimate_memory(other), spec.model):
            yield f"with a full loss it would be: {match[0].name}; the log's run does not chunk its loss"
            return
    other = spec.but(compile=not train.compile)
    if match := candidates(log, estimate_memory(other), spec.model):
        ours, theirs = ("compiled", "eager") if train.compile else ("eager", "compiled")
        yield (
            f"in an {theirs} step it would be: {match[0].name}"
            if theirs == "eager"
            else (f"in a {theirs} step it would be: {match[0].name}")
        )
        yield f"so the loss of the log's run is {theirs}, the config's {ours}"


def _live(log: Log, estimate: Estimate) -> Iterator[str]:
    live, use = log.message.allocated, estimate.use
    if live is None or use is None:
        return
    asked = log.strided.bytes if log.strided else _asked(log)
    if live.bytes + asked > use.allocated.high * (1 + _LIVE_OFF):
        peak = gib(use.allocated.high)
        yield (
            f"live tensors and the request were {gib(live.bytes + asked)}, more than this config's whole peak "
            f"({peak}): something that the config does not show was alive"
        )
