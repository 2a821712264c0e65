"""What a Python file assigns, read from its syntax tree. Nothing in the file is ever executed.

Only values that are certain without executing are returned: literals, arithmetic on them, and names that hold them.
Everything else becomes an unknown that carries its line and the reason, so that a caller can refuse to guess.
"""

from __future__ import annotations

import ast
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fwplan.configs.assignments import assignment, pairs
from fwplan.configs.expressions import UnreadableError, evaluate
from fwplan.errors import FwplanError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from fwplan.configs.expressions import Value

# A hostile file is bounded, not trusted.
MAX_SOURCE_BYTES = 256 * 1024  # of short assignments alone it takes 3 s; scripts of 100 KiB exist and take a tenth

DEFINITION = "bound by an import, def or class"
# Whoever can reach these can rebind any name at module level.
_REBINDERS = frozenset({"exec", "eval", "globals", "locals", "vars", "setattr", "execfile"})
_REBINDING_ATTRIBUTES = frozenset({"exec", "modules", "f_globals"})  # not eval, which is what models are put into
_PLAIN = (ast.Assign, ast.AnnAssign, ast.Expr, ast.Pass, ast.Assert, ast.Raise)


@dataclass(frozen=True)
class Binding:
    """The last value of one name: known where `reason` is None, else unknown for that reason."""

    line: int
    value: Value = None
    reason: str | None = None


@dataclass(frozen=True)
class Bindings:
    """Every name that a file binds. `opaque` stands for all other names where any of them may have been rebound."""

    names: Mapping[str, Binding]
    opaque: Binding | None

    def get(self, name: str) -> Binding | None:
        """Return what the file makes of `name`; None where it certainly leaves it alone."""
        return self.names.get(name, self.opaque)


def read_python(source: str, path: str, given: Mapping[str, Value]) -> Bindings:
    """Return what `source` binds at module level; `given` are the names that exist before its first line.

    Raises:
        FwplanError: the file is not Python, or is nested too deeply to read.
    """
    return read_statements(parse_python(source, path).body, given)


def read_statements(statements: Iterable[ast.stmt], given: Mapping[str, Value]) -> Bindings:
    """Return what these statements bind at module level, one after the other."""
    reader = _Reader(given)
    for statement in statements:
        reader.statement(statement)
    return reader.finish()


def read_value(text: str) -> Value:
    """Return the value of one expression, such as "16", "2**10" or "True"; where it is none, the text itself."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return evaluate(ast.parse(text.strip(), mode="eval").body, no_names)
    except (UnreadableError, SyntaxError, ValueError, RecursionError, MemoryError):
        return text


def no_names(name: str) -> Value:
    """Say of every name that its value is not known."""
    raise UnreadableError(f"uses {name}")


def parse_python(source: str, path: str) -> ast.Module:
    """Return the file's syntax tree.

    Raises:
        FwplanError: the file is not Python, or is nested too deeply to read.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # "\d" in a comment string is none of our business
            return ast.parse(source)
    except SyntaxError as error:
        where = f"{path}:{error.lineno or 1}"
        raise FwplanError(f"not valid Python: {error.msg}", where=where, hint=f"python -m py_compile {path}") from None
    except (RecursionError, MemoryError, ValueError) as error:
        raise FwplanError(
            f"cannot be parsed: {str(error) or 'nested too deeply'}",
            where=path,
            hint="write its settings as key = value",
        ) from None


def _rebinders(node: ast.AST) -> frozenset[str]:
    return _REBINDERS if isinstance(node, ast.Name) else _REBINDING_ATTRIBUTES


