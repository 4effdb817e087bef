r"""Reads a normalised answer into values: a recursive-descent parser with bounded depth, and no evaluation of Python.

    list     = item ((',' | ';' | '\lor') item)*
    item     = set (relation set)*            a relation is = < > \leq \geq \ne \in \approx ...
    set      = sum ((\cup | \cap | \setminus) sum)*
    sum      = product (('+' | '-' | \pm) product)*       \pm stands for two items
    product  = signed (('*' | '/' | nothing) signed)*     and a unit of measure behind it
    signed   = '-'* power
    power    = atom ('^' signed | '_' group | '!' | "'" | '%')*

Bounds are checked before anything is computed (see `services.math.polynomial`).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from services.math import expression as ex
from services.math import polynomial as poly
from services.math.arithmetic import added, crossed_vectors, multiplied
from services.math.atoms import AtomReader
from services.math.errors import ForeignError, UnreadableError
from services.math.expression import Expression
from services.math.polynomial import TooLargeError
from services.math.tokens import Token, tokenise
from services.math.units import NO_UNIT, SCALES, is_measure, measures
from services.math.values import Named, Operation, Quantity, Ratio, Relation, Sequence, Value

_RELATIONS = {
    "=": "=",
    "==": "=",
    r"\equiv": "=",
    r"\approx": "~",
    r"\simeq": "~",
    "≈": "~",
    ":=": "=",
    "<": "<",
    r"\lt": "<",
    ">": ">",
    r"\gt": ">",
    "<=": "<=",
    r"\leq": "<=",
    r"\leqslant": "<=",
    ">=": ">=",
    r"\geq": ">=",
    r"\geqslant": ">=",
    "!=": "!=",
    r"\ne": "!=",
    r"\in": "in",
    "∈": "in",
}
_SETS = {r"\cup": "cup", r"\cap": "cap", r"\setminus": "minus", r"\backslash": "minus", "∩": "cap", "∪": "cup"}
_SEPARATORS = {",": False, ";": False, r"\lor": True, r"\land": False, r"\vee": True}
_WORD_OF_UNIT = re.compile(r"[a-z]+|[%/€£¥¢°]")
_NO_PART_OF_UNIT = re.compile(r"(?<!\^)(?<!\^\{)(?<![A-Za-z])\d|[+?=<>]|\A\s*k\s*\Z")
"""Other numbers and signs in the words behind a number, and a k that is a thousand or nothing."""
_NUMERAL = re.compile(r"(\d[0-9A-Z]{0,300})_ ?(?:\{(\d{1,2})\}|(\d))")
_POWERS = {"2": "square", "3": "cubic", "squared": "square", "cubed": "cubic"}
_CURRENCIES = ("€", "£", "¥")


def read(text: str, letters: Mapping[str, Expression] | None = None) -> Value:
    """The value of a normalised text. `letters`: what some of them stand for.

    Raises TooLargeError, UnreadableError (it means nothing), ForeignError (it may mean something that is not read here)
    and `expression.UndefinedError`.
    """
    numeral = _NUMERAL.fullmatch(text) if "_" in text else None
    if numeral is not None:
        return _numeral(numeral[1], int(numeral[2] or numeral[3]))
    try:
        return _read(text, letters)
    except (UnreadableError, ForeignError):
        name, sign, rest = text.rpartition("=")
        if not sign or _NO_NAME.search(name) or len(name) > _NAME_CHARACTERS or name.count("{") != name.count("}"):
            raise
    return Relation((Quantity(ex.symbol("".join(name.split()))), _read(rest, letters)), ("=",))


_NO_NAME = re.compile(
    rf"[,;<>=]|\\(?:lor|pm|leq|geq|ne|in)(?![a-z])|\b(?:{'|'.join(sorted(NO_UNIT))})\b|(?<!\\)\b[a-z]{{4,}}|^ *\d"
)
"""What the name in front of a value does not have: a sign of another statement, words that take something back, prose."""
_NAME_CHARACTERS = 60


def _read(text: str, letters: Mapping[str, Expression] | None) -> Value:
    reader = Reader(tokenise(text))
    if letters:
        reader.bound.update(letters)
    try:
        value = reader.list_("")
    except RecursionError:
        raise TooLargeError from None
    if reader.ahead.kind != "end":
        raise UnreadableError
    return value


def _numeral(digits: str, base: int) -> Value:
    try:
        return Quantity(ex.number(int(digits, base)), base=base)
    except ValueError:
        raise UnreadableError from None


class Reader(AtomReader):
    """One pass over the tokens."""

    def list_(self, closing: str, *, expands: bool = True) -> Value:
        """Items up to a closing bracket or the end: the item itself where there is just one.

        expands: whether an item with a plus-or-minus sign stands for two; else all that is around it does.
        """
        items: list[Value] = []
        joined_by_or = False
        self.deeper()
        while self.ahead.kind != "end" and self.ahead.text != closing:
            if self.ahead.text in _SEPARATORS and items:
                if self.ahead.text == r"\land" and not isinstance(items[-1], Relation):
                    raise ForeignError
                joined_by_or = _SEPARATORS[self.take().text] or joined_by_or
                continue
            items += self.items() if expands else [self.item()]
            if self.ahead.kind != "end" and self.ahead.text not in _SEPARATORS and self.ahead.text != closing:
                raise UnreadableError
        self.shallower()
        if not items:
            raise UnreadableError
        return items[0] if len(items) == 1 else Sequence("", tuple(items), "", joined_by_or)

    def items(self) -> list[Value]:
        """The item ahead; both where it holds a plus-or-minus sign."""
        outer, self.plus_minus = self.plus_minus, 1
        saw, self.saw_plus_minus = self.saw_plus_minus, False
        start = self.place
        found = [self.item()]
        if self.saw_plus_minus:
            self.place, self.plus_minus = start, -1
            found.append(self.item())
        self.plus_minus, self.saw_plus_minus = outer, saw
        return found

    def item(self) -> Value:
        """A chain of relations, or a single value."""
        if self.ahead.text in (r"\ldots", r"\cdots"):
            self.take()
            return Named("...")
        if self.ahead.text in ("=", r"\approx", "≈"):  # "= 5"
            self.take()
        parts = [self._set()]
        signs = []
        while (sign := _RELATIONS.get(self.ahead.text)) is not None:
            self.take()
            signs.append(sign)
            if self.ahead.text == "=" and sign in "<>":
                self.take()
                signs[-1] += "="
            parts.append(self._set())
        value = Relation(tuple(parts), tuple(signs)) if signs else parts[0]
        return Operation("mod", value, self.quantity()) if self._takes_modulus() else value

    def _takes_modulus(self) -> bool:
        r"""Steps over `\pmod`, or over the `mod` of `(mod 7)`, whose bracket is left for the modulus."""
        if self.ahead.text == r"\pmod":
            self.take()
            return True
        if self.ahead.text == "(" and self.peek(1).text in ("mod", r"\bmod", r"\mod"):
            self.tokens[self.place : self.place + 2] = [self.ahead]
            return True
        return False

    def _set(self) -> Value:
        value = self._ratio()
        while (sign := _SETS.get(self.ahead.text)) is not None:
            self.take()
            value = Operation(sign, value, self._ratio())
        return value

    def _ratio(self) -> Value:
        start = self.place
        value = self.sum_()
        if self.ahead.text != ":" or not isinstance(value, Quantity):
            return value
        parts = [value]
        while self.ahead.text == ":":
            self.take()
            part = self.sum_()
            if not isinstance(part, Quantity):
                raise UnreadableError
            parts.append(part)
        return Ratio(tuple(parts), "".join(token.text for token in self.tokens[start : self.place]))

    def sum_(self) -> Value:
        value = self._product()
        while (sign := self._additive_sign()) is not None:
            value = added(value, self._product(), sign)
        return value

    def _additive_sign(self) -> int | None:
        text = self.ahead.text
        if text in ("+", "-"):
            self.take()
            return 1 if text == "+" else -1
        if text in (r"\pm", r"\mp"):
            self.take()
            self.saw_plus_minus = True
            return self.plus_minus if text == r"\pm" else -self.plus_minus
        return None

    def _product(self) -> Value:
        value = self._signed()
        while True:
            token = self.ahead
            if token.text in ("*", r"\times", r"\cdot", r"\ast"):
                self.take()
                factor = self._signed()
                crossed = crossed_vectors(value, factor) if token.text == r"\times" else None
                value = crossed or multiplied(value, factor)
            elif token.text in ("/", r"\div"):
                if isinstance(value, Quantity) and self._is_unit_slash(value):
                    value = self._with_unit(value)
                    continue
                self.take()
                value = self._divided(value, self._signed())
            elif isinstance(value, Quantity) and self._starts_unit(token):
                value = self._with_unit(value)
            elif self.starts_atom(token) and not self._is_modulus(token):
                if token.kind == "number":  # two numbers side by side are no product
                    raise UnreadableError
                value = multiplied(value, self.power())
            else:
                return value

    def _is_modulus(self, token: Token) -> bool:
        return token.text == r"\pmod" or (token.text == "(" and self.peek(1).text in ("mod", r"\bmod", r"\mod"))

    def _signed(self) -> Value:
        sign = 1
        while (found := self._additive_sign()) is not None:
            sign *= found
        value = self.power()
        if sign == 1:
            return value
        if isinstance(value, Named) and value.name in ("+oo", "-oo"):
            return Named("-oo" if value.name == "+oo" else "+oo")
        if isinstance(value, Quantity):
            return Quantity(ex.negate(value.value), value.unit, value.percent, value.base, value.step, value.unreduced)
        if (
            isinstance(value, Sequence)
            and len(value.items) == 2
            and value.opening + value.closing in ("[)", "(]", "[]")
        ):
            turned = {"[": "]", "(": ")", "]": "[", ")": "("}
            low, high = (multiplied(Quantity(ex.number(-1)), each) for each in value.items)
            return Sequence(turned[value.closing], (high, low), turned[value.opening])
        return multiplied(Quantity(ex.number(-1)), value)

    def power(self) -> Value:
        """An atom and what stands behind it: exponents, factorials, subscripts, percent signs."""
        start = self.place
        value = self.atom()
        while True:
            text = self.ahead.text
            if text in ("^", "**"):
                value = self._raised(value)
            elif text == "!":
                value = self._factorial(value)
            elif text == "%" and isinstance(value, Quantity):
                self.take()
                value = Quantity(value.value, value.unit, True, unreduced=value.unreduced)
            elif text == "_":
                value = self.subscripted(value, start)
            elif text in ("'", r"\prime"):
                value = self.primed(value, start)
            else:
                return value

    def _raised(self, base: Value) -> Value:
        self.take()
        behind = self.peek(1).text if self.ahead.text == "{" else self.ahead.text
        if behind in (r"\circ", "°"):
            if self.take().text == "{":
                self.take()
                self.expect("}")
            if not isinstance(base, Quantity):
                raise ForeignError
            return Quantity(base.value, ("degree",), step=base.step, unreduced=base.unreduced)
        if behind in (r"\prime", "'", "T", r"\top"):
            return self._marked(base, behind)
        self.tower += 1
        if self.tower > 3:
            raise TooLargeError
        self.mixes = self.ahead.kind != "number"
        exponent = self.argument() if self.ahead.text == "{" else self._signed()
        self.tower -= 1
        if not (isinstance(base, Quantity) and isinstance(exponent, Quantity)) or base.percent or exponent.percent:
            raise ForeignError
        known = exponent.value.rational
        if self.tower and known is not None and abs(known) > poly.MAX_BITS:
            raise TooLargeError
        return Quantity(ex.power(base.value, exponent.value))

    def _marked(self, base: Value, mark: str) -> Value:
        """A letter's transpose or derivative, `A^T`, is a name of its own."""
        name = self.tokens[self.place - 2]
        braced = self.take().text == "{"
        if braced:
            self.take()
        if (braced and self.take().text != "}") or name.kind != "letter" or not isinstance(base, Quantity):
            raise ForeignError
        return Quantity(ex.symbol(f"{name.text}^{{{mark}}}"))

    def _factorial(self, value: Value) -> Value:
        self.take()
        if not isinstance(value, Quantity):
            raise ForeignError
        if self.ahead.text == "!":
            if self.peek(1).text == "!":
                raise TooLargeError
            self.take()
            product = ex.double_factorial(value.value)
            if product is None:
                raise ForeignError
            return Quantity(product)
        return Quantity(ex.factorial(value.value))

    def _divided(self, left: Value, right: Value) -> Value:
        if not isinstance(right, Quantity):
            raise ForeignError
        if isinstance(left, Quantity):
            return self.fraction(left, right)
        return multiplied(Quantity(ex.invert(right.value)), left)

    def _is_unit_slash(self, value: Quantity) -> bool:
        behind = self.peek(1)
        names_unit = behind.kind == "text" or (behind.kind in ("word", "letter") and is_measure(behind.text))
        return bool(value.unit) and names_unit

    def _starts_unit(self, token: Token) -> bool:
        if token.kind == "text":
            return True
        if token.kind == "word":
            return not self.is_formula_word(token) and (
                is_measure(token.text) or token.text.lower() in SCALES or (token.apart and len(token.text) > 2)
            )
        return token.text in _CURRENCIES or token.text in ("¢", r"\circ", "°")

    def _with_unit(self, value: Quantity) -> Quantity:
        """The quantity with the words behind it as its unit. Raises UnreadableError where they are none."""
        words = self._unit_words(list(value.unit))
        if words in (["squared"], ["cubed"]):  # the number is, and no measure
            raise UnreadableError
        words = [_POWERS.get(word, word) for word in words if word not in ("of", "the", "a", "an")]
        if words[-2:-1] and words[-1] in ("square", "cubic"):  # metres squared
            words[-2:] = [words[-1], words[-2]]
        if NO_UNIT.intersection(words) or "?" in words:
            raise UnreadableError
        factor = math.prod(SCALES.get(word, 1) for word in words)
        words = [word for word in words if word not in SCALES]
        amount = value.value if factor == 1 else ex.multiply(ex.number(factor), value.value)
        step = value.step if factor == 1 else None
        if words in (["percent"], ["pct"], ["%"]):
            return Quantity(amount, (), True, unreduced=value.unreduced)
        return Quantity(amount, measures(words), value.percent, value.base, step, value.unreduced)

    def _unit_words(self, words: list[str]) -> list[str]:
        """The words given, and those ahead."""
        while True:
            token = self.ahead
            if token.kind == "text":
                if _NO_PART_OF_UNIT.search(token.text):
                    raise UnreadableError
                words += _WORD_OF_UNIT.findall(self.take().text.lower())
            elif self._is_unit_word(token, words):
                words.append(self.take().text.lower())
            elif token.text in ("/", "%", "¢", "°", r"\circ") or token.text in _CURRENCIES:
                words.append(self.take().text)
            elif token.text in ("^", "-", ".") and words:
                self.take()
                if token.text == "^":
                    words.insert(-1, _POWERS.get(self._unit_exponent(), "?"))
            else:
                return words

    def _is_unit_word(self, token: Token, words: list[str]) -> bool:
        if token.kind == "word":  # what takes a number back is no unit, and must not be left unread either
            return not self.is_formula_word(token) or token.text.lower() in NO_UNIT
        return token.kind == "letter" and bool(words) and (is_measure(token.text) or token.text == "a")

    def _unit_exponent(self) -> str:
        braced = self.ahead.text == "{"
        if braced:
            self.take()
        exponent = self.take().text
        if braced and self.take().text != "}":
            raise UnreadableError
        return exponent
