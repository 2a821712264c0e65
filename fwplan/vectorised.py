"""The peak of many runs at once: the tape's moments, or a compiled run's own lines, with arrays for numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fwplan.budget import device_use
from fwplan.errors import ExitCode, FwplanError
from fwplan.estimators.line import phase_totals
from fwplan.estimators.memory import beside_tensors, compiled_memory_lines, phases_of, relative_error, unsupported
from fwplan.estimators.sizes import Sizes, sizes
from fwplan.estimators.tape.evaluate import peaks
from fwplan.estimators.tape.matrix import moments_of
from fwplan.estimators.tape.mode import mode_of, numbers
from fwplan.model.architecture import elements
from fwplan.spec import DEFAULT_LOSS_CHUNK_TOKENS

if TYPE_CHECKING:
    import numpy.typing as npt

    from fwplan.calibration import Calibration
    from fwplan.estimators.overhead import Range
    from fwplan.spec import RunSpec

    Ints = npt.NDArray[np.int64]


def peak_allocated(spec: RunSpec, *, n_layer: Any, n_head: Any, n_embd: Any, micro_batch_size: Any) -> Ints:
    """Return the peak allocated bytes of a step of runs like spec, but of these shapes and micro-batches.

    Args:
        spec: gives the mode, vocabulary, context and all else that is the same for all.
        n_layer: integers, or arrays that broadcast together; the result has their shape.
        n_head: likewise.
        n_embd: likewise; that the heads divide it is not checked.
        micro_batch_size: likewise.

    Raises:
        FwplanError: the mode's memory is undecidable, or cannot be taken many at a time.
    """
    reason = unsupported(spec)
    if reason is not None:
        raise FwplanError(
            f"undecidable: {reason}", hint="choose a mode that is modelled", exit_code=ExitCode.UNDECIDABLE
        )
    # not broadcast yet: what only the shape decides stays as small as the shapes
    arrays = [np.asarray(x, dtype=np.int64) for x in (n_layer, n_head, n_embd, micro_batch_size)]
    return _compiled(spec, *arrays) if spec.train.compile else _eager(spec, *arrays)


def _eager(spec: RunSpec, L: Any, H: Any, C: Any, B: Any) -> Ints:
    E = spec.train.eval_micro_batch_size or 0
    N = B * spec.sequence_length
    letters = numbers(spec, spec.model.sized(L, H, C), B=B, E=(B < E) * E, n=np.minimum(_chunk(spec), N))
    beside = sum(line.bytes for line in beside_tensors(spec, letters["P"]))
    found: Ints = peaks(moments_of(mode_of(spec, evaluates=bool((B < E).any()))), letters) + beside
    return found


def _compiled(spec: RunSpec, L: Any, H: Any, C: Any, B: Any) -> Ints:
    every = spec.train.checkpoint_every if spec.train.checkpointing == "block" else 1
    s = _many(spec, L, H, C, B)
    if every == 1:
        return _peak(s, spec)
    # whether the topmost block is recomputed decides which lines there are
    topmost, other = (_peak(s._replace(recomputes_top=top), spec) for top in (True, False))
    return np.where((L - 1) % every == 0, topmost, other)


def _chunk(spec: RunSpec) -> int:
    return spec.train.loss_chunk_tokens or DEFAULT_LOSS_CHUNK_TOKENS


def needed(spec: RunSpec, peak: Ints, above: Any, calibration: Calibration | None) -> Range:
    """Return what runs like spec with these peaks need of the device, as estimate() says for each alone.

    above: what bytes_above() says of their micro-batches.
    """
    cuda = spec.device is None or spec.device.type == "cuda"
    high = (peak + above + relative_error(spec.train) * peak).astype(np.int64)
    return device_use(spec, _Peaks(peak, (peak, high)), "cuda" if cuda else "cpu", calibration).needed


@dataclass(frozen=True)
class _Peaks:
    """What device_use asks of an estimated memory, with arrays. The low end is not known here and not used."""

    allocated_bytes: Any
    allocated_interval: tuple[Any, Any]


def _peak(s: Sizes, spec: RunSpec) -> Ints:
    shape = np.broadcast_shapes(*(np.shape(x) for x in (s.L, s.H, s.C, s.B)))
    peak = np.zeros(shape, dtype=np.int64)
    lines = [*compiled_memory_lines(s, spec), *beside_tensors(spec, s.P)]
    for total in phase_totals(lines, phases_of(s)).values():
        np.maximum(peak, total, out=peak)
    return peak


def _many(spec: RunSpec, L: Any, H: Any, C: Any, B: Any) -> Sizes:
    s, model = sizes(spec), spec.model
    N = B * s.T
    E = spec.train.eval_micro_batch_size or 0
    R = -(-L // spec.train.checkpoint_every) if spec.train.checkpointing == "block" else 0 * L
    return s._replace(
        B=B,
        N=N,
        C=C,
        H=H,
        L=L,
        n=np.minimum(_chunk(spec), N),
        P=model.parameters(model.sized(L, H, C)),
        W=elements(model.block(model.sized(L, H, C))),
        positions=model.context_length * C,
        linear=12 * C * C + (9 * C if model.bias else 0),
        K=L - R,
        R=R,
        evaluates=bool((B < E).any()),
        evaluated=(B < E) * (E * s.T),
    )
