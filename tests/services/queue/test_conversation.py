"""Completions of several turns, through the real client and a socket; the policy behind it is a script of this file.

Its tokens are characters, and 0 ends a sequence: so what a completion must hold can be read off its text.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from examples.environments.calculator import Calculator, calculated
from protos.gen.assay.v1 import rollout_pb2, rollout_pb2_grpc
from services.client.rollout import RolloutClient
from services.queue.collection import CollectionEnvironment, CollectionRequest
from services.queue.conversation import Conversations
from services.queue.environment import EnvironmentPathError, Turn, environment_class, reply
from services.queue.group import Shared, score_group
from services.queue.shared_calls import Logprobs, Scorers
from services.rollout.engine import FinishReason, Prompt, PromptCompletions, Sampling

LONGEST = 400
"""Positions of the scripted model."""


class ScriptedPolicy(rollout_pb2_grpc.RolloutServicer):
    """Goes on as `say` says, given all the text so far and the number of the sample. Each call has new weights."""

    def __init__(self) -> None:
        self.say: Callable[[str, int], str] = lambda text, sample: ""
        self.asked: list[Any] = []

    def Generate(self, request: Any, context: grpc.ServicerContext) -> Any:
        self.asked.append(request)
        version, most = len(self.asked), request.sampling.max_new_tokens
        answer = rollout_pb2.GenerateResponse()
        for prompt in request.prompts:
            tokens = [*prompt.token_ids, *map(ord, prompt.text)]
            if len(tokens) + most > LONGEST:
                context.abort(grpc.StatusCode.INVALID_ARGUMENT, "too long")
            results = answer.prompts.add(id=prompt.id, prompt_token_ids=tokens)
            for sample in range(request.samples):
                said = [*map(ord, self.say("".join(map(chr, tokens)), sample)), 0]
                for stop in request.sampling.stop:
                    at = "".join(map(chr, said)).find(stop)
                    said = said[: at + len(stop)] if at >= 0 else said
                ids = said[:most]
                text = "".join(map(chr, ids)).replace("\0", "")
                for stop in request.sampling.stop:
                    text = text.partition(stop)[0]
                results.completions.add(
                    token_ids=ids,
                    logprobs=[-0.5] * len(ids),
                    text=text,
                    finish_reason="STOP" if len(said) <= most else "LENGTH",
                    policy_version=version,
                    token_versions=[version] * len(ids),
                )
        return answer


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[ScriptedPolicy, RolloutClient]]:
    policy, server = ScriptedPolicy(), grpc.server(ThreadPoolExecutor(8))
    rollout_pb2_grpc.add_RolloutServicer_to_server(policy, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with RolloutClient(f"127.0.0.1:{port}") as client:
        yield policy, client
    server.stop(None).wait()


@pytest.fixture
def table(served: tuple[ScriptedPolicy, RolloutClient]) -> Table:
    return Table(*served)


class Echo:
    """Answers with what `answers` says for a turn's text; ends the conversation at anything else."""

    def __init__(self, answers: Mapping[str, Any]) -> None:
        self.answers = answers

    async def reply(self, turn: Turn) -> str | None:
        answer = self.answers.get(turn.text)
        if isinstance(answer, BaseException):
            raise answer
        if answer == "for ever":
            await asyncio.sleep(60)
        return answer


class Table:
    """Holds the conversations of one group."""

    def __init__(self, policy: ScriptedPolicy, client: RolloutClient) -> None:
        self.policy, self.client = policy, client
        self.calls: Counter[str] = Counter()
        policy.asked.clear()

    def talk(
        self, make: Callable[..., Any], *, samples: int = 1, prompt: str = "Q", **changes: Any
    ) -> tuple[PromptCompletions, dict[int, str]]:
        sampling = {"max_new_tokens": 100, "seed": 1, **changes.pop("sampling", {})}
        fields = {"key": "t", "reply_to": "r", "policy": "p", "min_policy_version": 1, "samples": samples}
        prompts = [{"key": "k", "id": "p0", "domain": "d", "text": prompt, "checks": {"answer": 7}}]
        environment = {"path": "not.used:Here", **changes}
        self.request = CollectionRequest.model_validate(
            {**fields, "prompts": prompts, "sampling": sampling, "scorers": {"d": []}, "environment": environment}
        )
        assert isinstance(self.request.environment, CollectionEnvironment)
        (first,) = self.client.generate("p", [Prompt("p0", prompt)], samples, Sampling(**sampling))
        deadline = time.monotonic() + 30
        talks = Conversations(self.client, self.request, self.request.environment, make, deadline, self.calls)
        return asyncio.run(talks.hold(self.request.prompts[0], first))


