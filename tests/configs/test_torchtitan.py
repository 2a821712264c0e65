"""torchtitan's job configs: flavors, shards, what is recomputed; older names; what is refused."""

import pytest

from fwplan.configs import load_config
from fwplan.errors import FwplanError

JOB = """\
[job]
dump_folder = "./outputs"
description = "Llama 3 8B training"

[metrics]
log_freq = 10

[model]
name = "llama3"
flavor = "8B"
hf_assets_path = "./assets/hf/Llama-3.1-8B"
# converters = ["float8"]

[optimizer]
name = "AdamW"
lr = 3e-4
eps = 1e-8

[lr_scheduler]
warmup_steps = 200  # lr scheduler warm up
min_lr_factor = 0.1

[training]
local_batch_size = 1
seq_len = 8192
max_norm = 1.0  # grad norm clipping
steps = 1000
dataset = "c4"

[parallelism]
data_parallel_replicate_degree = 1
data_parallel_shard_degree = -1
tensor_parallel_degree = 1

[compile]
enable = false
components = ["model", "loss"]

[activation_checkpoint]
mode = "full"  # ["none", "selective", "full"]
selective_ac_option = "op"

[validation]
enable = false
"""
OLDER = """\
[model]
name = "llama3"
flavor = "8B"
norm_type = "rmsnorm"
tokenizer_path = "./tokenizer.model"
[optimizer]
name = "AdamW"
lr = 3e-4
fused = true
[training]
batch_size = 2
seq_len = 4096
warmup_steps = 100
steps = 500
data_parallel_degree = -1
tensor_parallel_degree = 1
compile = true
[activation_checkpoint]
mode = "selective"
selective_ac_option = "2"
"""


@pytest.fixture
def load(tmp_path):
    """Return a function that reads a text, one of its lines changed, as a job config."""

    def read(text=JOB, *overrides, change=("", ""), world_size=1):
        before, after = change
        assert before in text
        path = tmp_path / "job.toml"
        path.write_text(text.replace(before, after, 1) if before else text, encoding="utf-8")
        return load_config(path, overrides, world_size=world_size)

    return read


def test_a_job_is_read_whole(load):
    loaded = load()
    model, train = loaded.spec.model, loaded.spec.train
    assert (loaded.kind, model.parameters(model.dims)) == ("torchtitan", 8_030_261_248)
    assert (loaded.spec.sequence_length, train.micro_batch_size, train.max_steps) == (8192, 1, 1000)
    assert (train.dtype, train.compile, train.checkpointing, train.checkpoint_every) == ("bfloat16", False, "block", 1)
    assert (train.optimizer.learning_rate, train.schedule.min_lr, train.schedule.warmup_steps) == (
        3e-4,
        pytest.approx(3e-5),
        200,
    )
    assert (loaded.ignored, loaded.uncounted) == ((), ())
    assert loaded.lines["train.micro_batch_size"] == 24
    assert loaded.lines["model.n_layer"] == 10
    assert any("238fa99" in note for note in loaded.notes)


def test_older_names_are_read_too(load):
    train = load(OLDER).spec.train
    assert (train.micro_batch_size, train.schedule.warmup_steps, train.compile) == (2, 100, True)
    assert (train.checkpointing, train.checkpoint_every) == ("block", 2)
    assert load(OLDER).uncounted == ("each block compiled by itself",)


@pytest.mark.parametrize(
    ("name", "flavor", "count"),
    [
        ("llama3", "debugmodel", 6_163_712),
        ("llama3", "405B", 405_853_388_800),
        ("qwen3", "0.6B", 596_049_920),
        ("qwen3", "8B", 8_190_735_360),
    ],
)
def test_flavors_have_the_parameters_of_their_models(load, name, flavor, count):
    model = load(change=('name = "llama3"\nflavor = "8B"', f'name = "{name}"\nflavor = "{flavor}"')).spec.model
    assert model.parameters(model.dims) == count


