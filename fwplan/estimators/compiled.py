"""What a step compiled by torch.compile holds: read from AOTAutograd's graphs and from real steps, not fitted.

Four things differ from eager; benchmarks/compiled_graph.py reads the first two from the graphs and checks them here.

- What is saved. The min-cut partitioner keeps per token and width element the same 2 r + 14 a bytes of a block as
  eager, but of a LayerNorm its normalised input and one fp32 number a token (1/std), not two. Over the blocks it keeps
  r + a more (the final LayerNorm's normalised input, the head's input): 36 + 6/12 = 36.5 bytes a token, layer and width
  for 12 blocks under bf16 autocast. A LayerNorm behind a recomputed block keeps nothing: its input is recomputed.
- The head's gradient. Under autocast it stays in half precision until the very end, where its cast, its sum with a
  tied embedding's gradient and the result are one kernel. Where no cast stands between (fp32, pure bf16) the product
  and the sum become one addmm there, so the logits' gradient and the head's input live until the end of backward.
- The order. Inductor takes a weight's gradient before the gradient of its input, so that a saved tensor goes first.
- Reuse. A freed buffer is kept for the next of its size, so one MLP hidden layer stays beside what follows it.

Seen on CPU with torch 2.13; with the flash kernel's CUDA operator in its place the graph saves the same. That the addmm
is formed on CUDA too is inferred from inductor's pass for newer torch, and contradicted by a row of torch 2.5.1: CUDA
is estimated without it. Left out, on CPU: oneDNN's scratch for half-precision matmuls, about 0.5 KiB a token.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fwplan.estimators.compiled_evaluation import compiled_evaluation_lines
from fwplan.estimators.compiled_loss import chunked_or_full, defers_head, head_gradient_lines
from fwplan.estimators.line import Line
from fwplan.estimators.phases import STEP_PHASES, Phase
from fwplan.estimators.sizes import has_bias, largest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fwplan.estimators.sizes import Sizes
    from fwplan.spec import RunSpec

_SAVED = "saved by AOTAutograd's partitioner: benchmarks/compiled_graph.py"
_REAL = "real compiled CPU steps, torch 2.13: the tensors alive at the peak"
_RETURNED = "a compiled backward returns all its gradients at its end"
_CAST = "autocast's cast of the weight, kept for the gradient of the layer's input"
_MATH = "read from the compiled graph: sdpa's decomposition, softmax in fp32"
_LOSS = Phase.LOSS_FORWARD | Phase.LOSS_WEIGHT_GRADIENT | Phase.LOSS_BACKWARD
_UP_TO_HEAD = _LOSS | Phase.HEAD_BACKWARD
_UP_TO_TOP = _UP_TO_HEAD | Phase.TOP_BLOCK_BACKWARD
_BOTTOM = Phase.BOTTOM_BLOCK_BACKWARD
_BLOCK = Phase.TOP_BLOCK_BACKWARD | _BOTTOM
_END = Phase.END_OF_BACKWARD


def compiled_lines(s: Sizes, spec: RunSpec) -> list[Line]:
    """Return what a compiled step holds beside weights, moments, batch and what the optimizer's step needs."""
    return [
        *_gradient_lines(s),
        *head_gradient_lines(s),
        *_saved_lines(s),
        *_block_lines(s, bias=has_bias(spec)),
        *_backward_lines(s),
        *_attention_lines(s, spec),
        *chunked_or_full(s, spec.train),
        *compiled_evaluation_lines(s),
    ]


def block_bytes(s: Sizes) -> int:
    """Return what one block keeps: N*C*(2 r + 14 a), 1/std of two LayerNorms and attention's log-sum-exp in fp32."""
    return s.N * s.C * (2 * s.r + 14 * s.a) + _statistics(s)


def _statistics(s: Sizes) -> int:
    return 4 * s.N * (2 + s.H)


