"""The client against a service that is away, full or slow, and its splitting of large requests."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest

from protos.gen.assay.v1 import rollout_pb2, rollout_pb2_grpc
from services.client import rollout
from services.client.channel import ServiceError, ServiceUnavailableError
from services.client.rollout import RolloutClient
from services.rollout.engine import (
    Completion,
    Description,
    Finished,
    FinishReason,
    Generation,
    Probe,
    Prompt,
    Sampling,
    Served,
    TokenSequence,
)
from services.rollout.wire import (
    finished_from_wire,
    finished_to_wire,
    generation_from_wire,
    generation_to_wire,
    probe_from_wire,
)

UNAVAILABLE = (grpc.StatusCode.UNAVAILABLE, "away", ())
FULL = (grpc.StatusCode.RESOURCE_EXHAUSTED, "full", (("retry-after-ms", "10"),))
TOO_LARGE = (grpc.StatusCode.RESOURCE_EXHAUSTED, "too large", ())
UNKNOWN = (grpc.StatusCode.NOT_FOUND, "policy 'p' is not held", ())


class ScriptedRollout(rollout_pb2_grpc.RolloutServicer):
    """Fails as its script says, then answers with what identifies the request."""

    def __init__(self) -> None:
        self.failures: list[tuple[grpc.StatusCode, str, Any]] = []
        self.requests: list[Any] = []
        self.versions = [5]
        self.break_after = 0
        self.send_at_most: int | None = None

    def _next(self, request: Any, context: grpc.ServicerContext) -> None:
        self.requests.append(request)
        if self.failures:
            code, details, metadata = self.failures.pop(0)
            context.set_trailing_metadata(metadata)
            context.abort(code, details)

    def Generate(self, request: Any, context: grpc.ServicerContext) -> rollout_pb2.GenerateResponse:
        self._next(request, context)
        completion = rollout_pb2.Completion(
            token_ids=[3, 4], logprobs=[-0.5, -0.25], text="ab", finish_reason="STOP", policy_version=5
        )
        results = [
            rollout_pb2.PromptCompletions(
                id=prompt.id, prompt_token_ids=[1], completions=[completion] * request.samples
            )
            for prompt in request.prompts
        ]
        return rollout_pb2.GenerateResponse(prompts=results)

    def GenerateStream(self, request: Any, context: grpc.ServicerContext) -> Iterator[rollout_pb2.FinishedCompletion]:
        """`break_after` of a request that fails are sent before it does."""
        self.requests.append(request)
        places = [(prompt.id, sample) for prompt in request.prompts for sample in range(request.samples)]
        failure = self.failures.pop(0) if self.failures else None
        for prompt_id, sample in places[: self.break_after if failure else self.send_at_most]:
            completion = rollout_pb2.Completion(token_ids=[len(self.requests)], logprobs=[-1], finish_reason="STOP")
            yield rollout_pb2.FinishedCompletion(id=prompt_id, sample=sample, completion=completion)
        if failure:
            context.set_trailing_metadata(failure[2])
            context.abort(*failure[:2])

    def UpdateWeights(self, request: Any, context: grpc.ServicerContext) -> rollout_pb2.UpdateWeightsResponse:
        self._next(request, context)
        return rollout_pb2.UpdateWeightsResponse(version=request.version, canary_difference=0.25)

    def Describe(self, request: Any, context: grpc.ServicerContext) -> rollout_pb2.DescribeRolloutResponse:
        return rollout_pb2.DescribeRolloutResponse(engine="vllm", dtype="bfloat16", policies={"p": 5})

    def Logprobs(self, request: Any, context: grpc.ServicerContext) -> rollout_pb2.LogprobsResponse:
        self._next(request, context)
        version = self.versions.pop(0) if len(self.versions) > 1 else self.versions[0]
        values = [rollout_pb2.TokenLogprobs(logprobs=each.completion_token_ids) for each in request.sequences]
        return rollout_pb2.LogprobsResponse(sequences=values, policy_version=version)


@pytest.fixture
def script() -> Iterator[tuple[ScriptedRollout, str]]:
    servicer = ScriptedRollout()
    server = grpc.server(ThreadPoolExecutor(4))
    rollout_pb2_grpc.add_RolloutServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield servicer, f"127.0.0.1:{port}"
    server.stop(None).wait()


PROMPTS = [Prompt(str(number), "text", f"trace-{number}") for number in range(5)]


def test_what_passes_is_tried_again(script: tuple[ScriptedRollout, str]) -> None:
    servicer, address = script
    servicer.failures = [UNAVAILABLE, FULL, UNAVAILABLE]
    with RolloutClient(address) as client:
        (first, *_) = client.generate("p", PROMPTS, 2, Sampling(max_new_tokens=4, seed=2**64 - 1))
    assert len(servicer.requests) == 4
    assert servicer.requests[-1].sampling.seed == 2**64 - 1
    assert servicer.requests[-1].prompts[0].trace_id == "trace-0"
    completion = first.completions[1]
    assert (first.id, completion.token_ids, completion.logprobs) == ("0", (3, 4), (-0.5, -0.25))
    assert (completion.finish_reason, completion.policy_version, completion.text) == (FinishReason.STOP, 5, "ab")


@pytest.mark.parametrize("failure", [UNKNOWN, TOO_LARGE])
def test_a_refusal_is_not_tried_again(script: tuple[ScriptedRollout, str], failure: Any) -> None:
    servicer, address = script
    servicer.failures = [failure]
    with RolloutClient(address) as client, pytest.raises(ServiceError, match=failure[1]) as caught:
        client.generate("p", PROMPTS, 2, Sampling())
    assert caught.value.code is failure[0]
    assert len(servicer.requests) == 1


def test_patience_ends(script: tuple[ScriptedRollout, str]) -> None:
    servicer, address = script
    servicer.failures = [UNAVAILABLE] * 100
    with RolloutClient(address, patience_seconds=0.3) as client, pytest.raises(ServiceUnavailableError, match="away"):
        client.generate("p", PROMPTS, 2, Sampling())
    assert len(servicer.requests) == 3  # pauses of 0.1 and 0.2 seconds between them


def test_large_requests_are_split_and_put_together(
    script: tuple[ScriptedRollout, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    servicer, address = script
    monkeypatch.setattr(rollout, "CHUNK_SEQUENCES", 6)
    with RolloutClient(address) as client:
        results = client.generate("p", PROMPTS, 3, Sampling())
        assert [[prompt.id for prompt in request.prompts] for request in servicer.requests] == [
            ["0", "1"],
            ["2", "3"],
            ["4"],
        ]
        assert [result.id for result in results] == ["0", "1", "2", "3", "4"]
        sequences = [TokenSequence((1,), (number,)) for number in range(14)]
        scored = client.logprobs("p", sequences)
    assert scored.sequences == tuple((float(number),) for number in range(14))
    assert scored.policy_version == 5
    assert [len(request.sequences) for request in servicer.requests[3:]] == [6, 6, 2]


def test_long_texts_are_split_below_the_message_limit(script: tuple[ScriptedRollout, str]) -> None:
    servicer, address = script
    prompts = [Prompt(str(number), "é" * 500_000) for number in range(12)]
    with RolloutClient(address) as client:
        results = client.generate("p", prompts, 1, Sampling())
    assert [result.id for result in results] == [prompt.id for prompt in prompts]
    assert len(servicer.requests) > 1
    assert all(request.ByteSize() < rollout.CHUNK_BYTES for request in servicer.requests)


def test_log_probabilities_of_two_versions_are_not_mixed(
    script: tuple[ScriptedRollout, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    servicer, address = script
    monkeypatch.setattr(rollout, "CHUNK_SEQUENCES", 1)
    servicer.versions = [5, 6]
    with RolloutClient(address) as client, pytest.raises(ServiceError, match="from version 5 to 6") as caught:
        client.logprobs("p", [TokenSequence((1,), (2,))] * 2)
    assert caught.value.code is grpc.StatusCode.ABORTED


def test_prompts_with_one_id_are_refused(script: tuple[ScriptedRollout, str]) -> None:
    with RolloutClient(script[1]) as client, pytest.raises(ValueError, match="ids must be unique"):
        client.generate("p", [Prompt("a", "1"), Prompt("a", "2")], 1, Sampling())
    with RolloutClient(script[1]) as client, pytest.raises(ValueError, match="ids must be unique"):
        next(client.generate_stream("p", [Prompt("a", "1"), Prompt("a", "2")], 1, Sampling()))


def test_a_stream_that_breaks_goes_on_and_gives_no_completion_twice(
    script: tuple[ScriptedRollout, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    servicer, address = script
    monkeypatch.setattr(rollout, "CHUNK_SEQUENCES", 6)  # two prompts of three samples
    servicer.failures, servicer.break_after = [UNAVAILABLE, FULL, UNAVAILABLE], 4
    with RolloutClient(address) as client:
        found = list(client.generate_stream("p", PROMPTS, 3, Sampling()))
    assert [(each.prompt, each.sample) for each in found] == [
        (place, sample) for place in range(5) for sample in range(3)
    ]
    asked = [[prompt.id for prompt in request.prompts] for request in servicer.requests]
    # 4 of 6 came, then all 3 of the second prompt, of which 2 were missing; that the call failed then is no matter
    assert asked == [["0", "1"], ["1"], ["2", "3"], ["3"], ["4"]]
    assert [each.completion.token_ids for each in found[3:6]] == [(1,), (2,), (2,)]


def test_a_stream_waits_and_loses_patience_as_a_call_does(script: tuple[ScriptedRollout, str]) -> None:
    servicer, address = script
    servicer.failures, servicer.break_after = [UNAVAILABLE] * 100, 1
    with RolloutClient(address, patience_seconds=0.3) as client:
        stream = client.generate_stream("p", PROMPTS, 2, Sampling())
        assert next(stream).prompt == 0
        with pytest.raises(ServiceUnavailableError, match="away"):
            next(stream)
    servicer.failures = [UNKNOWN]
    with RolloutClient(address) as client, pytest.raises(ServiceError, match="not held"):
        list(client.generate_stream("p", PROMPTS, 2, Sampling()))


def test_a_stream_that_ends_too_soon_is_no_answer(script: tuple[ScriptedRollout, str]) -> None:
    servicer, address = script
    servicer.send_at_most = 9
    with RolloutClient(address) as client, pytest.raises(ServiceError, match="before its last completion"):
        list(client.generate_stream("p", PROMPTS, 2, Sampling()))


def test_an_update_carries_everything_and_brings_back_what_is_served(script: tuple[ScriptedRollout, str]) -> None:
    servicer, address = script
    probe = Probe(TokenSequence((1, 2), (3, 4)), (-0.5, -0.25))
    with RolloutClient(address) as client:
        served = client.update_weights("p", 7, "/w", "ab", base="b", canary=[probe], tolerance=0.5)
        assert served == Served(7, 0.25)
        assert client.describe() == Description("vllm", "bfloat16", {"p": 5})
    (request,) = servicer.requests
    assert (request.policy, request.version, request.path, request.sha256) == ("p", 7, "/w", "ab")
    assert (request.base, request.tolerance) == ("b", 0.5)
    assert [probe_from_wire(each) for each in request.canary] == [probe]


def test_a_request_is_the_same_on_both_sides() -> None:
    sampling = Sampling(0.5, 0.25, 7, 2**64 - 1, 0.125, ("a", "b"), ("c",))
    prompts = (Prompt("a", "text", "trace", (1, 2)), Prompt("b", token_ids=(3,)))
    generation = Generation("p", prompts, 3, sampling, 9)
    assert generation_from_wire(generation_to_wire(generation)) == generation
    completion = Completion((3, 4), (-0.5, -0.25), "ab", FinishReason.LENGTH, 4, (4, 5), (False, True))
    finished = Finished(1, 2, (1, 2), completion)
    assert finished_from_wire(finished_to_wire("b", finished), 1) == finished
