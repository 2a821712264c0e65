"""The ops of a transformer under torch.compile: what AOTAutograd saves, what inductor fuses, in which order it runs.

Pointwise ops make nothing (graph.py). Saved for backward are, by the min-cut partitioner's choice:

- the inputs of products and attention: to compute them again would be to write them again;
- of a norm its normalised input, in the input's own element type, and fp32 numbers a row. Not where the input is
  computed again anyway: of embeddings from both look-ups, behind a recomputed block or in one from what is there;
- of a pointwise chain what it starts from, since it is computed again;
- dropout's masks, a byte an element on any device: they are not drawn again;
- autocast's copies of weights, for the gradients of the products' inputs.

In backward a product takes the weight's gradient before its input's, so that a saved tensor goes first; the weight's is
cast by the next kernel. Views are free. All gradients of weights are returned at the graph's end.

benchmarks/compiled_graph.py reads what is saved from the graphs themselves and checks it here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fwplan.tape import attention, fused_attention
from fwplan.tape.dtypes import FLOAT32
from fwplan.tape.elementwise import RESIDUAL
from fwplan.tape.fused_pointwise import Pointwise
from fwplan.tape.graph import is_looked_up, is_unmade, needed, unmade_of, written
from fwplan.tape.tape import Recomputed, Tensor

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fwplan.tape.attention import Sharing
    from fwplan.tape.graph import GraphTape
    from fwplan.tape.size import Size
    from fwplan.tape.tape import Backward, Gradients, Kept, Leaf, Shape, Storage

PADDED_TO = 8  # elements: sides of half-precision products on CUDA, torch/_inductor/fx_passes/pad_mm.py


class Fused(Pointwise):
    """torch's ops in a compiled function.

    Args:
        tape: what they run on.
        kernel: of attention.
        donated: whether the backward may write over what the forward has saved.
        padded: sides of products that are no multiple of 8, so that a gradient is padded for one.
    """

    def __init__(self, tape: GraphTape, kernel: attention.Kernel, *, donated: bool, padded: frozenset[Size]) -> None:
        super().__init__(tape, kernel)
        self.donated, self.padded = donated, padded

    # Norms

    def layer_norm(
        self, x: Tensor, weight: Leaf, bias: Leaf | None = None, *, name: str = "LayerNorm", keeps: str
    ) -> Tensor:
        """Return x normalised, in x's element type."""
        return self._norm(x, weight, bias, name, keeps)

    def rms_norm(self, x: Tensor, weight: Leaf | None = None, *, name: str = "RMSNorm", keeps: str) -> Tensor:
        """Return x over the root of its mean square, times a weight or none, in x's element type."""
        return self._norm(x, weight, None, name, keeps)

    def _norm(self, x: Tensor, weight: Leaf | None, bias: Leaf | None, name: str, keeps: str) -> Tensor:
        shape, dtype = x.shape, x.dtype
        kept, made_from = self._normalised(x, keeps)
        out = self.tape.unmade(f"{name} outputs", shape, dtype, made_from)
        unmade_of(out).once = True
        leaves = [None if leaf is None else leaf.tensor for leaf in (weight, bias)]
        return self.tape.op([x, *leaves], out, self._norm_backward(name, x, leaves, kept), kept)

    def _norm_backward(self, name: str, x: Tensor, leaves: Sequence[Tensor | None], kept: Kept) -> Backward:
        tape, like = self.tape, (x.shape, x.dtype)
        of_leaves = [None if leaf is None else (leaf.shape, leaf.dtype) for leaf in leaves]

        def backward(given: Gradients) -> Gradients:
            sources = [*(y.storage for y in given if y), *kept]
            given.clear()
            kept.clear()
            of_x = tape.unmade(f"gradient: {RESIDUAL}", *like, sources)
            name_of = f"gradient: {name} weights"
            return [of_x, *(None if leaf is None else tape.unmade(name_of, *leaf, sources) for leaf in of_leaves)]

        return backward

    def _normalised(self, x: Tensor, keeps: str) -> tuple[Kept, list[Storage]]:
        """Return what a norm keeps of its input, and what its output is computed from."""
        tape, block = self.tape, getattr(x.storage, "behind", None)
        if not tape.keeps_at_once:  # no gradient, or a recomputed block's first run
            return tape.keep(), [x.storage]
        if block is not None and not tape.running_again:
            return block.keep(()), [x.storage]  # the block, run again, gives it
        rows = tape.save(attention.STATISTICS, x.shape[:-1], FLOAT32)
        if tape.running_again or is_looked_up(x):
            mean = tape.save(attention.STATISTICS, x.shape[:-1], FLOAT32)
            found = list(dict.fromkeys(needed(x.storage)))
            tape.write(*found)
            return tape.keep(*found, rows, mean), [x.storage, rows, mean]
        normal = tape.save(keeps, x.shape, x.dtype)
        return tape.keep(normal, rows), [normal]

    # Products

    def linear(self, x: Tensor, weight: Leaf, bias: Leaf | None = None, *, keeps: str, makes: str) -> Tensor:
        """Return x @ weight.T + bias: (..., in) -> (..., out), in the products' element type."""
        tape, (outs, ins), lead = self.tape, weight.tensor.shape, x.shape[:-1]
        dtype = tape.products if tape.autocast else x.dtype
        w, b = (None if leaf is None else self.cast(leaf.tensor, dtype, "weight copies") for leaf in (weight, bias))
        assert w is not None  # noqa: S101  # a weight is there
        x = self.cast(x, dtype, keeps)
        self.keep(x, keeps)
        if tape.asks_for_no_more:  # a re-run block's last product is not run: its input waits for the weight's gradient
            (w,) = self.write(w)
        else:
            x, w = self.write(x, w)
        kept = tape.keep(x.storage, w.storage)
        out = tape.make(makes, (*lead, outs), dtype)
        waits = weight.tensor.storage is w.storage and not tape.cuda

        def backward(given: Gradients) -> Gradients:
            tape.write(*[y.storage for y in given if y])
            gb = None if b is None else tape.make(f"gradient: {makes} bias", (outs,), dtype)
            gw = self._weight_gradient(
                f"gradient: {makes} weight", (outs, ins), given, kept, waits=waits and weight.due > 1
            )
            del kept[0]
            if outs in self.padded:
                wide = (*lead, attention.up(outs, PADDED_TO))
                given[:] = [tape.make(f"gradient: {makes}, padded", wide, dtype)]
            gx = tape.make(f"gradient: {keeps}", (*lead, ins), dtype)
            given.clear()
            kept.clear()
            return [gx, gw, gb]

        return tape.op([x, w, b], out, backward, kept)

    def _weight_gradient(self, name: str, shape: Shape, given: Gradients, kept: Kept, *, waits: bool) -> Tensor:
        """Return a product's weight's gradient.

        Where a re-run block has not made the product's input yet, it comes after the kernel that does.

        A tied head's, where no cast stands between, waits: inductor makes the product and the sum with the embedding's
        gradient one addmm at the end, so its operands wait too. Seen on a processor with torch 2.13; inferred for CUDA
        from the same pass, and contradicted by a row of torch 2.5.1: CUDA is estimated without it.
        """
        dtype = self.tape.products
        if not waits and not is_unmade(kept[0]):
            return self.tape.make(name, shape, dtype)
        late = self.tape.unmade(name, shape, dtype, [kept[0], *(y.storage for y in given if y)])
        unmade_of(late).product = True
        return late

    def copied(self, x: Tensor, name: str) -> Tensor:
        """Return a copy in another layout, written; its gradient passes as it is."""
        return self.tape.op([x], self.tape.make(name, x.shape, x.dtype), lambda given: [given.pop()])

    def split(self, x: Tensor, sizes: Sequence[Size], name: str) -> list[Tensor]:
        """Return views of x, cut along its last dimension; backward joins their gradients in a new tensor."""
        tape = self.tape

        def backward(given: Gradients) -> Gradients:
            joined = tape.unmade(f"gradient: {name}, joined", x_shape, x_dtype, [y.storage for y in given if y])
            given.clear()
            return [joined]

        (x,), x_shape, x_dtype = self.write(x), x.shape, x.dtype
        whole = tape.op([x], x.alias(), backward, outputs=len(sizes))
        return [Tensor(x.storage, (*x.shape[:-1], size), x.dtype, whole.node, slot) for slot, size in enumerate(sizes)]

    def attention(
        self, q: Tensor, k: Tensor, v: Tensor, *, n_head: Size, dropout: float = 0.0, window: Size | None = None,
        sharing: Sharing = "own",
    ) -> Tensor:  # fmt: skip
        """Return causal attention (B, T, H*D) of q (B, T, H*D) and k, v (B, T, G*D), by the run's kernel."""
        masked, grouped = window is not None, sharing != "own"
        if grouped and self.repeats(masked=masked):
            k, v = (self.repeated(x, q.shape, copied=sharing == "several") for x in (k, v))
        q, k, v = self.write(q, k, v, name="q, k, v")
        p = dropout if self.tape.training else 0.0
        mask = attention.window_mask(self.tape, q.shape[1]) if masked else None
        if self.kernel == "formula":
            out = fused_attention.by_formula(self, q, k, v, n_head, p)
        else:
            flash = self.kernel == "flash" and mask is None
            out = attention.fused(self.tape, q, k, v, n_head, flash=flash, mask=mask, grouped=grouped)
        return self._gradient_written(out)

    # Loss

    def cross_entropy(self, logits: Tensor) -> Tensor:
        """Return the mean loss of logits (..., V).

        Log-softmax and its backward fuse: of the logits' shape only they and their gradient exist, both in the
        products' element type, with the maximum and the log of the sum in fp32. That is 4 bytes a logit under bf16
        autocast, what the gollem rows (torch 2.5.1, CUDA) show. From torch 2.6 on the logits are a donated buffer and
        the gradient is written over them: 2 bytes, seen on a processor with torch 2.13.
        """
        tape, shape, dtype = self.tape, logits.shape, logits.dtype
        found = list(dict.fromkeys(needed(logits.storage)))
        rows = [tape.save("max and log-sum of the logits", shape[:-1], FLOAT32) for _ in range(2)]
        kept = tape.keep(*found, *rows)
        del found, rows

        def backward(given: Gradients) -> Gradients:
            tape.in_backward_graph = True
            given.clear()
            over = written(kept[0]) if self.donated else None
            made = tape.unmade("gradient: logits", shape, dtype, kept, over)
            kept.clear()
            return [made]

        return tape.op([logits], tape.make("loss", (), FLOAT32), backward, kept)

    def returned(self, logits: Tensor) -> Tensor:
        """Return logits that the compiled function returns too: AOTAutograd materialises a zero tangent for them."""
        tape, name, shape, dtype = self.tape, logits.storage.kind.name, logits.shape, logits.dtype
        tape.write(logits.storage)

        def backward(given: Gradients) -> Gradients:
            zeros = tape.make(f"zero tangent: returned {name}", shape, dtype)
            total = tape.unmade(f"gradient: {name}", shape, dtype, [zeros.storage, *(x.storage for x in given if x)])
            given.clear()
            del zeros
            tape.write(total.storage)
            return [total]

        return tape.op([logits], logits.alias(), backward)

    def output(self, x: Tensor) -> Tensor:
        """Return what the compiled function returns, in memory; its backward is a graph of its own."""
        tape = self.tape

        def backward(given: Gradients) -> Gradients:
            tape.in_backward_graph = True
            return [given.pop()]

        (x,) = self.write(x)
        return tape.op([x], x.alias(), backward)

    # Blocks

    def watch(self, x: Tensor, call: Callable[[], None]) -> Tensor:
        """Return x; call is called when backward comes through here and has written x's gradient.

        Of the embeddings it is not: the last kernel does that, with all that is still due.
        """
        tape, is_last = self.tape, is_looked_up(x)

        def backward(given: Gradients) -> Gradients:
            if not is_last:
                tape.write(*[y.storage for y in given if y])
            call()
            return [given.pop()]

        return tape.op([x], x.alias(), backward)

    def block_output(self, x: Tensor) -> Tensor:
        """Return a block's output, written: inside the block each who reads the residual stream adds it up."""
        self.tape.write(x.storage)
        return x

    def _gradient_written(self, x: Tensor) -> Tensor:
        """Return x; its gradient is written when it has come."""
        tape = self.tape

        def backward(given: Gradients) -> Gradients:
            tape.write(*[y.storage for y in given if y])
            return [given.pop()]

        return tape.op([x], x.alias(), backward)

    def checkpoint(self, run: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        """Return run(x), of which x alone is kept; of embeddings their look-ups, from which x is computed again.

        The block is run again as soon as the norm behind it asks for its output, if a kept block or the final norm
        follows; its own norms are computed again from x and the attention's projection.
        """
        tape = self.tape
        if is_looked_up(x):
            tape.write(*needed(x.storage))
        else:
            self.write(x, name="checkpointed block inputs")
        inputs = [x.alias()]

        def again() -> None:
            out = run(inputs.pop())
            tape.write(out.storage)  # we come here only where a norm behind asks for it
            block.keep([written(out.storage)])

        block = Recomputed(again)
        with tape.checkpointing(block):
            out = run(x)
        unmade_of(out).behind = block
        return out
