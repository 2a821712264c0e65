from __future__ import annotations

import pytest

from fwplan.errors import FwplanError
from fwplan.files import replace_atomically, write_json


def test_a_link_in_the_temporary_files_place_is_not_followed(tmp_path):
    precious = tmp_path / "precious"
    precious.write_text("mine")
    (tmp_path / "plan.json.tmp").symlink_to(precious)
    write_json(tmp_path / "plan.json", {"a": 1})
    assert precious.read_text() == "mine"
    assert (tmp_path / "plan.json").read_text() == '{\n  "a": 1\n}\n'
    assert sorted(path.name for path in tmp_path.iterdir()) == ["plan.json", "precious"]


def test_what_a_crash_left_is_written_again(tmp_path):
    (tmp_path / "plan.json.tmp").write_text("half")
    replace_atomically(tmp_path / "plan.json", lambda file: file.write(b"whole"))
    assert (tmp_path / "plan.json").read_text() == "whole"


def test_a_folder_in_the_temporary_files_place_is_said(tmp_path):
    (tmp_path / "plan.json.tmp").mkdir()
    with pytest.raises(FwplanError, match=r"cannot write plan\.json"):
        write_json(tmp_path / "plan.json", {})
    assert not (tmp_path / "plan.json").exists()
