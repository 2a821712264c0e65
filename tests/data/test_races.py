"""Two at once in a folder of tokens: one prepares, the other waits or is refused; what is trained on stays."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from fwplan.data.inspect import inspect
from fwplan.data.prepare import prepare
from fwplan.data.shards import in_use, open_shards
from fwplan.errors import FwplanError
from fwplan.locks import locked

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="readers share no lock there")

PREPARE = """
import sys
from fwplan.data.prepare import prepare
if __name__ == "__main__":
    prepare(sys.argv[1], sys.argv[2], workers=1, note=print)
"""


def test_two_that_prepare_the_same_both_find_it_done(write, make_texts, tmp_path):
    source, out = write(make_texts(2000), group_rows=50), tmp_path / "set"
    command = [sys.executable, "-c", PREPARE, str(source), str(out)]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    said = [process.communicate(timeout=120)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0, 0]
    assert sum("going on after" in text for text in said) == 0
    assert "SHA-256 of each file" in inspect(out).checked
    assert open_shards(out).meta == prepare(source, tmp_path / "clean").meta
    assert sorted(path.name for path in out.iterdir()) == ["ends", "meta.json", "train.bin", "val.bin"]


def test_another_recipe_is_refused_with_the_pid(write, texts, tmp_path):
    source, out = write(texts), tmp_path / "set"
    with (
        locked(out, "preparing tokens", key="another recipe"),
        pytest.raises(FwplanError, match=f"in use: pid {os.getpid()} is preparing tokens"),
    ):
        prepare(source, out)
    assert not out.exists()
    prepare(source, out)


def test_tokens_that_are_trained_on_are_not_replaced(write, texts, tmp_path):
    source, out = write(texts), tmp_path / "set"
    before = prepare(source, out)
    with in_use(before) as shards:
        assert prepare(source, out).meta == shards.meta  # the same is there and stays
        with in_use(before):  # by two
            pass
        with pytest.raises(FwplanError, match=f"pid {os.getpid()} is training on its tokens"):
            prepare(source, out, val_fraction=0.5)
        assert open_shards(out).meta == before.meta
    assert prepare(source, out, val_fraction=0.5).meta != before.meta


def test_a_finished_set_needs_no_lock(write, texts, tmp_path):
    source, out = write(texts), tmp_path / "set"
    before = prepare(source, out)
    with locked(out, "preparing tokens", key="another recipe"):
        assert prepare(source, out).meta == before.meta


def test_tokens_that_were_brought_get_no_file_beside_them(write, texts, tmp_path):
    prepare(write(texts), tmp_path / "set")
    (tmp_path / "set" / "meta.json").unlink()
    with in_use(open_shards(tmp_path / "set")):
        assert not list((tmp_path / "set").glob(".*"))


def test_a_file_that_was_cut_is_seen_before_it_is_trained_on(write, texts, tmp_path):
    shards = prepare(write(texts), tmp_path / "set")
    os.truncate(tmp_path / "set" / "train.bin", 20)
    with pytest.raises(FwplanError, match=r"train\.bin is 20 bytes"), in_use(shards):
        pass
