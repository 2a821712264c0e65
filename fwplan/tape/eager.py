"""The ops of a transformer in eager torch: what each makes, keeps for backward, and makes in backward.

Each is held against traces of torch's own op. A backward empties the gradients that it is given and what it has kept,
in the order in which torch lets go of them. Names are what a user sees: a tensor is called by who keeps it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fwplan.tape import attention
from fwplan.tape.dtypes import BOOL, FLOAT32, INT64
from fwplan.tape.elementwise import RESIDUAL, Elementwise
from fwplan.tape.size import ONE, expression
from fwplan.tape.tape import Recomputed, Tensor

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fwplan.tape.attention import Sharing
    from fwplan.tape.dtypes import Dtype
    from fwplan.tape.size import Size
    from fwplan.tape.tape import Gradients, Leaf, Shape, Tape

SORTED_IDS = "embedding's sorted ids"
_SORTED_FROM = 3072  # ids: more are sorted first, aten/src/ATen/native/cuda/Embedding.cu


class Eager(Elementwise):
    """torch's eager ops on a tape. (B, T, ...) are shapes in letters."""

    def __init__(self, tape: Tape, kernel: attention.Kernel) -> None:
        super().__init__(tape)
        self.kernel = kernel

    def arange(self, size: Size) -> Tensor:
        """Return positions 0 to size, int64."""
        return self.tape.make("positions", (size,), INT64)

    def embedding(self, weight: Leaf, ids: Tensor) -> Tensor:
        """Return the weight's rows, (..., C); its gradient is dense, of the weight's whole shape."""
        tape, kept, count = self.tape, self.tape.keep(ids.storage), ids.numel
        shape, dtype = weight.tensor.shape, weight.tensor.dtype

        def backward(given: Gradients) -> Gradients:
            sorts = expression(f"({count!r}) > {_SORTED_FROM}")
            scratch = tape.new(SORTED_IDS, (2 * sorts * count,), INT64) if tape.cuda else None
            made = tape.make("gradient: embedding, dense", shape, dtype)
            del scratch
            given.clear()
            kept.clear()
            return [made]

        return tape.op([weight.tensor], tape.make("embeddings", (*ids.shape, shape[1]), dtype), backward, kept)

    def linear(self, x: Tensor, weight: Leaf, bias: Leaf | None = None, *, keeps: str, makes: str) -> Tensor:
        """Return x @ weight.T + bias: (..., in) -> (..., out). It keeps x, in the products' element type.

        Args:
            x: the input.
            weight: (out, in).
            bias: (out,), or none.
            keeps: what the kept input is called.
            makes: what the output is called.
        """
        tape, (outs, ins), lead = self.tape, weight.tensor.shape, x.shape[:-1]
        dtype = tape.products if tape.autocast else x.dtype
        w, b = self._for_products(weight, dtype), None if bias is None else self._for_products(bias, dtype)
        x = self.cast(x, dtype, keeps)
        kept = tape.keep(self.keep(x, keeps), w.storage)
        is_leaf, has_bias = w.node is weight, bias is not None

        def backward(given: Gradients) -> Gradients:
            gx = tape.make(f"gradient: {keeps}", (*lead, ins), dtype)
            gw = tape.make(f"gradient: {makes} weight", (outs, ins), dtype)
            gw.view = is_leaf  # a transposed view of the product; autocast's cast is a tensor of its own
            gb = tape.make(f"gradient: {makes} bias", (outs,), dtype) if has_bias else None
            given.clear()
            kept.clear()
            return [gx, gw, gb]

        return tape.op([x, w, b], tape.make(makes, (*lead, outs), dtype), backward, kept)

    def _for_products(self, leaf: Leaf, dtype: Dtype) -> Tensor:
        """Return a weight as a product takes it: autocast's copy, or one that the layer itself casts each time."""

        def cast() -> Tensor:
            return self.cast(leaf.tensor, dtype, "weight copies")

        return self.tape.autocast_copy(leaf, cast) if self.tape.autocast else cast()

    def layer_norm(
        self, x: Tensor, weight: Leaf, bias: Leaf | None = None, *, name: str = "LayerNorm", keeps: str
    ) -> Tensor:
        """Return x normalised, in x's element type; keeps x and each row's mean and 1/std."""
        tape, shape, dtype, has_bias = self.tape, x.shape, x.dtype, bias is not None
        w_shape, w_dtype = weight.tensor.shape, weight.tensor.dtype
        # CUDA's kernel computes them in fp32; the processor's in x's own type, unless its weights are wider
        of_row = FLOAT32 if tape.cuda else w_dtype
        out = tape.make(f"{name} outputs", shape, dtype)
        mean, scale = (tape.save(attention.STATISTICS, shape[:-1], of_row) for _ in range(2))
        kept = tape.keep(self.keep(x, keeps), mean, scale)
        del mean, scale

        def backward(given: Gradients) -> Gradients:
            gx = tape.make(f"gradient: {RESIDUAL}", shape, dtype)
            gw = tape.make(f"gradient: {name} weight", w_shape, w_dtype)
            gb = tape.make(f"gradient: {name} bias", w_shape, w_dtype) if has_bias else None
            given.clear()
            kept.clear()
            return [gx, gw, gb]

        return tape.op([x, weight.tensor, bias.tensor if bias else None], out, backward, kept)

    def rms_norm(self, x: Tensor, weight: Leaf | None = None, *, name: str = "RMSNorm", keeps: str) -> Tensor:
        """Return x over the root of its mean square, times a weight or none, in x's element type.

        One kernel on CUDA, which keeps x and each row's 1/root in fp32; on a processor a formula, in fp32.
        """
        tape, shape, dtype = self.tape, x.shape, x.dtype
        w = None if weight is None else self.cast(weight.tensor, dtype, "norm weights, half")
        if not tape.cuda:
            return self._rms_norm_by_formula(x, w, name, keeps)
        out = tape.make(f"{name} outputs", shape, dtype)
        kept = tape.keep(
            self.keep(x, keeps), tape.save(attention.STATISTICS, shape[:-1], FLOAT32), *([w.storage] if w else [])
        )

        def backward(given: Gradients) -> Gradients:
            gx = tape.make(f"gradient: {keeps}", shape, dtype)
            gw = tape.make(f"gradient: {name} weight", shape[-1:], dtype) if weight else None
            given.clear()
            kept.clear()
            return [gx, gw]

        return tape.op([x, w], out, backward, kept)

    def _rms_norm_by_formula(self, x: Tensor, weight: Tensor | None, name: str, keeps: str) -> Tensor:
        dtype, rows = x.dtype, (*x.shape[:-1], ONE)
        x = self.cast(x, FLOAT32, keeps)
        squares = self.square(x, keeps=keeps, makes=f"{name}: squares")
        back = self.one_gradient(f"{name}: squares", x.shape, FLOAT32)
        mean = self.tape.op([squares], self.tape.make(attention.STATISTICS, rows, FLOAT32), back)
        del squares
        scale = self.saturating(mean, attention.STATISTICS)
        out = self.mul(scale, x, keeps=keeps, makes=f"{name} outputs")
        del scale
        if weight is not None:
            out = self.mul(weight, out, keeps=f"{name} before its weight", makes=f"{name} outputs")
        return self.cast(out, dtype, f"{name} outputs")

    def dropout(self, x: Tensor, p: float, name: str) -> Tensor:
        """Return x with elements set to zero; keeps a mask: a byte an element on CUDA, x's own type on a processor."""
        tape = self.tape
        if not p or not tape.training:
            return x
        out = tape.make(name, x.shape, x.dtype)
        kept = tape.keep(tape.save("dropout masks", x.shape, BOOL if tape.cuda else x.dtype))
        return tape.op([x], out, self.one_gradient(name, x.shape, x.dtype, kept), kept)

    def split(self, x: Tensor, sizes: Sequence[Size], name: str) -> list[Tensor]:
        """Return views of x, cut along its last dimension; backward joins their gradients in a new tensor."""
        backward = self.one_gradient(f"{name}, joined", x.shape, x.dtype)
        whole = self.tape.op([x], x.alias(), backward, outputs=len(sizes))
        return [Tensor(x.storage, (*x.shape[:-1], size), x.dtype, whole.node, slot) for slot, size in enumerate(sizes)]

    def attention(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        *,
        n_head: Size,
        dropout: float = 0.0,
        window: Size | None = None,
        sharing: Sharing = "own",
    ) -> Tensor:
        """Return causal attention (B, T, H*D) of q (B, T, H*D) and k, v (B, T, G*D), by the run's kernel.

        window: how many others each token looks back at, which a mask tells the kernel; None: all. sharing: heads that
        share keys and values have them repeated, where the kernel takes no fewer heads of them.
        """
        masked = window is not None
        grouped, copied = sharing != "own", sharing == "several"
        if grouped and self.repeats(masked=masked):
            k, v = (self.repeated(x, q.shape, copied=copied) for x in (k, v))
        for x in (q, k, v):
            self.keep(x, "q, k, v")
        p = dropout if self.tape.training else 0.0
        mask = attention.window_mask(self.tape, q.shape[1]) if masked else None
        if self.kernel == "formula":
            return attention.by_formula(self, q, k, v, n_head, p, repeated=copied)
        flash = self.kernel == "flash" and not masked
        return attention.fused(self.tape, q, k, v, n_head, flash=flash, mask=mask, grouped=grouped)

    def repeats(self, *, masked: bool) -> bool:
        """Return whether the kernel takes as many heads of keys and values as of queries alone."""
        return masked or self.kernel == "formula" or (self.kernel == "efficient" and self.tape.cuda)

    def repeated(self, x: Tensor, shape: Shape, *, copied: bool) -> Tensor:
        """Return each key-value head (B, T, G*D) for every head that shares it, (B, T, H*D); one alone is a view."""
        backward = self.one_gradient("q, k, v of shared heads, summed", x.shape, x.dtype)
        out = self.tape.make("q, k, v", shape, x.dtype) if copied else Tensor(x.storage, shape, x.dtype)
        return self.tape.op([x], out, backward)

    def laid_out(self, x: Tensor, name: str) -> Tensor:
        """Return a copy in another layout; its gradient passes as it is."""
        return self.tape.op([x], self.tape.make(name, x.shape, x.dtype), lambda given: [given.pop()])

    def cross_entropy(self, logits: Tensor) -> Tensor:
        """Return the mean loss of logits (..., V): log-softmax, which keeps its output, and the pick of each target.

        Logits in half precision stay so in log-softmax, since cross_entropy_loss names their type to it
        (aten/src/ATen/native/LossNLL.cpp): CUDA's autocast widens only what nll_loss takes, a processor's all of it.
        """
        tape = self.tape
        if tape.autocast and not tape.cuda:
            logits = self.cast(logits, FLOAT32, "logits in fp32")
        soft = self._log_softmax(logits)
        if tape.autocast:
            soft = self.cast(soft, FLOAT32, "log-probabilities in fp32")
        kept = tape.keep(self.keep(soft, soft.storage.kind.name), tape.new("loss", (), FLOAT32))
        backward = self.one_gradient("log-probabilities", soft.shape, soft.dtype, kept)
        return tape.op([soft], tape.make("loss", (), FLOAT32), backward, kept)

    def _log_softmax(self, logits: Tensor) -> Tensor:
        shape, dtype = logits.shape, logits.dtype
        out = Tensor(self.tape.save("log-probabilities", shape, dtype), shape, dtype)
        kept = self.tape.keep(out.storage)
        return self.tape.op([logits], out, self.one_gradient("logits", shape, dtype, kept), kept)

    def returned(self, logits: Tensor) -> Tensor:
        """Return logits that the forward returns beside the loss."""
        return logits

    def output(self, x: Tensor) -> Tensor:
        """Return what the trunk returns to a loss of its own."""
        return x

    def block_output(self, x: Tensor) -> Tensor:
        """Return a block's output."""
        return x

    def watch(self, x: Tensor, call: Callable[[], None]) -> Tensor:
        """Return x; call is called when backward comes through here."""

        def backward(given: Gradients) -> Gradients:
            call()
            return [given.pop()]

        return self.tape.op([x], x.alias(), backward)

    def checkpoint(self, run: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        """Return run(x), of which x alone is kept: backward runs it again when it first asks for more.

        torch's checkpoint with use_reentrant=False: the graph is the forward's own, and recomputation stops early.
        """
        inputs = [x.alias()]
        block = Recomputed(lambda: run(inputs.pop()))
        with self.tape.checkpointing(block):
            out = run(x)
        self.keep(x, "checkpointed block inputs")
        return out
