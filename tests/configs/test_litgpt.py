"""litgpt's YAML files: a checkpoint's model, a pretraining run, a finetuning run; what of them is refused."""

import pytest

from fwplan.configs import load_config
from fwplan.errors import FwplanError

# As a checkpoint folder of pythia-160m holds it: a dump of every field.
PYTHIA = """\
attention_logit_softcapping: null
attn_bias: false
bias: true
block_size: 2048
final_logit_softcapping: null
gelu_approximate: none
head_size: 64
hf_config:
  name: pythia-160m
  org: EleutherAI
intermediate_size: 3072
lm_head_bias: false
mlp_class_name: GptNeoxMLP
n_embd: 768
n_expert: 0
n_expert_per_token: 0
n_head: 12
n_layer: 12
n_query_groups: 12
name: pythia-160m
norm_class_name: LayerNorm
norm_eps: 1.0e-05
norm_qk: false
padded_vocab_size: 50304
padding_multiple: 128
parallel_residual: true
post_attention_norm: false
rope_adjustments: null
rope_base: 10000
rope_condense_ratio: 1
rotary_percentage: 0.25
scale_embeddings: false
shared_attention_norm: false
sliding_window_size: null
vocab_size: 50254
"""
PRETRAIN = """\
# a llama of one's own
model_name: stories15M
model_config:
  name: stories15M
  block_size: 256
  vocab_size: 32000
  padding_multiple: 64
  n_layer: 6
  n_head: 6
  n_embd: 288
  rotary_percentage: 1
  parallel_residual: false
  bias: false
  norm_class_name: RMSNorm
  mlp_class_name: LLaMAMLP
  intermediate_size: 768
out_dir: out/pretrain/stories15M
precision: bf16-mixed
resume: false
data: TinyStories
train:
  save_interval: 1000
  global_batch_size: 512
  micro_batch_size: 128
  lr_warmup_steps: 1000
  epochs:
  max_tokens: 9700000000
  max_seq_length: 256
  tie_embeddings: true
  max_norm: 1.0
  min_lr: 0.0
eval:
  interval: 2000
  max_iters: 100
optimizer:
  class_path: torch.optim.AdamW
  init_args:
    lr: 5e-4
    weight_decay: 0.1
    betas:
      - 0.9
      - 0.95
devices: auto
seed: 42
"""
FINETUNE = """\
checkpoint_dir: checkpoints/meta-llama/Llama-3.2-1B
precision: bf16-true
devices: 1
data:
  class_path: litgpt.data.Alpaca2k
  init_args:
    mask_prompt: false
train:
  global_batch_size: 64
  micro_batch_size: 4
  max_seq_length: 512
  max_norm:
optimizer:
  class_path: torch.optim.AdamW
  init_args:
    lr: 0.0002
"""


@pytest.fixture
def load(tmp_path):
    """Return a function that reads a text as a YAML file."""

    def read(text, *overrides, name="config.yaml", world_size=1, **changes):
        for before, after in changes.items():
            assert f"{before}:" in text
            text = "\n".join(after if line.strip().startswith(f"{before}:") else line for line in text.split("\n"))
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return load_config(path, overrides, world_size=world_size)

    return read


def parameters(loaded):
    model = loaded.spec.model
    return model.parameters(model.dims)


def test_a_checkpoint_is_a_model_whose_run_is_asked_for(load):
    loaded = load(PYTHIA, name="model_config.yaml")
    assert [(one.key, one.value) for one in loaded.unknown] == [("batch_size", "VALUE")]
    loaded = load(PYTHIA, "--batch_size=4", name="model_config.yml")
    assert (loaded.kind, loaded.spec.model.architecture, parameters(loaded)) == ("litgpt", "pythia", 162_322_944)
    assert (loaded.ignored, loaded.uncounted) == ((), ())
    assert loaded.lines["model.n_layer"] == 18


def test_a_pretraining_run_is_read_whole(load):
    loaded = load(PRETRAIN)
    model, train = loaded.spec.model, loaded.spec.train
    assert (model.architecture, model.n_hidden, model.tied_embeddings, model.vocab_size) == ("llama", 768, True, 32000)
    assert parameters(loaded) == 15_191_712
    assert (train.micro_batch_size, train.grad_accum_steps, loaded.spec.sequence_length) == (128, 4, 256)
    assert (train.dtype, train.compile, train.max_tokens, train.grad_clip) == ("bfloat16", True, 9_700_000_000, 1.0)
    assert loaded.lines["train.micro_batch_size"] == 24
    assert loaded.ignored == ()
    assert [place for place in loaded.uncounted if "128 rows" in place]


def test_a_finetuning_run_knows_its_model_by_name(load):
    loaded = load(FINETUNE)
    assert (parameters(loaded), loaded.pretrained) == (1_498_482_688, True)  # untied, other than Meta's
    train = loaded.spec.train
    assert (train.dtype, train.compile, train.grad_clip, train.grad_accum_steps) == ("pure_bfloat16", False, 0.0, 16)
    (asked,) = load(FINETUNE, max_seq_length="").unknown
    assert asked.key == "sequence_length"


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("pythia-14m", 14_067_712),
        ("EleutherAI/pythia-70m-deduped", 70_426_624),
        ("tiny-llama-1.1b", 1_100_048_384),
        ("micro-llama-300M", 304_636_928),
        ("Llama-2-7b-hf", 6_738_415_616),
        ("Qwen2.5-0.5B", 630_167_424),  # untied: 151,936 x 896 more than Qwen's
    ],
)
def test_models_that_litgpt_knows_by_name(load, name, count):
    text = f"model_name: {name}\ntrain:\n  micro_batch_size: 1\n"
    assert parameters(load(text)) == count


