"""From a row of the user's data to a prompt: columns, templates, chat, with an error that names the row and the field."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from trainer.data import LONGEST_ID, DataError, Prompt, kind_of
from trainer.data_sections import FieldsSection, SourceSection
from trainer.finite import is_finite_number
from trainer.template import MOST_NAMES, TemplateError, fill, parse_template

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_ABSENT = object()
_OWN_FIELDS = FieldsSection()
_LIKE_A_NAME = re.compile(r"[\w./-]{1,40}")
ROLES = ("system", "user", "assistant", "tool")
MOST_BITS = 14_000
"""Of a whole number among the checks: Python neither writes nor reads more than 4300 digits."""


@dataclass(frozen=True)
class PromptForm:
    """How the rows of a source become prompts. `chat` needs a tokenizer with a chat template."""

    domains: Sequence[str]
    """Those that have scorers."""
    source: SourceSection | None = None
    """None for columns as Assay names them."""
    tokenizer: PreTrainedTokenizerBase | None = None

    def __post_init__(self) -> None:
        """Raises DataError where `chat` is wanted of a tokenizer that has no template."""
        if (
            self.source is not None
            and self.source.chat is not None
            and not getattr(self.tokenizer, "chat_template", None)
        ):
            raise DataError(
                f"source {self.source.name!r} has chat, and the policy's tokenizer has no chat template: take chat away, or"
                " add a chat_template to the tokenizer in [model] path"
            )

    def prompts(self, rows: Iterable[tuple[str, Mapping[str, Any]]]) -> Iterator[tuple[str, Prompt]]:
        """Each row's place, and its prompt. Raises DataError for the first that makes none; ids may still repeat."""
        for number, (where, row) in enumerate(rows, 1):
            yield where, self.prompt(row, where, number)

    def prompt(self, row: Mapping[str, Any], where: str, number: int) -> Prompt:
        """The prompt of one row, which is the `number`th from 1. Raises DataError."""
        fields = self.source.fields if self.source else _OWN_FIELDS
        prompt = Prompt(
            id=self._id(row, fields.id, where, number),
            domain=self._domain(row, fields.domain, where),
            text=self._text(row, where),
            checks=_checks(row, fields.checks, where),
            difficulty=_difficulty(row, fields.difficulty, where),
        )
        try:
            fault = _fault_of_json(prompt.checks)
        except RecursionError:
            fault = " is nested too deeply"
        if fault:
            raise DataError(f"{where}: field 'checks'{fault}")
        for name, text in (("id", prompt.id), ("prompt", prompt.text)):  # a domain is one of the job's
            if not _is_text(text):
                raise DataError(f"{where}: field {name!r} holds a lone surrogate, which is no text")
        return prompt

    def _id(self, row: Mapping[str, Any], column: str, where: str, number: int) -> str:
        value = _at(row, column)
        if value is _ABSENT:
            if column != "id":
                raise _missing("id", column, row, where)
            value = f"row-{number}"
        elif type(value) is int and is_finite_number(value):
            value = str(value)
        elif not isinstance(value, str) or not value:
            raise _wrong("id", column, value, where, "a text that is not empty, or a whole number")
        name = f"{self.source.name}/{value}" if self.source else value
        if len(name) > LONGEST_ID:
            raise DataError(f"{where}: field 'id' has {len(name)} characters; at most {LONGEST_ID} are allowed")
        return name

    def _domain(self, row: Mapping[str, Any], column: str, where: str) -> str:
        value = _at(row, column)
        if value is _ABSENT and self.source is not None and self.source.domain is not None:
            value = self.source.domain
        if value is _ABSENT:
            raise _missing("domain", column, row, where, "; or give the source a domain")
        if not isinstance(value, str) or not value:
            raise _wrong("domain", column, value, where, "a text that is not empty")
        if value not in self.domains:
            # A column that is none of domains may hold texts, which are the user's.
            told = f"domain {value!r}" if _LIKE_A_NAME.fullmatch(value) else f"what field {_named('domain', column)} holds"
            raise DataError(f"{where}: {told} has no scorers; [rewards.scorers] has {sorted(self.domains)}")
        return value

    def _text(self, row: Mapping[str, Any], where: str) -> str:
        source = self.source
        if source is not None and isinstance(source.chat, list):
            messages = [{"role": each.role, "content": _filled(each.content, row, where)} for each in source.chat]
            return self._rendered(messages, where)
        if source is not None and source.template is not None:
            value: Any = _filled(source.template, row, where)
            column = "prompt"
        else:
            column = (source and source.fields.prompt) or "prompt"
            value = _at(row, column)
        if value is _ABSENT:
            raise _missing("prompt", column, row, where)
        if source is None or source.chat is None:
            if isinstance(value, list):
                raise _wrong("prompt", column, value, where, 'a text; for messages give the source chat = ""')
            if not isinstance(value, str) or not value:
                raise _wrong("prompt", column, value, where, "a text that is not empty")
            return value
        system = [{"role": "system", "content": source.chat}] if source.chat else []
        messages = value if isinstance(value, list) else [{"role": "user", "content": value}]
        if fault := _fault_of_messages(messages, bool(system)):
            raise DataError(f"{where}: field {_named('prompt', column)}{fault}")
        return self._rendered(system + [{"role": each["role"], "content": each["content"]} for each in messages], where)

    def _rendered(self, messages: list[dict[str, str]], where: str) -> str:
        tokenizer: Any = self.tokenizer
        try:
            text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        except Exception as error:  # whatever the template of a model raises
            raise DataError(
                f"{where}: the tokenizer's chat template fails: {type(error).__name__}: {error}"[:400]
            ) from None
        # The service adds the tokenizer's own first token to every prompt; a template that writes it would make it two.
        first = tokenizer.bos_token
        doubled = first and text.startswith(first) and tokenizer("")["input_ids"][:1] == [tokenizer.bos_token_id]
        return text[len(first) :] if doubled else text