def test_several_processes_share_the_weights(load):
    train = load(world_size=8).spec.train
    assert (train.parallel.world_size, train.parallel.name) == (8, "fsdp")
    sharded = load(change=("data_parallel_shard_degree = -1", "data_parallel_shard_degree = 4")).spec.train
    assert (sharded.parallel.world_size, sharded.parallel.name) == (4, "fsdp")
    copied = "data_parallel_replicate_degree = 2\ndata_parallel_shard_degree = 1"
    before = "data_parallel_replicate_degree = 1\ndata_parallel_shard_degree = -1"
    train = load(change=(before, copied)).spec.train
    assert (train.parallel.world_size, train.parallel.name) == (2, "ddp")


def test_the_global_batch_is_shared_by_all_processes(load):
    change = ("local_batch_size = 1", "local_batch_size = 2\nglobal_batch_size = 32")
    assert load(change=change).spec.train.grad_accum_steps == 16
    assert load(change=change, world_size=4).spec.train.grad_accum_steps == 4
    with pytest.raises(FwplanError, match="does not divide by 6") as caught:
        load(change=change, world_size=3)
    assert caught.value.where.endswith(":25")


@pytest.mark.parametrize(
    ("change", "key", "reason"),
    [
        (('# converters = ["float8"]', 'converters = ["float8"]'), "model.converters ['float8']", "quantized"),
        (
            ("tensor_parallel_degree = 1", "tensor_parallel_degree = 2"),
            "parallelism.tensor_parallel_degree 2",
            "cut up",
        ),
        (('flavor = "8B"', 'flavor = "9B"'), "model.flavor '9B' of 'llama3'", "debugmodel, 8B"),
        (('name = "llama3"', 'name = "deepseek_v3"'), "model.flavor '8B' of 'deepseek_v3'", "mixtures of experts"),
        (('name = "AdamW"', 'name = "Adafactor"'), "optimizer.name 'Adafactor'", "another optimizer"),
        (("replicate_degree = 1", "replicate_degree = 2"), "parallelism.data_parallel_replicate_degree 2", "at once"),
    ],
)
def test_what_is_not_counted_is_refused_with_its_line(load, change, key, reason):
    (refused,) = load(change=change).unknown
    assert (refused.key, refused.value, reason in refused.reason) == (key, None, True)
    before, after = change
    assert after.split(" = ")[-1] in JOB.replace(before, after, 1).splitlines()[refused.line - 1]


def test_recomputing_op_by_op_is_asked_about(load):
    (asked,) = load(change=('mode = "full"', 'mode = "selective"')).unknown
    assert (asked.key, asked.value, asked.line) == ("checkpointing", "block", 41)
    loaded = load(JOB, "--checkpointing=none", change=('mode = "full"', 'mode = "selective"'))
    assert loaded.spec.train.checkpointing == "none"
    assert load(change=('mode = "full"', 'mode = "memory_budget"')).unknown[0].line == 40


def test_weights_in_bf16_are_pure_bf16(load):
    assert load(change=('dataset = "c4"', 'dtype = "bfloat16"')).spec.train.dtype == "pure_bfloat16"
    assert load(change=('dataset = "c4"', 'mixed_precision_param = "float32"')).spec.train.dtype == "float32"


def test_what_is_not_understood_is_named_with_its_line(load):
    loaded = load(change=('dataset = "c4"', "wombats = 3"))
    assert loaded.uncounted == ("training.wombats (line 28)",)


@pytest.mark.parametrize(
    ("text", "message", "where"),
    [
        ("[model\nname = 1\n", "not valid TOML", ":1"),
        ("a = 1\na = 2\n", "not valid TOML: Cannot overwrite", ":2"),
        ("[tool]\nname = 'x'\n", "of TOML files torchtitan's", None),
    ],
)
def test_toml_that_is_refused(load, text, message, where):
    with pytest.raises(FwplanError, match=message) as caught:
        load(text)
    assert (caught.value.where or "").endswith(where or "")
