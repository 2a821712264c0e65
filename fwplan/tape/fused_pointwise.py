"""Pointwise ops in a compiled function: they make nothing until a kernel writes it; backward computes them again."""

from __future__ import annotations

from typing import TYPE_CHECKING
from weakref import ref

from fwplan.tape.dtypes import BOOL, FLOAT32
from fwplan.tape.eager import Eager
from fwplan.tape.elementwise import RESIDUAL
from fwplan.tape.graph import Unmade, is_looked_up, needed, unmade_of, written
from fwplan.tape.tape import Tensor, shape_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fwplan.tape.dtypes import Dtype
    from fwplan.tape.graph import GraphTape
    from fwplan.tape.size import Size
    from fwplan.tape.tape import Backward, Gradients, Kept, Leaf, Shape, Storage


class Pointwise(Eager):
    """What inductor fuses."""

    tape: GraphTape

    # Values

    def write(self, *tensors: Tensor, name: str | None = None) -> list[Tensor]:
        """Return tensors in memory, called by this name where they are kept."""
        for x in tensors:
            if name is not None:
                self.keep(x, name)
        self.tape.write(*[x.storage for x in tensors])
        return [Tensor(written(x.storage), x.shape, x.dtype, x.node, x.slot) for x in tensors]

    def keep_needed(self, *tensors: Tensor) -> Kept:
        """Return what a node keeps of values that backward needs: what they are computed again from."""
        found = [storage for x in tensors for storage in needed(x.storage)]
        self.tape.write(*found)
        return self.tape.keep(*dict.fromkeys(found))

    def pointwise_gradients(self, *of: Tensor | None, kept: Kept | None = None) -> Backward:
        """Return the backward that makes each input's gradient of what comes and of what was kept."""
        tape = self.tape
        likes = [None if x is None else (x.storage.kind.name, x.shape, x.dtype) for x in of]

        def backward(given: Gradients) -> Gradients:
            came, shared = [x.storage for x in given if x is not None], any(x.view for x in given if x is not None)
            given.clear()
            sources = [*came, *(kept or ())]
            if kept is not None:
                kept.clear()
            over = None if shared else getattr(came[0], "over", None) or came[0]
            made: Gradients = []
            for like in likes:
                made.append(like and tape.unmade(f"gradient: {like[0]}", like[1], like[2], sources, over))
                over = None if like else over
            for gradient in made:  # one kernel writes them all
                if gradient is not None:
                    unmade_of(gradient).beside = [
                        ref(unmade_of(other)) for other in made if other not in (None, gradient)
                    ]
            return made

        return backward

    def fused(
        self, makes: str, like: tuple[Shape, Dtype], of: Sequence[Tensor], keeps: Sequence[Tensor] = (),
        over: Storage | None = None,
    ) -> Tensor:  # fmt: skip
        """Return a pointwise op's output, of this shape and element type, whose backward needs what it keeps."""
        kept = self.keep_needed(*keeps) if keeps else None
        asking = [x if x.node is not None else None for x in of]
        out = self.tape.unmade(makes, *like, [x.storage for x in of], over)
        return self.tape.op([*of], out, self.pointwise_gradients(*asking, kept=kept), kept)

    # Pointwise ops

    def cast(self, x: Tensor, dtype: Dtype, name: str) -> Tensor:
        """Return x in another element type, or x."""
        if x.dtype == dtype:
            return x
        casts = x.storage.casts if isinstance(x.storage, Unmade) and x.storage.once else {}
        if dtype not in casts:
            casts[dtype] = self.fused(name, (x.shape, dtype), [x])
        return casts[dtype]

    def activation(self, x: Tensor, *, keeps: str, makes: str) -> Tensor:
        """Return a function of each element, such as GELU: where nothing is kept, in place.

        Not so in an evaluation: there a block's buffer is used again by the next block's, through whose attention it
        stays, up to what the graph would take were nothing written in place. Real compiled evaluations, torch 2.13.
        """
        self.keep(x, keeps)
        over = x.storage if self.tape.training and not self.tape.keeps_at_once else None
        return self.fused(makes, (x.shape, x.dtype), [x], [x], over)

    def square(self, x: Tensor, *, keeps: str, makes: str) -> Tensor:
        """Return x * x."""
        return self.activation(x, keeps=keeps, makes=makes)

    def saturating(self, x: Tensor, name: str) -> Tensor:
        """Return a function such as ReLU or tanh."""
        return self.fused(name, (x.shape, x.dtype), [x], [x])

    def pointwise(self, x: Tensor, makes: str, *, mask: Storage | None = None) -> Tensor:
        """Return a function of each element that keeps nothing of x."""
        assert mask is None  # noqa: S101  # of attention by formula, which is decomposed here
        return self.fused(makes, (x.shape, x.dtype), [x])

    def mul(self, factor: Tensor, x: Tensor, *, keeps: str, makes: str = RESIDUAL) -> Tensor:
        """Return factor * x, of x's shape and element type; the factor may be narrower, or one number."""
        self.keep(x, keeps)
        keeping = ([x] if factor.node is not None else []) + ([factor] if x.node is not None else [])
        return self.fused(makes, (x.shape, x.dtype), [factor, x], keeping)

    def turned(self, x: Tensor, table: Tensor, makes: str) -> Tensor:
        """Return x times a table that asks for no gradient, in the wider of their element types."""
        dtype = max(x.dtype, table.dtype, key=lambda kind: kind.width)
        return self.fused(makes, (x.shape, dtype), [x, table], [table])

    def sub(self, x: Tensor, y: Tensor, name: str = RESIDUAL) -> Tensor:
        """Return x - y of one shape and element type."""
        return self.fused(name, (x.shape, x.dtype), [x, y])

    def rows(self, x: Tensor, name: str) -> Tensor:
        """Return a part of each sequence, (B, t, c), as rows of a product."""
        return self.fused(name, (x.shape, x.dtype), [x])

    def cat(self, parts: Sequence[Tensor], shape: Shape, name: str) -> Tensor:
        """Return these parts joined."""
        return self.fused(name, (shape, parts[0].dtype), parts)

    def part(self, x: Tensor, *shape: Size | int) -> Tensor:
        """Return a view of a part of x, cut along one dimension."""
        return self.tape.op([x], Tensor(x.storage, shape_of(shape), x.dtype), self.pointwise_gradients(x))

    def repeated(self, x: Tensor, shape: Shape, *, copied: bool) -> Tensor:  # noqa: ARG002  # a kernel writes it
        """Return each key-value head (B, T, G*D) for every head that shares it, (B, T, H*D)."""
        return self.fused("q, k, v", (shape, x.dtype), [x])

    def dropout(self, x: Tensor, p: float, name: str) -> Tensor:
        """Return x with elements set to zero; keeps a mask, a byte an element."""
        tape = self.tape
        if not p or not tape.training:
            return x
        mask = tape.save("dropout masks", x.shape, BOOL)
        kept = tape.keep(mask)
        out = tape.unmade(name, x.shape, x.dtype, [x.storage, mask])
        unmade_of(out).looked_up = is_looked_up(x)
        return tape.op([x], out, self.pointwise_gradients(x, kept=kept), kept)

    def add(self, x: Tensor, y: Tensor, name: str = RESIDUAL) -> Tensor:
        """Return x + y in x's shape and element type; y may be narrower, or of fewer rows."""
        tape, shape, dtype = self.tape, y.shape, y.dtype
        alike = shape == x.shape and dtype == x.dtype

        def backward(given: Gradients) -> Gradients:
            own = given.pop()
            assert own is not None  # noqa: S101  # one output, whose gradient is there
            if isinstance(own.storage, Unmade):
                own.storage.shared = True
            branch = own.alias() if alike else tape.unmade("gradient: branch", shape, dtype, [own.storage])
            own.view = branch.view = True
            return [own, branch]

        out = tape.unmade(name, x.shape, x.dtype, [x.storage, y.storage])
        unmade_of(out).looked_up = is_looked_up(x) and is_looked_up(y)
        return tape.op([x, y], out, backward)

    def embedding(self, weight: Leaf, ids: Tensor) -> Tensor:
        """Return the weight's rows, (..., C).

        Its gradient is summed in fp32, also where the weights are bf16: inductor's index_put over zeros of the full
        weight. On CUDA a kernel of its own adds it up; a processor's last kernel does all that is still due.
        """
        tape, kept = self.tape, self.tape.keep(ids.storage)
        shape, dtype = weight.tensor.shape, weight.tensor.dtype

        def backward(given: Gradients) -> Gradients:
            dense = tape.unmade("gradient: embedding, dense", shape, FLOAT32, [x.storage for x in given if x])
            unmade_of(dense).shared = True
            given.clear()
            if tape.cuda:
                tape.write_alone(dense.storage)
            else:
                tape.soon(dense)
            kept.clear()
            if dtype == FLOAT32:
                return [dense]
            narrow = tape.unmade("gradient: embedding, cast", shape, dtype, [dense.storage])
            unmade_of(narrow).shared = True
            tape.soon(narrow)
            return [narrow]

        out = tape.unmade("embeddings", (*ids.shape, shape[1]), dtype, [])
        unmade_of(out).looked_up = True
        return tape.op([weight.tensor], out, backward, kept)
