"""What a spec says of an architecture: which there are, what they weigh, what cannot be built."""

from __future__ import annotations

import numpy as np
import pytest

from fwplan.errors import FwplanError
from fwplan.estimators.parameters import count_parameters, weights
from fwplan.model.architecture import sharing
from fwplan.model.gpt2 import GPT2
from fwplan.model.llama import Llama
from fwplan.model.modules import build_model
from fwplan.model.pythia import Pythia
from fwplan.spec import RunSpec, TrainSpec, parse_spec

SIZES = {"n_layer": 2, "n_head": 4, "n_embd": 48}


def _parsed(**model):
    return parse_spec({"model": SIZES | model, "train": {"micro_batch_size": 1}}, "spec.json").model


def test_a_document_without_an_architecture_is_gpt2():
    assert _parsed() == GPT2(**SIZES)
    assert _parsed(architecture="llama") == Llama(**SIZES)
    assert _parsed(architecture="pythia") == Pythia(**SIZES)
    assert _parsed(**Llama(**SIZES).model_dump(mode="json")) == Llama(**SIZES)


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ({"architecture": "mamba"}, "model: unknown architecture 'mamba'"),
        ({"architecture": "llama", "bias": True}, "unknown key 'model.bias'"),
        ({"architecture": "llama", "n_layer": 0}, "model.n_layer: Input should be greater"),
        ({"architecture": "llama", "n_kv_head": 3}, "model: n_kv_head 3 does not divide n_head 4"),
        ({"architecture": "llama", "n_head": 16}, "model: a head is 3 wide"),
        ({"architecture": "llama", "n_head": 5}, "n_embd 48 is not divisible by n_head 5"),
        ({"architecture": "llama", "rope_theta": 1}, "model.rope_theta"),
        ({"architecture": "pythia", "n_head": 5}, "n_embd 48 is not divisible by n_head 5"),
        ({"architecture": "pythia", "n_head": 12}, "rotary_share 0.25 of a head 4 wide"),
    ],
)
def test_what_cannot_be_built_is_named_by_its_keys(model, said):
    with pytest.raises(FwplanError) as caught:
        _parsed(**model)
    assert said in str(caught.value)
    assert caught.value.hint


def test_an_unknown_architecture_is_told_the_known_ones():
    with pytest.raises(FwplanError) as caught:
        _parsed(architecture="mamba")
    assert "'gpt2', 'llama'" in caught.value.hint


def test_an_unknown_key_is_told_those_of_its_architecture():
    with pytest.raises(FwplanError) as caught:
        _parsed(architecture="llama", bias=True)
    assert "n_kv_head" in caught.value.hint


# Elements as transformers 5.23 counts them (torch 2.13, meta device, each model's config.json): sum of p.numel() over
# LlamaForCausalLM's, Qwen2ForCausalLM's, Qwen3ForCausalLM's, GPTNeoXForCausalLM's parameters.
PUBLIC = {
    "meta-llama/Llama-2-7b-hf": (
        6_738_415_616,
        Llama(n_layer=32, n_head=32, n_embd=4096, vocab_size=32_000),
    ),
    "meta-llama/Meta-Llama-3-8B": (
        8_030_261_248,
        Llama(n_layer=32, n_head=32, n_kv_head=8, n_embd=4096, n_hidden=14_336, vocab_size=128_256),
    ),
    "meta-llama/Llama-3.2-1B": (
        1_235_814_400,
        Llama(
            n_layer=16, n_head=32, n_kv_head=8, n_embd=2048, n_hidden=8192, vocab_size=128_256, tied_embeddings=True
        ),
    ),
    "TinyLlama/TinyLlama_v1.1": (
        1_100_048_384,
        Llama(n_layer=22, n_head=32, n_kv_head=4, n_embd=2048, vocab_size=32_000),
    ),
    "HuggingFaceTB/SmolLM2-135M": (
        134_515_008,
        Llama(n_layer=30, n_head=9, n_kv_head=3, n_embd=576, vocab_size=49_152, tied_embeddings=True),
    ),
    "Qwen/Qwen2.5-0.5B": (
        494_032_768,
        Llama(
            n_layer=24, n_head=14, n_kv_head=2, n_embd=896, n_hidden=4864, vocab_size=151_936, tied_embeddings=True,
            attention_bias="qkv",
        ),
    ),
    "Qwen/Qwen3-0.6B": (
        596_049_920,
        Llama(
            n_layer=28, n_head=16, n_kv_head=8, head_width=128, n_embd=1024, n_hidden=3072, vocab_size=151_936,
            tied_embeddings=True, qk_norm=True,
        ),
    ),
    "Qwen/Qwen3-4B": (
        4_022_468_096,
        Llama(
            n_layer=36, n_head=32, n_kv_head=8, head_width=128, n_embd=2560, n_hidden=9728, vocab_size=151_936,
            tied_embeddings=True, qk_norm=True,
        ),
    ),
    "EleutherAI/pythia-160m": (162_322_944, Pythia(n_layer=12, n_head=12, n_embd=768)),
    "EleutherAI/pythia-1.4b": (1_414_647_808, Pythia(n_layer=24, n_head=16, n_embd=2048)),
}  # fmt: skip


