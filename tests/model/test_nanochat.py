"""nanochat's shape and counts, against its own code's figures."""

import pytest

from fwplan.estimators.parameters import weights
from fwplan.estimators.speed import model_per_token
from fwplan.estimators.work.work import work_of
from fwplan.model.nanochat import Nanochat

# num_scaling_params()["total"], num_matmul_params() and estimate_flops() of nanochat/gpt.py at commit
# 92d63d4e8bb4df75c3b71618f31ddde2378b2bcd, run on the meta device for the shapes that scripts/base_train.py builds:
# vocabulary 32,768, context 2,048.
OF_DEPTH = {
    4: (36_700_242, 11_534_408, 80_216_496),
    12: (286_261_730, 110_100_936, 759_696_048),
    20: (896_533_746, 435_160_264, 2_886_212_784),
    24: (1_384_122_122, 729_810_648, 4_775_225_616),
}


def of_depth(depth):
    return Nanochat(n_layer=depth, n_embd=64 * depth, n_head=depth // 2)


@pytest.mark.parametrize("depth", OF_DEPTH)
def test_parameters_and_flops_are_nanochats_own(depth):
    model = of_depth(depth)
    total, multiplied, flops = OF_DEPTH[depth]
    assert model.parameters(model.dims) == sum(weight.numel for weight in weights(model)) == total
    assert work_of(model.structure(2048)).weights_of(model.dims).multiplied == multiplied
    assert model_per_token(model, model.dims, T=2048) == flops


def test_grouped_queries_and_a_padded_vocabulary_count_as_nanochats_own():
    model = Nanochat(n_layer=5, n_embd=192, n_head=6, n_kv_head=2, vocab_size=1000, context_length=512)
    assert model.parameters(model.dims) == 2_556_012


def test_windows_are_tiled_and_the_top_layer_sees_all():
    model = of_depth(8)
    assert model.windows(2048) == [512, 512, 512, None, 512, 512, 512, None]
    assert model.windows(512) == [None] * 8  # no longer than the window
    assert Nanochat(n_layer=2, n_embd=64, n_head=2, window_pattern="S", context_length=600).windows(600) == [256, None]


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"n_kv_head": 4}, "does not divide"),
        ({"n_head": 64}, "even"),
        ({"n_embd": 12}, "24 channels"),
        ({"dropout": 0.1}, "dropout"),
        ({"tied_embeddings": True}, "tied"),
        ({"window_pattern": "SLX"}, "pattern"),
    ],
)
def test_what_nanochat_cannot_build_is_refused(wrong, says):
    with pytest.raises(ValueError, match=says):
        Nanochat(**{"n_layer": 2, "n_embd": 192, "n_head": 6} | wrong)


def test_models_that_differ_in_sizes_alone_are_one_structure():
    wide, narrow = of_depth(12), Nanochat(n_layer=12, n_embd=64, n_head=2)
    assert wide.structure(2048) is narrow.structure(2048)
    assert wide.structure(2048) is not wide.structure(512)  # whose windows hide nothing
    assert wide.structure(2048) is not of_depth(20).structure(2048)
