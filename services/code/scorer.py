"""The code scorer: finds the code in responses, has it run in the sandbox service and judges what comes back."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass

from sandbox.jobs import MAX_SOURCE_CHARACTERS, Trial
from services.client.sandbox import AsyncSandboxClient
from services.code.answer import Answer, compose, defines, find_code, helpers, preamble
from services.code.budget import Budget, Steps
from services.code.checks import CodeChecks, read_checks
from services.code.desk import Desk
from services.code.functions import judge_calls, judge_literal
from services.code.judgement import BadItemError, Judgement, Label
from services.code.literal import read_test
from services.code.programs import judge_cases
from services.code.shared import judge_shared
from services.code.style import Source, StyleError, styles
from services.code.trials import judge_trial
from services.verdicts import Component, ErrorReason, Item, ItemError, Outcome, Verdict

_MARGIN = 0.95
"""Of an item's time, what is used; its worker is killed at the end of all of it."""
_FULL_RUNS = 4
"""Of a worker, at once in the sandbox. So many endless loops with the default limits end within an item's time where the
sandbox runs one long program at a time for every two workers."""
_LEAST_CPU_SECONDS = 0.01
"""Shorter times are taken for this: below it, starting and noise are most of what is measured."""


@dataclass(frozen=True, slots=True)
class _Judged:
    judgement: Judgement
    efficiency: float | None


@dataclass(frozen=True, slots=True)
class _Paper:
    """An item, read."""

    item: Item
    checks: CodeChecks
    answer: Answer


class CodeScorer:
    """A `services.verdicts.AsyncScorer`. Calls the sandbox service at ASSAY_SANDBOX_ADDRESS."""

    name = "code"
    version = "2"
    components = (
        Component("code/tests", "1 where all cases, calls or the test pass, or the share that passes; see `score`."),
        Component("code/compiles", "Whether the code compiles; not whether it runs."),
        Component("code/format", "Whether there is one answer, in a fenced block of the language that is closed."),
        Component(
            "code/style",
            "1 / (1 + p), p being what ruff finds in ten lines of code; 0 where it does not parse. Only where the checks"
            " have `style`.",
        ),
        Component(
            "code/efficiency",
            "The reference's CPU time by the answer's, at most 1; 0 where the answer does not pass. Times below 10 ms are"
            " taken for 10 ms; those of two runs of one program differ by some 10 percent. Only where the checks have"
            " `reference` or `reference_cpu_seconds`.",
        ),
    )
    checks = CodeChecks
    batch_size = 16
    timeout_seconds = 60.0
    concurrency = 48

    def __init__(self) -> None:
        self._client: AsyncSandboxClient | None = None
        self._turns = asyncio.Semaphore(_FULL_RUNS)

    async def score(self, items: Sequence[Item]) -> list[Outcome]:
        """One outcome for each item, in order; all are judged side by side."""
        start = time.monotonic()
        caller = secrets.token_hex(8)  # so that the sandbox serves chunks in turn, whatever is in them
        if self._client is None:
            self._client = AsyncSandboxClient()
        papers = [_read(item) for item in items]
        judgings = []
        for paper in papers:
            seconds = _MARGIN * (paper.item.timeout_seconds or self.timeout_seconds)
            judgings.append((_judge(paper, seconds, caller), start + seconds))
        judged = await Desk[_Judged](self._client, self._turns).judge(judgings)
        asking = [
            paper
            for paper, each in zip(papers, judged, strict=True)
            if paper.checks.style and isinstance(each, _Judged)
        ]
        styled = await asyncio.to_thread(_style, asking) if asking else {}
        return [
            each if isinstance(each, ItemError) else _verdict(paper, each, styled.get(paper.item.id))
            for paper, each in zip(papers, judged, strict=True)
        ]


def _read(item: Item) -> _Paper:
    checks = read_checks(item.checks)
    return _Paper(item, checks, find_code(item.response, checks.entry_point, checks.language))


