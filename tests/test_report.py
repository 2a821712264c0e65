"""The HTML report: well-formed, self-contained, its figures the estimate's, and safe against what files are called."""

import json
import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

import fwplan
from fwplan.allocator.events import Event
from fwplan.errors import FwplanError
from fwplan.estimation import estimate
from fwplan.measurement import Measurement
from fwplan.report import report_html, write_report
from fwplan.report.families import families, totals
from fwplan.report.html import tag
from fwplan.spec import DeviceSpec
from fwplan.traced import Traced
from fwplan.tracing.result import Origin, Trace
from fwplan.units import GIB, MIB

CONFIG = """\
n_layer = 12
n_head = 12
n_embd = 576
block_size = 1024
batch_size = 16  # sequences
gradient_accumulation_steps = 32
max_iters = 20000
compile = False
dropout = 0.0
"""
VOID = {"meta", "br", "img", "link", "input", "hr"}


class Walk(HTMLParser):
    """Every element with its path; fails where a tag is not closed, or closed out of turn."""

    def __init__(self):
        super().__init__()
        self.open, self.seen, self.values, self.text = [], [], [], []

    def handle_starttag(self, tag, attrs):
        assert len(dict(attrs)) == len(attrs), attrs
        self.seen.append((tag, dict(attrs)))
        if tag == "data":
            self.values.append(int(dict(attrs)["value"]))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)

    def all(self, name):
        return [attrs for tag, attrs in self.seen if tag == name]


def walk(text):
    walker = Walk()
    walker.feed(text)
    walker.close()
    assert walker.open == []
    return walker


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("config.py").write_text(CONFIG, encoding="utf-8")


CASES = {
    "too small": {"gpu": "RTX 4070"},
    "fits": {"gpu": "a100 80gb"},
    "no device": {},
    "compiled": {"overrides": ["--compile=True"], "vram": 24},
    "fixed": {"gpu": "RTX 4070", "fix": 1},
    "undecidable": {"gpu": "M3 Max"},
    "tiny": {"overrides": ["--n_layer=1", "--n_embd=12", "--batch_size=1", "--block_size=8"], "vram": 8},
    "cpu": {"device": "cpu"},
}


def explained(case):
    options = dict(CASES[case])
    return fwplan.explain("config.py", options.pop("overrides", []), **options)


@pytest.mark.parametrize("case", CASES)
def test_every_tag_is_closed_and_every_id_unique(case):
    page = walk(report_html(explained(case)))
    ids = [attrs["id"] for _, attrs in page.seen if "id" in attrs]
    assert len(set(ids)) == len(ids)
    used = {name for _, attrs in page.seen for name in attrs.get("aria-labelledby", "").split()}
    used |= {match for _, attrs in page.seen for match in re.findall(r"url\(#([^)]+)\)", attrs.get("fill", ""))}
    assert used <= set(ids)


@pytest.mark.parametrize("case", CASES)
def test_nothing_is_loaded_and_nothing_runs(case):
    text = report_html(explained(case))
    page = walk(text)
    assert not {"script", "link", "iframe", "img", "object", "image", "use"} & {tag for tag, _ in page.seen}
    assert not [
        name for _, attrs in page.seen for name in attrs if name in {"src", "href", "style"} or name[:2] == "on"
    ]
    assert not re.findall(r"https?://|@import|url\((?!#)", text)
    assert page.all("meta")[2]["content"] == "default-src 'none'; style-src 'unsafe-inline'"


@pytest.mark.parametrize("case", CASES)
def test_tables_and_pictures_can_be_heard(case):
    page = walk(report_html(explained(case)))
    assert len(page.all("caption")) == len(page.all("table"))
    assert {attrs.get("scope") for attrs in page.all("th")} == {"col", "row"}
    spoken = [attrs for attrs in page.all("svg") if attrs.get("aria-hidden") != "true"]
    assert len(page.all("desc")) == len(spoken)
    assert all(attrs["role"] == "img" for attrs in spoken)
    assert page.all("html") == [{"lang": "en"}]
    assert len(page.all("h1")) == 1


@pytest.mark.parametrize("case", ["too small", "no device", "compiled", "cpu", "tiny"])
def test_the_figures_are_the_estimates(case):
    explanation = explained(case)
    found, values = explanation.estimate, walk(report_html(explanation)).values
    use = found.use
    levels = [use.allocated, use.reserved, use.needed] if use.reserved else [use.allocated, use.device_used]
    ends = [end for level in levels for end in level.ends]
    assert values[: len(ends)] == ends
    assert (found.available_bytes in values) == (found.available_bytes is not None)
    for wanted in ([line.bytes for line in found.at_peak()], [line.bytes for line in found.lines]):
        assert _holds(values, wanted)
    assert set(totals(found).values()) <= set(values)
    for fix in explanation.fixes:
        assert _holds(values, fix.estimate.use.needed.ends)


def _holds(values, wanted):
    """Return whether the wanted figures stand in a row among the values."""
    size = len(wanted)
    return any(values[at : at + size] == list(wanted) for at in range(len(values) - size + 1))


@pytest.mark.parametrize("case", ["too small", "compiled", "cpu", "tiny"])
def test_the_families_of_the_picture_add_up_in_every_phase(case):
    found = explained(case).estimate
    parts = families(found)
    for phase, total in totals(found).items():
        assert sum(part.bytes[phase] for part in parts) == total
    assert totals(found) == found.memory.totals
    assert len({part.letter for part in parts}) == len(parts) <= 10


