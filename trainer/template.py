"""A text with the columns of a row in it: `Question: {question}`.

Only names of columns may stand between braces: no attribute, index, conversion or format is ever looked at, so a template
can neither reach into an object nor run anything.
"""

from __future__ import annotations

import string
from collections.abc import Mapping
from typing import Any

from trainer.finite import is_finite_number
from trainer.names import unknown_name

MOST_NAMES = 30


class TemplateError(ValueError):
    """A template that cannot be read, or a row that it cannot be filled from."""


def parse_template(text: str) -> list[tuple[str, str | None]]:
    """Literal texts, each with the column that follows it (None at the end). `{{` and `}}` are braces. Raises TemplateError."""
    try:
        parts = list(string.Formatter().parse(text))
    except ValueError as error:
        raise TemplateError(f"{error}; a brace that is meant as such is written twice: {{{{ or }}}}") from None
    for _, name, form, conversion in parts:
        if name is None:
            continue
        if form or conversion or not name.strip() or any(sign in name for sign in ".[]"):
            written = name + (f"!{conversion}" if conversion else "") + (f":{form}" if form else "")
            raise TemplateError(
                f"{{{written:.60}}} is no name of a column: only {{column}} may stand there, and a brace that is meant as"
                " such is written twice: {{ or }}"
            )
    return [(literal, name) for literal, name, _, _ in parts]


def fill(parts: list[tuple[str, str | None]], row: Mapping[str, Any]) -> str:
    """The text for a row. Raises TemplateError for a column that it has not, or that is neither a text nor a number."""
    texts: list[str] = []
    for literal, name in parts:
        texts.append(literal)
        if name is None:
            continue
        if name not in row:
            raise TemplateError(unknown_name(name, [str(known)[:60] for known in sorted(row, key=str)[:MOST_NAMES]]))
        value = row[name]
        if not isinstance(value, str) and not is_finite_number(value):
            raise TemplateError(f"column {name!r} is {type(value).__name__}; it must be a text or a finite number")
        texts.append(str(value))
    return "".join(texts)
