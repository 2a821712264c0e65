from __future__ import annotations

import re
from itertools import accumulate

import pyarrow.parquet as pq
import pytest

from fwplan.data import corpus, corpus_text
from fwplan.data.corpus import build_corpus, main
from fwplan.data.count import count_tokens
from fwplan.data.gpt2 import encode
from fwplan.errors import FwplanError

MAX_BYTES = 500_000


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    path = tmp_path_factory.mktemp("corpus") / "sub" / "corpus.parquet"
    return path, build_corpus(path, max_bytes=MAX_BYTES)


def test_it_has_fineweb_columns_and_several_row_groups(built):
    path, documents = built
    file = pq.ParquetFile(path)
    assert file.schema_arrow.equals(corpus.SCHEMA)
    assert file.metadata.num_rows == documents
    assert file.metadata.num_row_groups == -(-documents // 250)
    assert file.metadata.row_group(0).column(0).compression == "SNAPPY"


def test_its_documents_are_unique_within_bounds_and_truly_counted(built):
    path, _ = built
    rows = pq.read_table(path).to_pylist()
    texts = [row["text"] for row in rows]
    assert len(set(texts)) == len(texts)
    assert all(200 <= len(text) <= 100_000 for text in texts)
    assert 0.5 * MAX_BYTES < sum(len(text.encode()) for text in texts) <= MAX_BYTES
    assert all(row["token_count"] == len(encode(row["text"])) for row in rows[:50])
    assert all(row["url"].startswith("file://") for row in rows)
    assert all(row["date"] is row["language_score"] is row["dump"] is None for row in rows)


def test_the_same_machine_gives_the_same_bytes(built, tmp_path):
    path, _ = built
    build_corpus(tmp_path / "again.parquet", max_bytes=MAX_BYTES)
    assert (tmp_path / "again.parquet").read_bytes() == path.read_bytes()


def test_the_command_prints_what_it_wrote(tmp_path, capsys):
    out = tmp_path / "c.parquet"
    assert main([str(out), "--max-bytes", "200000"]) == 0
    count = count_tokens(out)
    assert f"{count.documents:,} documents" in capsys.readouterr().out
    assert count.tier == "token_count column"


def test_the_command_reports_an_error_without_a_traceback(tmp_path, capsys):
    (tmp_path / "file").touch()
    assert main([str(tmp_path / "file" / "c.parquet"), "--max-bytes", "100000"]) == 2
    assert re.match(r"error: cannot write '.*c.parquet'", capsys.readouterr().err)


def test_no_room_for_any_document_is_an_error(tmp_path):
    with pytest.raises(FwplanError, match="no document fits in max_bytes 10"):
        build_corpus(tmp_path / "c.parquet", max_bytes=10)
    assert not list(tmp_path.iterdir())


def test_the_standard_library_alone_is_enough(monkeypatch, tmp_path):
    """As on a bare image: no documentation, no other package."""
    paths = {"stdlib": corpus_text.sysconfig.get_path("stdlib")}
    monkeypatch.setattr(corpus_text.sysconfig, "get_path", lambda name: paths.get(name, str(tmp_path / "none")))
    monkeypatch.setattr(corpus_text, "_SYSTEM", (tmp_path / "none", tmp_path / "none"))
    sizes = accumulate(len(document.text) for document in corpus_text.documents())
    assert any(size > 1_500_000 for size in sizes)


def test_it_parses_modules_and_never_runs_them(tmp_path):
    module = tmp_path / "module.py"
    module.write_text(f'"""{"Words of a module. " * 20}"""\nraise SystemExit("it was run")\n')
    (tmp_path / "broken.py").write_text("def (")
    (tmp_path / "test").mkdir()
    (tmp_path / "test" / "suite.py").write_text(f'"""{"Words of a test. " * 20}"""\n')
    found = list(corpus_text._docstrings(corpus_text._files(tmp_path, "*.py")))
    assert [document.path.name for document in found if document.text] == ["module.py"]


def test_what_is_hardly_english_is_left_out():
    assert corpus_text._is_english_prose("An English sentence, at length. " * 10)
    assert not corpus_text._is_english_prose("short")
    assert not corpus_text._is_english_prose("日本語の文章です。" * 40)
    assert not corpus_text._is_english_prose("word " * 50_000)
