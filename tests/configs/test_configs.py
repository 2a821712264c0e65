"""What a config file is read as, value by value; and that reading one can neither run nor hang anything."""

import contextlib
import json
import os
import time
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fwplan.configs import LoadedConfig, Unknown, load_config
from fwplan.configs.literals import read_python, read_value
from fwplan.errors import ExitCode, FwplanError
from fwplan.parallel.ddp import DDP
from fwplan.spec import ModelSpec, RunSpec, TrainSpec
from fwplan.spec.schedule import Cosine


@pytest.fixture
def load(tmp_path):
    def load(text, *overrides, name="config.py", **keywords):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return load_config(path, overrides, **keywords)

    return load


def shape(loaded: LoadedConfig) -> tuple[int | bool, ...]:
    model = loaded.spec.model
    return (model.n_layer, model.n_head, model.n_embd, model.vocab_size, model.context_length, model.bias)


def batch(loaded: LoadedConfig) -> tuple[int, int, int | None]:
    return (loaded.spec.train.micro_batch_size, loaded.spec.train.grad_accum_steps, loaded.spec.train.max_steps)


# ---------------------------------------------------------------- nanoGPT's seven
# The assignments of nanoGPT's config/*.py, without their comments; what follows is what its train.py makes of them.


@pytest.mark.parametrize(
    ("init", "expected"),
    [
        ("gpt2", (12, 12, 768, 50257, 1024, True)),
        ("gpt2-medium", (24, 16, 1024, 50257, 1024, True)),
        ("gpt2-large", (36, 20, 1280, 50257, 1024, True)),
        ("gpt2-xl", (48, 25, 1600, 50257, 1024, True)),
    ],
)
def test_nanogpt_eval_configs(load, init, expected):
    loaded = load(f"batch_size = 8\neval_iters = 500\neval_only = True\nwandb_log = False\ninit_from = '{init}'\n")
    assert loaded.kind == "nanogpt"
    assert loaded.eval_only
    assert shape(loaded) == expected
    assert batch(loaded) == (8, 40, 600_000)
    assert loaded.spec.train.eval_batches == 500
    assert loaded.lines["train.micro_batch_size"] == 1
    assert loaded.lines["model.n_layer"] == 5
    assert loaded.ignored == ()


def test_nanogpt_train_gpt2(load):
    loaded = load(
        "wandb_log = True\nwandb_project = 'owt'\nwandb_run_name='gpt2-124M'\n"
        "batch_size = 12\nblock_size = 1024\ngradient_accumulation_steps = 5 * 8\n"
        "max_iters = 600000\nlr_decay_iters = 600000\n"
        "eval_interval = 1000\neval_iters = 200\nlog_interval = 10\nweight_decay = 1e-1\n"
    )
    assert shape(loaded) == (12, 12, 768, 50304, 1024, False)
    assert batch(loaded) == (12, 40, 600_000)
    assert loaded.spec.tokens_per_step == 491_520
    assert loaded.spec.device is None
    assert loaded.spec.train == TrainSpec(
        micro_batch_size=12,
        tf32=True,
        grad_accum_steps=40,
        returns_logits=True,
        keeps_logits=True,
        max_steps=600_000,
        min_lr=6e-5,
        warmup_steps=2000,
        eval_interval=1000,
        eval_batches=200,
    )
    assert not loaded.eval_only
    assert loaded.unknown == loaded.ignored == ()
    assert loaded.lines == {
        "train.micro_batch_size": 4,
        "model.context_length": 5,
        "train.grad_accum_steps": 6,
        "train.max_steps": 7,
        "train.eval_interval": 9,
        "train.eval_batches": 10,
        "train.weight_decay": 12,
    }


def test_nanogpt_finetune_shakespeare(load):
    loaded = load(
        "import time\n\nout_dir = 'out-shakespeare'\neval_interval = 5\neval_iters = 40\nwandb_log = False\n"
        "wandb_project = 'shakespeare'\nwandb_run_name = 'ft-' + str(time.time())\n\ndataset = 'shakespeare'\n"
        "init_from = 'gpt2-xl'\nalways_save_checkpoint = False\nbatch_size = 1\ngradient_accumulation_steps = 32\n"
        "max_iters = 20\nlearning_rate = 3e-5\ndecay_lr = False\n"
    )
    assert shape(loaded) == (48, 25, 1600, 50257, 1024, True)
    assert batch(loaded) == (1, 32, 20)
    train = loaded.spec.train
    assert (train.optimizer.learning_rate, train.schedule.min_lr, train.schedule.warmup_steps) == (3e-5, 3e-5, 0)
    assert (train.eval_interval, train.eval_batches) == (5, 40)
    assert loaded.ignored == ()
    assert "decay_lr = False: the learning rate is constant, without warmup" in loaded.notes


def test_nanogpt_train_shakespeare_char(load):
    loaded = load(
        "out_dir = 'out-shakespeare-char'\neval_interval = 250\neval_iters = 200\nlog_interval = 10\n"
        "always_save_checkpoint = False\nwandb_log = False\nwandb_project = 'shakespeare-char'\n"
        "wandb_run_name = 'mini-gpt'\ndataset = 'shakespeare_char'\ngradient_accumulation_steps = 1\nbatch_size = 64\n"
        "block_size = 256\nn_layer = 6\nn_head = 6\nn_embd = 384\ndropout = 0.2\nlearning_rate = 1e-3\n"
        "max_iters = 5000\nlr_decay_iters = 5000\nmin_lr = 1e-4\nbeta2 = 0.99\nwarmup_iters = 100\n"
    )
    assert shape(loaded) == (6, 6, 384, 65, 256, False)
    assert batch(loaded) == (64, 1, 5000)
    train = loaded.spec.train
    assert loaded.spec.model.dropout == 0.2
    assert (train.optimizer.learning_rate, train.optimizer.beta2) == (1e-3, 0.99)
    assert train.schedule == Cosine(min_lr=1e-4, warmup_steps=100)
    assert loaded.lines["model.vocab_size"] == 9  # the data set decides it
    assert "vocab_size 65: dataset 'shakespeare_char' is of characters" in loaded.notes
    assert "nanoGPT runs max_iters + 1 iterations; max_steps is 5000" in loaded.notes


# ---------------------------------------------------------------- nanoGPT's rules


BARE = "decay_lr = True\n"  # a config that leaves all else to train.py


