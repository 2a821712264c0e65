"""The peak of many runs at once: the tape's moments with arrays for numbers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from fwplan.errors import ExitCode, FwplanError
from fwplan.estimators.levels import device_use
from fwplan.estimators.memory import beside_tensors, relative_error, unsupported
from fwplan.estimators.moments.blocks import EVERY_NTH
from fwplan.estimators.moments.evaluate import peaks
from fwplan.estimators.moments.matrix import moments_of
from fwplan.estimators.moments.mode import mode_of, numbers
from fwplan.model.architecture import Dims
from fwplan.spec import defaults

if TYPE_CHECKING:
    import numpy.typing as npt

    from fwplan.estimators.levels import Corrections
    from fwplan.estimators.overhead import Range
    from fwplan.spec import RunSpec

    Ints = npt.NDArray[np.int64]


def peak_allocated(spec: RunSpec, sizes: Dims, *, micro_batch_size: Any) -> Ints:
    """Return the peak allocated bytes of a step of runs like spec, but of these sizes and micro-batches.

    Args:
        spec: gives the mode, the kind of model and all else that is the same for all.
        sizes: integers, or arrays that broadcast together; the result has their shape.
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
    n, B = Dims(*(np.asarray(x, dtype=np.int64) for x in sizes)), np.asarray(micro_batch_size, dtype=np.int64)
    E, every = spec.train.eval_micro_batch_size or 0, spec.train.checkpoint_every
    chunk = np.minimum(defaults.chunk_tokens(spec.train), B * spec.sequence_length)
    letters = numbers(spec, n, B=B, E=(B < E) * E, n=chunk)
    mode = mode_of(spec, evaluates=bool((B < E).any()))
    if mode.recompute in EVERY_NTH:  # the depth decides which of the two it is
        kept, recomputed = (peaks(moments_of(replace(mode, recompute=how)), letters) for how in EVERY_NTH)
        found = np.where((n.L - 1) % every, kept, recomputed)
    else:
        found = peaks(moments_of(mode), letters)
    return found + sum(line.bytes for line in beside_tensors(spec, letters["P"]))


def needed(spec: RunSpec, peak: Ints, above: Any, learned: Corrections | None) -> Range:
    """Return what runs like spec with these peaks need of the device, as estimate() says for each alone.

    above: what bytes_above() says of their micro-batches.
    """
    cuda = spec.device is None or spec.device.type == "cuda"
    high = (peak + above + relative_error(spec.train) * peak).astype(np.int64)
    return device_use(spec, _Peaks(peak, (peak, high)), "cuda" if cuda else "cpu", learned).needed


@dataclass(frozen=True)
class _Peaks:
    """What device_use asks of an estimated memory, with arrays. The low end is not known here and not used."""

    allocated_bytes: Any
    allocated_interval: tuple[Any, Any]
