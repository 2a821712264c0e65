"""A config under the train.py of its own fork: whose defaults, whose model, whose vocabulary; nothing is executed."""

import pickle

import pytest

from fwplan.configs import load_config
from fwplan.configs.vocabulary import meta_vocab_size
from fwplan.errors import ExitCode, FwplanError
from fwplan.spec.flat import flat

CONFIG = "config/small.py"


def _values(loaded):
    assert loaded.unknown == ()
    return loaded.spec.model.model_dump() | flat(loaded.spec.train)


def _unknown(loaded):
    assert loaded.spec is None
    return [(one.key, one.value is not None) for one in loaded.unknown]


@pytest.mark.parametrize("config", ["small.py", "config/small.py", "config/a/small.py"])
def test_the_defaults_are_those_of_the_train_py_beside_or_above(checkout, config):
    fork = {"compile = True": "compile = False", "batch_size = 12": "batch_size = 7\nopen('executed', 'w')"}
    folder = checkout({config: "n_layer = 6\nmin_lr = learning_rate / batch_size\n"}, fork)
    loaded = load_config(folder / config)
    values = _values(loaded)
    assert (values["n_layer"], values["micro_batch_size"], values["compile"]) == (6, 7, False)
    assert (values["dtype"], values["vocab_size"], values["min_lr"]) == ("bfloat16", 50304, pytest.approx(6e-4 / 7))
    assert loaded.assumed == ""
    assert any(note.startswith("not set, so the default of train.py: ") for note in loaded.notes)
    assert not (folder / "executed").exists()


def test_without_a_train_py_nanogpts_defaults_are_assumed_and_said_first(checkout):
    folder = checkout({CONFIG: "n_layer = 6\n"})
    (folder / "train.py").unlink()
    loaded = load_config(folder / CONFIG)
    assert loaded.assumed.startswith("nanoGPT's defaults assumed, no train.py")
    assert "compile = True" in loaded.assumed


def test_train_py_and_its_config_as_they_are_typed(checkout, tmp_path_factory):
    folder = checkout({}, {"n_embd = 768": "n_embd = 384"})
    config = tmp_path_factory.mktemp("elsewhere") / "x.py"
    config.write_text("n_layer = 6\n")
    loaded = load_config(folder / "train.py", [str(config), "--batch_size=8"])
    values = _values(loaded)
    assert (values["n_layer"], values["n_embd"], values["micro_batch_size"]) == (6, 384, 8)
    assert (loaded.path, loaded.lines["model.n_layer"]) == (config, 1)
    with pytest.raises(FwplanError, match=r"runs no configurator\.py"):
        load_config(folder / "model.py", [str(config)])
    with pytest.raises(FwplanError, match="together"):
        load_config(folder / "train.py", [str(config), str(config)])


@pytest.mark.parametrize(
    ("fork", "expected"),
    [
        ({"compile = True\n": ""}, {"compile": None}),  # asked for: it compiles under a switch that nothing sets
        ({"compile = True\n": "", "if compile:\n    model = torch.compile(model)\n": ""}, {"compile": False}),
        ({"compile = True\n": "", "if compile:\n    model": "if True:\n    model"}, {"compile": True}),
        ({"dtype = 'bfloat16' if torch.cuda.is_available() and torch.cuda.is_bf16_supported() else 'float16'\n": ""},
         {"dtype": "float32"}),
        ({"bias = False\n": ""}, {"bias": True}),  # as its model's own GPTConfig has it
        ({"block_size = 1024\n": ""}, {"block_size": None}),
        ({"meta_vocab_size = None": "batch_size = batch_size // 2"}, {"batch_size": None}),
        ({"else 50304": "else 32000"}, {"vocab_size": 32000}),
        (
            {
                "max_iters = 6": "vocab_size = 999\nmax_iters = 6",
                "meta_vocab_size if meta_vocab_size is not None else 50304": "vocab_size",
            },
            {"vocab_size": 999},
        ),
    ],
)  # fmt: skip
def test_what_a_fork_does_otherwise(checkout, fork, expected):
    loaded = load_config(checkout({CONFIG: "n_layer = 6\n"}, fork) / CONFIG)
    (key, value), = expected.items()  # fmt: skip
    if value is None:
        assert _unknown(loaded) == [(key, True)]
        assert "train.py" in loaded.unknown[0].reason
    else:
        assert _values(loaded)[key] == value


