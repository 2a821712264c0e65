"""The work that is listed from a model's forward, against what its block moves and multiplies when counted by hand."""

from math import prod

import numpy as np
import pytest

from fwplan.estimators.speed import model_per_token
from fwplan.estimators.work.listing import Listed, Listing
from fwplan.estimators.work.traffic import eager, fused
from fwplan.estimators.work.work import work_of
from fwplan.model.gpt2 import GPT2
from fwplan.model.llama import Llama
from fwplan.model.nanochat import Nanochat
from fwplan.model.pythia import Pythia
from fwplan.tape.dtypes import BFLOAT16, FLOAT32, INT64
from fwplan.tape.size import letter

B, T, C = (letter(name) for name in "BTC")
SMALL = {"n_layer": 3, "n_head": 2, "n_embd": 8, "vocab_size": 100, "context_length": 16}
MODELS = {
    "gpt2": GPT2(**SMALL),
    "gpt2, biases": GPT2(**SMALL, bias=True),
    "gpt2, untied": GPT2(**SMALL, tied_embeddings=False),
    "gpt2, dropout": GPT2(**SMALL, dropout=0.1),
    "llama": Llama(**SMALL, n_hidden=24),
    "llama, grouped": Llama(**SMALL | {"n_head": 4}, n_kv_head=2, head_width=6, tied_embeddings=True),
    "llama, norms and biases": Llama(**SMALL, qk_norm=True, attention_bias="all", mlp_bias=True),
    "pythia": Pythia(**SMALL | {"n_embd": 32}),
    "nanochat": Nanochat(**SMALL | {"n_layer": 6, "n_embd": 32, "context_length": 512}),
    "nanochat, grouped": Nanochat(**SMALL | {"n_embd": 32, "n_head": 4}, n_kv_head=2),
}
each_model = pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
LOOKED_UP = ("trunk.wpe.weight", "trunk.embed_tokens.weight", "trunk.embed_in.weight", "trunk.wte.weight")


@pytest.fixture
def ops():
    """Return ops on an empty list, under autocast."""
    return Listed(Listing(FLOAT32, BFLOAT16))


def weight(ops, *shape):
    return ops.listing.weight(shape)


def stream(ops):
    """Return a residual stream as an embedding makes it."""
    ids = ops.listing.given("batch", (B, T), INT64)
    x = ops.embedding(weight(ops, letter("V"), C), ids)
    ops.listing.ops.clear()
    return x


def bytes_of(traffic):
    """Return forward and backward bytes an element of (B, T, C)."""
    return tuple(dict(size.terms).get(("B", "C", "T"), 0) for size in (traffic.forward, traffic.backward))


def test_gpt2s_block_by_hand():
    work = work_of(GPT2(**SMALL).structure(1024))
    # each way: two norms (4 + 4), their outputs cast (4 + 2), GELU (8 + 8), two additions (4 + 2 + 4)
    # back: GELU (8 + 8 + 8), casts (2 + 4), norms (4 + 4 + 4), the additions' other branch (4 + 2), q, k, v joined
    # (6 + 6), and the residual's two gradients added up (4 + 4 + 4)
    assert bytes_of(work.eager) == (2 * (8 + 6 + 10) + 16, 2 * (6 + 12 + 6 + 12) + 24 + 12)
    # an addition with the norm after it and the cast: 4 + 2 read, 4 + 2 written; back: 4 + 2 and the norm's input, 4
    assert bytes_of(work.fused) == (2 * 12 + 16, 2 * (6 + 4 + 6) + 24 + 12)
    assert (work.eager.forward_kernels, work.eager.backward_kernels) == (16, 26)
    assert (work.fused.forward_kernels, work.fused.backward_kernels) == (12, 20)


def test_an_op_reads_its_inputs_and_writes_its_output(ops):
    x = stream(ops)
    ops.activation(x, keeps="x", makes="y")
    assert bytes_of(eager(ops.listing.ops)) == (4 + 4, 4 + 4 + 4)


def test_a_chain_is_one_kernel_that_keeps_what_it_makes_to_itself(ops):
    y = stream(ops)
    for _ in range(5):
        y = ops.activation(y, keeps="x", makes="y")
    assert bytes_of(eager(ops.listing.ops)) == (5 * 8, 5 * 12)
    assert bytes_of(fused(ops.listing.ops)) == (4 + 4, 4 + 4 + 4)
    assert fused(ops.listing.ops).forward_kernels == 1


