"""The sandbox's benchmark: that it finds what it looks for, and that what is right passes."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from benchmarks.figures import Figure, report
from benchmarks.sandbox_benign import benign, compare
from benchmarks.sandbox_escapes import MODES, measure
from benchmarks.sandbox_processes import Watch, adopt
from benchmarks.sandbox_programs import PROGRAMS, Benign, Case, read_benign, read_cases
from benchmarks.sandbox_surroundings import Surroundings
from benchmarks.sandbox_worker import LIMITS, Examined, Examiner, differences, wrong_with
from sandbox.jobs import Kind, Program
from sandbox.pool import Sandbox
from sandbox.results import Ending, Limits, RunResult

FEW = ("f01", "f38", "n02", "p14", "k06", "r05", "j06")
SAYS_SO = "import os\nos.write(1, b'ESCAPE it says so\\n')"


def cases(*names: str) -> list[Case]:
    return [case for case in read_cases([PROGRAMS / "escapes"], "contain") if case.name.startswith(names)]


def test_programs_are_read() -> None:
    found = {case.name: case for case in read_cases([PROGRAMS / "escapes"], "contain")}
    assert len(found) == 143
    assert found["f24_note_for_the_next_run"].runs == 2
    assert found["r02_many_files"].needs_files
    assert len(read_benign([PROGRAMS / "benign.jsonl"])) == 218
    with pytest.raises(ValueError, match="no program of kind integrity"):
        read_cases([PROGRAMS / "escapes"], "integrity")


def test_a_few_attacks_are_contained() -> None:
    outcome = measure(MODES[0], cases(*FEW), ("sealed", "files"))
    assert outcome.failures == []
    assert outcome.unmeasured == ""
    assert outcome.contained == 2 * len(cases(*FEW))


def test_what_a_program_says_it_reached_is_a_failure() -> None:
    outcome = measure(MODES[0], [Case("x01", SAYS_SO), Case("f08_inherited_descriptors", SAYS_SO)], ("sealed",))
    assert (outcome.contained, outcome.permitted) == (0, [])
    assert "x01 in plain" in outcome.failures[0]
    assert "ESCAPE it says so" in outcome.failures[0]
    assert "f08_inherited_descriptors in plain" in outcome.failures[1], "it may say other things only"


class Unconfined:
    """Stands for a sandbox that holds nothing."""

    pid = os.getpid()
    is_alive = True
    layers = ()

    async def server(self, kind: Kind) -> Unconfined:
        return self

    async def run(self, program: Program, limits: Limits, kind: Kind) -> RunResult:
        command = [sys.executable, "-c", program.source]
        done = await asyncio.to_thread(subprocess.run, command, input=program.stdin, capture_output=True, check=False)
        return RunResult(Ending.EXITED if done.returncode == 0 else Ending.RAISED, done.stdout, done.stderr)


@pytest.mark.parametrize(
    ("attack", "named"),
    [
        ("pass", ""),
        ("os.kill(P['victim'], 9); time.sleep(0.2)", "bystander"),
        ("open(P['other'] + '/planted', 'w').close()", "planted"),
        ("print(open(P['hidden']).read())", "hidden from it"),
        (
            "if os.fork() == 0:\n    os.setsid()\n    os.closerange(0, 9)\n    if os.fork() == 0: time.sleep(60)\n    os._exit(0)",
            "left ",
        ),
        ("import socket; socket.create_connection(('127.0.0.1', P['tcp']))", "tcp"),
    ],
)
def test_a_sandbox_that_holds_nothing_is_found_out(surroundings: Surroundings, attack: str, named: str) -> None:
    adopt()
    source = f"import json, os, sys, time\nP = json.loads(sys.stdin.read())\n{attack}"

    async def examine() -> Examined:
        return await Examiner(cast(Sandbox, Unconfined()), surroundings).examine("x", source, 1, Kind.PLAIN)

    found = asyncio.run(examine())
    assert found.ending == "EXITED"
    assert found.said == []
    assert bool(found.seen) == bool(named), found.seen
    assert named in "".join(found.seen)


@pytest.fixture
def surroundings(tmp_path: Path) -> Iterator[Surroundings]:
    around = Surroundings(tmp_path)
    yield around
    around.close()


def test_nothing_changes_by_itself(surroundings: Surroundings) -> None:
    surroundings.new_bystander()
    before = surroundings.state()
    assert before == surroundings.state()
    assert surroundings.received() == []
    surroundings.end_bystander()


@pytest.mark.parametrize(
    ("attack", "named"),
    [
        ("open(P['other'] + '/secret.txt', 'a').write('x')", "secret.txt"),
        ("os.utime(P['hidden'], (1, 1))", "hidden-tests"),
        ("os.chmod(P['other'], 0o700)", "other"),
        ("open(P['other'] + '/planted', 'w').close()", "planted"),
        ("os.kill(P['victim'], 9); time.sleep(0.2)", "bystander"),
        ("os.kill(P['victim'], 19); time.sleep(0.2)", "bystander"),
        ("os.setpriority(0, P['victim'], 5)", "bystander"),
    ],
)
def test_changes_are_seen(surroundings: Surroundings, attack: str, named: str) -> None:
    surroundings.new_bystander()
    before = surroundings.state()
    source = f"import os, time\nP = {surroundings.parameters(1)!r}\n{attack}"
    subprocess.run([sys.executable, "-c", source], check=True)
    found = differences(before, surroundings.state())
    surroundings.end_bystander()
    assert any(named in text for text in found), found


def test_whoever_reaches_a_listener_is_seen(surroundings: Surroundings) -> None:
    surroundings.new_bystander()
    reach = """