def _saved_lines(s: Sizes) -> Iterator[Line]:
    """Yield what all blocks keep from their forward until backward reaches them."""
    width, u = (s.B, s.T, s.C), s.N * s.C
    behind = (s.R - s.recomputes_top) * (s.K > 0)  # kept blocks that follow a recomputed one
    yield Line(
        "LayerNorm inputs", s.r * u * (2 * s.K - behind), width, s.r_dtype, _UP_TO_TOP, "saved",
        "K * 2*r*N*C" if isinstance(behind, int) and not behind else f"(2*K - R{' + 1' * s.recomputes_top}) * r*N*C",
        _SAVED,
    )  # fmt: skip
    for name, count, formula in (
        ("LayerNorm outputs", 2, "K * 2*a*N*C"),
        ("q, k, v", 3, "K * 3*a*N*C"),
        ("attention outputs", 1, "K * a*N*C"),
    ):
        yield Line(name, count * s.a * u * s.K, width, s.a_dtype, _UP_TO_TOP, "saved", formula, _SAVED)
    for name in ("MLP hidden, before GELU", "MLP hidden, after GELU"):
        yield Line(name, 4 * s.a * u * s.K, (s.B, s.T, 4 * s.C), s.a_dtype, _UP_TO_TOP, "saved", "K * 4*a*N*C", _SAVED)
    yield Line(
        "norm and attention statistics", _statistics(s) * s.K + 8 * s.N, None, "float32", _UP_TO_TOP, "saved",
        "K * 4*N*(2 + H) + 8*N", _SAVED,
    )  # fmt: skip
    yield Line(
        "checkpointed block inputs", s.r * u * s.R, width, s.r_dtype, _UP_TO_TOP, "saved", "R * r*N*C", _SAVED
    )  # fmt: skip
    yield Line(
        "position embeddings", s.r * s.T * s.C, (s.T, s.C), s.r_dtype, _UP_TO_TOP | _BOTTOM, "saved", "r*T*C",
        "the bottom block's first LayerNorm adds its input up again, from both embeddings; " + _SAVED,
    )  # fmt: skip
    if not s.recomputes_top:
        yield Line("final LayerNorm input", s.r * u, width, s.r_dtype, _UP_TO_HEAD, "saved", "r*N*C", _SAVED)


def _block_lines(s: Sizes, *, bias: bool) -> Iterator[Line]:
    """Yield what a block holds while backward is in it, and autocast's copies of the weights."""
    yield Line(
        "activations: bottom block", block_bytes(s), None, None, _BOTTOM, "saved",
        "N*C*(2*r + 14*a) + 4*N*(2 + H)", _SAVED,
    )  # fmt: skip
    if s.recomputes_top:
        yield Line(
            "recomputed: top block", block_bytes(s), None, None, Phase.TOP_BLOCK_BACKWARD, "transient",
            "N*C*(2*r + 14*a) + 4*N*(2 + H)", "the block again and, for the LayerNorm behind it, its output; " + _REAL,
        )  # fmt: skip
    if not s.autocast:
        return
    formula = "a*(12*C*C + 9*C)" if bias else "a*12*C*C"
    yield Line("weight copies", s.a * s.linear * s.K, None, s.a_dtype, _UP_TO_TOP, "saved", f"K * {formula}", _CAST)
    in_backward = _BLOCK if s.recomputes_top else _BOTTOM
    yield Line(
        "weight copies: block in backward", s.a * s.linear, None, s.a_dtype, in_backward, "saved", formula, _CAST
    )


def _backward_lines(s: Sizes) -> Iterator[Line]:
    """Yield the transients of a block's backward, the widest where its MLP's output projection gets its gradient.

    The weight's comes first and lets the GELU's output go before the hidden layer's gradient is made. A recomputed
    block is widest later, in its attention's backward, beside a hidden layer kept for reuse.
    """
    width, u = (s.B, s.T, s.C), s.N * s.C
    at_end = Phase(0) if s.tied and not s.chunked else _END  # a tied sum comes after the embedding's gradient took it
    yield Line(
        "gradient: residual stream", s.r * u, width, s.r_dtype, _BLOCK | at_end, "transient", "r*N*C", _REAL
    )  # fmt: skip
    here = _BOTTOM if s.recomputes_top else _BLOCK  # a recomputed top block is widest before its own backward begins
    if s.autocast:
        yield Line("gradient: MLP output", s.a * u, width, s.a_dtype, here, "transient", "a*N*C", _REAL)
        yield Line(
            "gradient: bottom block's q, k, v weight, half", 3 * s.a * s.C * s.C, (3 * s.C, s.C), s.a_dtype, _END,
            "transient", "3*a*C*C", "cast when all is done; " + _REAL,
        )  # fmt: skip
    yield Line(
        "gradient: MLP output weight", 4 * s.a * s.C * s.C, (s.C, 4 * s.C), s.a_dtype, here, "transient",
        "4*a*C*C", _REAL,
    )  # fmt: skip
    if s.autocast:
        cast = largest(4 * s.p * s.C * s.C - 4 * s.a * u, 0)
        yield Line(
            "gradient: MLP output weight, cast", cast, (s.C, 4 * s.C), s.p_dtype, here, "transient",
            "max(4*p*C*C - 4*a*N*C, 0)", _REAL,
        )  # fmt: skip
    if s.recomputes:
        yield Line(
            "gradient: attention, recomputed block", 4 * s.a * u, None, s.a_dtype, _BOTTOM, "transient", "4*a*N*C",
            _REAL,
        )  # fmt: skip


