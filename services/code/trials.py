"""Judges a function by test code, which runs in one process and calls the candidate in another.

What the test code asks of the candidate's names goes to the candidate's process and comes back as a plain value, as an
object that is compared by identity, or as a built-in exception. So what is expected never enters the candidate's
process, nothing of the candidate's (no `__eq__`, no patched `len`, no `sys.exit`) enters the test's, and what counts is
counted outside of both: see `sandbox.results.TrialResult` for what a pass needs.
"""

from __future__ import annotations

import re

from sandbox.jobs import Trial
from sandbox.results import Ending, Raised, TrialResult
from services.code.budget import Budget, Steps
from services.code.functions import NOT_DEFINED, RAISED_LABELS
from services.code.judgement import (
    LABELS,
    LIMITED,
    BadItemError,
    Judgement,
    Label,
    ending_evidence,
    judge_load,
)

_TESTS_FAULT = frozenset({"NameError", "ImportError", "ModuleNotFoundError", "SyntaxError", "NotPlainError"})
"""What a test raises for reasons of its own, unless the candidate raised it: no value leads to these. Not among them:
UnboundLocalError, of a loop over nothing, or of a `try` that was left early."""
_ASSERT = re.compile(r"\bassert\b")
"""The statement; not `numpy.testing.assert_equal` and its like, which nobody counts."""


def judge_trial(trial: Trial, budget: Budget) -> Steps[Judgement]:
    """Runs the test. Raises BadItemError where the test fails by itself."""
    result = yield from budget.run(trial)
    judgement = _judged(trial, result)
    return Judgement(
        judgement.label, judgement.passed, judgement.total, judgement.evidence, result.candidate.cpu_seconds
    )


def _judged(trial: Trial, result: TrialResult) -> Judgement:
    candidate, checker = result.candidate, result.checker
    calls = {"calls": str(result.calls)}
    if candidate.ending is not Ending.EXITED:
        if result.calls == 0:
            return judge_load(candidate, 1)
        return Judgement(LABELS[candidate.ending], evidence=calls | ending_evidence(candidate))
    if result.in_call and result.calls == 0:
        return judge_load(candidate, 1)
    if result.in_call:
        detail = "the process ended in the middle of a call"
        return Judgement(Label.CRASH, evidence=calls | {"detail": detail, **_stderr(result)})
    if result.raised is not None:
        return _judge_raised(result.raised, result)
    if checker.ending is not Ending.EXITED:
        return _judge_dead_checker(result)
    if not result.finished:
        raise BadItemError("checks.test: the test code's process ended by itself, before the test was over")
    if result.calls == 0:
        raise BadItemError("checks.test: the test ended without calling the candidate")
    if result.executed == 0 and not _ASSERT.search(trial.test):
        raise BadItemError(
            "checks.test: it asserts nothing; a pass needs an `assert`, or a method `assert...`, that held"
        )
    counts = {"assertions": f"{result.executed} held; {result.expected} or more are reached where all is well"}
    if result.executed < max(1, result.expected):
        return Judgement(Label.FAIL, evidence=calls | counts)
    return Judgement(Label.PASS, passed=1, evidence=calls | counts)


def _judge_raised(raised: Raised, result: TrialResult) -> Judgement:
    """The test raised. What it raises for want of a name that it imports from the candidate is the candidate's doing."""
    by_candidate = {each.type: each.message for each in result.candidate_raised}
    if NOT_DEFINED in by_candidate:
        return Judgement(Label.LOAD_ERROR, evidence={"detail": by_candidate[NOT_DEFINED]})
    if result.calls == 0 and "AttributeError" in by_candidate:
        return Judgement(Label.LOAD_ERROR, evidence={"detail": by_candidate["AttributeError"]})
    # What is written wrong in the test is known before it calls anybody; later it may be a text of the candidate's.
    is_of_a_text = raised.type == "SyntaxError" and result.calls > 0
    if raised.type in _TESTS_FAULT and raised.type not in by_candidate and not is_of_a_text:
        raise BadItemError(f"checks.test: the test raised {raised.type}, which the candidate did not raise")
    evidence = {"calls": str(result.calls), "raised": f"{raised.type}: {raised.message}".removesuffix(": ")}
    if result.failed_test not in ("", "check"):
        evidence["test"] = result.failed_test
    for kind, message in by_candidate.items():
        evidence[f"candidate raised {kind}"] = message
    unplain = [RAISED_LABELS[kind] for kind in by_candidate if kind in RAISED_LABELS]
    return Judgement(unplain[0] if unplain else Label.FAIL, evidence=evidence)


def _judge_dead_checker(result: TrialResult) -> Judgement:
    """The test code's process did not end as it should.

    One that met a limit after it had called the candidate met it, perhaps, by the candidate's doing. One that raised
    while its module was executed has tests there.
    """
    checker = result.checker
    label = LABELS[checker.ending]
    asked = result.calls or result.candidate_raised
    if asked and label in LIMITED:
        return Judgement(label, evidence={"calls": str(result.calls), **ending_evidence(checker)})
    if asked and checker.ending in (Ending.RAISED, Ending.UNSUPPORTED) and checker.detail:
        kind, _, message = checker.detail.partition(": ")
        if not kind.startswith("exit code"):
            return _judge_raised(Raised(kind, message), result)
    raise BadItemError(f"checks.test: the test code's process ended by itself ({label.value}: {_safe(checker.detail)})")


def _safe(detail: str) -> str:
    """What a detail says without quoting the test: the type of the exception."""
    return detail.partition(":")[0]


def _stderr(result: TrialResult) -> dict[str, str]:
    text = result.candidate.stderr[-500:].decode("utf-8", "replace")
    return {"stderr": text} if text else {}
