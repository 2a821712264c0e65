"""The peak of many runs at once: the estimators' own lines, with arrays where a run has numbers. numpy's one door."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from fwplan.errors import FwplanError
from fwplan.estimators.memory import memory_lines, phases_of, unsupported
from fwplan.estimators.parameters import block_parameters, total_parameters
from fwplan.estimators.phases import Phase
from fwplan.estimators.sizes import Sizes, sizes
from fwplan.spec import DEFAULT_LOSS_CHUNK_TOKENS

if TYPE_CHECKING:
    import numpy.typing as npt

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
    if reason is None and spec.train.checkpointing == "block" and spec.train.checkpoint_every > 1:
        reason = "whether the top block is recomputed differs with the depth"
    if reason is not None:
        raise FwplanError(f"undecidable: {reason}", hint="estimate these one by one")
    arrays = np.broadcast_arrays(*(np.asarray(x, dtype=np.int64) for x in (n_layer, n_head, n_embd, micro_batch_size)))
    s = _many(spec, *arrays)
    lines = [(int(line.phases), line.bytes) for line in memory_lines(s, spec)]
    wanted = int(phases_of(s))
    peak = np.zeros(arrays[0].shape, dtype=np.int64)
    for bit in (phase.value for phase in Phase if phase.value & wanted):
        np.maximum(peak, sum(size for phases, size in lines if phases & bit), out=peak)
    return peak


def _many(spec: RunSpec, L: Any, H: Any, C: Any, B: Any) -> Sizes:
    s, model = sizes(spec), spec.model
    N = B * s.T
    recomputed = spec.train.checkpointing == "block"
    return replace(
        s,
        B=B,
        N=N,
        C=C,
        H=H,
        L=L,
        n=np.minimum(spec.train.loss_chunk_tokens or DEFAULT_LOSS_CHUNK_TOKENS, N),
        P=total_parameters(model, L, C),
        W=block_parameters(C, bias=model.bias),
        positions=model.context_length * C,
        linear=12 * C * C + (9 * C if model.bias else 0),
        K=0 * L if recomputed else L,
        R=L if recomputed else 0 * L,
    )