def _at(row: Mapping[str, Any], column: str) -> Any:
    """What a row has there, or `_ABSENT`; a dot reaches into an object where no column is named so."""
    if column in row:
        return row[column]
    first, dot, rest = column.partition(".")
    inner = row.get(first)
    return _at(inner, rest) if dot and isinstance(inner, Mapping) else _ABSENT


def _checks(row: Mapping[str, Any], columns: str | Mapping[str, str], where: str) -> dict[str, Any]:
    if not isinstance(columns, str):
        found = {name: _at(row, column) for name, column in columns.items()}
        for name, value in found.items():
            if value is _ABSENT:
                raise _missing(f"checks.{name}", columns[name], row, where)
        return found
    value = _at(row, columns)
    if value is _ABSENT:
        if columns != "checks":
            raise _missing("checks", columns, row, where)
        return {}
    if isinstance(value, str) and value.lstrip().startswith("{"):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise _wrong("checks", columns, value, where, "an object, or one written as JSON") from None
    if not isinstance(value, Mapping):
        raise _wrong("checks", columns, value, where, "an object")
    return dict(value)


def _difficulty(row: Mapping[str, Any], column: str, where: str) -> float | None:
    value = _at(row, column)
    if value is _ABSENT and column != "difficulty":
        raise _missing("difficulty", column, row, where)
    if value is _ABSENT or value is None:
        return None
    if not is_finite_number(value):
        raise _wrong("difficulty", column, value, where, "a finite number")
    return float(value)


def _fault_of_messages(given: list[Any], has_system: bool) -> str | None:
    if not given:
        return " is list (empty); it must have messages"
    for place, message in enumerate(given, 1):
        if not isinstance(message, Mapping) or message.get("role") not in ROLES:
            return f": message {place} has no role of {', '.join(ROLES)}"
        content = message.get("content")
        if not isinstance(content, str) or not content:
            return f": message {place}: its content is {kind_of(content)}; it must be a text that is not empty"
        if not _is_text(content):
            return f": message {place} holds a lone surrogate, which is no text"
        if message["role"] == "system" and (place > 1 or has_system):
            why = "and chat has a system text" if place == 1 else "which stands first"
            return f": message {place} is the system's, {why}"
    return (
        ": the last message is the assistant's, and the policy answers it" if given[-1]["role"] == "assistant" else None
    )


def _filled(template: str, row: Mapping[str, Any], where: str) -> str:
    try:
        return fill(parse_template(template), row)
    except TemplateError as error:
        raise DataError(f"{where}: template: {error}") from None


def _fault_of_json(value: Any) -> str | None:
    """Where and why a value is none of JSON, for a message; None where it is one."""
    if isinstance(value, str):
        return None if _is_text(value) else " holds a lone surrogate, which is no text"
    if value is None or isinstance(value, bool):
        return None
    if type(value) is int:
        return None if value.bit_length() <= MOST_BITS else " is a whole number that is too large to be written"
    if isinstance(value, float):
        return None if is_finite_number(value) else f" is {value!r}, which is no number of JSON"
    if isinstance(value, dict):
        if not all(isinstance(key, str) and _is_text(key) for key in value):
            return " has a key that is no text"
        pairs = [(f".{key[:60]}", inner) for key, inner in value.items()]
    elif isinstance(value, list):
        pairs = [(f"[{place}]", inner) for place, inner in enumerate(value)]
    else:
        return f" is {type(value).__name__}, which JSON has not: make it a text, a number, a list or an object"
    return next((place + fault for place, inner in pairs if (fault := _fault_of_json(inner))), None)


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _named(field: str, column: str) -> str:
    return f"{field!r}" if field == column else f"{field!r} (column {column[:60]!r})"


def _missing(field: str, column: str, row: Mapping[str, Any], where: str, mend: str = "") -> DataError:
    known = ", ".join(str(name)[:60] for name in sorted(row, key=str)[:MOST_NAMES])
    return DataError(f"{where}: field {_named(field, column)} is missing; the row has {known or 'nothing'}{mend}")


def _wrong(field: str, column: str, value: Any, where: str, right: str) -> DataError:
    return DataError(f"{where}: field {_named(field, column)} is {kind_of(value)}; it must be {right}")
