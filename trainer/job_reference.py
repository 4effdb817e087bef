"""docs/job.md, made from the job file's own types: `python -m trainer.job_reference > docs/job.md`.

A page written by hand would come to say what is no longer so; a test holds the page that is there to this one.
"""

from __future__ import annotations

import json
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from trainer.config import JobConfig
from trainer.loss_sections import TermSection
from trainer.places import Arguments, Moves, Scheduled
from trainer.section import Section

_PREFACE = """# The job file

TOML, one table for each part of a run; `assay check JOB.toml` reads it, and names what is wrong before anything starts.
Unknown keys are refused. Relative paths start at the file's own folder. `examples/quickstart/job.toml` and
`examples/jobs/` are whole files; [losses.md](losses.md) says what may stand in `[loss]`, and what may move.

"Moves" means: a number, or a schedule, or a controller, as in [losses.md](losses.md#what-may-move).

This page is made from the types: `python -m trainer.job_reference > docs/job.md`.
"""
_NAMES: dict[type, str] = {int: "integer", float: "number", str: "text", bool: "`true` or `false`"}
_BOUNDS = {"ge": "{} or more", "gt": "above {}", "le": "at most {}", "lt": "below {}"}


def page() -> str:
    """The whole page, in Markdown."""
    parts = [_PREFACE]
    for name, field in JobConfig.model_fields.items():
        section = _section_of(field)
        needed = "" if field.is_required() else " (may be left out)"
        parts.append(_table(f"`[{name}]`{needed}", section))
        parts += _tables_within(name, section)
    parts.append(_table("`[[loss.terms]]` and `[[warmup.terms]]`", TermSection))
    return "\n".join(parts)


def _tables_within(path: str, section: type[Section]) -> list[str]:
    """A table for each table that the keys of a table hold; the terms have theirs at the end."""
    parts: list[str] = []
    for name, field in section.model_fields.items():
        for kind in _kinds(field.annotation):
            is_list = get_origin(kind) is list
            inner = get_args(kind)[0] if is_list else kind
            if _is_section(inner) and inner is not TermSection:
                inside = f"{path}.{name}"
                parts.append(_table(f"`[[{inside}]]`" if is_list else f"`[{inside}]` (may be left out)", inner))
                parts += _tables_within(inside, inner)
    return parts


def _kinds(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)


def _is_section(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Section)


def _section_of(field: FieldInfo) -> type[Section]:
    return next(kind for kind in _kinds(field.annotation) if _is_section(kind))


def _table(heading: str, section: type[Section]) -> str:
    text = " ".join((section.__doc__ or "").partition(": ")[2].split())
    rows = [
        f"| `{name}` | {_kind(field.annotation, field.metadata)} | {_default(field)} |"
        f" {' '.join((field.description or '').split())} |"
        for name, field in section.model_fields.items()
    ]
    return "\n".join(
        [
            f"## {heading}\n",
            f"{text[:1].upper()}{text[1:]}\n",
            "| key | value | default | meaning |",
            "|---|---|---|---|",
            *rows,
            "",
        ]
    )


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    return "" if value in (None, [], {}) or _is_section(type(value)) else f"`{json.dumps(value)}`"


def _kind(hint: Any, constraints: Any = ()) -> str:
    """What may be written where a field has this type, in words."""
    named = Annotated[hint, *constraints] if constraints else hint
    for kind, words in ((Moves, "moves"), (Scheduled, "a number or a schedule"), (Arguments, "a table of arguments")):
        if named == kind:
            return words
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _kind(
            inner[0], [c for given in inner[1:] for c in (given.metadata if isinstance(given, FieldInfo) else [given])]
        )
    if origin is Literal:
        return " or ".join(f"`{json.dumps(value)}`" for value in inner)
    if origin in (Union, UnionType):
        return " or ".join(_kind(one) for one in inner if one is not NoneType)
    if _is_section(hint):
        return "a table, see below"
    if origin is list:
        return "tables, see below" if _is_section(inner[0]) else f"a list of {_kind(inner[0])}"
    if origin is tuple:
        return f"a list of {len(inner)}: {_kind(inner[0])}"
    if hint is dict or origin is dict:
        return "a table" if not inner or inner[1] is Any else f"a table: name to {_kind(inner[1])}"
    bounds = [words.format(f"{getattr(c, key):,}") for key, words in _BOUNDS.items() for c in constraints if hasattr(c, key)]
    return ", ".join([_NAMES[hint], *bounds])


if __name__ == "__main__":
    print(page(), end="")
