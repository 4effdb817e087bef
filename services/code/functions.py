"""Judges a function by its values: arguments go to the candidate's process, plain values come back and are compared here.

The expected values never leave this process. The calls share one interpreter, so what the candidate keeps between
calls is kept; each call gets arguments of its own.
"""

from __future__ import annotations

from contextlib import ExitStack

from sandbox.frames import NOT_DEFINED
from sandbox.results import Ending, Raised, SessionEndedError
from sandbox.values import BeyondBoundsError, NotPlainError, decode, encode
from services.client.sandbox import SandboxSession
from services.code.checks import Call, CodeChecks
from services.code.compare import difference, shown
from services.code.desk import Desk
from services.code.judgement import BadItemError, Judgement, Label, Tally, ending_evidence, judge_load, label_of

RAISED_LABELS = {
    NotPlainError.__name__: Label.WRONG_TYPE,
    BeyondBoundsError.__name__: Label.OUTPUT_LIMIT,
    NOT_DEFINED: Label.LOAD_ERROR,
    "MemoryError": Label.MEMORY,
}
"""Labels of calls that raised; others are crashes."""

_LENGTH_FACTOR, _LENGTH_EXTRA = 8, 1 << 16


def judge_calls(source: str, entry_point: str, checks: CodeChecks, desk: Desk) -> Judgement:
    """Makes the calls in order. Raises SandboxFailedError, OutOfTimeError and what the client raises.

    With `score = "all"` the first call that fails ends it; with "share" only the end of the process does.
    """
    calls = checks.calls or []
    tally = Tally(len(calls))
    with ExitStack() as stack:
        try:
            session = stack.enter_context(desk.session(source, share=1.0))
        except SessionEndedError as error:
            return judge_load(error.result, len(calls))
        for number, call in enumerate(calls, 1):
            what = {"call": f"{number} of {len(calls)}: {_text(entry_point, call)}"}
            try:
                label, evidence = _judge_call(session, entry_point, call, checks.tolerance)
            except SessionEndedError as error:
                tally.add(label_of(error.result), what | ending_evidence(error.result))
                return tally.judgement
            tally.add(label, what | evidence)
            if label is not Label.PASS and checks.score == "all":
                return tally.judgement
        end = session.close()
    if end.ending is not Ending.EXITED:
        tally.spoil(label_of(end), ending_evidence(end))
    return tally.judgement


def _judge_call(
    session: SandboxSession, entry_point: str, call: Call, tolerance: float | None
) -> tuple[Label, dict[str, str]]:
    try:
        args, kwargs, expected = encode(call.args), encode(call.kwargs), encode(call.expected)
    except NotPlainError as error:
        raise BadItemError(f"checks.calls: {error}") from None
    outcome = session.call(entry_point, args, kwargs)
    if isinstance(outcome, Raised):
        label = RAISED_LABELS.get(outcome.type, Label.CRASH)
        return label, {"raised": f"{outcome.type}: {outcome.message}"}
    # A value far longer than the right one is wrong, and reading it could take longer than writing it did.
    if len(outcome.value) > _LENGTH_FACTOR * len(expected) + _LENGTH_EXTRA:
        return Label.FAIL, {"difference": f"expected {shown(call.expected)}, got {len(outcome.value)} characters"}
    try:
        got = decode(outcome.value)
    except NotPlainError as error:
        return Label.TAMPER, {"detail": f"the process sent what is no value: {error}"}
    found = difference(call.expected, got, tolerance)
    if found is None:
        return Label.PASS, {}
    return Label.WRONG_TYPE if found.of_type else Label.FAIL, {"difference": str(found)}


def _text(entry_point: str, call: Call) -> str:
    named = [f"{name}={shown(value)}" for name, value in call.kwargs.items()]
    return f"{entry_point}({', '.join([*map(shown, call.args), *named])})"
