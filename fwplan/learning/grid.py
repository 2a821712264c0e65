"""The specs that a campaign measures: every mode singly over a base, and the pairs that people use together."""

from __future__ import annotations

from itertools import chain, zip_longest
from typing import TYPE_CHECKING, Any, TypeAlias

from fwplan.spec import ModelSpec, RunSpec, TrainSpec

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_MODEL_FIELDS = frozenset(ModelSpec.model_fields)
Fields: TypeAlias = dict[str, Any]

GPT2 = {"n_layer": 12, "n_head": 12, "n_embd": 768}  # 124 M parameters
# Half of GPT-2's depth: compiling goes with the number of blocks, and what a mode needs is the same in each of them.
HALF = GPT2 | {"n_layer": 6}
SMALL = {"n_layer": 6, "n_head": 6, "n_embd": 384}
MEDIUM = {"n_layer": 24, "n_head": 16, "n_embd": 1024}  # 350 M
XL = {"n_layer": 48, "n_head": 25, "n_embd": 1600}  # 1.5 B
CHAR = SMALL | {"vocab_size": 65, "context_length": 256, "dropout": 0.2}  # nanoGPT's shakespeare_char

_EAGER: Fields = {"compile": False}
_CHUNKED: Fields = {"loss": "chunked"}
_BLOCKS: Fields = {"checkpointing": "block"}
_SECOND: Fields = _BLOCKS | {"checkpoint_every": 2}
_ACCUMULATING: Fields = {"grad_accum_steps": 4}


def _specs(base: Mapping[str, Any], *changes: Mapping[str, Any]) -> list[RunSpec]:
    """Return a spec for each change of the base; `B` is short for micro_batch_size."""
    return [_spec({**base, **change}) for change in changes]


def _spec(fields: Mapping[str, Any]) -> RunSpec:
    named = {"micro_batch_size" if name == "B" else name: value for name, value in fields.items()}
    train = {name: value for name, value in named.items() if name not in _MODEL_FIELDS}
    model = {name: value for name, value in named.items() if name in _MODEL_FIELDS}
    return RunSpec(model=ModelSpec(**model), train=TrainSpec(**train))


def _sizes(*sizes: int) -> list[Fields]:
    return [{"B": size} for size in sizes]


def _in_turn(groups: Mapping[str, list[RunSpec]]) -> list[RunSpec]:
    """Return the first of each group, then the second of each ...: a campaign that is cut off has seen every mode."""
    rounds = chain.from_iterable(zip_longest(*groups.values()))
    return list(dict.fromkeys(spec for spec in rounds if spec is not None))


def small_grid() -> list[RunSpec]:
    """Return a dozen eager toys that a CPU measures in a minute or two."""
    toy = {"n_layer": 2, "n_head": 4, "n_embd": 128, "vocab_size": 8192, "context_length": 128, "B": 4}
    plain = toy | {"dtype": "float32"} | _EAGER
    changes: tuple[Fields, ...] = (
        {}, {"dtype": "bfloat16"}, {"dtype": "pure_bfloat16"}, _CHUNKED | {"loss_chunk_tokens": 128},
        _CHUNKED | {"dtype": "bfloat16", "loss_chunk_tokens": 128}, _BLOCKS, {"grad_accum_steps": 2},
        {"dtype": "bfloat16", "grad_accum_steps": 2}, {"tied_embeddings": False, "bias": True}, {"B": 16},
        {"optimizer_impl": "foreach", "B": 1}, {"eval_micro_batch_size": 16},
    )  # fmt: skip
    return _specs(plain, *changes)


def full_grid() -> list[RunSpec]:
    """Return about a hundred specs for a CUDA GPU, so ordered that any beginning of them covers the most modes."""
    return _in_turn(dict(chain(_ladders(), _losses(), _numerics(), _recipes(), _models())))


_Groups: TypeAlias = "Iterator[tuple[str, list[RunSpec]]]"


def _ladders() -> _Groups:
    """Yield GPT-2 124M at every micro-batch."""
    eager = GPT2 | _EAGER
    yield "eager", _specs(eager, *_sizes(8, 1, 16, 4, 32, 2, 64, 12))
    yield "compiled", _specs(GPT2, *_sizes(8, 1, 16, 4, 32))
    yield "eager, accumulating", _specs(eager | _ACCUMULATING, *_sizes(8, 1, 4, 16))
    yield "compiled, accumulating", _specs(HALF | _ACCUMULATING, *_sizes(8, 1))


def _losses() -> _Groups:
    """Yield what saves memory: chunked losses and recomputed blocks, alone and together."""
    eager, compiled = GPT2 | _EAGER, HALF
    yield "chunked", _specs(
        eager | _CHUNKED, {"B": 8}, {"B": 1}, {"B": 8, "loss_chunk_tokens": 512}, {"B": 8, "loss_chunk_tokens": 4096},
        {"B": 32}, {"B": 8} | _ACCUMULATING,
    )  # fmt: skip
    yield "chunked, compiled", _specs(compiled | _CHUNKED, {"B": 8}, {"B": 8} | _ACCUMULATING)
    yield "checkpointed", _specs(
        eager, {"B": 8} | _BLOCKS, {"B": 8} | _SECOND, {"B": 1} | _BLOCKS, {"B": 32} | _BLOCKS,
        {"B": 16} | _BLOCKS | _CHUNKED, {"B": 8} | _BLOCKS | _ACCUMULATING,
    )  # fmt: skip
    yield (
        "checkpointed, compiled",
        _specs(compiled, {"B": 8} | _BLOCKS, {"B": 8} | _SECOND, {"B": 32} | _BLOCKS | _CHUNKED, {"B": 32} | _BLOCKS),
    )


