"""The README cannot drift: its terminal output is the golden files', its table of fields the spec's."""

import json
from pathlib import Path

import pytest

from fwplan.spec import DataSpec, DeviceSpec, ModelSpec, TrainSpec
from fwplan.spec.flat import PARTS

README = Path("README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["diff", "explain-4070", "oom", "suggest-vram-12"])
def test_terminal_output_is_the_golden_files(name):
    golden = Path(f"tests/golden/{name}.txt").read_text(encoding="utf-8")
    assert "\n".join(f"    {line}".rstrip() for line in golden.rstrip().splitlines()) in README


@pytest.mark.parametrize(
    ("section", "model"), [("model", ModelSpec), ("train", TrainSpec), ("device", DeviceSpec), ("data", DataSpec)]
)
def test_every_field_is_listed_with_its_default(section, model):
    for name, field in _leaves(model):
        default = "required" if field.is_required() else f"`{json.dumps(field.default)}`"
        assert f"| `{section}.{name}` | {default} |" in README


def _leaves(model):
    for name, field in model.model_fields.items():
        if name not in PARTS:
            yield name, field
            continue
        default, *others = PARTS[name].values()
        fields = {k: f for kind in others for k, f in kind.model_fields.items()} | default.model_fields
        yield from ((f"{name}.{k}", f) for k, f in fields.items())


def test_the_accuracy_table_is_the_newest_results():
    newest = max(Path("benchmarks/results").glob("*-accuracy.json"))
    for figures in json.loads(newest.read_text(encoding="utf-8"))["summary"].values():
        assert f"| {figures['rows']} | {figures['median']:.2%} | {figures['worst']:.2%} |" in README


def test_the_coverage_of_count_is_the_newest_result():
    newest = json.loads(max(Path("benchmarks/results").glob("*-count-coverage.json")).read_text(encoding="utf-8"))
    cases, covered = (sum(row[key] for row in newest["rows"]) for key in ("cases", "covered"))
    assert f"Of {cases:,} drawn data sets" in README
    assert f"{covered:,} lay in their interval" in README
    assert covered >= 0.95 * cases


def test_the_picture_is_there_and_shows_the_newest_results():
    newest = json.loads(max(Path("benchmarks/results").glob("*-accuracy.json")).read_text(encoding="utf-8"))
    rows = sum(figures["rows"] for figures in newest["summary"].values())
    assert "](docs/accuracy.svg)" in README
    assert f"{rows} runs" in Path("docs/accuracy.svg").read_text(encoding="utf-8")
