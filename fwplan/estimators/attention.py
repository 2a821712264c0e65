"""What attention keeps where its scores are materialised, and what dropout's masks take.

S = B*H*T*T is the number of scores. Softmax's output is kept, w bytes a score; under autocast on CUDA, where softmax
runs in fp32, its copy in the matmul's dtype too; with dropout the masks, m bytes an element: one byte on CUDA
(native_dropout), the input's dtype on CPU. A flash kernel keeps none of these, and draws its masks again in backward.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fwplan.estimators.kept import block_bytes, kept_bytes, mask_width, scores, softmax_width
from fwplan.estimators.line import Line
from fwplan.estimators.phases import Phase
from fwplan.estimators.sizes import largest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fwplan.estimators.sizes import Sizes

_KEPT = (
    Phase.LOSS_FORWARD
    | Phase.LOSS_WEIGHT_GRADIENT
    | Phase.LOSS_BACKWARD
    | Phase.HEAD_BACKWARD
    | Phase.TOP_BLOCK_BACKWARD
)
_TRACED = "traced op by op: softmax(masked_fill(q k^T)) v; gollem's rows with attention by formula"
_MASKS = "traced: torch.native_dropout keeps one byte an element on CUDA; on CPU a mask in the input's dtype"
_TOP, _BOTTOM = Phase.TOP_ATTENTION_BACKWARD, Phase.BOTTOM_ATTENTION_BACKWARD


def attention_lines(s: Sizes) -> Iterator[Line]:
    """Yield the (B, H, T, T) scores that are kept, the masks of dropout, and the backward of attention."""
    if s.cuda and not s.scores:
        yield _flash_line(s)
    if not (s.scores or s.dropout):
        return
    kept, here = kept_bytes(s), Phase.BOTTOM_BLOCK_BACKWARD
    if s.recomputes_top:
        here |= Phase.TOP_BLOCK_BACKWARD
    formula = _kept_formula(s)
    yield Line("scores and dropout masks", s.K * kept, None, None, _KEPT, "saved", f"K * ({formula})", _TRACED)
    yield Line("scores and dropout masks: this block", kept, None, None, here, "saved", formula, _TRACED)
    if s.dropout:
        m, dtype = (1, "bool") if s.cuda else (s.r, s.r_dtype)
        yield Line(
            "dropout mask: embedding", m * s.N * s.C, (s.B, s.T, s.C), dtype,
            _KEPT | _TOP | Phase.BOTTOM_BLOCK_BACKWARD | _BOTTOM, "saved", "m*N*C", _MASKS,
        )  # fmt: skip
    if s.scores and not s.compiled:
        yield from _backward_lines(s)


def _kept_formula(s: Sizes) -> str:
    parts = ["(w + c + m)*B*H*T*T + T*T"] if s.scores else []
    return " + ".join([*parts, *(["2*m*N*C"] if s.dropout else [])])


def _flash_line(s: Sizes) -> Line:
    """Return what a flash kernel's backward takes beyond the widest moment of its block's MLP.

    It is wider with few tokens only, or short sequences: the kernel rounds T up to 128 tokens and a head's width up to
    32 for dq in fp32. The gradients of the block's other weights are there by then, its MLP's tensors are not.
    """
    scratch = 4 * s.B * s.H * (-(-s.T // 128) * 128) * (-(-s.C // s.H // 32) * 32 + 1) if s.flash else 0
    C2, u = s.C * s.C, s.N * s.C
    here = (2 * s.r + 9 * s.a) * u + 4 * s.N * s.H + (0 if s.accumulates else 9 * s.p * C2)
    product, cast = (5 * s.a * u + 4 * s.a * C2, 4 * s.p * C2) if s.autocast else (4 * s.a * u + 4 * s.a * C2, 0)
    there = block_bytes(s) + s.r * u + largest(product, cast) + (9 * s.a * C2 if s.autocast else 0)
    return Line(
        "flash attention's backward, beyond the MLP's", largest(scratch + here - there, 0), None, None,
        Phase.TOP_BLOCK_BACKWARD | Phase.BOTTOM_BLOCK_BACKWARD, "transient",
        "4*B*H*T'*(D' + 1) + 9*p*C*C less the MLP's, where positive",
        "FlashAttention 2's dq_accum: aten/src/ATen/native/transformers/cuda/flash_attn/flash_api.cpp",
    )  # fmt: skip


def _backward_lines(s: Sizes) -> Iterator[Line]:
    """Yield what is alive while softmax's backward runs, in the top and in the bottom block.

    The block's MLP is done by then. The blocks below are whole; of this one are left its input, the LayerNorm's output,
    q, k and their weight, of the scores softmax's output and the mask, and gradients: of the residual stream, of v, of
    the block's other weights, and of the scores before and after softmax's backward.
    """
    both, linear = _TOP | _BOTTOM, s.a if s.autocast else 0
    held = scores(s) * (3 * softmax_width(s) + mask_width(s)) + s.T * s.T
    yield Line(
        "scores in backward", held, (s.B, s.H, s.T, s.T), None, both, "transient", "(3*w + m)*B*H*T*T + T*T", _TRACED
    )
    tensors = 6 if s.dropout and not s.autocast else 4  # widest before v and the output's gradient go, or after
    gradients = 0 if s.accumulates else 9 * s.p * s.C * s.C
    yield Line(
        "attention: input, q, k, gradients",
        (2 * s.r + tensors * s.a) * s.N * s.C + 3 * linear * s.C * s.C + gradients, None, None, both, "saved",
        "(2*r + 4*a)*N*C + 3*a*C*C + 9*p*C*C", _TRACED,
    )  # fmt: skip
    top = 1 if s.recomputes_top else 0
    below = (s.K - 1 + top) * (block_bytes(s) + kept_bytes(s) + linear * s.linear) + (s.R - top) * s.r * s.N * s.C
    yield Line("blocks below", below, None, None, _TOP, "saved", "what they keep", _TRACED)