@pytest.mark.parametrize(
    ("files", "fork", "refused"),
    [
        ({}, {"from model import GPTConfig, GPT": "from model_moe import GPTConfig, GPT"}, "GPT"),
        (
            {},
            {
                "GPT(GPTConfig": "MoEGPT(GPTConfig",
                "GPT.from_p": "MoEGPT.from_p",
                "import GPTConfig, GPT": "import GPTConfig, MoEGPT",
            },
            "MoEGPT",
        ),
        ({}, {"optimizer = model.configure_optimizers()": "optimizer = Muon(model.parameters())"}, "another optimizer"),
        ({"model.py": "class GPT(nn.Module):\n    pass\n"}, {}, "its model"),
    ],
)  # fmt: skip
def test_a_model_that_is_not_nanogpts_is_refused(checkout, files, fork, refused):
    loaded = load_config(checkout({CONFIG: "n_layer = 6\n"} | files, fork) / CONFIG)
    assert (refused, False) in _unknown(loaded)


@pytest.mark.parametrize(
    ("model", "refused"),
    [
        ({"nn.GELU()": "nn.ReLU()"}, "another activation than GELU"),
        ({"LayerNorm(1)": "RMSNorm(1)"}, "RMSNorm"),
        ({"y = F.": "q = apply_rotary_emb(q)\n        y = F."}, "rotary positions"),
        ({"y = F.": "k = repeat_kv(k)\n        y = F."}, "grouped-query attention"),
        ({"self.gelu = nn.GELU()": "self.experts = nn.ModuleList()"}, "a mixture of experts"),
        ({"4 * config.n_embd, bias": "8 * config.n_embd, bias"}, "c_fc"),
        ({"3 * config.n_embd": "3 * config.n_embd * config.wide"}, "c_attn"),
        ({"wpe=": "other="}, "its model"),
    ],
)
def test_a_model_py_beside_that_is_another_is_refused(checkout, model, refused):
    folder = checkout({CONFIG: "n_layer = 6\n"}, model=model)
    assert _unknown(load_config(folder / CONFIG)) == [(refused, False)]
    assert _unknown(load_config(folder / "train.py")) == [(refused, False)]


def test_a_switch_decides_what_of_the_model_counts(checkout):
    model = {"y = F.": "q = apply_rotary_emb(q) if self.use_rope else q\n        y = F."}
    folder = checkout({CONFIG: "use_rope = False\nn_layer = 6\n"}, model=model)
    assert _values(load_config(folder / CONFIG))["n_layer"] == 6
    assert (("use_rope = True", False)) in _unknown(load_config(folder / CONFIG, ["--use_rope=True"]))
    choice = {"if init_from == 'scratch':": "if kind == 'moe':\n    model = MoE()\nif init_from == 'scratch':",
              "max_iters": "kind = 'gpt'\nmax_iters"}  # fmt: skip
    folder = checkout({CONFIG: "n_layer = 6\n"}, choice, model={})
    assert _values(load_config(folder / CONFIG))["n_layer"] == 6
    assert ("model = MoE(...)", False) in _unknown(load_config(folder / CONFIG, ["--kind=moe"]))


OTHER = "class Other(nn.Module):\n    def __init__(self, config):\n        self.act = nn.ReLU()\n"


@pytest.mark.parametrize(
    ("made", "refused"),
    [
        ("", []),  # nothing makes it
        ("self.h = Block(config) if config.kind == 'plain' else Other(config)", []),
        ("self.h = Block(config) if self.config.kind != 'plain' else Other(config)", ["another activation than GELU"]),
        ("if config.wide:\n            self.h = Other(config)", []),
        ("if config.unknown:\n            self.h = Other(config)", ["another activation than GELU"]),
        ("self.h = KINDS[config.kind](config)", ["another activation than GELU"]),
        ("self.h = globals()[config.kind](config)", ["another activation than GELU"]),
    ],
)
def test_only_what_the_model_is_made_of_counts(checkout, made, refused):
    line = "        self.lm_head ="
    table = "KINDS = {'plain': Other}\n" if "KINDS" in made else ""
    model = {"class GPT(nn": f"{OTHER}{table}class GPT(nn", line: f"        {made}\n{line}"}
    folder = checkout({CONFIG: "n_layer = 6\nkind = 'plain'\nwide = False\n"}, model=model)
    assert [one.key for one in load_config(folder / CONFIG).unknown] == refused


