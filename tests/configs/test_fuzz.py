"""Files made by breaking real ones: read or refused, within a second, and never executed."""

import json
import time
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from fwplan.configs import load_config
from fwplan.errors import FwplanError

FILES = [json.loads(line) for line in Path(__file__).with_name("files.jsonl").read_text(encoding="utf-8").splitlines()]
ATTACKS = (
    "\nopen('executed', 'w')\n", "\n__import__('os').system('touch executed')\n", "\nexec(\"open('executed', 'w')\")\n",
    "\nclass GPTConfig:\n    n_layer: int = open('executed', 'w')\n",
    "\nmodel = GPT(GPTConfig(n_layer=open('executed', 'w')))\n",
    "\nbatch_size = [open('executed', 'w') for _ in '1'][0]\n", "\nexec(open('configurator.py').read())\n",
    "\nB = 10**10**10\n", "\nT = 'a' * 10**12\n", "\nmodel = GPT.from_pretrained(*x)\n",
    "\nif B: model = torch.compile(model)\n",
)  # fmt: skip


def _load(path, overrides=()):
    start = time.process_time()
    try:
        loaded = load_config(path, overrides)
    except FwplanError as error:
        assert error.message  # noqa: PT017
        assert error.hint  # noqa: PT017
    else:
        assert (loaded.spec is None) == bool(loaded.unknown)
    assert time.process_time() - start < 10  # what grows faster than its input takes minutes


@given(
    case=st.sampled_from(FILES),
    cuts=st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 60)), max_size=3),
    inserts=st.lists(st.tuples(st.integers(0, 3000), st.sampled_from(ATTACKS) | st.text(max_size=20)), max_size=3),
    override=st.sampled_from([(), ("--batch_size=8",), ("--n_layer=x",), ("--compile=open('executed', 'w')",)]),
)
@settings(max_examples=150)
def test_a_broken_file_is_read_or_refused(tmp_path_factory, case, cuts, inserts, override):
    text = case["text"]
    for at, length in cuts:
        text = text[: at % (len(text) + 1)] + text[at % (len(text) + 1) + length :]
    for at, piece in inserts:
        text = text[: at % (len(text) + 1)] + piece + text[at % (len(text) + 1) :]
    folder = tmp_path_factory.mktemp("fuzz")
    path = folder / case["file"]
    path.write_text(text, encoding="utf-8", errors="replace")
    _load(path, override)
    assert not Path("executed").exists()
    assert [item.name for item in folder.iterdir()] == [case["file"]]


def test_the_largest_scripts_take_under_a_second(tmp_path):
    script = next(case["text"] for case in FILES if case["name"] == "train_gpt2.py")
    path = tmp_path / "train_gpt2.py"
    for filler in ("x = torch.compile(GPT(GPTConfig()))\n", "B = 1 if f(x) else 2\n", "for B in range(T): T = B\n"):
        path.write_text(script + filler * ((63 * 1024 - len(script)) // len(filler)), encoding="utf-8")
        _load(path)