def test_what_a_run_leaves_out_is_the_commands_default(load):
    train = load("model_name: pythia-14m\nprecision:\n").spec.train
    assert (train.micro_batch_size, train.grad_accum_steps, train.max_tokens) == (4, 128, 3_000_000_000_000)
    assert (train.dtype, train.compile) == ("bfloat16", True)


def test_the_global_batch_is_shared_by_all_processes(load):
    train = load(PRETRAIN, world_size=2).spec.train
    assert (train.grad_accum_steps, load(PRETRAIN, devices="devices: 2").spec.train.grad_accum_steps) == (2, 2)
    with pytest.raises(FwplanError, match="less than a micro-batch") as caught:
        load(PRETRAIN, global_batch_size="  global_batch_size: 64")
    assert caught.value.where.endswith(":23")
    assert load(PRETRAIN, "--micro_batch_size=64", "--grad_accum_steps=1").spec.train.grad_accum_steps == 1


def test_padding_is_litgpts_where_no_padded_size_is_given(load):
    assert load(PRETRAIN, padding_multiple="  padding_multiple: 512").spec.model.vocab_size == 32256
    assert load(PRETRAIN, padding_multiple="  padded_vocab_size: 32064").spec.model.vocab_size == 32064


@pytest.mark.parametrize(
    ("change", "key", "reason"),
    [
        ({"mlp_class_name": "  mlp_class_name: GemmaMLP"}, "mlp_class_name 'GemmaMLP'", "llama's is LLaMAMLP"),
        ({"mlp_class_name": "  mlp_class_name: LLaMAMoE"}, "mlp_class_name 'LLaMAMoE'", "llama's is LLaMAMLP"),
        ({"bias": "  n_expert: 8\n  bias: false"}, "n_expert 8", "mixtures of experts are not modelled"),
        ({"parallel_residual": ""}, "parallel_residual True", "follow one another"),  # litgpt's default
        ({"rotary_percentage": "  rotary_percentage: 0.5"}, "rotary_percentage 0.5", "the whole head"),
        ({"bias": "  post_mlp_norm: true\n  bias: false"}, "post_mlp_norm True", "llama and Pythia have none"),
        (
            {"class_path": "  class_path: torch.optim.Adafactor"},
            "optimizer.class_path 'torch.optim.Adafactor'",
            "optim",
        ),
        ({"devices": "num_nodes: 2"}, "num_nodes 2", "between nodes"),
    ],
)
def test_what_litgpt_can_make_beyond_that_is_refused(load, change, key, reason):
    loaded = load(PRETRAIN, **change)
    (refused,) = loaded.unknown
    assert (refused.key, refused.value, reason in refused.reason) == (key, None, True)
    assert loaded.spec is None


def test_an_unknown_model_an_unknown_precision_and_adapters_are_refused(load):
    (refused,) = load("model_name: phi-2\nprecision: bf16-mixed\n").unknown
    assert (refused.key, refused.line) == ("model_name 'phi-2'", 1)
    assert [one.key for one in load(PRETRAIN, precision="precision: fp8").unknown] == ["dtype"]
    assert [one.key for one in load(FINETUNE + "lora_r: 8\nlora_alpha: 16\n").unknown] == ["lora_r"]
    without = load(PRETRAIN, intermediate_size="").unknown
    assert [one.key for one in without] == ["n_hidden"]


def test_a_window_is_asked_about_where_sequences_are_longer(load):
    windowed = {"bias": "  sliding_window_size: 128\n  bias: false"}
    assert [(one.key, one.value) for one in load(PRETRAIN, **windowed).unknown] == [("sequence_length", "128")]
    assert load(PRETRAIN, "--sequence_length=128", **windowed).spec is not None


def test_what_is_not_understood_is_named_with_its_line(load):
    loaded = load(PYTHIA + "wombats: 3\n", "--batch_size=4")
    assert loaded.uncounted == ("wombats (line 36)",)


@pytest.mark.parametrize(
    ("text", "message", "where"),
    [
        ("a: [1\nb: 2\n", "not valid YAML", ":2"),
        ("a: &x 1\nb: *x\n", "an alias, which is not read", ":2"),
        ("- 1\n- 2\n", "no mapping", None),
        ("", "no mapping", None),
        ("train:\n  x: 1\n  x: 2\n", "train.x is set twice", ":3"),
        ("a: !!python/object:os.system 1\n", "could not determine a constructor", ":1"),
        ("[" * 5000, "nested too deeply|not valid YAML", None),
        ("learning_rate: 3e-4\n", "cannot tell what", None),
        ("n_layer: 6\nn_embd: 384\nn_head: 6\nblock_size: 256\n", "cannot tell what", None),  # some other script's
    ],
)
def test_yaml_that_is_refused(load, text, message, where):
    with pytest.raises(FwplanError, match=message) as caught:
        load(text)
    assert (caught.value.where or "").endswith(where or "")


def test_numbers_without_a_point_are_numbers(load):
    assert load(PRETRAIN).spec.train.optimizer.learning_rate == 5e-4
    assert load(PRETRAIN, lr="    lr: 5E-4").spec.train.optimizer.learning_rate == 5e-4


def test_a_floor_above_the_rate_is_no_decay(load):
    loaded = load(FINETUNE, lr="    lr: 2.0e-5")  # below the command's own min_lr
    assert loaded.spec.train.schedule.min_lr == 2e-5
    assert any("read as no decay" in note for note in loaded.notes)
