"""Who may import whom: rooms in one order, and nobody looks up. Heavy packages have their places; start-up is light.

Each check is shown to fail on a tree, or in a process, where it should.
"""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

# What may be known when: a room imports those before it, and itself. Modules that lie in fwplan/ itself are the ground.
ORDER = (
    "ground",
    "console",  # streams, lines and bars that are shown while something runs
    "tape",  # a torch of sizes: models and optimizers are written for it
    "model",
    "optimizers",
    "parallel",
    "spec",  # after what is trained: it is the union of their own specs
    "estimators",
    "configs",
    "data",
    "allocator",
    "machine",
    "learning",
    "estimation",
    "train",
    "tracing",
    "planning",
    "explaining",
    "api",
    "fwplan",  # the public names, each imported on first use
    "view",
    "cli",
)
PLACE = {room: place for place, room in enumerate(ORDER)}
GROUND = {"errors", "fields", "files", "json_text", "locks", "signals", "unions", "units", "version"}
# What looks up for the name of a type alone, under TYPE_CHECKING, and why.
TYPES = {
    ("model", "spec"): "the module that is trained is built from a run's spec",
}


def _modules(root):
    """Return the tree's modules by dotted name."""
    paths = sorted((root / "fwplan").rglob("*.py"))
    return {".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__"): path for path in paths}


def _room(module):
    """Return the room of a dotted name."""
    parts = module.split(".")
    if len(parts) == 1:
        return "fwplan"
    return "ground" if parts[1] in GROUND else "cli" if parts[1] == "__main__" else parts[1]


def _imports(path):
    """Yield (module, whether for its types alone) of each import, wherever in the file it stands."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    types = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for statement in node.body
        for inner in ast.walk(statement)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, id(node) in types) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: a relative import"
            yield from ((f"{node.module}.{alias.name}", id(node) in types) for alias in node.names)


def _ours(root):
    """Yield (importing module, imported module, whether for its types alone) within the tree."""
    modules = _modules(root)
    for name, path in modules.items():
        for target, types in _imports(path):
            if target.split(".")[0] == "fwplan":
                yield name, target if target in modules else target.rpartition(".")[0] or target, types


def _looks_up(root):
    """Return the imports of a later room, as "importer -> imported", without those that TYPES allows."""
    return [
        f"{here} -> {there}"
        for here, there, types in _ours(root)
        if PLACE.get(_room(here), 0) < PLACE.get(_room(there), 0)
        and not (types and (_room(here), _room(there)) in TYPES)
    ]


def _circles(root):
    """Return the modules that import each other, directly or through others, when they are run."""
    after = {}
    for here, there, types in _ours(root):
        if not types and there != here:
            after.setdefault(here, set()).add(there)

    def reached(start):
        seen, left = set(), [start]
        while left:
            for there in after.get(left.pop(), ()):
                if there not in seen:
                    seen.add(there)
                    left.append(there)
        return seen

    return sorted(module for module in after if module in reached(module))


def test_every_module_has_a_room():
    assert {_room(module) for module in _modules(Path())} <= set(ORDER)


def test_no_room_looks_up():
    assert _looks_up(Path()) == []


def test_no_circle():
    assert _circles(Path()) == []


def test_types_are_named_upwards_only_where_that_is_said():
    used = {(_room(here), _room(there)) for here, there, types in _ours(Path()) if types}
    assert set(TYPES) <= used, "what is no longer needed here is taken out"


TREE = {
    "fwplan/__init__.py": "from importlib import import_module\n",
    "fwplan/errors.py": "",
    "fwplan/spec/__init__.py": "from fwplan.errors import X\n",
    "fwplan/spec/runs.py": "from fwplan.spec import RunSpec\n",
    "fwplan/train/__init__.py": "",
    "fwplan/train/loop.py": "from fwplan import errors\nimport fwplan.spec.runs\n",
}
UP = {
    "plainly": ("fwplan/spec/new.py", "from fwplan.train.loop import train\n", "fwplan.spec.new -> fwplan.train.loop"),
    "a package": ("fwplan/spec/new.py", "from fwplan import train\n", "fwplan.spec.new -> fwplan.train"),
    "by dots": ("fwplan/errors.py", "import fwplan.spec.runs as runs\n", "fwplan.errors -> fwplan.spec.runs"),
    "when called": ("fwplan/errors.py", "def f():\n    import fwplan.spec\n", "fwplan.errors -> fwplan.spec"),
    "for a type": (
        "fwplan/spec/new.py",
        "if TYPE_CHECKING:\n    from fwplan.train import loop\n",
        "fwplan.spec.new -> fwplan.train.loop",
    ),
    "the public names": ("fwplan/train/new.py", "from fwplan import explain\n", "fwplan.train.new -> fwplan"),
}


def _grown(root, files):
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return root


@pytest.mark.parametrize("how", UP)
def test_looking_up_is_seen(tmp_path, how):
    assert _looks_up(_grown(tmp_path, TREE)) == []
    path, text, found = UP[how]
    assert _looks_up(_grown(tmp_path, {path: text})) == [found]


def test_a_circle_is_seen(tmp_path):
    assert _circles(_grown(tmp_path, TREE)) == []
    _grown(tmp_path, {"fwplan/spec/__init__.py": "from fwplan.spec.new import X\n"})
    assert _circles(_grown(tmp_path, {"fwplan/spec/new.py": "from fwplan.spec.runs import X\n"})) == [
        "fwplan.spec",
        "fwplan.spec.new",
        "fwplan.spec.runs",
    ]


def test_an_unknown_room_is_seen(tmp_path):
    rooms = {_room(module) for module in _modules(_grown(tmp_path, TREE | {"fwplan/helpers.py": ""}))}
    assert rooms - set(ORDER) == {"helpers"}


# ---------------------------------------------------------------- heavy packages

# Where a package may be imported: the beginnings of paths within fwplan/.
ONLY_IN = {
    "torch": ("model/", "optimizers/", "parallel/", "train/", "tracing/"),
    "pyarrow": ("data/",),
    "tiktoken": ("data/",),
    "rich": ("console/", "view/", "train/log.py"),
    "typer": ("cli/",),
}
PURE = ("tape", "allocator")  # of the standard library alone, and of numpy
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


def _packages(path):
    return {name.split(".")[0] for name, _ in _imports(path)}


@pytest.mark.parametrize("package", ONLY_IN)
def test_a_heavy_package_has_its_place(package):
    users = [path.relative_to("fwplan").as_posix() for path in _modules(Path()).values() if package in _packages(path)]
    assert users
    assert all(user.startswith(ONLY_IN[package]) for user in users), users


@pytest.mark.parametrize("room", [*PURE, "estimators"])
def test_the_arithmetic_is_pure(room):
    files = list(Path("fwplan", room).rglob("*.py"))
    assert files
    for path in files:
        assert not _packages(path) - set(sys.stdlib_module_names) - {"fwplan", "numpy"}, path


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


def test_the_public_names_are_no_rooms():
    import fwplan

    assert not set(fwplan.__all__) & set(ORDER), "a room of that name would hide it"