def test_what_the_script_sets_anew_is_not_what_the_config_says(checkout):
    halves = {"meta_vocab_size = None": "if init_from == 'resume':\n    n_head = 3\nbatch_size = batch_size // 2"}
    folder = checkout({CONFIG: "n_layer = 6\nbatch_size = 8\n"}, halves)
    assert _unknown(load_config(folder / CONFIG)) == [("batch_size", True)]
    assert _values(load_config(folder / CONFIG, ["--batch_size=4"]))["micro_batch_size"] == 4


def test_attention_is_what_the_model_beside_does(checkout):
    folder = checkout(
        {CONFIG: "n_layer = 6\n"}, model={"y = F.scaled_dot_product_attention(q, k, v, is_causal=True)": "y = q @ k"}
    )
    assert _values(load_config(folder / CONFIG))["attention"] == "math"


def test_a_setting_of_the_script_alone_makes_a_config_of_it(checkout):
    folder = checkout(
        {CONFIG: "count = True\n", "other.py": "mount = True\n"}, {"max_iters": "count = False\nmax_iters"}
    )
    assert _values(load_config(folder / CONFIG))["n_layer"] == 12
    with pytest.raises(FwplanError, match="not a config of a run"):
        load_config(folder / "other.py")


def test_what_a_script_writes_into_its_gpt_config_is_read(checkout):
    sizes = "n_layer = 12\nn_head = 12\nn_embd = 768\ndropout = 0.0\n"
    folder = checkout({CONFIG: "batch_size = 5\n"}, {sizes: ""}, {"50304": "300"})
    train = (folder / "train.py").read_text()
    literal = "model = GPT(GPTConfig(block_size=block_size, n_layer=3, n_head=4, n_embd=64, dropout=0.5, bias=bias))\n"
    made = slice(train.index("model_args = "), train.index("optimizer = "))
    (folder / "train.py").write_text(train[: made.start] + literal + train[made.stop :])
    for name in (CONFIG, "train.py"):
        values = _values(load_config(folder / name))
        expected = {"n_layer": 3, "n_head": 4, "n_embd": 64, "dropout": 0.5, "bias": False, "vocab_size": 300}
        assert {key: values[key] for key in expected} == expected


TILE = {"block_size = 1024": "n_ctx = 1024\nblock_size = 128", "block_size=block_size": "n_ctx=n_ctx"}
POSITIONS = {"wpe=nn.Embedding(1, 1)": "wpe=nn.Embedding(config.n_ctx, config.n_embd)"}


@pytest.mark.parametrize(
    ("config", "context"), [("", 1024), ("block_size = 64\n", 1024), ("n_ctx = 256\nblock_size = 64\n", 256)]
)
def test_the_context_is_what_the_models_positions_are(checkout, config, context):
    folder = checkout({CONFIG: f"n_layer = 6\n{config}"}, TILE, POSITIONS)
    loaded = load_config(folder / CONFIG)
    assert _values(loaded)["context_length"] == context
    assert any("block_size" in note and "is not the context" in note for note in loaded.notes)
    assert _values(load_config(folder / CONFIG, ["--n_ctx=512", "--block_size=32"]))["context_length"] == 512
    assert _values(load_config(folder / "train.py"))["context_length"] == 1024


@pytest.mark.parametrize("config", ["", "block_size = 64\n", "n_ctx = 256\nblock_size = 64\n"])
def test_two_contexts_of_which_the_model_says_nothing_are_unknown_with_the_rest(checkout, config):
    folder = checkout({CONFIG: f"n_layer = 6\nuse_moe = True\n{config}"}, TILE)
    unknown = dict(_unknown(load_config(folder / CONFIG)))
    assert (unknown.pop("use_moe = True"), [*unknown.values()]) == (False, [True])
    assert set(unknown) <= {"block_size", "n_ctx"}
    assert [helps for _, helps in _unknown(load_config(folder / "train.py"))] == [True]


