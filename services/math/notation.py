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
    r"\underline": "",
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
    r"\geqslant": r"\geq",
    r"\leqslant": r"\leq",
    r"\lt": "<",
    r"\gt": ">",
    r"\bigg": "",
    r"\Bigg": "",
    r"\bigl": "",
    r"\bigr": "",
    r"\mid": "|",
    r"\lvert": "|",
    r"\rvert": "|",
    r"\vert": "|",
    r"\colon": ":",
    r"\textstyle": "",
    r"\limits": "",
    r"\thinspace": " ",
    r"\hline": " ",
    r"\smallsetminus": r"\setminus",
    r"\backslash": r"\setminus",
    r"\vee": r"\lor",
    r"\texttt": r"\text",
    r"\textsf": r"\text",
    r"\textsc": r"\text",
    r"\lbrace": r"\{",
    r"\rbrace": r"\}",
}
_COMMAND = re.compile(r"\\(?:[A-Za-z]+|.)", re.DOTALL)
_BLANK_COMMANDS = frozenset(' ,;:()[]"')
INVISIBLE = dict.fromkeys([0xAD, *range(0x200B, 0x2010), *range(0x202A, 0x202F), *range(0x2060, 0x206A), 0xFEFF])
"""What nobody sees: blanks without width, marks of direction. For `str.translate`."""
_CHARACTERS = INVISIBLE | str.maketrans(
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
        **{
            sign: rf"\frac{{{top}}}{{{bottom}}}"
            for sign, top, bottom in zip("½⅓⅔¼¾⅕⅖⅗⅘⅙⅚⅛⅜⅝⅞", "112131234151357", "233445555668888", strict=True)
        },
        "\u00a0": " ",
        "\u202f": " ",
        "$": " ",
        "`": " ",
        "~": " ",
        '"': " ",
    }
)
_BRACED_COMMA = re.compile(r"(?<!\\) ?\{ ?, ?\} ?")
_GROUPED_DIGITS = re.compile(r"(?<![\d.,])\d{1,3}(?:(?:,?\\[,!;:] *|\\ |[\u202f\u2009\u00a0~]|\{,\})\d{3})+(?!\d)")
_ESCAPED_PRICE = re.compile(r"\\\$\s*(?=[\d.])")
_BRACKETED_NUMERAL = re.compile(r"\((\d{1,300})\)_")
_BASE_IN_WORDS = re.compile(
    r"(?<!\w)([0-9A-F]{1,300})\s*\(?(?:\\text\s*\{)?\s*\(?(?:in )?base[ -]?(\d{1,2})\)?\s*\}?\)?"
)
_REPEATING = re.compile(r"(?<![\d.])(\d{0,40})\.(\d{0,40})\\(?:overline|bar|dot) ?\{(\d{1,40})\}(?!\d)")
_CHOOSE = re.compile(r"\{ ?(\w{1,40}) ?\\choose ?(\w{1,40}) ?\}")
_ORDINAL = re.compile(r"(?<=\d) ?\^? ?\{? ?\\text ?\{ ?(?:st|nd|rd|th) ?\} ?\}?")
_GROUP = re.compile(r"\D+")
_RUN_ON = re.compile(r"\\q?quad(?=[A-Za-z])")
_DOUBLED = re.compile(r"\\\\(?=(?:frac|dfrac|tfrac|sqrt|left|right|text|pi|boxed|cdot|times|infty|cup|pm)(?![a-z]))")
_DECIMAL_COMMA = re.compile(r"(?<![\d,])(\d+),(?=\d+(?![\d,]))")
_ROMAN = re.compile(r"\\(?:mathrm|mathbf|mathit|bf|rm) ?\{ ?([A-Za-z]) ?\}|\\(?:mathrm|mathbf|mathit)(?= ?\{)")
_CONJUNCTION = re.compile(
    r"(?:[,;]\s*)?(?:\\text\s*\{\s*,?\s*(and|or)\s*\}|(?<![A-Za-z\\])(and|or)(?![A-Za-z])|(?<=\d|\))(or)(?=[A-Za-z(]))",
    re.IGNORECASE,
)
_INFINITY = re.compile(r"(?<![A-Za-z\\])(?:infinity|inf)(?![A-Za-z])", re.IGNORECASE)
_EMPHASIS = re.compile(r"(?<!\\)(?:\*\*+|__+)")
_BLANKS = re.compile(r"\s+")
_RAISED, _LOWERED = re.compile("[⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿ]+"), re.compile("[₀₁₂₃₄₅₆₇₈₉ₙ]+")
_TO_LINE = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿ₀₁₂₃₄₅₆₇₈₉ₙ", "0123456789+-n0123456789n")
_GOES_ON = re.compile(r",\s*(?:\.{3,}|…)")
_RECURRING = re.compile(r"(?<![\d.,])(\d{0,20})\.(\d{0,20}?)(\d{1,20}?)\3\3+ ?(?:\.{3,}|…|\\[lc]?dots(?![a-z]))")
_COLOR = re.compile(r"\\(?:text)?color ?\{[A-Za-z]{1,20}\}")
_PRIME = re.compile(r"\^ ?(?:\\prime(?![a-z])|\{ ?((?:\\prime ?)+)\})")
_MODULUS = re.compile(r"\\(?:text|mathrm) ?\{ ?\( ?mod ?(\d{1,9}) ?\) ?\}|\(\\(?:text|mathrm) ?\{ ?mod ?\}(?:\\[ ,;])?")
_STRUCK_OUT = re.compile(r"~~(?=\S)[^~]+~~")
_HALVES = {"a": "forenoon", "p": "afternoon"}
_HALF_OF_DAY = re.compile(
    r"(?:(?<=:\d\d) ?|(?<=\d) ?(?=\\text))(?:\\text ?\{ ?([ap])\.? ?m\.? ?\}|([ap])(?:\. ?m\.|m\b))", re.IGNORECASE
)