def test_a_product_ends_a_kernel(ops):
    x = ops.activation(stream(ops), keeps="x", makes="y")
    y = ops.linear(x, weight(ops, C, C), keeps="x", makes="y")
    ops.activation(y, keeps="x", makes="y")
    # written for the product in bf16, whose output is read: the residual's 4, then 2 + 2 + 2 bytes
    assert bytes_of(fused(ops.listing.ops))[0] == 4 + 2 + 2 + 2


def test_a_tensor_that_only_later_ops_take_is_made_where_they_are(ops):
    x, early = stream(ops), stream(ops)
    early = ops.pointwise(early, "scaled")  # before the product, and only added after it
    y = ops.linear(x, weight(ops, C, C), keeps="x", makes="y")
    ops.add(early, y)
    # the cast (4 + 2), then one kernel: what is scaled (4), the product's output (2), the sum (4)
    assert bytes_of(fused(ops.listing.ops))[0] == 6 + 4 + 2 + 4


def test_gradients_that_meet_are_added_up(ops):
    x = stream(ops)
    ops.add(ops.pointwise(x, "a"), ops.pointwise(x, "b"))
    one = bytes_of(eager(ops.listing.ops))[1]
    assert one == 2 * (4 + 4) + 3 * 4


@each_model
def test_compiled_moves_less_than_op_by_op(model):
    work = work_of(model.structure(model.context_length))
    eagerly, compiled = (work.of_block(model.dims, compiled=how) for how in (False, True))
    assert 0 < compiled.moved < eagerly.moved
    assert 0 < compiled.kernels < eagerly.kernels


def _blocks(model):
    """Return the weights of all blocks, and of how many each that is listed stands."""
    n, layers = model.dims, range(model.n_layer)
    return [shapes for layer in layers for shapes in model.block(n, layer).items()], 1 if model.alike else len(layers)


@each_model
def test_every_matrix_of_a_block_is_multiplied_once(model):
    block = work_of(model.structure(model.context_length)).of_block(model.dims, compiled=True)
    weights, counted = _blocks(model)
    matrices = [shape for name, shape in weights if len(shape) > 1 and "value_embed" not in name]
    listed = sorted((outs, ins) for outs, ins, times in block.products for _ in range(times * block.times))
    assert listed == sorted(matrices)
    assert block.times * block.matrices == sum(prod(shape) for shape in matrices)
    assert (block.heads, block.attended) == (counted * model.n_head, counted * model.n_head * model.dims.D)


@each_model
def test_what_is_looked_up_or_scales_a_layer_multiplies_nothing(model):
    weights = work_of(model.structure(model.context_length)).weights_of(model.dims)
    of_blocks, _ = _blocks(model)
    shapes = [*model.below(model.dims).items(), *of_blocks]
    head = model.embedding if model.tied_embeddings else None
    idle = [prod(shape) for name, shape in shapes if (name in LOOKED_UP and name != head) or "value_embed" in name]
    lambdas = 2 * model.n_layer + 2 if model.architecture == "nanochat" else 0
    assert weights.elements == model.parameters(model.dims)
    assert weights.multiplied == weights.elements - sum(idle) - lambdas
    assert weights.tensors == len(of_blocks)


@pytest.mark.parametrize("depth", [2, 12, 20, 24])
def test_nanochats_flops_are_its_own_count(depth):
    width = -(-64 * depth // 128) * 128
    model = Nanochat(n_layer=depth, n_head=width // 128, n_embd=width, vocab_size=32768)
    embeddings = sum(model.has_value_embedding(layer) for layer in range(depth))
    linear = depth * 12 * width**2 + embeddings * 12 * model.n_head + 24 + 32768 * width
    attention = sum(12 * width * (window or 2048) for window in model.windows(2048))  # estimate_flops in its gpt.py
    assert model_per_token(model, model.dims, T=2048) == 6 * linear + attention


def test_windows_are_masks_that_hide_nothing_from_a_kernel():
    model = MODELS["nanochat"]
    short, whole = (work_of(model.structure(T)).of_block(model.dims, compiled=True) for T in (512, 128))
    assert short.windowed == 4 * model.n_embd  # SSSLSL: the top layer's is never short
    assert whole.windowed == 0
    assert short.attended == whole.attended


def test_arrays_of_sizes_are_the_sizes_alone():
    model = GPT2(**SMALL)
    work = work_of(model.structure(1024))
    widths = np.array([64, 128, 768])
    many = work.of_block(model.sized(2, 1, widths), compiled=False)
    for i, width in enumerate(widths.tolist()):
        one = work.of_block(model.sized(2, 1, width), compiled=False)
        assert (many.moved[i], many.matrices[i]) == (one.moved, one.matrices)
