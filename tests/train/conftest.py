"""A tiny model and a tiny corpus, the same in every process that asks for them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from fwplan.data.shards import open_shards
from fwplan.spec import RunSpec
from fwplan.train.loop import train

VOCAB = 40


@pytest.fixture(autouse=True)
def _one_thread():
    """Run tiny models on one thread: more of them would mostly wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def make_spec():
    """Return a RunSpec factory: keyword arguments go to train, `model` to the model."""

    def make(model=None, **recipe):
        return RunSpec.model_validate(
            {
                "model": {
                    "n_layer": 2,
                    "n_head": 2,
                    "n_embd": 16,
                    "vocab_size": VOCAB,
                    "context_length": 12,
                    **(model or {}),
                },
                "train": {
                    "micro_batch_size": 3,
                    "grad_accum_steps": 2,
                    "dtype": "float32",
                    "compile": False,
                    "max_steps": 12,
                    "warmup_steps": 2,
                    "learning_rate": 1e-2,
                    "eval_interval": 5,
                    "eval_batches": 2,
                    "checkpoint_interval": 3,
                    **recipe,
                },
            }
        )

    return make


@pytest.fixture
def make_shards(tmp_path):
    """Return a factory of shards over a text that repeats, so that a model can learn it."""

    def make(name="data", train_tokens=600, val_tokens=200, vocab_size=VOCAB):
        directory = tmp_path / name
        directory.mkdir()
        text = np.resize((np.arange(30) ** 2 % 31).astype("<u2"), train_tokens + val_tokens)
        text[:train_tokens].tofile(directory / "train.bin")
        text[train_tokens:].tofile(directory / "val.bin")
        return replace(open_shards(directory), vocab_size=vocab_size, end_of_text=0)

    return make


@pytest.fixture
def shards(make_shards):
    return make_shards()


@pytest.fixture
def run(shards, tmp_path):
    """Return train() with what every test would repeat filled in."""

    def call(spec, name="run", **options):
        options = {"device": torch.device("cpu"), "predicted_allocated_bytes": 1, "quiet": True, **options}
        return train(spec, options.pop("shards", shards), tmp_path / name, **options)

    return call


@pytest.fixture
def files_in():
    """Return a lister of a directory's file names, sorted."""
    return lambda directory: sorted(path.name for path in Path(directory).iterdir())


@pytest.fixture
def history():
    """Return a reader of what a run recorded, without its times: [(step, kind, value, lr)]."""

    def read(run_dir):
        lines = [json.loads(line) for line in (Path(run_dir) / "metrics.jsonl").read_text().splitlines()]
        return [
            (line["step"], "val", line["val_loss"], None)
            if "val_loss" in line
            else (line["step"], "train", line["loss"], line["lr"])
            for line in lines
        ]

    return read


@pytest.fixture
def assert_same_state():
    """Return a check that two runs' checkpoints hold the same weights, moments and random state, bit for bit."""

    def same(left, right, where):
        assert type(left) is type(right), where
        if isinstance(left, torch.Tensor):
            assert torch.equal(left, right), where
        elif isinstance(left, dict):
            assert left.keys() == right.keys(), where
            for key in left:
                same(left[key], right[key], f"{where}.{key}")
        elif isinstance(left, list | tuple):
            assert len(left) == len(right), where
            for i, (a, b) in enumerate(zip(left, right, strict=True)):
                same(a, b, f"{where}[{i}]")
        else:
            assert left == right, where

    def check(first_dir, second_dir):
        first, second = (
            torch.load(Path(d) / "last.pt", weights_only=True, map_location="cpu") for d in (first_dir, second_dir)
        )
        for state in (first, second):  # a run stopped by --steps was evaluated once more on the way
            state["progress"].pop("best_val_loss")
        same(first, second, "last.pt")

    return check