def test_what_a_config_leaves_out_is_nanogpts_default_and_said_to_be(load):
    loaded = load(BARE)
    assert shape(loaded) == (12, 12, 768, 50304, 1024, False)
    assert batch(loaded) == (12, 40, 600_000)
    assert loaded.lines == {}
    assert loaded.assumed.startswith("nanoGPT's defaults assumed, no train.py being beside or above it: ")
    for said in ("n_layer = 12", "batch_size = 12", "block_size = 1024", "dtype = bfloat16", "compile = True"):
        assert said in loaded.assumed


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "sets nothing that is known"),
        ("# a note\n", "sets nothing that is known"),
        ("import os\nwandb_log = True\nout_dir = 'out'\n", "sets nothing that is known"),
        ("use_rope = True\nn_gpu = 8\n", "sets nothing that is known"),
        ("start = 'Once'\nnum_samples = 4\nmax_new_tokens = 200\n", "is for sample.py"),
    ],
)
def test_a_file_that_sets_nothing_known_is_refused(load, text, message):
    for overrides in ((), ("--batch_size=8",)):
        with pytest.raises(FwplanError, match=message) as caught:
            load(text, *overrides)
        assert caught.value.exit_code is ExitCode.USAGE


def test_names_not_set_before_are_train_pys_globals(load):
    loaded = load("gradient_accumulation_steps = 2 * batch_size\nmin_lr = learning_rate / 10\n")
    assert loaded.spec.train.grad_accum_steps == 24
    assert loaded.spec.train.schedule.min_lr == pytest.approx(6e-5)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("batch_size = 2**4", 16),
        ("batch_size = 33 // 2", 16),
        ("batch_size = 1 << 4", 16),
        ("batch_size = -(-16)", 16),
        ("batch_size = 16 % 17", 16),
        ("batch_size: int = 16", 16),
        ("n_gpu = batch_size = 16", 16),
        ("_base = 8\nbatch_size = _base * 2", 16),
        ("batch_size = 4 if False else 16", 16),
        ("big = True\nbatch_size = 16 if big else 4", 16),
        ("batch_size = 4\nbatch_size = 16", 16),
        ("batch_size, n = 16, 4", 16),
        ("B, T = 16, 32\nbatch_size, block_size = B, T", 16),
        ("[n, (batch_size, m)] = 4, [16, 3]", 16),
        ("n, *rest, batch_size = 1, 2, 3, 16", 16),
        ("n, *rest, batch_size = 1, 16", 16),
        ("n = 16\nbatch_size, n = n, batch_size", 16),
        ("n, batch_size = f(), 16", 16),
        ("x = n, batch_size = 4, 16", 16),
        ("batch_size, batch_size = 4, 16", 16),
        ("batch_size = (n := 16)", 16),
        ("n = (batch_size := 16)", 16),
        ("(batch_size := 16)", 16),
        ("batch_size = 64 >> 2", 16),
        ("batch_size = 16 if n_layer > 3 else 8", 16),
        ("batch_size = 8 if 2 <= 1 or 'cuda' not in device else 16", 16),
        ("batch_size = (n_layer == 12 and 16) or 4", 16),
        ("batch_size = 0 or 16", 16),
        ("batch_size = 16\nsizes = {}\nsizes['batch_size'] = 4", 16),
        ("batch_size = 16\nsizes.batch_size = 4", 16),
        ("batch_size = 16\nbatch_size: int", 16),
        ("batch_size = 16\nx = [batch_size for batch_size in (1, 2)]", 16),
        ("global batch_size\nbatch_size = 16", 16),
        ("\uff42atch_size = 16", 16),
        ("b\u0430tch_size = 4\nbatch_size = 16", 16),
        ("batch_size = 0x10", 16),
        ("batch_size = 1_6", 16),
        ("batch_size = \\\n    16", 16),
        ("batch_size = (\n\t16\n)", 16),
        ("if x:\n\tn = 4\nbatch_size = 16", 16),
        ("batch_size = 16 # \u00fc \u2192", 16),
        ("batch_size = 4\rbatch_size = 16\r", 16),
        ("\ufeffbatch_size = 4\r\nbatch_size = 16", 16),
        ("batch_size = 16\x0c\nn = 1", 16),
        ("if True:\n    batch_size = 4\nbatch_size = 16", 16),
        ("from base import *\nbatch_size = 16", None),
        ("\ufeffbatch_size = 16", 16),
        ("batch_size = 4\r\nbatch_size = 16\r\n", 16),
        (r"wandb_run_name = '\d'; batch_size = 16", 16),
    ],
)
def test_what_can_be_read(load, text, expected):
    loaded = load(text)
    assert (loaded.spec.train.micro_batch_size if loaded.spec else None) == expected


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ("import os\nbatch_size = int(os.environ['B'])", 2, "a call, which is never executed"),
        ("batch_size = cfg.batch", 1, "looked up in an object, which is not read"),
        ("batch_size = f'{8}'", 1, "an f-string, which is not read"),
        ("batch_size = 4 if 3 < n_layer < 9 else 8", 1, "a condition, which is not read"),
        (
            "batch_size = 4 if n_layer > 'a' else 8",
            1,
            "a comparison fails: '>' not supported between instances of 'int' and 'str'",
        ),
        ("batch_size = 4 if missing and n_layer else 8", 1, "uses missing, which is not set before this line"),
        ("batch_size = missing", 1, "uses missing, which is not set before this line"),
        ("x = id(1)\nbatch_size = x * 2", 2, "uses x, unknown since line 1"),
        ("batch_size = 8\nbatch_size += 8", 2, "changed by an augmented assignment"),
        ("batch_size = 8\nif big:\n    batch_size = 16", 2, "set under if"),
        ("for batch_size in (1, 2):\n    pass", 1, "set in a for loop"),
        ("while True:\n    batch_size = 4", 1, "set in a while loop"),
        ("with f() as batch_size:\n    pass", 1, "set under with"),
        ("try:\n    batch_size = 4\nexcept E:\n    pass", 1, "set under try"),
        ("match x:\n    case batch_size:\n        pass", 1, "set under match"),
        ("def f():\n    batch_size = 4", 1, "set in a function"),
        (
            "def f():\n    global batch_size\n    batch_size = 4\nbatch_size = 8\nf()",
            2,
            "declared global in a function",
        ),
        ("class A:\n    batch_size = 4", 1, "set in a class"),
        ("batch_size, n = sizes()", 1, "unpacked from a sequence, which is not read"),
        ("batch_size, n = 'ab'", 1, "unpacked from a sequence, which is not read"),
        ("batch_size, n = 4, 5, 6", 1, "unpacked from a sequence of another length"),
        ("batch_size, n, *rest = 4,", 1, "unpacked from a sequence of another length"),
        ("n, *batch_size = 4, 5", 1, "a list, which is not read"),
        ("batch_size, n = *sizes, 5", 1, "unpacked from a sequence that sets names or unpacks another"),
        ("n = 1\nm, batch_size = (n := 3), n", 2, "unpacked from a sequence that sets names or unpacks another"),
        ("batch_size, n = f(), 4", 1, "a call, which is never executed"),
        ("n, batch_size = batch_size, m", 1, "uses m, which is not set before this line"),
        ("n = (batch_size := 4) + 1", 1, "set inside an expression"),
        ("if (batch_size := 4):\n    pass", 1, "set under if"),
        ("lambda: (batch_size := 4)", 1, "set inside an expression"),
        ("[(batch_size := n) for n in (1, 2)]", 1, "set inside an expression"),
        ("async def f():\n    async with a as batch_size:\n        pass", 1, "set in a function"),
        ("with f() as (batch_size, n):\n    pass", 1, "set under with"),
        ("match x:\n    case {'a': n, **batch_size}:\n        pass", 1, "set under match"),
        ("try:\n    pass\nfinally:\n    batch_size = 4", 1, "set under try"),
        ("while x:\n    pass\nelse:\n    batch_size = 4", 1, "set in a while loop"),
        ("for n, (batch_size, m) in x:\n    pass", 1, "set in a for loop"),
        ("if False:\n    batch_size = 4", 1, "set under if"),
        ("if True:\n    global batch_size", 2, "declared global in a function"),
        ("import batch_size.part", 1, "bound by an import, def or class"),
        ("batch_size = sizes['b']", 1, "looked up in an object, which is not read"),
        ("batch_size = 4,", 1, "Tuple, an expression that is not read"),
        ("print(batch_size := 4)", 1, "set inside an expression"),
        ("del batch_size", 1, "deleted"),
        ("from sizes import batch_size", 1, "bound by an import, def or class"),
        ("def batch_size():\n    pass", 1, "bound by an import, def or class"),
        ("batch_size = [8]", 1, "List, an expression that is not read"),
        ("batch_size = b'8'", 1, "Constant, an expression that is not read"),
        ("batch_size = 10**10**10", 1, "an integer of more than 128 bits"),
        ("batch_size = 1 << 10**9", 1, "an integer of more than 128 bits"),
        ("batch_size = 'a' * 10**9", 1, "arithmetic on a value that is not a number"),
        ("batch_size = 1 / 0", 1, "arithmetic fails: division by zero"),
        ("batch_size = 2.0**5000", 1, "arithmetic fails: (34, 'Numerical result out of range')"),
        ("batch_size = (-8)**0.5", 1, "a complex, which is not read"),
        ("batch_size = 0x" + "f" * 100, 1, "an integer of more than 128 bits"),
        ("batch_size = '" + "f" * 2000 + "'", 1, "a text of more than 1000 characters"),
    ],
)
def test_what_cannot_be_read_is_unknown_with_line_and_reason(load, text, line, reason):
    loaded = load(text)
    assert loaded.spec is None
    assert loaded.unknown == (Unknown("batch_size", line, reason),)


