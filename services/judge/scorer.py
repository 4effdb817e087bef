"""The judge: a scorer that asks a language model."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from services.judge.checks import JudgeChecks
from services.judge.endpoint import Endpoint, EndpointError
from services.judge.judge_metrics import PAIRS
from services.judge.questions import PAIR, SYSTEM, about_one, about_two, choice_form, scale_form
from services.judge.rubrics import BUILT_IN, OWN_FIELDS, PREFERENCE, Rubric, digest_of, read_rubrics
from services.judge.settings import Settings
from services.server.errors import StartError
from services.verdicts import Component, ErrorReason, Item, ItemError, Outcome, Verdict

MARGIN = 0.95
"""Of an item's time, what is used; the worker cancels it at the end of all of it."""
REASON_CHARACTERS = 400
ORDERS = (("response", "rival"), ("rival", "response"))


def _component(name: str, rubric: Rubric) -> Component:
    question = rubric.criteria.partition("\n")[0]
    return Component(f"judge/{name}", f"{question} {rubric.low} to {rubric.high} of the judge's scale, as 0 to 1.")


PAIR_COMPONENT = Component(
    f"judge/{PREFERENCE}",
    "Only where the checks have `rival`: 1 where the judge prefers the response to it in both orders, 0 where it prefers"
    " the rival in both, 0.5 where the orders disagree.",
)


def components_of(rubrics: Mapping[str, Rubric]) -> tuple[Component, ...]:
    """One for each rubric, and that of pairs."""
    return (*(_component(name, rubric) for name, rubric in rubrics.items()), PAIR_COMPONENT)


class JudgeScorer:
    """A `services.verdicts.AsyncScorer`. Labels: `judged`; with a rival `preferred`, `rival_preferred`, `undecided`.

    Every rubric costs one request, a rival two. An item has a verdict only where each of its questions has an answer
    that can be read.
    """

    name = "judge"
    components = components_of(BUILT_IN)
    """With a file of rubrics, an instance has those as well."""
    checks = JudgeChecks
    batch_size = 1

    def __init__(
        self,
        *,
        settings: Mapping[str, Any],
        rubrics: Sequence[str] = ("helpfulness",),
        rubric_file: str | None = None,
        reasons: bool = True,
        cacheable: bool = False,
        item_seconds: float = 120.0,
    ) -> None:
        """
        settings: the fields of `services.judge.settings.Settings`.
        rubrics: those of items whose checks name none.
        rubric_file: see `services.judge.rubrics.read_rubrics`.
        reasons: whether the judge gives a reason before it judges.
        cacheable: whether verdicts may be remembered; only at temperature 0.
        item_seconds: default time of an item.
        Raises StartError.
        """
        found = Settings(**settings)
        file = read_rubrics(rubric_file)
        self._rubrics, self._preference = file.rubrics, file.preference
        self._default = tuple(rubrics)
        if unknown := [name for name in rubrics if name not in self._rubrics]:
            raise StartError(f"--rubrics: {unknown[0]!r} is none of {', '.join(self._rubrics)}")
        if cacheable and not found.is_repeatable:
            raise StartError("--cacheable: chance has a part in every verdict, unless --temperature is 0")
        self._endpoint = Endpoint(found)
        self._reasoned = reasons
        self._repeatable = found.is_repeatable
        self.cacheable = cacheable
        self.concurrency = found.concurrency
        self.timeout_seconds = item_seconds
        self.components = components_of(self._rubrics)
        asked = {name: rubric.model_dump() for name, rubric in self._rubrics.items()}
        words = digest_of(asked, self._preference, self._default, SYSTEM, PAIR, reasons)
        asking = digest_of(found.base_url, found.max_tokens, dict(found.extra_body))
        self.version = f"1 {found.model} t={found.temperature:g} rubrics={words} request={asking}"

    async def score(self, items: Sequence[Item]) -> list[Outcome]:
        """One outcome for each item, in order."""
        return list(await asyncio.gather(*map(self._judge, items)))

    async def _judge(self, item: Item) -> Outcome:
        checks = JudgeChecks.model_validate(item.checks)
        texts = checks.texts(item.prompt, item.response)
        names = tuple(dict.fromkeys(self._default if checks.rubrics is None else checks.rubrics))
        if complaint := self._complaint(names, texts):
            return ItemError(ErrorReason.INVALID_ITEM, complaint)
        seconds = MARGIN * (item.timeout_seconds or self.timeout_seconds)
        failure: Any = None
        try:
            async with asyncio.TaskGroup() as group:  # one question without an answer ends the others
                asked = {name: group.create_task(self._ask(name, texts, seconds)) for name in names}
                orders = ORDERS if checks.rival is not None else ()
                pair = [group.create_task(self._compare(order, texts, seconds)) for order in orders]
        except* EndpointError as errors:
            failure = errors.exceptions[0]
        if failure is not None:
            return ItemError(failure.reason, failure.message)
        components, evidence, label = {}, {}, "judged"
        for name, task in asked.items():
            components[f"judge/{name}"], evidence[name] = task.result()
        if pair:
            components[f"judge/{PREFERENCE}"], evidence[PREFERENCE], label = self._settle([it.result() for it in pair])
        return Verdict(components, label, evidence, repeatable=self._repeatable)

    def _complaint(self, names: Sequence[str], texts: Mapping[str, str]) -> str:
        """What is wrong with the item; empty where nothing is."""
        if not names and "rival" not in texts:
            return "checks.rubrics: it names none, and without checks.rival there is nothing to judge"
        for place, name in enumerate(names):
            if name not in self._rubrics:
                return f"checks.rubrics[{place}]: no such rubric; there are {', '.join(self._rubrics)}"
            if missing := sorted(self._rubrics[name].fields - texts.keys()):
                field = missing[0] if missing[0] in OWN_FIELDS else f"fields.{missing[0]}"
                return f"checks.{field}: the rubric {name!r} shows it, and the item has none"
        return ""

    async def _ask(self, name: str, texts: Mapping[str, str], seconds: float) -> tuple[float, str]:
        """Value and evidence."""
        rubric = self._rubrics[name]
        form = scale_form(rubric.low, rubric.high, self._reasoned)
        answer: Any = await self._endpoint.ask(about_one(rubric, texts, self._reasoned), form, seconds)
        said = f"{answer.score} of {rubric.low} to {rubric.high}"
        return rubric.normalised(answer.score), said + self._reason(answer)

    async def _compare(self, order: Sequence[str], texts: Mapping[str, str], seconds: float) -> Any:
        """The answer to a pair in one order."""
        messages = about_two(self._preference, texts, order, self._reasoned)
        return await self._endpoint.ask(messages, choice_form(self._reasoned), seconds)

    def _settle(self, answers: Sequence[Any]) -> tuple[float, str, str]:
        """Value, evidence and label of a pair, from the answers in both orders."""
        places = ["AB".index(answer.better) for answer in answers]
        winners = [order[place] for order, place in zip(ORDERS, places, strict=True)]
        reasons = "".join(map(self._reason, answers))
        if winners[0] == winners[1]:
            PAIRS.add(outcome="agreed")
            won = winners[0] == "response"
            return float(won), f"the {winners[0]} in both orders{reasons}", "preferred" if won else "rival_preferred"
        place = ("first", "second")[places[0]]
        PAIRS.add(outcome=place)
        return 0.5, f"the orders disagree: what was shown {place} won twice{reasons}", "undecided"

    def _reason(self, answer: Any) -> str:
        return f"; {answer.reason[:REASON_CHARACTERS]}" if self._reasoned else ""
