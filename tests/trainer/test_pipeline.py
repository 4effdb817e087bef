"""The pipeline against collectors of this file's own making, whose clock stands still until the trainer waits: they are slow,
overtake each other, fail, and lose tasks as hypothesis likes. Versions are those at the moment a group is sampled.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import trainer.orders
from services.experience import Experience, ScoredCompletion, ScoredGroup
from services.queue.collection import CollectionSampling
from services.rollout.engine import Completion, FinishReason
from trainer.data import Prompt
from trainer.exits import Interrupted
from trainer.job_sections import RolloutSection
from trainer.orders import ATTEMPTS, Orders
from trainer.pipeline import Lesson, Pipeline
from trainer.rollouts import RolloutError
from trainer.sampler import Sampler
from trainer.steps import BarrenError
from trainer.stream import Drawn


@dataclass
class World:
    """What a group goes through: `fates[serial % len]` is (ticks until it is sampled, ticks until it is scored, failures,
    whether its first task is lost)."""

    fates: list[tuple[int, int, int, bool]]
    policy = "job.1"
    now: float = 0.0
    version: int = 0
    due: list = field(default_factory=list)
    asked: Counter = field(default_factory=Counter)
    published: int = 0
    passing: bool = False

    def clock(self):
        return self.now

    def request(self, prompts, reply_to, samples, sampling, serial):
        for prompt in prompts:
            wait, score, failures, lost = self.fates[int(prompt.id.split("/")[0]) % len(self.fates)]
            self.asked[prompt.key] += 1
            if lost and self.asked[prompt.key] == 1:
                continue
            fails = self.asked[prompt.key] - lost <= failures
            self.due.append([self.now + wait, self.now + wait + score, prompt, fails, None])

    def pass_time(self, until):
        for each in self.due:
            if each[4] is None and each[0] <= until:
                each[4] = self.version
        self.now = until

    def receive(self, keys, reply_to, wait_seconds):
        arrivals = [each[1] for each in self.due if each[2].key in keys]
        soonest = min([*arrivals, self.now + wait_seconds])
        self.pass_time(max(self.now, soonest))
        came = sorted((each for each in self.due if each[1] <= self.now), key=lambda each: each[1])
        self.due = [each for each in self.due if each[1] > self.now]
        return [self._experience(*each) for each in came]

    def publish_again(self):
        self.published += 1

    def _experience(self, _sampled, _arrived, prompt, fails, version):
        if fails:
            return Experience(prompt.key, error="the scorer fell over", may_pass=self.passing)
        completion = Completion((5, 6), (-1.0, -1.0), "", FinishReason.STOP, version, (version, version))
        return Experience(prompt.key, ScoredGroup(prompt.id, "math", (1,), (ScoredCompletion(completion),)))


class Numbers:
    """A stream without end whose prompts are their serials."""

    def __init__(self):
        self.next, self.rates = 0, {}

    def draw(self, count, step, max_difficulty=None):
        drawn = [Drawn(n, Prompt(f"p{n}", "math", "2 + 2", {})) for n in range(self.next, self.next + count)]
        self.next += count
        return drawn

    def learned(self, prompt, pass_rate):
        self.rates[prompt.id] = pass_rate

    def metrics(self):
        return {}

    def state_dict(self):
        return {"next": self.next}

    def load_state_dict(self, state):
        self.next = state["next"]


def make(world, steps, judge=None, stream=None, **changes):
    section = RolloutSection(
        **{"prompts_per_step": 4, "samples_per_prompt": 1, "max_new_tokens": 8, "prompts_per_task": 3, **changes}
    )
    config = type("Config", (), {"rollout": section})
    orders = Orders(world, config, "train", 1, CollectionSampling(max_new_tokens=8))  # pyright: ignore
    judge = judge or (lambda group, step: Lesson(True, None))
    return Pipeline(orders, stream or Numbers(), section, judge, steps)


def train(world, pipeline, first, last, step_ticks=3.0):
    """Serials and oldest versions of each step. Training takes some ticks; the new version is there at its end."""
    seen = []
    for step in range(first, last):
        trained = pipeline.collect(step)
        seen.append([(each.drawn.serial, each.group.completions[0].completion.policy_version) for each in trained])
        world.pass_time(world.now + step_ticks)
        world.version = step + 1
    return seen


@pytest.fixture(autouse=True)
def _clock(monkeypatch):
    """Each world sets its own clock by `run_in`."""
    monkeypatch.setattr(trainer.orders.time, "monotonic", lambda: 0.0)


def run_in(world):
    trainer.orders.time.monotonic = world.clock


FATES = st.lists(
    st.tuples(st.integers(0, 6), st.integers(0, 25), st.integers(0, ATTEMPTS - 1), st.booleans()),
    min_size=1,
    max_size=7,
)


@settings(max_examples=150, deadline=None)
@given(FATES, st.integers(0, 4))
def test_every_group_is_trained_on_once_and_never_too_old(fates, staleness):
    world = World(fates)
    run_in(world)
    pipeline = make(world, 12, max_staleness=staleness, timeout_seconds=15.0)
    seen = train(world, pipeline, 0, 12)
    serials = [serial for step in seen for serial, _ in step]
    assert [len(step) for step in seen] == [4] * 12
    assert sorted(serials) == list(range(48))  # none lost, none twice, none drawn beyond the last step
    for step, groups in enumerate(seen):
        assert all(step - staleness <= version <= step for _, version in groups)


@settings(max_examples=60, deadline=None)
@given(FATES, st.integers(0, 3), st.integers(1, 7))
def test_a_run_that_is_cut_and_resumed_trains_on_every_group_once(fates, staleness, cut):
    world = World(fates)
    run_in(world)
    pipeline = make(world, 8, max_staleness=staleness, timeout_seconds=15.0)
    seen = train(world, pipeline, 0, cut)
    state = json.loads(json.dumps(pipeline.state_dict()))
    again = World(fates, version=cut)
    run_in(again)
    resumed = make(again, 8, max_staleness=staleness, timeout_seconds=15.0)
    resumed.load_state_dict(state)
    seen += train(again, resumed, cut, 8)
    assert sorted(serial for step in seen for serial, _ in step) == list(range(32))


@settings(max_examples=60, deadline=None)
@given(FATES, st.integers(0, 2), st.integers(0, 6), st.integers(0, 8))
def test_a_run_that_is_stopped_while_it_waits_has_lost_nothing(fates, staleness, cut, looks):
    """Nor is anything learned of twice, or replaced twice."""

    def judge(group, step):
        serial = int(group.prompt_id.split("/")[0])
        return Lesson(serial % 3 > 0, serial % 3 / 2)

    changes = {"max_staleness": staleness, "timeout_seconds": 15.0, "resample": 1.5}
    world, stream = World(fates), Numbers()
    run_in(world)
    pipeline = make(world, 8, judge, stream, **changes)
    seen = train(world, pipeline, 0, cut)
    rates, before = dict(stream.rates), json.dumps(pipeline.state_dict()["untrained"])
    left = iter(range(looks))
    stopped = pipeline.collect(cut, None, lambda: next(left, None) is None)
    if stopped is None:
        assert stream.rates == rates
        assert [d for d in json.loads(before) if d not in pipeline.state_dict()["untrained"]] == []
        again = World(fates, version=cut)
        run_in(again)
        resumed = make(again, 8, judge, Numbers(), **changes)
        resumed.load_state_dict(json.loads(json.dumps(pipeline.state_dict())))
        seen += train(again, resumed, cut, 8)
        serials = [serial for step in seen for serial, _ in step]
        assert len(serials) == len(set(serials)) == 32
        if not staleness:
            whole = World(fates)
            run_in(whole)
            assert train(whole, make(whole, 8, judge, **changes), 0, 8) == seen


@given(FATES)
@settings(max_examples=40, deadline=None)
def test_synchronous_steps_do_not_depend_on_what_comes_first(fates):
    world = World(fates)
    run_in(world)
    seen = train(world, make(world, 6, timeout_seconds=15.0), 0, 6)
    assert seen == [[(serial, step) for serial in range(4 * step, 4 * step + 4)] for step in range(6)]


def test_a_slow_group_holds_nobody_up_while_it_may_still_be_trained_on():
    slow = World([(0, 1, 0, False)] * 9 + [(0, 20, 0, False)])  # every tenth takes more than six steps of three ticks
    run_in(slow)
    pipeline = make(slow, 30, max_staleness=8)
    seen = train(slow, pipeline, 0, 24)
    fast = World([(0, 1, 0, False)])
    run_in(fast)
    train(fast, make(fast, 30, max_staleness=8), 0, 24)
    # the first to be late was waited around; from then on some are asked for in reserve
    assert slow.now <= fast.now + 1
    assert 9 not in [serial for serial, _ in seen[2]]
    assert 9 in [serial for step in seen for serial, _ in step]
    assert not pipeline.metrics["pipeline/too_old"]


def test_a_group_that_came_too_late_is_sampled_anew_once_and_waited_for():
    world = World([(0, 1, 0, False)] * 19 + [(0, 40, 0, False)] + [(0, 1, 0, False)] * 1000)
    run_in(world)
    pipeline = make(world, 40, max_staleness=1)
    seen = train(world, pipeline, 0, 40)
    late = [(step, version) for step, groups in enumerate(seen) for serial, version in groups if serial == 19]
    assert len(late) == 1
    assert world.asked["job.1.train.19"] == world.asked["job.1.train.19.again"] == 1
    assert world.asked["job.1.train.19.again.again"] == 0
    step, version = late[0]
    assert version == step - 1  # it was at its limit, and the step waited for it


def test_a_step_asks_for_the_next_one_and_for_no_more():
    world = World([(0, 1000, 0, False)])
    run_in(world)
    pipeline = make(world, 50, max_staleness=5, timeout_seconds=10**9)
    receive = world.receive
    most = []

    def receive_and_count(keys, *rest):
        most.append(len(keys))
        if world.now > 990:
            raise InterruptedError
        return receive(keys, *rest)

    world.receive = receive_and_count
    with pytest.raises(InterruptedError):
        pipeline.collect(0)
    assert max(most) == 4 * 2


def test_groups_without_signal_are_replaced_as_far_as_the_budget_goes():
    world = World([(0, 1, 0, False)])
    run_in(world)
    dull = {0, 1, 2, 5, 6, 9}
    stream = Numbers()

    def judge(group, step):
        serial = int(group.prompt_id.split("/")[0])
        return Lesson(serial not in dull, 0.0 if serial in dull else 0.5)

    pipeline = make(world, 2, judge, stream, resample=2.0)
    first = [serial for serial, _ in train(world, pipeline, 0, 1)[0]]
    # 0, 1 and 2 are replaced by 4, 5 and 6; 5 takes the budget's last place, and 6 is trained on as it is
    assert first == [3, 4, 6, 7]
    assert pipeline.metrics["group/resampled"] == 4
    assert stream.rates == {f"p{n}": 0.0 if n in dull else 0.5 for n in range(8)}


@pytest.mark.parametrize(("resample", "size", "replaced"), [(1.2, 10, 2), (1.15, 100, 15), (1.24, 10, 2)])
def test_the_budget_is_what_the_job_file_says(resample, size, replaced):
    world = World([(0, 1, 0, False)])
    run_in(world)
    pipeline = make(world, 1, lambda group, step: Lesson(False, None), resample=resample, prompts_per_step=size)
    train(world, pipeline, 0, 1)
    assert pipeline.metrics["group/resampled"] == replaced


def test_a_group_that_always_fails_ends_the_run_with_what_its_collector_said():
    world = World([(0, 1, ATTEMPTS, False)])
    run_in(world)
    with pytest.raises(RolloutError, match=r"failed 3 times: the scorer fell over"):
        make(world, 2).collect(0)
    assert world.published == ATTEMPTS - 1


def test_a_service_that_is_away_for_a_while_ends_nothing():
    world = World([(0, 1, 20, False)], passing=True)
    run_in(world)
    assert [serial for serial, _ in train(world, make(world, 2, timeout_seconds=15.0), 0, 1)[0]] == [0, 1, 2, 3]
    assert world.published == 20


def test_a_service_that_stays_away_ends_the_run():
    world = World([(0, 1, 10**6, False)], passing=True)
    run_in(world)
    with pytest.raises(RolloutError, match="failed for too long: the scorer fell over"):
        make(world, 2, timeout_seconds=15.0).collect(0)
    assert 30 < world.now <= 32


def test_a_group_that_gets_lost_twice_ends_the_run():
    world = World([(0, 1, 0, False)])
    run_in(world)
    world.request = lambda *_: None
    with pytest.raises(RolloutError, match=r"'job.1.train.0' was asked for twice and did not come within 30 seconds"):
        make(world, 2, timeout_seconds=15.0).collect(0)


@pytest.mark.parametrize("ending", [Interrupted, BarrenError])
def test_a_run_that_breaks_off_leaves_no_work_to_the_collectors(ending):
    world, withdrawn = World([(0, 1, 0, False)] * 4 + [(0, 9, 0, False)] * 4), []
    run_in(world)
    world.withdraw = withdrawn.extend
    sampler = Sampler.__new__(Sampler)
    sampler._pipeline = make(world, 9, max_staleness=1)
    with pytest.raises(ending), sampler:
        sampler._pipeline.collect(0)
        raise ending
    assert withdrawn == [f"job.1.train.{serial}" for serial in range(4, 8)]


def test_a_second_delivery_is_nobodys():
    world = World([(0, 1, 0, False)])
    run_in(world)
    receive = world.receive
    world.receive = lambda *asked: [came for came in receive(*asked) for _ in range(2)]
    assert [serial for step in train(world, make(world, 3), 0, 3) for serial, _ in step] == list(range(12))


def one_at_a_time(world, ticks):
    """As if there were a single collector: each task is begun when the one before it has ended."""
    request, end = world.request, [0.0]

    def queued(prompts, *rest):
        request(prompts, *rest)
        end[0] = max(end[0], world.now) + ticks
        for each in world.due[-len(prompts) :]:
            each[0] = each[1] = end[0]

    world.request = queued


def test_a_group_whose_task_waits_in_the_queue_is_not_lost():
    world = World([(0, 0, 0, False)])
    run_in(world)
    one_at_a_time(world, ticks=14.0)
    pipeline = make(world, 1, prompts_per_step=30, timeout_seconds=15.0)  # ten tasks: 140 ticks
    assert [serial for serial, _ in train(world, pipeline, 0, 1)[0]] == list(range(30))
    assert set(world.asked.values()) == {1}
    assert pipeline.metrics["pipeline/asked_again"] == 0


def test_a_failure_that_passes_is_waited_out_also_after_a_long_time_in_the_queue():
    world = World([(0, 0, 0, False)] * 29 + [(0, 0, 1, False)], passing=True)
    run_in(world)
    one_at_a_time(world, ticks=14.0)
    assert len(train(world, make(world, 1, prompts_per_step=30, timeout_seconds=15.0), 0, 1)[0]) == 30
    assert world.published == 1
