"""Test code against a candidate: two processes that meet over a socket of their own.

They come from different servers, so nothing of the test was ever in the candidate's ancestors, and nothing of the
candidate in the checker's. The test code asks, call by call; what it has asked, asserted and seen raised it tells the
owner in its report, which the candidate cannot reach.
"""

from __future__ import annotations

import asyncio
import hashlib
import socket
from contextlib import ExitStack
from dataclasses import replace

from sandbox.endings import Notes
from sandbox.jobs import Trial
from sandbox.results import Ending, Limits, Raised, RunResult, TrialResult
from sandbox.run import Process
from sandbox.server import Server

_DEATH_SECONDS = 0.5
"""A candidate whose test code is gone has this long to end; one that lives on has closed its socket on purpose."""
_LATER_SECONDS = 1.0
"""How much later than the test code's the candidate's wall limit is: it is the test code that can tell who held it up."""
_MOST_COMPILED = 64


async def run_trial(trial: Trial, limits: Limits, candidates: Server, checkers: Server) -> TrialResult:
    """Runs the trial. Raises ServerError and OSError where a process cannot be ordered."""
    key = hashlib.sha256(trial.test.encode("utf-8", "surrogatepass")).hexdigest()
    known = checkers.compiled.get(key, "")
    test = ["checker", trial.test, known, str(len(trial.names)), *trial.names, *trial.modules]
    later = replace(limits, wall_seconds=limits.wall_seconds + _LATER_SECONDS)
    ours, theirs = socket.socketpair()
    with ExitStack() as stack:
        with ours, theirs:
            candidate = stack.enter_context(Process(candidates, ["candidate", trial.source], b"", later, ours))
            try:
                checker = stack.enter_context(Process(checkers, test, b"", limits, theirs))
            except BaseException:
                candidate.stop(Ending.INFRASTRUCTURE, "there is no test for it")
                await candidate.wait()
                raise
        try:
            await checker.wait()
            notes = checker.notes()
            if notes.verdict[:1] != ["finished"]:
                if not _held_up(notes):
                    await asyncio.wait([candidate.future], timeout=_DEATH_SECONDS)
                _stop(candidate, notes)
            await candidate.wait()
        except BaseException:
            for process in (candidate, checker):
                process.stop(Ending.INFRASTRUCTURE, "the owner gave up")
            await asyncio.shield(asyncio.gather(candidate.wait(), checker.wait()))
            raise
        if notes.compiled and not known:
            _keep(checkers.compiled, key, notes.compiled)
        loaded = candidate.notes().is_ready
        return _result(candidate.result(), checker.result(), notes, loaded)


def _keep(compiled: dict[str, str], key: str, text: str) -> None:
    """Keeps what test code was compiled to: the many answers to one task are judged by the same code. It was compiled and
    sealed before any of it ran: a test that executes what an answer gives it must not judge other answers by that."""
    while len(compiled) >= _MOST_COMPILED:
        del compiled[next(iter(compiled))]
    compiled[key] = text


def _held_up(notes: Notes) -> bool:
    """Whether the test was still waiting for the candidate when its own time was over."""
    return notes.waits and not notes.verdict


def _stop(candidate: Process, notes: Notes) -> None:
    """Ends a candidate that lives on though nobody asks it any more."""
    if notes.waits:
        candidate.stop(Ending.WALL_LIMIT, "did not answer within the time of the test")
    elif notes.verdict[:1] == ["broke"]:
        candidate.stop(Ending.EXITED, "the test has ended before it")
    else:
        candidate.stop(Ending.TAMPERED, "closed its channel and went on")


def _result(candidate: RunResult, checker: RunResult, notes: Notes, loaded: bool) -> TrialResult:
    """loaded: whether the candidate says that its source was executed; what was asked of another one is no call."""
    kind, *rest = notes.verdict or [""]
    executed, expected = _counts(rest)
    in_call = kind == "gone" or (not kind and notes.waits)
    if kind == "gone" and rest[0] != "gone" and candidate.ending in (Ending.EXITED, Ending.RAISED):
        candidate = replace(candidate, ending=Ending.TAMPERED, detail=rest[0])
    return TrialResult(
        candidate=candidate,
        checker=checker,
        finished=kind == "finished",
        raised=Raised(rest[1], rest[2]) if kind == "broke" else None,
        failed_test=rest[0] if kind == "broke" else "",
        executed=executed,
        expected=expected,
        calls=notes.calls if loaded or not in_call else 0,
        candidate_raised=tuple(notes.raised),
        in_call=in_call,
    )


def _counts(fields: list[str]) -> tuple[int, int]:
    try:
        executed, expected = (int(text) for text in fields[-2:])
    except ValueError:
        return 0, 1
    return executed, expected
