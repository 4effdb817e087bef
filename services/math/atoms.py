r"""Reads atoms: numbers, letters, commands, functions. A part of `services.math.reader`."""

from __future__ import annotations

import math
import re
from fractions import Fraction

from services.math import expression as ex
from services.math import polynomial as poly
from services.math.brackets import CLOSING, WORD_FUNCTIONS
from services.math.calls import GREEK, CallReader
from services.math.errors import ForeignError, UnreadableError
from services.math.expression import Expression
from services.math.functions import FUNCTIONS
from services.math.polynomial import TooLargeError
from services.math.tokens import Token
from services.math.units import NO_UNIT
from services.math.values import Named, Quantity, Value

MIN_PRINTED_DIGITS = 15
"""Decimals with so many significant digits count as a computer's printing of a number."""

_STOPS = frozenset({*CLOSING.values(), ",", ";", ":", "=", "<", ">", "&", "\\\\", "%", "~", "?", "_", "^", "!"})
_COMMAND_FUNCTIONS = {f"\\{name}": name for name in FUNCTIONS} | {
    r"\operatorname": "",
    r"\arcsin": "arcsin",
    r"\asin": "arcsin",
    r"\lg": "lg",
}
_FOREIGN = frozenset(
    re.findall(
        r"\S+",
        r"\int \iint \oint \lim \partial \nabla \infty \mathbb \overline \bar \vec \hat \tilde \dot \ddot"
        r" \forall \exists \to \mathcal \mathbf \mathrm \angle \triangle \ldots \cdots \dotsm \dotsb \pmod"
        r" \bmod \mod \mid \nmid \subset \subseteq \Rightarrow \Leftrightarrow \rightarrow \implies \iff \perp"
        r" \parallel \cong \sim \neg \circ \star \oplus \otimes \begin \end \stackrel \overset \underset"
        r" \substack \xrightarrow \log \max \min \sup \inf \det \gcd \lcm \Re \Im \widehat \overrightarrow"
        r" \underline \mathop \limits \notin \propto \aleph \emptyset \dagger \top",
    )
)


