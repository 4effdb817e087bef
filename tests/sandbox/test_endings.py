"""How a run ended, decided from what the server, the owner and the program say; and what a program may say."""

from __future__ import annotations

import dataclasses
import signal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox import frames, orders
from sandbox.endings import Notes, Stop, decide, read_notes
from sandbox.results import MIN_MEMORY_BYTES, Ending, Limits, Raised, Returned

LIMITS = Limits(cpu_seconds=2, wall_seconds=10, memory_bytes=100 << 20, output_bytes=10)
EXIT_1 = 1 << 8
BY_ITSELF, CPU, WALL, ASKED, MEMORY, FAILED = (
    orders.BY_ITSELF,
    orders.CPU,
    orders.WALL,
    orders.ASKED,
    orders.MEMORY,
    orders.FAILED,
)


def ended(status: int = 0, cause: str = BY_ITSELF, cpu: float = 0.1, peak: int = 0) -> orders.Ended:
    return orders.Ended(1, status, cause, cpu, 0.2, peak)


def failed(kind: str, message: str = "", **more: object) -> Notes:
    return dataclasses.replace(Notes(), failure=Raised(kind, message), **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("what", "written", "notes", "stop", "expected"),
    [
        (ended(), 10, Notes(), None, Ending.EXITED),
        (ended(EXIT_1), 0, Notes(), None, Ending.RAISED),
        (ended(EXIT_1), 0, failed("SyntaxError"), None, Ending.SYNTAX_ERROR),
        (ended(EXIT_1), 0, failed("SyntaxError", is_ready=True), None, Ending.RAISED),
        (ended(EXIT_1), 0, failed("MemoryError"), None, Ending.MEMORY_LIMIT),
        (ended(), 0, failed("ValueError"), None, Ending.RAISED),
        (ended(EXIT_1), 0, failed("OSError", denied=True), None, Ending.UNSUPPORTED),
        (ended(EXIT_1), 0, failed("ImportError", wanted=["x"]), None, Ending.UNSUPPORTED),
        (ended(EXIT_1), 0, failed("ImportError"), None, Ending.RAISED),
        (ended(EXIT_1), 0, failed("ValueError", wanted=["x"]), None, Ending.RAISED),
        (ended(), 0, dataclasses.replace(Notes(), denied=True, wanted=["x"]), None, Ending.EXITED),
        (ended(), 0, dataclasses.replace(Notes(), forged="x"), None, Ending.TAMPERED),
        (ended(), 11, dataclasses.replace(Notes(), forged="x"), None, Ending.OUTPUT_LIMIT),
        (ended(EXIT_1), 11, failed("OSError"), None, Ending.OUTPUT_LIMIT),
        (ended(signal.SIGKILL, cpu=2.0), 0, Notes(), None, Ending.CPU_LIMIT),
        (ended(signal.SIGKILL, cpu=1.9), 0, Notes(), None, Ending.SIGNALLED),
        (ended(signal.SIGTERM, cpu=3.0), 0, Notes(), None, Ending.SIGNALLED),
        (ended(signal.SIGKILL, CPU), 0, Notes(), None, Ending.CPU_LIMIT),
        (ended(signal.SIGKILL, WALL), 0, Notes(), None, Ending.WALL_LIMIT),
        (ended(signal.SIGKILL, MEMORY), 0, Notes(), None, Ending.MEMORY_LIMIT),
        (ended(signal.SIGKILL, peak=95 << 20), 0, Notes(), None, Ending.MEMORY_LIMIT),
        (ended(signal.SIGSEGV, peak=95 << 20), 0, Notes(), None, Ending.MEMORY_LIMIT),
        (ended(signal.SIGSEGV, peak=80 << 20), 0, Notes(), None, Ending.SIGNALLED),
        (ended(signal.SIGSYS, peak=95 << 20), 0, Notes(), None, Ending.TAMPERED),
        (ended(40), 0, Notes(), None, Ending.SIGNALLED),
        (ended(signal.SIGKILL, ASKED), 0, Notes(), Stop(Ending.EXITED), Ending.EXITED),
        (ended(signal.SIGKILL, ASKED), 0, Notes(), Stop(Ending.TAMPERED), Ending.TAMPERED),
        (ended(signal.SIGKILL, ASKED), 0, Notes(), None, Ending.INFRASTRUCTURE),
        (ended(EXIT_1), 0, Notes(), Stop(Ending.EXITED), Ending.RAISED),  # it had ended before it was told to
        (ended(0, FAILED), 99, Notes(), Stop(Ending.EXITED), Ending.INFRASTRUCTURE),
    ],
)
def test_endings(what: orders.Ended, written: int, notes: Notes, stop: Stop | None, expected: Ending) -> None:
    ending, detail = decide(what, written, LIMITS, notes, stop)
    assert ending is expected
    assert detail or ending is Ending.EXITED or stop


