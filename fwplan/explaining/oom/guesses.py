"""What a size alone may be: a logits tensor whose factors are a micro-batch, a context and a known vocabulary."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from fwplan.explaining.oom.tensors import is_size, tells_size

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from fwplan.explaining.oom.log import Log

# GPT-2's padded and plain, Llama 1 and 2, Llama 3, Qwen 2: what people train with, likeliest first.
VOCABULARIES = (50_304, 50_257, 32_000, 128_256, 151_936)
CONTEXTS = (1024, 2048, 512, 4096, 256, 8192)
MOST_SEQUENCES = 512
_SEGMENT = 2 * 2**20
_LEAST_SHARE = 8  # a context must be this many times what the printed figure leaves open, or anything would match


class Logits(NamedTuple):
    """A guess: B sequences of T tokens over V words."""

    B: int
    T: int
    V: int
    dtype: str

    @property
    def text(self) -> str:
        """The guess as printed."""
        return f"({self.B}, {self.T}, {self.V}) in {'fp32' if self.dtype == 'float32' else 'bf16 or fp16'}"


def logits(
    log: Log, contexts: Iterable[int] = CONTEXTS, vocabularies: Iterable[int] = VOCABULARIES
) -> Iterator[Logits]:
    """Yield the logits tensors that a message may be about, the likeliest first."""
    if log.strided is not None:
        if len(log.strided.shape) in {2, 3} and log.strided.shape[-1] >= 1000:
            yield from _shaped(log.strided.shape, log.strided.dtype)
        return
    asked = log.message.requested
    if asked is None or not tells_size(log.message):
        return
    for T in contexts:
        for V in vocabularies:
            for dtype, width in (("float32", 4), ("bfloat16", 2)):
                one = width * V * T
                B = round((asked.bytes - (_SEGMENT / 2 if log.message.rounded else 0)) / one)
                open_tokens = (asked.high - asked.low + (_SEGMENT if log.message.rounded else 0)) / (width * V)
                if 1 <= B <= MOST_SEQUENCES and _LEAST_SHARE * open_tokens <= T and is_size(log, B * one):
                    yield Logits(B, T, V, dtype)


def _shaped(shape: tuple[int, ...], dtype: str) -> Iterator[Logits]:
    if len(shape) == 3:
        yield Logits(*shape, dtype)
        return
    tokens, V = shape
    for T in CONTEXTS:
        if tokens % T == 0 and tokens // T <= MOST_SEQUENCES:
            yield Logits(tokens // T, T, V, dtype)
            return