def _judge(paper: _Paper, seconds: float, caller: str) -> Steps[_Judged]:
    """Judges an answer, and the reference after one that passes. Raises BadItemError."""
    item, checks = paper.item, paper.checks
    budget = Budget(checks, seconds, item.trace_id or item.id, caller)
    judgement = yield from _judge_code(paper.answer.code, item.prompt, checks, budget)
    if checks.reference is None and checks.reference_cpu_seconds is None:
        return _Judged(judgement, None)
    if not judgement.passes:
        return _Judged(judgement, 0.0)
    reference_seconds = checks.reference_cpu_seconds
    if checks.reference is not None:
        code = find_code(checks.reference, checks.entry_point, checks.language).code
        reference = yield from _judge_code(code, item.prompt, checks, budget)
        if not reference.passes:
            raise BadItemError(f"checks.reference: it does not pass ({reference.label.value})")
        reference_seconds = reference.cpu_seconds
    least = _LEAST_CPU_SECONDS
    return _Judged(judgement, min(1.0, max(reference_seconds or 0.0, least) / max(judgement.cpu_seconds, least)))


def _judge_code(code: str, prompt: str, checks: CodeChecks, budget: Budget) -> Steps[Judgement]:
    """Raises BadItemError."""
    if not code.strip():
        return Judgement(Label.NO_CODE)
    name = checks.entry_point
    source = code if name is None else compose(prompt, code, name)
    if len(source) > MAX_SOURCE_CHARACTERS:
        detail = f"the source has {len(source)} characters; at most {MAX_SOURCE_CHARACTERS} are run"
        return Judgement(Label.LOAD_ERROR, evidence={"detail": detail})
    if name is None:
        return (yield from judge_cases(source, checks, budget))
    if checks.test is None:
        return (yield from judge_calls(source, name, checks, budget))
    if checks.shared:
        return (yield from judge_shared(source, checks.test, checks, budget))
    literal = read_test(checks.test, name, preamble(prompt), tuple(checks.modules))
    read = None
    if literal is not None:
        read = yield from judge_literal(source, literal, budget)
        if read.label is not Label.WRONG_TYPE:
            return read
    # What a test makes of a generator, or of an object, shows only where it is run: `list(candidate(3)) == [0, 1, 2]`.
    test = f"{helpers(prompt, name)}\n{checks.test}"
    if len(test) > MAX_SOURCE_CHARACTERS:
        raise BadItemError(f"checks.test: it has {len(test)} characters; at most {MAX_SOURCE_CHARACTERS} are run")
    judgement = yield from judge_trial(Trial(source, test, (name,), tuple(checks.modules)), budget)
    return judgement if read is None or judgement.passes else read


def _style(papers: Sequence[_Paper]) -> dict[str, float | ItemError]:
    """`code/style` by item."""
    sources = []
    for paper in papers:
        name, code, prompt = paper.checks.entry_point, paper.answer.code, paper.item.prompt
        lead = ""
        if name is not None and defines(code, name):
            lead = helpers(prompt, name)
        elif name is not None and defines(prompt, name):
            lead = prompt
        sources.append(Source(lead, code))
    try:
        values = styles(sources)
    except StyleError as error:
        return {paper.item.id: ItemError(ErrorReason.SCORER_FAILED, str(error)) for paper in papers}
    return {paper.item.id: value for paper, value in zip(papers, values, strict=True)}


def _verdict(paper: _Paper, judged: _Judged, style: float | ItemError | None) -> Outcome:
    if isinstance(style, ItemError):
        return style
    judgement, checks = judged.judgement, paper.checks
    tests = judgement.passed / judgement.total if checks.score == "share" else float(judgement.passes)
    components = {
        "code/tests": 0.0 if checks.shared and not checks.trust_shared else tests,
        "code/compiles": float(judgement.compiles),
        "code/format": float(paper.answer.is_formatted),
    }
    if style is not None:
        components["code/style"] = style
    if judged.efficiency is not None:
        components["code/efficiency"] = judged.efficiency
    return Verdict(components, judgement.label.value, judgement.evidence)