class AtomReader(CallReader):
    """Methods return values and raise TooLargeError, UnreadableError, ForeignError."""

    def starts_atom(self, token: Token) -> bool:
        """Whether a token behind a value begins a factor."""
        if token.kind == "end" or token.text in _STOPS:
            return False
        if token.kind == "sign":
            return token.text in ("(", "[", "{") or (token.text == "|" and not self._bars)
        if token.kind == "command":
            return token.text in (r"\{", r"\lceil", r"\lfloor", r"\langle", r"\|") or (
                token.text[1:].isalpha() and not self._is_binary(token.text)
            )
        return True

    @staticmethod
    def _is_binary(command: str) -> bool:
        return command in (
            *(r"\cup", r"\cap", r"\setminus", r"\backslash", r"\lor", r"\land", r"\vee", r"\pm", r"\mp", r"\times"),
            *(r"\cdot", r"\ast", r"\div", r"\in", r"\leq", r"\geq", r"\ne", r"\lt", r"\gt", r"\approx", r"\equiv"),
            *(r"\simeq", r"\end", r"\rangle", r"\rceil", r"\rfloor", r"\circ", r"\prime"),
        )

    def is_formula_word(self, token: Token) -> bool:
        """Whether a word of letters is a function or something else that formulas have."""
        return token.text in WORD_FUNCTIONS or token.text.lower() in NO_UNIT

    def atom(self) -> Value:
        token = self.take()
        kind, text = token.kind, token.text
        if kind == "number":
            return self._number(text)
        if kind == "letter":
            return self.letter(text)
        if kind == "word":
            return self._word(token)
        if kind == "command":
            return self._command(text)
        if kind == "text":
            return self._quoted(text)
        if text in CLOSING:
            return self.bracket(text)
        if text == "|":
            return self.between_bars("|")
        if text in _CURRENCIES and self.ahead.kind == "number":
            number = self._number(self.take().text)
            return Quantity(number.value, (_CURRENCIES[text],), step=number.step)
        raise UnreadableError

    # Numbers

    def _number(self, text: str) -> Quantity:
        value = read_number(text)
        mixes, self.mixes = self.mixes, True
        if mixes and (self.ahead.text == r"\frac" or (self.ahead.kind == "number" and self.peek(1).text == "/")):
            return self._mixed(value)
        digits = text.replace(",", "").replace(".", "").lstrip("0")
        if "." in text and len(digits) >= MIN_PRINTED_DIGITS and digits.isdigit():
            return Quantity(ex.number(value), step=Fraction(1, 10 ** len(text.partition(".")[2])))
        if self.ahead.text == "_":
            return self._based(text)
        return Quantity(ex.number(value))

    def _mixed(self, whole: int | Fraction) -> Quantity:
        r"""The number and the fraction right behind it: `2\frac{3}{4}`, `2 3/4`; else their product."""
        if self.ahead.text == r"\frac":
            self.take()
            fraction = self._fraction_command()
        else:
            top = read_number(self.take().text)
            self.take()
            bottom = self.atom()
            if not (isinstance(bottom, Quantity) and isinstance(bottom.value.rational, int)):
                raise UnreadableError
            fraction = self.fraction(Quantity(ex.number(top)), bottom)
            if not self._is_proper(fraction) or not isinstance(whole, int):
                raise UnreadableError
        if not isinstance(fraction, Quantity):
            raise ForeignError
        if self._is_proper(fraction) and isinstance(whole, int):
            return Quantity(ex.add(ex.number(whole), fraction.value), unreduced=fraction.unreduced)
        return Quantity(ex.multiply(ex.number(whole), fraction.value), unreduced=fraction.unreduced)

    @staticmethod
    def _is_proper(fraction: Quantity) -> bool:
        value = fraction.value.rational
        return value is not None and 0 < value < 1

    def _based(self, digits: str) -> Quantity:
        """A numeral with its base as a subscript: `1010_2`."""
        self.take()
        base = self.argument()
        known = base.value.rational if isinstance(base, Quantity) else None
        if not isinstance(known, int) or not 2 <= known <= 36:
            raise UnreadableError
        try:
            return Quantity(ex.number(int(digits.replace(",", ""), known)), base=known)
        except ValueError:
            raise UnreadableError from None

    def fraction(self, top: Quantity, bottom: Quantity) -> Quantity:
        """top / bottom."""
        numerator, denominator = top.value.rational, bottom.value.rational
        whole = isinstance(numerator, int) and isinstance(denominator, int)
        unreduced = whole and (math.gcd(numerator, denominator) != 1 or abs(denominator) == 1)  # type: ignore[arg-type]
        if top.percent or bottom.percent or (top.unit and bottom.unit):
            raise ForeignError
        value = ex.divide(top.value, bottom.value)
        return Quantity(value, top.unit or bottom.unit, unreduced=unreduced or top.unreduced or bottom.unreduced)

    # Names

    def letter(self, text: str) -> Value:
        if not text.isalpha():
            raise UnreadableError
        if text in self.bound:
            return Quantity(self.bound[text])
        if text == "i":
            return Quantity(ex.of(poly.I))
        if text == "e":
            return Quantity(ex.of(poly.E))
        return self._applied(text)

    def _applied(self, name: str) -> Value:
        """A symbol, or a function of what stands in the brackets behind it: `f(x)`."""
        if (
            name in ("f", "g", "h", "F", "G", "P", "Q", "W", "T", "p", "q", "r", r"\phi", r"\varphi")
            and self.ahead.text == "("
        ):
            arguments = self.arguments()
            if all(_has_letters(each) or len(name) == 1 for each in arguments):
                return Quantity(ex.of(poly.Atom.make(_call_text(name, arguments), "call", name, *arguments)))
        return Quantity(ex.symbol(name))

    def _word(self, token: Token) -> Value:
        text = token.text
        function = WORD_FUNCTIONS.get(text)
        if function is not None:
            return self.call(function)
        if text in ("pi", "Pi"):
            return Quantity(ex.of(poly.PI))
        if self.ahead.text == "=" and len(text) > 2:
            return Quantity(ex.symbol(text))
        if len(text) > 3 or token.text.lower() in NO_UNIT:
            raise UnreadableError
        # a product of letters: put them back one by one
        letters = [Token("letter", letter, index == 0 and token.apart) for index, letter in enumerate(text)]
        self.tokens[self.place - 1 : self.place] = letters
        self.place -= 1
        return self.atom()

    def _quoted(self, text: str) -> Value:
        r"""`\text{42}`, `\text{e}`: what can stand for itself."""
        from services.math.reader import Reader
        from services.math.tokens import tokenise

        text = text.strip()
        if text and self.ahead.text == "=":
            return Quantity(ex.symbol(text))
        if not text or len(text) > 40 or not (text[0].isdigit() or text[0] in "-.$(" or len(text) == 1):
            raise UnreadableError
        inner = Reader(tokenise(text))
        value = inner.item()
        if inner.ahead.kind != "end":
            raise UnreadableError
        return value

    def subscripted(self, value: Value, start: int) -> Value:
        """A letter with a subscript is a name of its own. `start`: where the letter stands."""
        self.take()
        if not isinstance(value, Quantity) or self.tokens[start].kind not in ("letter", "command"):
            raise ForeignError
        if self.ahead.kind == "number" and len(self.ahead.text) > 1:
            token = self.take()  # x_12 is x_1 2 in TeX; people mean x_{12}
            index = token.text
        else:
            inner = self.argument_text()
            index = inner
        base = self.tokens[start].text
        return self._applied_subscript(base, index)

    def _applied_subscript(self, base: str, index: str) -> Value:
        return Quantity(ex.symbol(f"{base}_{{{index}}}"))

    def primed(self, value: Value, start: int) -> Value:
        mark = self.take().text
        if self.tokens[start].kind == "number" and isinstance(value, Quantity) and not value.unit:
            if self.ahead.text == mark:
                self.take()
                mark = "''"
            return Quantity(value.value, ("'" if mark == r"\prime" else mark,), step=value.step)
        name = "".join(token.text for token in self.tokens[start : self.place])
        if self.ahead.text == "(":
            arguments = self.arguments()
            return Quantity(ex.of(poly.Atom.make(_call_text(name, arguments), "call", name, *arguments)))
        if self.tokens[start].kind != "letter":
            raise ForeignError
        return Quantity(ex.symbol(name))

    # Commands

    def _command(self, text: str) -> Value:
        if text in CLOSING:
            return self.bracket(text)
        if text in (r"\frac", r"\dfrac"):
            return self._fraction_command()
        if text == r"\sqrt":
            return self._root()
        if text in (r"\pi", r"\Pi"):
            return Quantity(ex.of(poly.PI))
        if text == r"\binom":
            top, bottom = self.quantity(), self.quantity()
            return Quantity(ex.binomial(top.value, bottom.value))
        if text == r"\log" or text in _COMMAND_FUNCTIONS:
            return self.call(_COMMAND_FUNCTIONS.get(text, "log"))
        if text == r"\infty":
            return Named("+oo")
        if text == r"\emptyset":
            return Named("{}")
        if text == r"\mathbb" or text == r"\R":
            return self._number_set(text)
        if text == r"\begin":
            return self.matrix()
        if text in (r"\sum", r"\prod"):
            return self.series(text)
        if text == r"\|" or text in (r"\lvert", r"\vert"):
            return self.between_bars({r"\lvert": r"\rvert"}.get(text, text))
        if text in (r"\overline", r"\overrightarrow", r"\vec", r"\bar", r"\hat", r"\angle", r"\triangle", r"\mathcal"):
            start = self.place
            name = self.argument_text()
            if any(map(str.isdecimal, name.replace("^1", ""))) and text in (r"\overline", r"\bar"):
                self.place = start
                conjugate = ex.conjugate(self.quantity().value)
                if conjugate is None:
                    raise ForeignError
                return Quantity(conjugate)
            return Quantity(ex.symbol(f"{text}{{{name}}}"))
        if text in GREEK:
            return self._bound_or_symbol(text)
        if self._is_binary(text):
            raise UnreadableError
        if text in _FOREIGN or not text[1:].isalpha():
            raise ForeignError
        return self._bound_or_symbol(text)

    def _bound_or_symbol(self, name: str) -> Value:
        return Quantity(self.bound[name]) if name in self.bound else self._applied(name)

    def _number_set(self, text: str) -> Value:
        name = "R"
        if text == r"\mathbb":
            braced = self.ahead.text == "{"
            if self.peek(int(braced)).text not in ("R", "Z", "N", "Q", "C"):
                raise ForeignError
            self.place += int(braced)
            name = self.take().text
            if braced:
                self.expect("}")
        return Named(name)

    def _fraction_command(self) -> Value:
        parts = [token.text for token in self.tokens[self.place : self.place + 6]]
        if _DERIVATIVE.fullmatch("".join(parts)):
            self.place += 6
            return Quantity(ex.symbol("".join(parts)))
        top, bottom = self.argument(), self.argument()
        if isinstance(top, Quantity) and isinstance(bottom, Quantity):
            return self.fraction(top, bottom)
        raise ForeignError

    def _root(self) -> Value:
        degree = 2
        if self.ahead.text == "[":
            self.take()
            index = self.sum_()
            self.expect("]")
            known = index.value.rational if isinstance(index, Quantity) else None
            if not isinstance(known, int) or known < 2:
                raise ForeignError
            degree = known
        return Quantity(ex.root(self.quantity().value, degree))


_DERIVATIVE = re.compile(r"\{d[A-Za-z]?\}\{d[A-Za-z]\}")
_CURRENCIES = {"€": "euro", "£": "£", "¥": "¥", "¢": "cent", "¤": "dollar"}


def _has_letters(value: Expression) -> bool:
    return any(atom.kind == "symbol" for atom in poly.atoms(value.top))


def _call_text(name: str, arguments: list[Expression]) -> str:
    return f"{name}({','.join(each.text for each in arguments)})"


def read_number(text: str) -> int | Fraction:
    """The number that a token is. Raises TooLargeError."""
    text = text.replace(",", "").replace(" ", "")
    if text.isdecimal():
        return int(text) if len(text) < MAX_DIGITS else _too_large()
    digits, _, exponent = text.lower().partition("e")
    if len(digits) > MAX_DIGITS or len(exponent) > 6 or abs(int(exponent or 0)) * 4 > poly.MAX_BITS:
        raise TooLargeError
    value = Fraction(digits) * Fraction(10) ** int(exponent or 0)
    return value.numerator if value.denominator == 1 else value


MAX_DIGITS = 4000
"""Of a number; Python reads no more than 4,300."""


def _too_large() -> int:
    raise TooLargeError
