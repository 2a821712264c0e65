"""The blocks of a model, each kind of them run once: the bottom one, those in the middle, the top one.

With checkpointing of every n-th block the model is groups of n: a recomputed block, and above it n - 1 that keep what
they computed; the top group has only A of these. Letters: L blocks, g groups, k = n - 1, A.

A count may be nought or even less: with one block, the bottom one, the middle (-1 times) and the top one add up to one.
What must not be read then is a moment inside a block that is not run, which its event says.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal

from fwplan.estimators.phases import Phase
from fwplan.estimators.tape.size import ONE, Size, letter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from fwplan.estimators.tape.eager import Eager
    from fwplan.estimators.tape.tape import Leaf, Tensor
    from fwplan.model.architecture import Block, Shapes

Recompute = Literal["none", "every block", "every n-th block"]


L, g, k, A = (letter(name) for name in "LgkA")


@dataclass(frozen=True, eq=False)
class One:
    """A block that is run."""

    weights: Mapping[str, Leaf]
    recomputed: bool


@dataclass(frozen=True, eq=False)
class Many:
    """What is run once and happens `count` times; it is there only where `exists` is at least one."""

    count: Size
    inside: tuple[One | Many, ...]
    exists: Size = ONE


@dataclass(frozen=True)
class Stretch:
    """Blocks whose backward is one phase."""

    phase: Phase
    inside: tuple[One | Many, ...]


def stack(ops: Eager, shapes: Shapes, recompute: Recompute) -> tuple[Stretch, ...]:
    """Return the blocks from the bottom up, with their weights made."""

    def one(count: Size = ONE, *, recomputed: bool = recompute != "none") -> One:
        return One({name: ops.tape.weight(shape, count) for name, shape in shapes.items()}, recomputed)

    if recompute != "every n-th block":
        return (
            Stretch(Phase.BOTTOM_BLOCK_BACKWARD, (one(),)),
            Stretch(Phase.MIDDLE_BLOCKS_BACKWARD, (Many(L - 2, (one(L - 2),)),)),
            Stretch(Phase.TOP_BLOCK_BACKWARD, (one(),)),
        )
    return (
        Stretch(Phase.BOTTOM_BLOCK_BACKWARD, (one(), Many(k, (one(k, recomputed=False),), exists=g - 1))),
        Stretch(
            Phase.MIDDLE_BLOCKS_BACKWARD,
            (Many(g - 2, (one(g - 2), Many(k, (one((g - 2) * k, recomputed=False),)))),),
        ),
        # the last of the A stands alone: in the forward, where autocast's copies pile up, it is the widest
        Stretch(
            Phase.TOP_BLOCK_BACKWARD,
            (one(), Many(A - 1, (one(A - 1, recomputed=False),)), Many(ONE, (one(recomputed=False),), exists=A)),
        ),
    )


def run_blocks(ops: Eager, stretches: tuple[Stretch, ...], embed: Callable[[], Tensor], block: Block) -> Tensor:
    """Return the top block's output; backward goes through the same blocks the other way, phase by phase.

    One loop and one x, as a model's own forward has: whoever else held x would keep it alive.
    """
    tape = ops.tape
    inside: list[Many] = []
    leaving: list[Callable[[], None]] = []

    def leave() -> None:
        leaving.pop()()

    def enter(part: Many) -> None:
        leaving.append(tape.enter(part.count, part.exists))

    x = ops.watch(embed(), partial(tape.set_phase, Phase.END_OF_BACKWARD))
    for stretch in stretches:
        for part in _in_order(stretch.inside):
            if isinstance(part, One):
                x = _run(ops, part, block, x)
            elif part in inside:  # its end; in backward its beginning
                inside.remove(part)
                leave()
                x = ops.watch(x, partial(enter, part))
            else:
                inside.append(part)
                x = ops.watch(x, leave)
                enter(part)
        x = ops.watch(x, partial(tape.set_phase, stretch.phase))
    return x


def _in_order(parts: tuple[One | Many, ...]) -> Iterator[One | Many]:
    """Yield the blocks from the bottom up; a repetition before and after what it repeats."""
    for part in parts:
        yield part
        if isinstance(part, Many):
            yield from _in_order(part.inside)
            yield part


def _run(ops: Eager, part: One, block: Block, x: Tensor) -> Tensor:
    def run(x: Tensor) -> Tensor:
        return block(x, part.weights)

    return ops.checkpoint(run, x) if part.recomputed and ops.tape.training else run(x)
