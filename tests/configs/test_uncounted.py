"""Structure that is not counted never gets a verdict; what GPT-2 has under another name does."""

import pytest

import fwplan
from fwplan.configs import load_config
from fwplan.errors import ExitCode, FwplanError

RUN = "n_layer = 6\nn_head = 6\nn_embd = 384\nbatch_size = 4\n"
UNCOUNTED = (
    "n_kv_head = 2", "num_key_value_heads = 2", "n_kv_heads = 1", "n_query_groups = 2", "num_experts = 8",
    "use_moe = True", "n_experts_per_tok = 2", "moe_top_k = 2", "n_latent = 64", "kv_lora_rank = 16",
    "use_lora = True", "use_rope = True", "rope_scaling = 'linear'", "rope_theta = 10000", "rotary = True",
    "pos_emb = 'rope'", "position_embedding_type = 'alibi'", "norm_type = 'rmsnorm'", "use_rmsnorm = True",
    "qk_norm = True", "activation = 'swiglu'", "use_swiglu = True", "mlp_ratio = 8", "ffn_dim = 1000",
    "intermediate_size = 999", "sliding_window = 512", "optimizer_name = 'muon'", "use_muon = True", "mtp_n = 2",
    "llama_config_path = 'a.json'", "architecture_type = 'mamba'", "quantize = 'nf4'",
)  # fmt: skip
COUNTED = (
    "n_kv_head = 6", "use_moe = False", "num_experts = 0", "rope_scaling = None",
    "use_rope = False\nrope_theta = 10000",
    "norm_type = 'layernorm'", "activation = 'gelu'", "mlp_ratio = 4", "intermediate_size = 1536",
    "pos_emb = 'learned'",
    "optimizer_name = 'AdamW'\nmuon_lr = 0.02", "num_experts = 1", "n_latent = 0", "qat = ''\nqat_start = 0",
    "use_kv_cache = True",
)  # fmt: skip


def _load(tmp_path, text, *overrides):
    path = tmp_path / "config.py"
    path.write_text(text, encoding="utf-8")
    return load_config(path, overrides)


@pytest.mark.parametrize("setting", UNCOUNTED)
def test_structure_is_refused(tmp_path, setting):
    (unknown,) = _load(tmp_path, RUN + setting + "\n").unknown
    assert unknown.key == setting
    assert (unknown.line, unknown.value) == (5, None)


@pytest.mark.parametrize("setting", COUNTED)
def test_what_is_off_or_as_in_gpt2_counts(tmp_path, setting):
    assert _load(tmp_path, RUN + setting + "\n").spec == _load(tmp_path, RUN).spec


def test_a_switch_may_be_overridden(tmp_path):
    assert _load(tmp_path, RUN + "use_rope = True\n", "--use_rope=False").unknown == ()
    assert _load(tmp_path, RUN + "use_rope = False\n", "--use_rope=True").spec is None


def test_all_of_it_is_named_at_once_with_the_command_that_says_what_can_be_said(tmp_path):
    config = tmp_path / "config.py"
    config.write_text(RUN + "n_kv_head = 2\nuse_moe = True\ndataset = 'my_words'\ndtype = pick()\n", encoding="utf-8")
    with pytest.raises(FwplanError) as caught:
        fwplan.explain(config, gpu="RTX 4070")
    assert caught.value.exit_code is ExitCode.UNDECIDABLE
    for named in ("n_kv_head = 2 (line 5)", "use_moe = True (line 6)", "vocab_size (line 7)", "dtype (line 8)"):
        assert named in caught.value.message
    assert "fwplan trace" in caught.value.hint
    assert "--" not in caught.value.hint.replace("--help", "")  # no command would help
    config.write_text(RUN + "dataset = 'my_words'\ndtype = pick()\nn_layer = 6 if f() else 8\n", encoding="utf-8")
    with pytest.raises(FwplanError) as caught:
        fwplan.explain(config, ["--batch_size=2"], gpu="RTX 4070")
    expected = f"fwplan explain {config} --gpu 'RTX 4070' -- --batch_size=2 "
    assert expected in caught.value.hint
    said = caught.value.hint.partition(expected)[2].split()
    assert sorted(said) == ["--dtype=VALUE", "--n_layer=VALUE", "--vocab_size=VALUE"]


def test_a_slip_of_a_shapes_name_comes_with_its_value(tmp_path):
    config = tmp_path / "config.py"
    config.write_text("n_layre = 24\nblock_szie = 512\nbatch_size = 4\n", encoding="utf-8")
    with pytest.raises(FwplanError) as caught:
        fwplan.explain(config, vram=8)
    assert caught.value.hint.endswith("--vram 8 -- --n_layer=24 --block_size=512")
    found = fwplan.explain(config, ["--n_layer=24", "--block_size=512"], vram=8)
    assert (found.estimate.spec.model.n_layer, found.estimate.spec.model.context_length) == (24, 512)
