r"""Reads what stands in brackets: groups, tuples, sets, intervals, absolute values, matrices, and commands' arguments."""

from __future__ import annotations

import re

from services.math import expression as ex
from services.math import polynomial as poly
from services.math.errors import ForeignError, UnreadableError
from services.math.expression import Expression
from services.math.functions import FUNCTIONS
from services.math.polynomial import TooLargeError
from services.math.tokens import END, Token
from services.math.values import Matrix, Named, Quantity, Sequence, Value

MAX_DEPTH = 40
CLOSING = {
    "(": ")",
    "[": "]",
    "{": "}",
    r"\{": r"\}",
    r"\lceil": r"\rceil",
    r"\lfloor": r"\rfloor",
    r"\langle": r"\rangle",
}
WORD_FUNCTIONS = {name: name for name in FUNCTIONS} | {
    "sqrt": "sqrt",
    "asin": "arcsin",
    "acos": "arccos",
    "atan": "arctan",
}
_MATRICES = frozenset(
    re.findall(
        r"\S+",
        "matrix pmatrix bmatrix Bmatrix vmatrix Vmatrix smallmatrix array",
    )
)


class BracketReader:
    """State of one pass over the tokens. Methods return values and raise TooLargeError, UnreadableError, ForeignError."""

    def __init__(self, tokens: list[Token]) -> None:
        self.tokens = tokens
        self.place = 0
        self.tower = 0
        self.plus_minus = 1
        self.saw_plus_minus = False
        self.mixes = True
        """Whether a fraction behind the next number makes it a mixed one; an exponent without braces is none."""
        self._depth = 0
        self._bars = 0
        self._work = 0
        self.bound: dict[str, Expression] = {}

    @property
    def ahead(self) -> Token:
        return self.tokens[self.place]

    def peek(self, distance: int) -> Token:
        place = self.place + distance
        return self.tokens[place] if place < len(self.tokens) else END

    def take(self) -> Token:
        token = self.tokens[self.place]
        if token.kind != "end":
            self.place += 1
        return token

    def expect(self, text: str) -> None:
        if self.take().text != text:
            raise UnreadableError

    def deeper(self) -> None:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise TooLargeError

    def shallower(self) -> None:
        self._depth -= 1

    def list_(self, closing: str, *, expands: bool = True) -> Value:
        raise NotImplementedError

    def item(self) -> Value:
        raise NotImplementedError

    def sum_(self) -> Value:
        raise NotImplementedError

    def atom(self) -> Value:
        raise NotImplementedError

    def letter(self, text: str) -> Value:
        raise NotImplementedError

    def power(self) -> Value:
        raise NotImplementedError

    def bracket(self, opening: str) -> Value:
        if opening == r"\{" and self.ahead.text == r"\}":
            self.take()
            return Named("{}")
        if opening == "{" and self.ahead.text == "}":
            raise UnreadableError
        closing = CLOSING[opening]
        if opening == r"\{" and (condition := self._condition()) is not None:
            return condition
        inner = self._inside(opening)
        closed = self.take().text
        if closed != closing and not (opening in "([" and closed in (")", "]")):
            raise UnreadableError
        if opening in (r"\lceil", r"\lfloor"):
            if not isinstance(inner, Quantity):
                raise ForeignError
            return Quantity(ex.call("ceil" if opening == r"\lceil" else "floor", inner.value))
        if isinstance(inner, Sequence) and not inner.opening:
            kind = {r"\{": "{", r"\langle": "("}.get(opening, opening)
            ends = {r"\}": "}", r"\rangle": ")"}.get(closed, closed)
            return Sequence(kind, inner.items, ends)
        if opening == r"\{":
            return Sequence("{", (inner,), "}")
        if (opening == "[" or closed == "]") and not isinstance(inner, Matrix):
            return Sequence(opening, (inner,), closed)
        return inner

    def _condition(self) -> Value | None:
        r"""The condition of `\{x \mid x > 2\}`, which says what the set is; None where the braces hold something else."""
        place = self.place + (3 if self.peek(1).text in (r"\in", "∈") and self.peek(2).text != r"\mathbb" else 1)
        if self.peek(1).text == r"\in" and self.peek(2).text == r"\mathbb":
            place = self.place + (6 if self.peek(3).text == "{" else 4)
        if self.ahead.kind != "letter" or place >= len(self.tokens) or self.tokens[place].text not in ("|", ":"):
            return None
        self.place = place + 1
        condition = self.list_(r"\}")
        self.expect(r"\}")
        return condition

    def _inside(self, opening: str) -> Value:
        """The list up to the closing bracket, be it `)` or `]` for half-open intervals."""
        if opening not in ("(", "["):
            return self.list_(CLOSING[opening])
        end = self._matching()
        self.tokens[end] = Token("close", self.tokens[end].text, False)
        value = self.list_(self.tokens[end].text, expands=False)
        if self.ahead.kind != "close":
            raise UnreadableError
        return value

    def _matching(self) -> int:
        """Where the round or square bracket closes that was just opened."""
        depth = 0
        for place in range(self.place, len(self.tokens)):
            text = self.tokens[place].text
            if text in ("(", "["):
                depth += 1
            elif text in (")", "]"):
                if not depth:
                    return place
                depth -= 1
        raise UnreadableError

    def between_bars(self, bar: str) -> Value:
        self._bars += 1
        inner = self.sum_()
        self._bars -= 1
        self.expect(bar)
        if not isinstance(inner, Quantity):
            raise ForeignError
        return Quantity(ex.call("abs", inner.value))

    def argument(self) -> Value:
        """A command's argument: a braced group, or one token, of a number its first digit."""
        token = self.ahead
        self.deeper()
        if token.text == "{":
            self.take()
            value = self.list_("}", expands=False)
            self.expect("}")
        elif token.kind == "number" and len(token.text) > 1 and token.text.isdecimal():
            self.tokens[self.place] = Token("number", token.text[1:], False)
            value = Quantity(ex.number(int(token.text[0])))
        elif token.kind == "word" and token.text not in WORD_FUNCTIONS:
            self.tokens[self.place] = Token("word" if len(token.text) > 2 else "letter", token.text[1:], False)
            value = self.letter(token.text[0])
        else:
            value = self.atom()
        self.shallower()
        return value

    def argument_text(self) -> str:
        """A command's argument in a spelling that equal ones share."""
        if self.ahead.text == "{":
            start, place = self.place, self.place
            try:
                value = self.argument()
                if isinstance(value, Quantity):
                    known = value.value.rational
                    return poly.spelled(known) if known is not None else value.value.text
            except (UnreadableError, ForeignError):
                self.place = start
            depth = 0
            while place < len(self.tokens):
                depth += {"{": 1, "}": -1}.get(self.tokens[place].text, 0)
                if not depth:
                    break
                place += 1
            text = "".join(token.text for token in self.tokens[start + 1 : place])
            self.place = min(place + 1, len(self.tokens) - 1)
            return text
        value = self.argument()
        if not isinstance(value, Quantity):
            raise ForeignError
        known = value.value.rational
        return poly.spelled(known) if known is not None else value.value.text

    def matrix(self) -> Value:
        name = self._environment()
        if name == "cases":
            return self._cases()
        if name not in _MATRICES:
            raise ForeignError
        if name == "array" and self.ahead.text == "{":
            self.argument_text()
        rows: list[tuple[Quantity, ...]] = []
        row: list[Quantity] = []
        while True:
            value = self.sum_()
            if not isinstance(value, Quantity):
                raise ForeignError
            row.append(value)
            text = self.take().text
            if text == "&":
                continue
            if text not in ("\\\\", r"\end"):
                raise UnreadableError
            rows.append(tuple(row))
            row = []
            if text == r"\end" or self.ahead.text == r"\end":
                if text != r"\end":
                    self.take()
                break
        if self._environment() != name or len({len(each) for each in rows}) != 1:
            raise UnreadableError
        if name in ("vmatrix", "Vmatrix"):
            raise ForeignError
        return Matrix(tuple(rows))

    def _cases(self) -> Value:
        """A system of equations, one in a row, as a list."""
        items: list[Value] = []
        while True:
            items.append(self.item())
            while self.ahead.text in ("\\\\", "&", ","):
                self.take()
            if self.ahead.text == r"\end":
                self.take()
                if self._environment() != "cases":
                    raise UnreadableError
                return Sequence("", tuple(items), "")

    def _environment(self) -> str:
        self.expect("{")
        name = self.take().text
        self.expect("}")
        return name
