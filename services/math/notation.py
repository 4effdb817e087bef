"""Brings an answer to one notation, so that spelling and typesetting do not count.

What stays is text in LaTeX's mathematical language without delimiters, spacing commands, sizes and variants of one
command: `$\\dfrac12$.` becomes `\\frac12`, `10{,}000` becomes `10,000`, `6 \\text{ and } 8` becomes `6 , 8`.
"""

from __future__ import annotations

import re

_COMMANDS = {
    r"\!": "",
    r"\%": "%",
    r"\left": "",
    r"\right": "",
    r"\big": "",
    r"\Big": "",
    r"\displaystyle": "",
    r"\boxed": "",
    r"\fbox": "",
    r"\quad": " ",
    r"\qquad": " ",
    r"\dfrac": r"\frac",
    r"\tfrac": r"\frac",
    r"\cfrac": r"\frac",
    r"\dbinom": r"\binom",
    r"\tbinom": r"\binom",
    r"\mbox": r"\text",
    r"\textbf": r"\text",
    r"\textit": r"\text",
    r"\textrm": r"\text",
    r"\textnormal": r"\text",
    r"\operatorname": r"\text",
    r"\varnothing": r"\emptyset",
    r"\degree": r"^\circ",
    r"\le": r"\leq",
    r"\ge": r"\geq",
    r"\neq": r"\ne",
    r"\dots": r"\ldots",
    r"\lbrace": r"\{",
    r"\rbrace": r"\}",
}
_COMMAND = re.compile(r"\\(?:[A-Za-z]+|.)", re.DOTALL)
_BLANK_COMMANDS = frozenset(' ,;:()[]"')
_CHARACTERS = str.maketrans(
    {
        "−": "-",
        "–": "-",
        "×": r"\times ",
        "·": r"\cdot ",
        "÷": r"\div ",
        "π": r"\pi ",
        "∞": r"\infty ",
        "√": r"\sqrt ",
        "≤": r"\leq ",
        "≥": r"\geq ",
        "∪": r"\cup ",
        "±": r"\pm ",
        "°": r"^\circ ",
        "²": "^2",
        "³": "^3",
        "½": r"\frac{1}{2}",
        "¼": r"\frac{1}{4}",
        "¾": r"\frac{3}{4}",
        "\u00a0": " ",
        "\u202f": " ",
        "$": " ",
        "`": " ",
        '"': " ",
    }
)
_BRACED_COMMA = re.compile(r"(?<!\\)\{,\}")
_GROUPED_DIGITS = re.compile(r"(?<=\d),\\! *(?=\d{3}(?!\d))")
_ROMAN = re.compile(r"\\(?:mathrm|mathbf|mathit|bf|rm) ?\{ ?([A-Za-z]) ?\}|\\(?:mathrm|mathbf|mathit)(?= ?\{)")
_CONJUNCTION = re.compile(r"(?:,\s*)?(?:\\text\s*\{\s*,?\s*(?:and|or)\s*\}|(?<![A-Za-z\\])(?:and|or)(?![A-Za-z]))")
_INFINITY = re.compile(r"(?<![A-Za-z\\])(?:infinity|inf)(?![A-Za-z])", re.IGNORECASE)
_EMPHASIS = re.compile(r"(?<!\\)(?:\*\*+|__+)")
_BLANKS = re.compile(r"\s+")


def normalise(answer: str) -> str:
    """The answer in the one notation that the rest of this package reads; '' where nothing is left."""
    text = _ROMAN.sub(lambda match: match[1] or r"\text", _GROUPED_DIGITS.sub(",", answer))
    text = _COMMAND.sub(_canonical_command, text.translate(_CHARACTERS))
    text = _CONJUNCTION.sub(" , ", _BRACED_COMMA.sub(",", text))
    text = _trimmed(_INFINITY.sub(r"\\infty ", text))
    return _trimmed(_EMPHASIS.sub(" ", text)) if text.startswith("**") or text.endswith("**") else text


def _trimmed(text: str) -> str:
    return _BLANKS.sub(" ", text).strip().rstrip(".;,? ")


def _canonical_command(command: re.Match[str]) -> str:
    name = command[0]
    return _COMMANDS.get(name, " " if name[1] in _BLANK_COMMANDS or name[1].isspace() else name)