def script(turns: Sequence[str]) -> Callable[[str, int], str]:
    """The n-th turn is the n-th text, from where it was cut off; the ends of sequence before tell which turn it is."""

    def say(text: str, sample: int) -> str:
        turn = turns[text.count("\0")]
        return next(turn[said:] for said in range(len(turn), -1, -1) if text.endswith(turn[:said]))

    return say


def test_a_tool_is_called_and_its_answer_is_given_not_sampled(table: Table) -> None:
    table.policy.say = lambda text, _: "is 3." if "= 3" in text else "<calc>1+2</calc> and on"
    results, failed = table.talk(Calculator, prompt="Sum?", sampling={"stop": ["</calc>"]})
    (completion,) = results.completions
    call, answer, last = "<calc>1+2</calc>", " = 3\n", "is 3.\0"
    assert failed == {}
    assert completion.token_ids == tuple(map(ord, call + answer + last))
    assert completion.given == (False,) * len(call) + (True,) * len(answer) + (False,) * len(last)
    assert completion.logprobs == (-0.5,) * len(call) + (0.0,) * len(answer) + (-0.5,) * len(last)
    assert completion.token_versions == (1,) * len(call + answer) + (2,) * len(last)
    assert completion.policy_version == 1
    assert completion.text == "<calc>1+2 = 3\nis 3."
    assert completion.finish_reason is FinishReason.STOP
    assert results.prompt_token_ids == tuple(map(ord, "Sum?"))
    assert table.calls == {"rollout": 1}
    second = table.policy.asked[1]
    assert list(second.prompts[0].token_ids) == [*map(ord, "Sum?" + call)] and second.prompts[0].text == answer
    assert second.sampling.stop == ["</calc>"] and second.min_policy_version == 1


def test_an_environment_sees_the_conversation(table: Table) -> None:
    seen: list[Turn] = []

    class Recorder:
        def __init__(self) -> None:
            self.turns = 0

        async def reply(self, turn: Turn) -> str | None:
            seen.append(turn)
            self.turns += 1
            return f"no {self.turns}" if self.turns < 3 else None

    table.policy.say = script(["a", "b", "c", "d"])
    results, _ = table.talk(Recorder)
    assert [turn.texts for turn in seen] == [("a",), ("a", "no 1", "b"), ("a", "no 1", "b", "no 2", "c")]
    assert seen[0] == Turn("p0", "Q", {"answer": 7}, 0, ("a",))
    assert results.completions[0].text == "ano 1bno 2c"


def test_a_conversation_without_an_answer_is_the_first_turn_alone(table: Table) -> None:
    table.policy.say = script(["a"])
    results, failed = table.talk(lambda: Echo({}))
    assert (results.completions[0].token_ids, results.completions[0].given, failed) == ((ord("a"), 0), (), {})
    assert table.calls == {}


def test_turns_of_the_policy_are_counted(table: Table) -> None:
    table.policy.say = script("abcd")
    results, _ = table.talk(lambda: Echo({"a": "1", "b": "2", "c": "3"}), max_turns=3)
    assert results.completions[0].text == "a1b2c"
    assert results.completions[0].finish_reason is FinishReason.STOP


