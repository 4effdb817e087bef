from __future__ import annotations

import signal

import pytest

from sandbox import frames
from sandbox.endings import Failure, Report, Stop, read_report, result_of
from sandbox.inside.namespaces import NAMESPACES
from sandbox.results import Ending, Limits

LIMITS = Limits(cpu_seconds=2, wall_seconds=10, memory_bytes=100 << 20, output_bytes=10)
EXIT_1 = 1 << 8


def ending(report: Report, stop: Stop | None = None, failure: Failure | None = None) -> Ending:
    return result_of(report, b"", b"", LIMITS, stop, failure).ending


def ended(status: int = 0, cause: str = "", cpu: float = 0.1, peak: int = 0) -> Report:
    return Report((NAMESPACES,), complete=True, status=status, cause=cause, cpu_seconds=cpu, peak_bytes=peak)


@pytest.mark.parametrize(
    ("report", "stop", "failure", "expected"),
    [
        (ended(), None, None, Ending.EXITED),
        (ended(EXIT_1), None, None, Ending.RAISED),
        (ended(EXIT_1), None, Failure("SyntaxError", ""), Ending.SYNTAX_ERROR),
        (ended(EXIT_1), None, Failure("MemoryError", ""), Ending.MEMORY_LIMIT),
        (ended(), None, Failure("ValueError", "hook"), Ending.RAISED),
        (ended(signal.SIGKILL, cpu=1.95), None, None, Ending.CPU_LIMIT),
        (ended(signal.SIGXCPU, cpu=2.0), None, None, Ending.CPU_LIMIT),
        (ended(signal.SIGKILL, cpu=1.5), None, None, Ending.SIGNALLED),
        (ended(signal.SIGTERM, cpu=3.0), None, None, Ending.SIGNALLED),
        (ended(signal.SIGKILL, peak=95 << 20), None, None, Ending.MEMORY_LIMIT),
        (ended(signal.SIGSEGV, peak=95 << 20), None, None, Ending.MEMORY_LIMIT),
        (ended(signal.SIGSEGV, peak=10 << 20), None, None, Ending.SIGNALLED),
        (ended(signal.SIGKILL, "cpu"), None, None, Ending.CPU_LIMIT),
        (ended(signal.SIGKILL, "wall"), None, None, Ending.WALL_LIMIT),
        (ended(signal.SIGKILL, "asked"), Stop(Ending.EXITED), None, Ending.EXITED),
        (ended(signal.SIGKILL, "asked"), Stop(Ending.TAMPERED), None, Ending.TAMPERED),
        (ended(EXIT_1), Stop(Ending.EXITED), None, Ending.RAISED),  # it had ended before it was told to
        (ended(), Stop(Ending.OUTPUT_LIMIT), None, Ending.OUTPUT_LIMIT),  # it ended before its output was seen
        (Report(broken="no fork"), None, None, Ending.INFRASTRUCTURE),
        (Report(broken="no fork", complete=True, status=EXIT_1), None, None, Ending.INFRASTRUCTURE),
        (Report((NAMESPACES,)), None, None, Ending.INFRASTRUCTURE),
        (Report(("no", "such")), None, None, Ending.TAMPERED),  # nothing kept the program from killing its keeper
        (Report(), None, None, Ending.INFRASTRUCTURE),
    ],
)
def test_endings(report: Report, stop: Stop | None, failure: Failure | None, expected: Ending) -> None:
    assert ending(report, stop, failure) is expected


def test_a_report_is_read_as_far_as_it_goes() -> None:
    parts = [
        frames.pack("missing", "jail", "no"),
        frames.pack("confined", "a", "b"),
        frames.pack("ended", "9", "wall", "0.5", "1.5", "4096"),
    ]
    whole = Report(("a", "b"), (("jail", "no"),), "", True, 9, "wall", 0.5, 1.5, 4096)
    assert read_report(b"".join(parts)) == whole
    assert read_report(b"".join(parts)[:-1]) == Report(("a", "b"), (("jail", "no"),))
    assert read_report(frames.pack("broken", "why")) == Report(broken="why")
    assert read_report(b"") == Report()
