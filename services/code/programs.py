"""Judges whole programs: one fresh process for each case, which sees that case's input and no expected output.

The first case goes alone, the others some at a time. Outputs are compared here, or by a checker program, which runs in
processes that no candidate has ever been in: what is expected is known there only.
"""

from __future__ import annotations

from collections.abc import Sequence

from sandbox.jobs import Call, Calls, Kind, Language, Program
from sandbox.results import Ending, Raised, RunResult
from sandbox.values import NotPlainError, encode
from services.code.budget import Budget, Steps, processes
from services.code.checks import Case, CodeChecks
from services.code.compare import same_output, shown
from services.code.judgement import LABELS, LIMITED, BadItemError, Judgement, Label, Tally, ending_evidence

Opinion = tuple[Label, dict[str, str]]

_LOADED = "__loaded__"
_PROBE = f"""

def {_LOADED}():
    import inspect
    inspect.signature(check).bind("stdin", "expected", "got")
"""
_TESTS_FAULT = frozenset({"NameError", "UnboundLocalError", "ImportError", "ModuleNotFoundError", "NotDefinedError"})
"""What a checker raises for reasons of its own: no output leads to these."""


def judge_cases(source: str, checks: CodeChecks, budget: Budget) -> Steps[Judgement]:
    """Runs the cases in order. Raises BadItemError.

    With `score = "all"` the first case that fails ends it. With "share" the others are run as well, but not after one
    that met a limit: an endless loop would have to be waited for once a case.
    """
    cases = checks.cases or []
    tally = Tally(len(cases))
    made = 0
    while made < len(cases):
        wave = cases[made : made + (budget.width if made else 1)]
        results = yield from _run(source, wave, checks, budget)
        opinions = yield from _opinions(wave[: len(results)], results, checks, budget)
        for case, (label, evidence) in zip(wave, opinions, strict=False):
            made += 1
            tally.add(label, {"case": f"{made} of {len(cases)}", "stdin": shown(case.stdin), **evidence})
            if _ends(label, checks):
                return tally.judgement
        tally.cpu_seconds += sum(result.cpu_seconds for result in results)
    return tally.judgement


def _ends(label: Label, checks: CodeChecks) -> bool:
    return label is not Label.PASS and (checks.score == "all" or label in LIMITED or label is Label.SYNTAX_ERROR)


def _run(source: str, wave: Sequence[Case], checks: CodeChecks, budget: Budget) -> Steps[list[RunResult]]:
    """The results of the cases, up to the first that needs no others after it."""
    language = Language(checks.language)
    jobs = [Program(source, case.stdin.encode("utf-8", "surrogatepass"), language) for case in wave]
    tries = yield from budget.attempt(jobs)
    results: list[RunResult] = []
    for job, tried in zip(jobs, tries, strict=True):
        (result,) = processes((yield from budget.complete(job, tried)))
        if result.ending is Ending.UNSUPPORTED and language is not Language.PYTHON:
            raise BadItemError(f"checks.language: this sandbox cannot run {language.value}")
        results.append(result)
        if result.ending is not Ending.EXITED and _ends(LABELS[result.ending], checks):
            break
    return results


def _opinions(
    cases: Sequence[Case], results: Sequence[RunResult], checks: CodeChecks, budget: Budget
) -> Steps[list[Opinion]]:
    """Of each result, in order."""
    if checks.checker is None:
        return [_opinion(case, result, checks) for case, result in zip(cases, results, strict=True)]
    opinions: list[Opinion] = []
    for case, result in zip(cases, results, strict=True):
        opinions.append((yield from _checked(case, result, checks.checker, budget)))
        if _ends(opinions[-1][0], checks):
            break
    return opinions


def _opinion(case: Case, result: RunResult, checks: CodeChecks) -> Opinion:
    if result.ending is not Ending.EXITED:
        return LABELS[result.ending], ending_evidence(result)
    if same_output(case.stdout, result.stdout, checks.compare, checks.tolerance):
        return Label.PASS, {}
    return Label.FAIL, {"expected": shown(case.stdout), "got": shown(_text(result))}


def _checked(case: Case, result: RunResult, checker: str, budget: Budget) -> Steps[Opinion]:
    """What the checker program says of a program's output. Raises BadItemError where it fails by itself."""
    if result.ending is not Ending.EXITED:
        return LABELS[result.ending], ending_evidence(result)
    evidence = {"expected": shown(case.stdout), "got": shown(_text(result))}
    try:
        args = encode([case.stdin, case.stdout, _text(result)])
    except NotPlainError:
        return Label.OUTPUT_LIMIT, {"detail": "the output is longer than what a checker can be given"}
    job = Calls(checker + _PROBE, (Call(_LOADED), Call("check", args)))
    end = yield from budget.run(job, Kind.CHECKER)
    if not end.outcomes:
        raise BadItemError(f"checks.checker: it could not be loaded ({LABELS[end.ending].value})")
    if isinstance(end.outcomes[0], Raised) and end.outcomes[0].type == TypeError.__name__:
        raise BadItemError("checks.checker: check does not take three arguments; define check(stdin, expected, got)")
    if len(end.outcomes) == 1:  # it was busy with the output, which may be made for that
        label = LABELS[end.ending]
        return label if label in LIMITED else Label.FAIL, evidence | {"checker": end.detail or label.value}
    said = end.outcomes[1]
    if isinstance(said, Raised):
        if said.type in _TESTS_FAULT:
            raise BadItemError(f"checks.checker: check(stdin, expected, got) raised {said.type}")
        return Label.FAIL, evidence | {"checker": f"raised {said.type}: {said.message}"}
    sound = end.ending is Ending.EXITED and said.value == "true"
    return Label.PASS if sound else Label.FAIL, evidence | {"checker": f"returned {shown(said.value)}"}


def _text(result: RunResult) -> str:
    return result.stdout.decode("utf-8", "replace")