import socket
socket.create_connection(("127.0.0.1", P["tcp"]))
socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("127.0.0.1", P["udp"]))
socket.socket(socket.AF_UNIX).connect("\\0" + P["abs"])
socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(b"x", "\\0" + P["absd"])
socket.socket(socket.AF_UNIX).connect(P["usock"])
"""
    source = f"P = {surroundings.parameters(1)!r}\n{reach}"
    subprocess.run([sys.executable, "-c", source], check=True)
    assert len(surroundings.received()) == 5
    assert surroundings.received() == []
    surroundings.end_bystander()


def test_survivors_and_memory_are_seen() -> None:
    async def main() -> tuple[list[str], int]:
        watch = Watch(0)
        source = "filled = b'x' * (64 << 20)\nprint(flush=True)\nimport time\ntime.sleep(60)"
        process = subprocess.Popen([sys.executable, "-c", source], stdout=subprocess.PIPE)  # noqa: ASYNC220
        assert process.stdout and process.stdout.readline()
        await asyncio.sleep(0.2)
        left = await watch.end()
        process.wait()
        return left, watch.peak_bytes

    left, peak = asyncio.run(main())
    assert len(left) == 1
    assert 64 << 20 < peak < 200 << 20


def test_what_is_wrong_with_a_result() -> None:
    good = RunResult(Ending.EXITED, b"fine")
    assert wrong_with(good, 0.1, 1 << 20, ["secret"]) == []
    too_long = RunResult(Ending.OUTPUT_LIMIT, b"x" * (LIMITS.output_bytes + 1))
    for result, seconds, peak in (
        (too_long, 0.1, 0),
        (RunResult(Ending.INFRASTRUCTURE), 0.1, 0),
        (RunResult(Ending.EXITED, stderr=b"a secret"), 0.1, 0),
        (good, LIMITS.wall_seconds + 9, 0),
        (good, 0.1, 1 << 30),
    ):
        assert len(wrong_with(result, seconds, peak, ["secret"])) == 1


def test_benign_programs_are_compared() -> None:
    rows = [Benign(name, "", b"") for name in "abcd"]
    results = [
        RunResult(Ending.EXITED, b"1"),
        RunResult(Ending.EXITED, b"2"),
        RunResult(Ending.UNSUPPORTED),
        RunResult(Ending.EXITED, b"4"),
    ]
    found = compare(rows, [b"1", b"1", b"1", None], results)
    assert (found.same, len(found.different), len(found.unsupported), len(found.broken)) == (1, 1, 1, 1)
    assert found.total == 3


def test_a_few_benign_programs_are_the_same_under_load() -> None:
    rows = read_benign([PROGRAMS / "benign.jsonl"])[:6]
    figures = asyncio.run(benign(rows))
    assert [figure.met for figure in figures] == [True, True], figures


def test_a_benign_program_that_comes_out_differently_is_a_failure() -> None:
    rows = [Benign("clock", f"print({time.time()} if __import__('os').getenv('PATH') else 0)", b"")]
    figures = asyncio.run(benign(rows))
    assert figures[0].met is False


def test_what_could_not_be_measured_is_not_counted(capsys: pytest.CaptureFixture[str]) -> None:
    met, missed = Figure("a", "1", "1", True), Figure("b", "2", "1", False)
    assert report([met, Figure("c", "not measured: no runsc", "1", None)]) == 0
    assert capsys.readouterr().out.splitlines()[-2:] == ["1 not measured", "1 of 1 bars met"]
    assert report([met, missed]) == 1