@pytest.mark.parametrize(
    ("most", "text", "reason"),
    [
        (12, "ab12345cde", FinishReason.STOP),
        (11, "ab12345cde", FinishReason.LENGTH),  # without its end of sequence
        (9, "ab12345c", FinishReason.LENGTH),
        (8, "ab", FinishReason.LENGTH),  # the answer would fit, but nothing after it
        (3, "ab", FinishReason.LENGTH),
        (2, "ab", FinishReason.LENGTH),
    ],
)
def test_the_budget_is_for_all_turns(table: Table, most: int, text: str, reason: FinishReason) -> None:
    table.policy.say = script(["ab", "cde"])
    results, _ = table.talk(lambda: Echo({"ab": "12345"}), sampling={"max_new_tokens": most})
    assert (results.completions[0].text, results.completions[0].finish_reason) == (text, reason)
    assert len(results.completions[0].token_ids) <= most


def test_an_answer_too_long_for_the_model_ends_the_completion(table: Table) -> None:
    table.policy.say = script(["a", "b"])
    results, failed = table.talk(lambda: Echo({"a": "x" * LONGEST}), sampling={"max_new_tokens": 300})
    completion = results.completions[0]
    assert (completion.text, completion.finish_reason, failed) == ("a", FinishReason.LENGTH, {})


def test_an_answer_too_long_for_a_message_ends_the_completion(table: Table) -> None:
    table.policy.say = script(["a", "b"])
    results, failed = table.talk(lambda: Echo({"a": "x" * (20 * 2**20)}), sampling={"max_new_tokens": 300})
    completion = results.completions[0]
    assert (completion.text, completion.finish_reason, failed) == ("a", FinishReason.LENGTH, {})
    assert table.calls == {}


@settings(deadline=None, max_examples=60)
@given(
    turns=st.lists(st.text("abé☃", max_size=12), min_size=4, max_size=4),
    answers=st.lists(st.text("xyü☂", max_size=12), min_size=3, max_size=3),
    most=st.integers(1, 60),
)
def test_tokens_text_and_flags_tell_the_same(
    served: tuple[ScriptedPolicy, RolloutClient], turns: list[str], answers: list[str], most: int
) -> None:
    class Reader:
        """Answers in turn."""

        async def reply(self, turn: Turn) -> str | None:
            place = len(turn.texts) // 2
            return answers[place] if place < len(answers) else None

    table = Table(*served)

    def rest(text: str, turns: list[str]) -> str:
        said = text.count("\0")
        so_far = "Q"
        for turn, answer in zip(turns, [*answers, ""], strict=True):
            if said == 0:
                return turn[max(0, len(text) - len(so_far)) :]
            said, so_far = said - 1, so_far + turn + "\0" + answer
        return ""

    # what the limit of a call cut off goes on where it stopped
    table.policy.say = lambda text, _: rest(text, turns)
    results, failed = table.talk(Reader, sampling={"max_new_tokens": most})
    (completion,) = results.completions
    whole = [turns[0] + "\0"]
    for turn, answer in zip(turns[1:], answers, strict=True):
        whole += [answer, turn + "\0"]
    expected: list[tuple[int, bool]] = []
    for place, text in enumerate(whole):
        piece = [(ord(character), place % 2 == 1) for character in text]
        room = most - len(expected)
        if place % 2 and len(piece) >= room:
            break  # no room for the answer and one token after it
        expected += piece[:room]
    assert completion.token_ids == tuple(token for token, _ in expected)
    flags = completion.given or (False,) * len(completion.token_ids)
    assert flags == tuple(given for _, given in expected)
    assert completion.text == "".join(map(chr, completion.token_ids)).replace("\0", "")
    assert len(completion.logprobs) == len(completion.token_versions) == len(completion.token_ids)
    assert all((logprob == 0.0) == given for logprob, given in zip(completion.logprobs, flags, strict=True))
    ended = len(expected) == sum(map(len, whole))
    assert (completion.finish_reason is FinishReason.STOP) == ended and failed == {}


