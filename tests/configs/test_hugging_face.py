"""Hugging Face's config.json of every family: what public models' files say, what is left out, what is refused."""

import json

import pytest

from fwplan.configs import load_config
from fwplan.configs.documents.families import FAMILIES
from fwplan.errors import FwplanError

# As the models' pages have them, without the keys that name tokens and files.
TINYLLAMA = {
    "architectures": ["LlamaForCausalLM"],
    "hidden_act": "silu",
    "hidden_size": 2048,
    "intermediate_size": 5632,
    "max_position_embeddings": 2048,
    "model_type": "llama",
    "num_attention_heads": 32,
    "num_hidden_layers": 22,
    "num_key_value_heads": 4,
    "pretraining_tp": 1,
    "rms_norm_eps": 1e-05,
    "rope_scaling": None,
    "tie_word_embeddings": False,
    "torch_dtype": "float32",
    "transformers_version": "4.31.0.dev0",
    "use_cache": True,
    "vocab_size": 32000,
}
LLAMA_3_2_1B = {
    "architectures": ["LlamaForCausalLM"],
    "attention_bias": False,
    "attention_dropout": 0.0,
    "head_dim": 64,
    "hidden_act": "silu",
    "hidden_size": 2048,
    "intermediate_size": 8192,
    "max_position_embeddings": 131072,
    "mlp_bias": False,
    "model_type": "llama",
    "num_attention_heads": 32,
    "num_hidden_layers": 16,
    "num_key_value_heads": 8,
    "rms_norm_eps": 1e-05,
    "rope_scaling": {"factor": 32.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0, "rope_type": "llama3"},
    "rope_theta": 500000.0,
    "tie_word_embeddings": True,
    "vocab_size": 128256,
}
SMOLLM2_135M = {
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 576,
    "intermediate_size": 1536,
    "is_llama_config": True,
    "max_position_embeddings": 8192,
    "model_type": "llama",
    "num_attention_heads": 9,
    "num_hidden_layers": 30,
    "num_key_value_heads": 3,
    "rope_interleaved": False,
    "rope_theta": 100000,
    "tie_word_embeddings": True,
    "transformers.js_config": {"kv_cache_dtype": {"fp16": "float16"}},
    "vocab_size": 49152,
}
QWEN2_5_05B = {
    "hidden_size": 896,
    "intermediate_size": 4864,
    "max_position_embeddings": 32768,
    "max_window_layers": 24,
    "model_type": "qwen2",
    "num_attention_heads": 14,
    "num_hidden_layers": 24,
    "num_key_value_heads": 2,
    "rope_theta": 1000000.0,
    "sliding_window": 32768,
    "tie_word_embeddings": True,
    "use_mrope": False,
    "use_sliding_window": False,
    "vocab_size": 151936,
}
QWEN3_06B = {
    "attention_bias": False,
    "head_dim": 128,
    "hidden_size": 1024,
    "intermediate_size": 3072,
    "max_position_embeddings": 40960,
    "model_type": "qwen3",
    "num_attention_heads": 16,
    "num_hidden_layers": 28,
    "num_key_value_heads": 8,
    "rope_parameters": {"rope_theta": 1000000, "rope_type": "default"},
    "sliding_window": None,
    "tie_word_embeddings": True,
    "vocab_size": 151936,
}
MISTRAL_7B = {
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "max_position_embeddings": 32768,
    "model_type": "mistral",
    "num_attention_heads": 32,
    "num_hidden_layers": 32,
    "num_key_value_heads": 8,
    "sliding_window": None,
    "vocab_size": 32768,
}
PYTHIA_160M = {
    "architectures": ["GPTNeoXForCausalLM"],
    "hidden_act": "gelu",
    "hidden_size": 768,
    "intermediate_size": 3072,
    "max_position_embeddings": 2048,
    "model_type": "gpt_neox",
    "num_attention_heads": 12,
    "num_hidden_layers": 12,
    "rotary_emb_base": 10000,
    "rotary_pct": 0.25,
    "tie_word_embeddings": False,
    "use_parallel_residual": True,
    "vocab_size": 50304,
}
MINIMIND_3 = {
    "dropout": 0.0,
    "flash_attn": True,
    "head_dim": 96,
    "hidden_act": "silu",
    "hidden_size": 768,
    "inference_rope_scaling": False,
    "intermediate_size": 2432,
    "max_position_embeddings": 32768,
    "model_type": "minimind",
    "moe_intermediate_size": 2432,
    "num_attention_heads": 8,
    "num_experts": 4,
    "num_experts_per_tok": 1,
    "num_hidden_layers": 8,
    "num_key_value_heads": 4,
    "rms_norm_eps": 1e-06,
    "rope_theta": 1000000.0,
    "use_moe": False,
    "vocab_size": 6400,
}


