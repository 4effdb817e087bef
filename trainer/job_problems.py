"""How a fault that pydantic found in a job file is told: the field, the value and the mend."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from trainer.names import unknown_name


def describe(problem: Any, root: type[BaseModel]) -> str:
    """One line for one of `ValidationError.errors()`; `root` is the model that was validated."""
    location = problem["loc"]
    # Pydantic adds the branch of a union (`float`, `dict[str,any]`) to the place of an error; users did not write it.
    parts = [p for p in location if isinstance(p, int) or (p.isidentifier() and p not in ("float", "int", "str")) or "/" in p]
    where = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in parts).lstrip(".")
    if problem["type"] == "extra_forbidden":
        hint = _MEANT.get(where)
        return f"{where}: {hint or unknown_name(location[-1], _fields_at(location[:-1], root))}"
    if problem["type"] == "missing":
        return f"{where}: is missing; add {_missing(location, root)}"
    message = problem["msg"].removeprefix("Value error, ")
    value = problem.get("input")
    shown = f" (got {value!r})" if isinstance(value, (str, int, float, bool)) and len(repr(value)) < 80 else ""
    # What is wrong between tables has no place of its own: the message names the fields.
    return f"{where}: {message}{shown}" if where else message


def _missing(location: tuple[int | str, ...], root: type[BaseModel]) -> str:
    first, *inner = location
    if inner:
        return "it"
    if first == "loss":
        return "[[loss.terms]] with name, and type or path"
    table: Any = root.model_fields[str(first)].annotation
    required = [name for name, field in table.model_fields.items() if field.is_required()]
    return f"[{first}] with {', '.join(required)}"


_MEANT = {
    "loss.weights": "there is no list of weights: each [[loss.terms]] has a weight of its own",
    "loss.losses": "there is no list of losses: add a [[loss.terms]] table for each",
}


def _fields_at(location: tuple[int | str, ...], root: type[BaseModel]) -> list[str]:
    model: Any = root
    for part in location:
        if isinstance(part, int):
            continue
        annotation = model.model_fields[part].annotation if part in model.model_fields else None
        candidates = [annotation, *getattr(annotation, "__args__", ())]
        found = [c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)]
        if not found:
            return []
        model = found[0]
    return list(model.model_fields)
