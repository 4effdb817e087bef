"""An environment of your own in one file: a calculator that the policy may call while it answers.

The policy writes `<calc>17 * (3 + 4)</calc>`; the answer is the result, and the policy goes on behind it. Name it in the
job file, and stop the policy where its call ends:

    [rollout]
    stop = ["</calc>"]

    [rollout.environment]
    path = "examples.environments.calculator:Calculator"
    kwargs = { digits = 6 }
    max_turns = 4

To make yours: an object with `async def reply(turn) -> str | None`, made anew for each completion with `kwargs` as its
arguments. The reply is put behind what the policy wrote as it is, so it has the marks that your chat format wants. None
ends the completion. What `reply` raises makes the completion missing, never wrong: so what the policy can cause, a
calculation that is none, gets an answer, and only what it cannot cause is raised.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable

from services.queue.environment import Turn

_OPERATORS: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
_LONGEST = 200


class Calculator:
    """Answers a turn that ends with a call; ends the conversation at a turn without one."""

    def __init__(self, digits: int = 6) -> None:
        """`digits`: significant digits of a result."""
        self._digits = digits

    async def reply(self, turn: Turn) -> str | None:
        _, call, expression = turn.text.rpartition("<calc>")
        if not call or "</calc>" in expression:
            return None
        return f" = {calculated(expression, self._digits)}\n"


def calculated(expression: str, digits: int) -> str:
    """The result of `+ - * /` and brackets with so many significant digits, or the word `error`."""
    try:
        if len(expression) > _LONGEST:
            return "error"
        return f"{_value(ast.parse(expression.strip(), mode='eval').body):.{digits}g}"
    except (SyntaxError, ValueError, ArithmeticError, MemoryError, RecursionError):
        return "error"


def _value(node: ast.expr) -> float:
    match node:
        case ast.Constant(value=int() | float() as value):
            return float(value)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_value(operand)
        case ast.BinOp(left=left, op=operation, right=right) if type(operation) in _OPERATORS:
            return _OPERATORS[type(operation)](_value(left), _value(right))
    raise ValueError("neither a number nor one of + - * /")
