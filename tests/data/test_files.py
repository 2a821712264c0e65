from __future__ import annotations

import pytest

from fwplan.data.files import find_files
from fwplan.errors import FwplanError


@pytest.fixture
def folder(tmp_path):
    for name in ("b.parquet", "a.parquet", "sub/c.parquet", "notes.txt", ".cache/half.parquet"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    return tmp_path.resolve()


def names(files, folder):
    return [file.relative_to(folder).as_posix() for file in files]


def test_a_folder_gives_its_parquet_files_sorted_without_hidden_ones(folder):
    assert names(find_files(folder), folder) == ["a.parquet", "b.parquet", "sub/c.parquet"]


def test_a_glob_is_sorted(folder):
    assert names(find_files(f"{folder}/*.parquet"), folder) == ["a.parquet", "b.parquet"]


def test_a_file_named_twice_is_read_once(folder):
    found = find_files([folder / "b.parquet", folder, f"{folder}/sub/../b.parquet"])
    assert names(found, folder) == ["b.parquet", "a.parquet", "sub/c.parquet"]


def test_home_is_understood(folder, monkeypatch):
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("USERPROFILE", str(folder))
    assert names(find_files("~/a.parquet"), folder) == ["a.parquet"]


def test_what_is_not_there_is_repeated_in_the_error(folder):
    with pytest.raises(FwplanError, match=r"no such file.*missing\.parquet"):
        find_files(folder / "missing.parquet")
    with pytest.raises(FwplanError, match=r"no such file.*\*\.json"):
        find_files(f"{folder}/*.json")
    with pytest.raises(FwplanError, match="no parquet file was named"):
        find_files([])
    with pytest.raises(FwplanError, match="no parquet file was named"):
        find_files("")
    with pytest.raises(FwplanError, match=r"no such file.*~nobody-of-that-name"):
        find_files("~nobody-of-that-name/a.parquet")


def test_an_empty_folder_is_an_error(tmp_path):
    with pytest.raises(FwplanError, match=r"holds no \.parquet file"):
        find_files(tmp_path)
