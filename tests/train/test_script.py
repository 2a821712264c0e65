"""`run` from a plain script, without a __main__ guard: workers and all."""

from __future__ import annotations

import json
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq

SCRIPT = """
import fwplan.data.prepare
from fwplan import run

open("times", "a").write("once ")
fwplan.data.prepare.cpus = lambda: 2
fwplan.data.prepare._BYTES_PER_WORKER = 1000  # so that little text is worth a second process
report = run("spec.json", device="cpu")
print(report.result.steps_done)
"""


def test_a_script_without_a_guard_prepares_in_processes_and_trains(make_spec, tmp_path):
    rows = {"text": [f"Document {n}: {'tokens and more of them, ' * 20}" for n in range(200)]}
    pq.write_table(pa.table(rows), tmp_path / "text.parquet", row_group_size=20)
    document = make_spec({"vocab_size": 50304}, max_steps=3, loss="chunked").model_dump(mode="json")
    (tmp_path / "spec.json").write_text(json.dumps({**document, "data": {"path": "text.parquet"}}))
    (tmp_path / "script.py").write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300
    )
    assert (done.returncode, done.stdout) == (0, "3\n"), done.stderr
    assert (tmp_path / "times").read_text() == "once "