@pytest.mark.parametrize(
    "text",
    [
        "import sys\nsys.modules[__name__].n_layer = 3",
        "import builtins\nbuiltins.exec('n_layer = 3')",
        "import sys\nsys._getframe().f_globals['n_layer'] = 3",
        "exec(open('base.py').read())",
        "globals()['n_layer'] = 3",
        "e = eval\ne('1')",
        "if x:\n    from base import *",
    ],
)
def test_what_may_set_any_name_leaves_no_default_to_trust(load, text):
    loaded = load("n_layer = 6\n" + text + "\nn_head = 6")
    assert loaded.spec is None
    unknown = {one.key: one for one in loaded.unknown}
    assert {"n_layer", "n_embd", "block_size", "batch_size", "dtype", "compile"} <= unknown.keys()
    assert "n_head" not in unknown
    assert "may set any name" in unknown["n_layer"].reason


def test_unknown_learning_rate_is_noted_and_does_not_matter(load):
    loaded = load("import os\nlearning_rate = float(os.environ['LR'])\nbatch_size = 4")
    assert loaded.spec.train.micro_batch_size == 4
    assert "learning_rate is unknown (line 2: a call, which is never executed)" in loaded.notes


def test_init_from_overrules_shapes_and_says_so(load):
    loaded = load("init_from = 'gpt2'\nn_layer = 24\nbias = False\nblock_size = 512\ndropout = 0.1")
    assert shape(loaded) == (12, 12, 768, 50257, 512, True)
    assert loaded.spec.model.dropout == 0.1
    assert "n_layer = 24 (line 2) is overruled: init_from = 'gpt2' has n_layer 12" in loaded.notes
    assert "bias = False (line 3) is overruled: init_from = 'gpt2' has bias True" in loaded.notes
    with pytest.raises(FwplanError, match=r"block_size = 2048 .* exceeds the 1024 positions") as caught:
        load("init_from = 'gpt2'\nblock_size = 2048")
    assert caught.value.where.endswith("config.py:2")
    with pytest.raises(FwplanError, match="not something to start from"):
        load("init_from = 'gpt3'")


def test_resume_leaves_unset_shapes_unknown(load):
    loaded = load("init_from = 'resume'\nn_layer = 6\nn_head = 6")
    assert {one.key for one in loaded.unknown} == {"n_embd", "block_size", "bias", "vocab_size"}
    assert loaded.unknown[0].line == 1
    loaded = load(
        "init_from = 'resume'\nn_layer = 6\nn_head = 6\nn_embd = 384\nblock_size = 64\nbias = False", "--vocab_size=65"
    )
    assert shape(loaded) == (6, 6, 384, 65, 64, False)


def test_vocabulary_follows_the_dataset(load):
    (unknown,) = load("dataset = 'tolstoy_char'").unknown
    assert (unknown.key, unknown.line) == ("vocab_size", 1)
    assert "there is no data/tolstoy_char/meta.pkl to say" in unknown.reason
    assert load("dataset = 'tolstoy_char'", "--vocab_size=99").spec.model.vocab_size == 99
    assert [one.key for one in load("dataset = 'my_words'").unknown] == ["vocab_size"]
    assert load("dataset = 'my_words'\nvocab_size = 32000").spec.model.vocab_size == 32000
    assert load("dataset = 'openwebtext'\nvocab_size = None").spec.model.vocab_size == 50304
    (unknown,) = load("dataset = pick()").unknown
    assert unknown.reason == "it follows from dataset: a call, which is never executed"
    assert load("dataset = pick()\ninit_from = 'gpt2'").spec.model.vocab_size == 50257