class _Reader:
    """Walks the module's statements in order and keeps the last binding of every name."""

    def __init__(self, given: Mapping[str, Value]) -> None:
        self.given = given
        self.names: dict[str, Binding] = {}
        self.opaque: Binding | None = None
        self.late: dict[str, Binding] = {}  # rebound inside a function, which may be called at any time

    def statement(self, node: ast.stmt) -> None:
        self._rebinders(node)
        targets, value = assignment(node)
        if value is not None:
            self._assign(targets, value)
        plain = isinstance(node, _PLAIN)
        done = {target.id for target in targets if isinstance(target, ast.Name)}
        for name, reason in _rebound(node):
            # A plain statement stores into its targets, done above, and beyond them only through `:=`.
            if not plain or (reason == _WALRUS and name not in done):
                self._bind(name, Binding(node.lineno, reason=reason))

    def finish(self) -> Bindings:
        if "*" in self.late:
            return Bindings({}, self.late["*"])
        return Bindings(self.names | self.late, self.opaque)

    def _bind(self, name: str, binding: Binding) -> None:
        if name == "*":
            self.names.clear()
            self.opaque = binding
        else:
            self.names[name] = binding

    def _rebinders(self, node: ast.stmt) -> None:
        in_function = False
        for inner in ast.walk(node):
            match inner:
                case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.Lambda():
                    in_function = True
                case ast.Global(names=names) if inner is not node:
                    self.late |= {name: Binding(inner.lineno, reason="declared global in a function") for name in names}
                case ast.Name(id=name) | ast.Attribute(attr=name) if name in _rebinders(inner):
                    anything = Binding(inner.lineno, reason=f"{name} on line {inner.lineno} may set any name")
                    self._bind("*", anything)
                    # Walked breadth first, so a function is always seen before what is in it.
                    if in_function:
                        self.late["*"] = anything
                case _:
                    pass

    def _assign(self, targets: list[ast.expr], value: ast.expr) -> None:
        line = targets[0].lineno
        found = [one for target in targets for one in pairs(target, value)]  # all are read before any is set
        self.names |= {name: self._read(line, one) for name, one in found}

    def _read(self, line: int, value: ast.expr | str) -> Binding:
        """Return the binding of a value, or of a reason why there is none."""
        if isinstance(value, str):
            return Binding(line, reason=value)
        try:
            return Binding(line, evaluate(value, self._lookup))
        except UnreadableError as error:
            return Binding(line, reason=str(error))
        except RecursionError:
            return Binding(line, reason="nested too deeply to read")

    def _lookup(self, name: str) -> Value:
        binding = self.names.get(name, self.opaque)
        if binding is None:
            if name not in self.given:
                raise UnreadableError(f"uses {name}, which is not set before this line")
            return self.given[name]
        if binding.reason is not None:
            raise UnreadableError(f"uses {name}, unknown since line {binding.line}")
        return binding.value


_WALRUS = "set inside an expression"
_STATEMENTS: dict[type[ast.stmt], str] = {
    ast.AugAssign: "changed by an augmented assignment",
    ast.If: "set under if",
    ast.For: "set in a for loop",
    ast.AsyncFor: "set in a for loop",
    ast.While: "set in a while loop",
    ast.With: "set under with",
    ast.AsyncWith: "set under with",
    ast.Try: "set under try",
    ast.TryStar: "set under try",
    ast.Match: "set under match",
    ast.Delete: "deleted",
    ast.FunctionDef: "set in a function",
    ast.AsyncFunctionDef: "set in a function",
    ast.ClassDef: "set in a class",
}


def _rebound(node: ast.stmt) -> Iterator[tuple[str, str]]:
    """Yield (name, reason) for every name that a statement may bind other than by a plain assignment."""
    reason = _STATEMENTS.get(type(node), "set by a statement that is not read")
    for inner in ast.walk(node):
        match inner:
            case ast.NamedExpr(target=ast.Name(id=name)):
                yield name, _WALRUS
            case ast.Name(id=name, ctx=ast.Store() | ast.Del()):
                yield name, reason
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield name, DEFINITION
            case ast.alias(name=name, asname=alias):
                yield (
                    ("*", f"import * on line {node.lineno} may set any name")
                    if name == "*"
                    else (alias or name.partition(".")[0], DEFINITION)
                )
            case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
                yield name, reason
            case ast.MatchMapping(rest=str(name)):
                yield name, reason
            case _:
                pass