_GROUPED = re.compile(r"\{ ?([^{},;]*|\\text ?\{[^{}]*\}) ?\}")
_ANNOUNCEMENT = re.compile(
    r"\\text ?\{ ?(?:so |thus |therefore,? )?(?:the )?(?:final |correct )?(?:answer|result|total|value|solution)s?"
    r"(?: is| are)?[ :=]*\} ?[:=]? ?(?=\S)",
    re.IGNORECASE,
)


def normalise(answer: str, comma: bool = False) -> str:
    """The answer in the one notation that the rest of this package reads; '' where nothing is left.

    comma: whether a comma between digits is a decimal one.
    """
    text = _DECIMAL_COMMA.sub(r"\1.", answer) if comma else answer
    if not text.isascii():
        text = _RAISED.sub(lambda match: f"^{{{match[0].translate(_TO_LINE)}}}", text)
        text = _LOWERED.sub(lambda match: f"_{{{match[0].translate(_TO_LINE)}}}", text)
    if "~~" in text:
        text = _STRUCK_OUT.sub(" ", text)
    if "..." in text or "…" in text or "dots" in text:
        text = _GOES_ON.sub(r", \\ldots", _RECURRING.sub(_repeating_fraction, text))
    if ":" in text or "text" in text:
        text = _HALF_OF_DAY.sub(lambda match: f" {_HALVES[(match[1] or match[2]).lower()]}", text)
    if "\\" in text or not text.isascii():
        text = _GROUPED_DIGITS.sub(lambda match: _GROUP.sub("", match[0]), text)
        text = _RUN_ON.sub(" ", text)
        text = _PRIME.sub(lambda match: "'" * (match[1] or " ").count("\\" if match[1] else " "), text)
        if "mod" in text:
            text = _MODULUS.sub(lambda match: rf"\pmod{{{match[1]}}}" if match[1] else r"(\bmod ", text)
        text = _ROMAN.sub(lambda match: match[1] or r"\text", text)
        text = _REPEATING.sub(_repeating_fraction, _CHOOSE.sub(r"\\binom{\1}{\2}", _ORDINAL.sub("", text)))
        text = _COLOR.sub("", _ESCAPED_PRICE.sub("¤", text))
    if "base" in text or ")_" in text:
        text = _BASE_IN_WORDS.sub(r"\1_{\2}", _BRACKETED_NUMERAL.sub(r"\1_", text))
    text = _COMMAND.sub(_canonical_command, _DOUBLED.sub(r"\\", text.translate(_CHARACTERS)))
    if "," in text:
        text = _BRACED_COMMA.sub(",", text)
    if text[:1] == "{" and (group := _GROUPED.fullmatch(text.strip())):
        text = group[1]
    text = _trimmed(_INFINITY.sub(r"\\infty ", _CONJUNCTION.sub(_joint, text)))
    if text.startswith(r"\text"):
        text = _ANNOUNCEMENT.sub("", text, count=1)
    return _trimmed(_EMPHASIS.sub(" ", text)) if text.startswith("**") or text.endswith("**") else text


def _repeating_fraction(match: re.Match[str]) -> str:
    whole, fixed, repeated = match.groups()
    top = int(whole + fixed + repeated) - int((whole + fixed) or "0")
    return rf"\frac{{{top}}}{{{'9' * len(repeated) + '0' * len(fixed)}}}"


def _joint(match: re.Match[str]) -> str:
    return r" \lor " if (match[1] or match[2] or match[3]).lower() == "or" else " , "


def renamed(text: str) -> str:
    """The normalised text with its letters called v_1, v_2 ... in the order in which they come."""
    names: dict[str, str] = {}
    return _LETTER.sub(lambda match: names.setdefault(match[0], f"v_{{{len(names) + 1}}}"), text)


_LETTER = re.compile(r"(?<![A-Za-z\\])[a-zA-Z](?![A-Za-z(])")


def _trimmed(text: str) -> str:
    return _BLANKS.sub(" ", text).strip().rstrip(".;,? ")


def _canonical_command(command: re.Match[str]) -> str:
    name = command[0]
    return _COMMANDS.get(name, " " if name[1] in _BLANK_COMMANDS or name[1].isspace() else name)