@pytest.fixture
def load(tmp_path):
    """Return a function that reads a document as config.json, with a micro-batch and sequences of 1,024 tokens."""

    def read(document, *overrides):
        path = tmp_path / "config.json"
        path.write_text(json.dumps(document, indent=2), encoding="utf-8")
        return load_config(path, overrides or ("--micro_batch_size=8", "--sequence_length=1024"))

    return read


def line_of(document, key):
    """The line that a key has in the file, counted from 1."""
    lines = json.dumps(document, indent=2).splitlines()
    return next(number for number, line in enumerate(lines, 1) if line.strip().startswith(f'"{key}"'))


def parameters(loaded):
    model = loaded.spec.model
    return model.parameters(model.dims)


@pytest.mark.parametrize(
    ("document", "count"),  # as the model's page on the Hub counts them
    [
        (TINYLLAMA, 1_100_048_384),
        (LLAMA_3_2_1B, 1_235_814_400),
        (SMOLLM2_135M, 134_515_008),
        (QWEN2_5_05B, 494_032_768),
        (QWEN3_06B, 596_049_920),
        (MISTRAL_7B, 7_248_023_552),
        (PYTHIA_160M, 162_322_944),
    ],
)
def test_public_models_have_their_parameters(load, document, count):
    loaded = load(document)
    assert (loaded.kind, parameters(loaded)) == ("hf", count)
    assert (loaded.uncounted, loaded.unknown) == ((), ())


def test_every_field_comes_from_its_key_with_its_line(load):
    model = load(LLAMA_3_2_1B).spec.model
    assert (model.n_layer, model.n_head, model.n_kv_head, model.head_width) == (16, 32, 8, 64)
    assert (model.n_embd, model.n_hidden, model.vocab_size, model.context_length) == (2048, 8192, 128256, 131072)
    assert (model.norm_eps, model.rope_theta, model.tied_embeddings) == (1e-5, 500000.0, True)
    assert load(LLAMA_3_2_1B).lines["model.n_kv_head"] == line_of(LLAMA_3_2_1B, "num_key_value_heads")
    qwen = load(QWEN3_06B).spec.model
    assert (qwen.qk_norm, qwen.attention_bias, qwen.rope_theta, qwen.head_width) == (True, "none", 1e6, 128)
    assert load(QWEN2_5_05B).spec.model.attention_bias == "qkv"
    pythia = load(PYTHIA_160M).spec.model
    assert (pythia.architecture, pythia.rotary_share, pythia.n_hidden) == ("pythia", 0.25, 3072)


@pytest.mark.parametrize(
    ("kind", "count"),  # of the models that the classes' defaults describe
    [("llama", 6_738_415_616), ("mistral", 7_241_732_096), ("gpt_neox", 20_554_567_680), ("gpt2", 124_439_808)],
)
def test_what_a_file_leaves_out_is_the_class_default(load, kind, count):
    assert parameters(load({"model_type": kind})) == count


def test_a_null_is_as_many_heads_as_queries_have(load):
    assert load(MISTRAL_7B | {"num_key_value_heads": None}).spec.model.dims.G == 32
    without = {key: value for key, value in MISTRAL_7B.items() if key != "num_key_value_heads"}
    assert load(without).spec.model.dims.G == 8


def test_biases_go_where_the_class_has_them(load):
    assert load(TINYLLAMA | {"attention_bias": True, "mlp_bias": True}).spec.model.attention_bias == "all"
    wrong = TINYLLAMA | {"attention_bias": "some"}
    with pytest.raises(FwplanError, match="attention_bias") as caught:
        load(wrong)
    assert caught.value.where.endswith(f"config.json:{line_of(wrong, 'attention_bias')}")


