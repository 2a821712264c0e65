"""Expressions whose value is certain without executing anything: literals, names that hold them, arithmetic on them."""

from __future__ import annotations

import ast
import operator
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable

Value: TypeAlias = bool | int | float | str | None

# Hostile files are bounded here, not trusted: 10**10**10 must cost nothing, and a config has no honest use for these.
MAX_INT_BITS = 128
MAX_TEXT = 1000


class UnreadableError(Exception):
    """A value that is not certain without executing the file; the message is the reason."""


def evaluate(node: ast.expr, lookup: Callable[[str], Value]) -> Value:
    """Return the value of an expression made of literals, known names and arithmetic.

    Raises:
        UnreadableError: the value depends on something that only executing the file would tell.
    """
    match node:
        case ast.Constant(value=bool() | int() | float() | str() | None as value):
            return _bounded(value)
        case ast.Name(id=name):
            return lookup(name)
        case ast.UnaryOp(op=op, operand=operand):
            return _unary(node, op, operand, lookup)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _ARITHMETIC:
            return _arithmetic(op, _number(evaluate(left, lookup)), _number(evaluate(right, lookup)))
        case ast.IfExp(test=test, body=body, orelse=orelse):
            return evaluate(body if evaluate(test, lookup) else orelse, lookup)
        case _:
            return _condition(node, lookup)


def _unary(node: ast.expr, op: ast.unaryop, operand: ast.expr, lookup: Callable[[str], Value]) -> Value:
    if isinstance(op, ast.Invert):
        raise UnreadableError(_why(node))
    value = evaluate(operand, lookup)
    if isinstance(op, ast.Not):
        return not value
    return -_number(value) if isinstance(op, ast.USub) else +_number(value)


def _condition(node: ast.expr, lookup: Callable[[str], Value]) -> Value:
    match node:
        case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in _COMPARISONS:
            return _comparison(op, evaluate(left, lookup), evaluate(right, lookup))
        case ast.BoolOp(op=op, values=values):
            return _either(values, lookup, wanted=isinstance(op, ast.Or))
        case _:
            raise UnreadableError(_why(node))


def _either(values: list[ast.expr], lookup: Callable[[str], Value], *, wanted: bool) -> Value:
    """Return the first value that is as true as wanted, else the last, as `or` and `and` do."""
    *first, last = values
    for one in first:
        value = evaluate(one, lookup)
        if bool(value) is wanted:
            return value
    return evaluate(last, lookup)


def _comparison(op: ast.cmpop, left: Value, right: Value) -> Value:
    try:
        return bool(_COMPARISONS[type(op)](left, right))
    except TypeError as error:
        raise UnreadableError(f"a comparison fails: {error}") from None


def _arithmetic(op: ast.operator, left: float, right: float) -> Value:
    try:
        return _bounded(_ARITHMETIC[type(op)](left, right))
    except (ArithmeticError, ValueError, TypeError) as error:
        raise UnreadableError(f"arithmetic fails: {error}") from None


def _bounded(value: object) -> Value:
    if isinstance(value, int) and value.bit_length() > MAX_INT_BITS:
        raise UnreadableError(f"an integer of more than {MAX_INT_BITS} bits")
    if isinstance(value, str) and len(value) > MAX_TEXT:
        raise UnreadableError(f"a text of more than {MAX_TEXT} characters")
    if isinstance(value, bool | int | float | str) or value is None:
        return value
    raise UnreadableError(f"a {type(value).__name__}, which is not read")


def _number(value: Value) -> float:
    if isinstance(value, bool | int | float):
        return value
    raise UnreadableError("arithmetic on a value that is not a number")


def _power(base: float, exponent: float) -> object:
    if isinstance(base, int) and isinstance(exponent, int) and base.bit_length() * exponent > 2 * MAX_INT_BITS:
        raise UnreadableError(f"an integer of more than {MAX_INT_BITS} bits")
    return base**exponent


def _shift(value: float, bits: float) -> object:
    if bits > MAX_INT_BITS:
        raise UnreadableError(f"an integer of more than {MAX_INT_BITS} bits")
    return operator.lshift(value, bits)


_ARITHMETIC: dict[type[ast.operator], Callable[[float, float], object]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: _power,
    ast.LShift: _shift,
    ast.RShift: operator.rshift,
}


_COMPARISONS: dict[type[ast.cmpop], Callable[[Any, Any], object]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.In: lambda left, right: left in right,
    ast.NotIn: lambda left, right: left not in right,
}


def _why(node: ast.expr) -> str:
    match node:
        case ast.Call():
            return "a call, which is never executed"
        case ast.JoinedStr():
            return "an f-string, which is not read"
        case ast.Attribute() | ast.Subscript():
            return "looked up in an object, which is not read"
        case ast.NamedExpr():
            return "set inside an expression"
        case ast.Compare():
            return "a condition, which is not read"
        case _:
            return f"{type(node).__name__}, an expression that is not read"
