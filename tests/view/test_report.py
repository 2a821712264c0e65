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
from fwplan.estimation.estimate import estimate
from fwplan.learning.measurement import Measurement
from fwplan.machine.target import Target
from fwplan.planning.front import point_of
from fwplan.planning.request import Request
from fwplan.planning.rivals import rivals
from fwplan.planning.search import search
from fwplan.spec import DeviceSpec
from fwplan.tracing.result import Origin, Trace
from fwplan.tracing.traced import Traced
from fwplan.units import GIB, MIB, si
from fwplan.view.html import report_html, suggestion_html, write_report
from fwplan.view.html.families import families
from fwplan.view.html.labels import Box, Labels, around
from fwplan.view.html.markup import tag

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


SUGGESTED = {
    "budgets": {"vram": 12, "tokens": 10e9},
    "hours alone": {"gpu": "4090", "hours": 24},
    "speed unknown": {"tokens": 1e9},
    "one shape": {"vram": 12, "tokens": 1e9, "settings": ["n_layer=12", "n_embd=768"]},
    "too small for the laws": {"vram": 8, "tokens": 1e7},
}


def page_of(case):
    return report_html(explained(case)) if case in CASES else suggested(case)


def suggested(case):
    return suggestion_html(_search(case), Path("plan.json"))


def _search(case):
    if case == "speed unknown":
        return search(Request(Target(DeviceSpec(name="Voodoo 2", total_bytes=12 * GIB)), 10**9, 168.0), [])
    return fwplan.suggest(**SUGGESTED[case])


def explained(case):
    options = dict(CASES[case])
    return fwplan.explain("config.py", options.pop("overrides", []), **options)


@pytest.mark.parametrize("case", [*CASES, *SUGGESTED])
def test_every_tag_is_closed_and_every_id_unique(case):
    page = walk(page_of(case))
    ids = [attrs["id"] for _, attrs in page.seen if "id" in attrs]
    assert len(set(ids)) == len(ids)
    used = {name for _, attrs in page.seen for name in attrs.get("aria-labelledby", "").split()}
    used |= {match for _, attrs in page.seen for match in re.findall(r"url\(#([^)]+)\)", attrs.get("fill", ""))}
    assert used <= set(ids)


@pytest.mark.parametrize("case", [*CASES, *SUGGESTED])
def test_nothing_is_loaded_and_nothing_runs(case):
    text = page_of(case)
    page = walk(text)
    assert not {"script", "link", "iframe", "img", "object", "image", "use"} & {tag for tag, _ in page.seen}
    assert not [
        name for _, attrs in page.seen for name in attrs if name in {"src", "href", "style"} or name[:2] == "on"
    ]
    assert not re.findall(r"https?://|@import|url\((?!#)", text)
    assert page.all("meta")[2]["content"] == "default-src 'none'; style-src 'unsafe-inline'"


@pytest.mark.parametrize("case", [*CASES, *SUGGESTED])
def test_tables_and_pictures_can_be_heard(case):
    page = walk(page_of(case))
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
    assert set(found.totals.values()) <= set(values)
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
    for phase, total in found.totals.items():
        assert sum(part.bytes[phase] for part in parts) == total
    assert found.totals == found.memory.totals
    assert len({part.letter for part in parts}) == len(parts) <= 10


def test_the_segments_of_a_column_are_as_high_as_its_total():
    page = walk(report_html(explained("too small")))
    parts = [attrs for attrs in page.all("rect") if attrs.get("class") == "part" and "x" in attrs and attrs["x"] != "0"]
    columns = {}
    for part in parts:
        columns.setdefault(part["x"], []).append(float(part["height"]))
    heights = [sum(column) for column in columns.values()]
    sizes = list(explained("too small").estimate.totals.values())
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
    assert found.totals[found.memory.phase] == round(found.use.allocated.point) < found.memory.allocated_bytes
    page = walk(report_html(replace(explained("no device"), estimate=found)))
    assert any("correction (1 measured runs)" in text for text in page.text)


def _marks(page, kind):
    """Return (across, down, title) of the diamonds of a kind, in pixels."""
    found = []
    for n, (name, attrs) in enumerate(page.seen):
        if name == "path" and attrs.get("class") == kind and page.seen[n + 1][0] == "title":
            top, right = (part.split() for part in attrs["d"].strip("MZ").split("L")[:2])
            found.append((float(top[0]), float(right[1])))
    return found


def test_the_marks_lie_where_their_figures_put_them():
    found = _search("budgets")
    page = walk(suggested("budgets"))
    front = [point for point in found.front.points if point.on_front and point.loss and not point.picked]
    marks = _marks(page, "front")
    assert len(marks) == len(front)
    assert len(_marks(page, "pick")) == 1
    drawn = sorted(front, key=lambda point: point.needed_bytes)  # large marks below
    for column, figures in enumerate(([p.seconds for p in drawn], [-p.loss.point for p in drawn])):
        pixels = [mark[column] for mark in marks]
        in_order = [pixels[n] for n in sorted(range(len(pixels)), key=figures.__getitem__)]
        assert in_order == sorted(in_order)
        assert len(set(in_order)) > len(in_order) / 2
    faint = [attrs for attrs in page.all("circle") if attrs.get("class") == "faint"]
    drawn = [point for point in found.front.points if point.loss]
    assert len(faint) - 1 == len([point for point in drawn if not point.on_front and not point.picked])  # 1: the key


