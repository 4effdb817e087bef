"""Reads a model's answer strictly: exactly one JSON object of the form that was asked for, or none."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

Form = TypeVar("Form", bound=BaseModel)


class MisfitError(Exception):
    """The answer has no object of the form. `why` is `truncated`, `refused`, `not_json` or `misfit`."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


class NoCompletionError(Exception):
    """The body is not what `/chat/completions` returns."""


@dataclass(frozen=True, slots=True)
class Completion:
    """The part of a response that matters."""

    content: str
    finish_reason: str
    refused: bool
    prompt_tokens: int
    completion_tokens: int


def read_completion(body: bytes) -> Completion:
    """The first choice. Raises NoCompletionError."""
    try:
        tree: Any = json.loads(body)
        choice = tree["choices"][0]
        message = choice["message"]
        content = message.get("content")
        usage = tree.get("usage") or {}
        return Completion(
            content=content if isinstance(content, str) else "",
            finish_reason=str(choice.get("finish_reason")),
            refused=bool(message.get("refusal")),
            prompt_tokens=_tokens(usage, "prompt_tokens"),
            completion_tokens=_tokens(usage, "completion_tokens"),
        )
    except (ValueError, RecursionError, LookupError, TypeError, AttributeError):
        raise NoCompletionError from None


def _tokens(usage: Mapping[str, Any], name: str) -> int:
    value = usage.get(name)
    return value if type(value) is int and 0 <= value < 2**40 else 0


def read_answer(completion: Completion, form: type[Form]) -> Form:
    """The one object in the answer. Raises MisfitError.

    A `<think>` block before it does not count. Around it there may be words or a Markdown fence, but no other brace:
    of two objects, nobody knows which is the verdict and which is quoted.
    """
    if completion.refused or completion.finish_reason == "content_filter":
        raise MisfitError("refused")
    if completion.finish_reason == "length":
        raise MisfitError("truncated")
    text = re.sub(r"\A\s*<think>.*?</think>", "", completion.content, flags=re.DOTALL)
    try:
        found, end = _DECODER.raw_decode(text, text.index("{"))
    except (ValueError, RecursionError):
        raise MisfitError("not_json") from None
    if "{" in text[end:]:
        raise MisfitError("not_json")
    try:
        return form.model_validate(found, strict=True)
    except ValidationError:
        raise MisfitError("misfit") from None


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({name for name, _ in pairs}) < len(pairs):
        raise ValueError("a key stands twice")
    return dict(pairs)


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


_DECODER = json.JSONDecoder(object_pairs_hook=_without_doubles, parse_constant=_no_constant)
