"""`fwplan data` as people type it, and training from whatever they bring."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fwplan import run
from fwplan.api import data as data_commands
from fwplan.view.terminal.data import count_lines, inspect_lines, prepared_lines

SPEC = {"model": {"n_layer": 1, "n_head": 1, "n_embd": 16, "context_length": 32},
        "train": {"micro_batch_size": 2, "compile": False, "dtype": "float32", "max_steps": 3, "eval_batches": 1},
        "device": {"type": "cpu"}}  # fmt: skip


@pytest.fixture
def fwplan(tmp_path):
    """Return a function that runs the command in a folder of its own."""

    def run(*arguments):
        command = [sys.executable, "-c", "from fwplan.cli import main; main()", *map(str, arguments)]
        environment = os.environ | {"FWPLAN_HOME": str(tmp_path / "home")}
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    return run


@pytest.fixture
def folder(tmp_path):
    texts = [f"document {i} says that the quick brown fox jumps over {i} lazy dogs. " * 5 for i in range(200)]
    pq.write_table(pa.table({"text": texts}), tmp_path / "text.parquet", row_group_size=50)
    (tmp_path / "spec.json").write_text(json.dumps(SPEC))
    return tmp_path


@pytest.mark.parametrize(
    ("kind", "brought", "shuffle"),
    [("nanogpt", True, "documents"), ("llmc", True, "windows"), ("npy", False, "documents")],
)
def test_any_format_is_trained_on(folder, kind, brought, shuffle):
    import torch

    made = data_commands.prepare([str(folder / "text.parquet")], folder / "tokens", format=kind, val_fraction=0.2)
    if brought:
        (folder / "tokens" / "meta.json").unlink()
    spec = SPEC | {"train": SPEC["train"] | {"shuffle": shuffle}}
    (folder / "spec.json").write_text(json.dumps(spec))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    run(folder / "spec.json", data=folder / "tokens")
    torch.set_num_threads(threads)
    (made_run,) = (folder / "runs").iterdir()  # nothing was tokenized again
    lines = [json.loads(line) for line in (made_run / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines if "loss" in line][-1] == pytest.approx(3 * 64 / made.train_tokens)


@pytest.mark.usefixtures("folder")
def test_count_prepare_inspect_as_json(fwplan):
    counted = json.loads(fwplan("data", "count", "text.parquet", "--plan", "spec.json", "--json").stdout)
    assert (counted["documents"], counted["tier"]) == (200, "tokenized")
    assert counted["epochs"] == pytest.approx(3 * 64 / counted["tokens"])
    made = json.loads(fwplan("data", "prepare", "*.parquet", "-o", "out", "--dedup", "exact", "--json").stdout)
    assert sum(split["tokens"] for split in made["splits"].values()) == counted["tokens"]
    seen = json.loads(fwplan("data", "inspect", "out", "--json").stdout)
    assert seen["meta"] == made
    planned = fwplan("suggest", "--device", "cpu", "--data", "out", "--hours", "0.01", "--context", "32", "--json")
    assert json.loads(planned.stdout)["data"]["tokens"] == made["splits"]["train"]["tokens"]


def test_the_column_of_text_has_an_option(fwplan, folder):
    pq.write_table(pa.table({"content": ["hello world"] * 30}), folder / "other.parquet")
    refused = fwplan("data", "count", "other.parquet")
    assert (refused.returncode, "--text-column content" in refused.stderr) == (2, True)
    counted = fwplan("data", "count", "other.parquet", "--text-column", "content")
    assert "90 tokens" in counted.stdout
    following = counted.stdout.strip().splitlines()[-1].split()[1:]
    assert json.loads(fwplan(*following, "--json").stdout)["splits"]["train"]["tokens"] == 90


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["count", "nowhere.parquet"], "no such file"),
        (["count", "text.parquet", "--tokenizer", "gpt9"], "unknown tokenizer 'gpt9'"),
        (["prepare", "text.parquet"], "-o"),
        (["prepare", "text.parquet", "-o", "out", "--format", "mp3"], "unknown format 'mp3'"),
        (["prepare", "text.parquet", "-o", "out", "--dedup", "fuzzy"], "unknown --dedup 'fuzzy'"),
        (["prepare", "text.parquet", "-o", "out", "--shard-tokens", "10"], "--format llmc or npy"),
        (["prepare", "text.parquet", "-o", "out", "--min-language-score", "0.5"], "language_score"),
        (["prepare", "text.parquet", "-o", "spec.json"], "cannot write to"),
        (["inspect", "."], "no tokens in"),
        (["inspect", "nowhere"], "no tokens in"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
@pytest.mark.usefixtures("folder")
def test_bad_input_is_one_clear_error(fwplan, arguments, said):
    done = fwplan("data", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("error: ") == done.stderr.count("hint: ") == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_what_is_said_fits_the_terminal(folder):
    counted = data_commands.count([str(folder / "text.parquet")], plan=folder / "spec.json")
    shards = data_commands.prepare([str(folder / "text.parquet")], folder / "out", workers=1)
    found = data_commands.inspect(folder / "out")
    said = [*count_lines(counted, ["text.parquet"]), *prepared_lines(shards), *inspect_lines(found)]
    assert all(len(line) <= 110 for line in said)  # markup and the folder's name included
    assert any("epochs" in line for line in said)
    assert any("verified" in line for line in said)


def test_progress_without_a_terminal_is_a_line_every_ten_seconds(monkeypatch, capsys):
    from fwplan.console import progress

    now = iter(range(0, 1000, 6))
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(now))
    with progress.byte_progress("tokenizing") as tell:
        for done in range(0, 101, 10):
            tell(done * 10**6, 100 * 10**6)
    said = capsys.readouterr().err.splitlines()
    assert 4 <= len(said) <= 6
    assert said[0].startswith("tokenizing 10%  10/100 MB  1.7 MB/s  ETA")


def test_the_last_line_of_progress_is_that_all_is_done(monkeypatch, capsys):
    from fwplan.console import progress

    now = iter(range(0, 1000, 6))
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(now))
    with progress.byte_progress("tokenizing") as tell:
        for done in (0, 30, 60, 82, 100, 100):
            tell(done * 10**6, 100 * 10**6)
    said = capsys.readouterr().err.splitlines()
    assert [line.split()[1] for line in said] == ["30%", "82%", "100%"]


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="a place where root cannot write either")
def test_what_cannot_be_written_is_not_full(folder):
    from fwplan.errors import FwplanError

    with pytest.raises(FwplanError, match="cannot write to '/proc/tokens'"):
        data_commands.prepare([str(folder / "text.parquet")], "/proc/tokens")


def test_runs_on_other_data_are_other_runs(folder):
    from fwplan.errors import FwplanError

    for name, fraction in (("one", 0.2), ("two", 0.3)):
        data_commands.prepare([str(folder / "text.parquet")], folder / name, val_fraction=fraction)
    (folder / "spec.json").write_text(json.dumps(SPEC | {"data": {"path": "one"}}))
    own = run(folder / "spec.json", steps=1).result.run_dir
    other = run(folder / "spec.json", data=folder / "two", steps=1).result.run_dir
    assert own != other
    (folder / "two").rename(folder / "moved")
    assert run(folder / "spec.json", data=folder / "moved", steps=1, resume=True).result.run_dir == other
    with pytest.raises(FwplanError, match="already holds a run"):  # the plan's own, however it is named
        run(folder / "spec.json", data=folder / "moved" / ".." / "one", steps=1)


def test_two_runs_over_one_parquet_train_on_whole_tokens(folder, fwplan):
    from threading import Thread

    from fwplan.data.inspect import inspect

    done = []
    for name, steps in (("one", 1), ("two", 2)):
        plan = SPEC | {"train": SPEC["train"] | {"max_steps": steps}, "data": {"path": "text.parquet"}}
        (folder / f"{name}.json").write_text(json.dumps(plan))
    both = [Thread(target=lambda name=name: done.append(fwplan("run", f"{name}.json"))) for name in ("one", "two")]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join()
    assert [each.returncode for each in done] == [0, 0], [each.stderr for each in done]
    (tokens,) = (folder / "runs").glob("tokens-*")
    assert sorted(path.name for path in tokens.iterdir()) == ["ends", "meta.json", "train.bin", "val.bin"]
    assert inspect(tokens).splits["train"].documents + inspect(tokens).splits["val"].documents == 200


def test_a_run_whose_validation_would_be_too_short_says_so_at_once(folder, monkeypatch):
    from fwplan.data import prepare as prepare_module
    from fwplan.errors import FwplanError

    monkeypatch.setattr(prepare_module, "ordered_map", None)
    long = SPEC | {"model": SPEC["model"] | {"context_length": 4096}, "data": {"path": "text.parquet"}}
    (folder / "spec.json").write_text(json.dumps(long))
    with pytest.raises(FwplanError, match=r"the val split holds .* sequence_length 4096 needs at least 4,097"):
        run(folder / "spec.json")


def test_a_preparation_that_is_stopped_says_how_it_goes_on(monkeypatch, capsys, tmp_path):
    def stopped(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("fwplan.data.prepare.prepare", stopped)
    with pytest.raises(KeyboardInterrupt):
        data_commands.prepare(["text.parquet"], tmp_path / "tokens")
    assert capsys.readouterr().err == "stopped; the same command goes on\n"
