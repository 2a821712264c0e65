"""The pages cannot drift: what they show is the golden files, what they tell to type works, tables are the code's."""

import json
import re
import tomllib
from pathlib import Path

import doc_commands
import pages
import pytest
import spec_reference
import test_boundaries

ROOT = Path(__file__).parents[1]
GOLDEN = ROOT / "tests/golden"
README, GUIDE, ACCURACY = (
    (ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "docs/guide.md", "docs/accuracy.md")
)
SHOWN = [one for page in pages.PAGES for one in pages.in_blocks(page) if one.output]
COMMANDS = pages.commands("fwplan")


def test_the_front_page_is_short():
    assert len(README.splitlines()) <= 150


@pytest.mark.parametrize("shown", SHOWN, ids=lambda one: f"{one.page.name}: {one.line}")
def test_what_is_shown_is_the_golden_file(shown):
    if doc_commands.DEMO not in shown.line:
        golden = (GOLDEN / f"{pages.GOLDEN[shown.line]}.txt").read_text(encoding="utf-8").splitlines()
        assert pages.missing(shown.output, golden) == []


def test_the_guide_shows_what_is_golden_in_full():
    whole = {pages.GOLDEN[one.line] for one in SHOWN if doc_commands.DEMO not in one.line and "..." not in one.output}
    assert whole == set(pages.GOLDEN.values())


WAS = ["a", "b", "c", "d", "e", "f"]


@pytest.mark.parametrize(
    ("shown", "missing"),
    [
        (WAS, []),
        (["a", "b", "...", "e", "f"], []),
        (["...", "b", "..."], []),
        (["a", "b"], ["a", "b"]),  # ends too soon, and does not say so
        (["b", "..."], ["b"]),
        (["a", "c", "..."], ["a", "c"]),
        (["a", "...", "d", "...", "b", "..."], ["b"]),
    ],
)
def test_what_is_shown_wrongly_is_seen(shown, missing):
    assert pages.missing(shown, WAS) == missing


def test_a_page_takes_what_a_golden_file_holds_now_and_leaves_out_the_same(tmp_path):
    page, line = tmp_path / "page.md", next(iter(pages.GOLDEN))
    page.write_text(f"Text.\n\n    $ {line}\n    a\n    b\n    ...\n    e\n    ...\n\nMore, `a`.\n", encoding="utf-8")
    pages.refresh(page, pages.GOLDEN[line], WAS, ["a", "new", "B", "c", "d", "E", "f"])
    assert page.read_text(encoding="utf-8") == (
        f"Text.\n\n    $ {line}\n    a\n    new\n    B\n    ...\n    E\n    ...\n\nMore, `a`.\n"
    )


@pytest.mark.parametrize("command", COMMANDS, ids=lambda one: " ".join(one.words))
def test_every_command_is_one(command, in_process):
    verb = 3 if command.words[1] == "data" else 2
    done = in_process(*command.words[1:verb], "--help", *command.words[verb:])
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    "command", [one for one in COMMANDS if doc_commands.is_short(one)], ids=lambda one: " ".join(one.words)
)
def test_what_takes_no_time_does_what_it_says(command, in_process, tmp_path, monkeypatch):
    doc_commands.make_folder(tmp_path)
    monkeypatch.chdir(tmp_path)
    for words in (*doc_commands.before(command.words), command.words):
        done = in_process(*words[1:])
        assert done.returncode in doc_commands.ANSWERS.get(words[1], {0}), done.stderr


def test_what_is_not_run_here_is_still_told():
    assert {tuple(one.words) for one in COMMANDS} >= doc_commands.NOT_HERE


@pytest.mark.parametrize("command", pages.commands("make", "python"), ids=lambda one: " ".join(one.words))
def test_every_other_command_is_there(command):
    program, target, *options = command.words
    if program == "make":
        assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    else:
        text = (ROOT / target).read_text(encoding="utf-8")
        assert all(option in text for option in options if option.startswith("--"))


def test_every_link_leads_somewhere():
    for page in pages.PAGES:
        for target, anchor in re.findall(r"\]\((?!http)([^)#]*)#?([^)]*)\)", page.read_text(encoding="utf-8")):
            there = page.parent / target if target else page
            assert there.exists(), (page.name, target)
            if anchor:
                headings = re.findall(r"^#+ (.*)$", there.read_text(encoding="utf-8"), re.MULTILINE)
                assert anchor in {re.sub(r"[^\w-]", "", one.lower().replace(" ", "-")) for one in headings}, anchor


def test_the_reference_is_what_its_command_writes():
    assert spec_reference.PAGE.read_text(encoding="utf-8") == spec_reference.page() + "\n"


@pytest.mark.skipif(not hasattr(test_boundaries, "ORDER"), reason="the rooms are not in one order yet")
def test_the_rooms_are_those_whose_imports_are_tested():
    rooms = re.findall(r"^\| `(\w+)` \|", (ROOT / "docs/architecture.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert tuple(rooms) == test_boundaries.ORDER


def test_the_python_examples_name_what_there_is():
    import fwplan

    examples = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
    assert examples
    for example in examples:
        compile(example, "guide.md", "exec")
        for names in re.findall(r"from fwplan import (.*)", example):
            assert set(names.split(", ")) <= set(fwplan.__all__)
    assert set(re.search(r"`from fwplan import (.*?)`", README)[1].split(", ")) <= set(fwplan.__all__)


def test_the_accuracy_table_is_the_newest_results():
    newest = max(Path("benchmarks/results").glob("*-accuracy.json"))
    for figures in json.loads(newest.read_text(encoding="utf-8"))["summary"].values():
        assert f"| {figures['rows']} | {figures['median']:.2%} | {figures['worst']:.2%} |" in ACCURACY


def test_the_coverage_of_count_is_the_newest_result():
    newest = json.loads(max(Path("benchmarks/results").glob("*-count-coverage.json")).read_text(encoding="utf-8"))
    cases, covered = (sum(row[key] for row in newest["rows"]) for key in ("cases", "covered"))
    assert f"Of {cases:,} drawn data sets" in GUIDE
    assert f"{covered:,} lay in their interval" in GUIDE
    assert covered >= 0.95 * cases


def test_the_picture_is_there_and_shows_the_newest_results():
    newest = json.loads(max(Path("benchmarks/results").glob("*-accuracy.json")).read_text(encoding="utf-8"))
    rows = sum(figures["rows"] for figures in newest["summary"].values())
    assert "](accuracy.svg)" in ACCURACY
    assert f"{rows} runs" in Path("docs/accuracy.svg").read_text(encoding="utf-8")


def test_python_is_as_old_as_the_package_says():
    oldest = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["requires-python"]
    assert f"Needs Python {oldest.replace('>=', '>= ')} and make" in README