@pytest.mark.parametrize("name", PUBLIC)
def test_public_models_have_as_many_parameters_as_transformers_counts(name):
    counted, model = PUBLIC[name]
    assert count_parameters(model).total == counted


VARIANTS = [
    Llama(**SIZES),
    Llama(**SIZES, n_kv_head=2, qk_norm=True, tied_embeddings=True, n_hidden=40),
    Llama(**SIZES, n_kv_head=1, head_width=20, attention_bias="qkv"),
    Llama(**SIZES, attention_bias="all", mlp_bias=True),
    Pythia(**SIZES | {"n_head": 2}),
    Pythia(**SIZES, rotary_share=1, tied_embeddings=True, n_hidden=100),
]


@pytest.mark.parametrize("model", VARIANTS)
def test_the_weights_are_the_modules(model):
    module = build_model(RunSpec(model=model, train=TrainSpec(micro_batch_size=1)))
    assert [(w.name, w.shape) for w in weights(model)] == [(k, tuple(p.shape)) for k, p in module.named_parameters()]
    assert module.state_dict().keys() - {"lm_head.weight"} == {w.name for w in weights(model)} - {"lm_head.weight"}


@pytest.mark.parametrize("model", VARIANTS)
def test_many_sizes_at_once_are_each_ones_own(model):
    L, H, C = np.array([2, 5]), np.array([4, 8]), np.array([48, 96])
    together = model.parameters(model.sized(L, H, C))
    alone = [
        count_parameters(_scaled(model, *(int(x) for x in sizes))).total for sizes in zip(L, H, C, strict=True)
    ]  # fmt: skip
    assert together.tolist() == alone


def _scaled(model, L, H, C):
    """The model of another size, built by hand: as many heads share a key-value head as before."""
    fields = model.model_dump() | {"n_layer": L, "n_head": H, "n_embd": C}
    if fields.get("n_kv_head", 1) not in {None, 1}:  # one that all share stays one
        fields["n_kv_head"] = H * fields["n_kv_head"] // model.n_head
    return type(model)(**fields)


def test_heads_that_cannot_share_have_their_own():
    model = Llama(**SIZES, n_kv_head=2)
    assert model.sized(2, np.array([3, 4, 6]), 48).G.tolist() == [3, 2, 3]
    assert Llama(**SIZES, n_kv_head=1).sized(2, np.array([3, 4, 6]), 48).G.tolist() == [1, 1, 1]


def test_models_that_differ_in_sizes_alone_have_one_structure():
    grouped = Llama(**SIZES, n_kv_head=2)
    assert grouped.structure(8) is Llama(n_layer=9, n_head=12, n_kv_head=4, n_embd=240, n_hidden=7).structure(8)
    assert Llama(**SIZES, n_kv_head=4).structure(8) is Llama(**SIZES).structure(8)
    assert sharing(grouped.structure(8).n_head, grouped.structure(8).n_kv_head) == "several"
    assert len({model.structure(8) for model in VARIANTS}) == len(VARIANTS)
