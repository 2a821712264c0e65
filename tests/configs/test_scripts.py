"""Scripts of their own: what their classes, dicts, parsers and constants say, and what they do not is asked for."""

import contextlib

import pytest

from fwplan.configs import load_config
from fwplan.errors import FwplanError

LOOP = """\
import torch
from model import GPT, GPTConfig
{settings}
optimizer = torch.optim.AdamW(model.parameters(), fused=True)
for step in range(10):
    logits, loss = model(x, y)
    loss.backward()
"""
ON = (
    "device = 'cuda' if torch.cuda.is_available() else 'cpu'\n"
    "device_type = 'cuda' if device.startswith('cuda') else 'cpu'\n"
)
MAKES = "model = GPT(GPTConfig(vocab_size=50304, block_size=256, n_layer=6, n_head=6, n_embd=384))\n"


def _values(loaded):
    assert loaded.unknown == ()
    return loaded.spec.model.model_dump() | loaded.spec.train.model_dump()


def _asked(loaded):
    assert loaded.spec is None
    return [one.key for one in loaded.unknown]


def _load(checkout, text, *overrides):
    return load_config(checkout({"run.py": text}) / "run.py", overrides)


@pytest.mark.parametrize(
    "settings",
    [
        "B, T = 4, 32\n" + MAKES,
        "B = 4\nT = 32\n" + MAKES,
        "loader = DataLoaderLite(B=4, T=32)\n" + MAKES,
        "class Loader:\n    def __init__(self, B, T):\n        pass\nloader = Loader(4, T=32)\n" + MAKES,
        "def main():\n    B, T = 4, 32\n    " + MAKES + "\nif __name__ == '__main__':\n    main()\n",
        "def train(B=8, T=64):\n    " + MAKES + "\ntrain(4, T=32)\n",
        (
            "config = {'batch_size': 4, 'n_layer': 6}\nT = 32\n"
            "sizes = {'vocab_size': 50304, 'block_size': 256, 'n_head': 6, 'n_embd': 384}\n"
            "model = GPT(GPTConfig(n_layer=config['n_layer'], **sizes))\n"
        ),
        (
            "parser.add_argument('--batch-size', type=int, default=4)\nparser.add_argument('--width', default=384)\n"
            "T = 32\nmodel = GPT(GPTConfig(vocab_size=50304, block_size=256, n_layer=6, n_head=6, n_embd=args.width))\n"
        ),
        (
            "@dataclass\nclass Run:\n    batch_size: int = 4\n    n_layer: int = 6\n    n_head: int = 6\n"
            "run = Run()\nT = 32\nmodel = GPT(GPTConfig(vocab_size=50304, block_size=256, n_layer=run.n_layer,"
            " n_head=6, n_embd=384)).to('cuda')\n"
        ),
        (
            "sizes = dict(n_layer=6, n_head=6, n_embd=384, block_size=256, vocab_size=50304)\nB, T = 4, 32\n"
            "model = GPT(GPTConfig(**sizes))\n"
        ),
    ],
)
def test_where_a_script_may_say_its_settings(checkout, settings):
    values = _values(_load(checkout, LOOP.format(settings=settings)))
    assert {key: values[key] for key in ("n_layer", "n_head", "n_embd", "vocab_size", "context_length")} == {
        "n_layer": 6, "n_head": 6, "n_embd": 384, "vocab_size": 50304, "context_length": 256,
    }  # fmt: skip
    assert (values["micro_batch_size"], values["sequence_length"]) == (4, 32)
    assert (values["dtype"], values["compile"], values["bias"]) == ("float32", False, True)


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ("model = torch.compile(model)\n", {"compile": True}),
        ("use = False\nif use:\n    model = torch.compile(model)\n", {"compile": False}),
        ("kind = 'a'\nif kind == 'b':\n    x = 1\nelse:\n    model.compile()\n", {"compile": True}),
        (ON + "fast = torch.compile(model) if device_type == 'cuda' else model\n", {"compile": True}),
        (ON + "fast = model if device_type != 'cuda' else torch.compile(model)\n", {"compile": True}),
        (ON + "if torch.cuda.is_available():\n    model.forward = wrap(torch.compile(model.f))\n", {"compile": True}),
        (ON + "if 'cuda' in device and device.startswith('cuda'):\n    pass\n", {"compile": False}),
        (ON + "if device.startswith('cuda'):\n    fast: nn.Module = torch.compile(model)\n", {"compile": True}),
        (ON + "fast = torch.compile(model) if device_type == 'mps' else model\n", {"compile": False}),
        ("device = 'cpu'\nfast = torch.compile(model) if device == 'cuda' else model\n", {"compile": False}),
        ("fast = True\nmodel = torch.compile(model) if fast else model\n", {"compile": True}),
        ("fast = False\nmodel = torch.compile(model) if fast else model\n", {"compile": False}),
        ("with torch.autocast('cuda', dtype=torch.bfloat16):\n    model(x)\n", {"dtype": "bfloat16"}),
        ("with torch.autocast('cuda', torch.float16):\n    model(x)\n", {"dtype": "float16"}),
        ("with torch.cuda.amp.autocast():\n    model(x)\n", {"dtype": "float16"}),
        ("half = torch.bfloat16\nctx = torch.autocast('cuda', dtype=half)\n", {"dtype": "bfloat16"}),
        ("d = 'float16'\nctx = torch.autocast('cuda', dtype={'float16': torch.float16}[d])\n", {"dtype": "float16"}),
        ("with torch.no_grad():\n    with torch.autocast('cuda', dtype=torch.bfloat16):\n        model(x)\n",
         {"dtype": "float32"}),
        ("@torch.no_grad()\ndef sample():\n    with torch.autocast('cuda'):\n        model(x)\n", {"dtype": "float32"}),
        ("model = model.to(torch.bfloat16)\n", {"dtype": "pure_bfloat16"}),
    ],
)  # fmt: skip
def test_how_a_script_runs_its_step(checkout, more, expected):
    values = _values(_load(checkout, LOOP.format(settings="B = 4\n" + MAKES + more)))
    assert {key: values[key] for key in expected} == expected


