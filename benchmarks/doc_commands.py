"""Runs what README.md and docs/ tell people to type, where that takes over 5 s; tests/test_docs.py runs the rest.

Each command runs in a folder of its own, beside the files that it names, with a plan for this machine's processor.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tools"))

from pages import Command, commands  # noqa: E402

LONG = {"run", "measure", "trace", "--trace", "--snapshot"}  # words that make a command take over 5 s
NOT_HERE = {("fwplan", "measure", "--grid", "full", "-o", "results.jsonl")}  # 25 minutes of a CUDA GPU
DEMO = "demo/"  # where `make demo` keeps its files: it runs these commands, and what it prints is its machine's own
BEFORE = {  # what has to be done first, by a word of the command
    "plan.json": "fwplan suggest --device cpu --data fineweb --tokens 4000 --context 32",
    "data/fineweb": "fwplan data prepare fineweb -o data/fineweb",
    "--resume": "fwplan run plan.json --steps 1",
}
ANSWERS = {
    "explain": {0, 3, 4},
    "diff": {0, 3, 4},
    "doctor": {0, 5},
}  # exit codes that are an answer, beside 0

SETTINGS = "n_layer = 12\nn_head = 12\nn_embd = 576\nbatch_size = 16\ngradient_accumulation_steps = 32\n"
TRAIN = f"""\
{SETTINGS}block_size, vocab_size, bias, dropout, compile, dtype = 1024, 50304, False, 0.0, True, "bfloat16"
config_keys = [k for k, v in globals().items() if isinstance(v, (int, float, bool, str))]
exec(open("configurator.py").read())
model = GPT(GPTConfig(n_layer=n_layer, n_head=n_head, n_embd=n_embd, block_size=block_size))
"""
SPEC = """{"model": {"n_layer": 2, "n_head": 2, "n_embd": 64}, "train": {"micro_batch_size": 2, "compile": false}}"""
SCRIPT = """\
import torch
model = torch.nn.Linear(64, 64, device="cuda")
optimizer = torch.optim.AdamW(model.parameters())
def step(model, optimizer):
    model(torch.randn(8, 64, device="cuda")).sum().backward()
    optimizer.step()
"""
LOG = """\
    loss.backward()
torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 3.07 GiB. GPU 0 has a total capacity of 15.70 GiB of \
which 2.10 GiB is free. Including non-PyTorch memory, this process has 11.60 GiB memory in use. Of the allocated \
memory 11.30 GiB is allocated by PyTorch, and 100.00 MiB is reserved by PyTorch but unallocated.
"""
LLAMA = """{"model_type": "llama", "hidden_size": 256, "num_hidden_layers": 2, "num_attention_heads": 4,
 "num_key_value_heads": 2, "intermediate_size": 688, "vocab_size": 32000, "max_position_embeddings": 2048}"""
FILES = {
    "config.py": SETTINGS, "config/x.py": SETTINGS, "train.py": TRAIN, "spec.json": SPEC, "config.json": LLAMA,
    "script.py": SCRIPT, "train.log": LOG,
}  # fmt: skip


def is_short(command: Command) -> bool:
    """Return whether a command takes under 5 s, anywhere."""
    return LONG.isdisjoint(command.words) and DEMO not in command.line


def is_long(command: Command) -> bool:
    """Return whether a command takes over 5 s, on any machine."""
    return not LONG.isdisjoint(command.words) and DEMO not in command.line and tuple(command.words) not in NOT_HERE


def make_folder(folder: Path) -> None:
    """Put the files that the pages' commands name into a folder."""
    for name, text in FILES.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    (folder / "fineweb").mkdir()
    texts = [f"Document {n} says that {n} quick brown foxes jump over as many lazy dogs. " * 6 for n in range(300)]
    pq.write_table(pa.table({"text": texts}), folder / "fineweb" / "000.parquet")


def before(words: list[str]) -> list[list[str]]:
    """Return the commands that have to come first."""
    if words[1] == "suggest":
        return []
    return [shlex.split(line) for word, line in BEFORE.items() if word in words and shlex.split(line) != words]


def main() -> None:
    failed = []
    for command in filter(is_long, commands("fwplan")):
        with tempfile.TemporaryDirectory() as folder:
            make_folder(Path(folder))
            environment = os.environ | {"FWPLAN_HOME": f"{folder}/home", "PYTHONPATH": str(ROOT)}
            for words in (*before(command.words), command.words):
                start = time.perf_counter()
                done = subprocess.run([sys.executable, "-m", *words], cwd=folder, env=environment,
                                      capture_output=True, text=True, check=False)  # fmt: skip
                seconds = time.perf_counter() - start
        print(f"{seconds:6.1f} s  exit code {done.returncode}  {shlex.join(words)}  ({command.page.name})")
        if done.returncode not in ANSWERS.get(words[1], {0}):
            failed.append(command)
            print(done.stderr)
    sys.exit(f"{len(failed)} failed" if failed else 0)


if __name__ == "__main__":
    main()
