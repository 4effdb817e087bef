"""What callers may ask of the sandbox: limits up to a maximum, in messages that make sense."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from protos.gen.assay.v1 import sandbox_pb2
from sandbox.results import MIN_MEMORY_BYTES, CallOutcome, Limits
from sandbox.spawn import MAX_SOURCE_CHARACTERS
from sandbox.values import MAX_BYTES
from services.sandbox.wire import outcome_from_wire

MAX_PROGRAMS = 64
MAX_ID_CHARACTERS = 256
ANSWER_BYTES = 15 << 20
"""What the outputs of one request's programs may come to; a message holds a little more."""
DEFAULTS = Limits()


class RefusedError(ValueError):
    """A field is not as it must be; the message names it, its value and what is allowed."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """The largest limits that a caller may ask for."""

    cpu_seconds: float = 60.0
    wall_seconds: float = 300.0
    memory_bytes: int = 4 << 30
    output_bytes: int = 4 << 20

    def limits(self, asked: sandbox_pb2.Limits, place: str) -> Limits:
        """The limits asked for, 0 meaning the default. Raises RefusedError; `place` is how its message calls them."""
        chosen = {}
        for field in fields(self):
            value = getattr(asked, field.name)
            highest = getattr(self, field.name)
            lowest = MIN_MEMORY_BYTES if field.name == "memory_bytes" else 0
            if not math.isfinite(value) or value < 0 or value > highest or 0 < value < lowest:
                raise RefusedError(
                    f"{place}.{field.name} is {value:g}; it must be {f'{lowest:g}' if lowest else 'more than 0'} to "
                    f"{highest:g}, or 0 for the default"
                )
            chosen[field.name] = value or min(getattr(DEFAULTS, field.name), highest)
        return Limits(**chosen)


def check_source(source: str, place: str) -> None:
    """Raises RefusedError where the source is too long."""
    if len(source) > MAX_SOURCE_CHARACTERS:
        raise RefusedError(f"{place} has {len(source)} characters; it must have at most {MAX_SOURCE_CHARACTERS}")


def check_callbacks(names: list[str]) -> None:
    """Raises RefusedError where a name is no identifier or comes twice."""
    for index, name in enumerate(names):
        if not name.isidentifier():
            raise RefusedError(f"open.callbacks[{index}] is no Python identifier")
        if name in names[:index]:
            raise RefusedError(f"open.callbacks[{index}] comes twice")


def check_call(call: sandbox_pb2.CallFunction) -> None:
    """Raises RefusedError where the call's limit is no duration or its arguments are too long."""
    if not math.isfinite(call.timeout_seconds) or call.timeout_seconds < 0:
        raise RefusedError(f"call.timeout_seconds is {call.timeout_seconds}; it must be 0 or more seconds")
    _check_text("call.args and call.kwargs", len(call.args) + len(call.kwargs))


def check_outcome(outcome: sandbox_pb2.CallOutcome) -> CallOutcome:
    """The outcome of a callback. Raises RefusedError where it is empty or too long."""
    try:
        plain = outcome_from_wire(outcome)
    except ValueError as error:
        raise RefusedError(f"callback_outcome: {error}") from None
    _check_text("callback_outcome.value", len(outcome.value))
    return plain


def _check_text(place: str, characters: int) -> None:
    if characters > MAX_BYTES:
        raise RefusedError(f"{place} have {characters} characters; an encoded value has at most {MAX_BYTES}")


def check_request(request: sandbox_pb2.ExecuteRequest, bounds: Bounds) -> list[Limits]:
    """The limits of each program. Raises RefusedError where the request is not as it must be."""
    if not 1 <= len(request.programs) <= MAX_PROGRAMS:
        raise RefusedError(f"programs has {len(request.programs)} entries; it must have 1 to {MAX_PROGRAMS}")
    seen: set[str] = set()
    limits: list[Limits] = []
    for index, program in enumerate(request.programs):
        if len(program.id) > MAX_ID_CHARACTERS:  # an answer holds the ids beside the outputs
            raise RefusedError(
                f"programs[{index}].id has {len(program.id)} characters; it must have at most {MAX_ID_CHARACTERS}"
            )
        if program.id in seen:
            raise RefusedError(f"programs[{index}].id comes twice; ids must be unique within a request")
        seen.add(program.id)
        check_source(program.source, f"programs[{index}].source")
        limits.append(bounds.limits(program.limits, f"programs[{index}].limits"))
    output = sum(2 * limit.output_bytes for limit in limits)
    if output > ANSWER_BYTES:
        raise RefusedError(
            f"programs may write {output} bytes in all (stdout and stderr, limits.output_bytes each); an answer holds at "
            f"most {ANSWER_BYTES}"
        )
    return limits