@pytest.mark.parametrize(
    ("text", "device", "dtype", "optimizer", "attention"),
    [
        ("device = 'cuda'", "cuda", "bfloat16", "fused", "flash"),
        ("device = 'cuda:1'\ndtype = 'float16'", "cuda", "float16", "fused", "flash"),
        ("device = 'cuda'\ndtype = 'float32'", "cuda", "float32", "fused", "efficient"),
        ("device = 'cpu'", "cpu", "float32", "for_loop", "flash"),
        ("device = 'cpu'\ndropout = 0.2", "cpu", "float32", "for_loop", "math"),
        ("device = 'mps'\ndtype = 'float16'", "mps", "float32", "for_loop", "flash"),
    ],
)
def test_device_decides_autocast_optimizer_and_attention(load, text, device, dtype, optimizer, attention):
    spec = load(f"batch_size = 4\n{text}").spec
    assert spec.device.type == device
    assert (spec.train.dtype, spec.train.optimizer.implementation, spec.train.attention) == (
        dtype,
        optimizer,
        attention,
    )


def test_values_that_others_depend_on_may_be_unknown_too(load):
    (unknown,) = load("init_from = 'gpt2'\nblock_size = f()").unknown
    assert (unknown.key, unknown.line) == ("block_size", 2)
    (unknown,) = load("device = f()\ndtype = 'float16'").unknown
    assert (unknown.key, unknown.line) == ("device", 1)
    (unknown,) = load("init_from = f()").unknown
    assert (unknown.key, unknown.line) == ("init_from", 1)


def test_grad_accum_steps_is_per_process(load):
    assert load("grad_accum_steps = 5", world_size=8).spec.train.grad_accum_steps == 5


def test_arithmetic_too_deep_to_follow_is_unknown_or_refused(load):
    with contextlib.suppress(FwplanError):  # where it is too deep already for Python's own parser
        assert load("batch_size = " + "1+" * 2500 + "1").spec is None


def test_unknown_device_is_refused(load):
    with pytest.raises(FwplanError, match=r"device = 'tpu' .line 1. is no device"):
        load("device = 'tpu'")


def test_accumulation_is_a_total_that_the_processes_share(load):
    loaded = load("gradient_accumulation_steps = 40", world_size=8)
    assert loaded.spec.train.grad_accum_steps == 5
    assert loaded.spec.train.parallel == DDP(world_size=8)
    assert loaded.spec.tokens_per_step == 491_520
    assert load("batch_size = 12", "--world_size=8").spec.train.grad_accum_steps == 5
    with pytest.raises(FwplanError, match="does not divide by the 3 processes"):
        load("gradient_accumulation_steps = 40", world_size=3)
    with pytest.raises(FwplanError, match="8 processes were asked for"):
        load("world_size = 4", world_size=8)
    with pytest.raises(FwplanError, match="world_size must be at least 1"):
        load("", world_size=0)


@pytest.mark.parametrize("name", ["micro_batch_size", "device_batch_size", "per_device_train_batch_size"])
def test_aliases(load, name):
    loaded = load(f"{name} = 4\ntotal_batch_size = 2**19\nmax_steps = 6e5\ncontext_length = 512\nsequence_length = 256")
    assert batch(loaded) == (4, 512, 600_000)
    assert loaded.spec.sequence_length == 256
    assert loaded.lines["train.grad_accum_steps"] == 2
    assert (f"{name} read as micro_batch_size" in loaded.notes) == (name != "micro_batch_size")


def test_aliases_that_disagree_are_refused_with_both_lines(load):
    (unknown,) = load("batch_size = 8\n\ndevice_batch_size = 16").unknown
    assert unknown.reason == "set twice: batch_size = 8 (line 1) and device_batch_size = 16 (line 3)"
    assert load("batch_size = 8\ndevice_batch_size = 16", "--batch_size=4").spec.train.micro_batch_size == 4
    assert load("batch_size = 8\ndevice_batch_size = 8").spec.train.micro_batch_size == 8
    with pytest.raises(FwplanError, match="means 40 micro-batches per step and process, total_batch_size"):
        load("gradient_accumulation_steps = 40\ntotal_batch_size = 12 * 1024 * 32")
    with pytest.raises(FwplanError, match="does not divide by 12 x 1024 x 1 tokens"):
        load("total_batch_size = 2**19")
    with pytest.raises(FwplanError, match="must be a positive integer"):
        load("gradient_accumulation_steps = 1.5")


def test_horizon_in_tokens_replaces_the_default_steps(load):
    loaded = load("max_tokens = 10e9\nbatch_size = 16\ngradient_accumulation_steps = 32")
    assert loaded.spec.train.max_steps is None
    assert loaded.spec.steps == 19_074
    with pytest.raises(FwplanError, match="max_steps or max_tokens, not both"):
        load("max_tokens = 10e9\nmax_iters = 5")


def test_a_learning_rate_that_decays_elsewhere_is_noted(load):
    assert any("lr_decay_iters = 600000 (default) differs" in note for note in load("max_iters = 5000").notes)


def test_unknown_keys_are_listed_with_lines(load):
    loaded = load("n_gpu = 8\nuse_ema = True\n_private = 1\nimport math\nbackend = 'gloo'\nema = f()\nmax_iters = 9")
    assert loaded.ignored == ("n_gpu (line 1)",)
    assert loaded.uncounted == ("use_ema (line 2)", "ema (line 6)")
    assert load(BARE + "use_ema = False\nrun_note = 'a'").uncounted == ()


def test_the_loop_keeps_logits_unless_the_loss_is_chunked(load):
    train = load(BARE, "--loss=chunked", "--checkpointing=block").spec.train
    assert (train.loss.name, train.loss.returns_logits, train.loss.keeps_logits, train.checkpointing) == (
        "chunked",
        False,
        False,
        "block",
    )
    train = load(BARE, "--returns_logits=False").spec.train
    assert (train.loss.returns_logits, train.loss.keeps_logits) == (False, False)