def test_several_training_scripts_are_asked_for(checkout):
    folder = checkout({CONFIG: "n_layer = 6\n"})
    (folder / "train.py").rename(folder / "train_adam.py")
    assert _values(load_config(folder / CONFIG))["compile"] is True
    (folder / "train_lion.py").write_text((folder / "train_adam.py").read_text())
    with pytest.raises(FwplanError, match=r"which of train_adam\.py, train_lion\.py trains") as caught:
        load_config(folder / CONFIG)
    assert caught.value.exit_code is ExitCode.UNDECIDABLE
    assert _values(load_config(folder / "train_adam.py", [str(folder / CONFIG)]))["n_layer"] == 6


def test_a_train_py_of_another_kind_gives_no_defaults(checkout):
    folder = checkout({CONFIG: "n_layer = 6\nn_head = 6\n"}, {"exec(open('configurator.py').read())\n": ""})
    loaded = load_config(folder / CONFIG)
    asked = {key for key, helps in _unknown(loaded) if helps}
    assert {"n_embd", "batch_size", "block_size", "dtype", "compile", "bias", "vocab_size"} <= asked
    assert not {"n_layer", "n_head"} & asked


META = {"vocab_size": 77, "itos": {0: "a"}, "stoi": {"a": 0}}


@pytest.mark.parametrize("protocol", range(6))
def test_the_vocabulary_is_the_data_sets(checkout, protocol):
    files = {CONFIG: "dataset = 'poems'\n", "data/poems/meta.pkl": pickle.dumps(META, protocol)}
    folder = checkout(files)
    loaded = load_config(folder / CONFIG)
    assert _values(loaded)["vocab_size"] == 77
    assert "vocab_size 77, as data/poems/meta.pkl says" in loaded.notes
    assert loaded.data == folder / "data/poems"


def test_where_the_data_set_is_and_what_it_is_not(checkout):
    config = "data_dir = 'corpora/odes'\ndataset = 'x'\n"
    folder = checkout({CONFIG: config, "corpora/odes/meta.pkl": pickle.dumps(META)})
    assert _values(load_config(folder / CONFIG))["vocab_size"] == 77
    (folder / "corpora/odes/meta.pkl").unlink()
    assert _unknown(load_config(folder / CONFIG)) == [("vocab_size", True)]
    (folder / "corpora/odes/prepare.py").write_text("enc = tiktoken.get_encoding('gpt2')\n")
    assert _values(load_config(folder / CONFIG))["vocab_size"] == 50304
    (folder / "corpora/odes/prepare.py").write_text("enc = tiktoken.get_encoding('gpt2')\nopen('meta.pkl')\n")
    assert _unknown(load_config(folder / CONFIG)) == [("vocab_size", True)]
    assert _values(load_config(folder / CONFIG, ["--vocab_size=88"]))["vocab_size"] == 88


class _Attack:
    def __reduce__(self):
        return open, ("executed", "w")


@pytest.mark.parametrize(
    "meta",
    [
        b"", b"\x80", b"garbage", pickle.dumps([1, 2]), pickle.dumps({"vocab_size": "many"}), pickle.dumps(_Attack()),
        pickle.dumps({"vocab_size": _Attack()}), pickle.dumps({"vocab_size": -1}), pickle.dumps({"vocab_size": 2**40}),
        pickle.dumps({"other": 5, "vocab_size": None}),
    ],
)  # fmt: skip
def test_a_broken_or_hostile_meta_pkl_says_nothing_and_does_nothing(tmp_path, monkeypatch, meta):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "meta.pkl").write_bytes(meta)
    assert meta_vocab_size(tmp_path / "meta.pkl") is None
    assert not (tmp_path / "executed").exists()


def test_a_hostile_meta_pkl_is_never_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "meta.pkl").write_bytes(pickle.dumps({"vocab_size": 77, "stoi": _Attack()}))
    assert meta_vocab_size(tmp_path / "meta.pkl") == 77
    assert not (tmp_path / "executed").exists()


def test_a_vocabulary_that_one_of_several_assignments_gives_is_unknown(checkout):
    own = "if own_vocab_size > 0:\n    model_args['vocab_size'] = own_vocab_size\n"
    folder = checkout({CONFIG: "n_layer = 6\n"}, {"while True:": f"{own}while True:"})
    assert _unknown(load_config(folder / CONFIG)) == [("vocab_size", True)]