@pytest.mark.parametrize(
    ("settings", "asked"),
    [
        (MAKES, ["batch_size"]),
        ("B = 4\nvocab_size = len(chars)\n" + MAKES.replace("=50304", "=vocab_size"), ["vocab_size"]),
        ("B = 4\nmodel = torch.compile(model) if fast() else model\n" + MAKES, ["compile"]),
        ("B = 4\nif fast():\n    model = torch.compile(model)\n" + MAKES, ["compile"]),
        ("B = 4\nctx = torch.autocast('cuda', dtype=pick())\n" + MAKES, ["dtype"]),
        (
            "B = 4\nmodel = GPT(GPTConfig(**sizes()))\n",
            ["n_layer", "n_head", "n_embd", "vocab_size", "block_size", "bias", "dropout"],
        ),
        ("if big:\n    B = 8\nelse:\n    B = 4\n" + MAKES, ["batch_size"]),
    ],
)
def test_what_a_script_does_not_say_is_asked_for_all_at_once(checkout, settings, asked):
    loaded = _load(checkout, LOOP.format(settings=settings))
    assert sorted(_asked(loaded)) == sorted(asked)
    given = [
        f"--{key}={ {'compile': 'False', 'dtype': 'float16', 'n_head': 2, 'bias': 'False', 'dropout': 0}.get(key, 4) }"
        for key in asked
    ]
    assert _values(_load(checkout, LOOP.format(settings=settings), *given))


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        ("config = {'n_layer': 6, 'n_head': 6, 'n_embd': 384, 'vocab_size': 65, 'block_size': 64}\n",
         ["batch_size", "dtype", "compile"]),
        ("@dataclass\nclass Config:\n    n_layer: int = 6\n    n_head = 6\n    n_embd = 384\n    vocab_size = None\n",
         ["vocab_size", "block_size", "batch_size", "dtype", "compile"]),
        ("B = 64\nT = 256\nn_layer = 6\n", ["n_head", "n_embd", "vocab_size", "dtype", "compile"]),
        ("dim = 4096\nn_layers = 32\nn_heads = 32\n", ["vocab_size", "block_size", "batch_size", "dtype", "compile"]),
    ],
)  # fmt: skip
def test_no_run_is_made_up_around_a_shape(tmp_path, text, asked):
    path = tmp_path / "config.py"
    path.write_text(text, encoding="utf-8")
    loaded = load_config(path)
    assert sorted(_asked(loaded)) == sorted(asked)
    assert "GPT-2 as nanoGPT writes it is assumed" in loaded.assumed
    given = [f"--{key}={ {'compile': 'False', 'dtype': 'float16', 'batch_size': 3}.get(key, 384) }" for key in asked]
    values = _values(load_config(path, [*given, *(["--n_head=6"] if "n_head" in asked else [])]))
    assert values["micro_batch_size"] == (64 if "B = 64" in text else 3)
    assert (values["compile"], values["dtype"]) == (False, "float16")


@pytest.mark.parametrize(
    ("made", "refused"),
    [
        ("from transformers import GPT2LMHeadModel\nmodel = GPT2LMHeadModel(config)\n", "GPT2LMHeadModel"),
        ("model = build_model()\n", "model = build_model(...)"),
        ("class Net(nn.Module):\n    pass\nmodel = Net()\n", "its model"),
        ("train(config)\n", "its model"),
    ],
)
def test_a_script_whose_model_is_not_gpt2_is_refused(tmp_path, made, refused):
    path = tmp_path / "run.py"
    path.write_text(f"batch_size = 4\n{made}loss.backward()\n", encoding="utf-8")
    assert refused in {one.key for one in load_config(path).unknown if one.value is None}


@pytest.mark.parametrize(
    "deep",
    [
        "if a == 0:\n    B = 1\n" + "".join(f"elif a == {n}:\n    B = {n}\n" for n in range(900)),
        "@dataclass\nclass Run:\n    n_head: int = 4\n    n_layer: int = " + "1 + " * 900 + "1\nrun = Run()\n",
        "n_layer = config.n_layer\nconfig = {'n_layer': config.n_layer, 'n_head': config['n_head']}\n",
    ],
)
def test_what_is_nested_or_set_from_itself_is_read_or_refused(checkout, deep):
    with contextlib.suppress(FwplanError):
        assert _load(checkout, LOOP.format(settings="B, T = 4, 32\n" + deep + MAKES)) is not None


def test_a_large_script_is_read(checkout):
    text = LOOP.format(settings="B, T = 4, 32\n" + MAKES) + "# a note of some length, as there are\n" * 4000
    assert len(text) > 128 * 1024
    assert _values(_load(checkout, text))["micro_batch_size"] == 4