def test_a_shape_that_cannot_be_built_points_at_its_line(load):
    with pytest.raises(FwplanError, match="n_embd 512 is not divisible by n_head 12") as caught:
        load("n_layer = 12\nn_head = 12\nn_embd = 512\n")
    assert caught.value.where.endswith("config.py:3")
    with pytest.raises(FwplanError, match="is not divisible") as caught:
        load("n_layer = 12\n\nn_head = 7\n")
    assert caught.value.where.endswith("config.py:3")
    with pytest.raises(FwplanError, match=r"valid integer .got 16.0.") as caught:
        load("\nbatch_size = 16.0")
    assert caught.value.where.endswith("config.py:2")


def test_overrides(load):
    loaded = load(
        "batch_size = 12\nn_layer = 6", "--batch_size=8", "--micro_batch_size=4", "--dtype=float16", "--wandb_log=1"
    )
    assert loaded.spec.train.micro_batch_size == 4
    assert loaded.spec.train.dtype == "float16"
    assert loaded.lines == {"model.n_layer": 2}
    assert load("compile = True", "--compile=False").spec.train.compile is False
    assert load("batch_size = f()", "--batch_size=2").spec.train.micro_batch_size == 2
    assert load(BARE, "--total_batch_size=122880").spec.train.grad_accum_steps == 10
    assert load(BARE, "--max_tokens=1e6").spec.train.max_steps is None
    assert load(BARE, "--gradient_accumulation_steps=5*8").spec.train.grad_accum_steps == 40


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("--batchsize=8", "unknown setting 'batchsize' in override"),
        ("--batch_size", "cannot read override '--batch_size'"),
        ("--=8", "cannot read override"),
        ("--batch_size=" + "9" * 2000, "cannot read override"),
        ("--batch_size=10**10**10", "micro_batch_size: Input should be a valid integer"),
        ("--batch_size=0", "micro_batch_size: Input should be greater than or equal to 1"),
        ("--device=tpu", "is no device"),
        ("--batch_size=__import__('os').getpid()", "valid integer"),
    ],
)
def test_overrides_that_are_refused(load, override, message):
    with pytest.raises(FwplanError, match=message.replace("(", r"\(")):
        load(BARE, override)


def test_a_wrong_override_names_the_override(load):
    with pytest.raises(FwplanError) as caught:
        load("batch_size = 4", "--batch_size=-1")
    assert caught.value.where == "--batch_size"
    with pytest.raises(FwplanError) as caught:
        load(BARE, "--batchsize=8")
    assert caught.value.hint.startswith("did you mean batch_size")


def test_line_text(load):
    loaded = load("# first\r\nbatch_size = 4 # second\n")
    assert loaded.line_text(loaded.lines["train.micro_batch_size"]) == "batch_size = 4 # second"


# ---------------------------------------------------------------- JSON

SPEC = {
    "model": {"n_layer": 12, "n_head": 12, "n_embd": 768},
    "train": {"micro_batch_size": 16, "grad_accum_steps": 32, "max_steps": 19074},
}


def test_spec_json(load):
    loaded = load(json.dumps(SPEC, indent=1), name="spec.json")
    assert loaded.kind == "spec"
    assert loaded.spec == RunSpec(
        model=ModelSpec(n_layer=12, n_head=12, n_embd=768),
        train=TrainSpec(micro_batch_size=16, grad_accum_steps=32, max_steps=19074),
    )
    assert not loaded.spec.train.loss.returns_logits
    assert loaded.lines == {
        "model.n_layer": 3,
        "model.n_head": 4,
        "model.n_embd": 5,
        "train.micro_batch_size": 8,
        "train.grad_accum_steps": 9,
        "train.max_steps": 10,
    }


def test_plan_json_is_a_spec_with_more_around_it(load):
    plan = {"fwplan_version": "0.1.0", "reasons": {"micro_batch_size": "it fits"}, "predicted": {}} | SPEC
    loaded = load(json.dumps(plan, indent=1), name="plan.json")
    assert loaded.kind == "plan"
    assert loaded.spec.train.micro_batch_size == 16
    assert loaded.line_text(loaded.lines["train.micro_batch_size"]) == '  "micro_batch_size": 16,'


def test_every_default_written_out_reads_back(load):
    spec = RunSpec.model_validate(SPEC)
    assert load(spec.model_dump_json(), name="spec.json").spec == spec


def test_json_overrides(load):
    text = json.dumps(SPEC | {"device": {"type": "cuda", "name": "RTX 4070"}})
    loaded = load(
        text, "--batch_size=8", "--max_tokens=1e9", "--device=cpu", "--total_batch_size=2**19", name="spec.json"
    )
    assert batch(loaded) == (8, 64, None)
    assert loaded.spec.train.max_tokens == 10**9
    assert (loaded.spec.device.type, loaded.spec.device.name) == ("cpu", "RTX 4070")
    assert "train.micro_batch_size" not in loaded.lines
    train = load(RunSpec.model_validate(SPEC).model_dump_json(), name="plan.json", world_size=4).spec.train
    assert (train.parallel, train.grad_accum_steps) == (DDP(world_size=4), 32)
    assert load(text, "--gradient_accumulation_steps=64", name="a.json", world_size=2).spec.train.grad_accum_steps == 32
    with pytest.raises(FwplanError, match="init_from means nothing"):
        load(text, "--init_from=gpt2", name="spec.json")


@pytest.mark.parametrize(
    ("text", "message", "where"),
    [
        ('{"model": {},\n "train": }', "not valid JSON: Expecting value", "a.json:2:11"),
        ("[1]", "holds no JSON object", None),
        ("{}", "neither", None),
        ('{"model": {"n_layer": 1, "n_head": 1, "n_embd": 8}}', "train: Field required", "a.json"),
        ('{"model": 3, "train": {}}', "model", "a.json"),
        ('{"train": {}, "train": {}}', "'train' is set twice", "a.json"),
        ('{"model": {"n_layer": NaN}}', "NaN is no number", "a.json"),
        ("[" * 100_000, "nested too deeply", "a.json"),
        ('{"a": ' + "9" * 5000 + "}", "cannot be parsed", "a.json"),
        ('{"schema_version": 3, "model": {}, "train": {}}', "newer fwplan", "a.json"),
        (
            '{"model": {"n_layer": 2, "n_head": 2, "n_embd": 8},\n"train": {"micro_batch_size": 0}}',
            "greater",
            "a.json:2",
        ),
        ('{"model": {"n_layer": 2, "n_head": 2, "n_embd": 8},\n"train": {"micro": 0}}', "required", "a.json"),
        (
            '{"model": {"n_layer": 2, "n_head": 2,\n "n_embd": 9}, "train": {"micro_batch_size": 1}}',
            "divisible",
            "a.json:2",
        ),
        (
            '{"model": {"n_layer": 2, "n_head": 2, "n_embd": 8},\n"train": {"micro_batch_size": 1,\n"micro": 0}}',
            "unknown key 'train.micro'",
            "a.json:3",
        ),
        (b"\xff\xfe", "not UTF-8", "a.json:1"),
        (b'{"a": 1}\n\0', "null byte", "a.json:2"),
        (" " * (1024 * 1024 + 1), "larger than 1024 KiB", None),
    ],
)
def test_bad_json(load, text, message, where):
    with pytest.raises(FwplanError, match=message) as caught:
        load(text, name="a.json")
    assert caught.value.exit_code is ExitCode.USAGE
    assert (caught.value.where or "").endswith(where or "")


