"""How a script runs its step, as its calls say: compiled, under autocast, with which attention and optimizer."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from fwplan.configs.expressions import UnreadableError, evaluate
from fwplan.configs.nodes import Tests, conditional, nodes
from fwplan.configs.settings import Setting

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from fwplan.configs.expressions import Value


_DEEPEST = 5  # names that are followed from one to the next
_HALVES = {"bfloat16", "float16"}
_FLASH = frozenset({"scaled_dot_product_attention", "flash_attn_func", "flash_attn_qkvpacked_func"})
_COMPILERS = frozenset({"torch", "model"})  # torch.compile(model), model.compile(); not re.compile


def read_name(name: str, node: ast.expr, lookup: Callable[[str], Value]) -> Setting:
    """Return the setting of this name that an expression stands for, or why that cannot be told."""
    try:
        return Setting(name, evaluate(node, lookup), node.lineno)
    except UnreadableError as error:
        return Setting(name, None, node.lineno, str(error))
    except RecursionError:
        return Setting(name, None, node.lineno, "nested too deeply to read")


def called(call: ast.Call) -> str:
    """Return the name that a call goes by: its function's, its method's."""
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


def calls(tree: ast.AST) -> Sequence[ast.Call]:
    """Return every call in a piece of code."""
    return nodes(tree, ast.Call)


def allows_tf32(tree: ast.AST) -> bool:
    """Return whether TF32 is turned on: by set_float32_matmul_precision("high"), or by allow_tf32 = True."""
    return any(_allows_tf32(node) for node in ast.walk(tree))


def _allows_tf32(node: ast.AST) -> bool:
    match node:
        case ast.Call(args=[ast.Constant(value="high" | "medium")]) if called(node) == "set_float32_matmul_precision":
            return True
        case ast.Assign(targets=[ast.Attribute(attr="allow_tf32")], value=ast.Constant(value=True)):
            return True
        case _:
            return False


def compiles(statements: Sequence[ast.stmt], lookup: Callable[[str], Value]) -> Setting:
    """Return whether these statements compile the model: always, or under conditions whose values are known."""
    found = Setting("compile", value=False, origin="default")
    for statement, tests in conditional(statements):
        for line, inner in _compiled_at(statement):
            met = meets((*tests, *inner), lookup)
            if met.reason is not None or met.value:
                return met if met.reason is not None else Setting("compile", value=True, line=line)
            found = Setting("compile", value=False, line=line)
    return found


def meets(tests: Tests, lookup: Callable[[str], Value]) -> Setting:
    """Return whether conditions hold, as a setting "compile": one that surely does not is enough for no."""
    found = [(_condition(test, lookup), wanted) for test, wanted in tests]
    if any(one.reason is None and bool(one.value) is not wanted for one, wanted in found):
        return Setting("compile", value=False)
    return next((one for one, _ in found if one.reason is not None), Setting("compile", value=True))


def _condition(test: ast.expr, lookup: Callable[[str], Value]) -> Setting:
    """Return whether a condition holds; of one that asks which device it is what holds on CUDA, unless the script says.

    What it is asked for is whether a run fits a GPU: `"cuda" if torch.cuda.is_available() else "cpu"` is "cuda" there.
    """
    found = read_name("compile", test, lookup)
    on_cuda = None if found.reason is None else _on_cuda(test)
    return found if on_cuda is None else Setting("compile", on_cuda, test.lineno)


def _on_cuda(test: ast.expr) -> bool | None:
    """Return what a condition about the device is on CUDA; None: it is about something else."""
    match test:
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            inner = _on_cuda(operand)
            return None if inner is None else not inner
        case ast.Call(func=ast.Attribute(value=ast.Attribute(attr="cuda"), attr="is_available")):
            return True
        case ast.Call(func=ast.Attribute(value=device, attr="startswith"), args=[ast.Constant(value=str(kind))]):
            return kind == "cuda" if _is_device(device) else None
        case ast.Compare(left=ast.Constant(value=str(kind)), ops=[ast.In()], comparators=[device]):
            return kind == "cuda" if _is_device(device) else None
        case ast.Compare(left=device, ops=[ast.Eq() | ast.NotEq() as op], comparators=[ast.Constant(value=str(kind))]):
            return (kind == "cuda") is isinstance(op, ast.Eq) if _is_device(device) else None
        case _:
            return None


def _is_device(node: ast.expr) -> bool:
    name = node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")
    return name in {"device", "device_type"} or (name == "type" and _is_device(node.value))  # type: ignore[attr-defined]


def _compiled_at(statement: ast.stmt) -> Iterator[tuple[int, Tests]]:
    """Yield each line on which a statement compiles, with the conditions in it that this stands under."""
    match statement:
        case ast.FunctionDef(decorator_list=marks) | ast.ClassDef(decorator_list=marks):
            marked = [mark.func if isinstance(mark, ast.Call) else mark for mark in marks]
            yield from ((mark.lineno, ()) for mark in marked if _is_compiler(mark))
        case ast.Assign(value=value) | ast.AnnAssign(value=ast.expr() as value) | ast.Expr(value=value):
            yield from _compiled_in(value, ())
        case _:
            return


def _compiled_in(node: ast.AST, tests: Tests) -> Iterator[tuple[int, Tests]]:
    """Yield each call in an expression that compiles: `torch.compile(model) if fast else model` stands under `fast`."""
    match node:
        case ast.IfExp(test=test, body=body, orelse=orelse):
            yield from _compiled_in(body, (*tests, (test, True)))
            yield from _compiled_in(orelse, (*tests, (test, False)))
            return
        case ast.Lambda():
            return
        case ast.Call(func=function) if _is_compiler(function):
            yield function.lineno, tests
        case _:
            pass
    for inner in ast.iter_child_nodes(node):
        yield from _compiled_in(inner, tests)


def _is_compiler(node: ast.expr) -> bool:
    match node:
        case ast.Attribute(attr="compile", value=ast.Name(id=name)):
            return name in _COMPILERS
        case _:
            return False


def autocast_dtype(tree: ast.Module, lookup: Callable[[str], Value]) -> Setting:
    """Return the dtype that the step computes in: autocast's, else that of the weights; float32 where neither says."""
    untrained = {id(call) for block in _no_grad(tree) for call in ast.walk(block)}
    everything, statements = [call for call in calls(tree) if id(call) not in untrained], tree.body
    for call in everything:
        if called(call) == "autocast":
            given = next((one.value for one in call.keywords if one.arg == "dtype"), None)
            if given is None and len(call.args) > 1:
                given = call.args[1]
            if given is None:
                return Setting("dtype", "float16", call.lineno)  # CUDA's autocast's own
            name = _torch_dtype(given, statements, lookup)
            reason = None if name else "autocast without a dtype that can be read"
            return Setting("dtype", name, call.lineno, reason)
    for call in everything:
        cast = _weights_cast(call)
        if cast is not None:
            pure = "pure_bfloat16" if cast == "bfloat16" else None
            return Setting("dtype", pure, call.lineno, None if pure else f"the weights are cast to {cast}")
    return Setting("dtype", "float32", origin="default")


