"""Which groups a step learns from, and which are asked for meanwhile: sampling and training at the same time.

With `max_staleness = 0` a step's groups are asked for when it begins, all of them are waited for, and they are put into
the order of their prompts: two runs of the same job train on the same tokens. From 1 on, groups of the steps to come are
under way while this step trains, and a step takes what came first. Then two bounds hold at every step:

- back-pressure: a step asks for what the next one needs, and while some groups are late for an eighth more. Groups that
  should have come by now do not count, so that slow ones leave no gap; in all at most
  `(1 + max_staleness) * prompts_per_step` are under way or ready;
- staleness: no token is trained on that weights sampled which are more than `max_staleness` versions old, by the versions
  that the tokens themselves carry. A group that comes too late for that is sampled anew, once: the step at which it
  would be too old again waits for it.

No group is trained on twice, and none is lost: what was drawn and not trained on is in the state.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from services.experience import ScoredGroup
from services.queue.collection import CollectionPrompt
from trainer.data import Prompt
from trainer.job_sections import RolloutSection
from trainer.orders import Orders, collection_prompt
from trainer.stream import Drawn, PromptStream

LOOK_SECONDS = 1.0
SPARE_SHARE = 0.125
"""Most groups, as a share of a step's, that are asked for beyond what is needed while some are late."""


@dataclass(frozen=True, slots=True)
class Lesson:
    """What there is to learn from a group at a step."""

    signal: bool
    """Whether its completions got different rewards."""
    pass_rate: float | None
    """Share of its completions that solve the prompt, 0 to 1; None where nothing says what solves it."""


Judge = Callable[[ScoredGroup, int], Lesson]


@dataclass(frozen=True, slots=True)
class Trained:
    """A group to train on, and the prompt that it answers."""

    drawn: Drawn
    group: ScoredGroup


@dataclass(frozen=True, slots=True)
class _Asked:
    drawn: Drawn
    step: int
    """At which it was asked for."""