HF = {
    "activation_function": "gelu_new",
    "architectures": ["GPT2LMHeadModel"],
    "model_type": "gpt2",
    "n_ctx": 1024,
    "n_embd": 1024,
    "n_head": 16,
    "n_layer": 24,
    "n_positions": 1024,
    "n_inner": None,
    "resid_pdrop": 0.1,
    "vocab_size": 50257,
}


def test_hugging_face_config_needs_a_micro_batch(load):
    loaded = load(json.dumps(HF, indent=1), name="config.json")
    assert (loaded.kind, loaded.spec) == ("hf", None)
    assert [(one.key, one.line) for one in loaded.unknown] == [("micro_batch_size", None)]
    loaded = load(json.dumps(HF, indent=1), "--micro_batch_size=8", "--total_batch_size=65536", name="config.json")
    assert shape(loaded) == (24, 16, 1024, 50257, 1024, True)
    assert batch(loaded) == (8, 8, None)
    assert loaded.spec.model.dropout == 0.1
    assert loaded.spec.model.tied_embeddings
    assert loaded.lines["model.n_layer"] == 10
    untied = load(json.dumps(HF | {"tie_word_embeddings": False}), "--batch_size=8", name="config.json")
    assert not untied.spec.model.tied_embeddings


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_ctx": 512}, "context_length is set twice"),
        ({"tie_word_embeddings": "no"}, "valid boolean"),
        ({"resid_pdrop": 1.5}, "less than 1"),
        ({"n_head": 15}, "not divisible"),
        ({"n_embd": "wide"}, "valid integer"),
    ],
)
def test_hugging_face_configs_that_are_refused(load, change, message):
    with pytest.raises(FwplanError, match=message):
        load(json.dumps(HF | change), "--batch_size=8", name="config.json")


@pytest.mark.parametrize(
    ("change", "refused"),
    [
        ({"activation_function": "relu"}, ["activation_function 'relu'"]),
        ({"activation_function": "gelu"}, []),
        ({"add_cross_attention": True}, ["add_cross_attention True"]),
        ({"gradient_checkpointing": True}, ["gradient_checkpointing True"]),
        ({"reorder_and_upcast_attn": True}, ["reorder_and_upcast_attn True"]),
        ({"reorder_and_upcast_attn": False, "scale_attn_weights": False, "use_cache": True}, []),
        ({"quantization_config": {"bits": 4}}, ["quantization_config {'bits': 4}"]),
        ({"scale_attn_by_inverse_layer_idx": True, "torch_dtype": "float16", "bos_token_id": 50256}, []),
        ({"n_kv_head": 4, "rotary": True}, ["n_kv_head = 4", "rotary = True"]),
        ({"n_kv_head": 16, "rotary": False, "mlp_ratio": 4}, []),
        ({"model_type": "t5", "n_inner": 2048}, ["model_type 't5'"]),
    ],
)
def test_what_hugging_face_sets_otherwise_is_not_counted(load, change, refused):
    text = {key: value for key, value in HF.items() if key != "activation_function"} | change
    loaded = load(json.dumps(text, indent=1), "--batch_size=8", name="config.json")
    assert sorted(one.key for one in loaded.unknown) == sorted(refused)
    assert all(one.value is None for one in loaded.unknown)
    assert (loaded.spec is None) == bool(refused)
    asked = load(json.dumps(text, indent=1), name="config.json").unknown
    assert {one.key for one in asked} == {*refused, "micro_batch_size"}  # all of it at once


@pytest.mark.parametrize(
    ("change", "uncounted"),
    [
        ({"attn_pdrop": 0.0}, ("attn_pdrop (line 14)",)),
        ({"embd_pdrop": 0.2}, ()),
        ({"attn_pdrop": 0.1, "embd_pdrop": 0.1}, ()),
    ],
)
def test_what_hugging_face_drops_otherwise_is_named(load, change, uncounted):
    text = {key: value for key, value in HF.items() if key != "activation_function"} | change
    loaded = load(json.dumps(text, indent=1), "--batch_size=8", name="config.json")
    assert loaded.uncounted == uncounted
    apart = [key for key in ("attn_pdrop", "embd_pdrop") if change.get(key, 0.1) != 0.1]
    assert [note.split()[0] for note in loaded.notes if "pdrop" in note] == apart


def test_a_hugging_face_config_is_known_without_its_model_type(load):
    text = json.dumps({key: value for key, value in HF.items() if key != "model_type"})
    assert shape(load(text, "--batch_size=8", name="config.json")) == (24, 16, 1024, 50257, 1024, True)
    loaded = load('{"hidden_size": 4096, "num_hidden_layers": 32, "num_key_value_heads": 8}', name="config.json")
    assert loaded.spec is None
    assert {one.key for one in loaded.unknown if one.value is None} == {"num_key_value_heads = 8"}


def test_another_scripts_json_is_read_and_the_rest_is_asked_for(load):
    text = json.dumps({"model": {"n_layers": 6, "n_heads": 6, "d_model": 384}, "seq_len": 256, "vocab_size": 65})
    loaded = load(text, name="my.json")
    assert [one.key for one in loaded.unknown] == ["batch_size", "dtype", "compile"]
    loaded = load(text, "--batch_size=8", "--dtype=float16", "--compile=False", name="my.json")
    assert shape(loaded) == (6, 6, 384, 65, 256, False)
    assert "GPT-2" in loaded.assumed


