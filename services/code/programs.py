"""Judges whole programs: one fresh process for each case, which sees that case's input and no expected output."""

from __future__ import annotations

from sandbox.results import Ending
from services.code.checks import Case, CodeChecks
from services.code.compare import same_output, shown
from services.code.desk import Desk
from services.code.judgement import LIMITED, Judgement, Label, Tally, ending_evidence, label_of


def judge_cases(source: str, checks: CodeChecks, desk: Desk) -> Judgement:
    """Runs the cases in order. Raises SandboxFailedError, OutOfTimeError and what the client raises.

    With `score = "all"` the first case that fails ends it. With "share" the others are run as well, but not after one
    that met a limit: an endless loop would have to be waited for once a case.
    """
    cases = checks.cases or []
    tally = Tally(len(cases))
    for number, case in enumerate(cases, 1):
        label, evidence = _judge_case(source, case, checks, desk)
        tally.add(label, {"case": f"{number} of {len(cases)}", "stdin": shown(case.stdin), **evidence})
        if label is not Label.PASS and (checks.score == "all" or label in LIMITED or label is Label.SYNTAX_ERROR):
            break
    return tally.judgement


def _judge_case(source: str, case: Case, checks: CodeChecks, desk: Desk) -> tuple[Label, dict[str, str]]:
    if desk.is_exhausted:
        return Label.TIMEOUT_WALL, {"detail": "the cases before it took all the time of the item"}
    result = desk.execute(source, case.stdin)
    if result.ending is not Ending.EXITED:
        return label_of(result), ending_evidence(result)
    if same_output(case.stdout, result.stdout, checks.compare, checks.tolerance):
        return Label.PASS, {}
    got = result.stdout.decode("utf-8", "replace")
    return Label.FAIL, {"expected": shown(case.stdout), "got": shown(got)}