def _gradient_lines(s: Sizes) -> Iterator[Line]:
    """Yield the weights' gradients but the head's: what has accumulated, and this micro-step's until all are returned.

    The embedding's own is made in fp32 also where the weights are bf16 (index_put's accumulation) and cast after.
    """
    if s.accumulates:
        yield Line("gradients", s.p * s.P, None, s.p_dtype, STEP_PHASES, "persistent", "p*P", _RETURNED)
    to_step = Phase(0) if s.accumulates else Phase.OPTIMIZER_STEP
    name = "fresh gradients" if s.accumulates else "gradients"
    yield Line(
        f"{name}: upper blocks", s.p * s.W * (s.L - 1), None, s.p_dtype, _BOTTOM | _END | to_step, "saved",
        "p*W*(L-1)", _RETURNED,
    )  # fmt: skip
    yield Line(
        f"{name}: bottom block", s.p * (s.W + s.positions), None, s.p_dtype, _END | to_step, "saved",
        "p*(W + positions)", _RETURNED,
    )  # fmt: skip
    if not s.accumulates:
        yield Line(
            "gradient: embedding", s.p * s.V * s.C, (s.V, s.C), s.p_dtype, Phase.OPTIMIZER_STEP, "saved",
            "p*V*C", _RETURNED,
        )  # fmt: skip
    yield Line(
        "gradient: embedding, dense", 4 * s.V * s.C, (s.V, s.C), "float32", _END, "transient", "4*V*C",
        "inductor's index_put over zeros of the full weight, in fp32",
    )  # fmt: skip
    if s.p != 4 and not defers_head(s):
        yield Line(
            "gradient: embedding, cast", s.p * s.V * s.C, (s.V, s.C), s.p_dtype, _END, "transient", "p*V*C", _REAL
        )


def _attention_lines(s: Sizes, spec: RunSpec) -> Iterator[Line]:
    """Yield score matrices and masks.

    Math attention in fp32 never computes scores: inductor's pattern matcher replaces it by a fused kernel and an fp32
    (T, T) mask a layer. In half precision the decomposition casts to fp32, no pattern matches, and the probabilities
    are kept once, in fp32 (eager keeps a copy in half precision too). On CPU dropout inside attention has no fused
    kernel either. Dropout keeps boolean masks, one byte an element, on any device: they are not drawn again.
    """
    dropout = spec.model.dropout > 0
    math = spec.train.attention == "math" or (dropout and not s.cuda)
    if math and spec.train.dtype == "float32" and not dropout:
        yield Line(
            "causal masks", 4 * s.T * s.T * s.K, (s.T, s.T), "float32", _UP_TO_TOP, "saved", "K * 4*T*T",
            "inductor's sfdp patterns: fused attention with a mask",
        )  # fmt: skip
        yield Line(
            "attention outputs, laid out again", s.a * s.N * s.C * s.K, (s.B, s.T, s.C), s.a_dtype, _UP_TO_TOP, "saved",
            "K * a*N*C", "the pattern leaves a copy between the fused kernel and the projection, and both are kept",
        )  # fmt: skip
    elif math:
        yield from _score_lines(s, 5 if dropout else 4)
    if dropout:
        yield Line(
            "dropout masks", s.N * s.C * (2 * s.K + 1), (s.B, s.T, s.C), "bool", _UP_TO_TOP, "saved",
            "(2*K + 1) * N*C", _SAVED,
        )  # fmt: skip


def _score_lines(s: Sizes, width: int) -> Iterator[Line]:
    scores, shape = s.B * s.H * s.T * s.T, (s.B, s.H, s.T, s.T)
    unit = f"{width}*B*H*T*T"
    yield Line(
        "attention probabilities", s.K * width * scores, shape, "float32", _UP_TO_TOP, "saved", f"K * {unit}", _MATH
    )
    here = _BOTTOM | (Phase.TOP_BLOCK_BACKWARD if s.recomputes_top else Phase(0))
    yield Line("attention probabilities: this block", width * scores, shape, "float32", here, "saved", unit, _MATH)
    if s.a != 4 and not s.autocast:
        yield Line(
            "q, k, v in fp32", 6 * s.N * s.C * s.K, (s.B, s.T, s.C), "float32", _UP_TO_TOP, "saved",
            "K * 3*(4 - a)*N*C", _MATH,
        )  # fmt: skip
    beyond = largest(2 * s.a * scores - s.N * s.C * (8 * s.a + s.r), 0)
    yield Line(
        "gradient: attention scores", beyond, shape, s.a_dtype, _BLOCK, "transient",
        "max(2*a*B*H*T*T - N*C*(8*a + r), 0)",
        "by then the MLP's hidden layers and its LayerNorm's input are gone; " + _REAL,
    )  # fmt: skip
