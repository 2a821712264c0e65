"""Checkpoints survive failed writes, and damaged or foreign ones are refused."""

from __future__ import annotations

import errno
import os
import pickle
import zipfile

import pytest
import torch

from fwplan import files
from fwplan.errors import FwplanError
from fwplan.spec import DataSpec, DeviceSpec
from fwplan.train.checkpoint import Progress, load_checkpoint, save_checkpoint
from fwplan.train.step import build_trainer, train_step

CPU = torch.device("cpu")
PROGRESS = Progress(step=4, train_tokens=600, best_val_loss=1.5)


@pytest.fixture
def trainer(make_spec):
    torch.manual_seed(0)
    trainer = build_trainer(make_spec(), CPU)
    _step(trainer)
    return trainer


def _step(trainer):
    idx = torch.arange(36).reshape(3, 12)
    train_step(trainer, [(idx, idx)] * 2)


def _weights(trainer):
    return [p.detach().clone() for p in trainer.model.parameters()]


def _equal(left, right):
    return all(torch.equal(a, b) for a, b in zip(left, right, strict=True))


def test_round_trip_restores_everything(trainer, make_spec, files_in, tmp_path):
    path = tmp_path / "last.pt"
    save_checkpoint(path, trainer, PROGRESS)
    expected_draw = torch.rand(3)
    _step(trainer)

    torch.manual_seed(99)
    other = build_trainer(make_spec(), CPU)
    assert load_checkpoint(path, other) == PROGRESS
    assert torch.equal(torch.rand(3), expected_draw)
    _step(other)  # needs the moments and their step count to be right
    assert _equal(_weights(trainer), _weights(other))
    assert other.model.lm_head.weight.data_ptr() == other.model.trunk.wte.weight.data_ptr()
    assert files_in(tmp_path) == ["last.pt"]


def test_the_loss_scale_is_restored(make_spec, tmp_path):
    trainer = build_trainer(make_spec(dtype="float16"), CPU)
    trainer.scaler.load_state_dict({**trainer.scaler.state_dict(), "scale": 123.0})
    _step(trainer)
    save_checkpoint(tmp_path / "last.pt", trainer, PROGRESS)
    other = build_trainer(make_spec(dtype="float16"), CPU)
    load_checkpoint(tmp_path / "last.pt", other)
    assert other.scaler.state_dict()["scale"] == trainer.scaler.get_scale() == 123.0


def _fail_replace(monkeypatch):
    def replace(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files.os, "replace", replace)


def _fail_fsync(monkeypatch):
    def fsync(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", fsync)


@pytest.mark.parametrize("fail", [_fail_replace, _fail_fsync])
def test_a_failed_save_leaves_the_previous_checkpoint(fail, trainer, make_spec, files_in, tmp_path, monkeypatch):
    path = tmp_path / "last.pt"
    save_checkpoint(path, trainer, PROGRESS)
    before = path.read_bytes()
    _step(trainer)
    with monkeypatch.context() as patch:
        fail(patch)
        with pytest.raises(FwplanError, match=r"No space left on device; the previous one in .* is untouched"):
            save_checkpoint(path, trainer, Progress(step=5, train_tokens=600, best_val_loss=None))
    assert path.read_bytes() == before
    assert files_in(tmp_path) == ["last.pt"]
    assert load_checkpoint(path, build_trainer(make_spec(), CPU)).step == 4


@pytest.mark.parametrize("limit", [100, 20_000])
def test_a_file_cut_short_by_the_system_is_one_clear_error(limit, trainer, files_in, tmp_path):
    # a real refused write, in the midst of torch's zip writer, which raises an error of its own over the system's
    path = tmp_path / "last.pt"
    save_checkpoint(path, trainer, PROGRESS)
    before = path.read_bytes()
    assert len(before) > limit
    resource = pytest.importorskip("resource")  # not on Windows
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        with pytest.raises(FwplanError, match="File too large"):
            save_checkpoint(path, trainer, PROGRESS)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == before
    assert files_in(tmp_path) == ["last.pt"]


def _flip_a_weight(path):
    data = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        tensors = [member for member in archive.infolist() if "/data/" in member.filename]
    largest = max(tensors, key=lambda member: member.file_size)
    data[largest.header_offset + 500] ^= 0x10  # torch would load it and see nothing
    path.write_bytes(data)


def _truncate(path):
    path.write_bytes(path.read_bytes()[:-1000])


def _empty(path):
    path.write_bytes(b"")


def _another_pickle(path):
    torch.save({"model": {}}, path)


def _a_tensor(path):
    torch.save(torch.zeros(2), path)


@pytest.mark.parametrize("damage", [_flip_a_weight, _truncate, _empty, _another_pickle, _a_tensor])
def test_damage_is_one_clear_error(damage, trainer, tmp_path):
    path = tmp_path / "last.pt"
    save_checkpoint(path, trainer, PROGRESS)
    damage(path)
    with pytest.raises(FwplanError, match="cannot read the checkpoint") as caught:
        load_checkpoint(path, trainer)
    assert caught.value.where == str(path)


def test_a_checkpoint_cannot_run_code(trainer, tmp_path):
    class Payload:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "owned"),)

    path = tmp_path / "last.pt"
    torch.save({"model": Payload()}, path, pickle_module=pickle)
    with pytest.raises(FwplanError, match="cannot read the checkpoint"):
        load_checkpoint(path, trainer)
    assert not (tmp_path / "owned").exists()


def test_another_spec_is_refused_by_field(trainer, make_spec, tmp_path):
    path = tmp_path / "last.pt"
    save_checkpoint(path, trainer, PROGRESS)
    before = _weights(trainer)
    with pytest.raises(FwplanError, match=r"train\.learning_rate is 0.01 there and 0.02 here"):
        load_checkpoint(path, build_trainer(make_spec(learning_rate=2e-2), CPU))
    with pytest.raises(FwplanError, match=r"model\.n_embd is 16 there and 8 here \(and 1 more\)"):
        load_checkpoint(path, build_trainer(make_spec({"n_embd": 8}, seed=7), CPU))
    assert _equal(_weights(trainer), before)


def test_a_run_may_move_to_another_device_and_folder(make_spec, tmp_path):
    path, spec = tmp_path / "last.pt", make_spec()
    there = spec.model_copy(update={"device": DeviceSpec(type="cuda", name="one"), "data": DataSpec(path="there")})
    here = spec.model_copy(update={"device": DeviceSpec(type="cpu"), "data": DataSpec(path="here")})
    save_checkpoint(path, build_trainer(there, CPU), PROGRESS)
    assert load_checkpoint(path, build_trainer(here, CPU)).step == 4


def test_a_newer_format_is_refused(trainer, tmp_path, monkeypatch):
    path = tmp_path / "last.pt"
    monkeypatch.setattr("fwplan.train.checkpoint._FORMAT", 2)
    save_checkpoint(path, trainer, PROGRESS)
    monkeypatch.undo()
    with pytest.raises(FwplanError, match="checkpoint format 2"):
        load_checkpoint(path, trainer)
