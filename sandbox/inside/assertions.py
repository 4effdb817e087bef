"""Counts the `assert` statements of test code that held: behind each stands a call that tells of it."""

from __future__ import annotations

import ast
import marshal

from sandbox.inside import kernel
from sandbox.inside.harness import compile_source, remember_source, write
from sandbox.inside.syscalls import NUMBERS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import CodeType
    from typing import Any

_BODIES = ("body", "orelse", "finalbody")
_PARTS = ("handlers", "cases")
_SIMPLE = frozenset({ast.Expr, ast.Assign, ast.Import, ast.ImportFrom, ast.Return})
"""Statements that hold no others."""
_LOAD = ast.Load()
_ADD_SEALS, _ALL_SEALS = 1033, 0xF
"""F_ADD_SEALS; with these nobody can change a memory file any more. `fcntl` is no module that all runs have."""
_MAX_COMPILED = 1 << 19
"""Longest text of compiled test code that its owner is given to keep."""


class Assertions:
    """The assertions of one module of test code. Each has a number, its site."""

    TOLD_BY = "__assertion_held__"
    """What the marked code calls with the site of an assertion that held."""

    def __init__(self) -> None:
        self.held: set[int] = set()
        self._sites = 0
        self._reached: dict[str, list[int]] = {}
        """By function of the module, "" for itself: the assertions that lie neither in loops nor in branches."""

    def code(self, source: str, compiled: str) -> CodeType:
        """The marked code. compiled: what a process before this one left of the same source, or "". Ends the process
        where it does not compile."""
        if compiled:
            # Sealed before anything of the test, and of what it may execute of an answer, could have changed it.
            code, self._reached = marshal.loads(bytes.fromhex(compiled))  # noqa: S302
            remember_source(source)
            return code
        code = compile_source(source, self._mark)
        text = marshal.dumps((code, self._reached)).hex()
        if len(text) <= _MAX_COMPILED:
            write(0, text.encode())
        kernel.checked_syscall(NUMBERS["fcntl"], 0, _ADD_SEALS, _ALL_SEALS)
        return code

    def missed(self, tests: Iterable[str]) -> tuple[int, int]:
        """Of the assertions that lie neither in loops nor in branches of the module and of these functions of it: how
        many have not held, and how many there are."""
        sites = {site for name in ("", *tests) for site in self._reached.get(name, ())}
        return len(sites - self.held), len(sites)

    def _mark(self, tree: ast.Module) -> None:
        """Puts the call behind each assertion of a tree."""
        names = {id(node.body): node.name for node in tree.body if type(node) is ast.FunctionDef}
        names[id(tree.body)] = ""
        bodies = [tree.body]
        for body in bodies:  # which grows meanwhile
            marked: list[ast.stmt] = []
            sites = []
            for node in body:
                marked.append(node)
                if type(node) is ast.Assert:
                    sites.append(self._sites)
                    marked.append(self._telling_of(node))
                elif type(node) not in _SIMPLE:
                    fields = node.__dict__
                    bodies += [fields[name] for name in _BODIES if name in fields]
                    bodies += [part.body for name in _PARTS for part in fields.get(name, ())]
            body[:] = marked
            if id(body) in names:
                self._reached.setdefault(names[id(body)], []).extend(sites)

    def _telling_of(self, node: ast.Assert) -> ast.stmt:
        place: Any = {"lineno": node.lineno, "col_offset": node.col_offset}
        told, site = ast.Name(self.TOLD_BY, _LOAD, **place), ast.Constant(self._sites, **place)
        self._sites += 1
        return ast.Expr(ast.Call(told, [site], [], **place), **place)