def test_details_name_the_limit() -> None:
    assert decide(ended(9, CPU), 0, LIMITS, Notes())[1] == "used more than 2 s of CPU time"
    assert decide(ended(9, WALL), 0, LIMITS, Notes())[1] == "ran for more than 10 s"
    assert decide(ended(), 11, LIMITS, Notes())[1] == "wrote more than 10 bytes"
    assert decide(ended(), 0, LIMITS, failed("KeyError", "'k'"))[1] == "KeyError: 'k'"
    assert decide(ended(), 0, LIMITS, failed("KeyError"))[1] == "KeyError"


READY = frames.pack("ready")
RETURNED = frames.pack("returned", "0", "1")


def test_notes_are_read_as_far_as_they_go() -> None:
    whole = READY + RETURNED + frames.pack("raised", "1", "KeyError", "k") + frames.pack("wants", "x")
    notes = read_notes(whole + frames.pack("failed", "ValueError", "v") + frames.pack("denied"))
    assert notes.outcomes == [Returned("1"), Raised("KeyError", "k")]
    assert notes.is_ready and notes.denied and notes.wanted == ["x"] and not notes.forged
    assert notes.failure == Raised("ValueError", "v")
    cut = read_notes(whole[:-1])
    assert cut.outcomes == notes.outcomes and cut.wanted == [] and not cut.forged
    assert read_notes(b"") == Notes()
    assert read_notes(frames.pack("compiled", "text")).compiled == "text"


@pytest.mark.parametrize(
    "data",
    [
        RETURNED,
        READY + READY,
        READY + frames.pack("returned", "1", "1"),
        READY + RETURNED + RETURNED,
        READY + frames.pack("returned", "0"),
        READY + frames.pack("returned", "0", '"\ud800"'),
        frames.pack("whatever"),
        b"\xff" * 8,
        b"\0\0\0\2[]",
        b"\0\0\0\3[1]",
        b"\0\0\0\2\xff\xff",
        b"\0\0\0\0",
        b"\0\0\0\3x\n1",
        b"\0\0\0\3-1\n",
        b"\0\0\0\3 0\n",
        b"\0\0\0\4" + b"1\nab",
        b"\0\0\0\4" + b"2\n\xff\xff",
        (12 << 20).to_bytes(4, "big") + b"0 " * (6 << 20),
        (12 << 20).to_bytes(4, "big") + b"[" * (12 << 20),
    ],
)
def test_what_no_honest_program_notes_is_forged(data: bytes) -> None:
    assert read_notes(data).forged


def test_a_flood_of_notes_is_forged_and_not_read_to_its_end() -> None:
    flood = frames.pack("denied") * 400_000
    assert "flooded" in read_notes(flood).forged
    outcomes = [frames.pack("returned", str(number), "1") for number in range(2000)]
    assert len(read_notes(READY + b"".join(outcomes), calls=2000).outcomes) == 2000
    assert read_notes(READY + b"".join(outcomes), calls=2).forged


@given(st.binary(max_size=200))
def test_any_bytes_can_be_read(data: bytes) -> None:
    read_notes(data)
    read_notes(READY + data)
    read_notes(len(data).to_bytes(4, "big") + data)


@given(st.lists(st.text(alphabet=st.characters(categories=["L", "Cs", "Cc", "Po"]), max_size=20), max_size=6))
def test_jobs_and_frames_come_back(fields: list[str]) -> None:
    assert frames.split_job(frames.join_job(fields)) == fields
    if fields:
        assert list(frames.split(frames.pack(*fields) * 3)) == [fields] * 3


@given(st.integers(0, 2**64 - 1), st.floats(allow_nan=False), st.integers(0, 2**64 - 1))
def test_orders_come_back(number: int, seconds: float, size: int) -> None:
    order = orders.Order(number, seconds, seconds, size, size)
    assert orders.unpack(orders.pack_order(order)) == order
    assert orders.unpack(orders.pack_kill(number)) == number
    told = orders.Ended(number, 9, CPU, seconds, seconds, size)
    assert orders.unpack_ended(orders.pack_ended(told)) == told


def test_the_least_memory() -> None:
    assert Limits(memory_bytes=MIN_MEMORY_BYTES)
    with pytest.raises(ValueError, match=f"memory_bytes is {MIN_MEMORY_BYTES - 1}"):
        Limits(memory_bytes=MIN_MEMORY_BYTES - 1)