def test_a_feed_forward_width_is_held_against_the_width_that_is_asked_for(load):
    text = json.dumps(HF | {"n_inner": 4096})
    assert load(text, "--batch_size=8", name="config.json").spec.model.n_embd == 1024
    (refused,) = load(text, "--batch_size=8", "--n_embd=512", name="config.json").unknown
    assert (refused.key, refused.value) == ("n_inner 4096", None)


# ---------------------------------------------------------------- files


def test_files_that_cannot_be_read(tmp_path):
    (tmp_path / "dir.py").mkdir()
    (tmp_path / "notes.txt").write_text("n_layer = 3")
    os.mkfifo(tmp_path / "pipe.py")  # opening it would wait for ever
    (tmp_path / "link.py").symlink_to("pipe.py")
    (tmp_path / "loop.py").symlink_to("loop.py")
    (tmp_path / "lost.py").symlink_to("nowhere.py")
    (tmp_path / "zero.py").symlink_to("/dev/zero")
    (tmp_path / "large.py").write_bytes(b"x = 1\n" * 1_700_000)
    (tmp_path / "large.json").write_bytes(b"[1,\n" * 2_500_000)
    for name, message in [
        ("missing.py", "no such file"),
        ("dir.py", "is a directory"),
        ("notes.txt", "cannot tell what"),
        ("pipe.py", "is not a regular file"),
        ("link.py", "is not a regular file"),
        ("loop.py", "no such file|cannot read"),
        ("lost.py", "no such file"),
        ("zero.py", "is not a regular file"),
        ("large.py", "larger than 256 KiB"),
        ("large.json", "larger than 1024 KiB"),
        ("nul\0.py", "no such file|cannot read"),
        ("x" * 5000 + ".py", "no such file|cannot read"),
    ]:
        with pytest.raises(FwplanError, match=message) as caught:
            load_config(tmp_path / name)
        assert caught.value.hint


@pytest.mark.parametrize(
    ("text", "message", "where"),
    [
        ("batch_size = 8\nn_layer =", "not valid Python: invalid syntax", "config.py:2"),
        ("\n  x = 1", "unexpected indent", "config.py:2"),
        (b"x = 1\ny = '\xff'", "not UTF-8", "config.py:2"),
        (b"x = 1\n\0", "null byte", "config.py:2"),
        ("batch_size = 4".encode("utf-16"), "not UTF-8", "config.py:1"),
        ("\tbatch_size = 4", "unexpected indent", "config.py:1"),
        ("if x:\n\ty = 1\n        z = 1", "inconsistent use of tabs|unindent|not valid Python", "config.py:3"),
        ("x = " + "[" * 250 + "]" * 250, "too many nested|cannot be parsed", None),
        ("if x:\n" + "".join(f"{' ' * n}if x:\n" for n in range(1, 110)), "too many levels|not valid", None),
        ("x = " + "-" * 50_000 + "1", "cannot be parsed|not valid Python", None),
        ("x = " + "1+" * 30_000 + "1", "cannot be parsed|not valid Python", None),
        ("x = " + "(" * 50_000, "not valid Python: too many nested", None),
        ("x = " + "9" * 5000, "not valid Python|cannot be parsed", None),
        ("x" + ".x" * 30_000, "cannot be parsed|not valid Python", None),
    ],
)
def test_bad_python(load, text, message, where):
    start = time.process_time()
    with pytest.raises(FwplanError, match=message) as caught:
        load(text)
    assert time.process_time() - start < 10  # what grows faster than its input takes minutes
    assert (caught.value.where or "").endswith(where or "")


# ---------------------------------------------------------------- hostile files


@pytest.mark.parametrize(
    "attack",
    [
        "import os; os.system('touch {}')",
        "__import__('os').system('touch {}')",
        "open('{}', 'w').close()",
        "batch_size = open('{}', 'w').write('x')",
        "class A:\n    open('{}', 'w')",
        "@open('{}', 'w').write\ndef f(): pass",
        "x: open('{}', 'w') = 1",
        "f = lambda: 0\nf(open('{}', 'w'))",
        "exec(\"open('{}', 'w')\")",
    ],
)
def test_nothing_is_executed(load, tmp_path, attack):
    mark = tmp_path / "executed"
    load(attack.format(mark) + "\nbatch_size = 8")
    with pytest.raises(FwplanError):
        load(BARE, "--batch_size=" + f"open('{mark}','w')")
    assert not mark.exists()


ONE_SECOND = settings(max_examples=150, deadline=timedelta(seconds=1), suppress_health_check=[HealthCheck.too_slow])
NAMES = st.sampled_from(["n_layer", "n_head", "batch_size", "block_size", "init_from", "dataset", "device", "x", "y"])
# The programs are run, so they must stay small: ints grow by constant factors only, texts and lists are never operands.
ATOMS = st.sampled_from(["1", "2", "-3", "0", "1e3", "0.5", "True", "None", "x", "y", "n_layer", "missing", "f()"])
OPERATORS = st.sampled_from(["+", "-", "*", "/", "//", "%", "and", "<", "@"])
EXPRESSIONS = st.recursive(
    st.one_of(ATOMS, st.builds("({} ** 2)".format, ATOMS), st.builds("({} << 3)".format, ATOMS)),
    lambda inner: st.one_of(
        st.builds("({} {} {})".format, inner, OPERATORS, inner),
        st.builds("({} if {} else {})".format, inner, inner, inner),
        st.builds("({}{})".format, st.sampled_from(["-", "not ", "+", "~"]), inner),
        st.builds("(y := {})".format, inner),
    ),
    max_leaves=4,
)
STATEMENTS = st.one_of(
    st.builds("{} = {}".format, NAMES, EXPRESSIONS),
    st.builds("{} = {} = {}".format, NAMES, NAMES, EXPRESSIONS),
    st.builds("{}: int = {}".format, NAMES, EXPRESSIONS),
    st.builds("{} += {}".format, NAMES, EXPRESSIONS),
    st.builds("{}, {} = {}, {}".format, NAMES, NAMES, EXPRESSIONS, EXPRESSIONS),
    st.builds("{}, *{}, {} = {}, {}, {}".format, NAMES, NAMES, NAMES, EXPRESSIONS, EXPRESSIONS, EXPRESSIONS),
    st.builds(
        "{} = {}, ({}, {}) = {}, [{}, {}]".format, NAMES, NAMES, NAMES, NAMES, EXPRESSIONS, EXPRESSIONS, EXPRESSIONS
    ),
    st.builds("{} = ({} := {})".format, NAMES, NAMES, EXPRESSIONS),
    st.builds("({} := {})".format, NAMES, EXPRESSIONS),
    st.builds("if {}:\n    {} = {}".format, EXPRESSIONS, NAMES, EXPRESSIONS),
    st.builds("for {} in range(2):\n    {} = {}".format, NAMES, NAMES, EXPRESSIONS),
    st.builds("def f():\n    global {0}\n    {0} = {1}".format, NAMES, EXPRESSIONS),
    st.builds("try:\n    {} = {}\nexcept Exception as {}:\n    pass".format, NAMES, EXPRESSIONS, NAMES),
    st.builds("dataset = [{} for {} in range(2)]".format, EXPRESSIONS, NAMES),
    st.sampled_from(["init_from = 'gpt2'", "init_from = 'resume'", "device = 'cpu'", "dataset = 'a_char'"]),
    st.builds("exec('{} = 3')".format, NAMES),
    st.builds("globals()['{}'] = 3".format, NAMES),
    st.builds("(lambda: exec('{} = 3', globals()))()".format, NAMES),
    st.builds("import os as {}".format, NAMES),
    st.builds("{}".format, EXPRESSIONS),
    st.sampled_from(["f()", "pass"]),
)
PROGRAMS = st.lists(STATEMENTS, max_size=8).map("\n".join)


