"""Judges a function by test code: `check(candidate)` runs in one sandbox session, the candidate in another.

The checker's `candidate` is a proxy. Each of its calls comes to this process, goes on to the candidate's session and
comes back as a plain value or as a built-in exception. So the test's expected values never enter the candidate's
process, nothing of the candidate's (no `__eq__`, no patched `len`, no `sys.exit`) enters the checker's, and what counts
is counted here: a pass needs a candidate that was called, a `check` that returned, and a sound end of both.
"""

from __future__ import annotations

from contextlib import ExitStack

from sandbox.frames import NOT_DEFINED
from sandbox.results import CallOutcome, Ending, Raised, RunResult, SessionEndedError
from sandbox.values import NotPlainError, decode
from services.client.sandbox import SandboxSession
from services.code.answer import preamble
from services.code.desk import Desk
from services.code.functions import RAISED_LABELS
from services.code.judgement import (
    LIMITED,
    BadItemError,
    Judgement,
    Label,
    ending_evidence,
    judge_load,
    label_of,
)

_PROXY = "__candidate__"
_RUN = "__run__"
_TESTS_FAULT = frozenset({"NameError", "ImportError", "ModuleNotFoundError", "SyntaxError", NotPlainError.__name__})
"""What a test raises for reasons of its own, unless the candidate raised it: no plain value leads to these."""


def judge_test(source: str, entry_point: str, test: str, prompt: str, desk: Desk) -> Judgement:
    """Runs the test. Raises BadItemError, SandboxFailedError, OutOfTimeError and what the client raises."""
    with ExitStack() as stack:
        try:
            session = stack.enter_context(desk.session(source, share=0.5))
        except SessionEndedError as error:
            return judge_load(error.result, total=1)
        candidate = _Candidate(session, entry_point)
        try:
            checker = stack.enter_context(
                desk.session(_checker_source(entry_point, test, prompt), share=0.5, callbacks={_PROXY: candidate.call})
            )
            outcome = checker.call(_RUN, "[]")
            checker_end = checker.close()
        except SessionEndedError as error:
            return _judge_dead_checker(error.result, candidate)
        except _CandidateFailedError as error:
            return error.judgement
        return _judge(outcome, checker_end, session.close(), candidate)


def _checker_source(entry_point: str, test: str, prompt: str) -> str:
    """What the prompt defines, with the candidate in the place of the function to write; the test; how to run it."""
    return f"{preamble(prompt)}\n{entry_point} = {_PROXY}\n{test}\n\ndef {_RUN}():\n    check({_PROXY})\n"


class _CandidateFailedError(Exception):
    """The candidate can answer no more, so the test needs not go on."""

    def __init__(self, judgement: Judgement) -> None:
        super().__init__(judgement.label)
        self.judgement = judgement


class _Candidate:
    """The candidate's session as the checker's callback. Counts calls and keeps what they raised."""

    def __init__(self, session: SandboxSession, entry_point: str) -> None:
        self._session = session
        self._entry_point = entry_point
        self.calls = 0
        self.raised: dict[str, str] = {}

    def call(self, args: str, kwargs: str) -> CallOutcome:
        """Raises _CandidateFailedError where the process is gone, or has answered with what is no value."""
        try:
            outcome = self._session.call(self._entry_point, args, kwargs)
        except SessionEndedError as error:
            evidence = {"call": str(self.calls + 1), **ending_evidence(error.result)}
            raise _CandidateFailedError(Judgement(label_of(error.result), evidence=evidence)) from error
        self.calls += 1
        if isinstance(outcome, Raised):
            self.raised.setdefault(outcome.type, outcome.message)
            if outcome.type == NOT_DEFINED:
                raise _CandidateFailedError(Judgement(Label.LOAD_ERROR, evidence={"detail": outcome.message}))
            return outcome
        try:
            decode(outcome.value)
        except NotPlainError as error:
            detail = f"the process sent what is no value: {error}"
            raise _CandidateFailedError(Judgement(Label.TAMPER, evidence={"detail": detail})) from error
        return outcome


def _judge(outcome: CallOutcome, checker_end: RunResult, candidate_end: RunResult, candidate: _Candidate) -> Judgement:
    """The judgement where the test ran to its end."""
    if isinstance(outcome, Raised):
        return _judge_raised(outcome, candidate)
    if candidate.calls == 0:
        raise BadItemError("checks.test: check(candidate) returned without calling the candidate")
    for end in (candidate_end, checker_end):
        if end.ending is not Ending.EXITED:
            return Judgement(label_of(end), evidence=ending_evidence(end))
    return Judgement(Label.PASS, passed=1, evidence={"calls": str(candidate.calls)})


def _judge_raised(outcome: Raised, candidate: _Candidate) -> Judgement:
    if outcome.type in _TESTS_FAULT and outcome.type not in candidate.raised:
        raise BadItemError(f"checks.test: check(candidate) raised {outcome.type}, which the candidate did not raise")
    evidence = {"calls": str(candidate.calls), "raised": f"{outcome.type}: {outcome.message}".removesuffix(": ")}
    for kind, message in candidate.raised.items():
        evidence[f"candidate raised {kind}"] = message
    unplain = [RAISED_LABELS[kind] for kind in candidate.raised if kind in RAISED_LABELS]
    return Judgement(unplain[0] if unplain else Label.FAIL, evidence=evidence)


def _judge_dead_checker(result: RunResult, candidate: _Candidate) -> Judgement:
    """A checker that met a limit after it had called the candidate met it, perhaps, by the candidate's doing."""
    label = label_of(result)
    if candidate.calls and label in LIMITED:
        return Judgement(label, evidence={"calls": str(candidate.calls), **ending_evidence(result)})
    raise BadItemError(f"checks.test: the test code's process ended by itself ({label.value})")
