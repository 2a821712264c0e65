"""Config files of every kind that is read, each with the values that its spec must have."""

import json
from pathlib import Path

import pytest

from fwplan.configs import load_config
from fwplan.spec.flat import flat

FILES = [json.loads(line) for line in Path(__file__).with_name("files.jsonl").read_text(encoding="utf-8").splitlines()]


def test_there_are_enough_of_them():
    assert len(FILES) >= 60
    assert len({case["name"] for case in FILES}) == len(FILES)


@pytest.mark.parametrize("case", FILES, ids=lambda case: case["name"])
def test_a_file_is_read_correctly(case, tmp_path):
    path = tmp_path / case["file"]
    path.write_text(case["text"], encoding="utf-8", newline="")
    loaded = load_config(path, case.get("overrides", ()))
    if "unknown" in case:
        assert loaded.spec is None
        assert sorted(one.key for one in loaded.unknown) == case["unknown"]
        assert all(one.reason for one in loaded.unknown)
        return
    assert loaded.unknown == ()
    values = loaded.spec.model.model_dump() | flat(loaded.spec.train)
    expected = {name: pytest.approx(value) if isinstance(value, float) else value for name, value in
                case["expect"].items()}  # fmt: skip
    assert {name: values[name] for name in expected} == expected


NEEDED = ["batch_size", "block_size", "compile", "dtype", "n_embd", "n_head", "n_layer", "vocab_size"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("names = ['a', 'b']\nblock_size = 1024\n", {"block_size"}),
        ("prism_init = True\nlearning_rate = 5e-4\nwarmup_iters = 50\n", set()),
        ("block_size = 64\ndropout = 0.2\ndevice = 'cuda'\nvocab_size = 65\nseed = 1\n", {"block_size", "vocab_size"}),
        ("weight_decay = 0.1\nbeta1 = 0.9\nbeta2 = 0.99\ngrad_clip = 1.0\nmin_lr = 1e-5\n", set()),
    ],
)
def test_no_run_is_made_up_around_constants_that_any_file_may_set(tmp_path, text, said):
    path = tmp_path / "const.py"
    path.write_text(text, encoding="utf-8")
    loaded = load_config(path)
    assert (loaded.spec, sorted(one.key for one in loaded.unknown)) == (None, [n for n in NEEDED if n not in said])
    given = {"dtype": "float16", "compile": "False", "n_head": 2}
    spec = load_config(path, [f"--{name}={given.get(name, 64)}" for name in NEEDED if name not in said]).spec
    assert (spec.model.n_layer, spec.train.micro_batch_size, spec.train.compile) == (64, 64, False)


@pytest.mark.parametrize(
    "setting",
    ["batch_size = 8", "out_dir = 'out'", "eval_interval = 5", "init_from = 'gpt2'", "wandb_log = True", "n_layer = 2"],
)
def test_one_setting_of_nanogpts_own_makes_it_a_run_of_nanogpts_defaults(tmp_path, setting):
    path = tmp_path / "config.py"
    path.write_text(f"learning_rate = 1e-3\n{setting}\n", encoding="utf-8")
    loaded = load_config(path)
    assert loaded.unknown == ()
    assert loaded.assumed.startswith("nanoGPT's defaults assumed")
