r"""Whether a response is well-formed mathematics with one final answer: the component `math/syntax`.

Looked at is what follows the last `</think>`. Balanced must be: braces, `$` and `$$`, `\(\)`, `\[\]`, `\left` and `\right`,
and `\begin{}` and `\end{}` by name. Escaped signs (`\{`, `\$`) do not count; a `$` right before a digit may be a price
where the dollar signs are odd in number. Linear in the text.
"""

from __future__ import annotations

import re

_SIGN = re.compile(
    r"\\(?:(?P<environment>begin|end)\s*\{(?P<name>[^{}]*)\}|(?P<side>left|right)(?![A-Za-z])|(?P<bracket>[()\[\]])|\\|[A-Za-z]+|.)"
    r"|[{}]|\$\$?",
    re.DOTALL,
)
_PRICE = re.compile(r"\$(?=\d)")
_PAIRS = {"}": "{", ")": "(", "]": "[", "right": "left"}


def is_balanced(text: str) -> bool:
    """Whether every opening delimiter of LaTeX is closed, in order."""
    if "{" not in text and "}" not in text and "$" not in text and "\\" not in text:
        return True
    open_: list[str] = []
    dollars = 0
    for match in _SIGN.finditer(text):
        symbol = match[0]
        kind = match.lastgroup
        if kind is None:
            if symbol == "{":
                open_.append("{")
            elif symbol == "}":
                if not open_ or open_.pop() != "{":
                    return False
            elif symbol[0] == "$":
                dollars += len(symbol)
        elif kind == "name":
            name = f"begin {match['name']}"
            if match["environment"] == "begin":
                open_.append(name)
            elif not open_ or open_.pop() != name:
                return False
        else:
            sign = match[kind]
            opening = _PAIRS.get(sign)
            if opening is None:
                open_.append(sign)
            elif not open_ or open_.pop() != opening:
                return False
    return not open_ and (dollars % 2 == 0 or _PRICE.search(text) is not None)
