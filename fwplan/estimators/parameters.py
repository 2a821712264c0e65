"""Every weight tensor of the model: name, shape, count."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fwplan.spec import ModelSpec


@dataclass(frozen=True)
class Weight:
    """One weight tensor, named as in the bundled model's state_dict."""

    name: str
    shape: tuple[int, ...]

    @property
    def numel(self) -> int:
        """Elements in the tensor."""
        return prod(self.shape)


def weights(model: ModelSpec) -> Iterator[Weight]:
    """Yield the model's weight tensors in the order of the bundled model; a tied head is its embedding, once."""
    C, V = model.n_embd, model.vocab_size
    yield Weight("trunk.wte.weight", (V, C))
    yield Weight("trunk.wpe.weight", (model.context_length, C))
    for i in range(model.n_layer):
        yield from _block(f"trunk.h.{i}", C, bias=model.bias)
    yield from _affine("trunk.ln_f", (C,), bias=model.bias)
    if not model.tied_embeddings:
        yield Weight("lm_head.weight", (V, C))


def _block(prefix: str, C: int, *, bias: bool) -> Iterator[Weight]:
    yield from _affine(f"{prefix}.ln_1", (C,), bias=bias)
    yield from _affine(f"{prefix}.attn.c_attn", (3 * C, C), bias=bias)
    yield from _affine(f"{prefix}.attn.c_proj", (C, C), bias=bias)
    yield from _affine(f"{prefix}.ln_2", (C,), bias=bias)
    yield from _affine(f"{prefix}.mlp.c_fc", (4 * C, C), bias=bias)
    yield from _affine(f"{prefix}.mlp.c_proj", (C, 4 * C), bias=bias)


def _affine(prefix: str, shape: tuple[int, ...], *, bias: bool) -> Iterator[Weight]:
    yield Weight(f"{prefix}.weight", shape)
    if bias:
        yield Weight(f"{prefix}.bias", shape[:1])


@dataclass(frozen=True)
class ParameterCount:
    """Elements in all weights, and without the position embedding (how nanoGPT prints a model's size)."""

    total: int
    non_position: int


def count_parameters(model: ModelSpec) -> ParameterCount:
    """Return the number of trainable elements, tied weights counted once.

    V*C + T*C + L*(12 C^2 + 2 C) + C, plus V*C for an untied head; with bias, L*(9 C + 2 C) + C more.
    """
    total = total_parameters(model, model.n_layer, model.n_embd)
    return ParameterCount(total, total - model.context_length * model.n_embd)


def total_parameters(model: ModelSpec, L: int, C: int) -> int:
    """Return the elements of all weights of a model like this one, but of depth L and width C (or arrays of both)."""
    embedding = model.vocab_size * C * (1 if model.tied_embeddings else 2)
    return embedding + model.context_length * C + L * block_parameters(C, bias=model.bias) + C * (1 + model.bias)


def block_parameters(C: int, *, bias: bool) -> int:
    """Return the elements of one block: 12 C^2 of matrices, 2 C of norms; biases add 9 C and 2 C."""
    return 12 * C * C + 2 * C + (11 * C if bias else 0)