def _no_grad(tree: ast.Module) -> Iterator[ast.AST]:
    """Yield the blocks and functions that never go backward: evaluations and samples may compute in what they like."""
    for block in nodes(tree, ast.With):
        if any(_is_no_grad(item.context_expr) for item in block.items):
            yield block
    for function in nodes(tree, ast.FunctionDef):
        if any(_is_no_grad(mark) for mark in function.decorator_list):
            yield function


def _is_no_grad(node: ast.expr) -> bool:
    return isinstance(node, ast.Call) and called(node) in {"no_grad", "inference_mode"}


def _torch_dtype(
    node: ast.expr, statements: Sequence[ast.stmt], lookup: Callable[[str], Value], depth: int = 0
) -> str | None:
    """Return the dtype that an expression is: torch.bfloat16, a name set to it, a table of them by a known text."""
    match node:
        case ast.Attribute(value=ast.Name(id="torch"), attr=name) | ast.Constant(value=str(name)):
            return name
        case ast.IfExp(body=body, orelse=orelse):
            both = {_torch_dtype(one, statements, lookup, depth + 1) for one in (body, orelse)}
            return "bfloat16" if both <= _HALVES else both.pop() if len(both) == 1 else None
        case ast.Subscript(value=ast.Dict(), slice=key):
            known = read_name("dtype", key, lookup)
            return str(known.value) if known.reason is None else None
        case ast.Name(id=name) if depth < _DEEPEST and (value := _last(name, statements)) is not None:
            return _torch_dtype(value, statements, lookup, depth + 1)
        case _:
            return None


def _last(name: str, statements: Sequence[ast.stmt]) -> ast.expr | None:
    """Return what a name is last set to by a plain assignment."""
    for statement in reversed(statements):
        match statement:
            case ast.Assign(targets=[ast.Name(id=target)], value=value) if target == name:
                return value
            case _:
                pass
    return None


def _weights_cast(call: ast.Call) -> str | None:
    """Return the half precision that a call casts the whole model to: model.half(), model.to(dtype=torch.bfloat16)."""
    match call.func:
        case ast.Attribute(value=ast.Name(id="model"), attr="half"):
            return "float16"
        case ast.Attribute(value=ast.Name(id="model"), attr="bfloat16"):
            return "bfloat16"
        case ast.Attribute(value=ast.Name(id="model"), attr="to"):
            given = [*call.args, *(one.value for one in call.keywords)]
            names = [one.attr for one in given if isinstance(one, ast.Attribute)]
            return next((name for name in names if name in _HALVES), None)
        case ast.Attribute(attr="set_default_dtype"):
            return next((one.attr for one in call.args if isinstance(one, ast.Attribute) and one.attr in _HALVES), None)
        case _:
            return None


def attention(tree: ast.AST) -> str:
    """Return the kernel that the source of a model attends with."""
    return "flash" if any(called(call) in _FLASH for call in calls(tree)) else "math"


def ties(tree: ast.AST) -> ast.Assign | None:
    """Return the assignment that shares the embedding's weight with the head's."""
    for node in nodes(tree, ast.Assign):
        match node:
            case ast.Assign(targets=[ast.Attribute(attr="weight")], value=ast.Attribute(attr="weight")):
                return node
            case _:
                pass
    return None


def biases(tree: ast.AST) -> bool:
    """Return whether the model's matrices have biases; the head alone has none in any of them."""
    linear = [call for call in calls(tree) if called(call) == "Linear"]
    return sum(1 for call in linear if not any(one.arg == "bias" for one in call.keywords)) > 1


def optimizer(tree: ast.AST) -> Iterator[Setting]:
    """Yield the optimizer and how it is implemented, as the calls that make one say."""
    made = {called(call): call for call in calls(tree)}
    adam = made.get("AdamW") or made.get("Adam")
    if adam is None and "SGD" in made:
        yield Setting("optimizer", "sgd", made["SGD"].lineno, origin="default")
        adam = made["SGD"]
    if "AdamW8bit" in made:
        yield Setting("optimizer", "adamw_8bit", made["AdamW8bit"].lineno, origin="default")
        return
    fused = adam is not None and any(one.arg == "fused" for call in calls(tree) for one in call.keywords)
    yield Setting("optimizer_impl", "fused" if fused else "foreach", origin="default")