class Pipeline:
    """The experience of one run, on the rank that collects it."""

    def __init__(
        self, orders: Orders, stream: PromptStream, section: RolloutSection, judge: Judge, total_steps: int
    ) -> None:
        self._orders, self._stream, self._section, self._judge = orders, stream, section, judge
        self._size = section.prompts_per_step
        self._budget = math.floor(section.resample * self._size + 1e-6) - self._size  # 1.15 * 100 is a little below 115
        self._total_steps = total_steps
        self._waiting: list[Drawn] = []
        """Drawn, and to be asked for before anything else is drawn."""
        self._under_way: dict[str, _Asked] = {}
        self._ready: list[Trained] = []
        """In the order in which they came."""
        self._due: dict[int, int] = {}
        """Serial of a group that was sampled anew, and the last step that may train on it."""
        self._resampled = self._too_old = 0  # of the step at hand
        self._judged: list[tuple[Trained, Lesson]] = []
        """Of the step at hand: those that it trains on, and those that were replaced."""
        self.metrics: dict[str, float] = {}

    def collect(
        self, step: int, max_difficulty: float | None = None, stopped: Callable[[], bool] = lambda: False
    ) -> list[Trained] | None:
        """The groups of an optimizer step, whose weights have the version `step`. Raises RolloutError, DataError.

        When it returns, the groups of the steps to come are under way, as far as `max_staleness` permits.
        stopped: asked while it waits; once it says yes there are no groups but None, and the state is that of a step that
        has not begun.
        """
        began, asked_again = time.monotonic(), self._orders.asked_again
        self._resampled = self._too_old = 0
        overlaps = self._section.max_staleness > 0 and step + 1 < self._total_steps
        ahead = self._size if overlaps else 0
        taken: list[Trained] = []
        while True:
            self._ask(step, max_difficulty, self._size - len(taken) + ahead, since=step - 1, taken=len(taken))
            taken += self._take(step, self._size - len(taken))
            if len(taken) == self._size:
                break
            if stopped():
                self._ready += [each for each, _ in self._judged]
                self._judged.clear()
                return None
            self._receive()
        for each, lesson in self._judged:
            if lesson.pass_rate is not None:
                self._stream.learned(each.drawn.prompt, lesson.pass_rate)
        self._judged.clear()
        self._ask(step, max_difficulty, ahead, since=step, taken=len(taken))
        self.metrics = {
            **self._stream.metrics(),
            "pipeline/wait_seconds": time.monotonic() - began,
            "pipeline/under_way": float(len(self._orders)),
            "pipeline/ready": float(len(self._ready)),
            "pipeline/too_old": float(self._too_old),
            "pipeline/asked_again": float(self._orders.asked_again - asked_again),
            "group/resampled": float(self._resampled),
        }
        return taken

    def withdraw(self) -> None:
        """For a run that ends here; the state stays as it is."""
        self._orders.withdraw()

    def state_dict(self) -> dict[str, Any]:
        """The prompts that are drawn and not trained on, and the state of the stream, as JSON."""
        asked = [each.drawn for each in self._under_way.values()]
        untrained = [*self._waiting, *asked, *(each.drawn for each in self._ready)]
        return {
            "stream": self._stream.state_dict(),
            "untrained": [asdict(drawn) for drawn in sorted(untrained, key=lambda drawn: drawn.serial)],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from there: what was under way is asked for first. Raises DataError."""
        self._stream.load_state_dict(state["stream"])
        self._waiting = [Drawn(each["serial"], Prompt(**each["prompt"])) for each in state["untrained"]]

    def _ask(self, step: int, max_difficulty: float | None, wanted: int, *, since: int, taken: int) -> None:
        """Asks until `wanted` groups are ready or were asked for at step `since` or later, as far as the bounds permit."""
        left = self._total_steps - step
        most = self._size * min(1 + self._section.max_staleness, left) - taken - len(self._under_way) - len(self._ready)
        recent = sum(asked.step >= since for asked in self._under_way.values())
        late = len(self._under_way) - recent
        # where some are late, others will be: a few more than are needed, so that the next step need not wait for those
        wanted += min(late, math.ceil(SPARE_SHARE * self._size))
        count = min(wanted - recent - len(self._ready), most)
        if count <= 0:
            return
        drawn, self._waiting = self._waiting[:count], self._waiting[count:]
        if len(drawn) < count:
            drawn += self._stream.draw(count - len(drawn), step, max_difficulty)
        prompts = [self._prompt(each) for each in drawn]
        self._under_way |= {prompt.key: _Asked(each, step) for prompt, each in zip(prompts, drawn, strict=True)}
        self._orders.place(prompts)

    def _prompt(self, drawn: Drawn) -> CollectionPrompt:
        again = ".again" if drawn.serial in self._due else ""
        key = self._orders.key(f"{drawn.serial}{again}")
        return collection_prompt(key, f"{drawn.serial}/{drawn.prompt.id}", drawn.prompt)

    def _receive(self) -> None:
        self._ready += [
            Trained(self._under_way.pop(key).drawn, group) for key, group in self._orders.take(LOOK_SECONDS)
        ]

    def _take(self, step: int, count: int) -> list[Trained]:
        """At most `count` of the ready groups: those that would be too old for the next step, then as they came.

        Room is kept for those that were sampled anew and cannot wait for the next step.
        """
        self._sample_anew(step)
        if self._section.max_staleness:
            limit = step - self._section.max_staleness
            due = {serial for serial, last in self._due.items() if last <= step}
            order = sorted(
                self._ready, key=lambda each: (each.drawn.serial not in due, oldest_version(each.group) > limit)
            )
            count -= sum(asked.drawn.serial in due for asked in self._under_way.values())
        elif len(self._orders):
            return []  # what a step learns from must not depend on what comes first
        else:
            order = sorted(self._ready, key=lambda each: each.drawn.serial)
        taken: list[Trained] = []
        for each in order:
            if len(taken) >= count:
                break
            self._ready.remove(each)
            self._due.pop(each.drawn.serial, None)
            if self._worth_training(each, step):
                taken.append(each)
        return taken

    def _sample_anew(self, step: int) -> None:
        """Puts the prompts of groups that are too old for this step among those to be asked for."""
        limit = step - self._section.max_staleness
        for each in [each for each in self._ready if oldest_version(each.group) < limit]:
            self._ready.remove(each)
            self._too_old += 1
            self._due[each.drawn.serial] = step + self._section.max_staleness
            self._waiting.append(each.drawn)

    def _worth_training(self, each: Trained, step: int) -> bool:
        """False where another one is to be sampled in its place."""
        lesson = self._judge(each.group, step)
        self._judged.append((each, lesson))
        if lesson.signal or self._resampled >= self._budget:
            return True
        self._resampled += 1
        return False


def oldest_version(group: ScoredGroup) -> int:
    """Of the weights that sampled a token of the group."""
    return min(scored.completion.policy_version for scored in group.completions)
