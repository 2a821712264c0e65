import pytest
import torch

from fwplan.estimators.parameters import count_parameters, weights
from fwplan.model.modules import build_model
from fwplan.spec import ModelSpec, RunSpec, TrainSpec

GPT2 = {
    "small": (12, 12, 768, 124_439_808),
    "medium": (24, 16, 1024, 354_823_168),
    "large": (36, 20, 1280, 774_030_080),
    "xl": (48, 25, 1600, 1_557_611_200),
}
# CLAIMS: C1, C2 with heads that divide, C3, C4, C5, C6, and the rows for 48 and 16-20 GB.
CLAIMED = [(12, 12, 384), (12, 8, 512), (12, 16, 512), (12, 12, 576), (10, 10, 640), (12, 12, 768), (6, 6, 384),
           (12, 12, 672), (8, 8, 512)]  # fmt: skip


def _bundled(model):
    with torch.device("meta"):
        return build_model(RunSpec(model=model, train=TrainSpec(micro_batch_size=1)))


@pytest.mark.parametrize("size", GPT2)
def test_openai_sizes_are_exact(size):
    depth, heads, width, expected = GPT2[size]
    model = ModelSpec(n_layer=depth, n_head=heads, n_embd=width, vocab_size=50_257, bias=True)
    assert count_parameters(model).total == expected


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [*(shape[:3] for shape in GPT2.values()), *CLAIMED])
def test_count_is_the_bundled_models_own(shape, bias, tied):
    model = ModelSpec(n_layer=shape[0], n_head=shape[1], n_embd=shape[2], bias=bias, tied_embeddings=tied)
    bundled = _bundled(model)
    assert count_parameters(model).total == sum(p.numel() for p in bundled.parameters())
    assert count_parameters(model).non_position == count_parameters(model).total - bundled.trunk.wpe.weight.numel()
    assert {w.name: w.shape for w in weights(model)} == {n: tuple(p.shape) for n, p in bundled.named_parameters()}


@pytest.mark.parametrize("bias", [True, False])
def test_the_sum_of_the_weights_is_the_count(bias):
    model = ModelSpec(
        n_layer=3, n_head=2, n_embd=10, vocab_size=77, context_length=13, bias=bias, tied_embeddings=False
    )
    assert sum(w.numel for w in weights(model)) == count_parameters(model).total