@pytest.mark.parametrize(
    ("document", "key", "reason"),
    [
        (TINYLLAMA | {"hidden_act": "gelu"}, "hidden_act 'gelu'", "its activation is another"),
        (TINYLLAMA | {"attention_dropout": 0.1}, "attention_dropout 0.1", "dropout inside attention"),
        (TINYLLAMA | {"partial_rotary_factor": 0.5}, "partial_rotary_factor 0.5", "rotary positions on a part"),
        (TINYLLAMA | {"quantization_config": {"bits": 4}}, "quantization_config {'bits': 4}", "quantized"),
        (TINYLLAMA | {"num_local_experts": 8}, "num_local_experts 8", "mixtures of experts are not modelled"),
        (TINYLLAMA | {"model_type": "mixtral"}, "model_type 'mixtral'", "mixtures of experts are not modelled"),
        (QWEN3_06B | {"model_type": "qwen3_moe"}, "model_type 'qwen3_moe'", "mixtures of experts are not modelled"),
        (TINYLLAMA | {"model_type": "deepseek_v3"}, "model_type 'deepseek_v3'", "mixtures of experts"),
        (TINYLLAMA | {"model_type": "gemma3_text"}, "model_type 'gemma3_text'", "only gpt2, llama, qwen2"),
        (PYTHIA_160M | {"use_parallel_residual": False}, "use_parallel_residual False", "one after the other"),
        (PYTHIA_160M | {"hidden_dropout": 0.1}, "hidden_dropout 0.1", "the family's is another"),
        (MINIMIND_3 | {"use_moe": True}, "use_moe True", "mixtures of experts are not modelled"),
    ],
)
def test_what_makes_another_model_is_refused_with_its_reason(load, document, key, reason):
    loaded = load(document)
    (refused,) = loaded.unknown
    assert (loaded.spec, refused.key, refused.value) == (None, key, None)
    assert reason in refused.reason
    assert refused.line == line_of(document, key.partition(" ")[0])


def test_a_window_is_refused_where_sequences_are_longer(load):
    windowed = MISTRAL_7B | {"sliding_window": 4096}
    (asked,) = load(windowed, "--micro_batch_size=8").unknown
    assert (asked.key, asked.value, "window of 4,096" in asked.reason) == ("sequence_length", "4096", True)
    assert any("attention is full" in note for note in load(windowed).notes)
    unsaid = {key: value for key, value in MISTRAL_7B.items() if key != "sliding_window"}
    assert load(unsaid, "--micro_batch_size=8").spec is None  # its class has 4,096 there
    on = QWEN2_5_05B | {"use_sliding_window": True, "sliding_window": 512}
    assert [one.key for one in load(on).unknown] == ["sequence_length"]
    assert load(QWEN2_5_05B, "--micro_batch_size=8").spec.sequence_length == 32768


def test_scaled_positions_change_nothing_and_are_named(load):
    (note,) = [note for note in load(LLAMA_3_2_1B).notes if "rope_scaling" in note]
    assert f"(line {line_of(LLAMA_3_2_1B, 'rope_scaling')})" in note
    newer = QWEN3_06B | {"rope_parameters": {"rope_theta": 1e6, "rope_type": "yarn", "factor": 4.0}}
    assert any("rope_parameters" in note for note in load(newer).notes)


def test_minimind_is_known_by_what_its_versions_write(load):
    third = load(MINIMIND_3).spec.model
    assert (third.qk_norm, third.tied_embeddings, third.n_hidden) == (True, True, 2432)
    second = {key: value for key, value in MINIMIND_3.items() if key != "head_dim"}
    assert not load(second).spec.model.qk_norm
    unsaid = {key: value for key, value in MINIMIND_3.items() if key != "intermediate_size"}
    assert [one.key for one in load(unsaid).unknown] == ["n_hidden"]


def test_a_config_without_its_type_is_known_by_its_class(load):
    without = {key: value for key, value in TINYLLAMA.items() if key != "model_type"}
    assert parameters(load(without)) == 1_100_048_384
    assert parameters(load({k: v for k, v in PYTHIA_160M.items() if k != "model_type"})) == 162_322_944


def test_what_is_not_understood_is_named(load):
    document = TINYLLAMA | {"altup_active": 3, "note": "mine"}
    loaded = load(document)
    assert loaded.uncounted == (f"altup_active (line {line_of(document, 'altup_active')})",)
    assert loaded.ignored == (f"note (line {line_of(document, 'note')})",)


def test_the_model_may_be_changed_and_the_run_is_asked_for(load):
    loaded = load(
        TINYLLAMA, "--micro_batch_size=2", "--n_kv_head=8", "--sequence_length=512", "--total_batch_size=4096"
    )
    assert (loaded.spec.model.n_kv_head, loaded.spec.train.grad_accum_steps) == (8, 4)
    assert [one.key for one in load(TINYLLAMA, "--n_layer=2").unknown] == ["micro_batch_size"]
    with pytest.raises(FwplanError, match="does not divide n_head"):
        load(TINYLLAMA, "--micro_batch_size=2", "--n_kv_head=5")


def test_each_family_says_all_its_sizes():
    for family in FAMILIES.values():
        said = {*family.defaults, *family.always}
        assert {"n_layer", "n_head", "n_embd", "vocab_size", "context_length"} <= said
        assert not said & set(family.only)
