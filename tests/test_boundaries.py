"""Who may import whom, held by subprocesses and by reading the imports; and proof that the check can fail."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = ("torch", "pyarrow", "tiktoken")
PROBE = """
import sys
{code}
print(*sorted(name for name in {heavy!r} if name in sys.modules))
"""
SUGGEST = "import sys; sys.argv = ['fwplan', 'suggest', '--gpu', '4070', '--tokens', '1e9', '-o', {out!r}]"
MAIN = """
from contextlib import suppress, redirect_stdout
from io import StringIO
from fwplan.cli import main
with suppress(SystemExit), redirect_stdout(StringIO()) as said:
    main()
assert 'Peak' in said.getvalue(), said.getvalue()
"""


def _loaded(code):
    done = subprocess.run(
        [sys.executable, "-c", PROBE.format(code=code, heavy=HEAVY)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_importing_fwplan_loads_nothing_heavy():
    assert _loaded("import fwplan; fwplan.estimate; fwplan.suggest; fwplan.Plan; fwplan.load_config") == []


def test_suggest_and_explain_load_nothing_heavy(tmp_path):
    plan = str(tmp_path / "plan.json")
    suggest = SUGGEST.format(out=plan)
    assert _loaded(suggest + MAIN) == []
    assert _loaded(f"import sys; sys.argv = ['fwplan', 'explain', {plan!r}]" + MAIN) == []
    html = str(tmp_path / "report.html")
    assert _loaded(suggest + f"; sys.argv += ['--html', {html!r}]" + MAIN) == []
    assert _loaded(f"import sys; sys.argv = ['fwplan', 'explain', {plan!r}, '--html', {html!r}]" + MAIN) == []


@pytest.mark.parametrize("words", [["devices"], ["devices", "4070"], ["doctor"]])
def test_devices_and_doctor_load_nothing_heavy(words):
    code = f"import sys; sys.argv = ['fwplan', *{words!r}]" + MAIN.replace("'Peak' in", "'GPU' in 'GPU' +")
    assert _loaded(code) == []


def test_the_probe_can_fail():
    assert _loaded("import torch") == ["torch"]


ALLOWED = {
    "allocator": {"fwplan.allocator", "fwplan.errors", "fwplan.files"},
    # a model's description runs on the tape, whose types it names
    "estimators": {"fwplan.estimators", "fwplan.model.architecture", "fwplan.fields", "fwplan.units", "fwplan.spec"},
    "model": {"fwplan.model", "fwplan.estimators.tape", "fwplan.fields", "fwplan.spec"},
}
ONLY_IN = {
    "torch": ("model", "train", "tracing"),
    "pyarrow": ("data",),
    "tiktoken": ("data",),
    "rich": ("render", "train/log.py"),
    "typer": ("cli",),
}


def _modules():
    return sorted(Path("fwplan").rglob("*.py"))


def _imports(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


@pytest.mark.parametrize("library", ONLY_IN)
def test_a_heavy_library_has_its_place(library):
    users = {path.relative_to("fwplan").as_posix() for path in _modules() if _uses(path, library)}
    assert users
    assert all(user.startswith(ONLY_IN[library]) for user in users), users


def _uses(path, library):
    return any(name.split(".")[0] == library for name in _imports(path))


@pytest.mark.parametrize("package", ALLOWED)
def test_the_inner_packages_look_inward_only(package):
    for path in Path("fwplan", package).glob("*.py"):
        ours = {name for name in _imports(path) if name.startswith("fwplan")}
        assert all(any(name.startswith(prefix) for prefix in ALLOWED[package]) for name in ours), (path, ours)


@pytest.mark.parametrize("package", ["allocator", "estimators"])
def test_the_arithmetic_is_pure(package):
    for path in Path("fwplan", package).glob("*.py"):
        outside = {name.split(".")[0] for name in _imports(path)} - set(sys.stdlib_module_names) - {"fwplan"}
        assert not outside, (path, outside)


def test_nobody_imports_the_command_line():
    outside = [path for path in _modules() if Path("fwplan/cli") not in path.parents]
    assert 0 < len(outside) < len(_modules())
    assert not [path for path in outside if any(name.startswith("fwplan.cli") for name in _imports(path))]