def test_each_sample_has_an_environment_of_its_own_which_is_closed(table: Table) -> None:
    made: list[Any] = []
    closed: list[Any] = []

    class Counting:
        def __init__(self, start: int) -> None:
            self.count = start
            made.append(self)

        async def reply(self, turn: Turn) -> str | None:
            self.count += 1
            if turn.sample == 2:
                raise LookupError("what the policy said")
            return str(self.count) if self.count < 12 else None

        async def close(self) -> None:
            closed.append(self)
            raise OSError("nobody minds")

    table.policy.say = lambda text, sample: f"s{sample}"
    results, failed = table.talk(Counting, samples=3, kwargs={"start": 9})
    assert [completion.text for completion in results.completions] == ["s010s011s0", "s110s011s0", "s2"]
    assert failed == {2: "environment: LookupError"}
    assert len(set(map(id, made))) == 3 and set(closed) == set(made)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("for ever", "TimeoutError"),
        (RuntimeError("secret"), "RuntimeError"),
        (SystemExit(1), "SystemExit"),
        (asyncio.CancelledError(), "CancelledError"),
        (7, "TypeError"),
        ("\ud800", "UnicodeEncodeError"),
    ],
)
def test_what_an_environment_fails_is_missing(table: Table, answer: Any, reason: str) -> None:
    table.policy.say = lambda text, sample: "a" if sample else "b"
    _, failed = table.talk(lambda: Echo({"a": answer}), samples=2, reply_seconds=0.1)
    assert failed == {1: f"environment: {reason}"}


def test_a_conversation_that_is_given_up_is_no_fault_of_its_environment() -> None:
    async def given_up() -> None:
        task = asyncio.create_task(reply(Echo({"a": "for ever"}), Turn("p0", "Q", {}, 0, ("a",)), 60))
        await asyncio.sleep(0)
        task.cancel()
        await task

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(given_up())


def test_an_environment_that_cannot_be_made_fails_every_sample(table: Table) -> None:
    table.policy.say = script(["a"])
    _, failed = table.talk(Calculator, samples=2, kwargs={"colour": "red"})
    assert failed == {0: "environment: TypeError", 1: "environment: TypeError"}


def test_a_completion_that_is_not_whole_is_no_zero(table: Table) -> None:
    table.policy.say = script(["a"])
    results, _ = table.talk(lambda: Echo({}), samples=2)
    for scorers, missing in (((), {"environment": "environment: X"}), (("one", "two"), None)):
        missing = missing or dict.fromkeys(scorers, "environment: X")
        request = self_scored(table.request, scorers)
        failed = {0: "environment: X", 1: "environment: X"}
        shared = Shared(Scorers(), Logprobs(table.client))
        group = asyncio.run(
            score_group(shared, request, request.prompts[0], results, failed, time.monotonic() + 1, Counter())
        )
        assert [(scored.components, scored.missing) for scored in group.completions] == [({}, missing)] * 2


def self_scored(request: CollectionRequest, scorers: tuple[str, ...]) -> CollectionRequest:
    return request.model_copy(update={"scorers": {"d": scorers}})


@pytest.mark.parametrize("path", ["nothing", "no.such:Thing", "services.addresses:NOTHING", "services:addresses"])
def test_a_path_that_leads_nowhere_is_named(path: str) -> None:
    with pytest.raises(EnvironmentPathError, match=path):
        environment_class(path)


def test_a_module_that_ends_the_program_ends_no_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "script_that_ends.py").write_text("import sys\nsys.exit('done')\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(EnvironmentPathError, match="'script_that_ends:Here' cannot be imported: SystemExit: done"):
        environment_class("script_that_ends:Here")


def test_a_path_leads_to_a_class() -> None:
    assert environment_class("examples.environments.calculator:Calculator") is Calculator


@pytest.mark.parametrize(
    ("expression", "result"),
    [
        ("1 + 2", "3"),
        ("17 * (3 + 4)", "119"),
        ("-1 / 3", "-0.333333"),
        ("1e200 * 1e200", "inf"),
        ("1 / 0", "error"),
        ("9 ** 9 ** 9", "error"),
        ("__import__('os')", "error"),
        ("", "error"),
        ("(" * 300, "error"),
        ("1" * 150 + "+" + "'a'", "error"),
    ],
)
def test_the_calculator_calculates_and_does_nothing_else(expression: str, result: str) -> None:
    assert calculated(expression, 6) == result