def test_the_labels_of_the_picture_cover_nothing_and_are_whole():
    labels = Labels(Box(0, 0, 200, 100))
    first = labels.place("282 M", around(100, 50, 8))
    second = labels.place("282 M", around(100, 50, 8))
    assert None not in {first, second}
    assert first != second
    assert not labels.taken[0].meets(labels.taken[1])
    assert all(box.within(labels.frame) for box in labels.taken)
    assert labels.place("far too long for the frame it is in", around(100, 50, 8)) is None


@pytest.mark.parametrize("case", CASES)
def test_what_else_the_tokens_could_train_is_shown_where_it_can_be_known(case):
    text = report_html(explained(case))
    shown = 'id="front-title"' in text
    assert shown == (case in {"too small", "fits", "compiled", "fixed", "cpu"})
    assert ("yours, 77.4 M" in text) == shown
    assert ("Beside what else" in text) == shown


def test_without_a_horizon_nothing_is_compared():
    assert "Beside what else" not in report_html(fwplan.explain("config.py", ["--max_iters=None"], gpu="4070"))


def test_a_better_run_for_the_same_tokens_is_named():
    explanation = explained("too small")
    found = rivals(explanation.estimate)
    assert found.request.tokens == explanation.estimate.tokens.total
    text = " ".join(walk(report_html(explanation)).text)
    yours = point_of(explanation.estimate)
    assert re.search(r"Yours: [^.]*\.[^:]*, which does not fit\.", text)
    points = [point for point in found.front.points if point.loss]
    in_time = min((p for p in points if p.seconds <= yours.seconds), key=lambda p: p.loss.point)
    assert f"In no more time: {si(in_time.parameters)} parameters" in text
    assert in_time.loss.point < yours.loss.point


def test_why_there_is_no_picture_is_said():
    for case, why in (
        ("speed unknown", "how fast Voodoo 2 is is unknown"),
        ("too small for the laws", "too small"),
        ("one shape", "only one of"),
    ):
        assert why in suggested(case)
        assert 'id="front-title"' not in suggested(case)


def test_why_nothing_is_compared_is_said(run_spec):
    base = explained("fits")
    card = explained("too small").estimate.target
    stranger = Target(DeviceSpec(name="Voodoo 2", total_bytes=12 * GIB))
    small = replace(card, device=card.device.model_copy(update={"total_bytes": GIB // 4, "in_use_bytes": 0}))
    for fields, target, why in (
        ({}, stranger, "how fast Voodoo 2 is is unknown"),
        ({"world_size": 2, "parallel": "ddp"}, card, "it trains on several"),
        ({}, small, "No comparison: not even the smallest model fits"),
    ):
        found = estimate(run_spec(max_tokens=10**9, **fields), target, measurements=[])
        text = report_html(replace(base, estimate=found))
        assert why in text
        assert 'id="front-title"' not in text


def test_where_all_runs_take_as_long_memory_is_drawn():
    text = suggested("hours alone")
    assert "memory is drawn in place of time" in text
    assert "Expected loss against memory" in text


def test_the_candidates_are_those_of_the_suggestion():
    page, found = walk(suggested("budgets")), _search("budgets")
    for candidate in (found.pick, *found.alternatives):
        assert _holds(page.values, candidate.estimate.use.needed.ends)
    assert found.why_not_bigger + "." in page.text
    assert found.plan.reasons["learning_rate"] in page.text


def test_suggest_writes_it_beside_its_answer():
    command = [sys.executable, "-m", "fwplan", "suggest", "--tokens", "10e9"]
    done = subprocess.run([*command, "--vram", "12", "--html", "s.html"], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "  written: s.html"
    assert Path("s.html").read_text(encoding="utf-8") == suggested("budgets")
    done = subprocess.run(
        [*command, "--vram", "12,24", "--html", "t.html"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "--html and several --vram" in done.stderr
    done = subprocess.run([*command, "--vram", "12", "--html", "t.txt", "-o", "t.json"],
                          capture_output=True, text=True, check=False)  # fmt: skip
    assert (done.returncode, Path("t.json").exists()) == (2, False)


def test_doubts_and_claims_are_on_the_page_as_in_the_terminal_and_in_json(tmp_path):
    from fwplan.view.terminal.explain import explain_lines

    config = tmp_path / "config.py"
    config.write_text("# 125M parameters\n" + CONFIG + "use_ema = True\ntrick = 4\n", encoding="utf-8")
    doubt = "confidence lowered: use_ema, trick are not counted"
    for gpu in ("RTX 4070", "H100", None):
        found = fwplan.explain(config, gpu=gpu and gpu.replace("H100", "H100 SXM5 80GB"))
        page, terminal = report_html(found), "\n".join(explain_lines(found))
        assert f"<p>{doubt}</p>" in page
        assert terminal.count(doubt) == 1
        assert found.as_dict()["confidence"] == "lowered"
        assert "not counted, but may change memory: use_ema (line 11), trick (line 12)" in page
        assert "<h2>What its comments claim</h2>" in page
        assert "✗ wrong" in page
        assert "125 M" in page
    config.write_text(CONFIG, encoding="utf-8")
    found = fwplan.explain(config, gpu="RTX 4070")
    assert found.as_dict()["confidence"] == "full"
    assert "confidence" not in report_html(found)
    assert "What its comments claim" not in report_html(found)
