"""Ops in eager torch that look at one element, or at one row, at a time: what each makes, keeps, and makes in backward.

Of the kernels below, products and norms have more to say and stand in eager.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fwplan.tape.dtypes import FLOAT32
from fwplan.tape.size import expression
from fwplan.tape.tape import Tensor, shape_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fwplan.tape.dtypes import Dtype
    from fwplan.tape.size import Size
    from fwplan.tape.tape import Backward, Gradients, Kept, Shape, Storage, Tape

RESIDUAL = "residual stream"


class Elementwise:
    """These ops on a tape. (B, T, ...) are shapes in letters."""

    def __init__(self, tape: Tape) -> None:
        self.tape = tape

    def keep(self, x: Tensor, name: str) -> Storage:
        """Return x's storage, called by what it is kept as where a graph keeps it."""
        if self.tape.recording:
            x.storage.rename(name)
        return x.storage

    def one_gradient(self, name: str, shape: Shape, dtype: Dtype, kept: Kept | None = None) -> Backward:
        """Return the backward that makes one gradient, then lets go of what came and of what was kept."""
        tape = self.tape

        def backward(given: Gradients) -> Gradients:
            made = tape.make(f"gradient: {name}", shape, dtype)
            given.clear()
            if kept is not None:
                kept.clear()
            return [made]

        return backward

    def cast(self, x: Tensor, dtype: Dtype, name: str) -> Tensor:
        """Return x in another element type, or x; backward casts its gradient back."""
        if x.dtype == dtype:
            return x
        backward = self.one_gradient(f"{name}, cast", x.shape, x.dtype)
        return self.tape.op([x], self.tape.make(name, x.shape, dtype), backward)

    def wide(self, x: Tensor, name: str) -> Tensor:
        """Return x in fp32."""
        return self.cast(x, FLOAT32, name)

    def viewed(self, x: Tensor, *shape: Size | int) -> Tensor:
        """Return x in another shape of as many elements."""
        return Tensor(x.storage, shape_of(shape), x.dtype, x.node, x.slot)

    def part(self, x: Tensor, *shape: Size | int) -> Tensor:
        """Return a view of a part of x, cut along one dimension; its gradient is put into zeros of x's shape."""
        backward = self.one_gradient(f"{x.storage.kind.name}, whole", x.shape, x.dtype)
        return self.tape.op([x], Tensor(x.storage, shape_of(shape), x.dtype), backward)

    def rows(self, x: Tensor, name: str) -> Tensor:
        """Return a part of each sequence, (B, t, c), as rows of a product: copied, where sequences are several."""
        B, *shape = x.shape
        copied = B * expression(f"{B!r} > 1")
        copy = Tensor(self.tape.new(name, (copied, *shape), x.dtype), x.shape, x.dtype)
        return self.tape.op([x], copy, lambda given: [given.pop()])

    def cat(self, parts: Sequence[Tensor], shape: Shape, name: str) -> Tensor:
        """Return these parts joined; their gradients are views of its."""
        shapes, dtype = [x.shape for x in parts], parts[0].dtype

        def backward(given: Gradients) -> Gradients:
            whole = given.pop()
            assert whole is not None  # noqa: S101  # one output, whose gradient is there
            return [Tensor(whole.storage, like, dtype) for like in shapes]

        return self.tape.op([*parts], self.tape.make(name, shape, dtype), backward)

    def add(self, x: Tensor, y: Tensor, name: str = RESIDUAL) -> Tensor:
        """Return x + y in x's shape and element type; y may be narrower, or of fewer rows."""
        tape, shape, dtype = self.tape, y.shape, y.dtype
        alike = shape == x.shape and dtype == x.dtype

        def backward(given: Gradients) -> Gradients:
            own = given.pop()
            assert own is not None  # noqa: S101  # one output, whose gradient is there
            if alike:
                return [own, own.alias()]
            return [own, tape.make("gradient: branch", shape, dtype)]

        return tape.op([x, y], tape.make(name, x.shape, x.dtype), backward)

    def sub(self, x: Tensor, y: Tensor, name: str = RESIDUAL) -> Tensor:
        """Return x - y of one shape and element type; y's gradient is made."""
        tape, shape, dtype = self.tape, y.shape, y.dtype

        def backward(given: Gradients) -> Gradients:
            return [given.pop(), tape.make("gradient: branch", shape, dtype)]

        return tape.op([x, y], tape.make(name, shape, dtype), backward)

    def mul(self, factor: Tensor, x: Tensor, *, keeps: str, makes: str = RESIDUAL) -> Tensor:
        """Return factor * x, of x's shape and element type; the factor may be narrower, or one number.

        It keeps x, where the factor asks for a gradient, and the factor where x does. The factor's gradient is made in
        x's shape, then summed.
        """
        tape, shape, dtype, own = self.tape, x.shape, x.dtype, (factor.shape, factor.dtype)
        of_factor, of_x = factor.node is not None, x.node is not None
        kept = tape.keep(*([self.keep(x, keeps)] if of_factor else []), *([factor.storage] if of_x else []))

        def backward(given: Gradients) -> Gradients:
            made: Gradients = [
                tape.make(f"gradient: {name}", shape, dtype) if asked else None
                for name, asked in (("factor", of_factor), (keeps, of_x))
            ]
            if of_factor and own[0] != shape:
                made[0] = tape.make("gradient: factor, summed", own[0], dtype)
            if of_factor and own[1] != dtype:
                made[0] = tape.make("gradient: factor, summed", *own)
            given.clear()
            kept.clear()
            return made

        return tape.op([factor, x], tape.make(makes, shape, dtype), backward, kept)

    def turned(self, x: Tensor, table: Tensor, makes: str) -> Tensor:
        """Return x times a table that asks for no gradient, in the wider of their element types; it keeps the table."""
        tape, shape, own = self.tape, x.shape, x.dtype
        dtype = max(own, table.dtype, key=lambda kind: kind.width)
        kept = tape.keep(table.storage)

        def backward(given: Gradients) -> Gradients:
            made = tape.make(f"gradient: {makes}", shape, dtype)
            given.clear()
            kept.clear()
            return [made if dtype == own else tape.make(f"gradient: {makes}, cast", shape, own)]

        return tape.op([x], tape.make(makes, shape, dtype), backward, kept)

    def pointwise(self, x: Tensor, makes: str, *, mask: Storage | None = None) -> Tensor:
        """Return a function of each element that keeps nothing of x, such as x times a number; or a mask alone."""
        kept = None if mask is None else self.tape.keep(mask)
        backward = self.one_gradient(makes, x.shape, x.dtype, kept)
        return self.tape.op([x], self.tape.make(makes, x.shape, x.dtype), backward, kept)

    def activation(self, x: Tensor, *, keeps: str, makes: str) -> Tensor:
        """Return a function of each element, such as GELU; it keeps its input."""
        kept = self.tape.keep(self.keep(x, keeps))
        backward = self.one_gradient(keeps, x.shape, x.dtype, kept)
        return self.tape.op([x], self.tape.make(makes, x.shape, x.dtype), backward, kept)

    def square(self, x: Tensor, *, keeps: str, makes: str) -> Tensor:
        """Return x * x; it keeps x. In backward 2 x is made as 2 * x**1, of which both are there."""
        tape, shape, dtype, kept = self.tape, x.shape, x.dtype, self.tape.keep(self.keep(x, keeps))

        def backward(given: Gradients) -> Gradients:
            _halves = [tape.new(f"gradient: {makes}, twice the input", shape, dtype) for _ in range(2)]
            made = tape.make(f"gradient: {keeps}", shape, dtype)
            _halves.clear()
            given.clear()
            kept.clear()
            return [made]

        return tape.op([x], tape.make(makes, shape, dtype), backward, kept)

    def saturating(self, x: Tensor, name: str) -> Tensor:
        """Return a function whose slope its value tells, such as ReLU, tanh or softmax; it keeps its output."""
        out = self.tape.make(name, x.shape, x.dtype)
        kept = self.tape.keep(self.keep(out, name))
        return self.tape.op([x], out, self.one_gradient(name, x.shape, x.dtype, kept), kept)