def test_the_segments_of_a_column_are_as_high_as_its_total():
    page = walk(report_html(explained("too small")))
    parts = [attrs for attrs in page.all("rect") if attrs.get("class") == "part" and "x" in attrs and attrs["x"] != "0"]
    columns = {}
    for part in parts:
        columns.setdefault(part["x"], []).append(float(part["height"]))
    heights = [sum(column) for column in columns.values()]
    sizes = list(totals(explained("too small").estimate).values())
    assert [height / heights[0] for height in heights] == pytest.approx([size / sizes[0] for size in sizes], rel=2e-3)


HOSTILE = "<script>alert(1)</script>&\"'><img src=x onerror=y>.py"


def test_a_hostile_file_name_and_text_stay_text():
    Path("config.py").write_text(CONFIG + "x_y = '</title><script>'\n", encoding="utf-8")
    name = HOSTILE.replace("/", "|")
    Path(name).write_text(CONFIG, encoding="utf-8")
    explanation = fwplan.explain(name, gpu="RTX 4070")
    text = report_html(explanation)
    page = walk(text)
    assert "<script" not in text
    assert "<img" not in text
    assert name in page.text
    assert tag("a", "<b>", title='"<') == '<a title="&quot;&lt;">&lt;b&gt;</a>'


def test_equal_explanations_give_equal_pages():
    assert report_html(explained("too small")) == report_html(explained("too small"))


def test_a_traced_step_is_drawn():
    live = (300 * MIB, 2 * GIB, 500 * MIB)
    events = [Event("allocate", n, size) for n, size in enumerate(live)]
    events += [Event("release", n, live[n]) for n in (1, 2)]
    origins = tuple(Origin(f"aten.op{n}", f"h.{n}", (n + 1, 2), "float32", size) for n, size in enumerate(live))
    trace = Trace(tuple(events), origins, range(5), "cuda", 0.5, ("a note",))
    explanation = explained("too small")
    traced = Traced(explanation.estimate, trace)
    page = walk(report_html(replace(explanation, traced=traced)))
    assert sum(live) in page.values
    assert "aten.op1" in page.text
    assert traced.unlimited.peak_reserved_bytes in page.values
    assert "a note" in page.text


def test_a_plans_reasons_are_told(tmp_path):
    suggestion = fwplan.suggest(vram=12, tokens=1e9)
    suggestion.plan.save(tmp_path / "plan.json")
    text = walk(report_html(fwplan.explain(tmp_path / "plan.json"))).text
    assert suggestion.plan.reasons["learning_rate"] in text


def test_where_a_report_may_go():
    explanation = explained("too small")
    with pytest.raises(FwplanError, match="no place for a report"):
        write_report(explanation, Path("config.py"))
    with pytest.raises(FwplanError, match="cannot write"):
        write_report(explanation, Path("no/such/folder/report.html"))


def test_the_command_line_writes_it_beside_its_answer():
    command = [sys.executable, "-m", "fwplan", "explain", "config.py", "--gpu", "4070", "--html", "report.html"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (3, "  written: report.html")
    wanted = report_html(fwplan.explain("config.py", gpu="4070"))
    assert Path("report.html").read_text(encoding="utf-8") == wanted
    done = subprocess.run([*command, "--json"], capture_output=True, text=True, check=False)
    assert json.loads(done.stdout)["verdict"] == "does_not_fit"


def test_a_measured_correction_is_drawn_and_adds_up(run_spec):
    spec = run_spec(device=DeviceSpec(name="RTX 4070"))
    predicted = estimate(spec).memory.step_bytes
    measured = Measurement(
        spec=spec, device_type="cuda", device_name="GeForce RTX 4070", torch_version="2.13.0", fwplan_version="0.1.0",
        measured_at="2026-01-02T03:04:05Z", predicted_allocated_bytes=predicted,
        peak_allocated_bytes=round(0.9 * predicted), step_seconds=0.5, tokens_per_second=1000.0, timed_steps=3,
    )  # fmt: skip
    found = estimate(spec, measurements=[measured])
    assert totals(found)[found.memory.phase] == round(found.use.allocated.point) < found.memory.allocated_bytes
    page = walk(report_html(replace(explained("no device"), estimate=found)))
    assert any("correction (1 measured runs)" in text for text in page.text)


def test_doubts_and_claims_are_on_the_page_as_in_the_terminal_and_in_json(tmp_path):
    from fwplan.render.explain import explain_lines

    config = tmp_path / "config.py"
    config.write_text("# 125M parameters\n" + CONFIG + "use_rope = True\nn_kv_head = 4\n", encoding="utf-8")
    doubt = "confidence lowered: use_rope, n_kv_head are not counted"
    for gpu in ("RTX 4070", "H100", None):
        found = fwplan.explain(config, gpu=gpu and gpu.replace("H100", "H100 SXM5 80GB"))
        page, terminal = report_html(found), "\n".join(explain_lines(found))
        assert f"<p>{doubt}</p>" in page
        assert terminal.count(doubt) == 1
        assert found.as_dict()["confidence"] == "lowered"
        assert "not counted, but may change memory: use_rope (line 11), n_kv_head (line 12)" in page
        assert "<h2>What its comments claim</h2>" in page
        assert "✗ wrong" in page
        assert "125 M" in page
    config.write_text(CONFIG, encoding="utf-8")
    found = fwplan.explain(config, gpu="RTX 4070")
    assert found.as_dict()["confidence"] == "full"
    assert "confidence" not in report_html(found)
    assert "What its comments claim" not in report_html(found)
