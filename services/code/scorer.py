"""The code scorer: finds the code in a response, runs it in the sandbox service and judges what comes back."""

from __future__ import annotations

import time
from collections.abc import Sequence

import grpc
from tenacity import RetryCallState, Retrying, retry_if_exception_type

from sandbox.spawn import MAX_SOURCE_CHARACTERS
from services.client.channel import ServiceError, ServiceUnavailableError
from services.client.sandbox import SandboxClient
from services.code.answer import Answer, compose, find_code
from services.code.checker import judge_test
from services.code.checks import CodeChecks, read_checks
from services.code.desk import Desk, OutOfTimeError
from services.code.functions import judge_calls
from services.code.judgement import BadItemError, Judgement, Label, SandboxFailedError
from services.code.programs import judge_cases
from services.verdicts import Component, ErrorReason, Item, ItemError, Outcome, Verdict

_ATTEMPTS = 5
_FIRST_PAUSE_SECONDS = 0.1
_MARGIN = 0.95
"""Of an item's time, what is used; its worker is killed at the end of all of it."""


class CodeScorer:
    """A `services.verdicts.Scorer`. Calls the sandbox service at ASSAY_SANDBOX_ADDRESS."""

    name = "code"
    version = "1"
    components = (
        Component("code/tests", "1 where all cases, calls or the test pass, or the share that passes; see `score`."),
        Component("code/compiles", "Whether the code compiles; not whether it runs."),
        Component(
            "code/format", "Whether the code is in a closed fenced block, or is all of the response and compiles."
        ),
    )
    checks = CodeChecks
    batch_size = 1
    timeout_seconds = 60.0

    def __init__(self) -> None:
        self._client: SandboxClient | None = None

    def score(self, items: Sequence[Item]) -> list[Outcome]:
        return [self._score(item) for item in items]

    def _score(self, item: Item) -> Outcome:
        checks = read_checks(item.checks)
        answer = find_code(item.response, checks.entry_point)
        if not answer.code.strip():
            return _verdict(answer, checks, Judgement(Label.NO_CODE))
        source = answer.code if checks.entry_point is None else compose(item.prompt, answer.code, checks.entry_point)
        if len(source) > MAX_SOURCE_CHARACTERS:
            evidence = {"detail": f"the source has {len(source)} characters; at most {MAX_SOURCE_CHARACTERS} are run"}
            return _verdict(answer, checks, Judgement(Label.LOAD_ERROR, evidence=evidence))
        try:
            return _verdict(answer, checks, self._judge_patiently(item, checks, source))
        except BadItemError as error:
            return ItemError(ErrorReason.INVALID_ITEM, str(error))
        except OutOfTimeError:
            return ItemError(ErrorReason.DEADLINE, "the sandbox was too busy to run the item in its time")
        except SandboxFailedError as error:
            return ItemError(ErrorReason.UNAVAILABLE, f"the sandbox failed under the item: {error}")
        except ServiceUnavailableError as error:
            late = error.code is grpc.StatusCode.DEADLINE_EXCEEDED
            return ItemError(ErrorReason.DEADLINE if late else ErrorReason.UNAVAILABLE, str(error))
        except ServiceError as error:
            if error.code is grpc.StatusCode.INVALID_ARGUMENT:
                return ItemError(ErrorReason.INVALID_ITEM, f"the sandbox refuses the item's checks: {error.details}")
            raise

    def _judge_patiently(self, item: Item, checks: CodeChecks, source: str) -> Judgement:
        """Judges, again where the sandbox fails or is full: judging changes nothing, so it may be done anew."""
        deadline = time.monotonic() + _MARGIN * (item.timeout_seconds or self.timeout_seconds)

        def is_enough(state: RetryCallState) -> bool:
            return state.attempt_number >= _ATTEMPTS or time.monotonic() + state.upcoming_sleep >= deadline

        retrying = Retrying(
            retry=retry_if_exception_type((ServiceUnavailableError, SandboxFailedError)),
            wait=_pause_seconds,
            stop=is_enough,
            reraise=True,
        )
        return retrying(self._judge, item, checks, source, deadline)

    def _judge(self, item: Item, checks: CodeChecks, source: str, deadline: float) -> Judgement:
        if self._client is None:
            self._client = SandboxClient()
        desk = Desk(self._client, checks, item.trace_id or item.id, deadline - time.monotonic())
        if checks.entry_point is None:
            return judge_cases(source, checks, desk)
        if checks.test is None:
            return judge_calls(source, checks.entry_point, checks, desk)
        return judge_test(source, checks.entry_point, checks.test, item.prompt, desk)


def _pause_seconds(state: RetryCallState) -> float:
    """The sandbox's own hint, or a pause that doubles."""
    error = state.outcome.exception() if state.outcome else None
    hint = error.retry_after_seconds if isinstance(error, ServiceUnavailableError) else None
    return (hint or 0.0) + _FIRST_PAUSE_SECONDS * 2.0 ** (state.attempt_number - 1)


def _verdict(answer: Answer, checks: CodeChecks, judgement: Judgement) -> Verdict:
    share = judgement.passed / judgement.total
    passes = judgement.label is Label.PASS and judgement.passed == judgement.total
    compiles = 1.0 if judgement.compiles else 0.0
    components = {
        "code/tests": share if checks.score == "share" else float(passes),
        "code/compiles": compiles,
        "code/format": 1.0 if answer.fenced else compiles * answer.bare,
    }
    return Verdict(components, judgement.label.value, judgement.evidence)