@ONE_SECOND
@given(program=PROGRAMS)
def test_what_is_claimed_known_is_what_python_computes(program):
    bindings = read_python(program, "config.py", {})
    scope = {}
    try:
        exec(program, scope)  # it was generated here, of the harmless parts above
    except (ArithmeticError, AttributeError, NameError, TypeError, ValueError, SyntaxError, RecursionError):
        return  # nanoGPT would stop there too, so there is no truth to compare with
    for name, binding in bindings.names.items():
        if binding.reason is None:
            assert (type(binding.value), binding.value) == (type(scope[name]), scope[name])
    if bindings.opaque is None:
        assert bindings.names.keys() >= scope.keys() - {"__builtins__", "__annotations__"}


@ONE_SECOND
@given(program=PROGRAMS | st.text() | st.binary())
def test_any_python_file_is_read_or_refused(tmp_path_factory, program):
    path = tmp_path_factory.getbasetemp() / "fuzz.py"
    path.write_bytes(program if isinstance(program, bytes) else program.encode("utf-8", "surrogatepass"))
    _read_or_refuse(path)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
JSON_KEYS = st.sampled_from(
    ["n_layer", "n_embd", "n_ctx", "micro_batch_size", "max_steps", "type", "n_inner", "é", "x"]
)
JSON_SECTIONS = st.dictionaries(JSON_KEYS, JSON_VALUES, max_size=4) | JSON_VALUES
DOCUMENTS = st.dictionaries(st.sampled_from(["model", "train", "device", "reasons", "schema_version"]), JSON_SECTIONS)
HF_DOCUMENTS = st.dictionaries(JSON_KEYS, JSON_VALUES).map({"model_type": "gpt2"}.__or__)
FUZZ_OVERRIDES = st.lists(
    st.sampled_from(
        ["--batch_size=8", "--total_batch_size=64", "--device=cpu", "--world_size=2", "--n_layer=x", "--z=1"]
    ),
    max_size=3,
)


@ONE_SECOND
@given(document=(DOCUMENTS | HF_DOCUMENTS).map(json.dumps) | st.text(), overrides=FUZZ_OVERRIDES)
def test_any_json_file_is_read_or_refused(tmp_path_factory, document, overrides):
    path = tmp_path_factory.getbasetemp() / "fuzz.json"
    path.write_bytes(document.encode("utf-8", "surrogatepass"))
    _read_or_refuse(path, overrides)


def _read_or_refuse(path: Path, overrides=()):
    with contextlib.suppress(FwplanError):
        loaded = load_config(path, overrides)
        assert (loaded.spec is None) == bool(loaded.unknown)


@ONE_SECOND
@given(text=st.text(max_size=50))
def test_read_value_reads_any_text(text):
    value = read_value(text)
    assert isinstance(value, bool | int | float | str) or value is None


def test_the_largest_files_are_read_in_good_time(load):
    for text in [
        BARE + "a=1\n" * 16_000,
        BARE + "a=a\n" * 16_000,
        BARE + "a=" * 30_000 + "1",
        "exec(a)\n" * 8000,
        BARE + "x=[" + "1," * 30_000 + "]",
    ]:
        start = time.process_time()
        load(text)
        assert time.process_time() - start < 10  # what grows faster than its input takes minutes


@pytest.mark.parametrize(
    ("text", "pretrained"), [("init_from = 'gpt2'", True), (BARE, False), ("init_from = 'scratch'", False)]
)
def test_a_start_from_trained_weights_is_known(text, pretrained, tmp_path):
    path = tmp_path / "config.py"
    path.write_text(text)
    assert load_config(path).pretrained is pretrained


def test_a_slip_of_the_pen_is_named(tmp_path):
    config = tmp_path / "config.py"
    config.write_text("n_layre = 24\nbatch_sizes = 4\nuse_rope = True\nn_kv_head = 4\nmax_itres = 9\n")
    loaded = load_config(config)
    assert loaded.spec is None
    assert {(one.key, one.line, one.value) for one in loaded.unknown} == {
        ("n_layer", 1, "24"),
        ("batch_size", 2, "4"),
        ("use_rope = True", 3, None),
        ("n_kv_head = 4", 4, None),
    }
    assert "max_itres (line 5) is no setting: did you mean max_iters?" in loaded.notes


def test_a_scripts_rate_that_rises_or_never_stops_warming_up_is_read_as_far_as_it_goes(load):
    loaded = load("learning_rate = 3e-5\nmax_iters = 200\n")  # nanoGPT's own min_lr is 6e-5, its warm-up 2,000 steps
    train = loaded.spec.train
    assert (train.optimizer.learning_rate, train.schedule.min_lr, train.schedule.warmup_steps) == (3e-5, 3e-5, 200)
    assert "min_lr 6e-05 is above learning_rate 3e-05: read as no decay" in loaded.notes
    assert "a warm-up of 2,000 steps goes beyond the end: all 200 of the run warm up" in loaded.notes


@pytest.mark.parametrize(
    ("text", "tf32"), [("dtype = 'float32'", True), ("tf32 = False", False), ("batch_size = 4", True)]
)
def test_nanogpt_turns_tf32_on_unless_told_otherwise(load, text, tf32):
    assert load(text).spec.train.tf32 is tf32