def _numerics() -> _Groups:
    """Yield dtypes and attention kernels."""
    eager, compiled = GPT2 | _EAGER, HALF
    yield "float32", _specs(eager | {"dtype": "float32"}, {"B": 8}, {"B": 1}, {"B": 4} | _ACCUMULATING,
                            {"B": 4} | _CHUNKED)  # fmt: skip
    yield "float32, compiled", _specs(compiled | {"dtype": "float32"}, {"B": 8}, {"B": 1})
    yield "float16", _specs(eager | {"dtype": "float16"}, {"B": 8}, {"B": 1}, {"B": 8} | _ACCUMULATING,
                            {"B": 8} | _CHUNKED)  # fmt: skip
    yield "float16, compiled", _specs(compiled | {"dtype": "float16"}, {"B": 8})
    yield "pure bfloat16", _specs(eager | {"dtype": "pure_bfloat16"}, {"B": 8}, {"B": 1}, {"B": 8} | _CHUNKED,
                                  {"B": 8} | _ACCUMULATING)  # fmt: skip
    yield "pure bfloat16, compiled", _specs(compiled | {"dtype": "pure_bfloat16"}, {"B": 8})
    yield "efficient attention", _specs(eager | {"attention": "efficient"}, {"B": 8}, {"B": 4, "dtype": "float32"})
    yield "efficient attention, compiled", _specs(compiled | {"attention": "efficient"}, {"B": 8})
    yield "math attention", _specs(eager | {"attention": "math"}, {"B": 8}, {"B": 2}, {"B": 4, "dtype": "float32"},
                                   {"B": 4, "dropout": 0.1})  # fmt: skip
    yield "math attention, compiled", _specs(compiled | {"attention": "math"}, {"B": 8})


def _recipes() -> _Groups:
    """Yield optimizers, clipping, evaluation, dropout, biases, heads and vocabularies."""
    eager, compiled = GPT2 | _EAGER, HALF
    yield "foreach", _specs(eager | {"optimizer_impl": "foreach"}, {"B": 1}, {"B": 8}, {"B": 1} | _ACCUMULATING)
    yield "for_loop", _specs(eager | {"optimizer_impl": "for_loop"}, {"B": 1})
    yield "foreach, compiled", _specs(compiled | {"optimizer_impl": "foreach"}, {"B": 1})
    yield "SGD", _specs(eager | {"optimizer": "sgd", "B": 1}, {"optimizer_impl": "foreach"})
    yield "8-bit AdamW", _specs(eager | {"optimizer": "adamw_8bit"}, {"B": 1})
    yield "no clipping", _specs(eager | {"grad_clip": 0.0}, {"B": 1}, {"B": 1, "optimizer_impl": "foreach"})
    yield "evaluation", _specs(eager | {"B": 4}, {"eval_micro_batch_size": 32},
                               {"eval_micro_batch_size": 64} | _CHUNKED)  # fmt: skip
    yield "evaluation, compiled", _specs(compiled | {"B": 4}, {"eval_micro_batch_size": 32})
    yield "dropout", _specs(eager | {"dropout": 0.1}, {"B": 8}, {"B": 8} | _BLOCKS, {"B": 8, "bias": True})
    yield "dropout, compiled", _specs(compiled | {"dropout": 0.1}, {"B": 8})
    yield "bias", _specs(eager | {"bias": True}, {"B": 8}, {"B": 1})
    yield "bias, compiled", _specs(compiled | {"bias": True}, {"B": 8})
    yield "untied", _specs(eager | {"tied_embeddings": False}, {"B": 8}, {"B": 1})
    yield "untied, compiled", _specs(compiled | {"tied_embeddings": False}, {"B": 8})
    yield "unaligned", _specs(eager | {"vocab_size": 50_257}, {"B": 8}, {"B": 1}, {"B": 8} | _CHUNKED)
    yield "unaligned, compiled", _specs(compiled | {"vocab_size": 50_257}, {"B": 8})


def _models() -> _Groups:
    """Yield other shapes: small and large models, short and long sequences."""
    yield "characters", _specs(CHAR, {"B": 64} | _EAGER, {"B": 64})
    yield "small", _specs(SMALL, {"B": 32} | _EAGER, {"B": 4} | _EAGER, {"B": 32})
    yield "medium", _specs(MEDIUM, {"B": 8} | _EAGER, {"B": 2} | _EAGER, {"B": 16} | _EAGER | _BLOCKS,
                           {"B": 16} | _EAGER | _CHUNKED)  # fmt: skip
    yield "medium, compiled", _specs(MEDIUM, {"B": 8})
    yield "XL", _specs(XL | _EAGER, {"B": 1}, {"B": 8} | _CHUNKED | _BLOCKS)
    yield "short", _specs(GPT2 | {"context_length": 256}, {"B": 32} | _EAGER)
    yield "long", _specs(GPT2 | {"context_length": 4096}, {"B": 2} | _EAGER, {"B": 4} | _EAGER | _CHUNKED | _BLOCKS)
