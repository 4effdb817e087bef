"""The sandbox's types on the wire: protobuf messages to plain types and back, for the servicer and the client alike."""

from __future__ import annotations

from protos.gen.assay.v1 import sandbox_pb2
from sandbox.results import CallOutcome, Ending, Limits, Raised, Returned, RunResult


def limits_to_wire(limits: Limits) -> sandbox_pb2.Limits:
    return sandbox_pb2.Limits(
        cpu_seconds=limits.cpu_seconds,
        wall_seconds=limits.wall_seconds,
        memory_bytes=limits.memory_bytes,
        output_bytes=limits.output_bytes,
    )


def result_to_wire(name: str, result: RunResult) -> sandbox_pb2.ProgramResult:
    """name: the program's id, empty for a session."""
    return sandbox_pb2.ProgramResult(
        id=name,
        ending=result.ending.value,
        stdout=result.stdout,
        stderr=result.stderr,
        exit_code=result.exit_code,
        cpu_seconds=result.cpu_seconds,
        wall_seconds=result.wall_seconds,
        peak_memory_bytes=result.peak_memory_bytes,
        detail=result.detail.encode("utf-8", "replace").decode("utf-8"),
    )


def result_from_wire(result: sandbox_pb2.ProgramResult) -> RunResult:
    """An ending that is unknown here is INFRASTRUCTURE: never a score."""
    name = sandbox_pb2.Ending.Name(result.ending) if result.ending in sandbox_pb2.Ending.values() else ""
    return RunResult(
        ending=Ending(name) if name in Ending.__members__ else Ending.INFRASTRUCTURE,
        stdout=result.stdout,
        stderr=result.stderr,
        exit_code=result.exit_code,
        cpu_seconds=result.cpu_seconds,
        wall_seconds=result.wall_seconds,
        peak_memory_bytes=result.peak_memory_bytes,
        detail=result.detail,
    )


def outcome_to_wire(outcome: CallOutcome) -> sandbox_pb2.CallOutcome:
    if isinstance(outcome, Returned):
        return sandbox_pb2.CallOutcome(value=outcome.value)
    # What a program raises may hold half of a surrogate pair, which protobuf refuses.
    message = outcome.message.encode("utf-8", "replace").decode("utf-8")
    return sandbox_pb2.CallOutcome(raised=sandbox_pb2.RaisedException(type=outcome.type, message=message))


def outcome_from_wire(outcome: sandbox_pb2.CallOutcome) -> CallOutcome:
    """Raises ValueError where neither a value nor an exception is given."""
    match outcome.WhichOneof("outcome"):
        case "value":
            return Returned(outcome.value)
        case "raised":
            return Raised(outcome.raised.type, outcome.raised.message)
    raise ValueError("outcome is empty; it must hold a value or raised")
