"""A whole run: it learns, leaves the files it promises, stops cleanly, and goes on exactly where it stopped."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys

import numpy as np
import pytest
import torch

from fwplan.errors import FwplanError
from fwplan.learning.measurement import Measurement
from fwplan.spec import parse_spec
from fwplan.train import loop, measure
from fwplan.train.loop import train
from fwplan.train.schedule import learning_rate, resolve_schedule

CPU = torch.device("cpu")


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16", "pure_bfloat16"])
@pytest.mark.parametrize("loss", ["full", "chunked"])
def test_the_loss_falls_on_a_text_that_repeats(dtype, loss, make_spec, run):
    result = run(
        make_spec(
            dtype=dtype, loss=loss, max_steps=40, eval_interval=40, checkpoint_interval=40, optimizer_impl="foreach"
        )
    )
    assert result.first_val_loss == pytest.approx(np.log(40), abs=0.15)  # knows nothing: ln(vocabulary)
    assert result.last_val_loss < 0.7 * result.first_val_loss
    assert result.last_loss < 0.7 * result.first_loss
    assert result.steps_done == 40


def test_a_run_leaves_what_it_promises(make_spec, run, files_in):
    spec = make_spec()
    result = run(spec)
    assert files_in(result.run_dir) == ["last.pt", "log.txt", "metrics.jsonl", "result.json", "spec.json"]
    assert parse_spec(json.loads((result.run_dir / "spec.json").read_text()), "spec.json") == spec
    document = json.loads((result.run_dir / "result.json").read_text())
    assert Measurement.model_validate(document["measurement"]) == result.measurement
    assert document["steps_done"] == 12
    assert document["last_val_loss"] == result.last_val_loss


def test_the_metrics_are_complete(make_spec, run):
    spec = make_spec()
    text = (run(spec).run_dir / "metrics.jsonl").read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    steps = [line for line in lines if "loss" in line]
    assert [line["step"] for line in steps] == list(range(1, 13))
    assert [line["step"] for line in lines if "val_loss" in line] == [0, 5, 10, 12]
    assert set(steps[0]) == {"step", "loss", "lr", "tokens", "epoch", "step_seconds", "tokens_per_second"}
    schedule = resolve_schedule(spec)
    assert [line["lr"] for line in steps] == [learning_rate(schedule, i) for i in range(12)]
    assert steps[-1]["tokens"] == 12 * 72
    assert steps[-1]["epoch"] == 12 * 72 / 600
    assert all(line["tokens_per_second"] == 72 / line["step_seconds"] for line in steps)


def test_the_learning_rate_reaches_the_optimizer(make_spec, run, monkeypatch):
    used = []
    real = measure.train_step

    def step(trainer, batches):
        used.extend(group["lr"] for group in trainer.optimizer.param_groups)
        return real(trainer, batches)

    monkeypatch.setattr(measure, "train_step", step)
    spec = make_spec()
    run(spec)
    assert used == [learning_rate(resolve_schedule(spec), i) for i in range(12) for _ in range(2)]


def test_evaluation_is_without_dropout_and_does_not_disturb_training(make_spec, run, history):
    spec, rarely = (make_spec({"dropout": 0.2}, eval_interval=n) for n in (1, 100))
    often = history(run(spec, "often").run_dir)
    seldom = history(run(rarely, "seldom").run_dir)
    assert [h for h in often if h[1] == "train"] == [h for h in seldom if h[1] == "train"]
    assert [h for h in often if h[1] == "val"][-1] == [h for h in seldom if h[1] == "val"][-1]


def test_steps_caps_the_call_and_not_the_horizon(make_spec, run, history, assert_same_state):
    spec = make_spec({"dropout": 0.1}, dtype="bfloat16", loss="chunked", loss_chunk_tokens=10)
    whole = run(spec, "whole")
    part = run(spec, "parts", steps=4)
    assert part.steps_done == 4
    part = run(spec, "parts", steps=1, resume=True)
    assert (part.steps_done, part.measurement) == (5, None)
    last = run(spec, "parts", resume=True)
    assert (last.steps_done, last.first_loss, last.last_loss) == (12, whole.first_loss, whole.last_loss)
    assert last.first_val_loss == whole.first_val_loss
    once_more = (4, "val")  # evaluated at the end of the first call, too
    assert [h for h in history(last.run_dir) if h[:2] != once_more] == history(whole.run_dir)
    assert_same_state(whole.run_dir, last.run_dir)


def test_a_finished_run_is_left_alone(make_spec, run):
    first = run(make_spec())
    before = {
        path.name: path.read_bytes() for path in first.run_dir.iterdir() if path.name not in ("last.pt", "log.txt")
    }
    again = run(make_spec(), resume=True)
    assert (again.steps_done, again.last_loss, again.measurement) == (12, first.last_loss, None)
    assert {
        path.name: path.read_bytes() for path in first.run_dir.iterdir() if path.name not in ("last.pt", "log.txt")
    } == before


def test_a_second_run_in_the_same_directory_is_refused(make_spec, run):
    run(make_spec(), steps=1)
    with pytest.raises(FwplanError, match="already holds a run") as caught:
        run(make_spec())
    assert "--resume" in caught.value.hint


def test_a_directory_with_other_files_is_not_touched(make_spec, run, files_in, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.tex").write_text("x")
    for resume in (False, True):
        with pytest.raises(FwplanError, match="other files"):
            run(make_spec(), resume=resume)
    assert files_in(tmp_path / "run") == ["thesis.tex"]


def test_a_file_is_not_a_run_directory(make_spec, run, tmp_path):
    (tmp_path / "run").write_text("x")
    with pytest.raises(FwplanError, match="is a file"):
        run(make_spec())


def test_nothing_to_resume(make_spec, run, tmp_path):
    with pytest.raises(FwplanError, match="nothing to resume"):
        run(make_spec(), resume=True)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "left", [(), ("spec.json.tmp",), ("spec.json",), ("spec.json", "metrics.jsonl", "last.pt.tmp")]
)
def test_a_run_killed_before_its_first_checkpoint_starts_again(left, make_spec, run, history, tmp_path, capsys):
    whole = run(make_spec(), "whole")
    shutil.copytree(whole.run_dir, tmp_path / "run")
    (tmp_path / "run" / "last.pt").rename(tmp_path / "run" / "last.pt.tmp")
    (tmp_path / "run" / "spec.json.tmp").write_text("{")
    for path in (tmp_path / "run").iterdir():
        if path.name not in left:
            path.unlink()
    again = run(make_spec(), resume=True, quiet=False)
    assert "no checkpoint yet: starting from step 0" in capsys.readouterr().err
    assert history(again.run_dir) == history(whole.run_dir)


def test_resume_says_where_it_goes_on(make_spec, run, capsys):
    run(make_spec(), steps=4)
    run(make_spec(), resume=True, quiet=False)
    assert "resuming after step 4" in capsys.readouterr().err


def test_resume_with_another_spec_names_the_field(make_spec, run):
    run(make_spec(), steps=3)
    with pytest.raises(FwplanError, match=r"train\.seed is 1337 there and 1 here"):
        run(make_spec(seed=1), resume=True)


def test_another_spec_is_refused_before_the_first_checkpoint_too(make_spec, run):
    (run(make_spec(), steps=1).run_dir / "last.pt").unlink()
    with pytest.raises(FwplanError, match=r"train\.seed is 1337 there and 1 here") as caught:
        run(make_spec(seed=1), resume=True)
    assert caught.value.where.endswith("spec.json")


def test_a_damaged_spec_json_is_one_clear_error(make_spec, run):
    (run(make_spec(), steps=1).run_dir / "spec.json").write_text("{")
    with pytest.raises(FwplanError, match=r"cannot read spec\.json"):
        run(make_spec(), resume=True)


def test_resume_with_other_data_is_refused(make_spec, make_shards, run):
    run(make_spec(), steps=3)
    with pytest.raises(FwplanError, match="trained on 600 tokens, and the data now holds 601"):
        run(make_spec(), shards=make_shards("more", train_tokens=601), resume=True)


def test_data_that_cannot_serve_is_refused_before_anything_is_written(make_spec, make_shards, run, tmp_path):
    with pytest.raises(FwplanError, match="needs at least 13"):
        run(make_spec(), shards=make_shards("short", val_tokens=12))
    with pytest.raises(FwplanError, match=r"vocabulary of 50000 tokens, but model\.vocab_size is 40"):
        run(make_spec(), shards=make_shards("foreign", vocab_size=50_000))
    with pytest.raises(FwplanError, match="how long to train"):
        run(make_spec(max_steps=None))
    with pytest.raises(FwplanError, match="cannot train for 0 steps"):
        run(make_spec(), steps=0)
    with pytest.raises(FwplanError, match="not supported by this trainer"):
        run(make_spec(parallel="ddp"))
    assert not (tmp_path / "run").exists()


def _at_step(monkeypatch, number, action):
    """Call action(trainer) before the step of that number in this process, counted from 1; return what it returns."""
    real, calls = measure.train_step, []

    def step(trainer, batches):
        calls.append(None)
        instead = action(trainer) if len(calls) == number else None
        return real(trainer, batches) if instead is None else instead

    monkeypatch.setattr(measure, "train_step", step)


def test_ctrl_c_finishes_the_step_and_saves(make_spec, run, history, assert_same_state, tmp_path, monkeypatch, capfd):
    spec = make_spec({"dropout": 0.1}, checkpoint_interval=100)
    whole = run(spec, "whole")
    handler = signal.getsignal(signal.SIGINT)
    with monkeypatch.context() as patch:
        _at_step(patch, 7, lambda _: os.kill(os.getpid(), signal.SIGINT))
        with pytest.raises(KeyboardInterrupt) as caught:
            run(spec)
    assert caught.type is KeyboardInterrupt  # of a subclass Python makes a script's exit code 1
    assert signal.getsignal(signal.SIGINT) is handler
    assert "stopping after this step" in capfd.readouterr().err
    assert torch.load(tmp_path / "run" / "last.pt", weights_only=True)["progress"]["step"] == 7
    resumed = run(spec, resume=True)
    assert history(resumed.run_dir) == history(whole.run_dir)
    assert_same_state(whole.run_dir, resumed.run_dir)


def test_ctrl_c_during_an_evaluation_saves_and_the_evaluation_is_made_up(make_spec, run, history, monkeypatch):
    spec = make_spec(checkpoint_interval=100)
    whole = run(spec, "whole")
    real, calls = loop.evaluate, []

    def evaluate(trainer, batches):
        calls.append(None)
        if len(calls) == 2:  # the one after step 5
            os.kill(os.getpid(), signal.SIGINT)
        return real(trainer, batches)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "evaluate", evaluate)
        with pytest.raises(KeyboardInterrupt):
            run(spec)
    assert history(run(spec, resume=True).run_dir) == history(whole.run_dir)


def test_a_second_ctrl_c_stops_at_once_and_saves_nothing_half_done(make_spec, run, tmp_path, monkeypatch):
    def twice(_):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    _at_step(monkeypatch, 5, twice)
    with pytest.raises(KeyboardInterrupt):
        run(make_spec())
    assert torch.load(tmp_path / "run" / "last.pt", weights_only=True)["progress"]["step"] == 3


def test_a_loss_that_is_not_finite_keeps_the_last_checkpoint(make_spec, run, tmp_path, monkeypatch, history):
    _at_step(monkeypatch, 8, lambda _: torch.tensor(float("nan")))
    with pytest.raises(FwplanError, match=r"the loss of step 8 is nan.*last\.pt, is kept"):
        run(make_spec())
    assert torch.load(tmp_path / "run" / "last.pt", weights_only=True)["progress"]["step"] == 6
    assert history(tmp_path / "run")[-1][0] == 7


def test_spoilt_weights_never_replace_a_good_checkpoint(make_spec, run, tmp_path, monkeypatch):
    def spoil(trainer):
        trainer.model.trunk.wpe.weight.data[0, 0] = float("inf")
        return torch.tensor(1.0)  # a loss that looks well

    _at_step(monkeypatch, 6, spoil)
    with pytest.raises(FwplanError, match="the norm of the weights after step 6 is inf"):
        run(make_spec())
    assert torch.load(tmp_path / "run" / "last.pt", weights_only=True)["progress"]["step"] == 3


def test_divergence_before_the_first_checkpoint(make_spec, run, monkeypatch):
    _at_step(monkeypatch, 1, lambda _: torch.tensor(float("inf")))
    with pytest.raises(FwplanError, match=r"the loss of step 1 is inf.*none is kept"):
        run(make_spec())


def test_out_of_memory_in_a_step(make_spec, run, monkeypatch):
    def exhaust(_):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    _at_step(monkeypatch, 2, exhaust)
    with pytest.raises(FwplanError, match="out of memory") as caught:
        run(make_spec())
    assert caught.value.exit_code == 3


def test_a_full_disk_stops_the_run_and_not_the_checkpoint(make_spec, run, tmp_path, monkeypatch):
    real, calls = torch.save, []

    def save(state, file):
        calls.append(None)
        if len(calls) == 2:
            file.write(b"half")
            raise OSError(28, "No space left on device")
        real(state, file)

    monkeypatch.setattr(torch, "save", save)
    with pytest.raises(FwplanError, match="after step 6: No space left on device"):
        run(make_spec())
    assert torch.load(tmp_path / "run" / "last.pt", weights_only=True)["progress"]["step"] == 3


def test_progress_goes_to_stderr(make_spec, shards, tmp_path, capsys):
    train(make_spec(), shards, tmp_path / "run", device=CPU, predicted_allocated_bytes=1)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines()[0].startswith("step 0/12  validation loss 3.")
    assert any(line.startswith("step 12/12  loss ") for line in err.splitlines())


@pytest.mark.parametrize("loss", ["full", "chunked"])
def test_another_batch_size_in_evaluation_leaves_the_compiled_step_static(loss, make_spec, run, monkeypatch):
    seen = []

    def backend(graph, inputs):
        seen.append([x for x in inputs if isinstance(x, torch.SymInt)])
        return graph.forward

    real = torch.nn.Module.compile
    monkeypatch.setattr(torch.nn.Module, "compile", lambda module, **options: real(module, backend=backend, **options))
    monkeypatch.setenv("CXX", sys.executable)  # not needed: this backend compiles nothing
    torch.compiler.reset()
    run(make_spec(compile=True, loss=loss, eval_micro_batch_size=2, eval_interval=2, max_steps=4))
    assert seen == [[], []]  # one graph to evaluate, one to train, both of fixed shape


@pytest.mark.skipif(shutil.which(os.environ.get("CXX", "g++")) is None, reason="torch.compile needs a C++ compiler")
@pytest.mark.filterwarnings("ignore")  # torch's compiler has its own opinions
def test_compiled_and_eager_learn_the_same(make_spec, run):
    options = {"max_steps": 4, "eval_interval": 2}
    model = {"n_layer": 1}
    compiled = run(make_spec(model, compile=True, **options), "compiled")
    eager = run(make_spec(model, **options), "eager")
    assert compiled.last_loss == pytest.approx(eager.last_loss, rel=1e-4)
    assert compiled.last_val_loss == pytest.approx(eager.last_val_loss, rel=1e-4)
    assert compiled.measurement.peak_allocated_bytes < eager.measurement.peak_allocated_bytes
